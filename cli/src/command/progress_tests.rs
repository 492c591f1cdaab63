//! The judgement over snapshots: when it is done, when it has failed and why, and what it has patience with.

use proto::v1;

use super::fake::{NOW, service, shop, task};
use super::progress::*;

fn goal(services: &[(&str, u32)]) -> Goal {
    let services = services.iter().map(|(name, n)| (name.to_string(), *n)).collect();
    Goal { project: "shop".into(), revision: 2, release: Some(1), services, ..Goal::default() }
}

fn with(mut task: v1::Task, change: impl FnOnce(&mut v1::Task, &mut v1::TaskStatus)) -> v1::Task {
    let mut status = task.status.take().expect("has one");
    change(&mut task, &mut status);
    task.status = Some(status);
    task
}

fn failed_to_pull(id: u64, name: &str) -> v1::Task {
    with(task(id, name, "failed"), |task, status| {
        status.phase = v1::Phase::Failed.into();
        status.message = "image `img:2` cannot be pulled: manifest unknown".into();
        task.reason = status.message.clone();
    })
}

fn crashing(id: u64, name: &str, times: u32) -> v1::Task {
    with(task(id, name, "backing-off"), |_, status| {
        status.phase = v1::Phase::Exited.into();
        status.exit_code = Some(1);
        status.failures_in_a_row = times;
        status.last_log = vec!["no database".into()];
    })
}

fn outdated(task: v1::Task) -> v1::Task {
    with(task, |task, _| task.outdated = true)
}

fn failed(verdict: Verdict) -> Vec<Trouble> {
    match verdict {
        Verdict::Failed(troubles) => troubles,
        other => panic!("{other:?} instead of a failure"),
    }
}

#[test]
fn all_running_is_done() {
    let snapshot = shop(
        vec![service("shop/web", "running", 2, 2), service("shop/migrate", "complete", 1, 0)],
        vec![task(1, "shop/web.1", "ready"), task(2, "shop/web.2", "ready")],
    );
    assert_eq!(Judge::new(goal(&[("web", 2), ("migrate", 1)])).judge(&snapshot, 0), Verdict::Done);
}

#[test]
fn an_earlier_snapshot_says_nothing() {
    let mut snapshot = shop(vec![service("shop/web", "running", 1, 1)], vec![task(1, "shop/web.1", "ready")]);
    snapshot.revision = 1;
    assert_eq!(Judge::new(goal(&[("web", 1)])).judge(&snapshot, 0), Verdict::Wait);
}

#[test]
fn a_missing_service_replica_or_generation_is_waited_for() {
    let mut judge = Judge::new(goal(&[("web", 2)]));
    assert_eq!(judge.judge(&shop(vec![], vec![]), 0), Verdict::Wait);
    assert_eq!(judge.judge(&shop(vec![service("shop/web", "starting", 2, 1)], vec![]), 0), Verdict::Wait);
    let old = v1::Service { current: 1, ..service("shop/web", "running", 2, 2) };
    assert_eq!(judge.judge(&shop(vec![old], vec![]), 0), Verdict::Wait);
    let before_the_change = service("shop/web", "running", 1, 1);
    assert_eq!(judge.judge(&shop(vec![before_the_change], vec![]), 0), Verdict::Wait);
}

#[test]
fn without_a_check_a_task_must_run_for_a_moment() {
    let fresh = || with(task(1, "shop/web.1", "ready"), |_, status| status.started_at_unix_ms = Some(NOW - 10));
    let snapshot = shop(vec![service("shop/web", "running", 1, 1)], vec![fresh()]);
    let mut judge = Judge::new(goal(&[("web", 1)]));
    assert_eq!(judge.judge(&snapshot, 0), Verdict::Wait);
    assert_eq!(judge.judge(&snapshot, SETTLE_MS - 1), Verdict::Wait);
    assert_eq!(judge.judge(&snapshot, SETTLE_MS), Verdict::Done);

    let again = with(fresh(), |_, status| status.incarnation = 2);
    let restarted = shop(vec![service("shop/web", "running", 1, 1)], vec![again]);
    assert_eq!(judge.judge(&restarted, SETTLE_MS + 1), Verdict::Wait, "a restart begins anew");

    let checked = with(fresh(), |_, status| status.health = v1::Health::Healthy.into());
    let healthy = shop(vec![service("shop/web", "running", 1, 1)], vec![checked]);
    assert_eq!(Judge::new(goal(&[("web", 1)])).judge(&healthy, 0), Verdict::Done, "a check that succeeded is enough");
}

