//! Changes of a service that need new containers: which slots begin, when an old task stops, what a failure leads to.
//!
//! # Flow
//! A slot begins when fewer than `parallelism` are in change and `delay` has passed since the last one was done. Its new
//! task runs beside the old one until it has stayed ready, in one incarnation, for `monitor`: then it is done, and only
//! then the old one drains and stops. Where both would want the same host port or volume, or the manifest asks for it,
//! the new one is prepared, the old one stops, and the new one starts.
//!
//! # Guarantees
//! No task that serves is stopped before its successor is done, but for stop-first. Old tasks that are of the restored
//! spec are never restarted. A slot that nobody serves does not wait for its turn.
//!
//! Called by `reconcile`, before `replicas`; what time alone can change is in `next_deadline`.

use proto::id::{NodeId, Slot};
use proto::node::FEATURE_PREPARE;
use proto::revision::Time;
use proto::spec::FailureAction;
use std::collections::BTreeSet;

use super::Draft;
use super::order::may_start;
use super::slot_set::SlotSet;
use super::slots::{SlotTasks, Slots, done_at, is_heard, overdue_at, serves, slots};
use crate::engine::model::{Rollout, RolloutState, Service, StopFirst, Task};
use crate::engine::placement;
use crate::engine::plan::{Change, Requires};
use crate::engine::reason::Reason;
use crate::engine::state::State;
use crate::engine::state::apply::exit_words;

pub(super) fn pass(draft: &mut Draft<'_>, now: Time) {
    let state = draft.state;
    for service in state.services().filter(|s| is_of_interest(s)) {
        // A project that goes back is another one in the next plan: what its services came to is not judged any more.
        let turns = |draft: &Draft<'_>| draft.turning.contains(&service.key.project);
        if turns(draft) {
            continue;
        }
        let set = draft.slot_set(service);
        let slots = slots(state, service, &set);
        if judge(draft, service, &set, &slots, now) && !turns(draft) {
            advance(draft, service, &set, &slots, now);
        }
    }
}

/// Something of it may be in change: a service without a rollout, or whose rollout is over, has no other tasks than of
/// its present spec.
fn is_of_interest(service: &Service) -> bool {
    !service.removing && service.rollout.as_ref().is_some_and(|r| !r.is_done())
}

// --- Failures ---

/// Counts slots that failed, and draws the consequences when they are too many. False: nothing else is to be done now.
fn judge(draft: &mut Draft<'_>, service: &Service, set: &SlotSet, slots: &Slots<'_>, now: Time) -> bool {
    let Some(rollout) = service.rollout.as_ref().filter(|r| r.is_running()) else { return true };
    let before = draft.plan.changes.len();
    for slot in set.iter() {
        if !rollout.failed.contains_key(&slot) {
            judge_slot(draft, service, rollout, (slot, set.home(slot)), slots.get(&slot), now);
        }
    }
    if draft.plan.changes.len() > before {
        return false;
    }
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let failed = count(rollout.failed.keys().filter(|s| set.contains(**s)).count());
    let per_mille = u64::from(service.policy().max_failures_per_mille);
    let allowed = count((per_mille * u64::from(set.count()) / 1000) as usize);
    let Some(change) = consequence(service, rollout).filter(|_| failed > allowed) else { return true };
    if matches!(change, Change::RollBack { .. }) && !draft.turning.insert(service.key.project.clone()) {
        return false;
    }
    draft.change(change, requires(service, &[]), Reason::TooManyFailed { failed, allowed });
    false
}

