//! IPv4 nets and the choice of the cluster's ranges: the first pair that overlaps nothing a host already uses.
//!
//! Never reads a host's routes: the agent and the server hand them in. Used at bootstrap, for node subnets and by DNS.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 net such as `10.210.0.0/16`; bits behind the prefix are always zero. Travels as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    address: Ipv4Addr,
    prefix: u8,
}

/// Why a text or a pair of numbers is not a net.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// Not of the form `A.B.C.D/N`.
    #[error("`{text}` is not an IPv4 net: write it as `10.210.0.0/16`")]
    Malformed {
        /// The text as given.
        text: String,
    },
    /// The prefix is longer than an address.
    #[error("prefix length {prefix} is not between 0 and 32")]
    Prefix {
        /// The length as given.
        prefix: u8,
    },
    /// There are bits behind the prefix.
    #[error("`{text}` has bits set behind its prefix: write `{meant}`")]
    HostBits {
        /// The text as given.
        text: String,
        /// The net that contains it.
        meant: Cidr,
    },
}

/// The two ranges of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// Containers' addresses: each node has a subnet of it.
    pub containers: Cidr,
    /// Services' stable addresses.
    pub services: Cidr,
}

/// The prefix length of both ranges unless the operator says otherwise.
pub const RANGE_PREFIX_DEFAULT: u8 = 16;
/// The second octet of the first container range that is tried; the service range's is one more.
const FIRST_OCTET_TRIED: u8 = 210;
/// The second octet of the last container range that is tried.
const LAST_OCTET_TRIED: u8 = 254;

// === impl Cidr ===

impl Cidr {
    /// The net of `prefix` bits that contains `address`.
    pub fn containing(address: Ipv4Addr, prefix: u8) -> Result<Cidr, CidrError> {
        if prefix > 32 {
            return Err(CidrError::Prefix { prefix });
        }
        Ok(Cidr { address: Ipv4Addr::from(u32::from(address) & mask(prefix)), prefix })
    }

    /// The net of one address.
    pub fn host(address: Ipv4Addr) -> Cidr {
        Cidr { address, prefix: 32 }
    }

    /// Its first address.
    pub fn address(self) -> Ipv4Addr {
        self.address
    }

    /// Its prefix length in bits, 0 to 32.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Its netmask, such as 255.255.0.0.
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.prefix))
    }

    /// Its last address.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.address) | !mask(self.prefix))
    }

    /// Is `address` in it?
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.prefix) == u32::from(self.address)
    }

    /// Is there an address in both?
    pub fn overlaps(self, other: Cidr) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }

    /// Its n-th subnet of `prefix` bits, counted from 0; `None` when there is none.
    pub fn subnet(self, prefix: u8, n: u32) -> Option<Cidr> {
        let extra = prefix.checked_sub(self.prefix).filter(|_| prefix <= 32)?;
        if u64::from(n) >= 1_u64 << extra {
            return None;
        }
        let step = u64::from(n) << (32 - prefix);
        let first = u32::try_from(u64::from(u32::from(self.address)) + step).ok()?;
        Some(Cidr { address: Ipv4Addr::from(first), prefix })
    }

    /// Its n-th address, counted from 0 (the net's own); `None` when there is none.
    pub fn nth(self, n: u32) -> Option<Ipv4Addr> {
        self.subnet(32, n).map(|net| net.address)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address, self.prefix))
    }
}

impl FromStr for Cidr {
    type Err = CidrError;
    fn from_str(text: &str) -> Result<Cidr, CidrError> {
        let malformed = || CidrError::Malformed { text: text.to_owned() };
        let (address, prefix) = text.split_once('/').ok_or_else(malformed)?;
        if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        let address: Ipv4Addr = address.parse().map_err(|_| malformed())?;
        let net = Cidr::containing(address, prefix.parse().map_err(|_| malformed())?)?;
        if net.address != address {
            return Err(CidrError::HostBits { text: text.to_owned(), meant: net });
        }
        Ok(net)
    }
}

impl TryFrom<String> for Cidr {
    type Error = CidrError;
    fn try_from(text: String) -> Result<Cidr, CidrError> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(net: Cidr) -> String {
        net.to_string()
    }
}

// === The choice ===

