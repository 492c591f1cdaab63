//! A node's names never answer a task of its own that it knows to be dead, suspect or about to stop.

use proto::assignment::Desired;
use std::net::IpAddr;

use super::Promise;
use crate::sim::World;
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
        let zone = body.zone();
        for (id, assignment) in &set.tasks {
            let Some(memory) = body.memory.task(*id) else { continue };
            // What the table knows of a later start is not overruled by an older memory.
            let told = body.table.services.get(&assignment.service);
            let told = told.and_then(|s| s.endpoints.iter().find(|e| e.task == *id));
            if told.is_some_and(|e| (e.incarnation, e.sequence) > (memory.status.incarnation, memory.status.sequence)) {
                continue;
            }
            let alive = memory.status.is_ready() && !memory.suspect && assignment.desired == Desired::Run;
            let Some(service) = zone.service(&assignment.service).filter(|_| !alive) else { continue };
            for address in &assignment.addresses {
                let answered = match address {
                    IpAddr::V4(a) => service.ready().v4.contains(a),
                    IpAddr::V6(a) => service.ready().v6.contains(a),
                };
                if answered {
                    return Err(format!("agent {agent} answers {id}, which is {}", memory.status.phase));
                }
            }
        }
        Ok(())
    }
}