fn judge_slot(
    draft: &mut Draft<'_>,
    service: &Service,
    rollout: &Rollout,
    (slot, home): (Slot, Option<NodeId>),
    tasks: Option<&SlotTasks<'_>>,
    now: Time,
) {
    let fail = |task: Option<&Task>, cause: String| Change::FailSlot {
        service: service.key.clone(),
        slot,
        task: task.map(|t| t.id),
        cause,
    };
    for task in tasks.into_iter().flat_map(|t| &t.current) {
        if let Some(setback) = task.setback.as_ref().filter(|s| s.revision > rollout.since) {
            let change = fail(Some(task), setback.cause.clone());
            draft.change(change, requires(service, &[task]), Reason::NewTaskFailed);
            return;
        }
        // One that is gone back to may have ended before, for good: nobody starts it again.
        if service.gave_up(task) {
            let change = fail(Some(task), exit_words(&task.status));
            draft.change(change, requires(service, &[task]), Reason::NewTaskFailed);
            return;
        }
        if overdue_at(service, task).is_some_and(|at| at <= now) {
            let said = match task.status.message.as_str() {
                "" => "it was started and is not ready",
                message => message,
            };
            let ms = service.ready_within_ms();
            draft.change(fail(Some(task), said.to_owned()), requires(service, &[task]), Reason::NotReadyInTime { ms });
            return;
        }
    }
    let ms = service.policy().deadline_ms;
    if rollout.unplaced.get(&slot).is_some_and(|since| since.after_ms(ms) <= now) {
        let why = placement::place_slot(draft.state, draft.placer.ledger(), service, home).err();
        let cause = why.map_or_else(|| "no node could hold it".to_owned(), |why| why.to_string());
        draft.change(fail(None, cause), requires(service, &[]), Reason::NotPlacedInTime { ms });
    }
}

/// What follows when too many slots failed; `None`: it goes on.
fn consequence(service: &Service, rollout: &Rollout) -> Option<Change> {
    let key = service.key.clone();
    match (service.policy().on_failure, &rollout.from) {
        (FailureAction::Continue, _) => None,
        (FailureAction::Pause, _) => Some(Change::PauseRollout { service: key }),
        (FailureAction::Rollback, Some(_)) if rollout.back.is_none() => Some(Change::RollBack { service: key }),
        (FailureAction::Rollback, _) => Some(Change::FailRollout { service: key }),
    }
}

// --- Progress ---

fn advance(draft: &mut Draft<'_>, service: &Service, set: &SlotSet, slots: &Slots<'_>, now: Time) {
    let before = draft.plan.changes.len();
    let mut turns = Turns::of(service, set, slots, now);
    let open = may_start(draft, service);
    if !turns.is_paused {
        stop_on_lost_nodes(draft, service, set, slots);
    }
    for slot in set.iter() {
        let Some(tasks) = slots.get(&slot) else { continue };
        start_prepared(draft, service, tasks);
        // One on a node that this plan marks is judged by the next.
        if let Some(done) = tasks.done(service, now).filter(|t| !draft.marked.contains(&t.node)) {
            stop_for(draft, service, tasks, done);
            continue;
        }
        stop_never_ready(draft, service, tasks);
        match tasks.current.last() {
            Some(current) => hand_over(draft, service, slots, slot, tasks, current),
            None if open => begin(draft, service, (slot, set), tasks, &mut turns),
            None => {}
        }
    }
    if draft.plan.changes.len() == before {
        conclude(draft, service, set, slots, now);
    }
}

/// Who may begin now.
struct Turns {
    free: usize,
    is_paused: bool,
}

impl Turns {
    fn of(service: &Service, set: &SlotSet, slots: &Slots<'_>, now: Time) -> Turns {
        let policy = service.policy();
        let rollout = service.rollout.as_ref();
        let failed = |slot: &Slot| rollout.is_some_and(|r| r.failed.contains_key(slot));
        let in_change = |(slot, tasks): &(&Slot, &SlotTasks<'_>)| {
            let is_handing_over = tasks.outdated.is_empty() && !tasks.stopping.is_empty();
            let is_begun = !tasks.current.is_empty() || tasks.began_elsewhere(service) || is_handing_over;
            is_begun && tasks.done(service, now).is_none() && !failed(slot)
        };
        let changing = slots.iter().filter(|(slot, _)| set.knows(**slot)).filter(in_change).count();
        let parallelism = if policy.parallelism == 0 { usize::MAX } else { policy.parallelism as usize };
        let is_paused = rollout.is_some_and(|r| matches!(r.state, RolloutState::Paused { .. }));
        let waits = is_paused || delayed_until(service, slots, now).is_some_and(|at| at > now);
        Turns { free: if waits { 0 } else { parallelism.saturating_sub(changing) }, is_paused }
    }
}

