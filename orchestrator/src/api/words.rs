//! This server about itself.

use proto::v1;

use super::Api;
use super::snapshot::ServerView;

// === impl Api ===

impl Api {
    pub(super) fn version(&self) -> v1::GetVersionResponse {
        let state = self.present();
        let range = |base: std::net::Ipv4Addr, prefix: u8| format!("{base}/{prefix}");
        let view = self.server_view();
        v1::GetVersionResponse {
            hello: Some(proto::hello::hello(state.cluster(), state.epoch())),
            server: view.id,
            role: view.role.to_owned(),
            dev: self.place.dev,
            container_range: state.ranges().map(|r| range(r.containers, r.containers_prefix)).unwrap_or_default(),
            service_range: state.ranges().map(|r| range(r.services, r.services_prefix)).unwrap_or_default(),
        }
    }

    pub(super) fn servers(&self) -> Vec<ServerView> {
        vec![self.server_view()]
    }

    fn server_view(&self) -> ServerView {
        let metrics = self.raft.metrics();
        ServerView {
            id: metrics.id.to_string(),
            role: if self.raft.leadership().borrow().leading().is_some() { "leader" } else { "follower" },
            term: metrics.term,
            last_log: metrics.last_log.unwrap_or(0),
            applied: metrics.applied.unwrap_or(0),
        }
    }
}
