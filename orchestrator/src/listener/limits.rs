//! How much of a listener anybody may hold: the numbers, with their units and reasons, and how they shrink to a host.
//!
//! Pure. Read by `guard`, which decides, and by the accept loop, which carries out.

use std::time::Duration;

/// Connections in all, of one listener.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Connections of one address: a network of hosts behind one translated address still fits.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = 512;
/// Connections in all of those who showed no certificate. What is left of the whole is for those who did.
pub const STRANGERS_MAX: usize = 512;
/// Connections of one address without a certificate.
pub const STRANGERS_PER_ADDRESS_MAX: usize = 64;
/// Handshakes under way in all. Each is a socket and some 20 kB.
pub const HANDSHAKES_MAX: usize = 512;
/// Handshakes under way of one address.
pub const HANDSHAKES_PER_ADDRESS_MAX: usize = 128;
/// Longest a handshake may take, in milliseconds (Nomad's and Consul's figure since CVE-2020-7218).
pub const HANDSHAKE_DEADLINE_MS: u64 = 5_000;
/// A stranger of whom nothing was heard for so long is closed, in milliseconds. A door that serves strangers must ping
/// more often than this (HTTP/2 keepalive), so that those who wait for an answer are heard.
pub const STRANGER_IDLE_MS: u64 = 8_000;
/// A stranger silent for so long may be closed in favour of the next one, in milliseconds.
pub const STRANGER_YIELDS_MS: u64 = 2_000;
/// One listener takes at most this part of the descriptors that the process may open: the log, the doors of this host
/// and the other listener need some too.
const PART_OF_DESCRIPTORS: u64 = 4;

/// The limits of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all, whatever their state.
    pub connections: usize,
    /// Connections of one address, whatever their state.
    pub per_address: usize,
    /// Connections in all that showed no certificate.
    pub strangers: usize,
    /// The same of one address.
    pub strangers_per_address: usize,
    /// Handshakes under way.
    pub handshakes: usize,
    /// The same of one address.
    pub handshakes_per_address: usize,
    /// Longest a handshake may take.
    pub handshake_deadline: Duration,
    /// A stranger silent for so long is closed.
    pub stranger_idle: Duration,
    /// A stranger silent for so long makes room for the next.
    pub stranger_yields: Duration,
}

// === impl Limits ===

impl Limits {
    /// Connections with a certificate that always fit, whatever strangers do.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.connections.saturating_sub(self.strangers).saturating_sub(self.handshakes)
    }

    /// The same limits, smaller where the process may not open enough descriptors for them. Nothing falls below one.
    #[must_use]
    pub fn within(self, descriptors: u64) -> Limits {
        let room = usize::try_from(descriptors / PART_OF_DESCRIPTORS).unwrap_or(usize::MAX).max(4);
        if self.connections <= room {
            return self;
        }
        let part = |count: usize| (count.saturating_mul(room) / self.connections).max(1);
        let (strangers, handshakes) = (part(self.strangers), part(self.handshakes));
        Limits {
            connections: room,
            per_address: self.per_address.min(room),
            strangers,
            strangers_per_address: self.strangers_per_address.min(strangers.div_ceil(2)),
            handshakes,
            handshakes_per_address: self.handshakes_per_address.min(handshakes.div_ceil(2)),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: CONNECTIONS_MAX,
            per_address: CONNECTIONS_PER_ADDRESS_MAX,
            strangers: STRANGERS_MAX,
            strangers_per_address: STRANGERS_PER_ADDRESS_MAX,
            handshakes: HANDSHAKES_MAX,
            handshakes_per_address: HANDSHAKES_PER_ADDRESS_MAX,
            handshake_deadline: Duration::from_millis(HANDSHAKE_DEADLINE_MS),
            stranger_idle: Duration::from_millis(STRANGER_IDLE_MS),
            stranger_yields: Duration::from_millis(STRANGER_YIELDS_MS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_of_a_listener_is_for_those_with_a_certificate() {
        let limits = Limits::default();
        assert_eq!(limits.reserved(), 3_072);
        assert!(limits.reserved() * 2 > limits.connections);
    }

    #[test]
    fn limits_shrink_to_the_descriptors_of_the_process() {
        let limits = Limits::default();
        assert_eq!(limits.within(1 << 20), limits);
        let small = limits.within(1_024);
        assert_eq!((small.connections, small.strangers, small.handshakes, small.per_address), (256, 32, 32, 256));
        assert_eq!((small.strangers_per_address, small.handshakes_per_address, small.reserved()), (16, 16, 192));
        let least = limits.within(0);
        assert_eq!((least.connections, least.strangers, least.handshakes, least.reserved()), (4, 1, 1, 2));
    }
}
