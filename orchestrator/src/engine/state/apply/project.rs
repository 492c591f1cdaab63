//! Commands about projects and services: what operators ask for.

use proto::id::{ProjectName, ServiceKey, ServiceName};
use proto::limits::{RELEASES_KEPT, REPLICAS_MAX};
use proto::spec::{ProjectSpec, ServiceSpec, VolumeSpec};
use std::collections::BTreeMap;
use std::sync::Arc;

use super::{State, done, rollout};
use crate::engine::admission;
use crate::engine::model::service::{container_hash, replacement_hash, volumes_used};
use crate::engine::model::{Deletion, Origin, Project, Release, Service, StopFirst, Volume};
use crate::engine::outcome::{FieldProblem, Outcome, Rejection, ServiceChange};

/// Creates a project or changes it.
pub(super) fn put(state: &mut State, spec: &ProjectSpec, expected: Option<u64>, prune: bool) -> Outcome {
    let present = state.projects.get(&spec.name).cloned();
    if let Some(refusal) = refuse_put(present.as_deref(), spec, expected) {
        return Outcome::Rejected(refusal);
    }
    let (spec, notices) = with_kept_services(present.as_deref(), spec, prune);
    put_whole(state, present.as_deref(), Made { spec, origin: Origin::Applied, notices })
}

/// A release in the making.
pub(super) struct Made {
    pub(super) spec: ProjectSpec,
    pub(super) origin: Origin,
    pub(super) notices: Vec<String>,
}

/// The next release, unless it is what the present one is.
pub(super) fn put_whole(state: &mut State, present: Option<&Project>, made: Made) -> Outcome {
    let Made { spec, origin, mut notices } = made;
    let problems = admission::admit(state, &spec);
    if !problems.is_empty() {
        return Outcome::Rejected(Rejection::Inadmissible(problems));
    }
    let services = put_services(state, &spec, next_release(present));
    notices.extend(stopping_first(state, &spec, &services));
    let name = spec.name.clone();
    let unchanged = present.is_some_and(|p| **p.spec() == spec);
    if !unchanged {
        let noted = state.projects.get(&name).cloned();
        put_release(state, noted.as_deref(), spec, origin);
    }
    let release = state.projects.get(&name).map_or(0, |p| p.release);
    Outcome::Project { revision: state.revision, release, changed: !unchanged, services, notices }
}

/// Which of the replaced services cannot serve without a gap, and why.
fn stopping_first(state: &State, spec: &ProjectSpec, changes: &[(ServiceName, ServiceChange)]) -> Vec<String> {
    let replaced = changes.iter().filter(|(_, change)| *change == ServiceChange::Replaced && state.has_rollouts());
    let told = replaced.filter_map(|(name, _)| {
        let key = ServiceKey { project: spec.name.clone(), service: name.clone() };
        match state.services.get(&key)?.stop_first()? {
            StopFirst::Asked => None,
            because => Some(format!(
                "service `{name}` stops first: its old container stops before the new one starts, because {because}"
            )),
        }
    });
    told.collect()
}

fn next_release(present: Option<&Project>) -> u64 {
    present.map_or(1, |p| p.release + 1)
}

fn refuse_put(present: Option<&Project>, spec: &ProjectSpec, expected: Option<u64>) -> Option<Rejection> {
    if present.is_some_and(|p| p.deletion.is_some()) {
        return Some(Rejection::Deleting(spec.name.clone()));
    }
    let release = present.map_or(0, |p| p.release);
    match expected {
        Some(expected) if expected != release => {
            Some(Rejection::ReleaseMoved { project: spec.name.clone(), present: release, expected })
        }
        _ => None,
    }
}

/// Services that a spec does not name stay unless pruning is asked for: absence never removes.
fn with_kept_services(present: Option<&Project>, spec: &ProjectSpec, prune: bool) -> (ProjectSpec, Vec<String>) {
    let mut whole = spec.clone();
    let mut notices = Vec::new();
    let Some(present) = present.filter(|_| !prune) else { return (whole, notices) };
    let before = present.spec();
    for (name, service) in &before.services {
        if !whole.services.contains_key(name) {
            notices.push(format!(
                "service `{name}` is not in the file any more and stays; `ctl apply --prune` removes it"
            ));
            for (key, volume) in volumes_used(service, &before.volumes) {
                whole.volumes.entry(key).or_insert(volume);
            }
            whole.networks.extend(service.networks.iter().cloned());
            whole.services.insert(name.clone(), service.clone());
        }
    }
    (whole, notices)
}

fn put_services(state: &mut State, spec: &ProjectSpec, release: u64) -> Vec<(ServiceName, ServiceChange)> {
    let mut changes = BTreeMap::new();
    for (name, wanted) in &spec.services {
        let key = ServiceKey { project: spec.name.clone(), service: name.clone() };
        changes.insert(name.clone(), put_service(state, key, wanted, spec, release));
    }
    let surplus: Vec<Arc<Service>> =
        state.services_of(&spec.name).filter(|s| !spec.services.contains_key(&s.key.service)).cloned().collect();
    for service in surplus {
        if !service.removing {
            changes.insert(service.key.service.clone(), ServiceChange::Removed);
            mark_removing(state, &service);
        }
    }
    changes.into_iter().collect()
}

