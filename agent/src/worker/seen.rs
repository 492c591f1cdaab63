//! From what the runtime saw to the engine's words.

use crate::engine::observed::Exit;
use crate::engine::{Container, ContainerState, Trouble};
use crate::runtime::{RuntimeError, SeenContainer, SeenState};

impl From<SeenContainer> for Container {
    fn from(seen: SeenContainer) -> Container {
        Container {
            id: seen.id,
            name: seen.name,
            task: seen.task,
            service: seen.service,
            slot: seen.slot,
            generation: seen.generation,
            spec_hash: seen.spec_hash,
            state: state(seen.state),
        }
    }
}

fn state(seen: SeenState) -> ContainerState {
    match seen {
        SeenState::Created => ContainerState::Created,
        SeenState::Running { started_at, .. } => ContainerState::Running { started_at },
        SeenState::Exited { started_at, finished_at, exit_code, oom_killed, error } => {
            ContainerState::Exited(Exit { started_at, finished_at, code: Some(exit_code), oom_killed, error })
        }
        SeenState::Other(word) if word == "dead" => ContainerState::Dead,
        SeenState::Other(_) => ContainerState::Limbo,
    }
}

/// What a runtime error means for the step it ended.
pub fn trouble(error: &RuntimeError) -> Trouble {
    let text = error.to_string();
    match error {
        RuntimeError::Unreachable { .. } | RuntimeError::Deadline { .. } | RuntimeError::Nonsense { .. } => {
            Trouble::Unknown(text)
        }
        RuntimeError::Pull { .. } => Trouble::Fetch(text),
        RuntimeError::NotFound { .. }
        | RuntimeError::Lacking { .. }
        | RuntimeError::Conflict { .. }
        | RuntimeError::CommandTimeout { .. }
        | RuntimeError::Refused { .. } => Trouble::Refused(text),
    }
}
