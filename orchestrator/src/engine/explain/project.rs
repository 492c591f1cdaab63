//! The answer of `ctl why` for a project: what is not as wanted, service by service, with its cause and what follows.
//!
//! Pure. What it says of a service is what `ctl why` says of that service. Called by `api`.

use proto::id::ProjectName;
use proto::revision::Wall;

use super::why::ago;
use super::{AS_ASKED, Explanation, Judgement, service as judge_service, word};
use crate::engine::model::{Origin, Project, Service};
use crate::engine::state::State;

/// A project in a word: that of its worst service.
pub fn judge(state: &State, project: &Project) -> Judgement {
    if project.deletion.is_some() {
        return word("deleting", "its services are being removed");
    }
    let Some((judged, service)) = worst(state, project) else { return word("running", "") };
    let reason =
        if judged.reason.is_empty() { String::new() } else { format!("{}: {}", service.key.service, judged.reason) };
    word(of_worst(judged.state), reason)
}

/// The word of `judge`, from those of all services of the project.
pub fn in_a_word<'a>(project: &Project, services: impl Iterator<Item = &'a str>) -> &'a str {
    match services.min_by_key(|word| rank(word)) {
        _ if project.deletion.is_some() => "deleting",
        None => "running",
        Some(worst) => of_worst(worst),
    }
}

/// A project whose worst service is this.
fn of_worst(service: &str) -> &str {
    match service {
        "waiting" | "updating" => "starting",
        "failed" | "paused" | "rolling-back" => "degraded",
        other => other,
    }
}

/// How bad it is, the worst first.
fn rank(state: &str) -> usize {
    const ORDER: [&str; 10] = [
        "failed",
        "degraded",
        "paused",
        "rolling-back",
        "deleting",
        "updating",
        "waiting",
        "starting",
        "running",
        "complete",
    ];
    ORDER.iter().position(|o| *o == state).unwrap_or(ORDER.len())
}

fn worst<'a>(state: &'a State, project: &'a Project) -> Option<(Judgement, &'a Service)> {
    let judged = state.services_of(&project.name).map(|s| (judge_service(state, s), &**s));
    judged.min_by_key(|(j, _)| rank(j.state))
}

fn is_as_wanted(judged: &Judgement) -> bool {
    matches!(judged.state, "running" | "complete")
}

/// The answer of `ctl why` for a project.
pub fn why(state: &State, name: &ProjectName, wall: Wall) -> Option<Explanation> {
    let project = state.project(name)?;
    let mut troubled: Vec<(Judgement, &Service)> =
        state.services_of(name).map(|s| (judge_service(state, s), &**s)).filter(|(j, _)| !is_as_wanted(j)).collect();
    troubled.sort_by_key(|(judged, _)| rank(judged.state));
    let all = state.services_of(name).count();
    let services = if all == 1 { "service" } else { "services" };
    let now = format!(
        "{name} is {}: {} of {all} {services} as asked; release {}, {} {}",
        judge(state, project).state,
        all - troubled.len(),
        project.release,
        origin(project),
        ago(project.applied_at, wall),
    );
    // Of a single one the cause and what follows say it all.
    let told_below = if troubled.len() > 1 { troubled.as_slice() } else { &[] };
    let detail = told_below.iter().flat_map(|(judged, service)| of_service(state, judged, service, wall)).collect();
    let (cause, next) = match troubled.first() {
        _ if project.deletion.is_some() => {
            ("it is being deleted".to_owned(), "it is forgotten once nothing of it is left".to_owned())
        }
        None => ("all its services are as asked".to_owned(), AS_ASKED.to_owned()),
        Some((_, service)) => told(state, service, wall),
    };
    Some(Explanation { now, cause, next, detail })
}

/// Cause and next of a service, with its name in front.
fn told(state: &State, service: &Service, wall: Wall) -> (String, String) {
    let of = super::why(state, &service.key, None, wall).unwrap_or_default();
    let name = &service.key.service;
    // Some causes begin with the slot already.
    let named = |text: String| if text.starts_with(name.as_str()) { text } else { format!("{name}: {text}") };
    (named(of.cause), named(of.next))
}

/// A service that is not as wanted, in two or three lines.
fn of_service(state: &State, judged: &Judgement, service: &Service, wall: Wall) -> Vec<String> {
    let of = super::why(state, &service.key, None, wall).unwrap_or_default();
    let ready = super::counts(state, service).ready;
    let head = format!("{} is {}, {ready} of {} ready", service.key.service, judged.state, service.spec.replicas);
    vec![head, format!("  {}", of.cause), format!("  next: {}", of.next)]
}

/// What made the present release.
fn origin(project: &Project) -> &'static str {
    match project.releases.last().map(|release| &release.origin) {
        Some(Origin::Scaled { .. }) => "scaled",
        Some(Origin::ServiceDeleted { .. }) => "a service deleted",
        Some(Origin::Undone { .. }) => "undone",
        Some(Origin::RolledBack { .. }) => "rolled back",
        _ => "applied",
    }
}
