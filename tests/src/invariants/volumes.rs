//! Data stay: a volume of the cluster's own has one home, never an empty twin (but of a global service), and is removed only if that was asked for.

use orchestrator::engine::{Command, State};

use super::Promise;
use super::global::is_global;
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
            Fact::Committed { before, stamped, after, .. } if matches!(stamped.command, Command::ApplyPlan { .. }) => {
                one_home(before, after)
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

/// A volume that a plan makes is the only one of its name, unless a global service made it, which has one on each node.
fn one_home(before: &State, after: &State) -> Result<(), String> {
    for volume in after.volumes().filter(|v| !v.external && before.volume(&v.key).is_none()) {
        let (project, name, node) = (&volume.key.project, &volume.key.name, volume.key.node);
        let Some(other) = after.volumes_named(project, name).find(|v| v.key.node != node) else { continue };
        let makers = after.tasks_on(node).filter(|t| t.service.project == *project && t.volumes.contains_key(name));
        let mut makers = makers.filter_map(|t| after.service(&t.service));
        if !makers.any(|s| is_global(s)) {
            return Err(format!("{} is on {} and {node}", volume.docker_name, other.key.node));
        }
    }
    Ok(())
}
