//! What a look at a task's container teaches: it runs, it ended, it is gone, or it is on its way out.
//!
//! Pure. Never decides what to do next: that is `task_state`. Called by `Memory::fold`, task by task.

use proto::assignment::Assignment;
use proto::limits::RESTART_BACKOFF_RESET_MS;
use proto::revision::{Time, Wall};
use proto::spec::RestartPolicy;
use proto::task_state::{Health, Phase};

use super::{Stopping, TaskMemory, is_left, moment, shortened};
use crate::engine::backoff;
use crate::engine::health::{self, History};
use crate::engine::observed::{Container, ContainerState, Exit, Observed};
use crate::engine::task_state::current;

impl TaskMemory {
    pub(super) fn fold_running(&mut self, assignment: &Assignment, observed: &Observed, now: Time, wall: Wall) {
        // What an earlier policy left at its end, another may start again.
        self.finished &= is_left(assignment.restart, self.status.failures_in_a_row);
        let image_check = self.image_check.clone();
        let at_start = health::effective(&assignment.health, image_check.as_ref()).at_start();
        match current(assignment, observed) {
            // What was seen before a hint of death does not contradict it: only another look ends the suspicion.
            Some(Container { id, state: ContainerState::Running { started_at }, .. }) => {
                self.seen_running(id, *started_at, at_start, now, wall);
            }
            Some(Container { id, state: ContainerState::Exited(exit), .. }) => {
                self.suspect = false;
                self.seen_exited(id, exit, assignment.restart, now, wall);
            }
            Some(_) => {}
            None if matches!(self.status.phase, Phase::Running | Phase::Starting) => {
                self.suspect = false;
                let gone = Exit { error: "its container was removed from outside".into(), ..Exit::default() };
                self.ended(&gone, assignment.restart, now, wall);
            }
            None => {}
        }
    }

    fn seen_running(&mut self, id: &str, started_at: Wall, at_start: Health, now: Time, wall: Wall) {
        let known = self.status.container_id == id && self.status.started_at == Some(started_at);
        if known && self.status.phase == Phase::Running {
            self.gap = 0;
            // The image was read in the meantime and has no check.
            if at_start == Health::None && self.status.health != Health::None {
                self.change(|status| status.health = Health::None);
            }
            return self.forgive_if_it_lasted(now);
        }
        if self.status.phase != Phase::Starting || self.gap > 0 {
            self.begin_incarnation(Phase::Starting);
        }
        self.started = Some(moment(started_at, now, wall)).max(self.begun.take());
        self.condemned = None;
        self.history = History { health: at_start, ..History::default() };
        self.change(|status| {
            status.phase = Phase::Running;
            status.health = at_start;
            status.message.clear();
            status.container_id = id.to_owned();
            status.started_at = Some(started_at);
            status.retry_at = None;
        });
        self.forgive_if_it_lasted(now);
    }

    fn forgive_if_it_lasted(&mut self, now: Time) {
        if self.lasts_at().is_some_and(|at| at <= now) {
            self.change(|status| status.failures_in_a_row = 0);
        }
    }

    fn seen_exited(&mut self, id: &str, exit: &Exit, policy: RestartPolicy, now: Time, wall: Wall) {
        let same = self.status.container_id == id && (self.gap == 0 || self.status.started_at == exit.started_at);
        match self.status.phase {
            Phase::Running | Phase::Starting if self.gap > 0 && !same => self.begin_incarnation(Phase::Starting),
            Phase::Running | Phase::Starting => {}
            // Known already.
            Phase::Exited if same => return,
            // The start that failed left it as it was.
            Phase::Failed if self.status.container_id == id => return,
            Phase::Pending | Phase::Preparing | Phase::Prepared | Phase::Exited | Phase::Failed | Phase::Stopped => {
                self.begin_incarnation(Phase::Starting);
            }
        }
        self.change(|status| status.container_id = id.to_owned());
        self.ended(exit, policy, now, wall);
    }

    /// The process of this incarnation ended: counts it, says so, and sets when it may start again.
    fn ended(&mut self, exit: &Exit, policy: RestartPolicy, now: Time, wall: Wall) {
        let condemned = self.condemned.take();
        let ran_ms = self.started.map_or(0, |at| now.since_ms(at));
        // One that runs long but never gets healthy has not succeeded.
        let lasted = ran_ms >= RESTART_BACKOFF_RESET_MS && condemned.is_none();
        let before = if lasted { 0 } else { self.status.failures_in_a_row };
        let completed = exit.code == Some(0) && condemned.is_none() && policy != RestartPolicy::Always;
        let failures = if completed { 0 } else { before.saturating_add(1) };
        self.finished = condemned.is_none() && is_left(policy, failures);
        let delay_ms = backoff::restart_ms(failures);
        self.retry_at = (!self.finished && delay_ms > 0).then(|| now.after_ms(delay_ms));
        self.started = None;
        let retry_at = self.retry_at.map(|_| Wall(wall.0 + delay_ms));
        let message = if completed { String::new() } else { condemned.unwrap_or_else(|| cause(exit)) };
        self.change(|status| {
            status.phase = Phase::Exited;
            status.health = Health::None;
            status.exit_code = exit.code;
            status.oom_killed = exit.oom_killed;
            status.message = shortened(message);
            status.started_at = status.started_at.or(exit.started_at);
            status.finished_at = exit.finished_at.or(Some(wall));
            status.retry_at = retry_at;
            status.failures_in_a_row = failures;
        });
    }

    /// It is to go: an end is noted without counting it, and once nothing is left it is stopped.
    pub(super) fn fold_stopping(&mut self, assignment: &Assignment, observed: &Observed, now: Time, wall: Wall) {
        if self.stopping.is_none() {
            let has_endpoint = self.status.is_ready() && !assignment.addresses.is_empty();
            self.stopping = Some(Stopping { drains_since: has_endpoint.then_some(now) });
        }
        self.suspect = false;
        self.condemned = None;
        self.retry_at = None;
        if observed.of_task(assignment.task).next().is_none() {
            self.started = None;
            self.change(|status| {
                if status.phase != Phase::Stopped {
                    status.finished_at = status.finished_at.or(Some(wall));
                }
                status.phase = Phase::Stopped;
                status.message.clear();
                status.health = Health::None;
                status.retry_at = None;
            });
        } else if let (Phase::Running | Phase::Starting, Some(exit)) =
            (self.status.phase, ended_one(assignment, observed))
        {
            self.change(|status| {
                status.phase = Phase::Exited;
                status.health = Health::None;
                status.exit_code = exit.code;
                status.oom_killed = exit.oom_killed;
                status.finished_at = exit.finished_at.or(Some(wall));
            });
        }
    }
}

fn ended_one<'a>(assignment: &Assignment, observed: &'a Observed) -> Option<&'a Exit> {
    match &current(assignment, observed)?.state {
        ContainerState::Exited(exit) => Some(exit),
        _ => None,
    }
}

fn cause(exit: &Exit) -> String {
    match exit {
        Exit { error, .. } if !error.is_empty() => error.clone(),
        Exit { oom_killed: true, .. } => "the kernel killed it for memory".into(),
        Exit { code: Some(code), .. } => format!("exited with code {code}"),
        Exit { code: None, .. } => "its process ended".into(),
    }
}