/// The first pair of ranges of `prefix` bits (16 to 30) that overlaps nothing in `used`: 10.210 and 10.211, 10.212 and
/// 10.213, and so on up to 10.254 and 10.255. A net of prefix 0 in `used`, a default route, says nothing and is skipped.
///
/// `None` when every pair is taken or `prefix` is out of bounds.
pub fn choose_range(used: &[Cidr], prefix: u8) -> Option<Ranges> {
    if !(16..=30).contains(&prefix) {
        return None;
    }
    let free = |net: Cidr| !used.iter().any(|taken| taken.prefix != 0 && taken.overlaps(net));
    (FIRST_OCTET_TRIED..=LAST_OCTET_TRIED).step_by(2).find_map(|octet| {
        let containers = Cidr { address: Ipv4Addr::new(10, octet, 0, 0), prefix };
        let services = Cidr { address: Ipv4Addr::new(10, octet + 1, 0, 0), prefix };
        (free(containers) && free(services)).then_some(Ranges { containers, services })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Cidr {
        text.parse().expect("a net")
    }

    #[test]
    fn nets_print_as_they_parse_and_travel_as_text() {
        for text in ["0.0.0.0/0", "10.210.0.0/16", "10.210.3.0/24", "192.0.2.1/32"] {
            assert_eq!(net(text).to_string(), text);
            let json = serde_json::to_string(&net(text)).expect("serialises");
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Cidr>(&json).expect("parses back"), net(text));
        }
    }

    #[test]
    fn what_is_not_a_net_is_refused_with_what_was_meant() {
        for text in ["", "10.0.0.0", "10.0.0/8", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "a/8", "10.0.0.0/8/8"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
        let error = "10.210.3.1/16".parse::<Cidr>().expect_err("has host bits");
        assert_eq!(error.to_string(), "`10.210.3.1/16` has bits set behind its prefix: write `10.210.0.0/16`");
    }

    #[test]
    fn containing_and_overlapping() {
        let cases = [
            ("10.210.0.0/16", "10.210.3.0/24", true),
            ("10.210.0.0/16", "10.211.0.0/16", false),
            ("10.210.0.0/16", "10.0.0.0/8", true),
            ("0.0.0.0/0", "192.0.2.0/24", true),
            ("10.0.0.0/31", "10.0.0.2/31", false),
            ("10.0.0.1/32", "10.0.0.1/32", true),
        ];
        for (a, b, overlap) in cases {
            assert_eq!(net(a).overlaps(net(b)), overlap, "{a} {b}");
            assert_eq!(net(b).overlaps(net(a)), overlap, "{b} {a}");
        }
        assert!(net("10.210.0.0/16").contains(Ipv4Addr::new(10, 210, 255, 255)));
        assert!(!net("10.210.0.0/16").contains(Ipv4Addr::new(10, 211, 0, 0)));
        assert_eq!(net("10.210.0.0/16").last(), Ipv4Addr::new(10, 210, 255, 255));
        assert_eq!(net("10.210.0.0/20").netmask(), Ipv4Addr::new(255, 255, 240, 0));
    }

    #[test]
    fn subnets_and_addresses_are_counted_from_zero() {
        let range = net("10.210.0.0/16");
        assert_eq!(range.subnet(24, 0), Some(net("10.210.0.0/24")));
        assert_eq!(range.subnet(24, 255), Some(net("10.210.255.0/24")));
        assert_eq!(range.subnet(24, 256), None);
        assert_eq!(range.subnet(15, 0), None, "wider than itself");
        assert_eq!(range.subnet(33, 0), None);
        assert_eq!(net("0.0.0.0/0").subnet(32, u32::MAX), Some(net("255.255.255.255/32")));
        assert_eq!(net("10.210.3.0/24").nth(1), Some(Ipv4Addr::new(10, 210, 3, 1)));
        assert_eq!(net("10.210.3.0/24").nth(256), None);
    }

    #[test]
    fn the_first_free_pair_is_chosen() {
        let cases: [(&[&str], u8, Option<&str>); 9] = [
            (&[], 16, Some("10.210.0.0/16")),
            (&["0.0.0.0/0", "172.17.0.0/16"], 16, Some("10.210.0.0/16")),
            (&["10.210.9.0/24"], 16, Some("10.212.0.0/16")),
            (&["10.211.9.1/32"], 16, Some("10.212.0.0/16")),
            (&["10.210.0.0/15", "10.213.0.0/16"], 16, Some("10.214.0.0/16")),
            (&["10.0.0.0/8"], 16, None),
            (&["10.210.128.0/20"], 20, Some("10.210.0.0/20")),
            (&[], 15, None),
            (&[], 31, None),
        ];
        for (used, prefix, expected) in cases {
            let used: Vec<Cidr> = used.iter().map(|text| net(text)).collect();
            let chosen = choose_range(&used, prefix);
            assert_eq!(chosen.map(|r| r.containers), expected.map(net), "{used:?}/{prefix}");
        }
        let chosen = choose_range(&[], 16).expect("all are free");
        assert_eq!(chosen.services, net("10.211.0.0/16"));
    }

    #[test]
    fn the_last_pair_is_tried_and_nothing_after_it() {
        let mut used: Vec<Cidr> =
            (210..=253).map(|octet| Cidr { address: Ipv4Addr::new(10, octet, 0, 0), prefix: 16 }).collect();
        assert_eq!(choose_range(&used, 16).map(|r| r.containers), Some(net("10.254.0.0/16")));
        used.push(net("10.255.0.0/24"));
        assert_eq!(choose_range(&used, 16), None);
    }
}
