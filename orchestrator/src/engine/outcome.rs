//! What became of a command. There are no errors in the engine: a refusal is an outcome.

use proto::id::{NodeId, ProjectName, ServerId, ServiceKey, ServiceName};
use proto::identity::Subject;
use proto::revision::Revision;
use serde::{Deserialize, Serialize};

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// State is as asked; `changed` says whether it was not before.
    Done {
        /// The revision after it.
        revision: Revision,
        /// Something changed.
        changed: bool,
    },
    /// A project was applied.
    Project {
        /// The revision after it.
        revision: Revision,
        /// Its release now.
        release: u64,
        /// Something changed.
        changed: bool,
        /// Service by service.
        services: Vec<(ServiceName, ServiceChange)>,
        /// What the operator should know.
        notices: Vec<String>,
    },
    /// A plan was applied, change by change.
    Plan {
        /// The revision after it.
        revision: Revision,
        /// How many changes were accepted.
        accepted: u32,
        /// The others: index in the plan, and what no longer held.
        rejected: Vec<(u32, String)>,
    },
    /// Somebody joined.
    Enrolled {
        /// The revision after it.
        revision: Revision,
        /// Under which name.
        subject: Subject,
    },
    /// Nothing changed.
    Rejected(Rejection),
}

/// What an apply does to one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceChange {
    /// It is new.
    Created,
    /// It gets new containers.
    Replaced,
    /// It changes without new containers.
    Updated,
    /// As before.
    Unchanged,
    /// It goes.
    Removed,
}

impl ServiceChange {
    /// The word on the wire and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceChange::Created => "created",
            ServiceChange::Replaced => "replaced",
            ServiceChange::Updated => "updated",
            ServiceChange::Unchanged => "unchanged",
            ServiceChange::Removed => "removed",
        }
    }
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    /// The spec is not acceptable.
    #[error("{}", .0.first().map_or_else(String::new, ToString::to_string))]
    Inadmissible(Vec<FieldProblem>),
    /// There is no such project.
    #[error("project `{0}` does not exist")]
    NoProject(ProjectName),
    /// There is no such service.
    #[error("service `{0}` does not exist")]
    NoService(ServiceKey),
    /// There is no such node.
    #[error("node {0} is not registered")]
    NoNode(NodeId),
    /// It is being deleted.
    #[error("project `{0}` is being deleted; apply it again once it is gone")]
    Deleting(ProjectName),
    /// Somebody else was faster.
    #[error("project `{project}` is at release {present}, not {expected} as expected; read it again and decide anew")]
    ReleaseMoved {
        /// Which project.
        project: ProjectName,
        /// Where it is.
        present: u64,
        /// Where the caller thought it was.
        expected: u64,
    },
    /// Somebody else labelled it first.
    #[error(
        "the labels of node {node} are at revision {present}, not {expected} as expected; read them again and decide anew"
    )]
    LabelsMoved {
        /// Which node, by its host's name.
        node: String,
        /// Where they are.
        present: Revision,
        /// Where the caller thought they were.
        expected: Revision,
    },
    /// The outcome of this request was forgotten: it may have been done, and is not done again.
    #[error("the outcome of this request is no longer known; look at the present state before asking again")]
    Forgotten,
    /// A cluster is bootstrapped once.
    #[error("this cluster is already bootstrapped")]
    AlreadyBootstrapped,
    /// Nothing of the service is being rolled out, or not as the caller thinks.
    #[error("{service}: {problem}")]
    NoRollout {
        /// Which service.
        service: ServiceKey,
        /// What is not so, and what to do.
        problem: String,
    },
    /// All subnets are given away.
    #[error("the container range has no free subnet for another node")]
    RangeExhausted,
    /// There is no such token.
    #[error(
        "there is no join token {0:016x}: it was revoked, or never was one of this cluster; make one with `ctl token create`"
    )]
    NoToken(u64),
    /// The secret is another.
    #[error(
        "the join token is not genuine: its secret is not that of token {0:016x}; make one with `ctl token create`"
    )]
    WrongSecret(u64),
    /// Nobody joins by it any more.
    #[error("join token {id:016x} {why}; make another with `ctl token create`")]
    TokenOver {
        /// Which.
        id: u64,
        /// What is the matter.
        why: String,
    },
    /// It is for somebody else.
    #[error("join token {id:016x} is not for {}; make one with `ctl token create {kind}`", with_article(kind))]
    TokenKind {
        /// Which.
        id: u64,
        /// Who came with it.
        kind: String,
    },
    /// Somebody else is known under that name.
    #[error("{subject} is known with another key, and a token alone does not take its place; {remedy}")]
    Taken {
        /// Who.
        subject: Subject,
        /// What to do.
        remedy: String,
    },
    /// There is nobody of that name.
    #[error("{0} is not enrolled")]
    NoIdentity(Subject),
    /// There is no such server.
    #[error(
        "server {0} is not known, or was removed; one that was removed comes back with an empty data directory and a new join token"
    )]
    NoServer(ServerId),
    /// There is an authority.
    #[error("this cluster has its authority already")]
    AuthorityFounded,
    /// Nothing is sealed yet whose key could be replaced.
    #[error(
        "this cluster has no authority yet, so that nothing shows which sealing key is in use; try again in a moment"
    )]
    NotFounded,
    /// It was sealed with a key that is gone.
    #[error("it was sealed with key {0}, which another one has taken the place of; try again")]
    KeyRetired(String),
    /// There is no such rotation, or it is not that far.
    #[error("the sealing key is not being replaced by key {0}, or not in this way now")]
    NoKeyRotation(String),
    /// A server could not open what would be sealed.
    #[error("server {0} has not said that it has the new sealing key")]
    KeyNotSpread(ServerId),
    /// Something would be lost.
    #[error("something is still sealed with key {0}")]
    StillSealed(String),
    /// The State is older than the command needs.
    #[error("this needs state version {needed}, the cluster is at {present}; upgrade every server first")]
    TooNew {
        /// Needed.
        needed: u32,
        /// Present.
        present: u32,
    },
}

fn with_article(kind: &str) -> String {
    if kind == "server" { "a server".to_owned() } else { format!("an {kind}") }
}

/// What is wrong with one field of a spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldProblem {
    /// Path in the spec, such as `services.web.ports[0]`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl std::fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}