/// When the next slot may begin, as the last one that is done says.
fn delayed_until(service: &Service, slots: &Slots<'_>, now: Time) -> Option<Time> {
    let began = service.rollout.as_ref()?.began;
    let own = slots.values().flat_map(|s| &s.current).filter(|t| t.created >= began);
    let last = own.filter_map(|t| done_at(service, t)).filter(|at| *at <= now).max()?;
    Some(last.after_ms(service.policy().delay_ms))
}

/// Where a global service's node is lost, nothing takes the place of its old task: a new one is made when the node returns.
fn stop_on_lost_nodes(draft: &mut Draft<'_>, service: &Service, set: &SlotSet, slots: &Slots<'_>) {
    for (_, tasks) in slots.iter().filter(|(slot, _)| set.is_global() && !set.contains(**slot)) {
        // One that is only prepared would find nobody to start it, once the rollout is over.
        let prepared = tasks.lost.iter().filter(|t| t.is_prepared_only());
        for old in tasks.outdated.iter().chain(prepared).filter(|t| !draft.marked.contains(&t.node)).collect::<Vec<_>>()
        {
            stop(draft, service, old, None, Reason::NodeLost { node: old.node });
        }
    }
}

/// A prepared task starts once nothing of its slot is left that it could collide with.
fn start_prepared(draft: &mut Draft<'_>, service: &Service, tasks: &SlotTasks<'_>) {
    let Some(task) = tasks.current.last().filter(|t| t.is_prepared_only()) else { return };
    let mut others = tasks.outdated.iter().chain(&tasks.stopping).chain(&tasks.lost);
    // One on a node that this plan marks may be heard again: the next plan knows.
    let collides = others.any(|t| t.node == task.node || is_heard(draft.state, t) || draft.marked.contains(&t.node));
    if !collides {
        draft.change(Change::RunTask { task: task.id }, requires(service, &[task]), Reason::PredecessorStopped);
    }
}

/// A successor is done: every task of an earlier spec drains and stops.
fn stop_for(draft: &mut Draft<'_>, service: &Service, tasks: &SlotTasks<'_>, done: &Task) {
    for old in &tasks.outdated {
        stop(draft, service, old, Some(done), Reason::Superseded { by: done.id });
    }
}

/// Tasks of an earlier spec that never served, and those that serve beside another one: nobody misses them.
fn stop_never_ready(draft: &mut Draft<'_>, service: &Service, tasks: &SlotTasks<'_>) {
    let keeper = tasks.served_by(draft.state);
    for old in tasks.outdated.iter().filter(|t| keeper.is_none_or(|k| k.id != t.id)) {
        match keeper {
            _ if !old.was_ready && !old.is_complete() => stop(draft, service, old, None, Reason::NeverReady),
            Some(keeper) => stop(draft, service, old, Some(keeper), Reason::Superseded { by: keeper.id }),
            None => {}
        }
    }
}

