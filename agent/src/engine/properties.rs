//! What must hold whatever happens in whatever order.

use proptest::prelude::*;
use proto::assignment::{Assignment, Desired, Verdict};
use proto::id::TaskId;
use proto::revision::Time;
use proto::task_state::{Phase, TaskStatus};
use std::collections::BTreeMap;

use super::world::{World, assignment, check};
use super::*;

/// Something that happens to a node.
#[derive(Debug, Clone)]
enum Happening {
    Run { task: u64, image: bool, checked: bool },
    Ahead(u64),
    Stop(u64, u64),
    List,
    Succeed(u64),
    Fail(u64, u8),
    Exit { container: usize, code: i32, looked: bool },
    Wipe(usize),
    Sample(u64, bool),
    Wait(u64),
    Restart,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let task = 1..4u64;
    prop_oneof![
        2 => (task.clone(), any::<bool>(), any::<bool>()).prop_map(|(task, image, checked)| Run { task, image, checked }),
        1 => task.clone().prop_map(Ahead),
        1 => (task.clone(), prop_oneof![Just(0), 1..5_000u64]).prop_map(|(task, drain)| Stop(task, drain)),
        3 => Just(List),
        8 => task.clone().prop_map(Succeed),
        2 => (task.clone(), 0..3u8).prop_map(|(task, how)| Fail(task, how)),
        2 => (0..5usize, 0..2, any::<bool>()).prop_map(|(container, code, looked)| Exit { container, code, looked }),
        1 => (0..5usize).prop_map(Wipe),
        2 => (task, any::<bool>()).prop_map(|(task, passed)| Sample(task, passed)),
        3 => (0..70_000u64).prop_map(Wait),
        1 => Just(Restart),
    ]
}

/// What this node was asked, as far as promises of time hang on it.
#[derive(Debug, Default)]
struct Asked {
    /// Ready tasks that were asked to stop: from when on the signal may be sent.
    drained_at: BTreeMap<TaskId, Time>,
}

fn happen(world: &mut World, asked: &mut Asked, what: &Happening) {
    let nth = |world: &World, n: usize| world.engine.keys().nth(n).cloned();
    match what {
        Happening::Run { task, image, checked } => {
            // A task's spec never changes, and one that was stopped is not run again.
            if let Some(made) = world.set.tasks.get_mut(&TaskId(*task)) {
                if made.desired == Desired::Prepare {
                    made.desired = Desired::Run;
                    world.set.revision.0 += 1;
                }
            } else {
                let mut made = assignment(*task, "web", 1, if *image { "a" } else { "b" });
                if *checked {
                    made.health = proto::spec::HealthSpec::Check(check());
                }
                world.assign(made);
            }
        }
        Happening::Ahead(task) => {
            if !world.set.tasks.contains_key(&TaskId(*task)) {
                let made = assignment(*task, "web", 1, "a");
                world.assign(Assignment { desired: Desired::Prepare, ..made });
            }
        }
        Happening::Stop(task, drain_ms) => {
            if let Some(made) = world.set.tasks.get_mut(&TaskId(*task)).filter(|made| made.desired != Desired::Stop) {
                (made.desired, made.drain_ms) = (Desired::Stop, *drain_ms);
                world.set.revision.0 += 1;
                let ready = world.memory.task(TaskId(*task)).is_some_and(|t| t.status.is_ready());
                if ready {
                    asked.drained_at.insert(TaskId(*task), world.now.after_ms(*drain_ms));
                }
            }
        }
        Happening::List => world.list(),
        Happening::Succeed(task) => world.succeed(TaskId(*task)),
        Happening::Fail(task, how) => {
            let why = "no".to_owned();
            let trouble = [Trouble::Unknown(why.clone()), Trouble::Fetch(why.clone()), Trouble::Refused(why)];
            world.fail(TaskId(*task), trouble[usize::from(*how)].clone());
        }
        Happening::Exit { container, code, looked } => {
            if let Some(id) = nth(world, *container).filter(|id| id != "stranger") {
                world.end(&id, *code);
                let task = world.engine[&id].task;
                if *looked && !world.busy.contains_key(&task) {
                    world.look(task);
                }
            }
        }
        Happening::Wipe(n) => {
            if let Some(id) = nth(world, *n).filter(|id| id != "stranger") {
                world.engine.remove(&id);
            }
        }
        Happening::Sample(task, passed) => {
            if world.memory.tasks.contains_key(&TaskId(*task)) {
                world.sample(TaskId(*task), *passed);
            }
        }
        Happening::Wait(ms) => wait(world, *ms),
        Happening::Restart => world.restart_agent(),
    }
}

