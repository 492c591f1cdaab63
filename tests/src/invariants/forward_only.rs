//! What is known of a task only moves forward: (incarnation, phase) never goes back, and Stopped is final.

use proto::task_state::Phase;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct ForwardOnly;

impl Promise for ForwardOnly {
    fn name(&self) -> &'static str {
        "forward_only"
    }

    fn hold(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Committed { before, after, .. } = fact else { return Ok(()) };
        for was in before.tasks() {
            let Some(is) = after.task(was.id) else { continue };
            let (old, new) = (&was.status, &is.status);
            let back = new.phase != Phase::Stopped && (new.incarnation, new.phase) < (old.incarnation, old.phase);
            let same_start_older = new.incarnation == old.incarnation && new.sequence < old.sequence;
            let risen = old.phase == Phase::Stopped && new.phase != Phase::Stopped;
            if back || same_start_older || risen {
                return Err(format!("{} went from {old:?} to {new:?}", was.id));
            }
            if !was.is_wanted() && is.is_wanted() {
                return Err(format!("{} was asked to stop and is wanted again", was.id));
            }
        }
        Ok(())
    }
}
