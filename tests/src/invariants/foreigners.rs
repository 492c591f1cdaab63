//! Containers of others are never touched, whatever their names.

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Foreigners;

impl Promise for Foreigners {
    fn name(&self) -> &'static str {
        "foreigners"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Touched { container, foreign: true, .. } => Err(format!("{container} was touched")),
            Fact::Lapsed if world.hosts.iter().any(|h| !h.containers.values().any(|c| c.foreign && c.is_running())) => {
                Err("a container of somebody else is gone".to_owned())
            }
            _ => Ok(()),
        }
    }
}
