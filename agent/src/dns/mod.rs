//! Names: every node answers its containers from its own copy of the endpoint table, also while servers are away.
//!
//! `zone` knows the names, `answer` turns what it finds into records, `packet` and `fast` speak the wire, all pure;
//! `server` owns the sockets, `upstream` and `host_resolvers` relay what is not ours, `resolv_conf` is what containers
//! are told. Never asks a server of the cluster and never caches. Called by the agent's composition root.

pub mod answer;
mod fast;
pub mod host_resolvers;
pub mod packet;
pub mod resolv_conf;
pub mod server;
mod tcp;
pub mod upstream;
pub mod zone;

#[cfg(test)]
pub(crate) mod fixture;

use std::net::SocketAddr;

/// The zone that is ours; names below it never leave the node.
pub const ZONE_LABELS: [&[u8]; 2] = [b"cluster", b"local"];
/// What stands between a project and the zone.
pub const SERVICE_LABEL: &[u8] = b"svc";
/// The domain that holds all projects, as text.
pub const SERVICE_DOMAIN: &str = "svc.cluster.local";

/// Why names cannot be answered.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// Another program holds the address and port.
    #[error(
        "cannot answer names on {address}: another program listens there; `ss -lnptu 'sport = :{port}'` shows it, stop it \
         or keep it off this address",
        port = address.port()
    )]
    Taken {
        /// Where.
        address: SocketAddr,
    },
    /// Ports below 1024 need a privilege.
    #[error("cannot answer names on {address}: permission denied; run the agent as root")]
    Denied {
        /// Where.
        address: SocketAddr,
    },
    /// No interface has the address.
    #[error("cannot answer names on {address}: no interface of this host has that address; is the node's bridge up?")]
    NoSuchAddress {
        /// Where.
        address: SocketAddr,
    },
    /// Anything else the kernel said.
    #[error("cannot answer names on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// The kernel's word.
        source: std::io::Error,
    },
}

impl DnsError {
    /// The error of a failed bind to `address`.
    pub(crate) fn from_bind(address: SocketAddr, source: std::io::Error) -> DnsError {
        match source.kind() {
            std::io::ErrorKind::AddrInUse => DnsError::Taken { address },
            std::io::ErrorKind::PermissionDenied => DnsError::Denied { address },
            std::io::ErrorKind::AddrNotAvailable => DnsError::NoSuchAddress { address },
            _ => DnsError::Bind { address, source },
        }
    }
}
