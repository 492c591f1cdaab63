//! Whatever comes together, a plan fits: when a project is put in the moment in which leases end, nothing of it is placed
//! on a node that the same plan gives up.
//!
//! Held against a copy, so that what seldom meets meets in every world.

use orchestrator::engine::{Command, Outcome, Stamped, State, apply, reconcile};
use proto::revision::Time;
use proto::spec::{ContainerSpec, ProjectSpec, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// One round of so many is looked at.
const SAMPLED: u64 = 4;

/// The promise.
#[derive(Debug)]
pub(super) struct Foreseen;

impl Promise for Foreseen {
    fn name(&self) -> &'static str {
        "foreseen"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Reconciled { now, .. } = fact else { return Ok(()) };
        let leases = world.leader.leases();
        let up = world.state.nodes().filter(|n| n.is_up());
        let Some(then) = up.filter_map(|n| leases.ends(n.info.id)).min().filter(|_| now.0.is_multiple_of(SAMPLED))
        else {
            return Ok(());
        };
        let mut state = world.state.clone();
        let spec = Box::new(everywhere(&state));
        said(&mut state, *now, Command::PutProject { spec, expected_release: None, prune: false });
        let plan = reconcile(&state, leases, then.max(*now));
        match said(&mut state, then.max(*now), Command::ApplyPlan { plan: plan.clone() }) {
            Outcome::Plan { rejected, .. } if rejected.is_empty() => Ok(()),
            other => Err(format!("a plan made from this very State has the outcome {other:?}:\n{plan}")),
        }
    }
}

fn said(state: &mut State, at: Time, command: Command) -> Outcome {
    let wall = state.wall();
    apply(state, &Stamped { at, wall, request: None, by: None, command })
}

/// A service with more replicas than there are nodes.
fn everywhere(state: &State) -> ProjectSpec {
    let container = ContainerSpec { image: "foreseen:1".to_owned(), ..ContainerSpec::default() };
    let replicas = 2 * state.nodes().count() as u32;
    let service = ServiceSpec { replicas, container: Arc::new(container), ..ServiceSpec::default() };
    ProjectSpec {
        name: "foreseen".parse().expect("a name"),
        services: BTreeMap::from([("all".parse().expect("a name"), service)]),
        volumes: BTreeMap::new(),
        networks: BTreeSet::new(),
    }
}
