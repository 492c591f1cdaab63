//! Calls of agents to their engines: what they do there, when, and what comes back, as `agent::worker::steps` has it.
//!
//! A call does its work although its caller died meanwhile, if the engine had it already.

use agent::engine::health::ImageCheck;
use agent::engine::{Container, Outcome, Step, Trouble};
use proto::assignment::{Assignment, Desired, Verdict};
use proto::id::TaskId;

use super::World;
use super::event::{Event, Fact, Why};
use super::image::Program;
use super::params::Trouble as Bad;

/// Time of a create that cannot be given up any more, in milliseconds.
const CREATE_MS: u64 = 60;
/// An engine that says nothing of a pull for so long is left alone with it, in milliseconds.
const PULL_SILENCE_MS: u64 = 60_000;

/// What was seen of a container after a call.
#[derive(Debug, Clone)]
pub enum Seen {
    /// It is like this.
    Container(Box<Container>),
    /// It does not exist.
    Gone(String),
    /// Nobody could look.
    Unknown,
}

/// A call under way.
#[derive(Debug)]
pub struct Call {
    agent: usize,
    process: u64,
    kind: Kind,
    effect_at: u64,
    cancelled: bool,
    begun: u64,
    result: Option<Result<Option<String>, Trouble>>,
    pull: Option<Bad>,
}

#[derive(Debug, Clone)]
enum Kind {
    Step { assignment: Box<Assignment>, step: Step },
    Dismiss { task: TaskId, container: String, step: Step },
    Volume { name: String },
}

// === impl Call ===

impl Call {
    /// Whose it is.
    pub fn agent(&self) -> usize {
        self.agent
    }
}

impl World {
    fn call(&mut self, agent: usize, kind: Kind, effect_ms: u64) -> u64 {
        self.calls_made += 1;
        let id = self.calls_made;
        let (process, effect_at) = (self.agents[agent].process, self.now + effect_ms);
        self.calls.insert(
            id,
            Call { agent, process, kind, effect_at, cancelled: false, begun: self.now, result: None, pull: None },
        );
        self.at(effect_at, Event::Effect { call: id });
        id
    }

    pub(super) fn call_step(&mut self, agent: usize, assignment: Assignment, step: Step) {
        let task = assignment.task;
        let program = Program::of(&assignment.container.image);
        let mut pull = None;
        let effect_ms = match &step {
            Step::Fetch | Step::Prepare { .. } => {
                let (ms, bad) = self.pull(agent, &assignment.container.image);
                pull = bad;
                ms + self.rng.skewed(10, 460)
            }
            Step::Start { .. } => self.rng.skewed(20, 500),
            Step::Stop { grace_ms, .. } if program == Program::Stubborn => *grace_ms,
            Step::Stop { .. } => self.rng.skewed(20, 1_000),
            Step::Remove { .. } => self.rng.skewed(5, 300),
            Step::ReadImage => 2,
        };
        self.say(format_args!("agent {agent} begins {task} {}", brief(&step)));
        if let Step::Stop { container, .. } | Step::Remove { container } = &step {
            let why = self.why(agent, &assignment, container);
            self.touched(agent, task, container.clone(), why);
        }
        let id = self.call(agent, Kind::Step { assignment: Box::new(assignment), step }, effect_ms);
        if let Some(call) = self.calls.get_mut(&id) {
            call.pull = pull;
        }
        self.agents[agent].calls.insert(task, id);
    }

    /// How long a pull takes, in milliseconds, and what is wrong with it.
    fn pull(&mut self, host: usize, image: &str) -> (u64, Option<Bad>) {
        if self.hosts[host].images.contains(image) {
            (0, None)
        } else if self.strikes(Bad::HungPull) {
            (PULL_SILENCE_MS, Some(Bad::HungPull))
        } else if self.strikes(Bad::SlowPull) {
            (self.rng.range(2_000, 180_000), Some(Bad::SlowPull))
        } else {
            (Program::of(image).pull_ms().unwrap_or(700), None)
        }
    }

