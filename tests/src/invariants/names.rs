//! A node's names never answer a task of its own that it knows to be dead, suspect or about to stop.

use proto::assignment::{AssignmentSet, Desired};
use proto::id::TaskId;
use std::net::IpAddr;

use super::Promise;
use crate::sim::World;
use crate::sim::agent::Agent;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Names;

impl Promise for Names {
    fn name(&self) -> &'static str {
        "names"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Named { agent } = fact else { return Ok(()) };
        let body = &world.agents[*agent];
        let Some(set) = &body.accepted else { return Ok(()) };
        let dead: Vec<_> = set.tasks.iter().filter(|(id, _)| is_dead(body, set, **id)).collect();
        if dead.is_empty() {
            return Ok(());
        }
        let zone = body.zone(dead.iter().map(|(_, a)| &a.service));
        for (id, assignment) in dead {
            let Some(service) = zone.service(&assignment.service) else { continue };
            for address in &assignment.addresses {
                let answered = match address {
                    IpAddr::V4(a) => service.ready().v4.contains(a),
                    IpAddr::V6(a) => service.ready().v6.contains(a),
                };
                if answered {
                    return Err(format!("agent {agent} answers {id}, which it knows to be dead or about to stop"));
                }
            }
        }
        Ok(())
    }
}

/// Does the node know of a task in the table that it must not be answered?
fn is_dead(body: &Agent, set: &AssignmentSet, id: TaskId) -> bool {
    let (Some(memory), Some(assignment)) = (body.memory.task(id), set.tasks.get(&id)) else { return false };
    let alive = memory.status.is_ready() && !memory.suspect && assignment.desired == Desired::Run;
    let told = body.table.services.get(&assignment.service).and_then(|s| s.endpoints.iter().find(|e| e.task == id));
    // What the table knows of a later start is not overruled by an older memory.
    let known = (memory.status.incarnation, memory.status.sequence);
    !alive && told.is_some_and(|e| (e.incarnation, e.sequence) <= known)
}
