//! Vocabulary to wire and back: the only place where both meet.
//!
//! To the wire never fails; from the wire everything is checked, and an error names the field by its path. Never
//! judges what a value means (admission does) and never panics. Called by both doors, the agent and ctl.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use crate::id::{BlobDigest, RequestId, ServiceKey};
use crate::v1;

/// Both directions of an enum whose variants have the same names on both sides. Numbers convert too, because that
/// is how a message holds an enum.
macro_rules! enumeration {
    ($name:ident { $($variant:ident),+ $(,)? }) => {
        impl From<&$name> for v1::$name {
            fn from(value: &$name) -> Self {
                match value {
                    $($name::$variant => v1::$name::$variant,)+
                }
            }
        }
        impl From<$name> for i32 {
            fn from(value: $name) -> i32 {
                v1::$name::from(&value).into()
            }
        }
        impl TryFrom<v1::$name> for $name {
            type Error = ConvertError;
            fn try_from(wire: v1::$name) -> Result<Self, ConvertError> {
                match wire {
                    $(v1::$name::$variant => Ok($name::$variant),)+
                    v1::$name::Unspecified => Err(ConvertError::new("is missing")),
                }
            }
        }
        impl TryFrom<i32> for $name {
            type Error = ConvertError;
            fn try_from(number: i32) -> Result<Self, ConvertError> {
                let unknown = |_| ConvertError::new(format!("{number} is unknown here; its sender may be newer"));
                v1::$name::try_from(number).map_err(unknown)?.try_into()
            }
        }
    };
}

mod assignment;
mod container;
mod endpoint;
mod node;
mod spec;
mod status;
#[cfg(test)]
pub(crate) mod tests;

/// Why a message from the wire has no meaning here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", place(.field))]
pub struct ConvertError {
    /// Path of the field, such as `services.web.ports[0].target`; empty when it is about the whole.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

fn place(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("`{field}`: ") }
}

impl ConvertError {
    /// A problem with the value as a whole.
    pub fn new(problem: impl Display) -> Self {
        ConvertError { field: String::new(), problem: problem.to_string() }
    }

    /// The same problem, seen from the message that holds the value as `outer`.
    pub fn under(self, outer: impl Display) -> Self {
        let dot = if self.field.is_empty() || self.field.starts_with('[') { "" } else { "." };
        ConvertError { field: format!("{outer}{dot}{}", self.field), problem: self.problem }
    }
}

// === to the wire ===

fn list_to<'a, T, W: From<&'a T>>(items: &'a [T]) -> Vec<W> {
    items.iter().map(W::from).collect()
}

fn map_to<'a, K: Display, T, W: From<&'a T>>(map: &'a BTreeMap<K, T>) -> BTreeMap<String, W> {
    map.iter().map(|(key, value)| (key.to_string(), W::from(value))).collect()
}

fn texts<T: Display>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

// === from the wire ===

/// A message that must be there. `field` is its name in the message that holds it.
pub fn required<W, T: TryFrom<W, Error = ConvertError>>(field: &str, wire: Option<W>) -> Result<T, ConvertError> {
    let wire = wire.ok_or_else(|| ConvertError::new("is missing").under(field))?;
    T::try_from(wire).map_err(|e| e.under(field))
}

/// An enum as its message holds it.
pub fn enumerated<T: TryFrom<i32, Error = ConvertError>>(field: &str, number: i32) -> Result<T, ConvertError> {
    T::try_from(number).map_err(|e| e.under(field))
}

/// A name, an address: anything with a textual form.
pub fn parsed<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, ConvertError> {
    text.parse().map_err(|e| ConvertError::new(format!("`{text}`: {e}")).under(field))
}

/// A node, server or cluster id: exactly 16 hexadecimal digits, as ids are printed.
pub fn hex_id<T: FromStr<Err: Display>>(field: &str, text: &str) -> Result<T, ConvertError> {
    if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ConvertError::new(format!("`{text}` is not 16 hexadecimal digits")).under(field));
    }
    parsed(field, text)
}

/// A blob's digest. Only hexadecimal digits pass, because rooms use it in file names.
pub fn blob_digest(field: &str, text: String) -> Result<BlobDigest, ConvertError> {
    if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ConvertError::new(format!("`{text}` is not 64 lower-case hexadecimal digits")).under(field));
    }
    Ok(BlobDigest(text))
}

fn list_from<W, T: TryFrom<W, Error = ConvertError>>(field: &str, wire: Vec<W>) -> Result<Vec<T>, ConvertError> {
    let convert = |(i, item)| T::try_from(item).map_err(|e: ConvertError| e.under(format!("{field}[{i}]")));
    wire.into_iter().enumerate().map(convert).collect()
}

fn map_from<K, W, T>(field: &str, wire: BTreeMap<String, W>) -> Result<BTreeMap<K, T>, ConvertError>
where
    K: TryFrom<String, Error: Display> + Ord,
    T: TryFrom<W, Error = ConvertError>,
{
    let convert = |(text, item): (String, W)| {
        let value = T::try_from(item).map_err(|e| e.under(format!("{field}.{text}")))?;
        let key = K::try_from(text.clone()).map_err(|e| ConvertError::new(e).under(format!("{field}.{text}")))?;
        Ok((key, value))
    };
    wire.into_iter().map(convert).collect()
}

fn parsed_list<T: FromStr<Err: Display>>(field: &str, wire: &[String]) -> Result<Vec<T>, ConvertError> {
    wire.iter().enumerate().map(|(i, text)| parsed(&format!("{field}[{i}]"), text)).collect()
}

fn port(field: &str, number: u32) -> Result<u16, ConvertError> {
    match port_or_zero(field, number)? {
        0 => Err(ConvertError::new("0 is not a port, 1 to 65535 are").under(field)),
        port => Ok(port),
    }
}

fn port_or_zero(field: &str, number: u32) -> Result<u16, ConvertError> {
    u16::try_from(number).map_err(|_| ConvertError::new(format!("{number} is not a port, 1 to 65535 are")).under(field))
}

// === ids ===

impl From<&ServiceKey> for v1::ServiceKey {
    fn from(key: &ServiceKey) -> Self {
        v1::ServiceKey { project: key.project.to_string(), service: key.service.to_string() }
    }
}

impl TryFrom<v1::ServiceKey> for ServiceKey {
    type Error = ConvertError;
    fn try_from(w: v1::ServiceKey) -> Result<Self, ConvertError> {
        Ok(ServiceKey { project: parsed("project", &w.project)?, service: parsed("service", &w.service)? })
    }
}

impl From<&RequestId> for v1::RequestId {
    fn from(id: &RequestId) -> Self {
        v1::RequestId { client: id.client, sequence: id.sequence }
    }
}

impl TryFrom<v1::RequestId> for RequestId {
    type Error = ConvertError;
    fn try_from(w: v1::RequestId) -> Result<Self, ConvertError> {
        Ok(RequestId { client: w.client, sequence: w.sequence })
    }
}
