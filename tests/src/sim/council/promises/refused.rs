//! A command that was refused is not in State, unless somebody else who was asked for it has not answered.

use proto::id::RequestId;

use crate::invariants::Promise;
use crate::sim::council::Council;
use crate::sim::council::event::{Fact, Reply};

/// The promise.
#[derive(Debug)]
pub(super) struct Refused;

impl Promise<Council, Fact> for Refused {
    fn name(&self) -> &'static str {
        "refused"
    }

    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        let requests: Vec<RequestId> = match fact {
            Fact::Answered(ask, Reply::Forbidden(_) | Reply::NotNow) => vec![ask.request],
            Fact::Committed(number) => {
                world.committed[number - 1].commands.iter().filter_map(|(stamped, ..)| stamped.request).collect()
            }
            _ => return Ok(()),
        };
        for request in requests {
            let Some(record) = world.records.get(&request) else { continue };
            let is_refused = matches!(record.reply, Some(Reply::Forbidden(_) | Reply::NotNow));
            if is_refused && !record.is_unsure && world.done.contains_key(&request) {
                let client = request.client & 0xffff_ffff;
                return Err(format!("command {} of client {client} was refused, and done", request.sequence));
            }
        }
        Ok(())
    }
}
