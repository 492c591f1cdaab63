//! What the agent remembers of each task, and what it learns when it looks.
//!
//! What must survive a restart of the agent is serialised into the ledger; the rest is marked `skip` and rebuilt.
//! Never decides what to do next: that is `task_state`. What a look at its container teaches is in `fold`.

mod fold;

use proto::assignment::{Assignment, AssignmentSet, Desired};
use proto::id::TaskId;
use proto::limits::RESTART_BACKOFF_RESET_MS;
use proto::revision::{Epoch, Revision, Time, Wall};
use proto::spec::RestartPolicy;
use proto::task_state::{Health, Phase, TaskStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::backoff;
use super::diff::Action;
use super::health::{self, Effective, History, ImageCheck, Sample};
use super::observed::Observed;
use super::task_state::Step;

/// Sequences left free on a restart: what was reported after the ledger's last write stays older than what follows.
const SEQUENCE_GAP: u64 = 1_000;
/// Incarnations left free on a restart when the container is not the one the ledger knew: more cannot have begun
/// between two writes of the ledger.
const INCARNATION_GAP: u32 = 4;
/// Starts of one task that servers may not have told of yet.
const TOLD_LATE: u32 = 1_000;
/// Bytes of a message kept.
const MESSAGE_MAX: usize = 1_000;

/// Everything remembered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Tasks that the set names, or that left a container behind.
    pub tasks: BTreeMap<TaskId, TaskMemory>,
    /// Volumes to remove, by Docker name.
    pub volumes: BTreeMap<String, VolumeMemory>,
    /// Containers that no set mentions and that are being stopped on a verdict, by Docker id.
    #[serde(skip)]
    pub strangers: BTreeMap<String, Attempts>,
    /// Incarnations of tasks not remembered start above this: set when an earlier memory was lost.
    pub floor: u32,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct TaskMemory {
    /// The latest status: incarnation, phase, failures in a row and all that is reported.
    pub status: TaskStatus,
    /// What its checks said.
    pub history: History,
    /// What its image says of health, once read.
    pub image_check: Option<ImageCheck>,
    /// It is being stopped because it is unhealthy: why.
    pub condemned: Option<String>,
    /// Its process ended and its policy leaves it at that.
    pub finished: bool,
    /// Its container could not be started and must be made anew.
    pub recreate: bool,
    /// When it may be tried again.
    #[serde(skip)]
    pub retry_at: Option<Time>,
    /// When its process started.
    #[serde(skip)]
    pub started: Option<Time>,
    /// When its last start was begun by this process: its container's process is not older, whatever wall clocks say.
    #[serde(skip)]
    pub begun: Option<Time>,
    /// What is being done now.
    #[serde(skip)]
    pub busy: Option<Step>,
    /// What is being done was told to end early.
    #[serde(skip)]
    pub cancelled: bool,
    /// Stops and removals that failed.
    #[serde(skip)]
    pub attempts: Attempts,
    /// The engine hinted that it died; nobody has looked yet.
    #[serde(skip)]
    pub suspect: bool,
    /// The outcome of a call is unknown: nothing is done before it was looked at again.
    #[serde(skip)]
    pub unsure: bool,
    /// Sequence of the last status handed to the reporter.
    #[serde(skip)]
    pub reported: u64,
    /// The set in which its stop was last confirmed.
    #[serde(skip)]
    pub confirmed: Option<(Epoch, Revision)>,
    /// Incarnations to leave free when the next one begins. Kept: an agent that is killed again before one began had
    /// perhaps begun one that it could not write.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gap: u32,
    /// Its stop was seen, and since when its endpoint drains if it had a ready one. A restart of the agent begins anew:
    /// a drain is rather too long than cut short.
    #[serde(skip)]
    pub stopping: Option<Stopping>,
}

/// A stop that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping {
    /// When its endpoint, ready until then, left discovery; `None` when nobody can have been sent to it.
    pub drains_since: Option<Time>,
}

/// Failed tries at something that is tried until it succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attempts {
    /// It is being done now.
    pub busy: bool,
    /// Failures in a row.
    pub failures: u32,
    /// Not again before.
    pub not_before: Option<Time>,
}

/// A volume that is to be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct VolumeMemory {
    /// It is gone.
    pub removed: bool,
    /// Tries.
    #[serde(skip)]
    pub attempts: Attempts,
}

impl Attempts {
    /// It failed once more.
    pub fn failed(&mut self, now: Time) {
        self.busy = false;
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now.after_ms(backoff::retry_ms(self.failures)));
    }
}

// === impl Memory ===

