//! Who did what, for those who must answer for it: what the audit keeps.

use proto::revision::{Revision, Wall};
use serde::{Deserialize, Serialize};

/// Who asked, as far as it was proved, and from where. Travels with a command through the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// `operator/alice`, `agent/ID`, `token/ID`, or `local`: somebody who may open the server's socket.
    pub who: String,
    /// `IP:PORT`, or the user and process behind a unix socket.
    pub from: String,
}

/// What is kept though it changes nothing: a secret that is about to be given, a call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditNote {
    /// The call's name.
    pub call: String,
    /// Of which project; empty: of none, or it was not looked at.
    pub project: String,
    /// About what, as in `AuditRecord`.
    pub object: String,
    /// More, in words.
    pub detail: String,
    /// It was refused.
    pub refused: bool,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done, and State is another since.
    Done,
    /// It was as asked already.
    Unchanged,
    /// A secret was given.
    Given,
    /// It was not done.
    Refused,
}

/// One thing that somebody did, or tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// Counts from 1 without gaps, over all kinds.
    pub number: u64,
    /// The revision that made it so.
    pub revision: Revision,
    /// Wall time of the server that led.
    pub at: Wall,
    /// Who and from where.
    pub by: Asker,
    /// The call's name, such as `ScaleService`.
    pub call: String,
    /// Of which project; empty: of none.
    pub project: String,
    /// A kind and a name, such as `service/web`, `secret/password`, `token/ID`; empty: the cluster.
    pub object: String,
    /// More, in words; of what was refused: why.
    pub detail: String,
    /// What became of it.
    pub outcome: AuditOutcome,
}

// === impl AuditOutcome ===

impl AuditOutcome {
    /// The word on the wire and on screens.
    pub fn as_str(self) -> &'static str {
        match self {
            AuditOutcome::Done => "done",
            AuditOutcome::Unchanged => "unchanged",
            AuditOutcome::Given => "given",
            AuditOutcome::Refused => "refused",
        }
    }
}
