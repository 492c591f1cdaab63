//! What an apply would do: the same apply and reconcile, on a copy of State.
//!
//! Never proposes.

use proto::v1;
use tonic::Status;

use super::changes::{applied, put_project};
use super::{Api, refusal};
use crate::engine::{Leases, Outcome, Plan, Stamped, State, apply, reconcile};

// === impl Api ===

impl Api {
    pub(super) fn plan(&self, request: v1::ApplyProjectRequest) -> Result<v1::PlanProjectResponse, Status> {
        let mut copy = (*self.present()).clone();
        let now = self.raft.now().unwrap_or(copy.clock());
        let stamped = Stamped { at: now, wall: self.clock.wall(), request: None, command: put_project(request)? };
        let outcome = match apply(&mut copy, &stamped) {
            Outcome::Rejected(rejection) => return Err(refusal::rejected(&rejection)),
            outcome => outcome,
        };
        // Who is up was decided in the log; a plan of an apply does not judge it anew.
        let up = copy.nodes().filter(|n| n.is_up()).map(|n| n.info.id);
        let plan = reconcile(&copy, &Leases::new_term(up, now), now);
        Ok(response(&copy, applied(outcome)?, &plan))
    }
}

fn response(state: &State, apply: v1::ApplyProjectResponse, plan: &Plan) -> v1::PlanProjectResponse {
    let changes = plan.changes.iter().map(|planned| v1::PlannedChange {
        change: with_host_names(state, planned.change.to_string()),
        kind: planned.reason.kind().to_owned(),
        reason: with_host_names(state, planned.reason.to_string()),
    });
    let unplaced = plan.unplaced.iter().map(|unplaced| v1::UnplacedSlot {
        service: Some((&unplaced.service).into()),
        slot: unplaced.slot.0,
        why: unplaced.why.to_string(),
    });
    v1::PlanProjectResponse { apply: Some(apply), changes: changes.collect(), unplaced: unplaced.collect() }
}

/// People know nodes by their host names.
fn with_host_names(state: &State, text: String) -> String {
    state.nodes().fold(text, |text, node| text.replace(&node.info.id.to_string(), &node.info.hostname))
}
