//! Addresses as people write them.

use std::net::IpAddr;

/// Host and port, where both are written. An IPv6 address without brackets is all colons and names no port.
fn split(server: &str) -> Option<(&str, u16)> {
    let (host, port) = server.rsplit_once(':')?;
    let port = port.parse().ok()?;
    (!host.contains(':') || host.ends_with(']')).then_some((host, port))
}

/// Longest `HOST:PORT`: a name of DNS has 253 characters at most.
const ADDRESS_MAX_BYTES: usize = 260;

/// Whether this is `HOST:PORT` and nothing else.
pub fn is_address(text: &str) -> bool {
    text.len() <= ADDRESS_MAX_BYTES
        && !text.contains(|c: char| c.is_whitespace() || c.is_control())
        && split(text).is_some_and(|(host, port)| !host.is_empty() && port > 0)
}

/// `HOST`, `HOST:PORT`, or an IPv6 address with or without brackets: the port is added where none is written.
pub fn with_port(server: &str, port: u16) -> String {
    match (split(server).is_some(), server.parse::<IpAddr>()) {
        (true, _) => server.to_owned(),
        (false, Ok(IpAddr::V6(address))) => format!("[{address}]:{port}"),
        (false, _) => format!("{server}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port_and_nothing_else() {
        for good in ["host:7421", "10.0.0.1:1", "[2001:db8::1]:7421"] {
            assert!(is_address(good), "{good}");
        }
        for bad in ["host", "host:0", ":7421", "a b:1", "a\n:1", "2001:db8::1", "host:70000", &format!("{:0>260}:1", 0)]
        {
            assert!(!is_address(bad), "{bad}");
        }
    }

    #[test]
    fn a_port_is_added_where_there_is_none() {
        for (given, want) in [
            ("host", "host:7420"),
            ("host:1", "host:1"),
            ("host.example", "host.example:7420"),
            ("10.0.0.1", "10.0.0.1:7420"),
            ("10.0.0.1:9", "10.0.0.1:9"),
            ("[::1]", "[::1]:7420"),
            ("[::1]:1", "[::1]:1"),
            ("2001:db8::1", "[2001:db8::1]:7420"),
            ("[2001:db8::1]:9", "[2001:db8::1]:9"),
        ] {
            assert_eq!(with_port(given, 7_420), want);
        }
    }
}
