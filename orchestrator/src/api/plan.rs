//! What an apply would do: the engine's preview of it, as an answer.
//!
//! Never proposes; any server answers from its own State, also while nobody leads.

use proto::id::{BlobDigest, ProjectName, ServiceKey, ServiceName};
use proto::spec::{FileMount, ProjectSpec};
use proto::v1;
use std::collections::BTreeMap;
use tonic::Status;

use super::changes::{applied, put_project};
use super::{Api, difference, refusal};
use crate::engine::explain::NoNode;
use crate::engine::model::blob::Content;
use crate::engine::outcome::ServiceChange;
use crate::engine::plan::Planned;
use crate::engine::preview::{Preview, Step, in_words, preview, project_of};
use crate::engine::{Command, Outcome, State};

// === impl Api ===

impl Api {
    /// Foresees an apply. It looks at every task in many rounds: not on a thread that others wait for.
    pub(super) async fn plan(&self, request: v1::ApplyProjectRequest) -> Result<v1::PlanProjectResponse, Status> {
        let state = self.present();
        let now = self.raft.now().unwrap_or(state.clock());
        let wall = self.clock.wall();
        let Command::PutProject { spec, expected_release, prune } = put_project(request)? else {
            return Err(Status::internal("a request to apply stands for another command"));
        };
        let foreseen = tokio::task::spawn_blocking(move || {
            let (project, uploads) = (spec.name.clone(), uploads(&state, &spec));
            let command = Command::PutProject { spec, expected_release, prune };
            let preview = preview(&state, uploads, command, &project, now, wall);
            preview.map(|p| (response(&state, &p, &project), p.outcome)).map_err(|r| refusal::rejected(&r))
        });
        let (response, outcome) = foreseen.await.map_err(|e| Status::internal(e.to_string()))??;
        Ok(v1::PlanProjectResponse { apply: Some(applied(outcome)?), ..response })
    }
}

/// The content an apply would have uploaded first; what it is does not matter here.
fn uploads(state: &State, spec: &ProjectSpec) -> Vec<Command> {
    let files = spec.services.values().flat_map(|s| s.container.files.iter());
    let absent: BTreeMap<&BlobDigest, &FileMount> =
        files.filter(|f| state.blob(&f.digest).is_none()).map(|f| (&f.digest, f)).collect();
    let upload = |f: &FileMount| Command::PutBlob {
        digest: f.digest.clone(),
        kind: f.kind,
        content: Content::Plain { bytes: Vec::new() },
    };
    absent.into_values().map(upload).collect()
}

fn response(state: &State, preview: &Preview, project: &ProjectName) -> v1::PlanProjectResponse {
    let mut response = v1::PlanProjectResponse {
        present_release: state.project(project).map_or(0, |p| p.release),
        revision: state.revision().0,
        differences: differences(state, preview, project),
        unplaced: unplaced(preview, project),
        cut: preview.is_cut,
        ..v1::PlanProjectResponse::default()
    };
    for (index, step) in preview.steps.iter().enumerate() {
        let changes = changes(step, u32::try_from(index + 1).unwrap_or(u32::MAX), project);
        if index == 0 {
            response.changes.extend(changes);
        } else {
            response.foreseen.extend(changes.into_iter().filter(|c| !c.elsewhere));
        }
    }
    response
}

fn changes(step: &Step, number: u32, project: &ProjectName) -> Vec<v1::PlannedChange> {
    let change = |planned: &Planned| v1::PlannedChange {
        change: in_words(&step.from, &planned.change),
        kind: planned.reason.kind().to_owned(),
        reason: with_host_names(&step.from, planned.reason.to_string()),
        step: number,
        elsewhere: project_of(&step.from, &planned.change).is_none_or(|p| p != *project),
    };
    step.plan.changes.iter().map(change).collect()
}

fn unplaced(preview: &Preview, project: &ProjectName) -> Vec<v1::UnplacedSlot> {
    let mut slots = Vec::new();
    let mut judged: BTreeMap<&ServiceName, NoNode> = BTreeMap::new();
    for unplaced in preview.unplaced.iter().filter(|u| u.service.project == *project) {
        let Some(service) = preview.end.service(&unplaced.service) else { continue };
        // All slots of a service are refused alike: judged once.
        let none =
            judged.entry(&unplaced.service.service).or_insert_with(|| NoNode::judge(&preview.end, service, None));
        slots.push(v1::UnplacedSlot {
            service: Some((&unplaced.service).into()),
            slot: unplaced.slot.0,
            why: none.in_a_line(),
            nodes: none.nodes,
            filters: none
                .filters
                .iter()
                .map(|f| v1::FilterCount {
                    filter: f.filter.to_owned(),
                    nodes: f.nodes,
                    example: f.example.clone(),
                    refusal: f.refusal.clone(),
                })
                .collect(),
        });
    }
    slots
}

fn differences(state: &State, preview: &Preview, project: &ProjectName) -> Vec<v1::ServiceDifference> {
    let Outcome::Project { services, .. } = &preview.outcome else { return Vec::new() };
    let mut all = Vec::new();
    for (name, change) in services {
        let key = ServiceKey { project: project.clone(), service: name.clone() };
        let before = state.service(&key).filter(|_| *change != ServiceChange::Created);
        let Some(after) = preview.applied.service(&key) else { continue };
        if matches!(change, ServiceChange::Unchanged | ServiceChange::Removed) {
            continue;
        }
        let fields = difference::between(before.map(|s| &**s), after);
        all.push(v1::ServiceDifference { service: name.to_string(), fields });
    }
    all
}

/// People know nodes by their host names.
fn with_host_names(state: &State, text: String) -> String {
    state.nodes().fold(text, |text, node| text.replace(&node.info.id.to_string(), &node.info.hostname))
}
