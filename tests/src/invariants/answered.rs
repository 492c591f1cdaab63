//! What discovery may answer is what is known to serve: no ready endpoint of a lost node, of a task that is not ready, of
//! one that is to stop.

use orchestrator::engine::{Command, endpoints};
use proto::endpoint::EndpointState;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Answered;

impl Promise for Answered {
    fn name(&self) -> &'static str {
        "answered"
    }

    fn hold(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Committed { stamped, after, .. } = fact else { return Ok(()) };
        if !matches!(stamped.command, Command::ApplyPlan { .. } | Command::ReportStatuses { .. }) {
            return Ok(());
        }
        for (key, service) in &endpoints(after).services {
            for endpoint in service.endpoints.iter().filter(|e| e.state == EndpointState::Ready) {
                let serves = after.task(endpoint.task).is_some_and(|t| t.is_wanted() && t.status.is_ready());
                let is_heard = after.node(endpoint.node).is_some_and(|n| n.is_up());
                if !serves || !is_heard {
                    return Err(format!("{key} is answered with {}, which does not serve", endpoint.task));
                }
            }
        }
        Ok(())
    }
}