fn put_service(
    state: &mut State,
    key: ServiceKey,
    wanted: &ServiceSpec,
    project: &ProjectSpec,
    release: u64,
) -> ServiceChange {
    let volumes = volumes_used(wanted, &project.volumes);
    let present = state.services.get(&key).cloned();
    let spec_hash = spec_hash(state, present.as_deref(), wanted, &volumes);
    let change = match present.as_deref() {
        None => ServiceChange::Created,
        Some(p) if p.removing => ServiceChange::Created,
        Some(p) if p.spec_hash != spec_hash => ServiceChange::Replaced,
        Some(p) if *p.spec != *wanted => ServiceChange::Updated,
        Some(_) => return ServiceChange::Unchanged,
    };
    let fresh = matches!(change, ServiceChange::Created | ServiceChange::Replaced);
    let mut gates = present.as_ref().filter(|_| !fresh).map(|p| p.gates.clone()).unwrap_or_default();
    gates.retain(|dependency, _| wanted.depends_on.contains_key(dependency));
    let replaces = change == ServiceChange::Replaced;
    let rollout = present.as_ref().and_then(|p| rollout::begun(state, p, &spec_hash, replaces, release));
    if let Some(present) = present.as_ref().filter(|_| replaces) {
        rollout::note_superseded(state, present);
    }
    let service = Service {
        uid: present.as_ref().map_or(state.uid(), |p| p.uid),
        spec: Arc::new(wanted.clone()),
        volumes,
        generation: present.as_ref().map_or(1, |p| p.generation + u64::from(fresh)),
        spec_hash,
        gates,
        rollout,
        removing: false,
        created_at: present.as_ref().map_or(state.wall, |p| p.created_at),
        modified: state.revision,
        key: key.clone(),
    };
    state.record(
        key.to_string(),
        &format!("service-{}", change.as_str()),
        format!("{} x {}", wanted.how_many(), wanted.container.image),
    );
    state.services.insert(key, Arc::new(service));
    change
}

/// A spec that makes the same tasks has the same hash, also when an earlier version had another way to reckon it.
fn spec_hash(
    state: &State,
    present: Option<&Service>,
    wanted: &ServiceSpec,
    volumes: &BTreeMap<String, VolumeSpec>,
) -> String {
    if !state.has_own_checks() {
        return container_hash(wanted, volumes);
    }
    let hash = replacement_hash(wanted, volumes);
    match present.filter(|p| replacement_hash(&p.spec, &p.volumes) == hash) {
        Some(present) => present.spec_hash.clone(),
        None => hash,
    }
}

pub(super) fn put_release(state: &mut State, present: Option<&Project>, spec: ProjectSpec, origin: Origin) {
    let number = next_release(present);
    let mut releases = present.map(|p| p.releases.clone()).unwrap_or_default();
    let name = spec.name.clone();
    releases.push(Release { number, at: state.wall, spec: Arc::new(spec), origin, outcomes: BTreeMap::new() });
    if releases.len() > RELEASES_KEPT {
        releases.remove(0);
    }
    let project = Project {
        name: name.clone(),
        uid: present.map_or(state.uid(), |p| p.uid),
        release: number,
        releases,
        deletion: None,
        applied_at: state.wall,
        modified: state.revision,
    };
    state.record(name.to_string(), "project-applied", format!("release {number}"));
    state.projects.insert(name, Arc::new(project));
}

fn mark_removing(state: &mut State, service: &Service) {
    let mut going = service.clone();
    going.removing = true;
    going.modified = state.revision;
    state.record(going.key.to_string(), "service-removing", String::new());
    state.services.insert(going.key.clone(), Arc::new(going));
}

/// Removes a project: its tasks stop, dependants first, then it is forgotten.
pub(super) fn delete(state: &mut State, name: &ProjectName, volumes: bool) -> Outcome {
    let Some(present) = state.projects.get(name).cloned() else {
        return if volumes { delete_kept(state, name) } else { Outcome::Rejected(Rejection::NoProject(name.clone())) };
    };
    let deletion = Deletion { volumes: volumes || present.deletion.is_some_and(|d| d.volumes) };
    if present.deletion == Some(deletion) {
        return done(state, false);
    }
    let project = Project { deletion: Some(deletion), modified: state.revision, ..(*present).clone() };
    state.record(name.to_string(), "project-deleting", String::new());
    state.projects.insert(name.clone(), Arc::new(project));
    let services: Vec<Arc<Service>> = state.services_of(name).filter(|s| !s.removing).cloned().collect();
    for service in services {
        mark_removing(state, &service);
    }
    done(state, true)
}

