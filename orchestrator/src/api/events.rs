//! What happened, as it happens: every event once, in order, from any number on; what a reader is too slow for is counted.
//!
//! Flow: the ring in State is read from the last number told; the reader's pace is the stream's. Guarantees: no event is told
//! twice; none is left out without its being counted. Called by the operators' door.

use proto::id::ProjectName;
use proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{Api, Flow};
use crate::engine::State;
use crate::engine::model::Event;

/// Events in one message at most.
const BATCH_MAX: usize = 500;
/// A reader to whom nothing is of interest is told how far this is after so many events.
const PROGRESS_EVERY: u64 = 1_000;

// === impl Api ===

impl Api {
    pub(super) fn open_events(&self, request: v1::WatchEventsRequest) -> Result<Flow<v1::EventBatch>, Status> {
        let filter = Filter::of(&request)?;
        let state = self.present();
        if let Some(after) = request.after.filter(|after| *after > state.events_made()) {
            let message = format!("event {after} is not of this cluster, which has told {}", state.events_made());
            return Err(Status::new(Code::OutOfRange, message));
        }
        let reader = Reader { filter, told: request.after, looked_until: 0, began_with: state.events_made(), request };
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(reader.follow(self.clone(), sender));
        Ok(Box::pin(ReceiverStream::new(receiver)))
    }
}

/// What a reader wants to hear of.
struct Filter {
    project: Option<ProjectName>,
    subject: String,
}

// === impl Filter ===

impl Filter {
    fn of(request: &v1::WatchEventsRequest) -> Result<Filter, Status> {
        let project = match request.project.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|e| Status::invalid_argument(format!("project: {e}")))?),
        };
        Ok(Filter { project, subject: request.subject.clone() })
    }

    fn wants(&self, event: &Event) -> bool {
        let of_project = |p: &ProjectName| is_part(&event.subject, p.as_str());
        self.project.as_ref().is_none_or(of_project)
            && (self.subject.is_empty() || about(&event.subject, &self.subject))
    }
}

/// Is the subject the thing or a part of it? The project in front may be left out.
fn about(subject: &str, name: &str) -> bool {
    is_part(subject, name) || subject.split_once('/').is_some_and(|(_, service)| is_part(service, name))
}

fn is_part(subject: &str, name: &str) -> bool {
    subject.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']))
}

/// One stream.
struct Reader {
    request: v1::WatchEventsRequest,
    filter: Filter,
    /// The number of the last event that was looked at; `None`: it begins with what is kept.
    told: Option<u64>,
    /// How far it was last told that this is.
    looked_until: u64,
    /// How many events there were when it began.
    began_with: u64,
}

// === impl Reader ===

impl Reader {
    async fn follow(mut self, api: Api, sender: mpsc::Sender<Result<v1::EventBatch, Status>>) {
        let mut states = api.state.clone();
        let mut skip = None;
        loop {
            // Read anew before each message: a slow reader is behind the ring, not behind a queue.
            let state = states.borrow_and_update().clone();
            let skipped = *skip.get_or_insert_with(|| self.to_skip(&state));
            let (mut batch, is_last) = self.batch(&state, skipped);
            batch.at_unix_ms = api.clock.wall().max(state.wall()).0;
            batch.revision = state.revision().0;
            let is_over = is_last && self.request.once;
            let is_news = !batch.events.is_empty() || batch.missed > 0 || is_over;
            if is_news || batch.last >= self.looked_until + PROGRESS_EVERY {
                self.looked_until = batch.last;
                if sender.send(Ok(batch)).await.is_err() {
                    return;
                }
            }
            if is_over {
                return;
            }
            if !is_last {
                continue;
            }
            tokio::select! {
                changed = states.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    }

    /// Of the events that are kept and wanted, how many are too old for `tail`.
    fn to_skip(&self, state: &State) -> usize {
        let Some(tail) = self.request.tail else { return 0 };
        let (_, kept) = state.events_after(self.told.unwrap_or(0));
        let wanted =
            kept.filter(|(number, event)| *number <= self.began_with && self.is_wanted(*number, event)).count();
        wanted.saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX))
    }

    fn is_wanted(&self, number: u64, event: &Event) -> bool {
        let is_recent = number > self.began_with || event.at.0 >= self.request.since_unix_ms;
        is_recent && self.filter.wants(event)
    }

    /// The next events and whether these are all; `skip`: of those wanted so many are left out at the beginning.
    fn batch(&mut self, state: &State, skip: usize) -> (v1::EventBatch, bool) {
        let (missed, kept) = state.events_after(self.told.unwrap_or(0));
        // Who begins with what is kept has missed nothing.
        let mut batch = v1::EventBatch { missed: if self.told.is_some() { missed } else { 0 }, ..Default::default() };
        let mut skip = if self.told == self.request.after { skip } else { 0 };
        let mut last = self.told.unwrap_or(0) + missed;
        for (number, event) in kept {
            if batch.events.len() >= BATCH_MAX {
                self.told = Some(last);
                return (v1::EventBatch { last, ..batch }, false);
            }
            last = number;
            if !self.is_wanted(number, event) {
                continue;
            }
            if skip > 0 {
                skip -= 1;
                continue;
            }
            batch.events.push(view(number, event));
        }
        self.told = Some(last);
        (v1::EventBatch { last, ..batch }, true)
    }
}

/// As it goes over the wire.
pub(super) fn view(number: u64, event: &Event) -> v1::Event {
    v1::Event {
        revision: event.revision.0,
        at_unix_ms: event.at.0,
        subject: event.subject.clone(),
        kind: event.kind.clone(),
        message: event.message.clone(),
        number,
    }
}
