//! The sealing key: has another take its place, and says how far that is.

use proto::id::ServerId;
use proto::v1;
use tonic::Status;

use super::Api;
use crate::access::By;
use crate::engine::model::RotationPhase;
use crate::engine::{Command, State};
use crate::forward::not_leading;
use crate::membership::rules::View;
use crate::membership::view;

// === impl Api ===

impl Api {
    /// Begins a rotation, or tells of one.
    pub(super) async fn rotate_key(
        &self,
        by: By,
        asked: v1::RotateSealingKeyRequest,
    ) -> Result<v1::RotateSealingKeyResponse, Status> {
        self.read_barrier().await?;
        if self.raft.leadership().borrow().leading().is_none() {
            return Err(not_leading(&"this server does not lead"));
        }
        let state = self.present();
        if asked.number == 0 {
            let to = match &state.sealing().rotation {
                // Asked for again, it changes nothing; that it was asked for is in the audit.
                Some(rotation) if !rotation.to.is_empty() => rotation.to.clone(),
                _ => {
                    let drawn = self.sealer.draw(|id| state.sealing().is_retired(id));
                    drawn.map_err(|e| Status::unavailable(e.to_string()))?
                }
            };
            self.change(by, asked.request, Command::BeginKeyRotation { to }).await?;
        }
        let state = self.present();
        let newest = state.sealing().rotations;
        if asked.number > newest || newest == 0 {
            return Err(Status::not_found(format!("there was no rotation {} of the sealing key", asked.number)));
        }
        let number = if asked.number == 0 { newest } else { asked.number };
        let mut told = told(&state, &view(&self.raft, &state), number);
        if told.phase != DONE {
            told.problem.clone_from(&self.trouble.borrow());
        }
        Ok(told)
    }
}

/// The servers give the old key up.
const FORGETTING: &str = "forgetting";
/// It is over.
const DONE: &str = "done";

fn told(state: &State, seen: &View, number: u64) -> v1::RotateSealingKeyResponse {
    let waits = |ids: &mut dyn Iterator<Item = ServerId>| ids.map(|id| waits_for(state, seen, id)).collect::<Vec<_>>();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let sealing = state.sealing();
    let mut told = v1::RotateSealingKeyResponse {
        number,
        phase: DONE.to_owned(),
        key: state.key_in_use().unwrap_or_default().to_owned(),
        contents: count(state.sealed_count()),
        ..v1::RotateSealingKeyResponse::default()
    };
    match &sealing.rotation {
        // A later one: this one is over.
        _ if number < sealing.rotations => {}
        Some(rotation) => {
            told.phase = rotation.phase.as_str().to_owned();
            told.key.clone_from(&rotation.to);
            told.left = count(state.sealed_with(&rotation.from).count());
            if rotation.phase == RotationPhase::Spreading {
                told.waits_for = waits(&mut state.lacking(&rotation.to));
            }
        }
        None => {
            let old = sealing.retired.last().map(String::as_str).unwrap_or_default();
            told.waits_for = waits(&mut state.holding(old));
            // One that is away gives it up when it comes back: nobody has to wait for that.
            if told.waits_for.iter().any(|server| !server.away) {
                FORGETTING.clone_into(&mut told.phase);
            }
        }
    }
    told
}

fn waits_for(state: &State, seen: &View, id: ServerId) -> v1::WaitsFor {
    v1::WaitsFor {
        server: id.to_string(),
        hostname: state.server(id).map(|server| server.info.hostname.clone()).unwrap_or_default(),
        away: seen.member(id).is_none_or(|member| member.silent.is_some()),
    }
}
