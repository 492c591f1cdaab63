//! Who asks for commands: the owner of a server, who lets servers in and removes them, and operators who label a node.
//!
//! Each has the addresses of all servers and asks one of them; who is not answered asks another under the same request id.

use orchestrator::engine::command::Enrolling;
use orchestrator::engine::model::{Grant, Ranges, ServerInfo, Token};
use orchestrator::engine::{Command, Outcome, STATE_VERSION, State};
use orchestrator::raft::Asked;
use proto::id::{ClusterId, NodeId, RequestId, ServerId};
use proto::identity::{OperatorName, OperatorRole, Subject};
use proto::node::NodeInfo;
use proto::revision::Wall;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::event::{Ask, Back, Event, Fact, Reply};
use super::{Council, WALL_BEGIN_MS};
use crate::site::node_info;

/// The node that is labelled.
pub const NODE: NodeId = NodeId(1);
/// The token of servers; those of operators follow.
const SERVERS_TOKEN: u64 = 100;
/// How long a client waits for an answer at most, in milliseconds.
const PATIENCE_MS: (u64, u64) = (500, 10_000);

/// Who asks.
#[derive(Debug)]
pub struct Client {
    /// In the audit's words.
    pub who: String,
    /// Commands that it still has to ask for.
    pub queue: VecDeque<Command>,
    /// What it asks for now.
    pub asking: Option<Asking>,
    /// How many commands it has asked for.
    pub sequence: u64,
    /// Its attempts so far.
    pub attempts: u64,
    /// It was told that it may not, and asks no more.
    pub is_done: bool,
    /// The last value that it was told its label has, by the number of its command.
    pub acknowledged: u64,
}

/// A command on its way.
#[derive(Debug)]
pub struct Asking {
    /// The command.
    pub ask: Rc<Ask>,
    /// Since when.
    pub since: u64,
    /// The attempt that is waited for; `None`: it asks again soon.
    pub attempt: Option<u64>,
}

/// What is known of a command from outside.
#[derive(Debug, Default)]
pub struct Record {
    /// Somebody who was asked for it has not answered: it may be in the log, or get there.
    pub is_unsure: bool,
    /// Its answer.
    pub reply: Option<Reply>,
}

// === What everything begins with ===

/// The commands of a new cluster.
pub fn first_commands(operators: usize) -> Vec<Command> {
    let token = |id, grant| Command::PutToken {
        token: Token { id, hash: hash(), grant, uses: 99, used: 0, made: Wall(0), expires: Wall(u64::MAX) },
    };
    let mut commands = vec![
        Command::Bootstrap { cluster: ClusterId(7), ranges: Ranges::default() },
        Command::RaiseVersion { to: STATE_VERSION },
        Command::RegisterNode { info: node() },
        token(SERVERS_TOKEN, Grant::Server),
    ];
    for operator in 1..=operators {
        let grant = Grant::Operator { role: OperatorRole::Admin, project: None, name: name(operator) };
        let id = SERVERS_TOKEN + operator as u64;
        commands.push(Command::PutToken {
            token: Token { id, hash: hash(), grant, uses: 1, used: 0, made: Wall(0), expires: Wall(u64::MAX) },
        });
        let key = vec![operator as u8; 32];
        commands.push(Command::Enrol { token: id, hash: hash(), who: Enrolling::Operator, key });
    }
    commands
}

/// A server is let in.
pub fn enrol(id: ServerId) -> Command {
    Command::Enrol { token: SERVERS_TOKEN, hash: hash(), who: Enrolling::Server(id), key: vec![id.0 as u8; 32] }
}

/// An operator by its number.
pub fn subject(operator: usize) -> Subject {
    Subject::Operator(name(operator))
}

fn name(operator: usize) -> OperatorName {
    ["ada", "bob", "eve"][operator - 1].parse().expect("a name")
}

fn hash() -> String {
    "0".repeat(64)
}

fn node() -> NodeInfo {
    NodeInfo { memory_bytes: 1 << 30, ..node_info(NODE, "n1") }
}

/// What a server says of itself.
pub fn info(id: ServerId) -> ServerInfo {
    ServerInfo {
        id,
        hostname: format!("s{}", id.0),
        peers: format!("s{}:7421", id.0),
        operators: String::new(),
        understands: STATE_VERSION,
        program: String::new(),
        sealing_keys: Vec::new(),
    }
}

/// A command that a server asks for itself, without a request id.
pub fn own_ask(command: Command) -> Ask {
    let asked = Asked { who: "local".to_owned(), call: "Announce".to_owned(), project: None };
    Ask { client: 0, request: RequestId { client: 0, sequence: 0 }, asked, command }
}

