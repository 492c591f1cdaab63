//! Three servers in one process: replication, the loss of a leader, a snapshot for one that fell behind.

use std::collections::BTreeSet;
use std::time::Duration;

use proto::id::ServerId;
use tempfile::TempDir;

use super::{in_time, leading, sample, until};
use crate::raft::{MemoryNetwork, ProposeError, RaftHandle, RaftOptions, ReadError, SnapshotRule};

struct Cluster {
    network: MemoryNetwork,
    servers: Vec<RaftHandle>,
    _dirs: Vec<TempDir>,
}

impl Cluster {
    async fn of_three(rule: SnapshotRule) -> Cluster {
        let network = MemoryNetwork::default();
        let (mut servers, mut dirs) = (Vec::new(), Vec::new());
        for id in 1..=3 {
            let dir = tempfile::tempdir().unwrap();
            let mut options = RaftOptions::new(dir.path());
            options.new_server_id = Some(ServerId(id));
            options.transport = network.transport(ServerId(id));
            options.snapshots = rule;
            options.propose_timeout = Duration::from_secs(2);
            let server = RaftHandle::open(options).await.unwrap();
            network.connect(server.id(), server.door());
            servers.push(server);
            dirs.push(dir);
        }
        let cluster = Cluster { network, servers, _dirs: dirs };
        cluster.servers[0].bootstrap("one").await.unwrap();
        leading(&cluster.servers[0]).await;
        for (server, address) in cluster.servers[1..].iter().zip(["two", "three"]) {
            in_time("learning", cluster.servers[0].add_learner(server.id(), address)).await.unwrap();
        }
        let all: BTreeSet<ServerId> = cluster.servers.iter().map(RaftHandle::id).collect();
        in_time("voting", cluster.servers[0].set_voters(all)).await.unwrap();
        cluster
    }

    async fn same_state(&self) {
        until("all have the same State", || {
            let first = self.servers[0].state().borrow().clone();
            self.servers[1..].iter().all(|server| *server.state().borrow() == first)
        })
        .await;
    }

    /// The one of these that comes to lead.
    async fn next_leader(&self, candidates: &[usize]) -> usize {
        let mut found = None;
        until("another leads", || {
            found = candidates.iter().copied().find(|i| self.servers[*i].leadership().borrow().leading().is_some());
            found.is_some()
        })
        .await;
        found.expect("was found")
    }

    async fn shutdown(self) {
        for server in &self.servers {
            server.shutdown().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_reach_all_and_survive_the_loss_of_the_leader() {
    let cluster = Cluster::of_three(SnapshotRule::default()).await;
    for n in 0..20 {
        cluster.servers[0].propose(None, sample::command(n)).await.unwrap();
    }
    cluster.same_state().await;
    let refused = cluster.servers[1].propose(None, sample::command(99)).await.unwrap_err();
    let ProposeError::NotLeader { leader: Some(leader) } = refused else { panic!("{refused}") };
    assert_eq!((leader.id, leader.address.as_str()), (ServerId(1), "one"));

    cluster.network.isolate(ServerId(1));
    let unanswered = cluster.servers[0].propose(None, sample::command(50)).await;
    assert!(matches!(unanswered, Err(ProposeError::Unknown { .. })), "{unanswered:?}");
    assert!(matches!(cluster.servers[0].read_barrier().await, Err(ReadError::NoQuorum { .. })));
    let time_before = cluster.servers[1].state().borrow().clock();
    let next = cluster.next_leader(&[1, 2]).await;
    let server = &cluster.servers[next];
    assert!((0..20).all(|n| sample::holds(&server.state().borrow(), n)), "leads with all that was acknowledged");
    assert!(server.now().expect("leads") >= time_before, "cluster time does not go back");
    server.propose(None, sample::command(100)).await.unwrap();
    server.read_barrier().await.unwrap();

    cluster.network.heal(ServerId(1));
    cluster.same_state().await;
    let state = cluster.servers[0].state().borrow().clone();
    assert!(sample::holds(&state, 100) && !sample::holds(&state, 50), "what nobody else had is gone");
    until("the old leader knows", || cluster.servers[0].leadership().borrow().leading().is_none()).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_fell_behind_the_log_is_sent_a_snapshot() {
    let cluster = Cluster::of_three(SnapshotRule { after_entries: 10, after_bytes: u64::MAX, keep_entries: 2 }).await;
    let last_logs = || cluster.servers.iter().map(|s| s.metrics().last_log).collect::<BTreeSet<_>>();
    until("all have the same log", || last_logs().len() == 1).await;
    cluster.network.isolate(ServerId(3));
    let behind = cluster.servers[2].metrics().last_log.unwrap();
    for n in 0..60 {
        cluster.servers[0].propose(None, sample::command(n)).await.unwrap();
    }
    until("the leader cut what is missing there", || cluster.servers[0].metrics().purged > Some(behind)).await;
    cluster.network.heal(ServerId(3));
    cluster.same_state().await;
    assert!(sample::holds(&cluster.servers[2].state().borrow(), 59));
    assert!(cluster.servers[2].metrics().purged > Some(behind), "its own log was replaced");
    cluster.shutdown().await;
}
