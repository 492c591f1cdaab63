//! The leader's steps of a rotation: each is one command of the log or a few.
//!
//! Never decides which one is next: `rules` does.

use futures_util::future::join_all;
use std::sync::Arc;

use super::rules::Next;
use crate::engine::model::{Content, KeyRotation, SealedPart};
use crate::engine::{Command, Outcome, State};
use crate::pki::authority::Authority;
use crate::pki::seal::SealError;
use crate::pki::sealer::Sealer;
use crate::raft::{Applied, RaftHandle};

/// Takes a step. `Err`: why nothing has changed, in words.
pub(super) async fn take(raft: &RaftHandle, sealer: &Arc<Sealer>, state: &State, step: Next) -> Result<(), String> {
    match step {
        Next::Draw => {
            let to = sealer.draw(|id| state.sealing().is_retired(id)).map_err(|e| e.to_string())?;
            tracing::info!(key = to, "a sealing key was drawn in the place of one that nobody has, or should have");
            propose(raft, Command::BeginKeyRotation { to }).await
        }
        Next::Use(to) => {
            let digest_key = sealer.digest_key_for(state, &to).map_err(|e| e.to_string())?;
            tracing::info!(key = to, "every server has the new sealing key: it is used from now on");
            propose(raft, Command::UseNewKey { to, digest_key }).await
        }
        Next::Reseal { parts, keys } => {
            let mut commands = Vec::new();
            for part in parts {
                let content = resealed(sealer, state, &part, &keys).map_err(|e| e.to_string())?;
                commands.extend(content.map(|content| Command::Reseal { part, from: keys.from.clone(), content }));
            }
            let answers = join_all(commands.into_iter().map(|command| propose(raft, command))).await;
            // One that changed something is a step; the others are found again.
            match answers.iter().any(Result::is_ok) {
                true => Ok(()),
                false => answers.into_iter().find(Result::is_err).unwrap_or_else(|| Err("nothing is left".to_owned())),
            }
        }
        Next::Finish(to) => {
            propose(raft, Command::FinishKeyRotation { to: to.clone() }).await?;
            tracing::info!(key = to, "the sealing key was replaced");
            Ok(())
        }
    }
}

/// The same content under the new key; `None`: it is gone meanwhile.
fn resealed(
    sealer: &Sealer,
    state: &State,
    part: &SealedPart,
    keys: &KeyRotation,
) -> Result<Option<Content>, SealError> {
    match part {
        SealedPart::Authority => {
            state.authority().map(|authority| Authority::reseal(authority, sealer, &keys.to)).transpose()
        }
        SealedPart::Blob(digest) => {
            state.blob(digest).map(|blob| sealer.reseal(digest, &blob.content, &keys.to)).transpose()
        }
    }
}

async fn propose(raft: &RaftHandle, command: Command) -> Result<(), String> {
    match raft.propose(None, command).await {
        Ok(Applied { outcome: Outcome::Rejected(why), .. }) => Err(why.to_string()),
        Ok(Applied { outcome: Outcome::Done { changed: true, .. }, .. }) => Ok(()),
        Ok(_) => Err("nothing has changed".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
