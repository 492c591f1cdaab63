//! Published ports: what arrives at a port of the host goes to a ready endpoint of the service, wherever that runs.
//!
//! Flow: the wanted set and the listeners are compared whenever the set changes, and every second while something could
//! not be bound; the outcome of each port is published as its status.
//! Guarantees: a changed set never touches a listener that stays, nor an open TCP connection; a port that moves to
//! another service or target is not closed in between. Assumptions: the zone says which endpoints are ready.
//! Caveats: all connections end with the agent; a reply over UDP leaves from the address that the host's routes choose.
//! Ports with `mode: host` are Docker's and are passed over here.

mod balance;
mod listen;
mod tcp;
mod udp;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::assignment::Forward;
use proto::id::ServiceKey;
use proto::node::ForwardStatus;
use proto::spec::{PortMode, Protocol};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dns::zone::Zone;
use balance::Balance;

/// Pause before a port that could not be bound is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The forwarder of published ports.
#[derive(Debug, Clone, Copy)]
pub struct Forwarder;

impl Forwarder {
    /// Forwards the ports of `wanted` to the ready endpoints of `zone` until `stop`, and tells in `status` what became of
    /// each, in the order of `wanted`.
    pub async fn run(
        mut wanted: watch::Receiver<Vec<Forward>>,
        zone: watch::Receiver<Arc<Zone>>,
        status: watch::Sender<Vec<ForwardStatus>>,
        stop: CancellationToken,
    ) {
        let mut ports = Ports { listeners: BTreeMap::new(), zone, connections: TaskTracker::new(), stop: stop.clone() };
        let mut may_change = true;
        loop {
            let forwards = wanted.borrow_and_update().clone();
            let now = ports.adjust(&forwards).await;
            let troubled = now.iter().any(|port| !port.problem.is_empty());
            status.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
            tokio::select! {
                () = stop.cancelled() => break,
                changed = wanted.changed(), if may_change => may_change = changed.is_ok(),
                () = tokio::time::sleep(RETRY_AFTER), if troubled => {}
            }
        }
        ports.close().await;
    }
}

/// Where the connections of a port go.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    service: ServiceKey,
    target: u16,
}

/// What makes two published ports the same listener. Any free port is bound for one service and target only; a port that
/// was chosen may move from one to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    published: u16,
    protocol: Protocol,
    host_ip: Option<IpAddr>,
    any_for: Option<(ServiceKey, u16)>,
}

/// What the sockets of one listener share.
#[derive(Debug)]
struct Shared {
    route: watch::Receiver<Route>,
    zone: watch::Receiver<Arc<Zone>>,
    balance: Balance,
}

impl Shared {
    /// Addresses of ready endpoints and the port inside.
    fn targets(&self) -> (Vec<IpAddr>, u16) {
        let route = self.route.borrow();
        let zone = self.zone.borrow();
        let addresses = zone.service(&route.service).map(|service| service.targets()).unwrap_or_default();
        (self.balance.order(addresses), route.target)
    }
}

/// A bound port.
#[derive(Debug)]
struct Listener {
    service: ServiceKey,
    bound: u16,
    route: watch::Sender<Route>,
    sockets: TaskTracker,
    stop: CancellationToken,
}

impl Listener {
    /// Closes its sockets; returns when the kernel has the port back.
    async fn close(self) {
        self.stop.cancel();
        self.sockets.close();
        self.sockets.wait().await;
    }
}

// === impl Place ===

impl Place {
    fn of(forward: &Forward) -> Place {
        let port = &forward.port;
        let any_for = (port.published == 0).then(|| (forward.service.clone(), port.target));
        Place { published: port.published, protocol: port.protocol, host_ip: port.host_ip, any_for }
    }
}

/// All listeners.
#[derive(Debug)]
struct Ports {
    listeners: BTreeMap<Place, Listener>,
    zone: watch::Receiver<Arc<Zone>>,
    connections: TaskTracker,
    stop: CancellationToken,
}

