//! The engine's behaviour as text: what happens to a node, and after each `>` what it must do.
//!
//! Lines: `run T SERVICE.SLOT [image=I] [policy=P] [check] [image-check]` · `stop T` · `drop T` · `list` · `ok T` ·
//! `refuse T` · `fetch-fails T` · `silence T` · `exit C CODE` · `look T` · `plant C T SERVICE.SLOT STATE` · `verdict C` ·
//! `wipe C` · `hint T C` · `pass T` · `fail T` · `at MS` · `restart` · `due`. Times count from the start.

use proto::assignment::{Desired, Verdict};
use proto::id::TaskId;
use proto::revision::{Time, Wall};
use proto::spec::{HealthSpec, RestartPolicy};

use super::observed::Exit;
use super::world::{World, assignment, brief, check};
use super::*;

fn task(word: &str) -> TaskId {
    word.parse().unwrap()
}

fn made_for(words: &[&str]) -> proto::assignment::Assignment {
    let (service, slot) = words[1].split_once('.').unwrap();
    let mut made = assignment(task(words[0]).0, service, slot.parse().unwrap(), "app");
    for option in &words[2..] {
        match option.split_once('=') {
            Some(("image", image)) => made = assignment(made.task.0, service, made.slot.0, image),
            Some(("policy", "no")) => made.restart = RestartPolicy::No,
            Some(("policy", max)) => made.restart = RestartPolicy::OnFailure { max: max.parse().unwrap() },
            _ if *option == "check" => made.health = HealthSpec::Check(check()),
            _ if *option == "image-check" => made.health = HealthSpec::FromImage,
            _ => panic!("unknown option {option}"),
        }
    }
    made
}

fn state(word: &str, world: &World) -> ContainerState {
    match word {
        "running" => ContainerState::Running { started_at: world.wall() },
        "created" => ContainerState::Created,
        "limbo" => ContainerState::Limbo,
        "dead" => ContainerState::Dead,
        "exited" => ContainerState::Exited(Exit { code: Some(0), finished_at: Some(Wall(1)), ..Exit::default() }),
        other => panic!("unknown state {other}"),
    }
}

fn happen(world: &mut World, line: &str) -> Option<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match (words[0], &words[1..]) {
        ("run", rest) => world.assign(made_for(rest)),
        ("stop", [t]) => {
            world.set.revision.0 += 1;
            world.set.tasks.get_mut(&task(t)).unwrap().desired = Desired::Stop;
        }
        ("drop", [t]) => {
            world.set.tasks.remove(&task(t));
        }
        ("list", []) => world.list(),
        ("ok", [t]) if t.starts_with('t') => world.succeed(task(t)),
        ("ok", [c]) => world.succeed_dismissal(c),
        ("refuse", [t]) => world.fail(task(t), Trouble::Refused("port is taken".into())),
        ("fetch-fails", [t]) => world.fail(task(t), Trouble::Fetch("no such image".into())),
        ("silence", [t]) => world.fail(task(t), Trouble::Unknown("no answer".into())),
        ("exit", [c, code]) => world.end(c, code.parse().unwrap()),
        ("look", [t]) => world.look(task(t)),
        ("plant", [c, rest @ .., word]) => {
            let state = state(word, world);
            world.plant(c, &made_for(rest), state);
        }
        ("verdict", [c]) => {
            world.set.verdicts.insert((*c).into(), Verdict::Stop);
        }
        ("wipe", [c]) => {
            world.engine.remove(*c);
        }
        ("hint", [t, c]) => {
            world.memory.suspect(task(t), c);
        }
        ("pass", [t]) => world.sample(task(t), true),
        ("fail", [t]) => world.sample(task(t), false),
        ("at", [ms]) => world.now = Time(500_000 + ms.parse::<u64>().unwrap()),
        ("restart", []) => world.restart_agent(),
        ("due", []) => {
            let due = next_deadline(&world.set, &world.observed, &world.memory, world.now);
            return Some(format!("due {:?}", due.map(|at| at.0 - 500_000)));
        }
        ("endpoints", []) => {
            let own = own_endpoints(&world.memory, &world.set);
            return Some(own.iter().map(|(t, (s, n, _))| format!("{t} {s:?} #{n}")).collect::<Vec<_>>().join(", "));
        }
        other => panic!("unknown line {other:?}"),
    }
    None
}

fn shown(action: &Action) -> String {
    match action {
        Action::Report { task, status } => format!("{task} says {}", brief(status)),
        Action::Cancel { task } => format!("{task} cancel"),
        Action::Dismiss { container, step } => format!("stranger {container}: {}", step_shown(step)),
        Action::Task { task, step } => format!("{task} {}", step_shown(step)),
        Action::RemoveVolume { name } => format!("remove volume {name}"),
    }
}

fn step_shown(step: &Step) -> String {
    match step {
        Step::Prepare { names } => format!("prepare {}", names[0]),
        Step::Start { container } => format!("start {container}"),
        Step::Stop { container, grace_ms } => format!("stop {container} {grace_ms}"),
        Step::Remove { container } => format!("remove {container}"),
        Step::ReadImage => "read image".into(),
    }
}

/// Plays the lines that do not begin with `>` and compares the whole transcript.
fn check_script(script: &str) {
    let mut world = World::new();
    let mut transcript = String::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('>')) {
        transcript += &format!("{line}\n");
        if let Some(answer) = happen(&mut world, line) {
            transcript += &format!("> {answer}\n");
            continue;
        }
        for action in world.turn() {
            transcript += &format!("> {}\n", shown(&action));
        }
        let again = diff(&world.set, &world.observed, &world.memory, world.now);
        let again: Vec<&Action> = again.iter().filter(|a| !matches!(a, Action::Report { .. } | Action::Cancel { .. })).collect();
        assert!(again.is_empty(), "after {line:?} nothing more is to be done, but: {again:?}");
    }
    let expected: String = script.lines().map(str::trim).filter(|l| !l.is_empty()).map(|l| format!("{l}\n")).collect();
    assert!(transcript == expected, "the node did otherwise:\n{transcript}");
}

#[test]
fn a_task_is_prepared_started_and_reported_only_after_a_whole_list() {
    check_script(
        "run t1 web.1
         list
         > t1 says #0 pending
         > t1 prepare shop-web-1
         ok t1
         ok t1",
    );
}
