//! What the engine announces, as hints to look again.
//!
//! Guarantees: none beyond "soon, mostly"; the engine drops events of a slow listener in silence. So a task of its own
//! reads them, and the stream ends when hints come faster than they are taken: then everything must be looked up.

use super::super::{Hint, Identity, RuntimeError};
use super::DockerRuntime;
use super::containers::our_labels;
use super::failure::Thing;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use proto::label;
use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

const EVENTS: &str = "announce events";
/// Hints kept for a listener that is busy.
const BACKLOG: usize = 1024;
/// What changes where a container is. Health checks of ours would drown it in `exec_*`.
const ACTIONS: [&str; 10] = ["create", "start", "restart", "die", "oom", "stop", "kill", "destroy", "pause", "unpause"];

impl DockerRuntime {
    pub(super) async fn hints(
        &self,
        identity: &Identity,
    ) -> Result<BoxStream<'static, Result<Hint, RuntimeError>>, RuntimeError> {
        // Asked from this moment on: what happens while the request is under way is replayed.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), our_labels(identity)),
            ("event".to_owned(), ACTIONS.map(str::to_owned).to_vec()),
        ]);
        let options = EventsOptions {
            since: Some(format!("{}.{:09}", since.as_secs(), since.subsec_nanos())),
            filters: Some(filters),
            ..EventsOptions::default()
        };
        // A question with an answer first: an engine that is away is an error here, not a stream that ends at once.
        let limit = self.deadlines().look;
        let docker = self
            .call(EVENTS, Thing::Engine, limit, |docker| async move { docker.ping().await.map(|_| docker) })
            .await?;
        let (sender, receiver) = mpsc::channel(BACKLOG);
        tokio::spawn(read(self.clone(), docker, options, sender));
        Ok(ReceiverStream::new(receiver).boxed())
    }
}

async fn read(
    runtime: DockerRuntime,
    docker: bollard::Docker,
    options: EventsOptions,
    sender: mpsc::Sender<Result<Hint, RuntimeError>>,
) {
    let mut events = docker.events(Some(options)).boxed();
    loop {
        let next = tokio::select! {
            next = events.next() => next,
            () = sender.closed() => return,
        };
        let failed = |error| runtime.failed(EVENTS, Thing::Engine, error);
        let hint = match next {
            None => return,
            Some(Ok(message)) => match hint(message) {
                Some(hint) => Ok(hint),
                None => continue,
            },
            Some(Err(error)) => Err(failed(error)),
        };
        let last = hint.is_err();
        if sender.try_send(hint).is_err() || last {
            return;
        }
    }
}

/// `None` for an event that names no task.
fn hint(message: EventMessage) -> Option<Hint> {
    let actor = message.actor?;
    let task = actor.attributes?.get(label::TASK)?.parse().ok()?;
    Some(Hint { container_id: actor.id?, task, action: message.action? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::id::TaskId;

    #[test]
    fn events_name_their_task() {
        let text = |attributes: &str| {
            format!(r#"{{"Type":"container","Action":"die","Actor":{{"ID":"f0","Attributes":{attributes}}}}}"#)
        };
        let read = |attributes: &str| hint(serde_json::from_str(&text(attributes)).unwrap());
        let expect = Hint { container_id: "f0".to_owned(), task: TaskId(9), action: "die".to_owned() };
        assert_eq!(read(r#"{"wherry.task":"t9","exitCode":"1"}"#), Some(expect));
        assert_eq!(read(r#"{"wherry.task":"nine"}"#), None);
        assert_eq!(read("{}"), None);
    }
}