impl Ports {
    /// Closes what is no longer wanted, opens what is new, and says what became of each.
    async fn adjust(&mut self, forwards: &[Forward]) -> Vec<ForwardStatus> {
        let forwards: Vec<&Forward> = forwards.iter().filter(|f| f.port.mode == PortMode::Ingress).collect();
        let mut holders: BTreeMap<Place, &Forward> = BTreeMap::new();
        for forward in &forwards {
            holders.entry(Place::of(forward)).or_insert(forward);
        }
        let gone: Vec<Place> = self.listeners.keys().filter(|place| !holders.contains_key(place)).cloned().collect();
        for place in gone {
            if let Some(listener) = self.listeners.remove(&place) {
                listener.close().await;
            }
        }
        // Listeners that stay come first: a new one that is in conflict with them should name whose they are now.
        let (stay, new): (Vec<_>, Vec<_>) = holders.iter().partition(|(place, _)| self.listeners.contains_key(*place));
        let outcomes: BTreeMap<&Place, Result<u16, String>> =
            stay.into_iter().chain(new).map(|(place, holder)| (place, self.open(place, holder))).collect();
        let status = |forward: &&Forward| {
            let place = Place::of(forward);
            let result = match holders.get(&place) {
                Some(holder) if holder != forward => Err(listen::already_published(&forward.port, &holder.service)),
                _ => outcomes.get(&place).cloned().unwrap_or(Ok(0)),
            };
            let (bound, problem) = result.map_or_else(|problem| (0, problem), |bound| (bound, String::new()));
            ForwardStatus { service: forward.service.clone(), port: forward.port.clone(), bound, problem }
        };
        forwards.iter().map(status).collect()
    }

    /// The port bound for `forward`, now or before; or why it is not.
    fn open(&mut self, place: &Place, forward: &Forward) -> Result<u16, String> {
        let route = Route { service: forward.service.clone(), target: forward.port.target };
        if let Some(listener) = self.listeners.get_mut(place) {
            listener.service = forward.service.clone();
            listener.route.send_if_modified(|before| {
                let changed = *before != route;
                *before = route;
                changed
            });
            return Ok(listener.bound);
        }
        match self.bind(place, route) {
            Ok(listener) => {
                let bound = listener.bound;
                self.listeners.insert(place.clone(), listener);
                Ok(bound)
            }
            Err(error) => Err(self.problem(forward, &error)),
        }
    }

    fn bind(&self, place: &Place, route: Route) -> io::Result<Listener> {
        let service = route.service.clone();
        let (sender, receiver) = watch::channel(route);
        let shared = Arc::new(Shared { route: receiver, zone: self.zone.clone(), balance: Balance::default() });
        let (sockets, stop) = (TaskTracker::new(), self.stop.child_token());
        let bound = match place.protocol {
            Protocol::Tcp => {
                let (listeners, port) = listen::tcp(place.host_ip, place.published)?;
                let port_of = tcp::Port::new(shared, self.connections.clone(), self.stop.clone());
                for listener in listeners {
                    sockets.spawn(tcp::accept(listener, Arc::clone(&port_of), stop.clone()));
                }
                port
            }
            Protocol::Udp => {
                let (listeners, port) = listen::udp(place.host_ip, place.published)?;
                for socket in listeners {
                    let port = udp::Port::new(socket, Arc::clone(&shared), sockets.clone(), stop.clone());
                    sockets.spawn(port.serve());
                }
                port
            }
        };
        Ok(Listener { service, bound, route: sender, sockets, stop })
    }

    /// Why a port could not be bound: another of ours is named, a stranger is not known.
    fn problem(&self, forward: &Forward, error: &io::Error) -> String {
        let ours = self
            .listeners
            .iter()
            .find(|(place, l)| l.bound == forward.port.published && place.protocol == forward.port.protocol);
        match ours {
            Some((_, listener)) if error.kind() == io::ErrorKind::AddrInUse => {
                listen::already_published(&forward.port, &listener.service)
            }
            _ => listen::problem(&forward.port, error),
        }
    }

    /// Closes all ports and ends all connections.
    async fn close(self) {
        for listener in self.listeners.into_values() {
            listener.close().await;
        }
        self.connections.close();
        self.connections.wait().await;
    }
}
