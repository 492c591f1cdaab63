//! What several servers promise, one file per promise; each is held against every fact of a run.

mod acknowledged;
mod decides;
mod majority;
mod odd;
mod one_leader;
mod prefixes;
mod refused;
mod removed;
mod replaced;
mod revoked;

use super::Council;
use super::event::Fact;
use crate::invariants::Promises;

/// All promises of a fresh world. `settles`, the last, is `end`'s.
pub(super) fn all() -> Promises<Council, Fact> {
    Promises(vec![
        Box::<one_leader::OneLeader>::default(),
        Box::new(prefixes::Prefixes),
        Box::<acknowledged::Acknowledged>::default(),
        Box::new(refused::Refused),
        Box::<revoked::Revoked>::default(),
        Box::new(majority::Majority),
        Box::new(odd::Odd),
        Box::<removed::Removed>::default(),
        Box::<replaced::Replaced>::default(),
        Box::new(decides::Decides),
    ])
}
