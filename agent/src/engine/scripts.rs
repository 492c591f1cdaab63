//! The engine's behaviour as text: what happens to a node, and after each `>` what it must do.
//!
//! Lines: `run T SERVICE.SLOT [image=I] [policy=P] [check] [image-check]` · `ahead T SERVICE.SLOT ...` (prepare only) ·
//! `stop T [DRAIN_MS]` · `drop T` · `list` · `ok T` ·
//! `refuse T` · `fetch-fails T` · `silence T` · `give-up T` · `exit C CODE` · `look T` · `plant C T SERVICE.SLOT STATE` · `verdict C` ·
//! `wipe C` · `hint T C` · `pass T` · `fail T` · `at MS` · `restart` · `due`. Times count from the start.

use proto::assignment::{Assignment, Desired, Verdict};
use proto::id::TaskId;
use proto::revision::{Time, Wall};
use proto::spec::{HealthSpec, RestartPolicy};

use super::observed::Exit;
use super::world::{World, assignment, brief, check};
use super::*;

mod updates;

fn task(word: &str) -> TaskId {
    word.parse().unwrap()
}

fn made_for(words: &[&str]) -> Assignment {
    let (service, slot) = words[1].split_once('.').unwrap();
    let mut made = assignment(task(words[0]).0, service, slot.parse().unwrap(), "app");
    for option in &words[2..] {
        match option.split_once('=') {
            Some(("image", image)) => made = assignment(made.task.0, service, made.slot.0, image),
            Some(("policy", "no")) => made.restart = RestartPolicy::No,
            Some(("policy", "always")) => made.restart = RestartPolicy::Always,
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
        ("ahead", rest) => world.assign(Assignment { desired: Desired::Prepare, ..made_for(rest) }),
        ("stop", [t, drain @ ..]) => {
            world.set.revision.0 += 1;
            let assignment = world.set.tasks.get_mut(&task(t)).unwrap();
            assignment.desired = Desired::Stop;
            assignment.drain_ms = drain.first().map_or(0, |ms| ms.parse().unwrap());
        }
        ("drop", [t]) => {
            world.set.tasks.remove(&task(t));
        }
        ("list", []) => world.list(),
        ("ok", [t]) if t.starts_with('t') => world.succeed(task(t)),
        ("ok", [c]) => world.succeed_dismissal(c),
        ("refuse", [t]) => world.fail(task(t), Trouble::Refused("port is taken".into())),
        ("fetch-fails", [t]) => world.fail(task(t), Trouble::Fetch("no such image".into())),
        ("give-up", [t]) => world.give_up(task(t)),
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
        Step::Fetch => "fetch".into(),
        Step::Prepare { names, fetched: false } => format!("prepare {}", names[0]),
        Step::Prepare { names, fetched: true } => format!("prepare {} from what was fetched", names[0]),
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
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         endpoints
         > t1 Ready #1
         due
         > due None
         list",
    );
}

#[test]
fn an_exit_restarts_in_place_at_once_then_backs_off_and_a_minute_forgives() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         at 100
         exit c1 1
         look t1
         > t1 says #1 exited code=1 failures=1 (exited with code 1)
         > t1 start c1
         > t1 says #2 starting failures=1 (exited with code 1)
         ok t1
         > t1 says #2 running failures=1
         at 300
         exit c1 0
         look t1
         > t1 says #2 exited code=0 failures=2 retry_at=400 (exited with code 0)
         due
         > due Some(400)
         at 399
         at 400
         > t1 start c1
         > t1 says #3 starting failures=2 (exited with code 0)
         ok t1
         > t1 says #3 running failures=2
         at 500
         exit c1 137
         look t1
         > t1 says #3 exited code=137 failures=3 retry_at=700 (exited with code 137)
         at 700
         > t1 start c1
         > t1 says #4 starting failures=3 (exited with code 137)
         ok t1
         > t1 says #4 running failures=3
         due
         > due Some(60700)
         at 60700
         > t1 says #4 running
         at 60800
         exit c1 1
         look t1
         > t1 says #4 exited code=1 failures=1 (exited with code 1)
         > t1 start c1
         > t1 says #5 starting failures=1 (exited with code 1)
         ok t1
         > t1 says #5 running failures=1",
    );
}

#[test]
fn a_death_leaves_discovery_at_the_hint_before_anybody_looked() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         endpoints
         > t1 Ready #1
         exit c1 137
         hint t1 c1
         endpoints
         > t1 Starting #1
         look t1
         > t1 says #1 exited code=137 failures=1 (exited with code 137)
         > t1 start c1
         > t1 says #2 starting failures=1 (exited with code 137)
         endpoints
         > t1 Starting #2
         ok t1
         > t1 says #2 running failures=1
         endpoints
         > t1 Ready #2",
    );
}

