//! Which IPv4 nets this host routes already: what a new cluster's ranges must not overlap.
//!
//! Never changes a route. Read once, at bootstrap.

use proto::ranges::Cidr;
use std::net::Ipv4Addr;

const TABLE: &str = "/proc/net/route";

/// The nets in the host's routing table; the default route does not count.
pub fn used() -> std::io::Result<Vec<Cidr>> {
    Ok(parse(&std::fs::read_to_string(TABLE)?))
}

/// Lines of `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, addresses in hexadecimal, lowest byte first.
fn parse(table: &str) -> Vec<Cidr> {
    let nets = table.lines().skip(1).filter_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        let destination = u32::from_str_radix(columns.nth(1)?, 16).ok()?.swap_bytes();
        let mask = u32::from_str_radix(columns.nth(5)?, 16).ok()?.swap_bytes();
        let prefix = u8::try_from(mask.leading_ones()).ok()?;
        (prefix > 0).then(|| Cidr::containing(Ipv4Addr::from(destination), prefix).ok())?
    });
    nets.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_become_nets_and_the_default_route_does_not() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let nets: Vec<String> = parse(table).iter().map(ToString::to_string).collect();
        assert_eq!(nets, ["172.17.0.0/16"]);
    }
}
