//! UDP of a published port: each client address is a flow to one endpoint while it goes on.
//!
//! Never queues: replies that a client's socket cannot take are dropped, as a network does. `forwarder` spawns `Port::serve`.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::endpoint::EndpointState;
use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;

/// How long a flow may be silent.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Flows of one socket at a time; packets of further clients are dropped.
const FLOWS_MAX: usize = 4_096;
/// Bytes of the longest datagram.
const DATAGRAM_MAX_BYTES: usize = 65_535;
/// Replies relayed before others have their turn.
const REPLIES_PER_TURN: usize = 32;
/// Pause after the kernel refuses to receive.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// One socket of a published port.
#[derive(Debug)]
pub(super) struct Port {
    socket: UdpSocket,
    shared: Arc<Shared>,
    flows: Mutex<HashMap<SocketAddr, Arc<Flow>>>,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// One client's way to one endpoint.
#[derive(Debug)]
struct Flow {
    client: SocketAddr,
    endpoint: SocketAddr,
    socket: UdpSocket,
    last: Mutex<Instant>,
}

impl Port {
    pub(super) fn new(
        socket: UdpSocket,
        shared: Arc<Shared>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Port> {
        let places = Arc::new(Semaphore::new(FLOWS_MAX));
        Arc::new(Port { socket, shared, flows: Mutex::default(), places, tasks, stop })
    }

    /// Relays until stopped.
    pub(super) async fn serve(self: Arc<Port>) {
        let mut packet = vec![0; DATAGRAM_MAX_BYTES];
        while let Some(received) = self.stop.run_until_cancelled(self.socket.recv_from(&mut packet)).await {
            match received {
                Ok((length, client)) => self.relay(&packet[..length], client).await,
                Err(error) => {
                    tracing::warn!(%error, "cannot receive on a published port");
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    /// Sends one packet on its flow. An endpoint that refuses is left for another, once.
    async fn relay(self: &Arc<Port>, packet: &[u8], client: SocketAddr) {
        for _ in 0..2 {
            let Some(flow) = self.flow(client).await else { return };
            flow.touch();
            match flow.socket.send(packet).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => self.refused(&flow),
                _ => return,
            }
        }
    }

    /// The client's flow, a new one if its endpoint no longer takes packets.
    async fn flow(self: &Arc<Port>, client: SocketAddr) -> Option<Arc<Flow>> {
        let known = self.flows.lock().unwrap_or_else(PoisonError::into_inner).get(&client).cloned();
        match known {
            Some(flow) if self.still_takes(flow.endpoint) => Some(flow),
            _ => self.open(client).await,
        }
    }

    /// A draining endpoint keeps its flows.
    fn still_takes(&self, endpoint: SocketAddr) -> bool {
        let route = self.shared.route.borrow();
        let zone = self.shared.zone.borrow();
        let state = zone.service(&route.service).and_then(|service| service.state_at(endpoint.ip()));
        let takes = matches!(state, Some(EndpointState::Ready | EndpointState::Draining));
        takes && route.target == endpoint.port()
    }

    async fn open(self: &Arc<Port>, client: SocketAddr) -> Option<Arc<Flow>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let (addresses, target) = self.shared.targets();
        let endpoint = SocketAddr::new(*addresses.first()?, target);
        let socket = match connected(endpoint).await {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(%endpoint, %error, "cannot reach an endpoint");
                self.shared.balance.failed(endpoint.ip());
                return None;
            }
        };
        let flow = Arc::new(Flow { client, endpoint, socket, last: Mutex::new(Instant::now()) });
        self.flows.lock().unwrap_or_else(PoisonError::into_inner).insert(client, Arc::clone(&flow));
        self.tasks.spawn(Arc::clone(self).reply(Arc::clone(&flow), place));
        Some(flow)
    }

    /// Relays an endpoint's packets from the published port until the flow is silent, refused or stopped. A flow that
    /// another has taken the place of still brings its last replies.
    async fn reply(self: Arc<Port>, flow: Arc<Flow>, _place: OwnedSemaphorePermit) {
        loop {
            let end = flow.last() + IDLE;
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep_until(end) => if flow.last() + IDLE <= Instant::now() { break },
                ready = flow.socket.readable() => {
                    if ready.and_then(|()| flow.relay_replies(&self.socket)).is_err() {
                        self.refused(&flow);
                        return;
                    }
                }
            }
        }
        self.forget(&flow);
    }

    fn refused(&self, flow: &Arc<Flow>) {
        self.shared.balance.failed(flow.endpoint.ip());
        self.forget(flow);
    }

    fn forget(&self, flow: &Arc<Flow>) {
        let mut flows = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        if flows.get(&flow.client).is_some_and(|known| Arc::ptr_eq(known, flow)) {
            flows.remove(&flow.client);
        }
    }
}

async fn connected(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = match endpoint {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(endpoint).await?;
    Ok(socket)
}

impl Flow {
    fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Relays what has arrived. The buffer is on the stack: thousands of idle flows should not hold one each.
    fn relay_replies(&self, from: &UdpSocket) -> io::Result<()> {
        let mut packet = [0; DATAGRAM_MAX_BYTES];
        for _ in 0..REPLIES_PER_TURN {
            match self.socket.try_recv(&mut packet) {
                Ok(length) => {
                    self.touch();
                    if let Err(error) = from.try_send_to(&packet[..length], self.client) {
                        tracing::debug!(client = %self.client, %error, "a reply was dropped");
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
