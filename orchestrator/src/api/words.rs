//! This server about itself.

use proto::v1;

use super::Api;

// === impl Api ===

impl Api {
    pub(super) fn version(&self) -> v1::GetVersionResponse {
        let state = self.present();
        let range = |base: std::net::Ipv4Addr, prefix: u8| format!("{base}/{prefix}");
        let leads = self.raft.leadership().borrow().leading().is_some();
        v1::GetVersionResponse {
            hello: Some(proto::hello::hello(state.cluster(), state.epoch())),
            server: self.raft.id().to_string(),
            role: if leads { "leader" } else { "follower" }.to_owned(),
            dev: self.place.dev,
            container_range: state.ranges().map(|r| range(r.containers, r.containers_prefix)).unwrap_or_default(),
            service_range: state.ranges().map(|r| range(r.services, r.services_prefix)).unwrap_or_default(),
        }
    }
}
