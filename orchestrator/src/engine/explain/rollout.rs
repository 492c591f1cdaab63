//! Rollouts in words: how far, what holds them up, what follows.
//!
//! Pure. As of the last command: what time alone ends is ended by a command. Called by `explain` and `api`.

use proto::id::Slot;
use proto::revision::Wall;

use super::why::ago;
use super::{Explanation, Judgement, counts, span, word};
use crate::engine::model::{Rollout, RolloutState, Service};
use crate::engine::reconcile::{SlotProgress, SlotSet, progress};
use crate::engine::state::State;

/// A service of which something is being rolled out, in a word; `None`: nothing is.
pub(super) fn judge(state: &State, service: &Service, worst: &str) -> Option<Judgement> {
    let rollout = service.rollout.as_ref()?;
    match (&rollout.state, &rollout.back) {
        (RolloutState::Running, None) if worst.is_empty() => Some(word("updating", done_words(state, service))),
        (RolloutState::Running, None) => Some(word("updating", format!("{}; {worst}", done_words(state, service)))),
        (RolloutState::Running, Some(back)) => Some(word("rolling-back", back.cause.clone())),
        (RolloutState::Paused { cause }, _) => Some(word("paused", cause.clone())),
        (RolloutState::Failed { cause }, _) if counts(state, service).ready == 0 => Some(word("failed", cause.clone())),
        (RolloutState::Failed { cause }, _) => Some(word("degraded", cause.clone())),
        (RolloutState::Done, _) => None,
    }
}

/// `1 of 4 slots done`.
pub fn done_words(state: &State, service: &Service) -> String {
    let slots = slots(state, service);
    let done = slots.iter().filter(|(_, p)| *p == SlotProgress::Done).count();
    format!("{done} of {} slots done", slots.len())
}

/// Each slot and how far it is.
pub fn slots(state: &State, service: &Service) -> Vec<(Slot, SlotProgress)> {
    let all = progress(state, service, state.clock());
    let far = |slot| (slot, all.get(&slot).copied().unwrap_or(SlotProgress::Waits));
    SlotSet::of(state, service).iter().map(far).collect()
}

/// The answer of `ctl why` for a service whose rollout is not over, or was taken back.
pub(super) fn why(state: &State, service: &Service, wall: Wall) -> Option<Explanation> {
    let rollout = service.rollout.as_ref().filter(|r| !r.is_done() || r.back.is_some())?;
    let judged = super::service(state, service);
    let now = format!(
        "{} is {}: {}, {} ready",
        service.key,
        judged.state,
        done_words(state, service),
        counts(state, service).ready
    );
    let began = ago(rollout.began_at, wall);
    let cause = match (&rollout.state, &rollout.back) {
        (RolloutState::Paused { cause }, _) => format!("the rollout of release {} is paused: {cause}", rollout.release),
        (RolloutState::Failed { cause }, _) => format!("the rollout of release {} failed: {cause}", rollout.release),
        (_, Some(back)) => format!("release {} was taken back to {}, {began}: {}", back.of, back.to, back.cause),
        (_, None) => format!("release {} began to replace its containers {began}; {}", rollout.release, judged.reason),
    };
    let next = next(state, service, rollout);
    Some(Explanation { now, cause, next, detail: failures(service, rollout) })
}

fn next(state: &State, service: &Service, rollout: &Rollout) -> String {
    let name = &service.key;
    match &rollout.state {
        RolloutState::Done => "nothing; fix the cause and apply again".to_owned(),
        RolloutState::Paused { .. } => {
            format!("nothing by itself: `ctl rollout resume {name}` or `ctl rollout undo {name}`")
        }
        RolloutState::Failed { .. } => {
            format!("its agents go on trying; fix the cause and apply again, or `ctl rollout undo {name}`")
        }
        RolloutState::Running => match rollout.unplaced.keys().next() {
            Some(slot) => format!(
                "{}.{slot} waits {} for a node, else the slot counts as failed",
                name.service,
                span(service.policy().deadline_ms)
            ),
            None => running_next(state, service),
        },
    }
}

fn running_next(state: &State, service: &Service) -> String {
    let policy = service.policy();
    let in_change =
        slots(state, service).into_iter().find(|(_, p)| matches!(p, SlotProgress::Begun | SlotProgress::Ready));
    match in_change {
        Some((slot, SlotProgress::Ready)) => format!(
            "{}.{slot} counts as done once it has stayed ready for {}; then what it replaces drains and stops",
            service.key.service,
            span(policy.monitor_ms)
        ),
        Some((slot, _)) => format!(
            "{}.{slot} has {} to get ready once it is started, else the slot counts as failed",
            service.key.service,
            span(service.ready_within_ms())
        ),
        None if policy.delay_ms > 0 => {
            format!("the next slot begins {} after the last one was done", span(policy.delay_ms))
        }
        None => "the next slot begins as soon as it can".to_owned(),
    }
}

/// What failed, each with the last lines of its log.
pub fn failures(service: &Service, rollout: &Rollout) -> Vec<String> {
    let mut lines = Vec::new();
    for (slot, failure) in &rollout.failed {
        lines.push(format!("{}.{slot} failed: {}", service.key.service, failure.cause));
        lines.extend(failure.log.iter().map(|line| format!("log | {line}")));
    }
    if let Some(back) = rollout.back.as_ref().filter(|_| rollout.failed.is_empty()) {
        lines.extend(back.log.iter().map(|line| format!("log | {line}")));
    }
    lines
}
