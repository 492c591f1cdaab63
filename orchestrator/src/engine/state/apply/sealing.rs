//! Commands about the sealing key. A secret that no key opens cannot come of them, whatever is proposed and when: a key is
//! sealed with once every server has said that it is on its disk, and given up once nothing is sealed with it.

use std::sync::Arc;

use super::{State, done};
use crate::engine::model::sealing::RETIRED_KEPT;
use crate::engine::model::{Authority, Blob, Content, KeyRotation, RotationPhase, SealedPart, Sealing};
use crate::engine::outcome::{Outcome, Rejection};

/// What events of it are about.
const SUBJECT: &str = "sealing-key";

/// Begins a rotation; or, while nothing is sealed with the new key, lets another one take its place.
pub(super) fn begin(state: &mut State, to: &str) -> Outcome {
    let Some(used) = state.key_in_use().map(str::to_owned) else {
        return Outcome::Rejected(Rejection::NotFounded);
    };
    let present = state.sealing.rotation.clone();
    if present.as_ref().is_some_and(|r| r.to == to || r.phase == RotationPhase::Resealing) {
        return done(state, false);
    }
    if to.is_empty() || used == to || state.sealing.is_retired(to) {
        return Outcome::Rejected(Rejection::NoKeyRotation(to.to_owned()));
    }
    let sealing = Arc::make_mut(&mut state.sealing);
    match present {
        Some(earlier) => retire(sealing, earlier.to),
        None => sealing.rotations += 1,
    }
    sealing.rotation = Some(KeyRotation { from: used, to: to.to_owned(), phase: RotationPhase::Spreading });
    state.record(SUBJECT.to_owned(), "key-rotation-begun", format!("key {to} is to take the place of the one in use"));
    done(state, true)
}

/// From now on the new key is used: every server has it.
pub(super) fn use_new(state: &mut State, to: &str, digest_key: &Content) -> Outcome {
    let wrong = || Outcome::Rejected(Rejection::NoKeyRotation(to.to_owned()));
    let Some(rotation) = state.sealing.rotation.clone().filter(|r| r.to == to && !to.is_empty()) else {
        return wrong();
    };
    if rotation.phase == RotationPhase::Resealing {
        return done(state, false);
    }
    if digest_key.key_id() != Some(to) || state.servers.is_empty() {
        return wrong();
    }
    if let Some(server) = state.lacking(to).next() {
        return Outcome::Rejected(Rejection::KeyNotSpread(server));
    }
    let sealing = Arc::make_mut(&mut state.sealing);
    sealing.digest_key = Some(digest_key.clone());
    sealing.rotation = Some(KeyRotation { phase: RotationPhase::Resealing, ..rotation });
    done(state, true)
}

/// Seals something anew, if it is still sealed with the old key.
pub(super) fn reseal(state: &mut State, part: &SealedPart, from: &str, content: &Content) -> Outcome {
    let to = state.sealing.rotation.as_ref().filter(|r| r.phase == RotationPhase::Resealing).map(|r| &r.to);
    if to.is_none() || content.key_id() != to.map(String::as_str) {
        return Outcome::Rejected(Rejection::NoKeyRotation(content.key_id().unwrap_or_default().to_owned()));
    }
    let changed = match part {
        SealedPart::Authority => {
            let present = state.authority.clone().filter(|authority| authority.key.key_id() == Some(from));
            present.map(|present| {
                state.authority = Some(Arc::new(Authority { key: content.clone(), ..(*present).clone() }))
            })
        }
        // It is the same secret: nobody who refers to it has anything to do.
        SealedPart::Blob(digest) => {
            let present = state.blobs.get(digest).filter(|blob| blob.content.key_id() == Some(from)).cloned();
            present.map(|present| {
                state.blobs.insert(digest.clone(), Arc::new(Blob { content: content.clone(), ..(*present).clone() }));
            })
        }
    };
    done(state, changed.is_some())
}

/// Gives the old key up, if nothing is sealed with it.
pub(super) fn finish(state: &mut State, to: &str) -> Outcome {
    let rotation = state.sealing.rotation.clone();
    let Some(rotation) = rotation.filter(|r| r.to == to && r.phase == RotationPhase::Resealing) else {
        return Outcome::Rejected(Rejection::NoKeyRotation(to.to_owned()));
    };
    if state.sealed_with(&rotation.from).next().is_some() {
        return Outcome::Rejected(Rejection::StillSealed(rotation.from));
    }
    let sealing = Arc::make_mut(&mut state.sealing);
    sealing.rotation = None;
    let message = format!("key {to} is in use, key {} is not needed any more", rotation.from);
    retire(sealing, rotation.from);
    state.record(SUBJECT.to_owned(), "key-rotated", message);
    done(state, true)
}

/// A server was removed. What it may know of a key that is not in use yet is made worthless: another one is drawn.
pub(super) fn server_removed(state: &mut State) {
    let spreading = state.sealing.rotation.clone().filter(|r| r.phase == RotationPhase::Spreading);
    if let Some(rotation) = spreading.filter(|r| !r.to.is_empty()) {
        let sealing = Arc::make_mut(&mut state.sealing);
        retire(sealing, rotation.to);
        sealing.rotation = Some(KeyRotation { to: String::new(), from: rotation.from, phase: rotation.phase });
    }
}

fn retire(sealing: &mut Sealing, key: String) {
    if key.is_empty() {
        return;
    }
    sealing.retired.push(key);
    let surplus = sealing.retired.len().saturating_sub(RETIRED_KEPT);
    sealing.retired.drain(..surplus);
}
