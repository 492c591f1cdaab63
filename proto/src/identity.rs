//! Who can be known to a cluster, and the name that a certificate carries.
//!
//! A valid chain is not identity: whoever reads a certificate compares kind, cluster and name. Never verifies a chain.
//! Used by the servers (`pki`, `access`), agents and ctl.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::id::{ClusterId, IdError, NodeId, ProjectName, ServerId};
use crate::revision::{Epoch, Wall};

const SCHEME: &str = "wherry://";

/// Who a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A member of the control plane.
    Server(ServerId),
    /// A node.
    Agent(NodeId),
    /// A person or a program that operates the cluster.
    Operator(OperatorName),
}

/// An operator's name: as a project's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperatorName(ProjectName);

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorRole {
    /// Everything.
    Admin,
    /// Change and see projects.
    Deployer,
    /// See projects.
    Viewer,
}

/// What is in a certificate beside its key: cluster, subject, epoch, end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateName {
    /// The cluster whose authority issued it.
    pub cluster: ClusterId,
    /// For whom.
    pub subject: Subject,
    /// The epoch it was issued in.
    pub epoch: Epoch,
    /// Until when it holds; the certificate's own end is the same, in seconds.
    pub until: Wall,
}

/// A text that names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not the name of a {kind}")]
pub struct NotAName {
    /// What was expected.
    pub kind: &'static str,
    /// As given.
    pub text: String,
}

/// The name under which servers of a cluster present themselves to TLS, whatever address they have.
pub fn server_name(cluster: ClusterId) -> String {
    format!("server.{cluster}.wherry")
}

// === impl OperatorName ===

impl OperatorName {
    /// As text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}
impl FromStr for OperatorName {
    type Err = NotAName;
    fn from_str(text: &str) -> Result<OperatorName, NotAName> {
        let wrong = |_: IdError| NotAName { kind: "operator (a-z, 0-9, `-`, `_`, at most 63)", text: text.to_owned() };
        text.parse().map(OperatorName).map_err(wrong)
    }
}
impl fmt::Display for OperatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

// === impl OperatorRole ===

impl OperatorRole {
    /// The word on the wire and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            OperatorRole::Admin => "admin",
            OperatorRole::Deployer => "deployer",
            OperatorRole::Viewer => "viewer",
        }
    }
}
impl FromStr for OperatorRole {
    type Err = NotAName;
    fn from_str(text: &str) -> Result<OperatorRole, NotAName> {
        let all = [OperatorRole::Admin, OperatorRole::Deployer, OperatorRole::Viewer];
        let wrong = || NotAName { kind: "role: admin, deployer, viewer", text: text.to_owned() };
        all.into_iter().find(|role| role.as_str() == text).ok_or_else(wrong)
    }
}

// === impl Subject ===

impl Subject {
    /// `server`, `agent` or `operator`.
    pub fn kind(&self) -> &'static str {
        match self {
            Subject::Server(_) => "server",
            Subject::Agent(_) => "agent",
            Subject::Operator(_) => "operator",
        }
    }
    /// What stands behind the kind.
    pub fn name(&self) -> String {
        match self {
            Subject::Server(id) => id.to_string(),
            Subject::Agent(id) => id.to_string(),
            Subject::Operator(name) => name.to_string(),
        }
    }
}
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.kind(), self.name()))
    }
}
impl FromStr for Subject {
    type Err = NotAName;
    fn from_str(text: &str) -> Result<Subject, NotAName> {
        let wrong = || NotAName { kind: "subject: KIND/NAME", text: text.to_owned() };
        let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
        match kind {
            "server" if name.len() == 16 => name.parse().map(Subject::Server).map_err(|_| wrong()),
            "agent" if name.len() == 16 => name.parse().map(Subject::Agent).map_err(|_| wrong()),
            "operator" => name.parse().map(Subject::Operator),
            _ => Err(wrong()),
        }
    }
}

// === impl CertificateName ===

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}?epoch={}&until={}", self.cluster, self.subject, self.epoch.0, self.until.0)
    }
}
impl FromStr for CertificateName {
    type Err = NotAName;
    fn from_str(text: &str) -> Result<CertificateName, NotAName> {
        let parse = || {
            let (cluster, rest) = text.strip_prefix(SCHEME)?.split_once('/')?;
            let (subject, rest) = rest.split_once("?epoch=")?;
            let (epoch, until) = rest.split_once("&until=")?;
            let name = CertificateName {
                cluster: cluster.parse().ok().filter(|_| cluster.len() == 16)?,
                subject: subject.parse().ok()?,
                epoch: Epoch(epoch.parse().ok()?),
                until: Wall(until.parse().ok()?),
            };
            // One name has one spelling.
            (name.to_string() == text).then_some(name)
        };
        parse().ok_or_else(|| NotAName { kind: "certificate of wherry", text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(subject: &str) -> CertificateName {
        let subject = subject.parse().expect("a subject");
        CertificateName { cluster: ClusterId(7), subject, epoch: Epoch(1), until: Wall(99) }
    }

    #[test]
    fn a_name_comes_back() {
        for subject in ["server/00000000000000ff", "agent/000000000000000a", "operator/alice"] {
            let name = name(subject);
            assert_eq!(name.to_string().parse(), Ok(name.clone()));
            assert_eq!(name.subject.to_string(), subject);
        }
        let text = name("agent/000000000000000a").to_string();
        assert_eq!(text, "wherry://0000000000000007/agent/000000000000000a?epoch=1&until=99");
    }

    #[test]
    fn what_only_looks_like_a_name_is_none() {
        for bad in [
            "",
            "https://0000000000000007/agent/000000000000000a?epoch=1&until=99",
            "wherry://7/agent/000000000000000a?epoch=1&until=99",
            "wherry://0000000000000007/agent/a?epoch=1&until=99",
            "wherry://0000000000000007/agent/000000000000000A?epoch=1&until=99",
            "wherry://0000000000000007/agent/000000000000000a?epoch=01&until=99",
            "wherry://0000000000000007/operator/a/b?epoch=1&until=99",
            "wherry://0000000000000007/operator/Alice?epoch=1&until=99",
            "wherry://0000000000000007/root/alice?epoch=1&until=99",
            "wherry://0000000000000007/operator/alice?epoch=1&until=99&until=100",
        ] {
            assert!(bad.parse::<CertificateName>().is_err(), "{bad}");
        }
    }
}
