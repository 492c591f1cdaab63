//! This node's own view of its own endpoints, laid over the server's table by discovery.
//!
//! Never waits for a server: a death seen here is not answered here from that moment on.

use proto::assignment::{AssignmentSet, Desired};
use proto::endpoint::EndpointState;
use proto::id::TaskId;
use std::collections::BTreeMap;

use super::memory::{Memory, TaskMemory};

/// (state, incarnation, sequence) of one task's endpoint.
pub type OwnEndpoint = (EndpointState, u32, u64);

/// All endpoints of this node's tasks.
pub fn own_endpoints(memory: &Memory, set: &AssignmentSet) -> BTreeMap<TaskId, OwnEndpoint> {
    set.tasks
        .iter()
        .filter_map(|(id, assignment)| {
            let task = memory.tasks.get(id)?;
            Some((*id, (state(task, assignment.desired), task.status.incarnation, task.status.sequence)))
        })
        .collect()
}

fn state(task: &TaskMemory, desired: Desired) -> EndpointState {
    if desired == Desired::Stop {
        EndpointState::Draining
    } else if task.status.is_ready() && !task.suspect {
        EndpointState::Ready
    } else {
        EndpointState::Starting
    }
}
