//! A command that was acknowledged is in the State of every later leader, once, with the outcome that was told.

use proto::id::RequestId;

use crate::invariants::Promise;
use crate::sim::council::Council;
use crate::sim::council::clients::label;
use crate::sim::council::event::{Fact, Reply};

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// The newest entry with a command that was acknowledged.
    reaches: usize,
}

impl Promise<Council, Fact> for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Answered(ask, Reply::Became(told)) => {
                let Some(done) = world.done.get(&ask.request) else {
                    return Err(format!("{} was acknowledged and is in no log", shown(ask.request)));
                };
                self.reaches = self.reaches.max(done.number);
                match done.outcome == *told {
                    true => Ok(()),
                    false => Err(format!("{} became {:?}, told was {told:?}", shown(ask.request), done.outcome)),
                }
            }
            Fact::Committed(number) => once(world, *number),
            Fact::Leads(me) if world.servers[*me].run.applied < self.reaches => Err(format!(
                "server {} leads with {} entries, {} were acknowledged",
                me + 1,
                world.servers[*me].run.applied,
                self.reaches
            )),
            Fact::Leads(me) => labels(world, *me),
            _ => Ok(()),
        }
    }
}

/// No command of the entry was done before.
fn once(world: &Council, number: usize) -> Result<(), String> {
    let requests = world.committed[number - 1].commands.iter().filter_map(|(stamped, ..)| stamped.request);
    let twice = requests.into_iter().find(|request| world.done.get(request).is_some_and(|done| done.times > 1));
    twice.map_or(Ok(()), |request| Err(format!("{} was done twice", shown(request))))
}

/// Each client's label is as it was told, or newer.
fn labels(world: &Council, me: usize) -> Result<(), String> {
    for (at, client) in world.clients.iter().enumerate() {
        let present = label(world.state(me), at);
        if present < client.acknowledged {
            return Err(format!(
                "client {at} was told that its label is {}, the leader, server {}, has {present}",
                client.acknowledged,
                me + 1
            ));
        }
    }
    Ok(())
}

fn shown(request: RequestId) -> String {
    format!("command {} of client {}", request.sequence, request.client & 0xffff_ffff)
}