#[test]
fn a_hint_of_another_container_says_nothing() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         hint t1 c9
         endpoints
         > t1 Ready #1",
    );
}

#[test]
fn policies() {
    check_script(
        "run t1 once.1 policy=no
         run t2 bad.1 policy=no
         run t3 few.1 policy=1
         list
         > t1 prepare shop-once-1
         > t2 prepare shop-bad-1
         > t3 prepare shop-few-1
         > t1 says #1 preparing
         > t2 says #1 preparing
         > t3 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         ok t2
         > t2 says #1 preparing
         > t2 start c2
         > t2 says #1 starting
         ok t2
         > t2 says #1 running
         ok t3
         > t3 says #1 preparing
         > t3 start c3
         > t3 says #1 starting
         ok t3
         > t3 says #1 running
         exit c1 0
         exit c2 3
         exit c3 4
         list
         > t1 says #1 exited code=0
         > t2 says #1 exited code=3 failures=1 (exited with code 3)
         > t3 says #1 exited code=4 failures=1 (exited with code 4)
         > t3 start c3
         > t3 says #2 starting failures=1 (exited with code 4)
         ok t3
         > t3 says #2 running failures=1
         exit c3 5
         list
         > t3 says #2 exited code=5 failures=2 (exited with code 5)
         at 100000
         due
         > due None
         wipe c1
         list",
    );
}

#[test]
fn on_failure_leaves_a_success() {
    check_script(
        "run t1 job.1 policy=0
         list
         > t1 prepare shop-job-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         exit c1 2
         look t1
         > t1 says #1 exited code=2 failures=1 (exited with code 2)
         > t1 start c1
         > t1 says #2 starting failures=1 (exited with code 2)
         ok t1
         > t1 says #2 running failures=1
         exit c1 0
         look t1
         > t1 says #2 exited code=0
         at 70000",
    );
}

#[test]
fn what_a_policy_left_at_its_end_another_starts_again() {
    check_script(
        "run t1 bad.1 policy=no
         list
         > t1 prepare shop-bad-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         exit c1 3
         look t1
         > t1 says #1 exited code=3 failures=1 (exited with code 3)
         restart
         list
         > t1 says #1 exited code=3 failures=1 (exited with code 3)
         run t1 bad.1 policy=1
         > t1 start c1
         > t1 says #6 starting failures=1 (exited with code 3)
         ok t1
         > t1 says #6 running failures=1
         exit c1 0
         look t1
         > t1 says #6 exited code=0
         run t1 bad.1 policy=no
         run t1 bad.1 policy=always
         > t1 start c1
         > t1 says #7 starting",
    );
}

#[test]
fn a_stop_is_carried_out_and_confirmed_in_each_set() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         stop t1
         > t1 stop c1 2000
         endpoints
         > t1 Draining #1
         ok t1
         > t1 says #1 exited code=143
         > t1 remove c1
         ok t1
         > t1 says #1 stopped code=143
         run t2 web.2
         > t1 says #1 stopped code=143
         > t2 prepare shop-web-2
         > t2 says #1 preparing
         drop t1
         list",
    );
}

#[test]
fn a_stop_of_what_never_was_is_confirmed() {
    check_script(
        "run t1 web.1
         stop t1
         list
         > t1 says #0 stopped",
    );
}

#[test]
fn a_stop_ends_what_is_being_prepared() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         stop t1
         > t1 cancel
         give-up t1
         list
         > t1 says #1 stopped",
    );
}

#[test]
fn a_stop_that_came_too_late_for_the_create() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         stop t1
         > t1 cancel
         ok t1
         > t1 says #1 preparing
         > t1 remove c1
         ok t1
         > t1 says #1 stopped",
    );
}

#[test]
fn a_stop_that_fails_is_tried_again_and_holds_up_nobody() {
    check_script(
        "run t1 web.1
         run t2 db.1
         list
         > t1 prepare shop-web-1
         > t2 prepare shop-db-1
         > t1 says #1 preparing
         > t2 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         ok t2
         > t2 says #1 preparing
         > t2 start c2
         > t2 says #1 starting
         ok t2
         > t2 says #1 running
         stop t1
         > t1 stop c1 2000
         refuse t1
         > t1 says #1 running (port is taken)
         due
         > due Some(100)
         exit c2 1
         look t2
         > t2 says #1 exited code=1 failures=1 (exited with code 1)
         > t2 start c2
         > t2 says #2 starting failures=1 (exited with code 1)
         ok t2
         > t2 says #2 running failures=1
         at 100
         > t1 stop c1 2000
         ok t1
         > t1 says #1 exited code=143 (port is taken)
         > t1 remove c1
         ok t1
         > t1 says #1 stopped code=143",
    );
}

