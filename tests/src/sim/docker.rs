//! A host's Docker Engine, small: containers with lives, images, names that are taken.
//!
//! Never decides what a program does: that follows from its image's name (`image`). Agents reach it through calls.

use agent::engine::observed::Exit;
use agent::engine::{Container, ContainerState};
use proto::assignment::Assignment;
use proto::id::{ServiceKey, Slot, TaskId};
use proto::revision::Wall;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One host's engine.
#[derive(Debug, Default)]
pub struct Docker {
    /// All containers, ours and others', by id.
    pub containers: BTreeMap<String, Real>,
    /// Images that are there.
    pub images: BTreeSet<String>,
    /// It does not answer before.
    pub away_until: u64,
    /// Whatever starts before then ends at once.
    pub crashing_until: u64,
    /// How often that happened.
    pub crashes: u32,
    /// Its volumes.
    pub volumes: BTreeSet<String>,
    made: u64,
}

/// A container as it really is.
#[derive(Debug, Clone)]
pub struct Real {
    /// As our label-reading runtime shows it.
    pub shown: Container,
    /// Nobody's of ours.
    pub foreign: bool,
    /// What it runs.
    pub image: String,
    /// Its static address.
    pub address: Option<IpAddr>,
    /// Its host ports.
    pub ports: Vec<u16>,
    /// Counts its starts.
    pub runs: u32,
    /// When its process began, on the world's clock.
    pub began: u64,
}

// === impl Docker ===

impl Docker {
    /// A container of somebody else.
    pub fn plant(&mut self, name: &str) {
        self.made += 1;
        let id = format!("f{:03}{name}", self.made);
        let service = ServiceKey { project: "other".parse().expect("a name"), service: "x".parse().expect("a name") };
        let shown = Container {
            id: id.clone(),
            name: name.to_owned(),
            task: TaskId(0),
            service,
            slot: Slot(0),
            generation: 0,
            spec_hash: String::new(),
            state: ContainerState::Running { started_at: Wall(1) },
        };
        let foreign =
            Real { shown, foreign: true, image: "other".into(), address: None, ports: Vec::new(), runs: 1, began: 0 };
        self.containers.insert(id, foreign);
    }

    /// Makes a container for a task under the first free name; an error says which is taken.
    pub fn create(&mut self, host: usize, names: &[String], made_for: &Assignment) -> Result<String, String> {
        let free = names.iter().find(|name| !self.containers.values().any(|c| c.shown.name == **name));
        let Some(name) = free else { return Err(format!("the name {} is in use", names.join(", "))) };
        self.made += 1;
        let id = format!("c{host}x{:04}", self.made);
        let shown = Container {
            id: id.clone(),
            name: name.clone(),
            task: made_for.task,
            service: made_for.service.clone(),
            slot: made_for.slot,
            generation: made_for.generation,
            spec_hash: made_for.spec_hash.clone(),
            state: ContainerState::Created,
        };
        let made = Real {
            shown,
            foreign: false,
            image: made_for.container.image.clone(),
            address: made_for.addresses.first().copied(),
            ports: made_for.host_ports.iter().map(|p| p.published).collect(),
            runs: 0,
            began: 0,
        };
        for (name, volume) in &made_for.volumes {
            self.volumes.insert(volume.name_in_docker(&made_for.service.project, name));
        }
        self.containers.insert(id.clone(), made);
        Ok(id)
    }

    /// Who else runs with this container's address or a port of it.
    pub fn conflict(&self, id: &str) -> Option<String> {
        let own = self.containers.get(id)?;
        let others = self.containers.values().filter(|c| c.shown.id != id && c.is_running());
        for other in others {
            if own.address.is_some() && other.address == own.address {
                return Some(format!("address {:?} is used by {}", own.address, other.shown.id));
            }
            if own.ports.iter().any(|p| other.ports.contains(p)) {
                return Some(format!("a port is used by {}", other.shown.id));
            }
        }
        None
    }

    /// Begins its process; false when there is nothing to begin.
    pub fn start(&mut self, id: &str, now: u64, wall: Wall) -> bool {
        let Some(container) = self.containers.get_mut(id) else { return false };
        if container.is_running() {
            return true;
        }
        container.runs += 1;
        container.began = now;
        container.shown.state = ContainerState::Running { started_at: wall };
        true
    }

    /// Its process ends; false when none ran.
    pub fn end(&mut self, id: &str, code: i32, wall: Wall) -> bool {
        let Some(container) = self.containers.get_mut(id) else { return false };
        let ContainerState::Running { started_at } = container.shown.state else { return false };
        let exit = Exit { started_at: Some(started_at), finished_at: Some(wall), code: Some(code), ..Exit::default() };
        container.shown.state = ContainerState::Exited(exit);
        true
    }

    /// All containers of ours, as the runtime lists them.
    pub fn list(&self) -> Vec<Container> {
        self.containers.values().filter(|c| !c.foreign).map(|c| c.shown.clone()).collect()
    }

    /// Running containers of a task.
    pub fn running_of(&self, task: TaskId) -> impl Iterator<Item = &Real> {
        self.containers.values().filter(move |c| !c.foreign && c.shown.task == task && c.is_running())
    }
}

// === impl Real ===

impl Real {
    /// Its process runs.
    pub fn is_running(&self) -> bool {
        matches!(self.shown.state, ContainerState::Running { .. })
    }
}
