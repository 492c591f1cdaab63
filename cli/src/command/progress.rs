//! Is what was asked running yet? A judgement over snapshots: wait, done, or failed with the reason.
//!
//! Pure: snapshots and elapsed milliseconds in, a verdict out. Remembers only since when it has seen what, so that a
//! passing trouble is not taken for a lasting one. Called by `wait`.

use std::collections::{BTreeMap, BTreeSet};

use proto::v1;

use crate::output::progress::Line;
use crate::output::views::task_name;

/// A task without a health check must have run so long, in milliseconds, before it counts as running.
pub const SETTLE_MS: u64 = 1_000;
/// One that failed just before, and has no check, must have run so long, in milliseconds: its next end is told late on a
/// busy host.
pub const SETTLE_FAILED_MS: u64 = 5_000;
/// What the cluster's last run called ready is believed after so long, in milliseconds: agents have looked by then.
pub const ADOPT_MS: u64 = 2_500;
/// A trouble that may pass is believed after so long, in milliseconds.
pub const PATIENCE_MS: u64 = 3_000;
/// While others are still starting a crash loop may be theirs to end: so long, in milliseconds.
pub const PATIENCE_CRASH_MS: u64 = 15_000;
/// Without any usable node, in milliseconds: agents reconnect within this.
pub const PATIENCE_NODES_MS: u64 = 10_000;
/// For the last words of a container that failed, in milliseconds.
pub const LAST_WORDS_MS: u64 = 1_500;
/// Failures in a row that are a crash loop.
pub const CRASHES: u32 = 3;

/// What is waited for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Goal {
    /// The project.
    pub project: String,
    /// The revision of the change: earlier snapshots say nothing.
    pub revision: u64,
    /// The release that was applied; absent when none was.
    pub release: Option<u64>,
    /// Services that must run, with their replicas.
    pub services: BTreeMap<String, u32>,
    /// Services that must be gone.
    pub removed: BTreeSet<String>,
    /// When the cluster itself was started, if just now: what began before is known from its last run only.
    pub cluster_since_unix_ms: Option<u64>,
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Look again.
    Wait,
    /// It runs.
    Done,
    /// It will not run without help.
    Failed(Vec<Trouble>),
    /// The change failed and was taken back; the earlier release runs again.
    RolledBack(Taken),
    /// Somebody applied a later release, or deleted the project.
    Superseded(String),
}

/// A release that was taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Which.
    pub release: u64,
    /// The one that runs again.
    pub to: u64,
    /// What failed: the service whose failure took everything back, and why.
    pub trouble: Trouble,
}

/// Why something does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// What: `shop/web.1`, `shop/web`, or empty for the cluster as a whole.
    pub subject: String,
    /// In words.
    pub reason: String,
    /// The container's last words.
    pub log: Vec<String>,
    /// Containers of the earlier generation that are ready.
    pub old_ready: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Pull,
    Prepare,
    Crash,
    CrashAlone,
    Ended,
    Port,
    Unplaceable,
    Nodes,
}

/// The judgement with its memory.
#[derive(Debug)]
pub struct Judge {
    goal: Goal,
    troubles_since: BTreeMap<(String, Kind), u64>,
    ready_since: BTreeMap<(u64, u32), u64>,
    taken_since: Option<u64>,
}

// === impl Judge ===

impl Judge {
    /// A judge of this goal.
    pub fn new(goal: Goal) -> Judge {
        Judge { goal, troubles_since: BTreeMap::new(), ready_since: BTreeMap::new(), taken_since: None }
    }

