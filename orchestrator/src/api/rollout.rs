//! Rollouts for operators: progress, history, and the hand on the lever.

use proto::convert::required;
use proto::id::ServiceKey;
use proto::spec::{ServiceMode, ServiceSpec};
use proto::v1;
use tonic::Status;

use super::Api;
use super::changes::{applied, invalid};
use crate::access::By;
use crate::engine::explain::rollout::slots;
use crate::engine::model::{Origin, Project, Release, Rollout, Service};
use crate::engine::reconcile::SlotProgress;
use crate::engine::{Command, Outcome, State, Steer};

// === impl Api ===

impl Api {
    pub(super) async fn steer(
        &self,
        by: By,
        request: v1::SteerRolloutRequest,
    ) -> Result<v1::ApplyProjectResponse, Status> {
        let service: ServiceKey = required("service", request.service.clone()).map_err(invalid)?;
        let how = match request.action() {
            v1::RolloutAction::Pause => Steer::Pause,
            v1::RolloutAction::Resume => Steer::Resume,
            v1::RolloutAction::Undo => Steer::Undo { to: request.to_release },
            v1::RolloutAction::Unspecified => return Err(Status::invalid_argument("action: none is named")),
        };
        let project = service.project.clone();
        let outcome = self.change(by, request.request, Command::SteerRollout { service, how }).await?;
        let Outcome::Done { revision, changed } = outcome else { return applied(outcome) };
        let release = self.present().project(&project).map_or(0, |p| p.release);
        let (services, notices) = (Vec::new(), Vec::new());
        Ok(v1::ApplyProjectResponse { revision: revision.0, release, changed, services, notices })
    }

    pub(super) fn history(&self, request: v1::GetHistoryRequest) -> Result<v1::GetHistoryResponse, Status> {
        let key: ServiceKey = required("service", request.service).map_err(invalid)?;
        let state = self.present();
        let found = state.service(&key).zip(state.project(&key.project));
        let (service, project) = found.ok_or_else(|| Status::not_found(format!("service `{key}` does not exist")))?;
        let at_unix_ms = self.clock.wall().max(state.wall()).0;
        Ok(v1::GetHistoryResponse { at_unix_ms, releases: releases(project, service) })
    }
}

/// Releases in which the service was another than before.
fn releases(project: &Project, service: &Service) -> Vec<v1::Release> {
    let name = &service.key.service;
    let mut before: Option<&ServiceSpec> = None;
    let mut told = Vec::new();
    for release in &project.releases {
        let spec = release.spec.services.get(name);
        if let Some(spec) = spec.filter(|spec| before != Some(*spec)) {
            told.push(release_view(project, service, release, spec));
        }
        before = spec;
    }
    told
}

fn release_view(project: &Project, service: &Service, release: &Release, spec: &ServiceSpec) -> v1::Release {
    let present = service.rollout.as_ref().filter(|r| r.release == release.number);
    let noted = release.outcomes.get(&service.key.service).map(|n| n.split_once(": ").unwrap_or((n, "")));
    let taken_back = project.releases.iter().find_map(|later| match &later.origin {
        Origin::RolledBack { of, cause, .. } if *of == release.number => Some(cause.clone()),
        _ => None,
    });
    v1::Release {
        number: release.number,
        at_unix_ms: release.at.0,
        what: origin_words(&release.origin),
        image: spec.container.image.clone(),
        replicas: spec.replicas,
        global: spec.mode == ServiceMode::Global,
        outcome: present.map(|r| r.word()).or(noted.map(|n| n.0)).unwrap_or_default().to_owned(),
        cause: present
            .map(|r| r.cause().to_owned())
            .filter(|c| !c.is_empty())
            .or(taken_back)
            .or(noted.map(|n| n.1.to_owned()))
            .unwrap_or_default(),
    }
}

fn origin_words(origin: &Origin) -> String {
    match origin {
        Origin::Applied => "applied".to_owned(),
        Origin::Scaled { service, replicas } => format!("{service} scaled to {replicas}"),
        Origin::ServiceDeleted { service } => format!("{service} deleted"),
        Origin::Undone { service, to } => format!("{service} undone to release {to}"),
        Origin::RolledBack { of, to, .. } => format!("release {of} rolled back to {to}"),
    }
}

/// A service's last change.
pub(super) fn view(state: &State, service: &Service) -> Option<v1::Rollout> {
    let rollout = service.rollout.as_ref()?;
    let back = rollout.back.as_ref();
    let first_log = || rollout.first_failure().map(|(_, f)| f.log.clone()).unwrap_or_default();
    Some(v1::Rollout {
        state: rollout.word().to_owned(),
        cause: rollout.cause().to_owned(),
        release: rollout.release,
        from_release: rollout.from.as_ref().map_or(0, |f| f.release),
        began_at_unix_ms: rollout.began_at.0,
        ended_at_unix_ms: rollout.ended_at.map(|at| at.0),
        slots: slots(state, service).into_iter().map(|(slot, progress)| slot_view(rollout, slot, progress)).collect(),
        failed_release: back.map_or(0, |b| b.of),
        restored_release: back.map_or(0, |b| b.to),
        log: back.map_or_else(first_log, |b| b.log.clone()),
        stop_first: service.stop_first().map(|why| why.to_string()).unwrap_or_default(),
    })
}

fn slot_view(rollout: &Rollout, slot: proto::id::Slot, progress: SlotProgress) -> v1::RolloutSlot {
    let failure = rollout.failed.get(&slot);
    let word = match (failure, progress) {
        (Some(_), _) => "failed",
        (None, SlotProgress::Waits) => "waits",
        (None, SlotProgress::Begun) => "begun",
        (None, SlotProgress::Ready) => "ready",
        (None, SlotProgress::Done) => "done",
    };
    v1::RolloutSlot {
        slot: slot.0,
        state: word.to_owned(),
        cause: failure.map(|f| f.cause.clone()).unwrap_or_default(),
        log: failure.map(|f| f.log.clone()).unwrap_or_default(),
    }
}
