//! An acknowledged apply is never lost: its release or a later one is there until a deletion was asked for.

use orchestrator::engine::{Command, Outcome};
use proto::id::ProjectName;
use std::collections::BTreeMap;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug, Default)]
pub(super) struct Acknowledged {
    /// Releases that were acknowledged and not deleted since.
    releases: BTreeMap<ProjectName, u64>,
    /// Revision of the last deletion that was committed.
    deleted: BTreeMap<ProjectName, u64>,
}

impl Promise for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Committed { stamped, outcome: Outcome::Done { revision, .. }, .. } => {
                if let Command::DeleteProject { project, .. } = &stamped.command {
                    self.releases.remove(project);
                    self.deleted.insert(project.clone(), revision.0);
                }
            }
            Fact::Answered { request, outcome: Outcome::Project { revision, release, .. } } => {
                if let Command::PutProject { spec, .. } = &world.requests[*request].command
                    && self.deleted.get(&spec.name).is_none_or(|at| *at < revision.0)
                {
                    let known = self.releases.entry(spec.name.clone()).or_default();
                    *known = (*known).max(*release);
                }
            }
            _ => {}
        }
        for (name, release) in &self.releases {
            let present = world.state.project(name).map_or(0, |p| p.release);
            if present < *release {
                return Err(format!("release {release} of {name} was acknowledged, State has {present}"));
            }
        }
        Ok(())
    }
}
