//! The four doors, each with its gate: two unix sockets, and two TCP ports that only TLS goes through.
//!
//! Operators and agents have ports of their own, so that the load of one does not delay the other.

use proto::limits::{MESSAGE_MAX_BYTES, PEER_MESSAGE_MAX_BYTES};
use proto::v1::agents_server::AgentsServer;
use proto::v1::control_server::ControlServer;
use proto::v1::enrolment_server::EnrolmentServer;
use proto::v1::servers_server::ServersServer;
use rustls::ServerConfig as TlsConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};

use super::{ServerError, Tcp};
use crate::access::Gate;
use crate::api::Api;
use crate::dispatcher::Dispatcher;
use crate::enrolment::Desk;
use crate::forward::Forward;
use crate::listener::{Limits, Listener, listen};
use crate::servers::ServersDoor;

/// Longest an operator's unary call may take, in seconds. Streams are bounded by keepalive instead.
const CALL_MAX_S: u64 = 30;
/// Between keepalives of an idle connection, in seconds: strangers of whom nothing is heard for 8 s are closed.
const KEEPALIVE_S: u64 = 5;
/// Longest wait for a keepalive's answer, in seconds.
const KEEPALIVE_ANSWER_S: u64 = 10;
/// Streams of one connection at once.
const STREAMS_MAX: u32 = 1024;
/// Bytes of one message before its sender is known.
const STRANGERS_MESSAGE_MAX_BYTES: usize = 16 * 1024;

/// The schemas of all services that the doors serve.
pub(super) const SCHEMAS: [&[u8]; 3] =
    [proto::v1::DESCRIPTOR, tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET];

/// The two TCP doors.
#[derive(Debug)]
pub(super) struct Ports {
    listeners: [Listener; 2],
    opened: [SocketAddr; 2],
    advertised: [String; 2],
}

// === impl Ports ===

impl Ports {
    /// Takes both ports; nobody is let in before `serve`.
    pub(super) fn open(
        tcp: &Tcp,
        tls: &watch::Receiver<Arc<TlsConfig>>,
        stop: &CancellationToken,
    ) -> Result<Ports, ServerError> {
        let open = |port| {
            let address = SocketAddr::new(tcp.listen, port);
            listen(address, tls.clone(), Limits::default(), stop.clone())
                .map_err(|source| ServerError::Port { address, source })
        };
        let listeners = [open(tcp.operators)?, open(tcp.agents)?];
        let opened = [listeners[0].local_addr(), listeners[1].local_addr()];
        let advertised = opened.map(|address| SocketAddr::new(tcp.advertise, address.port()).to_string());
        Ok(Ports { listeners, opened, advertised })
    }

    /// Where it listens: operators, agents.
    pub(super) fn opened(&self) -> [SocketAddr; 2] {
        self.opened
    }

    /// What others are told: operators, agents.
    pub(super) fn advertised(&self) -> [String; 2] {
        self.advertised.clone()
    }

    /// Lets callers in, behind the gate.
    pub(super) async fn serve(
        self,
        rooms: Rooms,
        desk: &Desk,
        gate: &Gate,
        stop: &CancellationToken,
    ) -> Vec<JoinHandle<()>> {
        let [operators, agents] = self.listeners;
        let strangers = || EnrolmentServer::new(desk.clone()).max_decoding_message_size(STRANGERS_MESSAGE_MAX_BYTES);
        let serve = |mut door: Door, routes: Routes, listener: Listener| {
            let address = listener.local_addr();
            let served = door
                .add_routes(routes)
                .serve_with_incoming_shutdown(listener.into_incoming(), stop.clone().cancelled_owned());
            tokio::spawn(async move {
                if let Err(error) = served.await {
                    tracing::error!(%error, %address, "a door closed");
                }
            })
        };
        let timeout = Duration::from_secs(CALL_MAX_S);
        vec![
            serve(
                door(gate, &rooms.forward).timeout(timeout),
                api_routes(rooms.api.clone()).await.add_service(strangers()),
                operators,
            ),
            serve(door(gate, &rooms.forward), cluster_routes(&rooms).add_service(strangers()), agents),
        ]
    }
}

/// What is behind the doors.
#[derive(Debug, Clone)]
pub(super) struct Rooms {
    pub(super) api: Api,
    pub(super) dispatcher: Dispatcher,
    pub(super) servers: ServersDoor,
    pub(super) forward: Forward,
}

/// The gate first: what comes to be passed on may be made by who asks.
type Door = Server<Stack<Forward, Stack<Gate, Identity>>>;

fn door(gate: &Gate, forward: &Forward) -> Door {
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(KEEPALIVE_S)))
        .http2_keepalive_timeout(Some(Duration::from_secs(KEEPALIVE_ANSWER_S)))
        .max_concurrent_streams(STREAMS_MAX)
        .layer(gate.clone())
        .layer(forward.clone())
}

async fn api_routes(api: Api) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<ControlServer<Api>>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::v1::DESCRIPTOR)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the schema was compiled into this program");
    Routes::new(health).add_service(reflection).add_service(control(api))
}

fn control(api: Api) -> ControlServer<Api> {
    ControlServer::new(api).max_decoding_message_size(MESSAGE_MAX_BYTES).max_encoding_message_size(usize::MAX)
}

/// The cluster's port: agents, other servers, and what those pass on for operators.
fn cluster_routes(rooms: &Rooms) -> Routes {
    let servers = ServersServer::new(rooms.servers.clone())
        .max_decoding_message_size(PEER_MESSAGE_MAX_BYTES)
        .max_encoding_message_size(PEER_MESSAGE_MAX_BYTES);
    agents_routes(rooms.dispatcher.clone()).add_service(servers).add_service(control(rooms.api.clone()))
}

fn agents_routes(dispatcher: Dispatcher) -> Routes {
    let agents = AgentsServer::new(dispatcher)
        .max_decoding_message_size(MESSAGE_MAX_BYTES)
        .max_encoding_message_size(usize::MAX);
    Routes::new(agents)
}

/// The operators' door on this host.
pub(super) async fn local_api(rooms: Rooms, gate: Gate, listener: UnixListener, stop: CancellationToken) {
    let served = door(&gate, &rooms.forward)
        .timeout(Duration::from_secs(CALL_MAX_S))
        .add_routes(api_routes(rooms.api).await)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the operators' door closed");
    }
}

/// The agents' door on this host.
pub(super) async fn local_agents(rooms: Rooms, gate: Gate, listener: UnixListener, stop: CancellationToken) {
    let served = door(&gate, &rooms.forward)
        .add_routes(agents_routes(rooms.dispatcher))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the agents' door closed");
    }
}
