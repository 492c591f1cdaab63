//! For whom a server passes a call on: two headers, believed only from a server.
//!
//! A server could sign itself any certificate: what it says of a caller is worth as much as its own.

use proto::identity::Subject;
use tonic::Status;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request};

use super::Caller;
use crate::engine::State;
use crate::engine::model::{Asker, Grant};

/// Who calls, in the audit's words.
const WHO: &str = "wherry-behalf-of";
/// From where.
const FROM: &str = "wherry-behalf-from";

/// Writes down for whom a call is passed on.
pub fn put(headers: &mut HeaderMap, by: &Asker) {
    for (name, text) in [(WHO, &by.who), (FROM, &by.from)] {
        headers.remove(name);
        // Names and addresses are plain characters; what is not is not passed on, and the call refused.
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
}

/// For whom a call is passed on, if it is. Who is no server cannot say so.
pub(super) fn of<T>(request: &Request<T>) -> Option<Asker> {
    let text = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    Some(Asker { who: text(WHO)?, from: text(FROM).unwrap_or_default() })
}

/// Who that is now.
pub(super) fn caller(by: &Asker, state: &State) -> Result<Caller, Status> {
    match by.who.as_str() {
        "local" => return Ok(Caller::Local),
        NOBODY => return Ok(Caller::Nobody),
        _ => {}
    }
    let subject: Subject = by.who.parse().map_err(|e| Status::invalid_argument(format!("{WHO}: {e}")))?;
    let revoked = || Status::unauthenticated(format!("{subject} was revoked; join again with a fresh token"));
    match &subject {
        Subject::Server(id) if state.is_member(*id) => Ok(Caller::Server(*id)),
        Subject::Server(_) => Err(revoked()),
        _ => Caller::known(&subject, &state.identity(&subject).ok_or_else(revoked)?.grant),
    }
}

/// How a caller without a certificate is called between servers.
pub(super) const NOBODY: &str = "nobody";

impl Caller {
    /// Somebody who is known, with what it may do.
    pub(super) fn known(subject: &Subject, grant: &Grant) -> Result<Caller, Status> {
        match (subject, grant) {
            (Subject::Agent(node), Grant::Agent) => Ok(Caller::Agent(*node)),
            (Subject::Operator(name), Grant::Operator { role, project, .. }) => {
                Ok(Caller::Operator { name: name.clone(), role: *role, project: project.clone() })
            }
            _ => Err(Status::unauthenticated(format!("{subject} is known as something else"))),
        }
    }

    /// As other servers are told.
    pub(crate) fn for_servers(&self) -> String {
        match self {
            Caller::Nobody => NOBODY.to_owned(),
            other => other.to_string(),
        }
    }
}