#[test]
fn no_replicas_means_no_tasks() {
    let mut judge = Judge::new(goal(&[("web", 0)]));
    let stopping = shop(vec![service("shop/web", "running", 0, 0)], vec![task(1, "shop/web.1", "stopping")]);
    assert_eq!(judge.judge(&stopping, 0), Verdict::Wait);
    assert_eq!(judge.judge(&shop(vec![service("shop/web", "running", 0, 0)], vec![]), 0), Verdict::Done);
}

#[test]
fn a_removed_service_must_be_gone() {
    let mut goal = goal(&[]);
    goal.removed.insert("old".into());
    let mut judge = Judge::new(goal);
    assert_eq!(judge.judge(&shop(vec![service("shop/old", "deleting", 1, 0)], vec![]), 0), Verdict::Wait);
    assert_eq!(judge.judge(&shop(vec![], vec![task(1, "shop/old.1", "stopping")]), 0), Verdict::Wait);
    assert_eq!(judge.judge(&shop(vec![], vec![]), 0), Verdict::Done);
}

#[test]
fn a_failed_pull_fails_at_once_and_says_that_the_old_still_serves() {
    let tasks = vec![outdated(task(1, "shop/web.1", "ready")), failed_to_pull(2, "shop/web.1")];
    let snapshot = shop(vec![service("shop/web", "updating", 1, 1)], tasks);
    let troubles = failed(Judge::new(goal(&[("web", 1)])).judge(&snapshot, 0));
    assert_eq!(troubles.len(), 1);
    assert_eq!(troubles[0].subject, "shop/web.1");
    assert_eq!(troubles[0].reason, "image `img:2` cannot be pulled: manifest unknown");
    assert_eq!(troubles[0].old_ready, 1);
}

#[test]
fn a_failure_of_the_old_generation_is_not_ours() {
    let tasks = vec![outdated(failed_to_pull(1, "shop/web.1")), task(2, "shop/web.1", "preparing")];
    let snapshot = shop(vec![service("shop/web", "updating", 1, 0)], tasks);
    let mut judge = Judge::new(goal(&[("web", 1)]));
    assert_eq!(judge.judge(&snapshot, 0), Verdict::Wait);
    assert_eq!(judge.judge(&snapshot, 60_000), Verdict::Wait);
}

#[test]
fn a_single_service_that_crashes_three_times_has_failed() {
    let at = |times| shop(vec![service("shop/web", "starting", 1, 0)], vec![crashing(1, "shop/web.1", times)]);
    let mut judge = Judge::new(goal(&[("web", 1)]));
    assert_eq!(judge.judge(&at(2), 0), Verdict::Wait);
    let troubles = failed(judge.judge(&at(3), 10));
    assert_eq!(troubles[0].reason, "crash-looping: exited with code 1, 3 times in a row");
    assert_eq!(troubles[0].log, ["no database"]);
}

#[test]
fn running_out_of_memory_is_named() {
    let oom = with(crashing(1, "shop/web.1", 4), |_, status| status.oom_killed = true);
    let snapshot = shop(vec![service("shop/web", "starting", 1, 0)], vec![oom]);
    let troubles = failed(Judge::new(goal(&[("web", 1)])).judge(&snapshot, 0));
    assert_eq!(troubles[0].reason, "crash-looping: killed for lack of memory, 4 times in a row");
}

#[test]
fn a_crash_loop_is_forgiven_while_what_it_needs_still_starts() {
    let db = |state: &str, ready| vec![service("shop/db", state, 1, ready), service("shop/web", "starting", 1, 0)];
    let goal = goal(&[("db", 1), ("web", 1)]);
    let starting = shop(db("starting", 0), vec![task(1, "shop/db.1", "starting"), crashing(2, "shop/web.1", 5)]);
    let ready = shop(db("running", 1), vec![task(1, "shop/db.1", "ready"), crashing(2, "shop/web.1", 6)]);

    let mut judge = Judge::new(goal.clone());
    assert_eq!(judge.judge(&starting, 0), Verdict::Wait);
    assert_eq!(judge.judge(&starting, PATIENCE_CRASH_MS - 5_000), Verdict::Wait);
    assert_eq!(judge.judge(&ready, PATIENCE_CRASH_MS - 4_900), Verdict::Wait, "it has not had its turn yet");
    assert_eq!(failed(judge.judge(&ready, PATIENCE_CRASH_MS - 4_900 + PATIENCE_MS)).len(), 1);

    let mut judge = Judge::new(goal);
    assert_eq!(judge.judge(&starting, 0), Verdict::Wait);
    assert_eq!(failed(judge.judge(&starting, PATIENCE_CRASH_MS))[0].subject, "shop/web.1");
}

