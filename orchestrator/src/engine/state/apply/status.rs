//! What a node says of its tasks: joined forward-only.

use proto::assignment::Desired;
use proto::id::{NodeId, TaskId};
use proto::task_state::{Health, Phase, TaskStatus};
use std::sync::Arc;

use super::{State, done, rollout};
use crate::engine::model::{Setback, Task};
use crate::engine::outcome::Outcome;

/// Failures in a row to prepare or start a container, after which it is said to have failed: one may be the registry's.
const PREPARES_TRIED: u32 = 3;

/// Joins each report with what is known. A confirmed stop ends a task that was asked to stop.
pub(super) fn report(state: &mut State, node: NodeId, reports: &[(TaskId, TaskStatus)]) -> Outcome {
    let mut changed = false;
    for (id, status) in reports {
        let Some(known) = state.tasks.get(id).cloned() else { continue };
        if known.node != node || !status.supersedes(&known.status) {
            continue;
        }
        changed = true;
        tell(state, &known, status);
        rollout::log_came(state, &known, status);
        if status.phase == Phase::Stopped && known.desired == Desired::Stop {
            state.remove_task(*id);
            continue;
        }
        let mut task = (*known).clone();
        task.status = status.clone();
        task.was_ready |= status.is_ready();
        if state.has_rollouts() {
            date(state, &mut task, &known.status);
        }
        task.modified = state.revision;
        state.tasks.insert(*id, Arc::new(task));
    }
    done(state, changed)
}

/// Since when it is as it is, and what went wrong with it.
fn date(state: &State, task: &mut Task, before: &TaskStatus) {
    let status = &task.status;
    let goes_on = status.incarnation == before.incarnation || is_same_process(before, status);
    task.ready_since = match (status.is_ready(), task.ready_since) {
        (false, _) => None,
        (true, Some(since)) if goes_on && before.is_ready() => Some(since),
        (true, _) => Some(state.clock),
    };
    if (before.incarnation, before.phase) != (status.incarnation, status.phase) {
        task.phase_since = state.clock;
    }
    // What is told of a lost node tells of its loss.
    let is_heard = state.node(task.node).is_some_and(|n| n.is_up());
    if let Some(cause) = setback(before, task).filter(|_| is_heard && task.is_wanted()) {
        let (incarnation, log) = (status.incarnation, status.last_log.clone());
        task.setback = Some(Arc::new(Setback { revision: state.revision, incarnation, cause, log }));
    } else if let Some(known) = task.setback.as_ref().filter(|s| s.log.is_empty() && !status.last_log.is_empty()) {
        task.setback = Some(Arc::new(Setback { log: status.last_log.clone(), ..(**known).clone() }));
    }
}

/// An agent that lost its memory counts on and finds the same process.
fn is_same_process(before: &TaskStatus, status: &TaskStatus) -> bool {
    let is_known = !before.container_id.is_empty() && before.started_at.is_some();
    is_known && (&before.container_id, before.started_at) == (&status.container_id, status.started_at)
}

/// What went wrong between two observations, in words.
fn setback(before: &TaskStatus, task: &Task) -> Option<String> {
    let status = &task.status;
    let moved = (before.incarnation, before.phase) != (status.incarnation, status.phase);
    match status.phase {
        Phase::Exited if moved && !task.is_complete() => Some(exit_words(status)),
        Phase::Failed if status.failures_in_a_row >= PREPARES_TRIED => Some(status.message.clone()),
        Phase::Running if status.health == Health::Unhealthy && before.health != Health::Unhealthy => {
            Some(format!("its health check fails: {}", status.message))
        }
        _ if before.phase == Phase::Running && moved && !is_same_process(before, status) => {
            (status.incarnation > before.incarnation).then(|| "its process ended and was started again".to_owned())
        }
        _ => None,
    }
}

fn tell(state: &mut State, task: &Task, status: &TaskStatus) {
    let before = &task.status;
    let moved = (before.incarnation, before.phase) != (status.incarnation, status.phase);
    let subject = format!("{}.{}", task.service, task.slot);
    if before.warnings != status.warnings && !status.warnings.is_empty() {
        state.record(subject.clone(), "task-warned", format!("the engine says: {}", status.warnings.join("; ")));
    }
    if moved {
        let (kind, message) = match status.phase {
            Phase::Running if status.incarnation > 1 => {
                ("task-restarted", format!("start {} on its node", status.incarnation))
            }
            Phase::Running => ("task-running", String::new()),
            Phase::Exited => ("task-exited", exit_words(status)),
            Phase::Failed => ("task-failed", status.message.clone()),
            Phase::Stopped => ("task-stopped", String::new()),
            Phase::Pending | Phase::Preparing | Phase::Prepared | Phase::Starting => return,
        };
        state.record(subject, kind, message);
    } else if before.health != status.health {
        match status.health {
            Health::Unhealthy => state.record(subject, "task-unhealthy", status.message.clone()),
            Health::Healthy => state.record(subject, "task-healthy", String::new()),
            Health::None | Health::Starting => {}
        }
    }
}

/// `exit code 137 (SIGKILL), killed for memory: ...`
pub(crate) fn exit_words(status: &TaskStatus) -> String {
    let mut words = match status.exit_code {
        Some(code) => format!("exit code {code}{}", signal_words(code)),
        None => "exit code unknown".to_owned(),
    };
    if status.oom_killed {
        words.push_str(", killed for memory");
    }
    // An agent that knows no more than the code says the code once more.
    let says_more = |code: i32| status.message != format!("exited with code {code}");
    if !status.message.is_empty() && status.exit_code.is_none_or(says_more) {
        words.push_str(": ");
        words.push_str(&status.message);
    }
    words
}

/// Codes above 128 are signals, by the shells' custom: those that people meet.
fn signal_words(code: i32) -> &'static str {
    match code {
        129 => " (SIGHUP)",
        130 => " (SIGINT)",
        134 => " (SIGABRT)",
        135 => " (SIGBUS)",
        137 => " (SIGKILL)",
        139 => " (SIGSEGV)",
        143 => " (SIGTERM)",
        _ => "",
    }
}
