//! Waiting for the cluster to do what was asked: watches, shows progress, stops on the verdict, the deadline or Ctrl-C.
//!
//! Never changes anything: when it stops early the cluster goes on. Called by `apply`, `scale`, `delete` and `dev`.

use std::time::Duration;

use proto::v1;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::progress::{Goal, Judge, Taken, Trouble, Verdict};
use crate::client::{CallError, Client};
use crate::exit::{Exit, Failure};
use crate::output::Terminal;
use crate::output::progress::{Line, Progress};
use crate::output::style::{DIM, paint};
use crate::session::Session;

/// How often a display is redrawn and patience is measured.
const TICK: Duration = Duration::from_millis(200);
const WATCHING: &str = "watching the cluster's state";
const RECONNECT_PAUSE: Duration = Duration::from_millis(300);

/// How the waiting ended.
#[derive(Debug)]
pub enum Ended {
    /// It runs.
    Done(Box<v1::Snapshot>),
    /// It did not, and this is why.
    Failed(Vec<Trouble>),
    /// The change failed and was taken back.
    RolledBack(Taken),
    /// Somebody else changed the project meanwhile.
    Superseded(String),
    /// Not in time; what is not done yet.
    TimedOut(Vec<Line>),
    /// Ctrl-C.
    Interrupted,
}

/// Snapshots of one project as they change, over reconnections. Reads in a task of its own, which ends with it.
#[derive(Debug)]
pub struct Watch {
    snapshots: mpsc::Receiver<Result<v1::Snapshot, CallError>>,
    _reader: AbortOnDropHandle<()>,
}

impl Watch {
    /// Of one project (`""`: all).
    pub fn new(client: &Client, project: &str, events: u32) -> Watch {
        let (sender, snapshots) = mpsc::channel(1);
        let reader = tokio::spawn(read(client.clone(), project.to_owned(), events, sender));
        Watch { snapshots, _reader: AbortOnDropHandle::new(reader) }
    }

    /// The next snapshot. Fails when no server answers for as long as a question may take. Safe to drop and call again.
    pub async fn next(&mut self) -> Result<v1::Snapshot, CallError> {
        let ended = CallError::Failed { what: WATCHING, message: "the reader ended".to_owned() };
        self.snapshots.recv().await.unwrap_or(Err(ended))
    }
}

