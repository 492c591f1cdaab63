//! Which of the possible nodes: spread the service first, then take the least loaded.

use proto::id::ServiceKey;

use super::Ledger;
use crate::engine::model::{Node, Service};

/// Smaller is better: tasks of the same service, then reserved share in thousandths, then tasks in all.
pub type Score = (u32, u64, u32);

/// The node's score for one more task of the service.
pub fn score(ledger: &Ledger, service: &Service, node: &Node) -> Score {
    let key: &ServiceKey = &service.key;
    let id = node.info.id;
    let reserved = ledger.reserved(id);
    let cpu = share(reserved.cpu_millis, node.info.cpu_millis);
    let memory = share(reserved.memory_bytes, node.info.memory_bytes);
    (ledger.tasks_of(id, key), cpu.max(memory), ledger.tasks(id))
}

fn share(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 1000 / u128::from(whole.max(1))).unwrap_or(u64::MAX)
}
