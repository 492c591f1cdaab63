//! At every step each wanted task that is not ready has a reason in words, and so has each service that is not as asked.

use orchestrator::engine::{State, explain};

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Reasons;

impl Promise for Reasons {
    fn name(&self) -> &'static str {
        "reasons"
    }

    fn hold(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Committed { after, .. } = fact else { return Ok(()) };
        let state: &State = after;
        for task in state.tasks().filter(|t| !t.is_satisfied()) {
            let judged = explain::task(state, task);
            if judged.reason.is_empty() {
                return Err(format!("{} is {} without a reason: {:?}", task.id, judged.state, task.status));
            }
        }
        for service in state.services() {
            let judged = explain::service(state, service);
            if judged.reason.is_empty() && !matches!(judged.state, "running" | "complete") {
                return Err(format!("{} is {} without a reason", service.key, judged.state));
            }
            for slot in super::global::wanted(state, service).into_keys() {
                let why = explain::why(state, &service.key, Some(slot), state.wall());
                if why.is_none_or(|w| w.now.is_empty() || w.cause.is_empty() || w.next.is_empty()) {
                    return Err(format!("nobody says why {}.{slot} is as it is", service.key));
                }
            }
        }
        Ok(())
    }
}
