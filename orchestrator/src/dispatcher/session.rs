//! One agent's connection: hello, then its statuses in and its assignments and endpoints out, until it ends or is fenced.

use proto::convert::required;
use proto::id::{NodeId, SessionId, TaskId};
use proto::limits::LEASE_MS;
use proto::node::{NodeConditions, NodeInfo};
use proto::revision::Revision;
use proto::task_state::TaskStatus;
use proto::v1;
use proto::v1::agent_message::Message as FromAgent;
use proto::v1::server_message::Message as ToAgent;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::Inner;
use super::told::Told;
use crate::access::Caller;
use crate::engine::{Command, Outcome, assignments};
use crate::leader::LeaseEvent;
use crate::raft::{Applied, ProposeError};

/// Reports of one session that may wait for the log. An agent keeps one batch in flight, so more is a fault of its.
const REPORTS_WAITING: usize = 16;

/// What waits for the log: never a heartbeat, so that a slow disk is not taken for silence.
enum Report {
    Statuses(v1::StatusBatch),
    Conditions(v1::NodeConditions),
    Fingerprint(v1::NodeInfo),
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<v1::ServerMessage, Status>> + Send>>;

/// What one session's tasks share.
struct Session {
    door: Arc<Inner>,
    node: NodeId,
    id: SessionId,
    sender: mpsc::Sender<v1::ServerMessage>,
    fence: CancellationToken,
    told: Mutex<Told>,
    /// What was told is to be told again.
    again: Notify,
}

/// Reads the hello, registers the node and starts the session.
pub(super) async fn open(
    door: Arc<Inner>,
    caller: &Caller,
    mut incoming: Streaming<v1::AgentMessage>,
    sender: mpsc::Sender<v1::ServerMessage>,
    receiver: mpsc::Receiver<v1::ServerMessage>,
) -> Result<Outgoing, Status> {
    let first =
        incoming.next().await.ok_or_else(|| Status::invalid_argument("the stream ended before its hello"))??;
    let Some(FromAgent::Hello(hello)) = first.message else {
        return Err(Status::invalid_argument("the first message of a session is its hello"));
    };
    let node = greet(&door, caller, hello).await?;
    let (id, fence) = door.begin_session(node);
    tracing::info!(%node, session = id.0, "agent connected");
    door.switchboard.plug(node, id, sender.clone());
    // The receiver is gone only when this server stops.
    let _ = door.leases.send(LeaseEvent::Heard(node));
    let session = Arc::new(Session {
        door,
        node,
        id,
        sender,
        fence: fence.clone(),
        told: Mutex::default(),
        again: Notify::new(),
    });
    session.send(ToAgent::Welcome(session.welcome())).await;
    let (reports, waiting) = mpsc::channel(REPORTS_WAITING);
    tokio::spawn(session.clone().write_changes());
    tokio::spawn(session.clone().log_reports(waiting));
    tokio::spawn(session.read(incoming, reports));
    Ok(super::outgoing(receiver, fence))
}

async fn greet(door: &Inner, caller: &Caller, hello: v1::AgentHello) -> Result<NodeId, Status> {
    let state = door.state.borrow().clone();
    let mine = proto::hello::hello(state.cluster(), state.epoch());
    let theirs = hello.hello.ok_or_else(|| Status::invalid_argument("hello: missing"))?;
    proto::hello::admit(&mine, &theirs).map_err(|e| Status::failed_precondition(e.to_string()))?;
    let info: NodeInfo = required("node", hello.node).map_err(|e| Status::invalid_argument(e.to_string()))?;
    let node = info.id;
    caller.speaks_for(node)?;
    if state.node(node).is_some_and(|known| known.info == info) {
        return Ok(node);
    }
    match door.raft.propose(None, Command::RegisterNode { info }).await {
        Ok(Applied { outcome: Outcome::Rejected(why), .. }) => Err(Status::failed_precondition(why.to_string())),
        Ok(_) => Ok(node),
        Err(e) => Err(unavailable(&e)),
    }
}

fn unavailable(error: &ProposeError) -> Status {
    Status::unavailable(error.to_string())
}

// === impl Session ===

impl Session {
    fn welcome(&self) -> v1::Welcome {
        let state = self.door.state.borrow();
        let hello = proto::hello::hello(state.cluster(), state.epoch());
        v1::Welcome { hello: Some(hello), session: self.id.0, lease_ms: LEASE_MS }
    }

