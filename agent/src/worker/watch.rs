//! Keeps in touch with the engine: finds it, makes the node's network, listens for hints, and starts over when it goes.
//!
//! Never acts on a hint: the worker looks for itself. Never gives up.

use futures_util::StreamExt;
use proto::assignment::NodeNetwork;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Event;
use crate::runtime::{ContainerRuntime, Identity, RuntimeError};

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Runs until `stop`; begins over whenever the identity or the network changes.
pub async fn run(
    runtime: Arc<dyn ContainerRuntime>,
    mut wanted: watch::Receiver<Option<(Identity, NodeNetwork)>>,
    events: mpsc::UnboundedSender<Event>,
    stop: CancellationToken,
) {
    let mut pause = RETRY_FIRST;
    loop {
        let Some((identity, network)) = wanted.borrow_and_update().clone() else {
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
            continue;
        };
        let ended = tokio::select! {
            ended = listen(&*runtime, &identity, &network, &events, &mut pause) => Some(ended),
            changed = wanted.changed() => if changed.is_err() { return } else { None },
            () = stop.cancelled() => return,
        };
        if let Some(error) = ended {
            let _ = events.send(Event::EngineLost(error));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}

async fn listen(
    runtime: &dyn ContainerRuntime,
    identity: &Identity,
    network: &NodeNetwork,
    events: &mpsc::UnboundedSender<Event>,
    pause: &mut Duration,
) -> RuntimeError {
    let begun = async {
        let info = runtime.info().await?;
        let bridge = runtime.ensure_network(identity, network).await?;
        Ok((info, bridge, runtime.events(identity).await?))
    };
    let (info, bridge, mut hints) = match begun.await {
        Ok(begun) => begun,
        Err(error) => return error,
    };
    *pause = RETRY_FIRST;
    let _ = events.send(Event::EngineFound { info, bridge });
    while let Some(hint) = hints.next().await {
        match hint {
            Ok(hint) => drop(events.send(Event::Hint(hint))),
            Err(error) => return error,
        }
    }
    RuntimeError::Unreachable { endpoint: "its event stream".into(), cause: "the stream ended".into() }
}
