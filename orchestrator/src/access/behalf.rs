//! For whom a server passes a call on: two headers, believed only from a server.
//!
//! A server could sign itself any certificate: what it says of a caller is worth as much as its own.

use proto::identity::Subject;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request};
use tonic::{Code, Status};

use super::{Caller, rights};
use crate::engine::State;
use crate::engine::model::{Asker, Grant};
use crate::raft::{Asked, NotTaken};

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

/// May who asked another server for a change make it, as this one knows who that is? The other one may lag behind.
pub fn may_still(asked: &Asked, state: &State) -> Result<(), NotTaken> {
    let by = Asker { who: asked.who.clone(), from: String::new() };
    let judged = caller(&by, state).and_then(|caller| {
        rights::allow(&caller, &format!("/wherry.v1.Control/{}", asked.call))?;
        match caller.project() == asked.project.as_ref() {
            true => Ok(()),
            false => Err(Status::permission_denied(format!("the rights of {caller} have changed: call again"))),
        }
    });
    judged.map_err(|status| NotTaken::Forbidden {
        is_known: status.code() != Code::Unauthenticated,
        why: status.message().to_owned(),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::command::Enrolling;
    use crate::engine::model::{Ranges, Token};
    use crate::engine::{Command, Stamped, apply};
    use proto::id::{ClusterId, ProjectName};
    use proto::identity::OperatorRole;
    use proto::revision::{Time, Wall};

    fn said(state: &mut State, command: Command) {
        apply(state, &Stamped { at: Time(0), wall: Wall(0), request: None, by: None, command });
    }

    /// A cluster that knows an operator of that name.
    fn known(name: &str, role: OperatorRole, project: Option<&str>) -> State {
        let mut state = State::empty();
        said(&mut state, Command::Bootstrap { cluster: ClusterId(7), ranges: Ranges::default() });
        said(&mut state, Command::RaiseVersion { to: crate::engine::STATE_VERSION });
        let project = project.map(|p| p.parse().expect("a name"));
        let grant = Grant::Operator { role, project, name: name.parse().expect("a name") };
        let hash = "0".repeat(64);
        let token =
            Token { id: 1, hash: hash.clone(), grant, uses: 1, used: 0, made: Wall(0), expires: Wall(u64::MAX) };
        said(&mut state, Command::PutToken { token });
        said(&mut state, Command::Enrol { token: 1, hash, who: Enrolling::Operator, key: vec![7; 32] });
        state
    }

    fn asked(who: &str, project: Option<&str>) -> Asked {
        let project: Option<ProjectName> = project.map(|p| p.parse().expect("a name"));
        Asked { who: who.to_owned(), call: "ApplyProject".to_owned(), project }
    }

    fn refused(asked: &Asked, state: &State) -> (bool, String) {
        match may_still(asked, state) {
            Err(NotTaken::Forbidden { is_known, why }) => (is_known, why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_change_that_another_server_was_asked_for_is_made_for_who_may_still_ask() {
        let state = known("ada", OperatorRole::Deployer, Some("shop"));
        assert_eq!(may_still(&asked("operator/ada", Some("shop")), &state), Ok(()));
        assert_eq!(may_still(&asked("local", None), &state), Ok(()), "who opens the socket of a server is its owner");

        let (is_known, why) = refused(&asked("operator/eve", None), &state);
        assert!(!is_known && why.contains("revoked"), "{why}");
        let (is_known, why) = refused(&asked("operator/ada", Some("blog")), &state);
        assert!(is_known && why.contains("have changed"), "{why}");
        let (is_known, why) = refused(&asked("operator/ada", None), &state);
        assert!(is_known && why.contains("have changed"), "it was held to no project there: {why}");
        let (is_known, why) = refused(&asked("operator/bob", None), &known("bob", OperatorRole::Viewer, None));
        assert!(is_known && why.contains("a viewer may not call ApplyProject"), "{why}");
        assert!(refused(&asked("nobody", None), &state).1.contains("certificate"));
    }
}
