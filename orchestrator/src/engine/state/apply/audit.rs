//! A command's record in the audit: made of the command and its outcome, in the same breath as the change.
//!
//! Never of contents: names, numbers and reasons only.

use proto::id::{ProjectName, ServiceKey};
use proto::limits::AUDIT_TEXT_MAX;
use proto::spec::BlobKind;
use std::collections::{BTreeMap, BTreeSet};

use super::State;
use crate::engine::command::{Command, Enrolling, Steer};
use crate::engine::model::{Asker, AuditNote, AuditOutcome, AuditRecord, Grant};
use crate::engine::outcome::{Outcome, Rejection};

/// What a command is about.
struct What {
    call: String,
    project: String,
    object: String,
    detail: String,
}

/// Keeps what somebody asked for and what became of it.
pub(super) fn record(state: &mut State, by: &Asker, command: &Command, outcome: &Outcome) {
    let Some(what) = what(command) else { return };
    let (object, told, became) = match (command, outcome) {
        (Command::NoteAccess { note }, Outcome::Done { .. }) => {
            (what.object, what.detail, if note.refused { AuditOutcome::Refused } else { AuditOutcome::Given })
        }
        (_, Outcome::Rejected(rejection)) => (what.object, joined(what.detail, why(rejection)), AuditOutcome::Refused),
        (_, Outcome::Done { changed, .. }) => (what.object, what.detail, done(*changed)),
        (_, Outcome::Project { release, changed, .. }) => {
            (what.object, joined(what.detail, format!("release {release}")), done(*changed))
        }
        (_, Outcome::Enrolled { subject, .. }) => (subject.to_string(), what.detail, AuditOutcome::Done),
        (_, Outcome::Plan { .. }) => return,
    };
    let record = AuditRecord {
        number: state.audit.made() + 1,
        revision: state.revision,
        at: state.wall,
        by: Asker { who: short(&by.who), from: short(&by.from) },
        call: short(&what.call),
        project: short(&what.project),
        object: short(&object),
        detail: short(&told),
        outcome: became,
    };
    state.audit.push(record);
}

/// Changes nothing: that it is in the log is all.
pub(super) fn note(state: &State, _note: &AuditNote) -> Outcome {
    super::done(state, false)
}

fn done(changed: bool) -> AuditOutcome {
    if changed { AuditOutcome::Done } else { AuditOutcome::Unchanged }
}

fn why(rejection: &Rejection) -> String {
    match rejection {
        Rejection::Inadmissible(problems) if problems.len() > 1 => {
            format!("{rejection}, and {} more", problems.len() - 1)
        }
        _ => rejection.to_string(),
    }
}

