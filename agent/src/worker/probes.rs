//! One prober for each running container that has a check.

use proto::assignment::{AssignmentSet, Desired};
use proto::id::TaskId;
use proto::task_state::Phase;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Event;
use crate::engine::health::{Effective, effective};
use crate::engine::{Memory, TaskMemory};
use crate::prober::{self, Target};
use crate::runtime::ContainerRuntime;

/// The probers that run, by task, with the incarnation they ask.
#[derive(Debug)]
pub struct Probes {
    runtime: Arc<dyn ContainerRuntime>,
    events: mpsc::UnboundedSender<Event>,
    running: BTreeMap<TaskId, (u32, AbortHandle)>,
}

impl Probes {
    pub fn new(runtime: Arc<dyn ContainerRuntime>, events: mpsc::UnboundedSender<Event>) -> Probes {
        Probes { runtime, events, running: BTreeMap::new() }
    }

    /// Starts and ends probers so that they are those that are needed now.
    pub fn follow(&mut self, set: &AssignmentSet, memory: &Memory) {
        let mut wanted: BTreeMap<TaskId, (u32, Target)> = BTreeMap::new();
        for (id, assignment) in &set.tasks {
            let Some(task) = memory.task(*id).filter(|task| is_asked(task)) else { continue };
            if assignment.desired == Desired::Stop {
                continue;
            }
            if let Effective::Check(check) = effective(&assignment.health, task.image_check.as_ref()) {
                let target = Target {
                    check: check.clone(),
                    container: task.status.container_id.clone(),
                    address: assignment.addresses.first().copied(),
                    passed: task.history.ever_passed,
                };
                wanted.insert(*id, (task.status.incarnation, target));
            }
        }
        self.running.retain(|id, (incarnation, handle)| {
            let stays = wanted.get(id).is_some_and(|(n, _)| n == incarnation);
            if !stays {
                handle.abort();
            }
            stays
        });
        for (id, (incarnation, target)) in wanted {
            self.running.entry(id).or_insert_with(|| {
                let (runtime, events) = (Arc::clone(&self.runtime), self.events.clone());
                let deliver = move |sample| events.send(Event::Sample { task: id, incarnation, sample }).is_ok();
                (incarnation, tokio::spawn(prober::run(runtime, target, deliver)).abort_handle())
            });
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.running.values().for_each(|(_, handle)| handle.abort());
    }
}

fn is_asked(task: &TaskMemory) -> bool {
    task.status.phase == Phase::Running && task.condemned.is_none() && !task.suspect
}