/// Time goes by. Before the deadline, nothing is to be done.
fn wait(world: &mut World, ms: u64) {
    let due = next_deadline(&world.set, &world.observed, &world.memory, world.now);
    world.now = world.now.after_ms(ms);
    if due.is_none_or(|at| at > world.now) {
        let mut later = world.memory.clone();
        later.fold(&world.set, &world.observed, world.now, world.wall());
        let actions = diff(&world.set, &world.observed, &later, world.now);
        assert!(actions.is_empty(), "due {due:?}, but at {:?}: {actions:?}", world.now);
    }
}

fn frees(action: &Action) -> bool {
    matches!(action, Action::Task { step: Step::Stop { .. } | Step::Remove { .. }, .. } | Action::Dismiss { .. })
}

fn takes(action: &Action) -> bool {
    matches!(action, Action::Task { step: Step::Fetch | Step::Prepare { .. } | Step::Start { .. }, .. })
}

/// What is only prepared is neither made nor started, and a ready endpoint drains before the signal.
fn keeps_time(world: &World, asked: &Asked, action: &Action) {
    let Action::Task { task, step } = action else { return };
    let desired = world.set.tasks[task].desired;
    assert!(desired != Desired::Prepare || *step == Step::Fetch, "{task} is only prepared: {step:?}");
    if let (Step::Stop { .. }, Some(at)) = (step, asked.drained_at.get(task)) {
        assert!(*at <= world.now, "{task} drains until {at:?}, and is stopped at {:?}", world.now);
    }
}

/// One turn, and what must hold of it.
fn turn(world: &mut World, asked: &Asked, said: &mut BTreeMap<TaskId, TaskStatus>) {
    let before = world.observed.is_complete();
    let first = {
        let mut folded = world.memory.clone();
        folded.fold(&world.set, &world.observed, world.now, world.wall());
        diff(&world.set, &world.observed, &folded, world.now)
    };
    let last_free = first.iter().rposition(frees);
    let first_take = first.iter().position(takes);
    if let (Some(free), Some(take)) = (last_free, first_take) {
        assert!(free < take, "stops come before starts: {first:?}");
    }
    let actions = world.turn();
    assert!(before || actions.is_empty(), "nothing happens before a whole list");
    for action in &actions {
        keeps_time(world, asked, action);
        let touched = match action {
            Action::Dismiss { container, .. } => Some(container),
            Action::Task { step: Step::Stop { container, .. } | Step::Remove { container }, .. } => Some(container),
            _ => None,
        };
        assert!(touched.is_none_or(|id| id != "stranger"), "a stranger is left alone");
        if let Action::Report { task, status } = action {
            if let Some(earlier) = said.get(task).filter(|e| **e != *status) {
                // A stop is confirmed again and again.
                let confirmed = earlier.phase == Phase::Stopped && status.phase == Phase::Stopped;
                assert!(confirmed || status.supersedes(earlier), "{task} said {earlier:?} and then {status:?}");
            }
            said.insert(*task, status.clone());
        }
    }
    assert!(diff(&world.set, &world.observed, &world.memory, world.now).is_empty(), "asking again asks for nothing");
}

/// From now on all goes well: every task gets where it should be.
fn settle_down(world: &mut World, asked: &Asked, said: &mut BTreeMap<TaskId, TaskStatus>) {
    for _ in 0..40 {
        world.now = world.now.after_ms(61_000);
        world.list();
        turn(world, asked, said);
        for task in 1..4 {
            world.succeed(TaskId(task));
            turn(world, asked, said);
        }
    }
    for (id, made) in &world.set.tasks {
        let phase = world.memory.tasks[id].status.phase;
        let wanted = match made.desired {
            Desired::Prepare => Phase::Prepared,
            Desired::Run => Phase::Running,
            Desired::Stop => Phase::Stopped,
        };
        assert_eq!(phase, wanted, "{id} is not where it should be: {:?}", world.memory.tasks[id]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_node_keeps_its_promises(happenings in prop::collection::vec(happening(), 1..60)) {
        let mut world = World::new();
        world.plant("stranger", &assignment(9, "web", 2, "a"), ContainerState::Running { started_at: world.wall() });
        world.set.verdicts.insert("other".into(), Verdict::Stop);
        let (mut asked, mut said) = (Asked::default(), BTreeMap::new());
        for what in &happenings {
            happen(&mut world, &mut asked, what);
            turn(&mut world, &asked, &mut said);
        }
        settle_down(&mut world, &asked, &mut said);
        prop_assert!(world.engine.contains_key("stranger"));
    }
}
