//! One task's next step.
//!
//! Never looks at other tasks: what they hold up is told by `blocked`. Called by `diff`.

use proto::assignment::{Assignment, Desired};
use proto::revision::Time;
use proto::task_state::Phase;

use super::health::{self, Effective};
use super::memory::TaskMemory;
use super::observed::{Container, ContainerState, Observed};

/// One thing done to one task, one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Pull the image and write its files; make no container.
    Fetch,
    /// Pull the image, write its files, create its container under that name (or the second when the first is taken).
    Prepare {
        /// Container names to try, in order.
        names: Vec<String>,
        /// Its image was fetched before: what is there is taken, and pulled only if it is gone.
        fetched: bool,
    },
    /// Start a made or exited container in place.
    Start {
        /// Docker's id.
        container: String,
    },
    /// Ask it to stop, then kill it.
    Stop {
        /// Docker's id.
        container: String,
        /// Time between both, in milliseconds.
        grace_ms: u64,
    },
    /// Remove a stopped container.
    Remove {
        /// Docker's id.
        container: String,
    },
    /// Learn the image's health check.
    ReadImage,
}

/// What follows for one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Do this.
    Do(Step),
    /// Nothing before then.
    Wait(Time),
    /// Nothing until something happens.
    Rest,
}

/// Was the container made from what is assigned now?
pub fn matches(assignment: &Assignment, container: &Container) -> bool {
    container.task == assignment.task
        && container.spec_hash == assignment.spec_hash
        && container.generation == assignment.generation
}

/// The task's container, if it has one made from what is assigned now: a running one first.
pub fn current<'a>(assignment: &Assignment, observed: &'a Observed) -> Option<&'a Container> {
    observed.of_task(assignment.task).filter(|c| matches(assignment, c)).max_by_key(|c| (rank(&c.state), &c.id))
}

fn rank(state: &ContainerState) -> u8 {
    match state {
        ContainerState::Dead => 0,
        ContainerState::Created => 1,
        ContainerState::Exited(_) => 2,
        ContainerState::Limbo => 3,
        ContainerState::Running { .. } => 4,
    }
}

/// The task's next step. `blocked`: an earlier container of its slot must go first. `names`: for its container.
pub fn next(
    assignment: &Assignment,
    observed: &Observed,
    memory: &TaskMemory,
    blocked: bool,
    names: impl FnOnce() -> Vec<String>,
    now: Time,
) -> Next {
    if memory.busy.is_some() || memory.unsure {
        return Next::Rest;
    }
    if let Some(at) = memory.attempts.not_before.filter(|at| now < *at) {
        return Next::Wait(at);
    }
    match assignment.desired {
        Desired::Prepare => next_ahead(memory, now),
        Desired::Run => next_running(assignment, observed, memory, blocked, names, now),
        Desired::Stop => next_stopping(assignment, observed, memory, now),
    }
}

/// Its turn has not come: it is made ready to be made. A container of it, which nobody should have made, is left alone.
fn next_ahead(memory: &TaskMemory, now: Time) -> Next {
    match memory.retry_at.filter(|at| now < *at) {
        _ if memory.status.phase == Phase::Prepared => Next::Rest,
        Some(at) => Next::Wait(at),
        None => Next::Do(Step::Fetch),
    }
}

fn next_running(
    assignment: &Assignment,
    observed: &Observed,
    memory: &TaskMemory,
    blocked: bool,
    names: impl FnOnce() -> Vec<String>,
    now: Time,
) -> Next {
    let current = current(assignment, observed);
    let keep = current.map(|c| c.id.as_str());
    if let Some(other) = observed.of_task(assignment.task).find(|c| Some(c.id.as_str()) != keep) {
        return Next::Do(dismiss(other, assignment.container.stop_grace_ms));
    }
    match current {
        None => next_without_container(memory, blocked, names, now),
        Some(container) => next_with_container(assignment, container, memory, blocked, now),
    }
}

/// What runs is drained first; what does not is removed at once.
fn next_stopping(assignment: &Assignment, observed: &Observed, memory: &TaskMemory, now: Time) -> Next {
    let drained_at = memory.drained_at(assignment).filter(|at| now < *at);
    let drains = |c: &Container| drained_at.is_some() && c.state.needs_stop();
    let next = observed.of_task(assignment.task).find(|c| !drains(c));
    match (next, drained_at) {
        (Some(container), _) => Next::Do(dismiss(container, assignment.container.stop_grace_ms)),
        (None, Some(at)) if observed.of_task(assignment.task).next().is_some() => Next::Wait(at),
        (None, _) => Next::Rest,
    }
}

fn next_without_container(memory: &TaskMemory, blocked: bool, names: impl FnOnce() -> Vec<String>, now: Time) -> Next {
    if memory.finished || blocked {
        return Next::Rest;
    }
    match memory.retry_at.filter(|at| now < *at) {
        Some(at) => Next::Wait(at),
        None => Next::Do(Step::Prepare { names: names(), fetched: memory.status.phase == Phase::Prepared }),
    }
}

fn next_with_container(
    assignment: &Assignment,
    container: &Container,
    memory: &TaskMemory,
    blocked: bool,
    now: Time,
) -> Next {
    let grace_ms = assignment.container.stop_grace_ms;
    if memory.recreate && !matches!(container.state, ContainerState::Running { .. }) {
        return Next::Do(dismiss(container, grace_ms));
    }
    match &container.state {
        ContainerState::Running { .. } if memory.condemned.is_some() => Next::Do(dismiss(container, grace_ms)),
        ContainerState::Running { .. } => match health::effective(&assignment.health, memory.image_check.as_ref()) {
            Effective::Unknown => Next::Do(Step::ReadImage),
            Effective::None | Effective::Check(_) => Next::Rest,
        },
        ContainerState::Exited(_) if memory.finished => Next::Rest,
        ContainerState::Created if blocked => Next::Rest,
        ContainerState::Created | ContainerState::Exited(_) => match memory.retry_at.filter(|at| now < *at) {
            Some(at) => Next::Wait(at),
            None => Next::Do(Step::Start { container: container.id.clone() }),
        },
        ContainerState::Limbo => Next::Rest,
        ContainerState::Dead => Next::Do(Step::Remove { container: container.id.clone() }),
    }
}

/// The step that brings a container nearer to its end.
pub fn dismiss(container: &Container, grace_ms: u64) -> Step {
    if container.state.needs_stop() {
        Step::Stop { container: container.id.clone(), grace_ms }
    } else {
        Step::Remove { container: container.id.clone() }
    }
}
