//! What can happen in the world, and what was seen to happen.

use agent::engine::Container;
use orchestrator::engine::{Outcome, Plan, Stamped, State};
use proto::assignment::AssignmentSet;
use proto::endpoint::EndpointTable;
use proto::id::TaskId;
use proto::node::NodeConditions;
use proto::revision::{Revision, Time};
use proto::task_state::TaskStatus;
use std::sync::Arc;

use super::params::Trouble;

/// Something that happens at its time.
#[derive(Debug)]
pub enum Event {
    /// What stood still goes on.
    Resumes { place: Place },
    /// The batch on its way reaches the log of a majority.
    Commit { term: u64 },
    /// The leader's loop wakes.
    LeaderTurn { term: u64, wake: u64 },
    /// The dispatcher looks at what it has to tell.
    Publish { term: u64 },
    /// A server has won.
    Elected,
    /// A message reaches the server.
    ToServer { agent: usize, letter: Letter, message: Up },
    /// A message reaches an agent.
    ToAgent { agent: usize, letter: Letter, message: Down },
    /// The server learns that a connection is gone.
    Closed { agent: usize, link: u64 },
    /// An agent learns that its connection is gone.
    Broken { agent: usize, link: u64 },
    /// An agent's process begins.
    AgentStarts { agent: usize },
    /// An agent's process is killed.
    AgentCrashes { agent: usize, process: u64 },
    /// An agent tries to connect.
    Connect { agent: usize, process: u64 },
    /// An agent's heartbeat is due.
    Beat { agent: usize, link: u64 },
    /// An agent's next batch of statuses is due.
    Batch { agent: usize, link: u64 },
    /// An agent's loop wakes.
    Wake { agent: usize, process: u64, wake: u64 },
    /// A call does at the engine what it does.
    Effect { call: u64 },
    /// A call's answer reaches its caller.
    End { call: u64 },
    /// The engine reads what it will answer to a look or a list.
    Read { agent: usize, process: u64, begun: u64, what: What },
    /// That answer reaches the agent.
    Seen { agent: usize, process: u64, begun: u64, what: What, answer: Option<Vec<Container>> },
    /// The engine hints that a container died.
    Hint { agent: usize, process: u64, task: TaskId, container: String },
    /// An agent finds its engine.
    EngineFound { agent: usize, process: u64 },
    /// An agent loses its engine.
    EngineLost { agent: usize, process: u64 },
    /// A health check is run.
    Probe { agent: usize, process: u64, task: TaskId, incarnation: u32 },
    /// A health check has ended.
    Probed { agent: usize, process: u64, task: TaskId, incarnation: u32, passed: bool },
    /// An agent's memory is written.
    WriteMemory { agent: usize, process: u64 },
    /// A program ends by itself.
    Ends { host: usize, container: String, run: u32, code: i32 },
    /// Some trouble begins.
    Trouble,
    /// An operator asks for something.
    Request,
    /// An operator's request is on its way, perhaps again.
    Ask { request: usize },
    /// An operator hears what became of it.
    Answer { request: usize, outcome: Outcome },
    /// Troubles end.
    Calm,
    /// Time for a look at the whole.
    Look,
}

/// What can stand still by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The leader's loop and its log.
    Loop,
    /// The leader's doors.
    Doors,
    /// A host.
    Host(usize),
}

/// A message's envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter {
    /// The connection it travels by.
    pub link: u64,
    /// Counts letters as they are sent.
    pub number: u64,
    /// What becomes of it on its way.
    pub fate: Fate,
}

/// What becomes of a message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It comes.
    Comes,
    /// It comes late.
    Late,
    /// It is the second of its kind.
    Copy,
    /// It does not come.
    Lost,
}

/// From an agent.
#[derive(Debug, Clone)]
pub enum Up {
    /// Hello.
    Hello,
    /// It is alive, and goes by this.
    Heartbeat { assignments: Revision, endpoints: Revision },
    /// Statuses, to be acknowledged.
    Statuses { number: u64, reports: Vec<(TaskId, TaskStatus)> },
    /// What it says of itself.
    Conditions(NodeConditions),
}

/// To an agent.
#[derive(Debug, Clone)]
pub enum Down {
    /// A session has begun.
    Welcome,
    /// What it should run, as protobuf messages carry it.
    Assignments(Arc<AssignmentSet>),
    /// What names mean.
    Endpoints(Arc<EndpointTable>),
    /// A batch is in the log.
    Acknowledged(u64),
    /// The answer to a heartbeat.
    Echo,
}

/// What is looked at.
#[derive(Debug, Clone)]
pub enum What {
    /// All containers.
    List,
    /// One.
    Container { task: TaskId, id: String },
}

/// Something that was seen to happen: what promises are held against.
#[derive(Debug)]
pub enum Fact {
    /// A command was applied.
    Committed { before: Box<State>, stamped: Box<Stamped>, outcome: Outcome, after: Box<State> },
    /// A leader with nothing but the log took over from one that had this State.
    Elected { before: Box<State> },
    /// The leader made a plan at a moment of cluster time.
    Reconciled { plan: Plan, now: Time },
    /// A container's process began.
    Started { host: usize, task: TaskId, container: String },
    /// An agent had a container stopped or removed; `wanted` is what its node had been asked when it decided.
    Touched { host: usize, container: String, task: TaskId, was_running: bool, foreign: bool, why: Why },
    /// A volume was removed at an engine.
    VolumeRemoved { name: String },
    /// An agent took a set.
    Accepted { agent: usize },
    /// An agent's names may have changed.
    Named { agent: usize },
    /// An agent took in what a check said.
    Sampled { agent: usize, task: TaskId, incarnation: u32, passed: bool },
    /// An agent has nothing to do before that moment of its clock.
    Rested { agent: usize, now: Time, until: Option<Time> },
    /// A request was answered.
    Answered { request: usize, outcome: Outcome },
    /// Trouble was seen.
    Trouble(Trouble),
    /// Time passed.
    Lapsed,
}

/// Why an agent ended a container, as far as its node can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Its task is to stop.
    AskedToStop,
    /// A verdict.
    Judged,
    /// No set mentions its task, and there is no verdict on it.
    Unjudged,
    /// Its health check failed as often as it may.
    Unhealthy,
    /// It did not run.
    NotRunning,
    /// Another container of the same task is the right one.
    Duplicate,
    /// None of these.
    NoReason,
}

// === impl Event ===

impl Event {
    /// Where it happens; `of_call`: whose a call is.
    pub fn place(&self, of_call: impl Fn(u64) -> Option<usize>) -> Option<Place> {
        match self {
            Event::Commit { .. } | Event::LeaderTurn { .. } => Some(Place::Loop),
            Event::Publish { .. } | Event::ToServer { .. } | Event::Closed { .. } | Event::Ask { .. } => {
                Some(Place::Doors)
            }
            Event::ToAgent { agent, .. }
            | Event::Broken { agent, .. }
            | Event::AgentStarts { agent }
            | Event::Connect { agent, .. }
            | Event::Beat { agent, .. }
            | Event::Batch { agent, .. }
            | Event::Wake { agent, .. }
            | Event::Read { agent, .. }
            | Event::Seen { agent, .. }
            | Event::Hint { agent, .. }
            | Event::EngineFound { agent, .. }
            | Event::EngineLost { agent, .. }
            | Event::Probe { agent, .. }
            | Event::Probed { agent, .. }
            | Event::WriteMemory { agent, .. }
            | Event::Ends { host: agent, .. } => Some(Place::Host(*agent)),
            Event::Effect { call } | Event::End { call } => of_call(*call).map(Place::Host),
            _ => None,
        }
    }
}
