//! Who calls, as far as it was proved.

use proto::id::{NodeId, ProjectName, ServerId};
use proto::identity::{OperatorName, OperatorRole, Subject};
use proto::revision::Wall;
use tonic::Status;

use crate::engine::State;
use crate::pki::shown::Shown;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who may open this host's unix sockets: an admin, or the agent of this host.
    Local,
    /// Another server.
    Server(ServerId),
    /// The agent of a node.
    Agent(NodeId),
    /// An operator.
    Operator {
        /// Its name.
        name: OperatorName,
        /// How far it may go.
        role: OperatorRole,
        /// Only this project.
        project: Option<ProjectName>,
    },
    /// A stranger.
    Nobody,
}

// === impl Caller ===

impl Caller {
    /// Whom a certificate stands for now. What it may do is State's word, not its own.
    pub fn of(shown: &Shown, state: &State, now: Wall) -> Result<Caller, Status> {
        let Shown { name, key } = shown;
        let subject = &name.subject;
        if Some(name.cluster) != state.cluster() || name.epoch > state.epoch() {
            return Err(Status::unauthenticated(format!(
                "the certificate of {subject} is of cluster {} epoch {}, which is not this one; check the address",
                name.cluster, name.epoch.0
            )));
        }
        if now >= name.until {
            return Err(Status::unauthenticated(format!(
                "the certificate of {subject} has expired; join again with a fresh token"
            )));
        }
        if let Subject::Server(id) = subject {
            return match state.is_member(*id) {
                true => Ok(Caller::Server(*id)),
                false => Err(Status::unauthenticated(format!(
                    "{subject} was removed; let it join anew with an empty data directory and a new join token"
                ))),
            };
        }
        let known = state
            .identity(subject)
            .ok_or_else(|| Status::unauthenticated(format!("{subject} was revoked; join again with a fresh token")))?;
        if known.key != *key {
            return Err(Status::unauthenticated(format!(
                "{subject} has another key now, this certificate is of an earlier one; join again with a fresh token"
            )));
        }
        Caller::known(subject, &known.grant)
    }

    /// May it speak for this node? An agent for its own only.
    pub fn speaks_for(&self, node: NodeId) -> Result<(), Status> {
        match self {
            Caller::Local => Ok(()),
            Caller::Agent(own) if *own == node => Ok(()),
            other => Err(Status::permission_denied(format!("{other} does not speak for node {node}"))),
        }
    }

    /// The node whose agent it is; `None`: any, because it is on this host.
    pub fn node(&self) -> Result<Option<NodeId>, Status> {
        match self {
            Caller::Local => Ok(None),
            Caller::Agent(node) => Ok(Some(*node)),
            other => Err(Status::permission_denied(format!("{other} is no agent"))),
        }
    }

    /// What it is restricted to.
    pub fn project(&self) -> Option<&ProjectName> {
        match self {
            Caller::Operator { role: OperatorRole::Deployer | OperatorRole::Viewer, project, .. } => project.as_ref(),
            _ => None,
        }
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Caller::Local => f.write_str("local"),
            Caller::Server(id) => write!(f, "server/{id}"),
            Caller::Agent(id) => write!(f, "agent/{id}"),
            Caller::Operator { name, .. } => write!(f, "operator/{name}"),
            Caller::Nobody => f.write_str("a caller without a certificate"),
        }
    }
}