#[test]
fn an_image_that_is_not_to_be_had_is_asked_for_ever_more_slowly() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         fetch-fails t1
         > t1 says #1 failed failures=1 retry_at=1000 (no such image)
         due
         > due Some(1000)
         at 1000
         > t1 prepare shop-web-1
         > t1 says #2 preparing failures=1 (no such image)
         fetch-fails t1
         > t1 says #2 failed failures=2 retry_at=3000 (no such image)
         at 3000
         > t1 prepare shop-web-1
         > t1 says #3 preparing failures=2 (no such image)
         ok t1
         > t1 says #3 preparing failures=2 (no such image)
         > t1 start c1
         > t1 says #3 starting failures=2 (no such image)
         ok t1
         > t1 says #3 running failures=2",
    );
}

#[test]
fn a_start_that_fails_is_recreated() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         refuse t1
         > t1 says #1 failed failures=1 retry_at=100 (port is taken)
         > t1 remove c1
         ok t1
         due
         > due Some(100)
         at 100
         > t1 prepare shop-web-1
         > t1 says #2 preparing failures=1 (port is taken)
         ok t1
         > t1 says #2 preparing failures=1 (port is taken)
         > t1 start c2
         > t1 says #2 starting failures=1 (port is taken)
         ok t1
         > t1 says #2 running failures=1",
    );
}

#[test]
fn a_restart_that_fails_is_recreated() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         exit c1 1
         look t1
         > t1 says #1 exited code=1 failures=1 (exited with code 1)
         > t1 start c1
         > t1 says #2 starting failures=1 (exited with code 1)
         refuse t1
         > t1 says #2 failed failures=2 retry_at=200 (port is taken)
         > t1 remove c1
         ok t1
         at 200
         > t1 prepare shop-web-1
         > t1 says #3 preparing failures=2 (port is taken)
         ok t1
         > t1 says #3 preparing failures=2 (port is taken)
         > t1 start c2
         > t1 says #3 starting failures=2 (port is taken)
         ok t1
         > t1 says #3 running failures=2",
    );
}

#[test]
fn nothing_is_done_after_an_unknown_outcome_before_a_look() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         silence t1
         > t1 says #1 preparing (no answer)
         at 5000
         list
         > t1 prepare shop-web-1
         > t1 says #2 preparing (no answer)
         ok t1
         > t1 says #2 preparing (no answer)
         > t1 start c1
         > t1 says #2 starting (no answer)
         ok t1
         > t1 says #2 running",
    );
}

#[test]
fn a_container_of_another_spec_is_replaced() {
    check_script(
        "plant c9 t1 web.1 image=old running
         run t1 web.1 image=new
         list
         > t1 stop c9 2000
         ok t1
         > t1 remove c9
         ok t1
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running",
    );
}

#[test]
fn of_two_containers_of_a_task_the_running_one_stays() {
    check_script(
        "plant c8 t1 web.1 created
         plant c9 t1 web.1 running
         run t1 web.1
         list
         > t1 says #1 running
         > t1 remove c8
         ok t1",
    );
}

#[test]
fn absence_never_removes_and_a_verdict_does() {
    check_script(
        "plant c9 t9 web.1 running
         run t1 db.1
         list
         > t1 prepare shop-db-1
         > t1 says #1 preparing
         at 100000
         list
         verdict c9
         > stranger c9: stop c9 10000
         ok c9
         > stranger c9: remove c9
         ok c9
         list",
    );
}

#[test]
fn an_earlier_container_of_the_slot_goes_first() {
    check_script(
        "plant c9 t1 web.1 running
         run t1 web.1
         list
         > t1 says #1 running
         stop t1
         > t1 stop c9 2000
         run t2 web.1
         ok t1
         > t1 says #1 exited code=143
         > t1 remove c9
         ok t1
         > t1 says #1 stopped code=143
         > t2 prepare shop-web-1
         > t2 says #1 preparing",
    );
}

#[test]
fn two_tasks_of_a_slot_may_overlap_when_both_shall_run() {
    check_script(
        "plant c9 t1 web.1 running
         run t1 web.1
         list
         > t1 says #1 running
         run t2 web.1
         > t2 prepare shop-web-1
         > t2 says #1 preparing",
    );
}

#[test]
fn an_unhealthy_container_leaves_discovery_then_is_restarted() {
    check_script(
        "run t1 web.1 check
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running starting
         endpoints
         > t1 Starting #1
         pass t1
         > t1 says #1 running healthy
         endpoints
         > t1 Ready #1
         fail t1
         fail t1
         > t1 says #1 running unhealthy (health check failed: connection refused)
         > t1 stop c1 2000
         endpoints
         > t1 Starting #1
         ok t1
         > t1 says #1 exited code=143 failures=1 (health check failed: connection refused)
         > t1 start c1
         > t1 says #2 starting failures=1 (health check failed: connection refused)
         ok t1
         > t1 says #2 running starting failures=1
         endpoints
         > t1 Starting #2",
    );
}

