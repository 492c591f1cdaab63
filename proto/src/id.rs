//! Names and numbers that identify things, each a type of its own.
//!
//! Never allocates an id: engines derive ids from State, the shells read them from disk. Used by every room.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::limits::NAME_MAX;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// `{kind} name is empty`
    #[error("{kind} name is empty")]
    Empty {
        /// What was being named.
        kind: &'static str,
    },
    /// The name is longer than a DNS label.
    #[error("{kind} name `{name}` has {len} characters, at most {max} are allowed")]
    TooLong {
        /// What was being named.
        kind: &'static str,
        /// The text as given.
        name: String,
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A character that cannot stand in a DNS label or a container name.
    #[error("{kind} name `{name}` may hold only a-z, 0-9, `-` and `_`, and starts with a letter or digit")]
    BadCharacter {
        /// What was being named.
        kind: &'static str,
        /// The text as given.
        name: String,
    },
    /// A number or hexadecimal id that does not parse.
    #[error("`{text}` is not a {kind}")]
    NotANumber {
        /// What was expected.
        kind: &'static str,
        /// The text as given.
        text: String,
    },
}

fn check_name(kind: &'static str, name: &str) -> Result<(), IdError> {
    if name.is_empty() {
        return Err(IdError::Empty { kind });
    }
    if name.len() > NAME_MAX {
        return Err(IdError::TooLong { kind, name: name.to_owned(), len: name.len(), max: NAME_MAX });
    }
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let all_allowed = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if !starts_well || !all_allowed {
        return Err(IdError::BadCharacter { kind, name: name.to_owned() });
    }
    Ok(())
}

/// A name's text is shared: State is copied at each change, and names are its keys.
macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                check_name($kind, s)?;
                Ok(Self(s.into()))
            }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(s: String) -> Result<Self, IdError> {
                check_name($kind, &s)?;
                Ok(Self(s.into()))
            }
        }
        impl From<$name> for String {
            fn from(n: $name) -> String {
                n.as_str().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name_type!(
    /// A project: the unit of apply, rollback and naming; unique in the cluster.
    ProjectName, "project"
);
name_type!(
    /// A service within its project.
    ServiceName, "service"
);

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{:016x}", self.0))
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                u64::from_str_radix(s, 16)
                    .map($name)
                    .map_err(|_| IdError::NotANumber { kind: $kind, text: s.to_owned() })
            }
        }
    };
}

hex_id!(
    /// A host with an agent: random, written once in the agent's data directory.
    NodeId, "node id"
);
hex_id!(
    /// A control-plane member: random, written once in its data directory, never reused.
    ServerId, "server id"
);
hex_id!(
    /// The cluster, drawn at bootstrap and carried on every wire.
    ClusterId, "cluster id"
);

impl ClusterId {
    /// Six characters for names that people read, such as a bridge's.
    pub fn short(&self) -> String {
        format!("{:016x}", self.0)[..6].to_owned()
    }
}

/// One agent's connection: drawn by the server, larger for a later session of the same node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct SessionId(pub u64);

/// One slot's placement on one node, allocated from State. Shown as `t17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("t{}", self.0))
    }
}
impl FromStr for TaskId {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let bad = || IdError::NotANumber { kind: "task id", text: s.to_owned() };
        s.strip_prefix('t').ok_or_else(bad)?.parse().map(TaskId).map_err(|_| bad())
    }
}

/// The n-th place of a replicated service, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u32);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A service by its full name, shown as `shop/web`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// Its project.
    pub project: ProjectName,
    /// Its name within the project.
    pub service: ServiceName,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.project, self.service))
    }
}

/// Who asked for a change, and the how-manieth of its changes this is: resending is recognised by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// Drawn by the client when it starts: its second of birth in the upper half, 32 random bits in the lower.
    pub client: u64,
    /// Counted up by the client.
    pub sequence: u64,
}

impl RequestId {
    /// A client's id from its wall clock in milliseconds and 32 random bits.
    pub fn client(wall_ms: u64, random: u32) -> u64 {
        (wall_ms / 1000) << 32 | u64::from(random)
    }

    /// The client's second of birth.
    pub fn born_s(self) -> u64 {
        self.client >> 32
    }
}

/// The content of a config or a secret: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobDigest(pub String);

impl fmt::Display for BlobDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_with_underscore() {
        for good in ["web", "a", "0x", "my-app_2"] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "Web", "-a", "a.b", "a b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_print_and_parse_back() {
        assert_eq!("t17".parse::<TaskId>(), Ok(TaskId(17)));
        assert_eq!(NodeId(255).to_string().parse::<NodeId>(), Ok(NodeId(255)));
        assert!("17".parse::<TaskId>().is_err());
    }
}
