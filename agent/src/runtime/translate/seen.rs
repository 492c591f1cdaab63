//! Containers as the engine shows them.
//!
//! Reads only the few fields that are needed, and a state word it does not know is `Other`: a newer engine must not
//! make running containers look gone.

use super::super::{SeenContainer, SeenState};
use super::when;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use proto::id::{ServiceKey, Slot, TaskId};
use proto::label;
use serde::Deserialize;
use std::collections::HashMap;

/// What an inspection says, in our own shape: read leniently when the typed client cannot read the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Inspected {
    /// Docker's id.
    pub id: String,
    /// Its name, a slash first.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Its configuration.
    pub config: Config,
}

/// The state part of an inspection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct State {
    /// The engine's word.
    pub status: String,
    /// Process id on the host.
    pub pid: i64,
    /// Exit code of the last run.
    pub exit_code: i64,
    /// Killed for memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Why it could not start.
    pub error: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
}

/// The configuration part of an inspection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// All labels.
    pub labels: Option<HashMap<String, String>>,
    /// Signal that asks it to stop.
    pub stop_signal: Option<String>,
}

/// One line of a list, in our own shape.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Listed {
    /// Docker's id.
    pub id: String,
    /// Its names, a slash first.
    pub names: Option<Vec<String>>,
    /// All labels.
    pub labels: Option<HashMap<String, String>>,
}

impl From<ContainerInspectResponse> for Inspected {
    fn from(full: ContainerInspectResponse) -> Inspected {
        let state = full.state.unwrap_or_default();
        let config = full.config.unwrap_or_default();
        Inspected {
            id: full.id.unwrap_or_default(),
            name: full.name.unwrap_or_default(),
            state: State {
                status: state.status.map(|s| s.to_string()).unwrap_or_default(),
                pid: state.pid.unwrap_or_default(),
                exit_code: state.exit_code.unwrap_or_default(),
                oom_killed: state.oom_killed.unwrap_or_default(),
                error: state.error.unwrap_or_default(),
                started_at: state.started_at.unwrap_or_default(),
                finished_at: state.finished_at.unwrap_or_default(),
            },
            config: Config { labels: config.labels, stop_signal: config.stop_signal },
        }
    }
}

impl From<ContainerSummary> for Listed {
    fn from(full: ContainerSummary) -> Listed {
        Listed { id: full.id.unwrap_or_default(), names: full.names, labels: full.labels }
    }
}

/// Why a container that was listed under our labels is not one of ours after all, or is of a newer agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Somebody else wrote such labels: not ours, leave it alone.
    #[error("label `{label}` reads `{value}`")]
    Foreign {
        /// Which label.
        label: &'static str,
        /// What it says; empty when absent.
        value: String,
    },
    /// Labels of another version: ours, but not to be understood.
    #[error("labels are of version `{version}`, this agent knows {}; update it", label::VERSION)]
    OtherVersion {
        /// The version it carries.
        version: String,
    },
}

/// The container by its labels, in a given state.
///
/// # Errors
/// `LabelError` when the labels do not name a task.
pub fn identify(
    id: &str,
    name: &str,
    labels: &HashMap<String, String>,
    state: SeenState,
) -> Result<SeenContainer, LabelError> {
    parse_labels(id, name, labels, state).map_err(|foreign| match labels.get(label::LABELS) {
        Some(version) if version != label::VERSION => LabelError::OtherVersion { version: version.clone() },
        _ => foreign,
    })
}

fn parse_labels(
    id: &str,
    name: &str,
    labels: &HashMap<String, String>,
    state: SeenState,
) -> Result<SeenContainer, LabelError> {
    fn read<T: std::str::FromStr>(labels: &HashMap<String, String>, label: &'static str) -> Result<T, LabelError> {
        let value = labels.get(label).cloned().unwrap_or_default();
        value.parse().map_err(|_| LabelError::Foreign { label, value })
    }
    Ok(SeenContainer {
        id: id.to_owned(),
        name: name.trim_start_matches('/').to_owned(),
        task: read::<TaskId>(labels, label::TASK)?,
        service: ServiceKey { project: read(labels, label::PROJECT)?, service: read(labels, label::SERVICE)? },
        slot: Slot(read(labels, label::SLOT)?),
        generation: read(labels, label::GENERATION)?,
        spec_hash: labels.get(label::SPEC_HASH).cloned().unwrap_or_default(),
        state,
    })
}

