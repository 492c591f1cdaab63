//! Begins actions: each in a task of its own that ends as an event.

use futures_util::StreamExt;
use proto::assignment::{Assignment, AssignmentSet};
use proto::id::TaskId;
use proto::revision::Wall;
use proto::task_state::{Phase, TaskStatus};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::steps::Errand;
use super::{Event, LIST_EVERY, WRITE_AFTER, Worker};
use crate::engine::{Action, Step};
use crate::runtime::{ContainerRuntime, Identity, LogQuery};

/// Lines of a log kept when a container ended badly.
const LAST_LINES: u64 = 10;
/// Bytes kept of one of them.
const LAST_LINE_MAX: usize = 300;
/// The engine dates a start when its own part of it is done, and a line when it reads it: the lines of a process that ends
/// at once are dated before its start. A start in place takes longer than this, in milliseconds.
const DATED_WITHIN_MS: u64 = 100;
/// Time after which a log is not waited for any more.
const LAST_LOG_WITHIN: Duration = Duration::from_secs(2);

impl Worker {
    pub(super) fn act(&mut self, set: &Arc<AssignmentSet>, action: Action) {
        match action {
            Action::Report { task, status } => {
                self.ask_for_log(task, &status);
                self.parts.reporter.put(task, status);
            }
            Action::Cancel { task } => {
                if let Some(cancel) = self.cancels.get(&task) {
                    cancel.cancel();
                }
            }
            Action::Dismiss { container, step } => self.dismiss(container, step),
            Action::Task { task, step } => {
                // One that never got ready goes: what it said so far tells why.
                if let (Step::Stop { .. }, Some(memory)) = (&step, self.memory.task(task)) {
                    let status = memory.status.clone();
                    if status.phase == Phase::Running && !status.is_ready() {
                        self.read_log(task, &status);
                    }
                }
                if let Some(assignment) = set.tasks.get(&task) {
                    self.perform(set, assignment.clone(), step);
                }
            }
            Action::RemoveVolume { name } => {
                let (runtime, events) = (Arc::clone(&self.parts.runtime), self.events.clone());
                tokio::spawn(async move {
                    let result = runtime.remove_volume(&name).await;
                    let _ = events.send(Event::VolumeEnded { name, result });
                });
            }
        }
    }

    fn perform(&mut self, set: &AssignmentSet, assignment: Assignment, step: Step) {
        let cancel = CancellationToken::new();
        let task = assignment.task;
        self.cancels.insert(task, cancel.clone());
        let identity = identity(set);
        let errand = Errand { identity, network: set.network, assignment, cancel };
        let (hands, events) = (self.hands.clone(), self.events.clone());
        tracing::debug!(%task, ?step, "begins");
        let makes = matches!(step, Step::Fetch | Step::Prepare { .. } | Step::Start { .. });
        // What is being made is waited for at the end; a stop ends without us.
        let under_way = makes.then(|| self.making.token());
        tokio::spawn(async move {
            let _under_way = under_way;
            let (outcome, seen) = hands.perform(&step, &errand).await;
            tracing::debug!(%task, ?step, ?outcome, "ended");
            let _ = events.send(Event::StepEnded { task, outcome, seen });
        });
    }

    fn dismiss(&mut self, container: String, step: Step) {
        let Some(task) = self.observed.get(&container).map(|c| c.task) else { return };
        let (hands, events) = (self.hands.clone(), self.events.clone());
        tokio::spawn(async move {
            let (done, seen) = hands.dismiss(&step).await;
            let _ = events.send(Event::Dismissed { container, task, done, seen });
        });
    }

    /// Looks at one container; a look that is under way is repeated after it ended.
    pub(super) fn look(&mut self, task: TaskId, container: &str) {
        if !self.looking.insert(container.to_owned()) {
            self.look_again.insert(task);
            return;
        }
        self.tick += 1;
        let begun = self.tick;
        let (hands, events, container) = (self.hands.clone(), self.events.clone(), container.to_owned());
        tokio::spawn(async move {
            let seen = hands.look(&container).await;
            let _ = events.send(Event::Looked { task, container, begun, seen });
        });
    }

