//! What happened, for people: a ring in State.

use proto::revision::{Revision, Wall};
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The revision that made it so.
    pub revision: Revision,
    /// Wall time, for display.
    pub at: Wall,
    /// `shop`, `shop/web`, `shop/web.1`, or a node's host name.
    pub subject: String,
    /// A stable word such as `task-created`.
    pub kind: String,
    /// The cause in words.
    pub message: String,
}
