//! Data stay: a volume of the cluster's own has one home, never an empty twin (but of a global service), and is removed only if that was asked for.

use orchestrator::engine::model::Volume;
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
    let made = || after.volumes().filter(|v| !v.external && before.volume(&v.key).is_none());
    for volume in made().filter(|v| !is_of_global(before, after, v)) {
        let (project, name, node) = (&volume.key.project, &volume.key.name, volume.key.node);
        let known = before.volumes_named(project, name).next().map(|v| v.key.node);
        let twin = made().find(|v| {
            v.key.project == *project && v.key.name == *name && v.key.node != node && !is_of_global(before, after, v)
        });
        if let Some(other) = known.or(twin.map(|v| v.key.node)) {
            return Err(format!("{} is on {other} and {node}", volume.docker_name));
        }
    }
    Ok(())
}

/// A task of a global service that the same plan made on its node mounts it.
fn is_of_global(before: &State, after: &State, volume: &Volume) -> bool {
    let (project, name) = (&volume.key.project, &volume.key.name);
    let made = after.tasks_on(volume.key.node).filter(|t| before.task(t.id).is_none());
    let mut mounts = made.filter(|t| t.service.project == *project && t.volumes.contains_key(name));
    mounts.any(|t| after.service(&t.service).is_some_and(|s| is_global(s)))
}
