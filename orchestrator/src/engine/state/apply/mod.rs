//! The single writer of State: one command, one outcome. Total: there is no command without an outcome.
//!
//! One file per family of commands. Never starts anything.

mod audit;
mod conditions;
mod identity;
#[cfg(test)]
mod identity_tests;
#[cfg(test)]
mod label_tests;
mod node;
mod plan;
mod project;
mod rollout;
mod sealing;
#[cfg(test)]
mod sealing_tests;
mod server;
mod status;
mod version;
#[cfg(test)]
mod world;

pub(crate) use plan::{address_free_at, has_free_address};
pub(crate) use status::exit_words;

use super::clients::Recall;
use super::{AUDITS, STATE_VERSION, State};
use crate::engine::command::{Command, Stamped};
use crate::engine::model::{Blob, Content};
use crate::engine::outcome::{Outcome, Rejection};
use std::sync::Arc;

/// Applies one command. The same State and command give the same State and outcome on every server.
pub fn apply(state: &mut State, stamped: &Stamped) -> Outcome {
    if let Some(request) = stamped.request {
        match state.clients.recall(request) {
            Recall::New => {}
            Recall::Known(outcome) => return *outcome,
            Recall::Forgotten => return Outcome::Rejected(Rejection::Forgotten),
        }
    }
    state.clock = state.clock.max(stamped.at);
    state.wall = state.wall.max(stamped.wall);
    state.revision.0 += 1;
    let outcome = dispatch(state, &stamped.command);
    if let Some(by) = stamped.by.as_ref().filter(|_| state.version >= AUDITS) {
        audit::record(state, by, &stamped.command, &outcome);
    }
    if let Some(request) = stamped.request {
        state.clients.remember(request, &outcome);
    }
    #[cfg(debug_assertions)]
    {
        let broken = super::invariant::violations(state);
        assert!(broken.is_empty(), "after {:?}: {broken:#?}", stamped.command);
    }
    outcome
}

fn dispatch(state: &mut State, command: &Command) -> Outcome {
    if let Command::RaiseVersion { to } = command {
        return version::raise(state, *to);
    }
    // What a command needs is looked for in all of it: not where everything is allowed.
    if state.version < STATE_VERSION && command.version() > state.version {
        return Outcome::Rejected(Rejection::TooNew { needed: command.version(), present: state.version });
    }
    match command {
        Command::Bootstrap { cluster, ranges } => {
            if state.cluster.is_some() {
                return Outcome::Rejected(Rejection::AlreadyBootstrapped);
            }
            state.cluster = Some(*cluster);
            state.ranges = Some(*ranges);
            done(state, true)
        }
        // Sealed before the key was replaced, and come late: nobody could open it any more.
        Command::PutBlob { content: Content::Sealed { key_id, .. }, .. } if state.sealing.is_retired(key_id) => {
            Outcome::Rejected(Rejection::KeyRetired(key_id.clone()))
        }
        Command::PutBlob { digest, kind, content } => {
            let blob = Blob {
                digest: digest.clone(),
                kind: *kind,
                content: content.clone(),
                put_at: state.clock,
                modified: state.revision,
            };
            let changed = state.blobs.insert(digest.clone(), Arc::new(blob)).is_none();
            done(state, changed)
        }
        Command::PutProject { spec, expected_release, prune } => project::put(state, spec, *expected_release, *prune),
        Command::DeleteProject { project, volumes } => project::delete(state, project, *volumes),
        Command::DeleteService { service } => project::delete_service(state, service),
        Command::ScaleService { service, replicas } => project::scale(state, service, *replicas),
        Command::SteerRollout { service, how } => rollout::steer(state, service, *how),
        // Taken before the version was compared.
        Command::RaiseVersion { .. } => done(state, false),
        Command::RegisterNode { info } => node::register(state, info),
        Command::ReportStatuses { node, reports } => status::report(state, *node, reports),
        Command::ReportConditions { node, conditions } => conditions::report(state, *node, conditions),
        Command::ApplyPlan { plan } => plan::apply_plan(state, plan),
        Command::FoundAuthority { authority } => identity::found(state, authority),
        Command::PutToken { token } => identity::put_token(state, token),
        Command::RevokeToken { id } => identity::revoke_token(state, *id),
        Command::Enrol { token, hash, who, key } => identity::enrol(state, *token, hash, *who, key),
        Command::RevokeIdentity { subject } => identity::revoke(state, subject),
        Command::NoteAccess { note } => audit::note(state, note),
        Command::PutServer { info } => server::put(state, info),
        Command::PromoteServer { id } => server::promote(state, *id),
        Command::RemoveServer { id } => server::remove(state, *id),
        Command::BeginKeyRotation { to } => sealing::begin(state, to),
        Command::UseNewKey { to, digest_key } => sealing::use_new(state, to, digest_key),
        Command::Reseal { part, from, content } => sealing::reseal(state, part, from, content),
        Command::FinishKeyRotation { to } => sealing::finish(state, to),
        Command::LabelNode { node, set, remove, expected } => node::label(state, *node, set, remove, *expected),
    }
}

fn done(state: &State, changed: bool) -> Outcome {
    Outcome::Done { revision: state.revision, changed }
}