    /// False once the agent is gone.
    async fn send(&self, message: ToAgent) -> bool {
        self.sender.send(v1::ServerMessage { message: Some(message) }).await.is_ok()
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        // Each method leaves it whole, so one that panicked elsewhere does no harm.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the assignment set and the endpoint table when they move; intermediate ones are dropped.
    async fn write_changes(self: Arc<Self>) {
        let mut states = self.door.state.clone();
        let mut tables = self.door.tables.clone();
        let mut servers = self.door.servers.clone();
        states.mark_changed();
        tables.mark_changed();
        servers.mark_changed();
        loop {
            tokio::select! {
                () = self.fence.cancelled() => return,
                () = self.sender.closed() => return,
                () = self.again.notified() => {
                    states.mark_changed();
                    tables.mark_changed();
                }
                changed = states.changed() => {
                    if changed.is_err() { return }
                    let state = states.borrow_and_update().clone();
                    let Some(set) = assignments(&state, self.node, self.id) else { continue };
                    if !self.told().is_news(&set) { continue }
                    if !self.send(ToAgent::Assignments((&set).into())).await { return }
                }
                changed = servers.changed() => {
                    if changed.is_err() { return }
                    let addresses = servers.borrow_and_update().clone();
                    if !self.send(ToAgent::Servers(v1::KnownServers { addresses })).await { return }
                }
                changed = tables.changed() => {
                    if changed.is_err() { return }
                    let table = tables.borrow_and_update().clone();
                    self.told().sent_table(&table);
                    if !self.send(ToAgent::Endpoints((&*table).into())).await { return }
                }
            }
        }
    }

    async fn read(self: Arc<Self>, mut incoming: Streaming<v1::AgentMessage>, reports: mpsc::Sender<Report>) {
        loop {
            let next = tokio::select! {
                () = self.fence.cancelled() => break,
                next = incoming.next() => next,
            };
            let Some(Ok(v1::AgentMessage { message: Some(message) })) = next else { break };
            if !self.door.is_current(self.node, self.id) {
                break;
            }
            if let Err(problem) = self.take(message, &reports).await {
                tracing::warn!(node = %self.node, problem, "agent's message refused");
                break;
            }
        }
        self.end();
    }

    fn end(&self) {
        self.fence.cancel();
        self.door.switchboard.unplug(self.node, self.id);
        if self.door.end_session(self.node, self.id) {
            tracing::info!(node = %self.node, session = self.id.0, "agent disconnected");
            let _ = self.door.leases.send(LeaseEvent::Closed(self.node));
        }
    }

    /// Handles one message; an error ends the session.
    async fn take(&self, message: FromAgent, reports: &mpsc::Sender<Report>) -> Result<(), &'static str> {
        let report = match message {
            FromAgent::Hello(_) => return Err("a second hello"),
            FromAgent::Heartbeat(beat) => {
                let _ = self.door.leases.send(LeaseEvent::Heard(self.node));
                let has = (Revision(beat.assignment_revision), Revision(beat.endpoint_revision));
                if self.told().beat(has.0, has.1) {
                    tracing::warn!(node = %self.node, "the agent does not go by what it was sent; sent again");
                    self.again.notify_one();
                }
                self.send(ToAgent::Heartbeat(v1::HeartbeatEcho { number: beat.number })).await;
                return Ok(());
            }
            FromAgent::Statuses(batch) => Report::Statuses(batch),
            FromAgent::Conditions(conditions) => Report::Conditions(conditions),
            FromAgent::Fingerprint(info) => Report::Fingerprint(info),
        };
        reports.try_send(report).map_err(|_| "more reports at once than an agent sends")
    }

    /// Logs reports in order. What cannot be understood ends the session; what cannot be logged is sent again by the agent.
    async fn log_reports(self: Arc<Self>, mut reports: mpsc::Receiver<Report>) {
        while let Some(report) = reports.recv().await {
            let logged = match report {
                Report::Statuses(batch) => self.take_statuses(batch).await,
                Report::Conditions(conditions) => self.take_conditions(conditions).await,
                Report::Fingerprint(info) => self.take_fingerprint(info).await,
            };
            if let Err(problem) = logged {
                tracing::warn!(node = %self.node, problem, "agent's report refused");
                self.fence.cancel();
                return;
            }
        }
    }

    async fn take_conditions(&self, conditions: v1::NodeConditions) -> Result<(), String> {
        let conditions = NodeConditions::try_from(conditions).map_err(|e| e.to_string())?;
        if self.propose(Command::ReportConditions { node: self.node, conditions }).await {
            Ok(())
        } else {
            // Conditions are not acknowledged: a new session sends them again.
            Err("conditions could not be logged".to_owned())
        }
    }

    /// Logs a batch and acknowledges it. Unlogged, it is not acknowledged, and the agent sends it again.
    async fn take_statuses(&self, batch: v1::StatusBatch) -> Result<(), String> {
        let mut reports = Vec::with_capacity(batch.reports.len());
        for report in batch.reports {
            let status: TaskStatus = required("status", report.status).map_err(|e| e.to_string())?;
            reports.push((TaskId(report.task), status));
        }
        if self.propose(Command::ReportStatuses { node: self.node, reports }).await {
            self.send(ToAgent::Acknowledged(v1::Acknowledged { number: batch.number })).await;
        }
        Ok(())
    }

    async fn take_fingerprint(&self, info: v1::NodeInfo) -> Result<(), String> {
        let info = NodeInfo::try_from(info).map_err(|e| e.to_string())?;
        if info.id != self.node {
            return Err(format!("a fingerprint of node {} came in this session", info.id));
        }
        let logged = self.propose(Command::RegisterNode { info }).await;
        logged.then_some(()).ok_or_else(|| "a fingerprint could not be logged".to_owned())
    }

    async fn propose(&self, command: Command) -> bool {
        match self.door.raft.propose(None, command).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(node = %self.node, %error, "report not logged");
                false
            }
        }
    }
}