    /// The verdict on a snapshot, `now_ms` after the waiting began.
    pub fn judge(&mut self, snapshot: &v1::Snapshot, now_ms: u64) -> Verdict {
        if snapshot.revision < self.goal.revision {
            return Verdict::Wait;
        }
        match self.taken_back(snapshot) {
            // What the failed container wrote comes a moment after its end.
            Some(Verdict::RolledBack(taken)) if taken.trouble.log.is_empty() => {
                let since = *self.taken_since.get_or_insert(now_ms);
                let told = now_ms.saturating_sub(since) >= LAST_WORDS_MS;
                return if told { Verdict::RolledBack(taken) } else { Verdict::Wait };
            }
            Some(verdict) => return verdict,
            None => {}
        }
        if let Some(words) = self.superseded(snapshot) {
            return Verdict::Superseded(words);
        }
        let stuck = self.stuck(snapshot);
        if !stuck.is_empty() {
            return Verdict::Failed(stuck);
        }
        self.note_ready(snapshot, now_ms);
        if self.all_settled(snapshot, now_ms) {
            return Verdict::Done;
        }
        let lasting = self.lasting(self.troubles(snapshot, now_ms), now_ms);
        if lasting.is_empty() { Verdict::Wait } else { Verdict::Failed(lasting) }
    }

