//! This server's file of keys: what State asks for is fetched and kept, what State gave up is given up.

use proto::revision::Revision;
use proto::v1;
use proto::v1::servers_client::ServersClient;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

use super::rules;
use crate::engine::State;
use crate::pki::seal::{SealError, SealingKey};
use crate::pki::sealer::Sealer;
use crate::raft::{Leadership, Peers, RaftHandle};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The keys, and what is about to become of them.
#[derive(Debug)]
pub(super) struct Keys {
    raft: RaftHandle,
    sealer: Arc<Sealer>,
    peers: Arc<Peers>,
    /// Those that may go once State as of this revision is in a snapshot.
    going: Option<(Vec<String>, Revision)>,
}

// === impl Keys ===

impl Keys {
    pub(super) fn new(raft: RaftHandle, sealer: Arc<Sealer>, peers: Arc<Peers>) -> Keys {
        Keys { raft, sealer, peers, going: None }
    }

    /// Does what is to be done now. True: there is nothing more until State changes. `Err`: what is in the way.
    pub(super) async fn settle(&mut self, state: &State) -> Result<bool, String> {
        for id in rules::needed(state) {
            if !self.sealer.holds(id) {
                self.take_in(state, id).await?;
                tracing::info!(key = id, "a sealing key was taken in");
            }
        }
        self.give_up(state).await
    }

    async fn take_in(&self, state: &State, id: &str) -> Result<(), String> {
        let key = match self.sealer.drawn(id) {
            Some(drawn) => drawn,
            None => Arc::new(self.fetch(state, id).await?),
        };
        self.write(move |sealer| sealer.keep(key)).await
    }

    /// A key of the leader's, which has it or draws another; or of a server that says that it has it.
    async fn fetch(&self, state: &State, id: &str) -> Result<SealingKey, String> {
        let leader = match &*self.raft.leadership().borrow() {
            Leadership::Following { leader: Some(leader) } => Some(leader.address.clone()),
            _ => None,
        };
        let own = self.raft.id();
        let holding = state.holding(id).filter(|server| *server != own);
        let others = holding.filter_map(|server| Some(state.server(server)?.info.peers.clone()));
        let mut problems = Vec::new();
        for address in leader.into_iter().chain(others).filter(|address| !address.is_empty()) {
            match self.ask(&address, id).await {
                Ok(key) => return Ok(key),
                Err(problem) => problems.push(format!("{address}: {problem}")),
            }
        }
        Err(match problems.is_empty() {
            true => format!("key {id} is not here, and no other server is known that could give it"),
            false => format!("key {id} is not here, and is not given: {}", problems.join("; ")),
        })
    }

    async fn ask(&self, address: &str, id: &str) -> Result<SealingKey, String> {
        let mut client = ServersClient::new(self.peers.calls(address)?);
        let asked = client.fetch_sealing_key(v1::FetchSealingKeyRequest { id: id.to_owned() });
        let given = match tokio::time::timeout(ANSWER_WITHIN, asked).await {
            Ok(Ok(given)) => Zeroizing::new(given.into_inner().key),
            Ok(Err(status)) => return Err(proto::peer::explain_status(&status)),
            Err(_) => return Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
        };
        SealingKey::read(&given).filter(|key| key.id() == id).ok_or_else(|| "it gave another key".to_owned())
    }

    /// A server that starts again begins with its snapshot: the key goes when that is one which needs it no more.
    async fn give_up(&mut self, state: &State) -> Result<bool, String> {
        let held = self.sealer.held().borrow().clone();
        let gone: Vec<String> = held.into_iter().filter(|id| state.sealing().is_retired(id)).collect();
        if gone.is_empty() {
            self.going = None;
            return Ok(true);
        }
        let since = match &self.going {
            Some((ids, since)) if *ids == gone => *since,
            _ => state.revision(),
        };
        self.going = Some((gone.clone(), since));
        if *self.raft.saved().borrow() < since {
            self.raft.take_snapshot().await.map_err(|e| e.to_string())?;
            return Ok(false);
        }
        let ids = gone.clone();
        self.write(move |sealer| sealer.forget(&ids)).await?;
        tracing::info!(keys = gone.join(", "), "sealing keys that nothing needs any more were given up");
        Ok(true)
    }

    /// Writes the file on a thread that may block.
    async fn write(
        &self,
        change: impl FnOnce(&Sealer) -> Result<(), SealError> + Send + 'static,
    ) -> Result<(), String> {
        let sealer = self.sealer.clone();
        let written = tokio::task::spawn_blocking(move || change(&sealer)).await;
        written.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
    }
}