/// The state in our words.
pub fn state(state: &State) -> SeenState {
    match state.status.as_str() {
        "created" => SeenState::Created,
        "running" => match when::parse(&state.started_at) {
            Some(started_at) => SeenState::Running { started_at, pid: state.pid },
            None => SeenState::Other(format!("running since `{}`", state.started_at)),
        },
        "exited" => SeenState::Exited {
            started_at: when::parse(&state.started_at),
            finished_at: when::parse(&state.finished_at),
            exit_code: i32::try_from(state.exit_code).unwrap_or(i32::MAX),
            oom_killed: state.oom_killed,
            error: state.error.clone(),
        },
        word => SeenState::Other(word.to_owned()),
    }
}

/// An inspection as a container of ours.
///
/// # Errors
/// `LabelError` when its labels do not name a task.
pub fn container(inspected: &Inspected) -> Result<SeenContainer, LabelError> {
    let none = HashMap::new();
    let labels = inspected.config.labels.as_ref().unwrap_or(&none);
    identify(&inspected.id, &inspected.name, labels, state(&inspected.state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::revision::Wall;

    const OURS: &str = r#"{"wherry.labels":"1","wherry.task":"t7","wherry.project":"shop","wherry.service":"web",
        "wherry.slot":"2","wherry.generation":"3","wherry.spec-hash":"abc"}"#;

    fn inspected(state: &str, labels: &str) -> Inspected {
        let text =
            format!(r#"{{"Id":"f00","Name":"/shop-web-2","State":{state},"Config":{{"Labels":{labels}}},"New":1}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn states() {
        let at = Some(Wall(1_714_558_272_000));
        for (text, expect) in [
            (r#"{"Status":"created","StartedAt":"0001-01-01T00:00:00Z"}"#, SeenState::Created),
            (
                r#"{"Status":"running","StartedAt":"2024-05-01T10:11:12Z","Pid":42}"#,
                SeenState::Running { started_at: Wall(1_714_558_272_000), pid: 42 },
            ),
            (
                r#"{"Status":"exited","StartedAt":"2024-05-01T10:11:12Z","FinishedAt":"2024-05-01T10:11:12Z",
                   "ExitCode":137,"OOMKilled":true,"Error":"x"}"#,
                SeenState::Exited {
                    started_at: at,
                    finished_at: at,
                    exit_code: 137,
                    oom_killed: true,
                    error: "x".to_owned(),
                },
            ),
            (r#"{"Status":"paused"}"#, SeenState::Other("paused".to_owned())),
            (r#"{"Status":"napping"}"#, SeenState::Other("napping".to_owned())),
            (r#"{}"#, SeenState::Other(String::new())),
            (r#"{"Status":"running"}"#, SeenState::Other("running since ``".to_owned())),
        ] {
            assert_eq!(container(&inspected(text, OURS)).unwrap().state, expect, "{text}");
        }
    }

    #[test]
    fn labels_name_the_task() {
        let seen = container(&inspected("{}", OURS)).unwrap();
        assert_eq!((seen.name.as_str(), seen.task, seen.slot), ("shop-web-2", TaskId(7), Slot(2)));
        assert_eq!((seen.service.to_string().as_str(), seen.generation), ("shop/web", 3));
        assert_eq!(seen.spec_hash, "abc");
    }

    #[test]
    fn strangers_and_newer_agents_are_told_apart() {
        let foreign = |labels| container(&inspected("{}", labels)).unwrap_err();
        assert_eq!(foreign("null"), LabelError::Foreign { label: label::TASK, value: String::new() });
        let tampered = OURS.replace("t7", "seven");
        assert_eq!(foreign(&tampered), LabelError::Foreign { label: label::TASK, value: "seven".to_owned() });
        let newer = tampered.replace(r#""wherry.labels":"1""#, r#""wherry.labels":"2""#);
        assert_eq!(foreign(&newer), LabelError::OtherVersion { version: "2".to_owned() });
        let newer_but_same = OURS.replace(r#""wherry.labels":"1""#, r#""wherry.labels":"2""#);
        assert_eq!(container(&inspected("{}", &newer_but_same)).unwrap().task, TaskId(7));
    }
}