/// A new task that is prepared makes the old one stop; one that runs is waited for.
fn hand_over(
    draft: &mut Draft<'_>,
    service: &Service,
    slots: &Slots<'_>,
    slot: Slot,
    tasks: &SlotTasks<'_>,
    current: &Task,
) {
    let is_ready = current.is_prepared_only() && current.status.phase == proto::task_state::Phase::Prepared;
    let is_paused = service.rollout.as_ref().is_some_and(|r| matches!(r.state, RolloutState::Paused { .. }));
    if !is_ready || is_paused {
        return;
    }
    let mut others = slots.iter().filter(|(s, _)| **s != slot).flat_map(|(_, t)| t.current.iter().chain(&t.outdated));
    let other = others.find(|t| serves(draft.state, t)).copied();
    for old in &tasks.outdated {
        stop(draft, service, old, other, Reason::SpecChangedStopFirst);
    }
}

/// Every wanted task of the slot has an earlier spec.
fn begin(draft: &mut Draft<'_>, service: &Service, slot: (Slot, &SlotSet), tasks: &SlotTasks<'_>, turns: &mut Turns) {
    if tasks.outdated.is_empty() {
        return;
    }
    let served = tasks.served_by(draft.state);
    // A new task elsewhere is not a change that has begun, as long as the old one serves at home: that one stays for its turn.
    let is_served_elsewhere = tasks.misplaced.iter().any(|t| serves(draft.state, t)) && !tasks.began_elsewhere(service);
    let needs_turn = served.is_some() || is_served_elsewhere;
    if needs_turn && turns.free == 0 {
        return;
    }
    let before = draft.plan.changes.len();
    // Two of the slot that collide wait for each other; one that never was ready has just been asked to stop.
    let keeps = served.or_else(|| tasks.outdated.iter().rev().find(|t| t.was_ready).copied());
    match (service.stop_first(), keeps) {
        (None, _) => start_beside(draft, service, slot, turns),
        (Some(because), Some(old)) => prepare(draft, service, slot, old, because, turns),
        (Some(_), None) => {}
    }
    // One that counts as failed and still finds no node leaves its turn to the next.
    let is_failed = service.rollout.as_ref().is_some_and(|r| r.failed.contains_key(&slot.0));
    if needs_turn && !(is_failed && draft.plan.changes.len() == before) {
        turns.free = turns.free.saturating_sub(1);
    }
}

fn start_beside(draft: &mut Draft<'_>, service: &Service, (slot, set): (Slot, &SlotSet), turns: &Turns) {
    if draft.is_full() {
        return;
    }
    match draft.choose(service, set, slot, None) {
        Ok(node) => {
            draft.placer.take(node, service);
            let change = Change::CreateTask { service: service.key.clone(), slot, node };
            let requires = draft.requires_node(service, node);
            draft.change(change, requires, Reason::SpecChanged);
        }
        Err(why) => hold(draft, service, slot, why, turns),
    }
}

fn prepare(
    draft: &mut Draft<'_>,
    service: &Service,
    (slot, set): (Slot, &SlotSet),
    old: &Task,
    because: StopFirst,
    turns: &Turns,
) {
    match placement::succeed(draft.state, draft.placer.ledger(), service, old, set.home(slot)) {
        // An agent of before does not know how to prepare: the old one stops without.
        Ok(node) if !can_prepare(draft.state, node) => {
            stop(draft, service, old, None, Reason::SpecChangedStopFirst);
        }
        Ok(node) => {
            draft.placer.take(node, service);
            let change = Change::PrepareTask { service: service.key.clone(), slot, node, succeeds: old.id };
            let mut requires = draft.requires_node(service, node);
            requires.push(Requires::Task(old.id, old.modified));
            draft.change(change, requires, Reason::Prepares { because });
        }
        Err(why) => hold(draft, service, slot, why, turns),
    }
}

fn can_prepare(state: &State, node: NodeId) -> bool {
    state.node(node).is_some_and(|n| n.info.features.contains(FEATURE_PREPARE))
}