#[test]
fn a_loop_that_ended_well_is_forgotten() {
    let recovered = with(crashing(1, "shop/web.1", 5), |task, status| {
        task.state = "ready".into();
        status.phase = v1::Phase::Running.into();
    });
    let snapshot = shop(vec![service("shop/web", "running", 1, 1)], vec![recovered]);
    assert_eq!(Judge::new(goal(&[("web", 1)])).judge(&snapshot, 0), Verdict::Done);
}

#[test]
fn a_passing_trouble_is_not_believed_and_a_lasting_one_is() {
    let blocked = |problem: &str| {
        let spec = v1::PortSpec { target: 80, published: 8080, ..Default::default() };
        let port = v1::PublishedPort { port: Some(spec), problem: problem.into(), ..Default::default() };
        let web = v1::Service { ports: vec![port], ..service("shop/web", "running", 1, 1) };
        shop(vec![web], vec![task(1, "shop/web.1", "ready")])
    };
    let mut judge = Judge::new(goal(&[("web", 1)]));
    assert_eq!(judge.judge(&blocked("address in use"), 0), Verdict::Wait);
    assert_eq!(judge.judge(&shop(vec![service("shop/web", "starting", 1, 0)], vec![]), 1_000), Verdict::Wait);
    assert_eq!(judge.judge(&blocked("address in use"), 2_000), Verdict::Wait);
    assert_eq!(judge.judge(&blocked("address in use"), 2_000 + PATIENCE_MS - 1), Verdict::Wait);
    let troubles = failed(judge.judge(&blocked("address in use"), 2_000 + PATIENCE_MS));
    assert_eq!(troubles[0].reason, "port 8080 cannot be published: address in use");
    assert_eq!(judge.judge(&blocked(""), 9_000), Verdict::Done);
}

#[test]
fn what_fits_on_no_node_fails() {
    let reason = "no node has 8 processors free: 1 of 1 too small";
    let web = v1::Service { reason: reason.into(), unplaced: 1, ..service("shop/web", "failed", 1, 0) };
    let snapshot = shop(vec![web], vec![]);
    let mut judge = Judge::new(goal(&[("web", 1)]));
    assert_eq!(judge.judge(&snapshot, 0), Verdict::Wait);
    let troubles = failed(judge.judge(&snapshot, PATIENCE_MS));
    assert_eq!((troubles[0].subject.as_str(), troubles[0].reason.as_str()), ("shop/web", reason));
}

#[test]
fn waiting_for_a_dependency_is_no_trouble() {
    let web = v1::Service { reason: "waits for db to be healthy".into(), ..service("shop/web", "waiting", 1, 0) };
    let snapshot = shop(vec![web], vec![]);
    let mut judge = Judge::new(goal(&[("web", 1)]));
    assert_eq!(judge.judge(&snapshot, 0), Verdict::Wait);
    assert_eq!(judge.judge(&snapshot, 250_000), Verdict::Wait);
}

#[test]
fn a_job_that_ended_badly_fails() {
    let ended = with(crashing(1, "shop/job.1", 1), |task, _| {
        task.state = "failed".into();
        task.reason = "exited with code 1".into();
    });
    let snapshot = shop(vec![service("shop/job", "failed", 1, 0)], vec![ended]);
    let mut judge = Judge::new(goal(&[("job", 1)]));
    assert_eq!(judge.judge(&snapshot, 0), Verdict::Wait);
    assert_eq!(failed(judge.judge(&snapshot, PATIENCE_MS)).len(), 1, "the task and its service are one trouble");
}

#[test]
fn without_a_usable_node_it_fails_in_the_end() {
    let mut snapshot = shop(vec![service("shop/web", "starting", 1, 0)], vec![]);
    snapshot.nodes[0].conditions =
        Some(v1::NodeConditions { engine_problem: "Docker does not answer".into(), ..Default::default() });
    let mut judge = Judge::new(goal(&[("web", 1)]));
    assert_eq!(judge.judge(&snapshot, 0), Verdict::Wait);
    assert_eq!(judge.judge(&snapshot, PATIENCE_NODES_MS - 1), Verdict::Wait);
    let troubles = failed(judge.judge(&snapshot, PATIENCE_NODES_MS));
    assert_eq!(troubles[0].reason, "no node is ready: Docker does not answer");
}