    /// One line per service for the progress display.
    pub fn lines(&self, snapshot: &v1::Snapshot, now_ms: u64) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for (name, replicas) in &self.goal.services {
            lines.push(match self.service(snapshot, name) {
                Some(service) => self.line(snapshot, service, now_ms),
                None => line(name, "pending", format!("0/{replicas}"), ""),
            });
        }
        for name in &self.goal.removed {
            let tasks = self.tasks(snapshot, name).count();
            let gone = self.service(snapshot, name).is_none() && tasks == 0;
            let mut removed = line(name, if gone { "removed" } else { "stopping" }, String::new(), "");
            removed.settled = gone;
            lines.push(removed);
        }
        lines
    }

    fn line(&self, snapshot: &v1::Snapshot, service: &v1::Service, now_ms: u64) -> Line {
        let name = &service.key.as_ref().expect("found by its key").service;
        let settled = self.settled(snapshot, name, now_ms);
        let complete = service.state == "complete";
        let ready = service.ready.min(service.replicas);
        let count = if complete { String::new() } else { format!("{ready}/{}", service.replicas) };
        let reason = if settled { "" } else { service.reason.as_str() };
        Line { settled, ..line(name, &service.state, count, reason) }
    }

    /// The change is being taken back, or was.
    fn taken_back(&self, snapshot: &v1::Snapshot) -> Option<Verdict> {
        let mine = self.goal.release?;
        let services = snapshot.services.iter().filter(|s| project_of(s) == self.goal.project);
        let back: Vec<(&v1::Service, &v1::Rollout)> =
            services.filter_map(|s| Some((s, s.rollout.as_ref().filter(|r| r.failed_release == mine)?))).collect();
        let (_, first) = *back.first()?;
        if let Some((service, rollout)) = back.iter().find(|(_, r)| matches!(r.state.as_str(), "failed" | "paused")) {
            let words = format!("release {mine} failed and so did going back: {}", rollout.cause);
            return Some(Verdict::Failed(vec![self.about(snapshot, service, words, rollout.log.clone())]));
        }
        if back.iter().any(|(_, r)| r.state != "rolled-back") {
            return Some(Verdict::Wait);
        }
        let blamed = first.cause.split('.').next().unwrap_or_default();
        let (service, rollout) =
            back.iter().find(|(s, _)| s.key.as_ref().is_some_and(|k| k.service == blamed)).unwrap_or(&back[0]);
        let trouble = self.about(snapshot, service, rollout.cause.clone(), rollout.log.clone());
        Some(Verdict::RolledBack(Taken { release: mine, to: rollout.restored_release, trouble }))
    }

    /// Rollouts that will not go on by themselves.
    fn stuck(&self, snapshot: &v1::Snapshot) -> Vec<Trouble> {
        let services = self.goal.services.keys().filter_map(|name| self.service(snapshot, name));
        let stuck = services.filter_map(|service| {
            let rollout = service.rollout.as_ref()?;
            let words = match rollout.state.as_str() {
                "paused" => format!("its rollout is paused: {}", rollout.cause),
                "failed" => format!("its rollout failed: {}", rollout.cause),
                _ => return None,
            };
            Some(self.about(snapshot, service, words, rollout.log.clone()))
        });
        stuck.collect()
    }

    fn about(&self, snapshot: &v1::Snapshot, service: &v1::Service, reason: String, log: Vec<String>) -> Trouble {
        let name = service.key.as_ref().map(|k| k.service.clone()).unwrap_or_default();
        let old_ready = self.tasks(snapshot, &name).filter(|t| t.outdated && t.state == "ready").count();
        Trouble { subject: format!("{}/{name}", self.goal.project), reason, log, old_ready }
    }

    fn superseded(&self, snapshot: &v1::Snapshot) -> Option<String> {
        let project = snapshot.projects.iter().find(|p| p.name == self.goal.project);
        let name = &self.goal.project;
        match (project, self.goal.release) {
            (None, _) => Some(format!("the project `{name}` was deleted meanwhile")),
            (Some(p), _) if p.state == "deleting" => Some(format!("the project `{name}` is being deleted")),
            (Some(p), Some(mine)) if p.release > mine => {
                Some(format!("release {} of `{name}` was applied meanwhile", p.release))
            }
            _ => None,
        }
    }

    fn service<'a>(&self, snapshot: &'a v1::Snapshot, name: &str) -> Option<&'a v1::Service> {
        snapshot
            .services
            .iter()
            .find(|s| s.key.as_ref().is_some_and(|k| k.project == self.goal.project && k.service == name))
    }

    fn tasks<'a>(&self, snapshot: &'a v1::Snapshot, name: &str) -> impl Iterator<Item = &'a v1::Task> {
        let key = v1::ServiceKey { project: self.goal.project.clone(), service: name.to_owned() };
        snapshot.tasks.iter().filter(move |t| t.service.as_ref() == Some(&key))
    }

    /// Tasks that the present generation is judged by.
    fn current<'a>(&self, snapshot: &'a v1::Snapshot, name: &str) -> impl Iterator<Item = &'a v1::Task> {
        self.tasks(snapshot, name).filter(|t| !t.outdated && t.desired != "stop")
    }

    fn note_ready(&mut self, snapshot: &v1::Snapshot, now_ms: u64) {
        let seen: BTreeSet<(u64, u32)> =
            snapshot.tasks.iter().filter(|t| t.state == "ready").map(incarnation).collect();
        self.ready_since.retain(|key, _| seen.contains(key));
        for key in seen {
            self.ready_since.entry(key).or_insert(now_ms);
        }
    }

    /// A ready task counts once its check succeeded, or, without a check, once it has run for a moment.
    fn holds(&self, task: &v1::Task, at_unix_ms: u64, now_ms: u64) -> bool {
        let Some(status) = &task.status else { return false };
        if task.state != "ready" {
            return false;
        }
        let ran_ms = status.started_at_unix_ms.map_or(0, |started| at_unix_ms.saturating_sub(started));
        let seen_ms = self.ready_since.get(&incarnation(task)).map_or(0, |since| now_ms.saturating_sub(*since));
        let of_last_run = self.goal.cluster_since_unix_ms.zip(status.started_at_unix_ms).is_some_and(|(s, at)| at < s);
        if of_last_run {
            return seen_ms >= ADOPT_MS;
        }
        let settles_ms = if failures(task) > 0 { SETTLE_FAILED_MS } else { SETTLE_MS };
        status.health() == v1::Health::Healthy || ran_ms.max(seen_ms) >= settles_ms
    }

    fn all_settled(&self, snapshot: &v1::Snapshot, now_ms: u64) -> bool {
        let gone =
            |name: &String| self.service(snapshot, name).is_none() && self.tasks(snapshot, name).next().is_none();
        self.goal.services.keys().all(|name| self.settled(snapshot, name, now_ms)) && self.goal.removed.iter().all(gone)
    }

    fn settled(&self, snapshot: &v1::Snapshot, name: &str, now_ms: u64) -> bool {
        let Some(service) = self.service(snapshot, name) else { return false };
        let Some(wanted) = self.goal.services.get(name) else { return false };
        // How many nodes a global one may be on only the servers know; on none, it does not run.
        let wanted = &if service.global { service.replicas } else { *wanted };
        if service.replicas != *wanted || service.global && *wanted == 0 {
            return false;
        }
        if service.state == "complete" {
            return true;
        }
        if *wanted == 0 {
            return self.tasks(snapshot, name).next().is_none();
        }
        let counts = service.state == "running" && service.ready >= *wanted && service.current >= *wanted;
        let ports = service.ports.iter().all(|p| p.problem.is_empty());
        counts && ports && self.current(snapshot, name).all(|t| self.holds(t, snapshot.at_unix_ms, now_ms))
    }

    fn troubles(&self, snapshot: &v1::Snapshot, now_ms: u64) -> Vec<(Kind, Trouble)> {
        let mut found = Vec::new();
        let alone = !self.goal.services.keys().any(|name| self.moves(snapshot, name));
        for name in self.goal.services.keys() {
            let Some(service) = self.service(snapshot, name) else { continue };
            // What becomes of a change that is being rolled out, the servers decide.
            if service.rollout.as_ref().is_some_and(|r| matches!(r.state.as_str(), "running" | "rolling-back")) {
                continue;
            }
            let subject = format!("{}/{name}", self.goal.project);
            let old_ready = self.tasks(snapshot, name).filter(|t| t.outdated && t.state == "ready").count();
            let about = |subject: String, reason: &str| Trouble {
                subject,
                reason: reason.to_owned(),
                log: Vec::new(),
                old_ready,
            };
            for task in self.current(snapshot, name) {
                found.extend(self.of_task(task, snapshot.at_unix_ms, now_ms, alone, old_ready));
            }
            if service.unplaced > 0 {
                found.push((Kind::Unplaceable, about(subject.clone(), &service.reason)));
            } else if service.state == "failed" && self.current(snapshot, name).all(|t| t.state != "failed") {
                found.push((Kind::Ended, about(subject.clone(), &service.reason)));
            }
            let port = service.ports.iter().find(|p| !p.problem.is_empty());
            found.extend(port.map(|p| (Kind::Port, about(subject, &port_problem(p)))));
        }
        found.extend(no_node(snapshot).map(|trouble| (Kind::Nodes, trouble)));
        found
    }

    /// Still on its way, so that others may be waiting for it.
    fn moves(&self, snapshot: &v1::Snapshot, name: &str) -> bool {
        let crashes = self.current(snapshot, name).any(|t| failures(t) > 0 || t.state == "failed");
        let state = self.service(snapshot, name).map_or("starting", |s| s.state.as_str());
        !crashes && matches!(state, "starting" | "updating")
    }

    fn of_task(
        &self,
        task: &v1::Task,
        at_unix_ms: u64,
        now_ms: u64,
        alone: bool,
        old_ready: usize,
    ) -> Vec<(Kind, Trouble)> {
        let status = task.status.clone().unwrap_or_default();
        let words = [task.reason.as_str(), status.message.as_str()].into_iter().find(|w| !w.is_empty()).unwrap_or("");
        let trouble =
            |reason: String| Trouble { subject: task_name(task), reason, log: status.last_log.clone(), old_ready };
        if self.holds(task, at_unix_ms, now_ms) {
            return Vec::new();
        }
        if status.phase() == v1::Phase::Failed {
            let pull = status.message.contains("cannot be pulled") || words.contains("cannot be pulled");
            let kind = if pull { Kind::Pull } else { Kind::Prepare };
            return vec![(kind, trouble(words.to_owned()))];
        }
        if status.failures_in_a_row >= CRASHES {
            let told = trouble(crash_words(&status, words));
            let both = [(Kind::CrashAlone, told.clone()), (Kind::Crash, told)];
            return both.into_iter().skip(usize::from(!alone)).collect();
        }
        if task.state == "failed" { vec![(Kind::Ended, trouble(words.to_owned()))] } else { Vec::new() }
    }

    /// Troubles that are believed by now; forgets those that passed.
    fn lasting(&mut self, troubles: Vec<(Kind, Trouble)>, now_ms: u64) -> Vec<Trouble> {
        let keys: BTreeSet<(String, Kind)> = troubles.iter().map(|(kind, t)| (t.subject.clone(), *kind)).collect();
        self.troubles_since.retain(|key, _| keys.contains(key));
        for key in keys {
            self.troubles_since.entry(key).or_insert(now_ms);
        }
        let single = self.goal.services.len() == 1;
        let mut lasting: Vec<Trouble> = Vec::new();
        for (kind, trouble) in troubles {
            let since = self.troubles_since.get(&(trouble.subject.clone(), kind)).copied().unwrap_or(now_ms);
            let believed = now_ms.saturating_sub(since) >= patience_ms(kind, single);
            if believed && !lasting.contains(&trouble) {
                lasting.push(trouble);
            }
        }
        lasting
    }
}

