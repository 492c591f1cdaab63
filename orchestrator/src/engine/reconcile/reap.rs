//! How long what nobody refers to is kept.

use proto::id::BlobDigest;
use proto::revision::Time;
use std::collections::BTreeSet;

use super::Draft;
use crate::engine::plan::Change;
use crate::engine::reason::Reason;
use crate::engine::state::State;

/// Content that nothing refers to is kept this long, in milliseconds: an apply uploads it first and names it later.
pub const BLOB_KEPT_MS: u64 = 3_600_000;

pub(super) fn pass(draft: &mut Draft<'_>, now: Time) {
    let referenced = referenced(draft.state);
    for blob in draft.state.blobs() {
        let is_old = now.since_ms(blob.put_at) >= BLOB_KEPT_MS;
        if is_old && !referenced.contains(&blob.digest) {
            draft.change(Change::ForgetBlob { digest: blob.digest.clone() }, Vec::new(), Reason::Unreferenced);
        }
    }
}

/// When the next content nobody refers to is due.
pub(super) fn next_deadline(state: &State, now: Time) -> Option<Time> {
    state.blobs().next()?;
    let referenced = referenced(state);
    let due = state.blobs().filter(|b| !referenced.contains(&b.digest)).map(|b| b.put_at.after_ms(BLOB_KEPT_MS));
    due.filter(|at| *at > now).min()
}

fn referenced(state: &State) -> BTreeSet<BlobDigest> {
    if state.blobs().next().is_none() {
        return BTreeSet::new();
    }
    let of_tasks = state.tasks().flat_map(|t| t.container.files.iter());
    let of_releases = state.projects().flat_map(|p| p.releases.iter()).flat_map(|r| r.spec.services.values());
    let of_releases = of_releases.flat_map(|s| s.container.files.iter());
    let gone_back_to = state.services().filter_map(|s| s.rollout.as_ref()?.from.as_ref());
    let gone_back_to = gone_back_to.flat_map(|from| from.spec.container.files.iter());
    of_tasks.chain(of_releases).chain(gone_back_to).map(|f| f.digest.clone()).collect()
}