    pub(super) fn call_dismiss(&mut self, agent: usize, container: String, step: Step) {
        let Some(task) = self.agents[agent].observed.get(&container).map(|c| c.task) else { return };
        let set = self.agents[agent].accepted.clone();
        let judged = set.is_some_and(|s| s.verdicts.get(&container) == Some(&Verdict::Stop));
        self.touched(agent, task, container.clone(), if judged { Why::Judged } else { Why::Unjudged });
        let effect_ms = self.rng.skewed(20, 1_000);
        self.say(format_args!("agent {agent} dismisses {container}: {}", brief(&step)));
        self.call(agent, Kind::Dismiss { task, container, step }, effect_ms);
    }

    pub(super) fn call_remove_volume(&mut self, agent: usize, name: String) {
        let effect_ms = self.rng.skewed(5, 300);
        self.call(agent, Kind::Volume { name }, effect_ms);
    }

    fn why(&self, agent: usize, assignment: &Assignment, container: &str) -> Why {
        let body = &self.agents[agent];
        let memory = body.memory.task(assignment.task);
        let observed = body.observed.get(container);
        let sibling = body.observed.of_task(assignment.task).any(|c| c.id != container && c.state.needs_stop());
        if assignment.desired == Desired::Stop {
            Why::AskedToStop
        } else if memory.is_some_and(|m| m.history.health == proto::task_state::Health::Unhealthy) {
            Why::Unhealthy
        } else if observed.is_none_or(|c| !c.state.needs_stop()) {
            Why::NotRunning
        } else if sibling {
            Why::Duplicate
        } else {
            Why::NoReason
        }
    }

    fn touched(&mut self, host: usize, task: TaskId, container: String, why: Why) {
        let real = self.hosts[host].containers.get(&container);
        let (was_running, foreign) = real.map_or((false, false), |c| (c.is_running(), c.foreign));
        self.facts.push(Fact::Touched { host, container, task, was_running, foreign, why });
    }

    /// The task is to stop: a pull is given up, a create is not.
    pub(super) fn cancel(&mut self, agent: usize, task: TaskId) {
        let Some(id) = self.agents[agent].calls.get(&task).copied() else { return };
        let now = self.now;
        let Some(call) = self.calls.get_mut(&id) else { return };
        let pulls = matches!(&call.kind, Kind::Step { step: Step::Fetch | Step::Prepare { .. }, .. });
        if pulls && call.result.is_none() && now + CREATE_MS < call.effect_at {
            call.cancelled = true;
            let (bad, lasted) = (call.pull, now - call.begun);
            self.after(1, Event::End { call: id });
            if let Some(bad) = bad.filter(|_| lasted >= 2_000) {
                self.saw(bad);
            }
        }
    }

    /// What the call does at the engine happens now.
    pub(super) fn effect(&mut self, id: u64) {
        let Some(call) = self.calls.get(&id) else { return };
        if call.cancelled || call.result.is_some() {
            return;
        }
        let (agent, kind, pull) = (call.agent, call.kind.clone(), call.pull);
        let orphan = !self.agents[agent].is_process(call.process);
        let prepares = matches!(&kind, Kind::Step { step: Step::Fetch | Step::Prepare { .. }, .. });
        if orphan && prepares && !self.rng.chance(200) {
            self.calls.remove(&id);
            return;
        }
        let result = self.result(agent, &kind, pull);
        if orphan {
            self.calls.remove(&id);
            return;
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.result = Some(result);
        }
        let delay = self.rng.skewed(1, 300);
        self.after(delay, Event::End { call: id });
    }

    /// What the call does, and what its caller will hear of it.
    fn result(&mut self, host: usize, kind: &Kind, pull: Option<Bad>) -> Result<Option<String>, Trouble> {
        let unknown = || Err(Trouble::Unknown("the engine did not answer in time".into()));
        if let Some(bad) = pull {
            self.saw(bad);
        }
        if pull == Some(Bad::HungPull) {
            return unknown();
        }
        let away = self.hosts[host].away_until > self.now;
        let bad = if away { Bad::EngineAway } else { Bad::UnknownOutcome };
        if away || self.strikes(Bad::UnknownOutcome) {
            self.saw(bad);
            if self.rng.chance(if away { 300 } else { 500 }) {
                // It was done all the same.
                let _ = self.do_at_engine(host, kind);
            }
            return unknown();
        }
        self.do_at_engine(host, kind)
    }

