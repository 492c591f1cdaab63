//! Commands about who is known. Whether a token still holds is decided here, so that no race uses it twice.

use proto::digest::same;
use proto::identity::{OperatorName, Subject};
use std::sync::Arc;

use super::{State, done};
use crate::engine::command::Enrolling;
use crate::engine::model::{Authority, Grant, Identity, Token};
use crate::engine::outcome::{Outcome, Rejection};

/// How long a token that nobody can use any more is still listed, in milliseconds of wall time.
const OVER_KEPT_MS: u64 = 24 * 3_600_000;

pub(super) fn found(state: &mut State, authority: &Authority) -> Outcome {
    if state.authority.is_some() {
        return Outcome::Rejected(Rejection::AuthorityFounded);
    }
    state.authority = Some(Arc::new(authority.clone()));
    done(state, true)
}

pub(super) fn put_token(state: &mut State, token: &Token) -> Outcome {
    let now = state.wall;
    let over: Vec<u64> =
        state.tokens.values().filter(|t| now.0 >= t.expires.0.saturating_add(OVER_KEPT_MS)).map(|t| t.id).collect();
    for id in over {
        state.tokens.remove(&id);
    }
    let changed = state.tokens.insert(token.id, Arc::new(token.clone())).is_none();
    done(state, changed)
}

pub(super) fn revoke_token(state: &mut State, id: u64) -> Outcome {
    match state.tokens.remove(&id) {
        Some(_) => done(state, true),
        None => Outcome::Rejected(Rejection::NoToken(id)),
    }
}

pub(super) fn enrol(state: &mut State, id: u64, hash: &str, who: Enrolling, key: &[u8]) -> Outcome {
    match enrolled(state, id, hash, who, key) {
        Ok(subject) => Outcome::Enrolled { revision: state.revision, subject },
        Err(rejection) => Outcome::Rejected(rejection),
    }
}

fn enrolled(state: &mut State, id: u64, hash: &str, who: Enrolling, key: &[u8]) -> Result<Subject, Rejection> {
    let token = state.tokens.get(&id).ok_or(Rejection::NoToken(id))?.clone();
    if !same(token.hash.as_bytes(), hash.as_bytes()) {
        return Err(Rejection::WrongSecret(id));
    }
    let subject = subject(&token, who)?;
    let known = state.identities.get(&subject);
    // An answer that was lost on its way is asked for again: the same key under the same token uses nothing up.
    if known.is_some_and(|k| k.key == key && k.token == id) && state.wall < token.expires {
        return Ok(subject);
    }
    token.standing(state.wall).map_err(|why| over(&token, why))?;
    match known {
        Some(known) if known.key != key => return Err(taken(subject)),
        None if matches!(who, Enrolling::Server(id) if state.servers.contains_key(&id)) => return Err(taken(subject)),
        None if matches!(who, Enrolling::Agent(node) if state.nodes.contains_key(&node))
            && !was_revoked(state, who) =>
        {
            return Err(taken(subject));
        }
        _ => {}
    }
    let identity = Identity {
        subject: subject.clone(),
        key: key.to_vec(),
        grant: match (&token.grant, &subject) {
            (Grant::Operator { role, project, .. }, Subject::Operator(name)) => {
                Grant::Operator { role: *role, project: project.clone(), name: name.clone() }
            }
            (grant, _) => grant.clone(),
        },
        token: id,
        enrolled: state.wall,
        modified: state.revision,
    };
    state.tokens.insert(id, Arc::new(Token { used: token.used + 1, ..(*token).clone() }));
    state.identities.insert(subject.clone(), Arc::new(identity));
    if let Enrolling::Agent(node) = who {
        state.pardoned.remove(&node);
    }
    state.record(subject.to_string(), "enrolled", format!("{subject} joined by token {id:016x}"));
    Ok(subject)
}

/// A node that is there without an identity joined on this host; a token does not take its place, unless its identity
/// was revoked: that is the operator's word that another key may come.
fn was_revoked(state: &State, who: Enrolling) -> bool {
    matches!(who, Enrolling::Agent(node) if state.pardoned.contains(&node))
}

fn subject(token: &Token, who: Enrolling) -> Result<Subject, Rejection> {
    match (&token.grant, who) {
        (Grant::Agent, Enrolling::Agent(node)) => Ok(Subject::Agent(node)),
        (Grant::Operator { name, .. }, Enrolling::Operator) => Ok(Subject::Operator(numbered(name, token))),
        (Grant::Server, Enrolling::Server(id)) => Ok(Subject::Server(id)),
        (_, Enrolling::Server(_)) => Err(Rejection::TokenKind { id: token.id, kind: "server".to_owned() }),
        (_, Enrolling::Agent(_)) => Err(Rejection::TokenKind { id: token.id, kind: "agent".to_owned() }),
        (_, Enrolling::Operator) => Err(Rejection::TokenKind { id: token.id, kind: "operator".to_owned() }),
    }
}

/// The name of the next who joins by it.
fn numbered(name: &OperatorName, token: &Token) -> OperatorName {
    if token.uses <= 1 {
        return name.clone();
    }
    let text = format!("{name}-{}", token.used + 1);
    text.parse().unwrap_or_else(|_| name.clone())
}

fn over(token: &Token, why: &str) -> Rejection {
    let why = match why {
        "expired" => "has expired".to_owned(),
        _ => format!("was used {} of {} times", token.used, token.uses),
    };
    Rejection::TokenOver { id: token.id, why }
}

fn taken(subject: Subject) -> Rejection {
    let remedy = match &subject {
        Subject::Operator(name) => {
            format!("revoke it first (`ctl operator revoke {name}`), or make a token with another --name")
        }
        Subject::Agent(node) => format!(
            "bring back the key in its data directory, or allow another one with `ctl node revoke {node}`; a copied \
             data directory must be removed whole to join as a new node"
        ),
        Subject::Server(_) => "start it with an empty data directory: it draws another id".to_owned(),
    };
    Rejection::Taken { subject, remedy }
}

pub(super) fn revoke(state: &mut State, subject: &Subject) -> Outcome {
    if matches!(subject, Subject::Server(_)) {
        return Outcome::Rejected(Rejection::NoIdentity(subject.clone()));
    }
    let known = state.identities.remove(subject);
    match subject {
        // A node that joined on its server's host has no identity; allowing it a key is the same word.
        Subject::Agent(node) if known.is_some() || state.nodes.contains_key(node) => {
            state.pardoned.insert(*node);
        }
        _ if known.is_none() => return Outcome::Rejected(Rejection::NoIdentity(subject.clone())),
        _ => {}
    }
    state.record(subject.to_string(), "revoked", format!("{subject} is not known any more"));
    done(state, true)
}
