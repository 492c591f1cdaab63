//! The output of a service's tasks, pushed by their agents.

use proto::convert::required;
use proto::id::{ServiceKey, Slot};
use proto::v1;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Api, Flow};
use crate::engine::model::Task;
use crate::switchboard::Feed;

/// Tasks whose logs one request may follow.
const TASKS_MAX: usize = 100;

// === impl Api ===

impl Api {
    pub(super) async fn open_logs(&self, request: v1::LogsRequest) -> Result<Flow<v1::LogChunk>, Status> {
        let key: ServiceKey =
            required("service", request.service).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let query = request.query.unwrap_or_default();
        let tasks = self.tasks_to_read(&key, request.slot.map(Slot))?;
        let (sender, receiver) = mpsc::channel(16);
        for task in tasks {
            let source = format!("{}.{}", task.service, task.slot);
            let opened = self.switchboard.open_log(task.node, task.id.0, query).await;
            let feed = opened.map_err(|e| Status::unavailable(e.to_string()))?;
            tokio::spawn(forward(source, feed, sender.clone()));
        }
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }

    fn tasks_to_read(&self, key: &ServiceKey, slot: Option<Slot>) -> Result<Vec<Arc<Task>>, Status> {
        let state = self.present();
        if state.service(key).is_none() {
            return Err(Status::not_found(format!("service `{key}` does not exist")));
        }
        let tasks: Vec<Arc<Task>> = state.tasks_of(key).filter(|t| slot.is_none_or(|s| s == t.slot)).cloned().collect();
        match tasks.len() {
            0 => Err(Status::failed_precondition(format!(
                "`{key}` has no task yet; `ctl why {key}` says what it waits for"
            ))),
            n if n > TASKS_MAX => {
                Err(Status::invalid_argument(format!("`{key}` has {n} tasks; name a slot, such as {key}.1")))
            }
            _ => Ok(tasks),
        }
    }
}

async fn forward(source: String, mut feed: Feed, sender: mpsc::Sender<Result<v1::LogChunk, Status>>) {
    while let Some(pushed) = feed.next().await {
        let message = match pushed {
            Ok(chunk) => Ok(v1::LogChunk { source: source.clone(), ..chunk }),
            Err(problem) => Err(Status::unavailable(format!("{source}: {problem}"))),
        };
        if sender.send(message).await.is_err() {
            return;
        }
    }
}