impl Memory {
    /// A memory for a node whose earlier one was lost: its incarnations stay above whatever was reported before.
    /// `told`: the highest incarnation that servers told of its tasks, because wall clocks go back.
    pub fn after_loss(wall: Wall, told: u32) -> Memory {
        // Incarnations begin less than once a second in the long run, so seconds since 2025 stay ahead of them.
        let seconds = u32::try_from((wall.0 / 1_000).saturating_sub(1_735_689_600)).unwrap_or(u32::MAX / 2);
        Memory { floor: seconds.max(told.saturating_add(TOLD_LATE)), ..Memory::default() }
    }

    /// Takes over what the ledger kept beside the accepted set: moments are translated to this process's clock and room is
    /// left for what was reported after the last write, also of tasks that came after it. It must be kept before anything is
    /// reported from it, or the next restart would leave the same room again.
    pub fn restored(mut self, set: Option<&AssignmentSet>, now: Time, wall: Wall) -> Memory {
        for id in set.into_iter().flat_map(|set| set.tasks.keys()) {
            let floor = self.floor;
            self.tasks.entry(*id).or_insert_with(|| TaskMemory::above(floor));
        }
        for task in self.tasks.values_mut() {
            task.status.sequence += SEQUENCE_GAP;
            task.gap += INCARNATION_GAP;
            task.started = task.status.started_at.map(|at| moment(at, now, wall));
            task.retry_at = task.status.retry_at.map(|at| now.after_ms(at.0.saturating_sub(wall.0)));
        }
        self
    }

    /// One task, if it is known.
    pub fn task(&self, task: TaskId) -> Option<&TaskMemory> {
        self.tasks.get(&task)
    }

    /// The engine hinted that this container died: its endpoint is not answered until somebody has looked.
    /// Returns whether that changed anything.
    pub fn suspect(&mut self, task: TaskId, container_id: &str) -> bool {
        match self.tasks.get_mut(&task) {
            Some(m) if m.status.container_id == container_id && m.status.phase == Phase::Running && !m.suspect => {
                m.suspect = true;
                true
            }
            _ => false,
        }
    }

    /// Learns from what was seen; tasks that are busy or unsure are left for later.
    pub fn fold(&mut self, set: &AssignmentSet, observed: &Observed, now: Time, wall: Wall) {
        if !observed.is_complete() {
            return;
        }
        for (id, assignment) in &set.tasks {
            let floor = self.floor;
            let task = self.tasks.entry(*id).or_insert_with(|| TaskMemory::above(floor));
            if task.busy.is_some() || task.unsure {
                continue;
            }
            match assignment.desired {
                Desired::Run => task.fold_running(assignment, observed, now, wall),
                // Nothing of it is at the engine.
                Desired::Prepare => {}
                Desired::Stop => task.fold_stopping(assignment, observed, now, wall),
            }
        }
        self.forget(set, observed);
    }

    /// Drops what neither the set nor a container needs any more.
    fn forget(&mut self, set: &AssignmentSet, observed: &Observed) {
        self.tasks.retain(|id, task| {
            set.tasks.contains_key(id) || task.busy.is_some() || observed.of_task(*id).next().is_some()
        });
        self.strangers.retain(|id, attempts| attempts.busy || observed.get(id).is_some());
        self.volumes.retain(|name, volume| volume.attempts.busy || set.remove_volumes.contains(name));
    }

    /// Takes in what a check of one incarnation said.
    pub fn sample(&mut self, set: &AssignmentSet, id: TaskId, incarnation: u32, sample: &Sample, now: Time) {
        let (Some(assignment), Some(task)) = (set.tasks.get(&id), self.tasks.get_mut(&id)) else { return };
        if task.status.incarnation != incarnation || task.status.phase != Phase::Running || task.condemned.is_some() {
            return;
        }
        let image_check = task.image_check.clone();
        let Effective::Check(check) = health::effective(&assignment.health, image_check.as_ref()) else { return };
        task.history = health::judge(check, &task.history, sample, task.started.unwrap_or(now), now);
        let health = task.history.health;
        let message = match (sample.passed, health) {
            (true, _) => String::new(),
            (false, Health::Unhealthy) => format!("health check failed: {}", sample.output),
            (false, _) => task.status.message.clone(),
        };
        task.change(|status| {
            status.health = health;
            status.message = shortened(message);
        });
        if health == Health::Unhealthy && assignment.restart != RestartPolicy::No {
            task.condemned = Some(task.status.message.clone());
        }
    }

    /// Takes in the last lines of the log of a container that ended badly.
    pub fn last_log(&mut self, id: TaskId, incarnation: u32, lines: Vec<String>) {
        if let Some(task) = self.tasks.get_mut(&id)
            && task.status.incarnation >= incarnation
        {
            task.change(|status| status.last_log = lines);
        }
    }

