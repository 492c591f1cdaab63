//! What is to go: dependants stop before what they depend on; then services, projects and volumes are forgotten.

use proto::id::ServiceKey;

use super::Draft;
use crate::engine::model::{Project, Service};
use crate::engine::plan::{Change, Requires};
use crate::engine::reason::Reason;

pub(super) fn pass(draft: &mut Draft<'_>) {
    let state = draft.state;
    for service in state.services().filter(|s| s.removing) {
        remove_service(draft, service);
    }
    for project in state.projects().filter(|p| p.deletion.is_some()) {
        remove_project(draft, project);
    }
    for volume in state.volumes().filter(|v| v.removing) {
        let Some(node) = state.node(volume.key.node) else { continue };
        if node.conditions.removed_volumes.contains(&volume.docker_name) {
            draft.change(Change::ForgetVolume { volume: volume.key.clone() }, Vec::new(), Reason::ProjectDeleted);
        }
    }
}

fn remove_service(draft: &mut Draft<'_>, service: &Service) {
    let state = draft.state;
    if state.tasks_of(&service.key).next().is_none() {
        let requires = vec![Requires::Service(service.key.clone(), service.modified)];
        draft.change(Change::ForgetService { service: service.key.clone() }, requires, Reason::NothingLeft);
        return;
    }
    if has_running_dependants(draft, &service.key) {
        return;
    }
    let deleted = state.project(&service.key.project).is_some_and(|p| p.deletion.is_some());
    let reason = if deleted { Reason::ProjectDeleted } else { Reason::ServiceRemoved };
    for task in state.tasks_of(&service.key).filter(|t| t.is_wanted()) {
        let requires = vec![Requires::Service(service.key.clone(), service.modified)];
        draft.change(Change::StopTask { task: task.id, drain_ms: 0 }, requires, reason.clone());
    }
}

fn has_running_dependants(draft: &Draft<'_>, key: &ServiceKey) -> bool {
    let dependants =
        draft.state.services_of(&key.project).filter(|s| s.removing && s.spec.depends_on.contains_key(&key.service));
    dependants.into_iter().any(|s| draft.state.tasks_of(&s.key).next().is_some())
}

fn remove_project(draft: &mut Draft<'_>, project: &Project) {
    let state = draft.state;
    if state.services_of(&project.name).next().is_some() {
        return;
    }
    if project.deletion.is_some_and(|d| d.volumes) {
        let mine: Vec<_> = state.volumes().filter(|v| v.key.project == project.name && !v.external).cloned().collect();
        for volume in mine.iter().filter(|v| !v.removing) {
            draft.change(Change::RemoveVolume { volume: volume.key.clone() }, Vec::new(), Reason::ProjectDeleted);
        }
        // The project is forgotten when its volumes are: its name is not free before.
        if !mine.is_empty() {
            return;
        }
    }
    let requires = vec![Requires::Project(project.name.clone(), project.modified)];
    draft.change(Change::ForgetProject { project: project.name.clone() }, requires, Reason::NothingLeft);
}