    fn do_at_engine(&mut self, host: usize, kind: &Kind) -> Result<Option<String>, Trouble> {
        match kind {
            Kind::Step { assignment, step: Step::Fetch } => {
                let image = &assignment.container.image;
                if Program::of(image).pull_ms().is_none() {
                    return Err(Trouble::Fetch(format!("image `{image}` is not to be had")));
                }
                self.hosts[host].images.insert(image.clone());
                Ok(None)
            }
            Kind::Step { assignment, step: Step::Prepare { names, .. } } => {
                let image = &assignment.container.image;
                if Program::of(image).pull_ms().is_none() {
                    return Err(Trouble::Fetch(format!("image `{image}` is not to be had")));
                }
                self.hosts[host].images.insert(image.clone());
                let made = self.hosts[host].create(host, names, assignment);
                made.map(Some).map_err(Trouble::Refused)
            }
            Kind::Step { assignment, step: Step::Start { container } } => {
                self.start_at_engine(host, container, assignment.task).map(|()| None)
            }
            Kind::Step { step: Step::Stop { container, .. }, .. }
            | Kind::Dismiss { container, step: Step::Stop { .. }, .. } => {
                self.end_process(host, container, 143);
                Ok(None)
            }
            Kind::Step { step: Step::Remove { container }, .. }
            | Kind::Dismiss { container, step: Step::Remove { .. }, .. } => {
                if self.hosts[host].containers.get(container).is_some_and(|c| c.is_running()) {
                    return Err(Trouble::Refused("it runs".into()));
                }
                self.hosts[host].containers.remove(container);
                Ok(None)
            }
            Kind::Volume { name } => {
                if self.hosts[host].volumes.remove(name) {
                    self.facts.push(Fact::VolumeRemoved { name: name.clone() });
                }
                Ok(None)
            }
            Kind::Step { step: Step::ReadImage, .. } | Kind::Dismiss { .. } => Ok(None),
        }
    }

    fn start_at_engine(&mut self, host: usize, container: &str, task: TaskId) -> Result<(), Trouble> {
        let Some(real) = self.hosts[host].containers.get(container) else {
            return Err(Trouble::Refused("no such container".into()));
        };
        let program = Program::of(&real.image);
        if program == Program::Refused {
            return Err(Trouble::Refused("no such program in it".into()));
        }
        if real.is_running() {
            return Ok(());
        }
        if let Some(conflict) = self.hosts[host].conflict(container) {
            return Err(Trouble::Refused(conflict));
        }
        let (now, wall) = (self.now, self.wall(Some(host)));
        self.hosts[host].start(container, now, wall);
        let run = self.hosts[host].containers.get(container).map_or(0, |c| c.runs);
        self.say(format_args!("host {host} runs {container} of {task}, run {run}"));
        self.facts.push(Fact::Started { host, task, container: container.to_owned() });
        let crashes = self.hosts[host].crashing_until > now;
        if let Some((after, code)) = if crashes { Some((200, 1)) } else { program.life(run) } {
            self.after(after, Event::Ends { host, container: container.to_owned(), run, code });
        }
        Ok(())
    }

    /// A process ends, whoever ended it; the engine hints at it.
    pub(super) fn end_process(&mut self, host: usize, container: &str, code: i32) -> bool {
        let wall = self.wall(Some(host));
        let ended = self.hosts[host].end(container, code, wall);
        if ended {
            self.say(format_args!("host {host}: {container} ended with {code}"));
            self.hint(host, container);
        }
        ended
    }

    /// The engine hints at a death, unless the hint is lost.
    pub(super) fn hint(&mut self, host: usize, container: &str) {
        let Some(task) = self.hosts[host].containers.get(container).map(|c| c.shown.task) else { return };
        if self.hosts[host].away_until > self.now {
            return;
        }
        if self.strikes(Bad::HintLost) {
            self.saw(Bad::HintLost);
        } else {
            let process = self.agents[host].process;
            let delay = self.rng.skewed(0, 60);
            self.after(delay, Event::Hint { agent: host, process, task, container: container.to_owned() });
        }
    }

