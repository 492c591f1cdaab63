//! A request has one outcome, however often it is sent.

use orchestrator::engine::Outcome;
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Answers {
    first: BTreeMap<usize, Outcome>,
}

impl Promise for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn hold(&mut self, _: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Answered { request, outcome } = fact else { return Ok(()) };
        let first = self.first.entry(*request).or_insert_with(|| outcome.clone());
        if first == outcome { Ok(()) } else { Err(format!("request {request} was {first:?} and is {outcome:?}")) }
    }
}