async fn read(client: Client, project: String, events: u32, sender: mpsc::Sender<Result<v1::Snapshot, CallError>>) {
    let mut lost_since: Option<Instant> = None;
    loop {
        let problem = match client.watch(&project, events).await {
            Ok(mut stream) => loop {
                match stream.message().await {
                    Ok(Some(snapshot)) => {
                        lost_since = None;
                        if sender.send(Ok(snapshot)).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => break stream_ended(&client),
                    Err(status) => break client.judge_stream(WATCHING, &status),
                }
            },
            Err(problem) => problem,
        };
        let since = *lost_since.get_or_insert_with(Instant::now);
        let passes = matches!(problem, CallError::Unreachable { .. } | CallError::Deadline { .. });
        if !passes || since.elapsed() >= client.read_deadline {
            let _ = sender.send(Err(problem)).await;
            return;
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

fn stream_ended(client: &Client) -> CallError {
    client.stream_ended()
}

/// Waits for a goal.
pub async fn until(terminal: &mut Terminal, client: &Client, goal: Goal, timeout: Duration) -> Result<Ended, Failure> {
    let started = Instant::now();
    let mut watch = Watch::new(client, &goal.project, 0);
    let mut judge = Judge::new(goal);
    let mut progress = Progress::default();
    let mut latest: Option<v1::Snapshot> = None;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let ended = loop {
        tokio::select! {
            snapshot = watch.next() => match snapshot {
                Ok(snapshot) => latest = Some(snapshot),
                Err(error) => { progress.clear(terminal); return Err(error.into()); }
            },
            _ = ticks.tick() => {}
            _ = sleep_until(started + timeout) => {
                let now_ms = elapsed_ms(started);
                let lines = latest.as_ref().map(|s| judge.lines(s, now_ms)).unwrap_or_default();
                break Ended::TimedOut(lines.into_iter().filter(|line| !line.settled).collect());
            }
            _ = &mut interrupt => break Ended::Interrupted,
        }
        let Some(snapshot) = &latest else { continue };
        let now_ms = elapsed_ms(started);
        let verdict = judge.judge(snapshot, now_ms);
        progress.show(terminal, &judge.lines(snapshot, now_ms), now_ms);
        match verdict {
            Verdict::Wait => {}
            Verdict::Done => break Ended::Done(Box::new(snapshot.clone())),
            Verdict::Failed(troubles) => break Ended::Failed(troubles),
            Verdict::RolledBack(taken) => break Ended::RolledBack(taken),
            Verdict::Superseded(words) => break Ended::Superseded(words),
        }
    };
    progress.clear(terminal);
    Ok(ended)
}

/// Waits until nothing of a project, or of one of its services, is left.
pub async fn until_gone(
    terminal: &mut Terminal,
    client: &Client,
    project: &str,
    service: Option<&str>,
    timeout: Duration,
) -> Result<Ended, Failure> {
    let started = Instant::now();
    let mut watch = Watch::new(client, project, 0);
    let mut progress = Progress::default();
    let mut latest: Option<v1::Snapshot> = None;
    let mut ticks = interval(TICK);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let ended = loop {
        tokio::select! {
            snapshot = watch.next() => match snapshot {
                Ok(snapshot) => latest = Some(snapshot),
                Err(error) => { progress.clear(terminal); return Err(error.into()); }
            },
            _ = ticks.tick() => {}
            _ = sleep_until(started + timeout) => {
                let lines = latest.as_ref().map(|s| leftovers(s, project, service)).unwrap_or_default();
                break Ended::TimedOut(lines);
            }
            _ = &mut interrupt => break Ended::Interrupted,
        }
        let Some(snapshot) = &latest else { continue };
        let lines = leftovers(snapshot, project, service);
        let project_there = service.is_none() && snapshot.projects.iter().any(|p| p.name == project);
        if lines.is_empty() && !project_there {
            break Ended::Done(Box::new(snapshot.clone()));
        }
        progress.show(terminal, &lines, elapsed_ms(started));
    };
    progress.clear(terminal);
    Ok(ended)
}

/// One line per service that still has something.
fn leftovers(snapshot: &v1::Snapshot, project: &str, only: Option<&str>) -> Vec<Line> {
    let concerns = |key: &v1::ServiceKey| key.project == project && only.is_none_or(|service| service == key.service);
    let mut left: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for key in snapshot.services.iter().filter_map(|s| s.key.as_ref()).filter(|k| concerns(k)) {
        left.insert(&key.service, 0);
    }
    for key in snapshot.tasks.iter().filter_map(|t| t.service.as_ref()).filter(|k| concerns(k)) {
        *left.entry(&key.service).or_default() += 1;
    }
    let line = |(name, count): (&str, usize)| Line {
        name: name.to_owned(),
        state: "stopping".to_owned(),
        count: if count == 0 { String::new() } else { format!("{count} left") },
        reason: String::new(),
        settled: false,
    };
    left.into_iter().map(line).collect()
}

fn elapsed_ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The failure, or the exit code, of a waiting that did not end with "done".
pub fn conclude(session: &mut Session, ended: Ended, timeout: Duration, what: &str) -> Result<Exit, Failure> {
    let ctl = session.ctl();
    match ended {
        Ended::Done(_) => Ok(Exit::Done),
        Ended::Interrupted => {
            session.terminal.say("");
            session.terminal.say(&paint(DIM, &format!("stopped waiting; the cluster goes on with it. See `{ctl} ps`")));
            Ok(Exit::Interrupted)
        }
        Ended::Superseded(words) => Err(Failure::refused(words).hint(format!("see `{ctl} get events`"))),
        Ended::TimedOut(lines) => {
            let seconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let message = format!("{what} is not done after {}", crate::time::age(seconds));
            let detail = lines.iter().map(|l| match l.reason.as_str() {
                "" => format!("{}: {} {}", l.name, l.state, l.count),
                reason => format!("{}: {} {}: {reason}", l.name, l.state, l.count),
            });
            // What is waited for is a kind and a name, as `ctl why` takes them; of a deletion there is nothing to explain.
            let is_thing = what.starts_with("project ") || what.starts_with("service ");
            let see = if is_thing { format!("why {what}") } else { "ps".to_owned() };
            Err(Failure::new(Exit::TimedOut, message)
                .lines(detail)
                .hint(format!("the cluster goes on with it: see `{ctl} {see}`; wait longer with --timeout")))
        }
        Ended::Failed(troubles) => Err(failed(&ctl, &troubles)),
        Ended::RolledBack(taken) => Err(rolled_back(&ctl, &taken)),
    }
}

fn rolled_back(ctl: &str, taken: &Taken) -> Failure {
    let Taken { release, to, trouble } = taken;
    let message = format!("release {release} failed and was taken back, release {to} runs again: {}", trouble.reason);
    Failure::new(Exit::RolledBack, message)
        .lines(log_lines(trouble))
        .hint("fix the cause and apply again")
        .hint(format!("{ctl} rollout history {}", trouble.subject))
}

/// At most so many troubles are told, and so many log lines of each.
const TROUBLES_SHOWN: usize = 3;
const LOG_SHOWN: usize = 10;

fn failed(ctl: &str, troubles: &[Trouble]) -> Failure {
    let Some(first) = troubles.first() else { return Failure::refused("it failed") };
    let named =
        |t: &Trouble| if t.subject.is_empty() { t.reason.clone() } else { format!("{}: {}", t.subject, t.reason) };
    let mut failure = Failure::refused(named(first)).lines(log_lines(first));
    for trouble in troubles.iter().skip(1).take(TROUBLES_SHOWN - 1) {
        failure = failure.lines([named(trouble)]).lines(log_lines(trouble));
    }
    if troubles.len() > TROUBLES_SHOWN {
        failure = failure.lines([format!("and {} more", troubles.len() - TROUBLES_SHOWN)]);
    }
    let old: usize = troubles.iter().map(|t| t.old_ready).max().unwrap_or(0);
    if old > 0 {
        let words = if old == 1 {
            "container of the earlier version still serves"
        } else {
            "containers of the earlier version still serve"
        };
        failure = failure.lines([format!("{old} {words}")]);
    }
    if first.reason.starts_with("its rollout is paused") {
        let subject = &first.subject;
        failure = failure.hint(format!("{ctl} rollout resume {subject}, or {ctl} rollout undo {subject}"));
    }
    match first.subject.as_str() {
        "" => failure.hint(format!("see `{ctl} get nodes`")),
        subject => failure.hint(format!("{ctl} why {subject}")),
    }
}

fn log_lines(trouble: &Trouble) -> Vec<String> {
    let skip = trouble.log.len().saturating_sub(LOG_SHOWN);
    trouble.log.iter().skip(skip).map(|line| format!("  | {}", crate::output::table::one_line(line))).collect()
}
