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

use std::fmt::Debug;

use super::Council;
use super::event::Fact;

/// A promise, with what it must remember to be judged.
pub trait Promise: Debug {
    /// Its file's name.
    fn name(&self) -> &'static str;
    /// Is it kept, given one more fact? An error says how not.
    fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String>;
}

/// All promises.
#[derive(Debug)]
pub struct Promises {
    all: Vec<Box<dyn Promise>>,
}

// === impl Promises ===

impl Promises {
    /// Of a fresh world. `settles`, the last, is `end`'s.
    pub fn all() -> Promises {
        Promises {
            all: vec![
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
            ],
        }
    }

    /// Holds all of them against one fact.
    pub fn hold(&mut self, world: &Council, fact: &Fact) -> Result<(), String> {
        for promise in &mut self.all {
            promise.hold(world, fact).map_err(|broken| format!("{}: {broken}", promise.name()))?;
        }
        Ok(())
    }
}