#[test]
fn a_job_is_not_restarted_for_its_health() {
    check_script(
        "run t1 web.1 policy=no check
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running starting
         fail t1
         fail t1
         > t1 says #1 running unhealthy (health check failed: connection refused)
         endpoints
         > t1 Starting #1
         pass t1
         > t1 says #1 running healthy
         endpoints
         > t1 Ready #1",
    );
}

#[test]
fn an_adopted_container_waits_for_its_images_check() {
    check_script(
        "plant c9 t1 web.1 running
         run t1 web.1 image-check
         list
         > t1 says #1 running starting
         > t1 read image
         endpoints
         > t1 Starting #1
         ok t1
         > t1 says #1 running
         endpoints
         > t1 Ready #1",
    );
}

#[test]
fn a_removal_from_outside_is_an_exit() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         wipe c1
         list
         > t1 says #1 exited failures=1 (its container was removed from outside)
         > t1 prepare shop-web-1
         > t1 says #2 preparing failures=1 (its container was removed from outside)
         ok t1
         > t1 says #2 preparing failures=1 (its container was removed from outside)
         > t1 start c2
         > t1 says #2 starting failures=1 (its container was removed from outside)
         ok t1
         > t1 says #2 running failures=1",
    );
}

#[test]
fn a_restart_of_the_agent_touches_nothing_and_says_the_same() {
    check_script(
        "run t1 web.1 check
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running starting
         pass t1
         > t1 says #1 running healthy
         at 5000
         restart
         endpoints
         > t1 Ready #1
         list
         > t1 says #1 running healthy
         endpoints
         > t1 Ready #1",
    );
}

#[test]
fn a_restart_of_the_agent_during_a_backoff_keeps_waiting() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         exit c1 1
         look t1
         > t1 says #1 exited code=1 failures=1 (exited with code 1)
         > t1 start c1
         > t1 says #2 starting failures=1 (exited with code 1)
         ok t1
         > t1 says #2 running failures=1
         exit c1 1
         look t1
         > t1 says #2 exited code=1 failures=2 retry_at=100 (exited with code 1)
         at 50
         restart
         list
         > t1 says #2 exited code=1 failures=2 retry_at=100 (exited with code 1)
         due
         > due Some(100)
         at 100
         > t1 start c1
         > t1 says #7 starting failures=2 (exited with code 1)
         ok t1
         > t1 says #7 running failures=2",
    );
}

#[test]
fn what_died_while_the_agent_was_away_is_restarted() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         ok t1
         > t1 says #1 running
         restart
         exit c1 9
         list
         > t1 says #1 exited code=9 failures=1 (exited with code 9)
         > t1 start c1
         > t1 says #6 starting failures=1 (exited with code 9)
         ok t1
         > t1 says #6 running failures=1",
    );
}

#[test]
fn what_was_restarted_after_the_ledgers_last_write_gets_a_later_incarnation() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         restart
         at 50
         plant c1 t1 web.1 running
         list
         > t1 says #6 running",
    );
}

/// Its agent was killed before it wrote that the task is there, and had told of it already.
#[test]
fn a_task_newer_than_the_ledgers_last_write_is_told_above_what_was_told() {
    check_script(
        "restart
         run t1 web.1
         restart
         plant c1 t1 web.1 running
         list
         > t1 says #5 running",
    );
    let mut world = World::new();
    world.assign(made_for(&["t1", "web.1"]));
    world.restart_agent();
    assert!(world.memory.tasks[&task("t1")].status.sequence > 100);
}

/// An agent that is killed again before it wrote anything leaves room also for what the one between may have told.
#[test]
fn each_restart_leaves_room_of_its_own() {
    check_script(
        "run t1 web.1
         list
         > t1 prepare shop-web-1
         > t1 says #1 preparing
         ok t1
         > t1 says #1 preparing
         > t1 start c1
         > t1 says #1 starting
         restart
         restart
         at 50
         plant c1 t1 web.1 running
         list
         > t1 says #10 running",
    );
    let mut world = World::new();
    world.assign(made_for(&["t1", "web.1"]));
    let told = |world: &World| world.memory.tasks[&task("t1")].status.sequence;
    world.restart_agent();
    let before = told(&world);
    world.restart_agent();
    assert!(told(&world) > before + 100);
}

#[test]
fn limbo_is_left_alone_and_dead_is_removed() {
    check_script(
        "plant c8 t1 web.1 limbo
         plant c9 t2 web.2 dead
         run t1 web.1
         run t2 web.2
         list
         > t2 remove c9
         ok t2
         > t2 prepare shop-web-2
         > t2 says #1 preparing",
    );
}