    /// An action is about to be done.
    pub fn begin(&mut self, set: &AssignmentSet, action: &Action, now: Time) {
        match action {
            Action::Task { task, step } => {
                if let Some(memory) = self.tasks.get_mut(task) {
                    memory.begin(step, now);
                }
            }
            Action::Dismiss { container, .. } => self.strangers.entry(container.clone()).or_default().busy = true,
            Action::RemoveVolume { name } => self.volumes.entry(name.clone()).or_default().attempts.busy = true,
            Action::Report { task, status } => {
                if let Some(memory) = self.tasks.get_mut(task) {
                    memory.reported = status.sequence;
                    memory.confirmed = (status.phase == Phase::Stopped).then_some((set.epoch, set.revision));
                }
            }
            Action::Cancel { task } => {
                if let Some(memory) = self.tasks.get_mut(task) {
                    memory.cancelled = true;
                }
            }
        }
    }
}

// === impl TaskMemory ===

impl TaskMemory {
    fn above(floor: u32) -> TaskMemory {
        TaskMemory { status: TaskStatus { incarnation: floor, ..TaskStatus::default() }, ..TaskMemory::default() }
    }

    /// Changes the status; its sequence counts up if that changed anything.
    pub fn change(&mut self, edit: impl FnOnce(&mut TaskStatus)) {
        let before = self.status.clone();
        edit(&mut self.status);
        if self.status != before {
            self.status.sequence = before.sequence + 1;
        }
    }

    /// The next incarnation begins in `phase`. What failed before stays readable until it runs.
    fn begin_incarnation(&mut self, phase: Phase) {
        let gap = std::mem::take(&mut self.gap);
        self.history = History::default();
        self.started = None;
        self.finished = false;
        self.change(|status| {
            *status = TaskStatus {
                incarnation: status.incarnation.saturating_add(1 + gap),
                phase,
                sequence: status.sequence,
                message: std::mem::take(&mut status.message),
                container_id: std::mem::take(&mut status.container_id),
                failures_in_a_row: status.failures_in_a_row,
                warnings: std::mem::take(&mut status.warnings),
                last_log: std::mem::take(&mut status.last_log),
                ..TaskStatus::default()
            };
        });
    }

    fn begin(&mut self, step: &Step, now: Time) {
        self.busy = Some(step.clone());
        self.cancelled = false;
        match step {
            Step::Fetch => {
                self.begin_incarnation(Phase::Preparing);
                self.change(|status| status.container_id.clear());
            }
            // The incarnation that was prepared ahead goes on.
            Step::Prepare { .. } if self.status.phase == Phase::Prepared && self.gap == 0 => self.recreate = false,
            Step::Prepare { .. } => {
                self.recreate = false;
                self.begin_incarnation(Phase::Preparing);
                self.change(|status| {
                    status.container_id.clear();
                    status.warnings.clear();
                });
            }
            Step::Start { container } => {
                let prepared = matches!(self.status.phase, Phase::Preparing | Phase::Prepared);
                if !prepared || self.gap > 0 {
                    self.begin_incarnation(Phase::Starting);
                }
                self.begun = Some(now);
                self.change(|status| {
                    status.phase = Phase::Starting;
                    status.container_id.clone_from(container);
                });
            }
            Step::Stop { .. } | Step::Remove { .. } | Step::ReadImage => return,
        }
        self.retry_at = None;
    }

    /// When its stop signal may be sent; `None` when nothing holds it back.
    pub fn drained_at(&self, assignment: &Assignment) -> Option<Time> {
        self.stopping?.drains_since.map(|since| since.after_ms(assignment.drain_ms))
    }

    /// When the earlier failures are forgiven, if it stays ready until then.
    pub fn lasts_at(&self) -> Option<Time> {
        let waits = self.status.is_ready() && self.status.failures_in_a_row > 0;
        self.started.filter(|_| waits).map(|at| at.after_ms(RESTART_BACKOFF_RESET_MS))
    }
}

/// Does the policy leave a process at its end that failed so many times in a row? Only what is complete ends without counting
/// as a failure.
fn is_left(policy: RestartPolicy, failures: u32) -> bool {
    failures == 0 && policy != RestartPolicy::Always || !policy.starts_again(failures)
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A moment of the wall clock on this process's clock, not after `now`.
fn moment(at: Wall, now: Time, wall: Wall) -> Time {
    Time(now.0.saturating_sub(wall.0.saturating_sub(at.0)))
}

/// A message cut at a character within its limit.
pub(super) fn shortened(mut text: String) -> String {
    if text.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
