//! Commands about servers: what one says of itself, and that one is removed for good.
//!
//! Who votes is not here: that is the log's own matter.

use proto::id::ServerId;
use proto::identity::Subject;
use std::sync::Arc;

use super::{State, done, sealing};
use crate::engine::model::{Server, ServerInfo};
use crate::engine::outcome::{Outcome, Rejection};

/// Keeps what a server says of itself. One that nobody let in, or that was removed, is not a server.
pub(super) fn put(state: &mut State, info: &ServerInfo) -> Outcome {
    let known = state.servers.get(&info.id);
    if known.is_some_and(|known| known.info == *info) {
        return done(state, false);
    }
    let was_let_in = state.servers.is_empty() || state.identities.contains_key(&Subject::Server(info.id));
    if known.is_none() && !was_let_in {
        return Outcome::Rejected(Rejection::NoServer(info.id));
    }
    let since = known.map_or(state.wall, |known| known.since);
    if known.is_none() {
        state.record(format!("server/{}", info.id), "server-joined", format!("{} joined as a server", info.hostname));
    }
    let server = Server { info: info.clone(), since, modified: state.revision };
    state.servers.insert(info.id, Arc::new(server));
    done(state, true)
}

/// Says that a server was chosen to vote.
pub(super) fn promote(state: &mut State, id: ServerId) -> Outcome {
    let Some(server) = state.servers.get(&id).cloned() else { return Outcome::Rejected(Rejection::NoServer(id)) };
    let message = format!("server {} was chosen to vote", server.info.hostname);
    state.record(format!("server/{id}"), "server-promoted", message);
    done(state, true)
}

/// Forgets a server: its certificates hold no longer, and its id never comes back.
pub(super) fn remove(state: &mut State, id: ServerId) -> Outcome {
    let known = state.servers.remove(&id);
    let identity = state.identities.remove(&Subject::Server(id));
    if known.is_none() && identity.is_none() {
        return Outcome::Rejected(Rejection::NoServer(id));
    }
    sealing::server_removed(state);
    let name = known.map_or_else(|| id.to_string(), |server| server.info.hostname.clone());
    state.record(format!("server/{id}"), "server-removed", format!("server {name} was removed"));
    done(state, true)
}