/// The slot waits for a node; how long counts from now on, unless a lost node is what it waits for.
fn hold(draft: &mut Draft<'_>, service: &Service, slot: Slot, why: placement::Unplaceable, turns: &Turns) {
    draft.cannot_place(service, slot, why);
    let all_heard = draft.marked.is_empty() && draft.state.nodes().all(|n| n.is_up());
    let counts = service.rollout.as_ref().is_some_and(|r| r.is_running() && !r.unplaced.contains_key(&slot));
    if counts && all_heard && !turns.is_paused {
        let change = Change::HoldSlot { service: service.key.clone(), slot };
        draft.change(change, requires(service, &[]), Reason::NoNodeNow);
    }
}

/// Nothing is left to do in any slot: is it over?
fn conclude(draft: &mut Draft<'_>, service: &Service, set: &SlotSet, slots: &Slots<'_>, now: Time) {
    let Some(rollout) = service.rollout.as_ref().filter(|r| !r.is_done()) else { return };
    // Which nodes there are to hold something, the next plan knows.
    if !draft.marked.is_empty() {
        return;
    }
    let (mut done, mut undone, mut failed, mut without_node) = (0, 0, 0, 0);
    for slot in set.iter() {
        match slots.get(&slot) {
            Some(tasks) if tasks.done(service, now).is_some() && tasks.outdated.is_empty() => done += 1,
            // Nothing of it is replaced, and no node can hold it: it is not what the change waits for.
            None if !draft.can_place(service, set, slot) => without_node += 1,
            _ => {
                undone += 1;
                failed += usize::from(rollout.failed.contains_key(&slot));
            }
        }
    }
    let key = service.key.clone();
    let is_whole = undone == 0 && (done > 0 || *set == SlotSet::Replicas(0));
    if is_whole && !slots.values().any(|t| !t.outdated.is_empty() || !t.misplaced.is_empty()) {
        let told = Some(Reason::PlacedDone { without_node }).filter(|r| without_node > 0 && knows(draft.state, r));
        draft.change(Change::FinishRollout { service: key }, requires(service, &[]), told.unwrap_or(Reason::AllDone));
    } else if rollout.is_running() && undone > 0 && undone == failed {
        draft.change(Change::FailRollout { service: key }, requires(service, &[]), Reason::OthersDone);
    }
}

/// May the log say so?
fn knows(state: &State, reason: &Reason) -> bool {
    reason.version() <= state.version()
}

// --- What passes share ---

/// Asks a task to stop. It drains first when it is answered with and another takes over.
fn stop(draft: &mut Draft<'_>, service: &Service, old: &Task, takes_over: Option<&Task>, reason: Reason) {
    let is_answered = old.status.is_ready() && is_heard(draft.state, old);
    let drain_ms = if is_answered && takes_over.is_some() { service.spec.drain_ms } else { 0 };
    let mut tasks = vec![old];
    tasks.extend(takes_over);
    draft.change(Change::StopTask { task: old.id, drain_ms }, requires(service, &tasks), reason);
}

fn requires(service: &Service, tasks: &[&Task]) -> Vec<Requires> {
    let of_service = Requires::Service(service.key.clone(), service.modified);
    std::iter::once(of_service).chain(tasks.iter().map(|t| Requires::Task(t.id, t.modified))).collect()
}

/// When time alone ends a monitoring, a delay or a patience.
pub(super) fn next_deadline(state: &State, now: Time) -> Option<Time> {
    let services = state.services().filter(|s| is_of_interest(s));
    services.flat_map(|s| moments(state, s, now)).filter(|at| *at > now).min()
}

fn moments(state: &State, service: &Service, now: Time) -> BTreeSet<Time> {
    let slots = slots(state, service, &SlotSet::of(state, service));
    let mut moments = BTreeSet::new();
    for task in slots.values().flat_map(|s| &s.current) {
        moments.extend(done_at(service, task));
        moments.extend(overdue_at(service, task));
    }
    moments.extend(delayed_until(service, &slots, now));
    let held = service.rollout.iter().flat_map(|r| r.unplaced.values());
    moments.extend(held.map(|since| since.after_ms(service.policy().deadline_ms)));
    moments
}
