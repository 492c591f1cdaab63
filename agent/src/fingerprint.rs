//! What this node is: read from the host and its engine when a session begins.
//!
//! Never used for identity: that is the node id.

use proto::id::NodeId;
use proto::node::{FEATURE_PREPARE, NodeInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, UdpSocket};

use crate::runtime::EngineInfo;

/// The node's fingerprint. Without an engine its version is empty and the host's figures are used.
pub fn fingerprint(id: NodeId, engine: Option<&EngineInfo>, labels: &BTreeMap<String, String>) -> NodeInfo {
    let host_cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    NodeInfo {
        id,
        hostname: hostname(),
        agent_version: env!("CARGO_PKG_VERSION").into(),
        engine_version: engine.map(|e| e.version.clone()).unwrap_or_default(),
        os: engine.map_or_else(|| std::env::consts::OS.into(), |e| e.os.clone()),
        arch: engine.map_or_else(|| std::env::consts::ARCH.into(), |e| e.arch.clone()),
        cpu_millis: engine.map_or(host_cpus, |e| e.cpus) * 1_000,
        memory_bytes: engine.map_or_else(host_memory, |e| e.memory_bytes),
        addresses: outward_address().into_iter().collect(),
        labels: labels.clone(),
        features: features(engine),
    }
}

/// What the engine and this agent can do.
fn features(engine: Option<&EngineInfo>) -> BTreeSet<String> {
    let mut features = engine.map(|e| e.features.clone()).unwrap_or_default();
    features.insert(FEATURE_PREPARE.to_owned());
    features
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn host_memory() -> u64 {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).saturating_mul(u64::from(info.mem_unit))
}

/// The address of the interface with the default route. Connecting a UDP socket sends nothing.
fn outward_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_an_engine_still_has_figures() {
        let info = fingerprint(NodeId(1), None, &BTreeMap::new());
        assert!(!info.hostname.is_empty() && info.cpu_millis >= 1_000 && info.memory_bytes > 1 << 20);
        assert_eq!(info.engine_version, "");
    }
}
