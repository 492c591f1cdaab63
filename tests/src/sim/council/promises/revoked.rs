//! Once it is committed that an operator is revoked, no command of it gets into the log that was not let in before.

use orchestrator::engine::{Command, Outcome};
use std::collections::BTreeMap;

use crate::invariants::Promise;
use crate::sim::council::Council;
use crate::sim::council::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Revoked {
    /// Operators, with the time from which on each is revoked.
    since: BTreeMap<String, u64>,
}

impl Promise<Council, Fact> for Revoked {
    fn name(&self) -> &'static str {
        "revoked"
    }

    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        let Fact::Committed(number) = fact else { return Ok(()) };
        let entry = &world.committed[number - 1];
        for ((stamped, outcome, went_on), judged) in entry.commands.iter().zip(&entry.judged) {
            let who = stamped.by.as_ref().map(|by| by.who.clone()).unwrap_or_default();
            if let Some(since) = self.since.get(&who).filter(|since| *went_on && judged > *since) {
                return Err(format!("{who} was revoked at {since} ms, its command was let in at {judged} ms"));
            }
            if let (Command::RevokeIdentity { subject }, Outcome::Done { .. }) = (&stamped.command, outcome) {
                self.since.entry(subject.to_string()).or_insert(entry.at);
            }
        }
        Ok(())
    }
}
