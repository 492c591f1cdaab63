//! Which IPv4 nets this host already uses, for the choice of the cluster's ranges.
//!
//! Reads `/proc/net/route` and `/proc/net/fib_trie`; never changes anything. The choice itself is
//! `proto::ranges::choose_range`. Called at bootstrap and when an agent joins.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use proto::ranges::Cidr;

/// Why the host's nets are not known.
#[derive(Debug, thiserror::Error)]
pub enum RangesError {
    /// A file of the kernel cannot be read.
    #[error("cannot read this host's routes from {path}: {source}; is /proc mounted?", path = path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The kernel's word.
        source: std::io::Error,
    },
}

/// The destinations of this host's routes, without default routes, and its own addresses, also those of interfaces that
/// are down; sorted.
pub fn used_ranges() -> Result<Vec<Cidr>, RangesError> {
    let routes = read(Path::new("/proc/net/route"))?;
    let addresses = read(Path::new("/proc/net/fib_trie"))?;
    let mut used = routes_in(&routes);
    used.extend(addresses_in(&addresses));
    used.sort_unstable();
    used.dedup();
    Ok(used)
}

fn read(path: &Path) -> Result<String, RangesError> {
    std::fs::read_to_string(path).map_err(|source| RangesError::Unreadable { path: path.to_owned(), source })
}

/// The nets of `/proc/net/route`: a heading, then one route a line, numbers in hexadecimal in the host's byte order.
pub fn routes_in(text: &str) -> Vec<Cidr> {
    let route = |line: &str| {
        let mut words = line.split_whitespace();
        let destination = hex_address(words.nth(1)?)?;
        let mask = u32::from(hex_address(words.nth(5)?)?);
        Cidr::containing(destination, u8::try_from(mask.leading_ones()).ok()?).ok()
    };
    text.lines().skip(1).filter_map(route).filter(|net| net.prefix() != 0).collect()
}

fn hex_address(word: &str) -> Option<Ipv4Addr> {
    u32::from_str_radix(word, 16).ok().map(|bits| Ipv4Addr::from(bits.to_ne_bytes()))
}

/// The addresses of `/proc/net/fib_trie`: a leaf `|-- ADDRESS` that `/32 host LOCAL` follows. Loopback is left out.
pub fn addresses_in(text: &str) -> Vec<Cidr> {
    let mut leaf = None;
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf.filter(|address| !address.is_loopback()).map(Cidr::host));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(nets: &[Cidr]) -> Vec<String> {
        nets.iter().map(ToString::to_string).collect()
    }

    // As a little-endian host writes it.
    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0A00D20A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn routes_are_read_without_the_default() {
        assert_eq!(texts(&routes_in(ROUTES)), ["172.17.0.0/16", "192.0.2.0/24", "10.210.0.10/32"]);
        assert_eq!(texts(&routes_in("")), [""; 0]);
        assert_eq!(texts(&routes_in("heading\nshort line\neth0 xyz 0 0 0 0 0 00FFFFFF")), [""; 0]);
    }

    #[test]
    fn own_addresses_are_read_without_loopback() {
        let text = "\
Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 172.17.0.0/16 2 0 2
        |-- 172.17.0.0
           /16 link UNICAST
        |-- 172.17.0.1
           /32 host LOCAL
        |-- 172.17.255.255
           /32 link BROADCAST
Local:
        |-- 127.0.0.1
           /32 host LOCAL
        |-- 172.17.0.1
           /32 host LOCAL
";
        assert_eq!(texts(&addresses_in(text)), ["172.17.0.1/32"]);
    }

    #[test]
    fn this_host_is_readable() {
        let used = used_ranges().expect("a Linux host has /proc");
        assert!(used.iter().all(|net| net.prefix() != 0), "{used:?}");
    }
}
