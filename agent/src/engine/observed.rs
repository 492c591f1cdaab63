//! What the Docker Engine says, in our words.
//!
//! Never guesses: it is complete only after a whole list, and a container is gone only when a whole list lacks it or
//! the engine said so of that very container. Filled by the worker, read by `diff`.

use proto::id::{ServiceKey, Slot, TaskId};
use proto::revision::Wall;
use std::collections::{BTreeMap, BTreeSet};

/// Containers of ours on this node, by Docker id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    complete: bool,
    containers: BTreeMap<String, Container>,
}

/// One container of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Docker's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The task its label names.
    pub task: TaskId,
    /// Its service by its labels.
    pub service: ServiceKey,
    /// Its slot by its label.
    pub slot: Slot,
    /// Its generation by its label.
    pub generation: u64,
    /// Hash of the spec it was made from.
    pub spec_hash: String,
    /// Where it is.
    pub state: ContainerState,
}

/// Where a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running {
        /// Since when, by the engine's clock: tells one run of a container from the next.
        started_at: Wall,
    },
    /// Its process ended.
    Exited(Exit),
    /// Paused, restarting, or a word we do not know: wait and look again.
    Limbo,
    /// Half removed: it can only be removed.
    Dead,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exit {
    /// When it had started.
    pub started_at: Option<Wall>,
    /// When it ended.
    pub finished_at: Option<Wall>,
    /// Its exit code; `None` when nobody can say.
    pub code: Option<i32>,
    /// Killed by the kernel for memory.
    pub oom_killed: bool,
    /// What the engine says of it.
    pub error: String,
}

impl ContainerState {
    /// It must be stopped before it can be removed.
    pub fn needs_stop(&self) -> bool {
        matches!(self, ContainerState::Running { .. } | ContainerState::Limbo)
    }
}

impl Observed {
    /// Has everything been seen since the engine was last known to answer?
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// All containers, by Docker id.
    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.values()
    }

    /// Containers of one task.
    pub fn of_task(&self, task: TaskId) -> impl Iterator<Item = &Container> {
        self.containers.values().filter(move |c| c.task == task)
    }

    /// One container.
    pub fn get(&self, id: &str) -> Option<&Container> {
        self.containers.get(id)
    }

    /// A whole list came. What it says of tasks in `newer` is older than what is known of them and is left out.
    pub fn replace_all(&mut self, list: Vec<Container>, newer: &BTreeSet<TaskId>) {
        self.containers.retain(|_, c| newer.contains(&c.task));
        for container in list {
            if !newer.contains(&container.task) {
                self.containers.insert(container.id.clone(), container);
            }
        }
        self.complete = true;
    }

    /// One container was looked at.
    pub fn put(&mut self, container: Container) {
        self.containers.insert(container.id.clone(), container);
    }

    /// The engine said that this very container does not exist.
    pub fn gone(&mut self, id: &str) {
        self.containers.remove(id);
    }

    /// The engine does not answer: nothing is done until the next whole list.
    pub fn doubt(&mut self) {
        self.complete = false;
    }
}
