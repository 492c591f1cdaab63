//! Address ranges of the cluster and how nodes and tasks get theirs.

use proto::assignment::NodeNetwork;
use proto::ranges;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Ranges chosen at bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranges {
    /// First address of the containers' range.
    pub containers: Ipv4Addr,
    /// Its prefix length.
    pub containers_prefix: u8,
    /// First address of the services' range.
    pub services: Ipv4Addr,
    /// Its prefix length.
    pub services_prefix: u8,
    /// Prefix length of one node's subnet.
    pub node_prefix: u8,
}

/// What a cluster gets where no net is taken.
impl Default for Ranges {
    fn default() -> Ranges {
        Ranges {
            containers: Ipv4Addr::new(10, 210, 0, 0),
            containers_prefix: 16,
            services: Ipv4Addr::new(10, 211, 0, 0),
            services_prefix: 16,
            node_prefix: 24,
        }
    }
}

impl From<ranges::Ranges> for Ranges {
    fn from(chosen: ranges::Ranges) -> Ranges {
        Ranges {
            containers: chosen.containers.address(),
            containers_prefix: chosen.containers.prefix(),
            services: chosen.services.address(),
            services_prefix: chosen.services.prefix(),
            node_prefix: chosen.containers.prefix().max(24),
        }
    }
}

impl Ranges {
    /// How many nodes fit.
    pub fn node_count(&self) -> u32 {
        1 << (self.node_prefix.saturating_sub(self.containers_prefix)).min(24)
    }

    /// The n-th node's subnet.
    pub fn node_network(&self, index: u32) -> NodeNetwork {
        let size = 1u32 << (32 - u32::from(self.node_prefix));
        let subnet = u32::from(self.containers).wrapping_add(index.wrapping_mul(size));
        NodeNetwork { subnet: subnet.into(), prefix: self.node_prefix, gateway: (subnet + 1).into() }
    }
}

/// Addresses of a node's subnet that tasks may have: not the network, the gateway or the broadcast address.
pub fn task_hosts(network: &NodeNetwork) -> std::ops::Range<u32> {
    let base = u32::from(network.subnet);
    let size = 1u32 << (32 - u32::from(network.prefix));
    base + 2..base + size - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_is_chosen_where_no_net_is_taken() {
        let chosen = ranges::choose_range(&[], 16).expect("all are free");
        assert_eq!(Ranges::from(chosen), Ranges::default());
    }

    #[test]
    fn nodes_get_disjoint_subnets_with_the_first_address_as_gateway() {
        let ranges = Ranges::default();
        assert_eq!(ranges.node_count(), 256);
        let third = ranges.node_network(2);
        assert_eq!(third.subnet, Ipv4Addr::new(10, 210, 2, 0));
        assert_eq!(third.gateway, Ipv4Addr::new(10, 210, 2, 1));
        let hosts = task_hosts(&third);
        assert_eq!(Ipv4Addr::from(hosts.start), Ipv4Addr::new(10, 210, 2, 2));
        assert_eq!(Ipv4Addr::from(hosts.end - 1), Ipv4Addr::new(10, 210, 2, 254));
    }
}
