//! Servers: what may be lost now, and which of them vote.

use proto::id::ServerId;
use proto::v1;
use std::collections::BTreeSet;
use std::time::Duration;
use tonic::Status;

use super::{Api, changes};
use crate::access::By;
use crate::engine::{Command, State};
use crate::forward::not_leading;
use crate::membership::rules::{Member, VOTERS_MAX, View};
use crate::membership::{view, view_within};

/// Several heartbeats: within it every follower that is there answers.
const COUNTED_AFTER: Duration = Duration::from_millis(700);

/// One line of `ctl get servers`.
fn line(raft: &crate::raft::RaftMetrics, leads: bool, id: ServerId) -> v1::Server {
    let is_own = id == raft.id;
    let is_leader = raft.leader.as_ref().is_some_and(|leader| leader.id == id);
    let role = match (is_own && leads || is_leader && !is_own, raft.voters.contains(&id)) {
        (true, _) => "leader",
        (false, true) => "follower",
        (false, false) => "learner",
    };
    v1::Server {
        id: id.to_string(),
        role: role.to_owned(),
        state: "ready".to_owned(),
        version: proto::hello::VERSION.to_owned(),
        term: if is_own { raft.term } else { 0 },
        last_log: if is_own { raft.last_log.unwrap_or(0) } else { 0 },
        applied: if is_own { raft.applied.unwrap_or(0) } else { 0 },
        ..v1::Server::default()
    }
}

fn state_of(member: Option<&Member>, leads: bool) -> &'static str {
    match member {
        None if leads => "joining",
        None => "unknown",
        Some(member) if member.silent.is_some() => "silent",
        Some(member) if member.is_behind => "behind",
        Some(_) => "ready",
    }
}

/// What may be lost now.
fn safety(view: &View) -> String {
    let voters = view.voters();
    let answering = view.answering(&voters);
    let spare = (answering).saturating_sub(voters.len() / 2 + 1);
    match (voters.len(), spare) {
        (0 | 1, _) if view.members.len() <= 1 => {
            "1 voter: losing its disk loses the cluster's state; containers go on running".to_owned()
        }
        (0 | 1, _) => "1 voter: losing it stops changes; add servers until there are 3".to_owned(),
        (all, _) if answering * 2 <= all => {
            format!("{answering} of {all} voters answer: nothing can be changed")
        }
        (all, 0) => format!("{answering} of {all} voters answer: losing one more stops changes"),
        (all, 1) => format!("{answering} of {all} voters answer: any one may be lost"),
        (all, more) => format!("{answering} of {all} voters answer: any {more} may be lost"),
    }
}

// === impl Api ===

impl Api {
    pub(super) fn servers(&self) -> Vec<v1::Server> {
        let (state, metrics) = (self.present(), self.raft.metrics());
        let leads = self.raft.leadership().borrow().leading().is_some();
        let seen = leads.then(|| view(&self.raft, &state));
        let safety = seen.as_ref().map(safety).unwrap_or_default();
        let mut ids: BTreeSet<ServerId> = state.servers().map(|server| server.info.id).collect();
        ids.extend(metrics.members.iter().map(|peer| peer.id));
        ids.insert(metrics.id);
        let mut servers = Vec::new();
        for id in ids {
            let mut server = line(&metrics, leads, id);
            if id != metrics.id {
                let member = seen.as_ref().and_then(|view| view.member(id));
                state_of(member, leads).clone_into(&mut server.state);
                if let Some(follower) = self.raft.followers().into_iter().find(|f| f.peer.id == id) {
                    server.last_log = follower.reached.unwrap_or(0);
                }
            }
            if let Some(known) = state.server(id) {
                server.hostname.clone_from(&known.info.hostname);
                server.address.clone_from(&known.info.peers);
                server.version.clone_from(&known.info.program);
            }
            server.safety.clone_from(&safety);
            servers.push(server);
        }
        servers
    }

