//! What is promised, one file per promise; each is held against every fact of a simulated run.

mod absence;
mod accepted;
mod acknowledged;
mod addresses;
mod answered;
mod answers;
mod backoff;
mod capacity;
mod checks;
mod deadline;
mod deletion_order;
mod drained;
mod foreigners;
mod foreseen;
mod forward_only;
mod gates;
pub(crate) mod global;
mod gradual;
mod handover;
mod leases;
mod names;
mod once;
mod one_ready;
mod own_check;
mod prepared;
mod reasons;
mod replay;
mod rest;
mod serving;
mod settles;
mod sound;
mod stopped;
mod untouched;
mod volumes;

use std::fmt::Debug;

use crate::sim::World;
use crate::sim::event::Fact;

/// A promise of a kind of world, with what it must remember to be judged.
pub trait Promise<W = World, F = Fact>: Debug {
    /// Its file's name.
    fn name(&self) -> &'static str;
    /// Is it kept, given one more fact? An error says how not.
    fn hold(&mut self, world: &W, fact: &F) -> Result<(), String>;
}

/// Promises that are held together.
#[derive(Debug)]
pub struct Promises<W = World, F = Fact>(pub Vec<Box<dyn Promise<W, F>>>);

/// All promises of a fresh world.
pub fn all() -> Promises {
    Promises(vec![
        Box::new(sound::Sound),
        Box::<absence::Absence>::default(),
        Box::<accepted::Accepted>::default(),
        Box::<acknowledged::Acknowledged>::default(),
        Box::<addresses::Addresses>::default(),
        Box::new(answered::Answered),
        Box::<answers::Answers>::default(),
        Box::<backoff::Backoff>::default(),
        Box::<capacity::Capacity>::default(),
        Box::<checks::Checks>::default(),
        Box::new(deadline::Deadline),
        Box::new(deletion_order::DeletionOrder),
        Box::<drained::Drained>::default(),
        Box::new(foreigners::Foreigners),
        Box::new(foreseen::Foreseen),
        Box::new(forward_only::ForwardOnly),
        Box::new(gates::Gates),
        Box::<global::Global>::default(),
        Box::<gradual::Gradual>::default(),
        Box::<handover::Handover>::default(),
        Box::new(leases::Leases),
        Box::new(names::Names),
        Box::<once::Once>::default(),
        Box::<one_ready::OneReady>::default(),
        Box::<own_check::OwnCheck>::default(),
        Box::<prepared::Prepared>::default(),
        Box::new(reasons::Reasons),
        Box::new(replay::Replay),
        Box::new(rest::Rest),
        Box::new(serving::Serving),
        Box::new(settles::Settles),
        Box::<stopped::Stopped>::default(),
        Box::<untouched::Untouched>::default(),
        Box::new(volumes::Volumes),
    ])
}

// === impl Promises ===

impl<W, F> Promises<W, F> {
    /// Holds all of them against one fact.
    pub fn hold(&mut self, world: &W, fact: &F) -> Result<(), String> {
        for promise in &mut self.0 {
            promise.hold(world, fact).map_err(|broken| format!("{}: {broken}", promise.name()))?;
        }
        Ok(())
    }
}