/// `None`: nobody asks for it but this cluster itself.
fn what(command: &Command) -> Option<What> {
    let about = |call: &str, project: &str, object: String, detail: String| {
        Some(What { call: call.to_owned(), project: project.to_owned(), object, detail })
    };
    let project = |call, name: &ProjectName, detail| about(call, name.as_str(), format!("project/{name}"), detail);
    let service =
        |call, key: &ServiceKey, detail| about(call, key.project.as_str(), format!("service/{}", key.service), detail);
    match command {
        Command::PutBlob { digest, kind, .. } => {
            let kind = if *kind == BlobKind::Secret { "secret" } else { "config" };
            about("PutBlob", "", format!("{kind}/{}", digest.0), String::new())
        }
        Command::PutProject { spec, prune, .. } => {
            let detail = if *prune { "prune" } else { "" };
            project("ApplyProject", &spec.name, detail.to_owned())
        }
        Command::DeleteProject { project: name, volumes } => {
            project("DeleteProject", name, if *volumes { "with volumes".to_owned() } else { String::new() })
        }
        Command::DeleteService { service: key } => service("DeleteService", key, String::new()),
        Command::ScaleService { service: key, replicas } => service("ScaleService", key, format!("to {replicas}")),
        Command::SteerRollout { service: key, how } => service("SteerRollout", key, steered(*how)),
        Command::PutToken { token } => {
            let detail = match &token.grant {
                Grant::Agent => "agent".to_owned(),
                Grant::Server => "server".to_owned(),
                Grant::Operator { role, project, name } => match project {
                    Some(project) => format!("operator {name}, {} of {project}", role.as_str()),
                    None => format!("operator {name}, {}", role.as_str()),
                },
            };
            about("CreateToken", "", format!("token/{:016x}", token.id), format!("{detail}, {} uses", token.uses))
        }
        Command::RevokeToken { id } => about("RevokeToken", "", format!("token/{id:016x}"), String::new()),
        Command::Enrol { who, .. } => {
            let object = match who {
                Enrolling::Agent(node) => format!("agent/{node}"),
                Enrolling::Operator => "operator".to_owned(),
                Enrolling::Server(id) => format!("server/{id}"),
            };
            about("Enrol", "", object, String::new())
        }
        Command::RevokeIdentity { subject } => about("RevokeIdentity", "", subject.to_string(), String::new()),
        Command::NoteAccess { note } => about(&note.call, &note.project, note.object.clone(), note.detail.clone()),
        Command::PromoteServer { id } => about("PromoteServer", "", format!("server/{id}"), String::new()),
        Command::RemoveServer { id } => about("RemoveServer", "", format!("server/{id}"), String::new()),
        Command::BeginKeyRotation { to } => about("RotateSealingKey", "", format!("sealing-key/{to}"), String::new()),
        Command::LabelNode { node, set, remove, .. } => {
            about("LabelNode", "", format!("node/{node}"), labelled(set, remove))
        }
        Command::UseNewKey { .. }
        | Command::Reseal { .. }
        | Command::FinishKeyRotation { .. }
        | Command::Bootstrap { .. }
        | Command::PutServer { .. }
        | Command::RaiseVersion { .. }
        | Command::RegisterNode { .. }
        | Command::ReportStatuses { .. }
        | Command::ReportConditions { .. }
        | Command::ApplyPlan { .. }
        | Command::FoundAuthority { .. } => None,
    }
}

/// `set disk, zone; remove rack`: keys only, as values may be private.
fn labelled(set: &BTreeMap<String, String>, remove: &BTreeSet<String>) -> String {
    let set: Vec<&str> = set.keys().map(String::as_str).collect();
    let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
    let parts = [("set", set), ("remove", remove)].into_iter().filter(|(_, keys)| !keys.is_empty());
    parts.map(|(what, keys)| format!("{what} {}", keys.join(", "))).collect::<Vec<_>>().join("; ")
}

fn steered(how: Steer) -> String {
    match how {
        Steer::Pause => "pause".to_owned(),
        Steer::Resume => "resume".to_owned(),
        Steer::Undo { to: None } => "undo".to_owned(),
        Steer::Undo { to: Some(release) } => format!("undo to release {release}"),
    }
}

fn joined(detail: String, more: String) -> String {
    if detail.is_empty() { more } else { format!("{detail}: {more}") }
}

/// At most so long, on one line: what others wrote must not look like records of ours.
fn short(text: &str) -> String {
    let whole = text.chars().count() <= AUDIT_TEXT_MAX;
    let kept = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    if whole { kept.collect() } else { kept.take(AUDIT_TEXT_MAX - 1).chain(['\u{2026}']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_short_line() {
        assert_eq!(short("a\nb\u{1b}[2J"), "a b [2J");
        let long = short(&"\u{e4}".repeat(10_000));
        assert_eq!(long.chars().count(), AUDIT_TEXT_MAX);
        assert!(long.ends_with('\u{2026}'));
        assert_eq!(short(&"x".repeat(AUDIT_TEXT_MAX)), "x".repeat(AUDIT_TEXT_MAX));
    }
}