    /// Lets a server vote, in the place of another where the number would be even or too large.
    pub(super) async fn promote(&self, by: By, asked: v1::PromoteServerRequest) -> Result<v1::ChangeResponse, Status> {
        let (state, seen) = self.seen_by_leader()?;
        let id = named(&state, &asked.server)?;
        let member = seen.member(id).ok_or_else(|| not_now(&format!("server {id} is no member yet")))?;
        if member.votes {
            return Ok(v1::ChangeResponse { revision: state.revision().0, changed: false });
        }
        if !member.is_fit() {
            return Err(not_now(&format!("server {id} is {} and cannot vote yet", state_of(Some(member), true))));
        }
        let mut voters = seen.voters();
        voters.insert(id);
        if voters.len() % 2 == 0 || voters.len() > VOTERS_MAX {
            let others = seen.members.iter().filter(|m| m.votes && m.id != seen.own);
            let Some(leaves) = others.max_by_key(|m| (m.silent, m.is_behind, m.id)) else {
                return Err(not_now(
                    "two voters survive no more than one: add a third server, and both vote by themselves",
                ));
            };
            voters.remove(&leaves.id);
        }
        if !seen.could_decide(&voters) {
            return Err(not_now("too few of the voters would answer to decide anything"));
        }
        let chosen = self.change(by, asked.request, Command::PromoteServer { id }).await?;
        self.raft.set_voters(voters).await.map_err(|e| Status::unavailable(e.to_string()))?;
        changes::changed(&chosen)
    }

    /// Removes a server, if those that stay can decide. This one hands leadership over first; the next leader does it.
    pub(super) async fn dismiss(&self, by: By, asked: v1::RemoveServerRequest) -> Result<v1::ChangeResponse, Status> {
        // One that was lost a moment ago must not be counted on: who is has answered since this was asked.
        tokio::time::sleep(COUNTED_AFTER).await;
        let (state, _) = self.seen_by_leader()?;
        let seen = view_within(&self.raft, &state, COUNTED_AFTER);
        let id = named(&state, &asked.server)?;
        let mut left = seen.voters();
        if left.remove(&id) {
            if left.is_empty() {
                return Err(not_now("it is the only voter: without it there is no cluster; add servers first"));
            }
            if !seen.could_decide(&left) {
                return Err(not_now(&format!(
                    "of the {} voters that would stay only {} answer, and {} are needed: the cluster could not decide any more; \
                     bring one back, or add a server first",
                    left.len(),
                    seen.answering(&left),
                    left.len() / 2 + 1
                )));
            }
        }
        if id == self.raft.id() {
            return match self.raft.hand_over().await {
                Some(next) => Err(not_leading(&format!("server {} leads now", next.id))),
                None => Err(not_now("it leads, and no other server takes over; try again")),
            };
        }
        changes::changed(&self.change(by, asked.request, Command::RemoveServer { id }).await?)
    }

    fn seen_by_leader(&self) -> Result<(std::sync::Arc<State>, View), Status> {
        if self.raft.leadership().borrow().leading().is_none() {
            return Err(not_leading(&"this server does not lead"));
        }
        let state = self.present();
        let seen = view(&self.raft, &state);
        Ok((state, seen))
    }
}

fn not_now(why: &str) -> Status {
    Status::failed_precondition(why)
}

/// A server by its id, its host's name, or the beginning of its id if it is the only one.
fn named(state: &State, text: &str) -> Result<ServerId, Status> {
    let fits = |server: &&std::sync::Arc<crate::engine::model::Server>| {
        let id = server.info.id.to_string();
        id == text || server.info.hostname == text || text.len() >= 4 && id.starts_with(text)
    };
    let found: Vec<ServerId> = state.servers().filter(fits).map(|server| server.info.id).collect();
    match found[..] {
        [id] => Ok(id),
        [] => Err(Status::not_found(format!("there is no server `{text}`; `ctl get servers` shows them"))),
        _ => Err(Status::invalid_argument(format!("several servers are called `{text}`: name one by its id"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, votes: bool, answers: bool) -> Member {
        let silent = (!answers).then_some(Duration::from_secs(9));
        Member { id: ServerId(id), votes, known: true, silent, is_behind: false }
    }

    #[test]
    fn what_may_be_lost_is_said_in_words() {
        let of = |members: &[(bool, bool)]| {
            let members = (1..).zip(members).map(|(id, (votes, answers))| member(id, *votes, *answers)).collect();
            safety(&View { own: ServerId(1), members, unfinished: None })
        };
        assert!(of(&[(true, true)]).contains("losing its disk"));
        assert!(of(&[(true, true), (false, true)]).contains("add servers until there are 3"));
        assert!(of(&[(true, true); 3]).ends_with("any one may be lost"));
        assert!(of(&[(true, true), (true, true), (true, false)]).ends_with("losing one more stops changes"));
        assert!(of(&[(true, true), (true, false), (true, false)]).ends_with("nothing can be changed"));
        assert!(of(&[(true, true); 5]).ends_with("any 2 may be lost"));
    }
}
