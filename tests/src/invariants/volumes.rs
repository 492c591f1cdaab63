//! Data stay: a volume of the cluster's own has one home, never an empty twin, and is removed only if that was asked for.

use orchestrator::engine::{Command, State};
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Volumes;

impl Promise for Volumes {
    fn name(&self) -> &'static str {
        "volumes"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Committed { stamped, after, .. } if matches!(stamped.command, Command::ApplyPlan { .. }) => {
                one_home(after)
            }
            Fact::VolumeRemoved { name } => {
                let asked = world.requests.iter().any(|r| match &r.command {
                    Command::DeleteProject { project, volumes: true } => name.starts_with(project.as_str()),
                    _ => false,
                });
                if asked { Ok(()) } else { Err(format!("{name} is removed and nobody asked for that")) }
            }
            _ => Ok(()),
        }
    }
}

fn one_home(state: &State) -> Result<(), String> {
    let mut homes = BTreeMap::new();
    for volume in state.volumes().filter(|v| !v.external) {
        let key = (&volume.key.project, &volume.key.name);
        if let Some(other) = homes.insert(key, volume.key.node) {
            return Err(format!("{} is on {other} and {}", volume.docker_name, volume.key.node));
        }
    }
    Ok(())
}