    pub(super) fn ends(&mut self, host: usize, container: &str, run: u32, code: i32) {
        if self.hosts[host].containers.get(container).is_some_and(|c| c.runs == run && c.is_running()) {
            self.end_process(host, container, code);
            if self.hosts[host].crashing_until > self.now {
                self.hosts[host].crashes += 1;
                // A loop is more than twice.
                if self.hosts[host].crashes == 3 {
                    self.saw(Bad::CrashLoop);
                }
            }
        }
    }

    /// The answer reaches the caller, with a look at what came of it.
    pub(super) fn call_ends(&mut self, id: u64) {
        let Some(call) = self.calls.remove(&id) else { return };
        let agent = call.agent;
        if !self.agents[agent].is_process(call.process) {
            return;
        }
        match call.kind {
            Kind::Step { assignment, step } => {
                let (outcome, seen) = if call.cancelled {
                    (Outcome::Cancelled, Seen::Unknown)
                } else {
                    self.outcome(agent, &step, call.result.unwrap_or(Ok(None)))
                };
                self.trace.say(
                    self.now,
                    format_args!("agent {agent} ends {} {}: {outcome:?}", assignment.task, brief(&step)),
                );
                self.step_ended(agent, assignment.task, outcome, seen);
            }
            Kind::Dismiss { task, container, step } => {
                let (outcome, seen) = self.outcome(agent, &step, call.result.unwrap_or(Ok(None)));
                self.dismissed(agent, task, &container, outcome == Outcome::Done, seen);
            }
            Kind::Volume { name } => self.volume_ended(agent, &name, matches!(call.result, Some(Ok(_)))),
        }
    }

    fn outcome(&mut self, agent: usize, step: &Step, result: Result<Option<String>, Trouble>) -> (Outcome, Seen) {
        let container = match step {
            Step::Start { container } | Step::Stop { container, .. } | Step::Remove { container } => Some(container),
            Step::Fetch | Step::Prepare { .. } | Step::ReadImage => None,
        };
        match result {
            Err(trouble) => (Outcome::Failed(trouble), container.map_or(Seen::Unknown, |id| self.inspect(agent, id))),
            Ok(made) => match (step, made) {
                (Step::Prepare { .. }, Some(id)) => {
                    let seen = self.inspect(agent, &id);
                    (Outcome::Prepared { container: id, image_check: ImageCheck::Absent, warnings: Vec::new() }, seen)
                }
                (Step::Fetch, _) => (Outcome::Fetched(ImageCheck::Absent), Seen::Unknown),
                (Step::ReadImage, _) => (Outcome::ImageRead(ImageCheck::Absent), Seen::Unknown),
                (Step::Remove { container }, _) => (Outcome::Done, Seen::Gone(container.clone())),
                (Step::Start { container } | Step::Stop { container, .. }, _) => match self.inspect(agent, container) {
                    Seen::Unknown => (Outcome::Failed(Trouble::Unknown("nobody could look".into())), Seen::Unknown),
                    Seen::Container(c) if matches!(step, Step::Stop { .. }) && c.state.needs_stop() => {
                        let why = "its container still runs after the engine stopped it".to_owned();
                        (Outcome::Failed(Trouble::Refused(why)), Seen::Container(c))
                    }
                    seen => (Outcome::Done, seen),
                },
                (Step::Prepare { .. }, None) => (Outcome::Cancelled, Seen::Unknown),
            },
        }
    }

    fn inspect(&self, host: usize, id: &str) -> Seen {
        if self.hosts[host].away_until > self.now {
            return Seen::Unknown;
        }
        match self.hosts[host].containers.get(id) {
            Some(real) => Seen::Container(Box::new(real.shown.clone())),
            None => Seen::Gone(id.to_owned()),
        }
    }
}

fn brief(step: &Step) -> String {
    match step {
        Step::Fetch => "fetch".to_owned(),
        Step::Prepare { .. } => "prepare".to_owned(),
        Step::Start { container } => format!("start {container}"),
        Step::Stop { container, .. } => format!("stop {container}"),
        Step::Remove { container } => format!("remove {container}"),
        Step::ReadImage => "read image".to_owned(),
    }
}