/// The number that a client's label has; 0: it has none.
pub fn label(state: &State, client: usize) -> u64 {
    let node = state.node(NODE);
    node.and_then(|node| node.labels.get(&key(client))).and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn key(client: usize) -> String {
    format!("client-{client}")
}

// === impl Client ===

impl Client {
    /// The owner of a server, or an operator by its number.
    pub fn new(number: usize) -> Client {
        Client {
            who: if number == 0 { "local".to_owned() } else { subject(number).to_string() },
            queue: VecDeque::new(),
            asking: None,
            sequence: 0,
            attempts: 0,
            is_done: false,
            acknowledged: 0,
        }
    }
}

impl Council {
    /// A client asks for the next command, or for the same once more.
    pub(super) fn thinks(&mut self, client: usize) {
        if self.clients[client].is_done {
            return;
        }
        if self.clients[client].asking.is_none() {
            let Some(command) = self.next_command(client) else { return self.thinks_later(client) };
            self.begin_asking(client, command);
        }
        self.attempt(client);
    }

    fn thinks_later(&mut self, client: usize) {
        if self.is_rough || client == 0 {
            let pause = self.rng.range(self.params.think_ms / 2, self.params.think_ms * 2);
            self.after(pause, Event::Thinks(client));
        }
    }

    fn next_command(&mut self, client: usize) -> Option<Command> {
        if client == 0 {
            return self.clients[0].queue.pop_front();
        }
        if !self.is_rough {
            return None;
        }
        // What it has read at some server, which may lag behind.
        let (read_at, relies) = (self.rng.range(0, self.servers.len() as u64 - 1) as usize, self.rng.chance(500));
        let present = self.state(read_at).node(NODE).map(|node| node.labelled);
        let expected = present.filter(|_| relies);
        let value = (self.clients[client].sequence + 1).to_string();
        let set = BTreeMap::from([(key(client), value)]);
        Some(Command::LabelNode { node: NODE, set, remove: BTreeSet::new(), expected })
    }

    fn begin_asking(&mut self, client: usize, command: Command) {
        self.clients[client].sequence += 1;
        let session = (WALL_BEGIN_MS / 1_000) << 32 | client as u64;
        let request = RequestId { client: session, sequence: self.clients[client].sequence };
        let call = match command {
            Command::RemoveServer { .. } => "RemoveServer",
            Command::RevokeIdentity { .. } => "RevokeOperator",
            _ => "LabelNode",
        };
        // Whoever opens a server's socket is its owner, and may do everything: also what other doors are for.
        let call = if client == 0 { "LabelNode" } else { call };
        let asked = Asked { who: self.clients[client].who.clone(), call: call.to_owned(), project: None };
        let ask = Rc::new(Ask { client, request, asked, command });
        self.clients[client].asking = Some(Asking { ask, since: self.now, attempt: None });
    }

    fn attempt(&mut self, client: usize) {
        self.clients[client].attempts += 1;
        let attempt = self.clients[client].attempts;
        let Some(asking) = &mut self.clients[client].asking else { return };
        asking.attempt = Some(attempt);
        let ask = asking.ask.clone();
        self.records.entry(ask.request).or_default();
        let server = self.server_to_ask();
        let takes = self.rng.range(1, self.params.late_ms);
        if self.rng.chance(self.loss) {
            self.saw(super::params::Trouble::Loss);
        } else {
            self.after(takes, Event::Asked(server, Back::Client(client, attempt), ask));
        }
        let patience = self.rng.range(PATIENCE_MS.0, PATIENCE_MS.1);
        self.after(patience, Event::GivenUp(client, attempt));
    }

    /// Any server, mostly one that the cluster knows.
    fn server_to_ask(&mut self) -> usize {
        let lost = self.lost();
        let known = self.truth().servers().map(|server| server.info.id).filter(|id| !lost.contains(id));
        let there: Vec<usize> = known.map(super::at).collect();
        let any = self.rng.range(0, self.servers.len() as u64 - 1) as usize;
        let one = self.rng.pick(&there).copied();
        one.filter(|_| self.rng.chance(850)).unwrap_or(any)
    }

    /// One attempt is over without an answer.
    pub(super) fn given_up(&mut self, client: usize, attempt: u64) {
        let Some(asking) = self.clients[client].asking.as_mut().filter(|a| a.attempt == Some(attempt)) else { return };
        asking.attempt = None;
        let request = asking.ask.request;
        self.unsure(request);
        let pause = self.rng.range(20, 300);
        self.after(pause, Event::Thinks(client));
    }

    /// A client is answered.
    pub(super) fn answered(&mut self, client: usize, attempt: u64, reply: Reply) {
        let waits = self.clients[client].asking.as_ref().is_some_and(|a| a.attempt == Some(attempt));
        if !waits {
            return;
        }
        if reply == Reply::Unknown {
            return self.given_up(client, attempt);
        }
        let Some(asking) = self.clients[client].asking.take() else { return };
        self.say(format_args!("client {client} is told of {}: {reply:?}", asking.ask.request.sequence));
        self.records.entry(asking.ask.request).or_default().reply = Some(reply.clone());
        self.learns(client, &asking.ask, &reply);
        self.facts.push(Fact::Answered(asking.ask, reply));
        self.thinks_later(client);
    }

    fn learns(&mut self, client: usize, ask: &Rc<Ask>, reply: &Reply) {
        match (&ask.command, reply) {
            (Command::LabelNode { .. }, Reply::Became(Outcome::Done { .. })) => {
                self.clients[client].acknowledged = ask.request.sequence;
            }
            (_, Reply::Forbidden(_)) => self.clients[client].is_done = true,
            (Command::Enrol { who: Enrolling::Server(id), .. }, Reply::Became(_)) => self.let_in(*id),
            (Command::RemoveServer { .. }, Reply::NotNow) => {
                // It is tried again: what is gone for ever has to be removed at last.
                self.clients[client].queue.push_back(ask.command.clone());
            }
            _ => {}
        }
    }

    /// Nobody knows what becomes of it.
    pub(super) fn unsure(&mut self, request: RequestId) {
        self.records.entry(request).or_default().is_unsure = true;
    }
}