fn project_of(service: &v1::Service) -> &str {
    service.key.as_ref().map_or("", |k| k.project.as_str())
}

fn patience_ms(kind: Kind, single: bool) -> u64 {
    match kind {
        Kind::Pull => 0,
        Kind::CrashAlone if single => 0,
        Kind::CrashAlone | Kind::Prepare | Kind::Ended | Kind::Port | Kind::Unplaceable => PATIENCE_MS,
        Kind::Crash => PATIENCE_CRASH_MS,
        Kind::Nodes => PATIENCE_NODES_MS,
    }
}

fn line(name: &str, state: &str, count: String, reason: &str) -> Line {
    Line { name: name.to_owned(), state: state.to_owned(), count, reason: reason.to_owned(), settled: false }
}

fn incarnation(task: &v1::Task) -> (u64, u32) {
    (task.id, task.status.as_ref().map_or(0, |s| s.incarnation))
}

fn failures(task: &v1::Task) -> u32 {
    task.status.as_ref().map_or(0, |s| s.failures_in_a_row)
}

fn port_problem(port: &v1::PublishedPort) -> String {
    let spec = port.port.clone().unwrap_or_default();
    format!("port {} cannot be published: {}", spec.published, port.problem)
}

fn crash_words(status: &v1::TaskStatus, words: &str) -> String {
    let how = match (status.oom_killed, status.exit_code) {
        (true, _) => "killed for lack of memory".to_owned(),
        (false, Some(code)) => format!("exited with code {code}"),
        (false, None) if words.is_empty() => "it ended".to_owned(),
        (false, None) => words.to_owned(),
    };
    format!("crash-looping: {how}, {} times in a row", status.failures_in_a_row)
}

fn no_node(snapshot: &v1::Snapshot) -> Option<Trouble> {
    let problem = |n: &v1::Node| n.conditions.as_ref().map_or(String::new(), |c| c.engine_problem.clone());
    if snapshot.nodes.iter().any(|n| n.state == "ready" && problem(n).is_empty()) {
        return None;
    }
    let words = snapshot.nodes.iter().map(|n| if n.reason.is_empty() { problem(n) } else { n.reason.clone() });
    let first = words.into_iter().find(|w| !w.is_empty());
    let reason = first.map_or("no node is ready".to_owned(), |why| format!("no node is ready: {why}"));
    Some(Trouble { subject: String::new(), reason, log: Vec::new(), old_ready: 0 })
}
