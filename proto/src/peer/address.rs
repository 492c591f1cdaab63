//! Addresses as people write them.

use std::net::IpAddr;

/// `HOST`, `HOST:PORT`, or an IPv6 address with or without brackets: the port is added where none is written.
pub fn with_port(server: &str, port: u16) -> String {
    let has_port = match server.rsplit_once(':') {
        // An IPv6 address without brackets is all colons.
        Some((host, port)) => port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']')),
        None => false,
    };
    match (has_port, server.parse::<IpAddr>()) {
        (true, _) => server.to_owned(),
        (false, Ok(IpAddr::V6(address))) => format!("[{address}]:{port}"),
        (false, _) => format!("{server}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