#[test]
fn a_later_release_or_a_deletion_ends_the_waiting() {
    let mut snapshot = shop(vec![service("shop/web", "starting", 1, 0)], vec![]);
    snapshot.projects[0].release = 2;
    let mut judge = Judge::new(goal(&[("web", 1)]));
    assert!(matches!(judge.judge(&snapshot, 0), Verdict::Superseded(words) if words.contains("release 2")));
    snapshot.projects[0].state = "deleting".into();
    assert!(matches!(judge.judge(&snapshot, 0), Verdict::Superseded(words) if words.contains("is being deleted")));
    snapshot.projects.clear();
    assert!(matches!(judge.judge(&snapshot, 0), Verdict::Superseded(words) if words.contains("was deleted")));
}

#[test]
fn lines_say_how_far_each_service_is() {
    let mut goal = goal(&[("db", 1), ("web", 2), ("new", 3)]);
    goal.removed.insert("old".into());
    let web = v1::Service { reason: "waits for db".into(), ..service("shop/web", "waiting", 2, 0) };
    let snapshot = shop(vec![service("shop/db", "running", 1, 1), web], vec![task(1, "shop/db.1", "ready")]);
    let judge = Judge::new(goal);
    let lines: Vec<String> = judge
        .lines(&snapshot, 0)
        .into_iter()
        .map(|l| format!("{} {} {} {} {}", l.name, l.state, l.count, l.reason, l.settled))
        .collect();
    assert_eq!(
        lines,
        ["db running 1/1  true", "new pending 0/3  false", "web waiting 0/2 waits for db false", "old removed   true"]
    );
}

fn rolling(mut service: v1::Service, state: &str, change: impl FnOnce(&mut v1::Rollout)) -> v1::Service {
    let mut rollout = v1::Rollout { state: state.into(), release: 1, ..Default::default() };
    change(&mut rollout);
    service.rollout = Some(rollout);
    service
}

#[test]
fn a_rollout_is_waited_for_and_its_troubles_are_the_servers_to_judge() {
    let mut judge = Judge::new(goal(&[("web", 1)]));
    let updating = rolling(service("shop/web", "updating", 1, 1), "running", |_| {});
    let tasks = vec![outdated(task(1, "shop/web.1", "ready")), failed_to_pull(2, "shop/web.1")];
    let snapshot = shop(vec![updating], tasks);
    for now_ms in [0, PATIENCE_MS, 60_000] {
        assert_eq!(judge.judge(&snapshot, now_ms), Verdict::Wait, "after {now_ms} ms");
    }
    let done = rolling(service("shop/web", "running", 1, 1), "done", |_| {});
    assert_eq!(judge.judge(&shop(vec![done], vec![task(3, "shop/web.1", "ready")]), 61_000), Verdict::Done);
}

#[test]
fn a_release_that_is_taken_back_is_told_once_the_earlier_one_runs() {
    let mut judge = Judge::new(goal(&[("db", 1), ("web", 1)]));
    let back = |name: &str, state: &str| {
        rolling(service(name, "running", 1, 1), state, |r| {
            r.release = 2;
            r.failed_release = 1;
            r.cause = "web.1: exit code 1".into();
            r.log = vec!["no database".into()];
        })
    };
    let later = |db: &str| {
        let mut snapshot = shop(vec![back("shop/db", db), back("shop/web", "rolled-back")], vec![]);
        snapshot.projects[0].release = 2;
        snapshot
    };
    assert_eq!(judge.judge(&later("rolling-back"), 0), Verdict::Wait);
    let Verdict::RolledBack(taken) = judge.judge(&later("rolled-back"), 0) else { panic!("is rolled back") };
    assert_eq!((taken.release, taken.trouble.subject.as_str()), (1, "shop/web"));
    assert_eq!((taken.trouble.reason.as_str(), taken.trouble.log.len()), ("web.1: exit code 1", 1));
    let stuck = failed(judge.judge(&later("failed"), 0));
    assert!(stuck[0].reason.contains("so did going back"), "{stuck:?}");
}

#[test]
fn a_paused_rollout_is_not_waited_for() {
    let paused = rolling(service("shop/web", "paused", 1, 1), "paused", |r| r.cause = "web.1: exit code 1".into());
    let snapshot = shop(vec![paused], vec![task(1, "shop/web.1", "ready")]);
    let told = failed(Judge::new(goal(&[("web", 1)])).judge(&snapshot, 0));
    assert_eq!(told[0].reason, "its rollout is paused: web.1: exit code 1");
}
