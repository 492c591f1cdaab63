//! The vocabulary of the Raft log. A new variant or field raises `State.version` before it may be proposed.

use proto::id::{BlobDigest, ClusterId, NodeId, ProjectName, RequestId, ServerId, ServiceKey, TaskId};
use proto::identity::Subject;
use proto::node::{NodeConditions, NodeInfo};
use proto::revision::{Revision, Time, Wall};
use proto::spec::{BlobKind, ProjectSpec};
use proto::task_state::TaskStatus;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

use super::model::as_bytes;
use super::model::{Asker, AuditNote, Authority, Content, Grant, Ranges, SealedPart, ServerInfo, Token};
use super::plan::Plan;

/// A command with the time it was accepted at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamped {
    /// Cluster time: never goes back, stands still while nobody leads.
    pub at: Time,
    /// Wall time, for display and expiry.
    pub wall: Wall,
    /// Who asked; resending under the same id is answered with the first outcome.
    pub request: Option<RequestId>,
    /// For whom, if it is to be in the audit: the record is made where the change is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Asker>,
    /// What.
    pub command: Command,
}

/// One change of State.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// The first command of a cluster.
    Bootstrap {
        /// Its id, drawn by the first server.
        cluster: ClusterId,
        /// Its address ranges.
        ranges: Ranges,
    },
    /// Content of a config or secret.
    PutBlob {
        /// Its address.
        digest: BlobDigest,
        /// Config or secret.
        kind: BlobKind,
        /// Its bytes; a secret's are sealed.
        content: Content,
    },
    /// Creates or changes a project.
    PutProject {
        /// What is wanted.
        spec: Box<ProjectSpec>,
        /// Refuse unless this is the present release.
        expected_release: Option<u64>,
        /// Remove services that the spec does not name.
        prune: bool,
    },
    /// Removes a project.
    DeleteProject {
        /// Which.
        project: ProjectName,
        /// Its named volumes too.
        volumes: bool,
    },
    /// Removes a service.
    DeleteService {
        /// Which.
        service: ServiceKey,
    },
    /// Sets the number of replicas.
    ScaleService {
        /// Of which.
        service: ServiceKey,
        /// To how many.
        replicas: u32,
    },
    /// Every server knows a newer version of State: what needs it may be proposed from now on.
    RaiseVersion {
        /// The version.
        to: u32,
    },
    /// A service's rollout is paused, goes on, or is undone.
    SteerRollout {
        /// Which service.
        service: ServiceKey,
        /// How.
        how: Steer,
    },
    /// A node came, or came back with another fingerprint.
    RegisterNode {
        /// What it says of itself.
        info: NodeInfo,
    },
    /// What a node says of its tasks.
    ReportStatuses {
        /// Which node.
        node: NodeId,
        /// Task by task.
        reports: Vec<(TaskId, TaskStatus)>,
    },
    /// What a node says of itself.
    ReportConditions {
        /// Which node.
        node: NodeId,
        /// What.
        conditions: NodeConditions,
    },
    /// What reconcile decided.
    ApplyPlan {
        /// The plan.
        plan: Plan,
    },
    /// The cluster's authority, once.
    FoundAuthority {
        /// Made by the leader.
        authority: Authority,
    },
    /// A join token.
    PutToken {
        /// Without its secret.
        token: Token,
    },
    /// A join token is forgotten.
    RevokeToken {
        /// Which.
        id: u64,
    },
    /// Somebody joins by a token.
    Enrol {
        /// By which.
        token: u64,
        /// SHA-256 of the secret that was shown.
        hash: String,
        /// Who.
        who: Enrolling,
        /// The public key; that its owner has the private one was proved at the door.
        #[serde(with = "as_bytes")]
        key: Vec<u8>,
    },
    /// An agent or operator is forgotten.
    RevokeIdentity {
        /// Who.
        subject: Subject,
    },
    /// Something that changes nothing and is kept in the audit.
    NoteAccess {
        /// What.
        note: AuditNote,
    },
    /// What a server says of itself.
    PutServer {
        /// All of it.
        info: ServerInfo,
    },
    /// A server was chosen to vote: who does is in the log's own records, that somebody chose is here.
    PromoteServer {
        /// Which.
        id: ServerId,
    },
    /// A server is removed for good.
    RemoveServer {
        /// Which.
        id: ServerId,
    },
    /// Another sealing key is to take the place of the one in use; or, before all servers have it, of the one that was to.
    BeginKeyRotation {
        /// Its id.
        to: String,
    },
    /// Every server has the new key: what is sealed from now on is sealed with it.
    UseNewKey {
        /// Which.
        to: String,
        /// What digests of secrets are made with, sealed with it.
        digest_key: Content,
    },
    /// Something is sealed with the new key instead of the old one.
    Reseal {
        /// What.
        part: SealedPart,
        /// The key that it is to be sealed with now; otherwise nothing happens.
        from: String,
        /// The same content, sealed with the new key.
        content: Content,
    },
    /// Nothing is sealed with the old key any more.
    FinishKeyRotation {
        /// The key that took its place.
        to: String,
    },
    /// An operator labels a node.
    LabelNode {
        /// Which.
        node: NodeId,
        /// Labels that it gets, or that get another value.
        set: BTreeMap<String, String>,
        /// Keys of labels that it loses.
        remove: BTreeSet<String>,
        /// Refuse unless this revision was the last that changed an operator's label of it.
        expected: Option<Revision>,
    },
}

/// Who joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enrolling {
    /// A node, under the id it drew.
    Agent(NodeId),
    /// An operator, under the token's name.
    Operator,
    /// A server, under the id it drew.
    Server(ServerId),
}

impl Command {
    /// The State version from which on this command may be proposed.
    ///
    /// By content: what an earlier version wrote is applied as it was then.
    pub fn version(&self) -> u32 {
        match self {
            Command::RaiseVersion { to } => *to,
            Command::SteerRollout { .. } => 2,
            Command::LabelNode { .. } => 8,
            Command::BeginKeyRotation { .. }
            | Command::UseNewKey { .. }
            | Command::Reseal { .. }
            | Command::FinishKeyRotation { .. } => 7,
            Command::PutServer { info } if !info.sealing_keys.is_empty() => 7,
            Command::PutServer { .. }
            | Command::PromoteServer { .. }
            | Command::RemoveServer { .. }
            | Command::PutToken { token: Token { grant: Grant::Server, .. } }
            | Command::Enrol { who: Enrolling::Server(_), .. } => 6,
            Command::FoundAuthority { .. }
            | Command::PutToken { .. }
            | Command::RevokeToken { .. }
            | Command::Enrol { .. }
            | Command::RevokeIdentity { .. } => 3,
            Command::NoteAccess { .. } => 5,
            Command::PutProject { spec, .. } => spec.version(),
            Command::ApplyPlan { plan } => plan.version(),
            Command::Bootstrap { .. }
            | Command::PutBlob { .. }
            | Command::DeleteProject { .. }
            | Command::DeleteService { .. }
            | Command::ScaleService { .. }
            | Command::RegisterNode { .. }
            | Command::ReportStatuses { .. }
            | Command::ReportConditions { .. } => 1,
        }
    }
}

/// What an operator does to a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Steer {
    /// No further slot begins.
    Pause,
    /// It goes on; failures so far are forgiven.
    Resume,
    /// The service gets the spec of an earlier release again, as a release of its own.
    Undo {
        /// Which; `None`: the last one in which the service was another.
        to: Option<u64>,
    },
}