    /// Lists everything, unless that is under way.
    pub(super) fn list_now(&mut self) {
        let Some(set) = self.set.clone().filter(|_| !self.listing) else {
            self.list_at = Instant::now() + Duration::from_millis(100);
            return;
        };
        self.listing = true;
        self.list_at = Instant::now() + LIST_EVERY;
        self.tick += 1;
        let begun = self.tick;
        let (runtime, events) = (Arc::clone(&self.parts.runtime), self.events.clone());
        tokio::spawn(async move {
            let list = runtime.list(&identity(&set)).await;
            let list = list.map(|list| list.into_iter().map(Into::into).collect());
            let _ = events.send(Event::Listed { begun, list });
        });
    }

    /// The last words of a container that ended badly.
    fn ask_for_log(&mut self, task: TaskId, status: &TaskStatus) {
        if status.phase == Phase::Exited && status.failures_in_a_row > 0 {
            self.read_log(task, status);
        }
    }

    /// Once per incarnation.
    fn read_log(&mut self, task: TaskId, status: &TaskStatus) {
        let there = !status.container_id.is_empty();
        if !there || self.logs_asked.insert(task, status.incarnation) == Some(status.incarnation) {
            return;
        }
        let (runtime, events) = (Arc::clone(&self.parts.runtime), self.events.clone());
        let (incarnation, container) = (status.incarnation, status.container_id.clone());
        let (since, until) = (status.started_at, status.finished_at);
        tokio::spawn(async move {
            let read = tokio::time::timeout(LAST_LOG_WITHIN, last_lines(&*runtime, &container, since, until)).await;
            if let Ok(lines) = read
                && !lines.is_empty()
            {
                let _ = events.send(Event::LastLog { task, incarnation, lines });
            }
        });
    }

    /// Files of tasks that left go; each change is looked at once.
    pub(super) fn drop_files(&mut self, set: &AssignmentSet) {
        if !self.observed.is_complete() {
            return;
        }
        let alive: BTreeSet<TaskId> = set
            .tasks
            .keys()
            .filter(|id| self.memory.task(**id).is_none_or(|t| t.status.phase != Phase::Stopped))
            .copied()
            .chain(self.observed.containers().map(|c| c.task))
            .collect();
        if alive != self.kept_tasks {
            self.parts.files.retain(&alive);
            // A list that began before a removal would bring the removed back.
            let listing = self.listing;
            self.settled.retain(|id, _| listing || alive.contains(id));
            self.logs_asked.retain(|id, _| alive.contains(id));
            self.kept_tasks = alive;
        }
    }

    pub(super) fn write_soon(&mut self) {
        self.write_at.get_or_insert_with(|| Instant::now() + WRITE_AFTER);
    }

    pub(super) fn write_if_due(&mut self) {
        if self.writing || self.write_at.is_none_or(|at| Instant::now() < at) {
            return;
        }
        self.write_at = None;
        self.writing = true;
        let (ledger, memory, events) = (Arc::clone(&self.parts.ledger), self.memory.clone(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = ledger.keep_memory(&memory) {
                tracing::error!(%error, "the memory could not be kept");
            }
            let _ = events.send(Event::Written);
        });
    }
}

fn identity(set: &AssignmentSet) -> Identity {
    Identity { cluster: set.cluster, epoch: set.epoch, node: set.node }
}

/// Of one start only: the container's log goes on over restarts, and the next start may have begun by now.
async fn last_lines(
    runtime: &dyn ContainerRuntime,
    container: &str,
    since: Option<Wall>,
    until: Option<Wall>,
) -> Vec<String> {
    let since = since.map(|at| Wall(at.0.saturating_sub(DATED_WITHIN_MS)));
    let until = until.map(|at| Wall(at.0 + DATED_WITHIN_MS));
    let query = LogQuery { follow: false, tail: Some(2 * LAST_LINES), since };
    let Ok(mut chunks) = runtime.logs(container, &query).await else { return Vec::new() };
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = chunks.next().await {
        // Engines know `since` to the second only.
        let early = chunk.at.zip(since).is_some_and(|(at, since)| at < since);
        let late = chunk.at.zip(until).is_some_and(|(at, until)| at > until);
        if early || late {
            continue;
        }
        bytes.extend_from_slice(&chunk.bytes);
        if bytes.len() > LAST_LINES as usize * LAST_LINE_MAX * 4 {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text.lines().map(|line| line.chars().take(LAST_LINE_MAX).collect()).collect();
    lines[lines.len().saturating_sub(LAST_LINES as usize)..].to_vec()
}