/// The named volumes that a project left behind when it was deleted without them.
fn delete_kept(state: &mut State, name: &ProjectName) -> Outcome {
    let kept: Vec<Arc<Volume>> =
        state.volumes.values().filter(|v| v.key.project == *name && !v.external).cloned().collect();
    if kept.is_empty() {
        return Outcome::Rejected(Rejection::NoProject(name.clone()));
    }
    let going: Vec<&Arc<Volume>> = kept.iter().filter(|v| !v.removing).collect();
    for volume in &going {
        let volume = Volume { removing: true, modified: state.revision, ..(***volume).clone() };
        state.volumes.insert(volume.key.clone(), Arc::new(volume));
    }
    done(state, !going.is_empty())
}

/// Removes one service, as if the manifest no longer named it and pruning were asked for.
pub(super) fn delete_service(state: &mut State, key: &ServiceKey) -> Outcome {
    let Some((project, service)) = present(state, key) else {
        return Outcome::Rejected(Rejection::NoService(key.clone()));
    };
    if service.removing {
        return done(state, false);
    }
    let dependant = state
        .services_of(&key.project)
        .find(|s| !s.removing && s.spec.depends_on.get(&key.service).is_some_and(|d| d.required));
    if let Some(dependant) = dependant {
        return Outcome::Rejected(Rejection::Inadmissible(vec![FieldProblem {
            field: format!("services.{}", key.service),
            message: format!("`{}` depends on it", dependant.key.service),
            hint: format!("delete {} first, or apply a file without both", dependant.key),
        }]));
    }
    mark_removing(state, &service);
    let mut spec = (**project.spec()).clone();
    spec.services.remove(&key.service);
    put_release(state, Some(&project), spec, origin(state, Origin::ServiceDeleted { service: key.service.clone() }));
    done(state, true)
}

/// Releases had no origin before rollouts were known.
fn origin(state: &State, origin: Origin) -> Origin {
    if state.has_rollouts() { origin } else { Origin::Applied }
}

/// Sets the number of replicas, as a release of its own.
pub(super) fn scale(state: &mut State, key: &ServiceKey, replicas: u32) -> Outcome {
    let Some((project, service)) = present(state, key).filter(|(_, s)| !s.removing) else {
        return Outcome::Rejected(Rejection::NoService(key.clone()));
    };
    if replicas > REPLICAS_MAX {
        return Outcome::Rejected(Rejection::Inadmissible(vec![FieldProblem {
            field: format!("services.{}.deploy.replicas", key.service),
            message: format!("{replicas} replicas are asked for, at most {REPLICAS_MAX} are allowed"),
            hint: "ask for fewer".to_owned(),
        }]));
    }
    if state.is_global(&service) {
        return Outcome::Rejected(Rejection::Inadmissible(vec![FieldProblem {
            field: format!("services.{}.deploy.mode", key.service),
            message: format!("`{}` is global: it has one task on each node where it may be", key.service),
            hint: "narrow `deploy.placement.constraints`, or write `mode: replicated`, and apply".to_owned(),
        }]));
    }
    if service.spec.replicas == replicas {
        return done(state, false);
    }
    let mut spec = (**project.spec()).clone();
    let Some(wanted) = spec.services.get_mut(&key.service) else {
        return Outcome::Rejected(Rejection::NoService(key.clone()));
    };
    wanted.replicas = replicas;
    let problems = admission::admit(state, &spec);
    if !problems.is_empty() {
        return Outcome::Rejected(Rejection::Inadmissible(problems));
    }
    put_services(state, &spec, next_release(Some(&project)));
    rescale(state, key, &service, replicas);
    let origin = origin(state, Origin::Scaled { service: key.service.clone(), replicas });
    put_release(state, Some(&project), spec, origin);
    done(state, true)
}

/// A number set by hand outlasts a change that is taken back: it is no part of the change.
fn rescale(state: &mut State, key: &ServiceKey, before: &Service, replicas: u32) {
    let Some(mut service) = state.services.get(key).map(|s| (**s).clone()) else { return };
    service.rollout = before.rollout.clone();
    if let Some(rollout) = &mut service.rollout {
        rollout.failed.retain(|slot, _| slot.0 <= replicas);
        rollout.unplaced.retain(|slot, _| slot.0 <= replicas);
    }
    if let Some(from) = service.rollout.as_mut().and_then(|r| r.from.as_mut()) {
        let mut earlier = (**from).clone();
        Arc::make_mut(&mut earlier.spec).replicas = replicas;
        *from = Arc::new(earlier);
    }
    state.services.insert(key.clone(), Arc::new(service));
}

pub(super) fn present(state: &State, key: &ServiceKey) -> Option<(Arc<Project>, Arc<Service>)> {
    let project = state.projects.get(&key.project).filter(|p| p.deletion.is_none())?;
    Some((project.clone(), state.services.get(key)?.clone()))
}
