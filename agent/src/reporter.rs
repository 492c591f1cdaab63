//! The outbox of statuses: of each task how it ended last and the latest, at least once, in order per task.
//!
//! Never waits for a server: the worker puts statuses in, the session takes batches out, and what was not acknowledged
//! stays in.

use proto::id::TaskId;
use proto::task_state::{Phase, TaskStatus};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Reports in one batch: bounds the message and the log entry it becomes.
const BATCH_MAX: usize = 128;

/// A batch on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its number, larger for a later one.
    pub number: u64,
    /// In order per task.
    pub reports: Vec<(TaskId, TaskStatus)>,
}

/// The outbox, shared between the worker and the session.
#[derive(Debug, Clone, Default)]
pub struct Reporter {
    outbox: Arc<Mutex<Outbox>>,
    filled: Arc<Notify>,
}

/// What is to be said; one batch is on its way at a time.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Of each task at most two: an end that nobody has been told, and what came after it.
    waiting: BTreeMap<TaskId, Vec<TaskStatus>>,
    sent: Option<Batch>,
    number: u64,
}

impl Reporter {
    /// A task has a new status.
    pub fn put(&self, task: TaskId, status: TaskStatus) {
        self.lock().put(task, status);
        self.filled.notify_one();
    }

    /// Completes when something may be waiting.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// The outbox.
    pub fn lock(&self) -> MutexGuard<'_, Outbox> {
        // Each method leaves the outbox whole, so one that panicked elsewhere does no harm.
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// Takes in a status; an earlier one that was not sent yet is superseded, unless it says how an incarnation ended:
    /// the cause of a restart would be lost otherwise.
    pub fn put(&mut self, task: TaskId, status: TaskStatus) {
        let waiting = self.waiting.entry(task).or_default();
        let ends = |s: &TaskStatus| matches!(s.phase, Phase::Exited | Phase::Failed);
        match waiting.pop() {
            Some(last) if ends(&last) && last.incarnation != status.incarnation => *waiting = vec![last, status],
            _ => waiting.push(status),
        }
    }

    /// Is anything waiting that is not on its way?
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next batch, unless one is on its way or nothing waits.
    pub fn take(&mut self) -> Option<Batch> {
        if self.sent.is_some() || self.waiting.is_empty() {
            return None;
        }
        let mut reports = Vec::new();
        while reports.len() < BATCH_MAX
            && let Some((task, statuses)) = self.waiting.pop_first()
        {
            reports.extend(statuses.into_iter().map(|status| (task, status)));
        }
        self.number += 1;
        let batch = Batch { number: self.number, reports };
        self.sent = Some(batch.clone());
        Some(batch)
    }

    /// The server has the batch with this number in its log. Returns whether it was the one on its way.
    pub fn acknowledged(&mut self, number: u64) -> bool {
        let ours = self.sent.as_ref().is_some_and(|batch| batch.number == number);
        if ours {
            self.sent = None;
        }
        ours
    }

    /// The connection was lost, or the answer is overdue: what was on its way waits again, unless it was superseded.
    pub fn put_back(&mut self) {
        if let Some(batch) = self.sent.take() {
            let later = std::mem::take(&mut self.waiting);
            batch.reports.into_iter().for_each(|(task, status)| self.put(task, status));
            for (task, statuses) in later {
                statuses.into_iter().for_each(|status| self.put(task, status));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(sequence: u64) -> TaskStatus {
        TaskStatus { sequence, ..TaskStatus::default() }
    }

    fn sequences(batch: &Batch) -> Vec<(u64, u64)> {
        batch.reports.iter().map(|(task, status)| (task.0, status.sequence)).collect()
    }

    #[test]
    fn one_batch_travels_and_the_rest_is_coalesced() {
        let mut outbox = Outbox::default();
        outbox.put(TaskId(1), status(1));
        let first = outbox.take().unwrap();
        assert_eq!(sequences(&first), [(1, 1)]);
        outbox.put(TaskId(1), status(2));
        outbox.put(TaskId(2), status(1));
        outbox.put(TaskId(1), status(3));
        assert_eq!(outbox.take(), None, "one is on its way");
        assert!(!outbox.acknowledged(first.number + 1));
        assert!(outbox.acknowledged(first.number));
        assert_eq!(sequences(&outbox.take().unwrap()), [(1, 3), (2, 1)]);
    }

    #[test]
    fn what_was_not_acknowledged_is_sent_again_unless_superseded() {
        let mut outbox = Outbox::default();
        outbox.put(TaskId(1), status(1));
        outbox.put(TaskId(2), status(1));
        let first = outbox.take().unwrap();
        outbox.put(TaskId(2), status(2));
        outbox.put_back();
        let second = outbox.take().unwrap();
        assert_eq!(sequences(&second), [(1, 1), (2, 2)]);
        assert!(!outbox.acknowledged(first.number), "a late answer to the lost batch says nothing of this one");
    }

    #[test]
    fn how_it_ended_is_told_although_it_runs_again() {
        let mut outbox = Outbox::default();
        for (incarnation, phase, sequence) in [
            (1, Phase::Running, 1),
            (1, Phase::Exited, 2),
            (2, Phase::Starting, 3),
            (2, Phase::Exited, 4),
            (3, Phase::Starting, 5),
            (3, Phase::Running, 6),
        ] {
            outbox.put(TaskId(1), TaskStatus { incarnation, phase, sequence, ..TaskStatus::default() });
        }
        assert_eq!(sequences(&outbox.take().unwrap()), [(1, 4), (1, 6)]);
        outbox.put_back();
        assert_eq!(sequences(&outbox.take().unwrap()), [(1, 4), (1, 6)]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let mut outbox = Outbox::default();
        (0..BATCH_MAX as u64 + 3).for_each(|task| outbox.put(TaskId(task), status(1)));
        let first = outbox.take().unwrap();
        assert_eq!(first.reports.len(), BATCH_MAX);
        outbox.acknowledged(first.number);
        assert_eq!(outbox.take().unwrap().reports.len(), 3);
    }
}
