//! The first message on every wire: who speaks, and whether the two may go on.
//!
//! Never negotiates anything but the protocol and never opens a connection. Called by both sides of every wire: the
//! side that connected calls [`accept`] on the answer, the side that answers calls [`admit`] on the question.

use crate::id::ClusterId;
use crate::revision::Epoch;
use crate::v1;

/// Oldest protocol this program speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// Newest protocol this program speaks.
pub const PROTOCOL_MAX: u32 = 1;
/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why two programs may not go on talking.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HelloProblem {
    /// No protocol is spoken by both.
    #[error(
        "no common protocol: this side (version {my_version}) speaks {mine}, the other (version {their_version}) {theirs}; \
         upgrade the older one"
    )]
    NoCommonProtocol {
        /// Protocols spoken here, such as `1 to 2`.
        mine: String,
        /// Protocols spoken there.
        theirs: String,
        /// This program's version.
        my_version: String,
        /// The other's version.
        their_version: String,
    },
    /// The other's cluster id is not 16 hexadecimal digits.
    #[error("`{text}` is not a cluster id, 16 hexadecimal digits are")]
    BadCluster {
        /// The id as said.
        text: String,
    },
    /// The other belongs to another cluster.
    #[error("this side belongs to cluster {mine}, the other to {theirs}; check the address it connects to")]
    AnotherCluster {
        /// Cluster here.
        mine: ClusterId,
        /// Cluster there.
        theirs: ClusterId,
    },
    /// The server's state is from before a restore or recovery that its client has already seen.
    #[error(
        "the server is in epoch {server}, its client has seen epoch {client}: the server's state is from before a restore; remove that server"
    )]
    OlderEpoch {
        /// The server's epoch.
        server: u32,
        /// The newest epoch its client has seen.
        client: u32,
    },
}

/// What this program says first.
///
/// `cluster` is `None` while it belongs to none; `epoch` is the newest it has seen, 0 when it has seen none.
pub fn hello(cluster: Option<ClusterId>, epoch: Epoch) -> v1::Hello {
    v1::Hello {
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL_MAX,
        cluster: cluster.map(|id| id.to_string()).unwrap_or_default(),
        epoch: epoch.0,
        version: VERSION.to_owned(),
        features: Vec::new(),
    }
}

/// May the side that connected go on with the server that answered? A server in an older epoch is refused.
pub fn accept(mine: &v1::Hello, theirs: &v1::Hello) -> Result<(), HelloProblem> {
    meet(mine, theirs)?;
    older_epoch(theirs, mine)
}

/// May the server go on with the side that connected?
///
/// A client in an older epoch is welcome: after a restore all of them are, and they learn the new epoch here.
/// One in a newer epoch is refused, because then it is this server that is outdated.
pub fn admit(mine: &v1::Hello, theirs: &v1::Hello) -> Result<(), HelloProblem> {
    meet(mine, theirs)?;
    older_epoch(mine, theirs)
}

fn meet(mine: &v1::Hello, theirs: &v1::Hello) -> Result<(), HelloProblem> {
    if mine.protocol_min.max(theirs.protocol_min) > mine.protocol_max.min(theirs.protocol_max) {
        return Err(HelloProblem::NoCommonProtocol {
            mine: format!("{} to {}", mine.protocol_min, mine.protocol_max),
            theirs: format!("{} to {}", theirs.protocol_min, theirs.protocol_max),
            my_version: mine.version.clone(),
            their_version: theirs.version.clone(),
        });
    }
    match (cluster(mine)?, cluster(theirs)?) {
        (Some(mine), Some(theirs)) if mine != theirs => Err(HelloProblem::AnotherCluster { mine, theirs }),
        _ => Ok(()),
    }
}

/// The cluster a hello names; `None` when its sender belongs to none yet.
pub fn cluster(hello: &v1::Hello) -> Result<Option<ClusterId>, HelloProblem> {
    if hello.cluster.is_empty() {
        return Ok(None);
    }
    let bad = |_| HelloProblem::BadCluster { text: hello.cluster.clone() };
    crate::convert::hex_id("cluster", &hello.cluster).map(Some).map_err(bad)
}

/// Epochs of different clusters, or of none, cannot be compared.
fn older_epoch(server: &v1::Hello, client: &v1::Hello) -> Result<(), HelloProblem> {
    if !client.cluster.is_empty() && !server.cluster.is_empty() && server.epoch < client.epoch {
        return Err(HelloProblem::OlderEpoch { server: server.epoch, client: client.epoch });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cluster: u64, epoch: u32) -> v1::Hello {
        hello(Some(ClusterId(cluster)), Epoch(epoch))
    }

    #[test]
    fn equals_and_newcomers_go_on() {
        let newcomer = hello(None, Epoch(0));
        for decide in [accept, admit] {
            assert_eq!(decide(&of(7, 2), &of(7, 2)), Ok(()));
            assert_eq!(decide(&newcomer, &of(7, 2)), Ok(()));
            assert_eq!(decide(&of(7, 2), &newcomer), Ok(()));
        }
    }

    #[test]
    fn protocols_must_overlap() {
        let range = |min, max| v1::Hello { protocol_min: min, protocol_max: max, ..of(7, 2) };
        for decide in [accept, admit] {
            assert_eq!(decide(&range(1, 3), &range(3, 5)), Ok(()));
            assert_eq!(decide(&range(3, 5), &range(1, 3)), Ok(()));
            for (mine, theirs) in [(range(1, 2), range(3, 4)), (range(3, 4), range(1, 2)), (range(1, 5), range(3, 2))] {
                let problem = decide(&mine, &theirs).expect_err("nothing in common");
                assert!(matches!(problem, HelloProblem::NoCommonProtocol { .. }), "{problem}");
            }
        }
        let silent = v1::Hello::default();
        assert!(accept(&of(7, 2), &silent).is_err(), "an empty hello speaks no protocol");
    }

    #[test]
    fn another_cluster_is_refused_before_epochs_are_compared() {
        let another = HelloProblem::AnotherCluster { mine: ClusterId(7), theirs: ClusterId(8) };
        for decide in [accept, admit] {
            assert_eq!(decide(&of(7, 2), &of(8, 1)), Err(another.clone()));
            assert_eq!(decide(&of(7, 2), &of(8, 3)), Err(another.clone()));
        }
    }

    #[test]
    fn a_cluster_id_that_is_none_is_refused_even_by_a_newcomer() {
        let theirs = v1::Hello { cluster: "seven".to_owned(), ..of(7, 2) };
        let bad = Err(HelloProblem::BadCluster { text: "seven".to_owned() });
        assert_eq!(accept(&hello(None, Epoch(0)), &theirs), bad);
        assert_eq!(cluster(&of(7, 2)), Ok(Some(ClusterId(7))));
    }

    #[test]
    fn an_outdated_server_is_refused_by_both_and_an_outdated_client_by_none() {
        let older = Err(HelloProblem::OlderEpoch { server: 1, client: 2 });
        assert_eq!(accept(&of(7, 2), &of(7, 1)), older, "the client refuses");
        assert_eq!(admit(&of(7, 1), &of(7, 2)), older, "the server refuses");
        assert_eq!(accept(&of(7, 1), &of(7, 2)), Ok(()));
        assert_eq!(admit(&of(7, 2), &of(7, 1)), Ok(()));
    }
}
