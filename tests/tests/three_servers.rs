//! Promise: three servers are one cluster: any of them answers, one may go, and what was acknowledged stays.

use std::sync::{Arc, LazyLock};

use agent::clock::Clock;
use agent::identity::Join;
use agent::runtime::ImageInfo;
use agent::runtime::fake::FakeRuntime;
use agent::session::Door;
use proto::id::RequestId;
use proto::v1;
use tests::council::Council;
use tests::site::{now_ms, shop, until};
use tokio_util::sync::CancellationToken;
use tonic::Code;

/// The same number is the same request, also a second later.
fn request(number: u32) -> Option<v1::RequestId> {
    static BORN_MS: LazyLock<u64> = LazyLock::new(now_ms);
    Some(v1::RequestId { client: RequestId::client(*BORN_MS, number), sequence: 1 })
}

/// Applies `shop` by one of the servers.
async fn apply(council: &Council, at: usize, replicas: u32, number: u32) -> v1::ApplyProjectResponse {
    let mut project = shop(Vec::new());
    project.services.values_mut().for_each(|service| service.replicas = replicas);
    let asked = v1::ApplyProjectRequest {
        request: request(number),
        project: Some(project),
        expected_release: None,
        prune: false,
    };
    council.control(at).apply_project(asked).await.expect("is applied").into_inner()
}

async fn replicas(council: &Council, at: usize) -> Option<u32> {
    Some(council.snapshot(at).await.ok()?.services.first()?.replicas)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_server_answers_and_one_may_go() {
    let mut council = Council::of(3).await;
    until("three vote", async || council.voters().await.filter(|(voters, _)| *voters == 3)).await;
    let leader = council.leader().await;
    let followers: Vec<usize> = council.running().into_iter().filter(|at| *at != leader).collect();

    // By one that does not lead; read by the other one.
    let applied = apply(&council, followers[0], 1, 1).await;
    assert!(applied.changed);
    assert_eq!(replicas(&council, followers[1]).await, Some(1), "what one has acknowledged every other knows");
    let again = apply(&council, followers[1], 1, 1).await;
    assert_eq!(again.revision, applied.revision, "the same request is answered with the first outcome");
    let passed_on: u64 = followers.iter().map(|at| council.metrics(*at).passed_on).sum();
    assert!(passed_on >= 2, "{passed_on}: they were answered by the leader, with others of their server");

    // An agent that knows a follower only.
    let token = council.control(followers[0]);
    let asked = v1::CreateTokenRequest { kind: "agent".into(), uses: 1, valid_ms: 600_000, ..Default::default() };
    let token = { token }.create_token(asked).await.expect("a token").into_inner().token;
    let file = council.dir.path().join("token");
    std::fs::write(&file, token).expect("writes");
    let engine = FakeRuntime::new();
    engine.add_to_registry("img:1", ImageInfo::default());
    let stop = CancellationToken::new();
    let config = agent::Config {
        data_dir: council.dir.path().join("agent"),
        door: Door::Join(Join {
            servers: followers.iter().map(|at| council.peers(*at).to_string()).collect(),
            token_file: Some(file),
        }),
        docker: "unix:///nowhere.sock".into(),
        labels: Default::default(),
        allow: Default::default(),
        pulse: agent::pulse::Pulse::default(),
    };
    let node = tokio::spawn(agent::run_on(config, Arc::new(engine.clone()), Clock::real(), stop.clone()));
    let running = async |council: &Council, at: usize| {
        let tasks = council.snapshot(at).await.ok()?.tasks;
        let ready = tasks.iter().filter(|task| task.state == "ready").count();
        (ready == 1).then(|| tasks[0].id)
    };
    let task = until("its task runs", async || running(&council, followers[1]).await).await;

    // It was told of two servers, and learns of the third.
    let kept = council.dir.path().join("agent/servers");
    let third = council.peers(leader).to_string();
    until("the agent knows the third server", async || {
        std::fs::read_to_string(&kept).ok()?.lines().any(|line| line == third).then_some(())
    })
    .await;

    // The leader goes, in order: another takes over, and nothing that runs is touched.
    council.stop(leader).await;
    let applied = apply(&council, followers[1], 1, 2).await;
    assert!(!applied.changed);
    assert_eq!(until("the task is there", async || running(&council, followers[0]).await).await, task);
    let next = council.leader().await;
    assert_ne!(next, leader);

    // One more would be too many: it is not removed, and nothing changes.
    let other = followers.iter().copied().find(|at| *at != next).expect("two are left");
    let asked = v1::RemoveServerRequest { request: request(3), server: council.id(other) };
    let refused = until("the lost one is noticed", async || {
        let refused = council.control(next).remove_server(asked.clone()).await.err()?;
        (refused.code() == Code::FailedPrecondition).then_some(refused)
    })
    .await;
    assert!(refused.message().contains("could not decide any more"), "{refused}");

    // It comes back with the same line, and everything is as before.
    council.start(leader).await;
    let id = council.id(leader);
    until("it has caught up", async || council.server(&id).await.filter(|s| s.state == "ready")).await;
    assert_eq!(council.voters().await.map(|(voters, _)| voters), Some(3));
    stop.cancel();
    node.await.expect("no panic").expect("ends in order");
    council.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_voters_is_odd_and_a_removed_server_stays_away() {
    let mut council = Council::of(2).await;
    let (voters, leader) = council.voters().await.expect("one leads");
    assert_eq!((voters, leader), (1, council.id(0)), "the second is a spare");
    let third = council.add().await;
    until("three vote", async || council.voters().await.filter(|(voters, _)| *voters == 3)).await;

    let removed = council.id(third);
    let asked = v1::RemoveServerRequest { request: request(1), server: removed.clone() };
    council.control(0).remove_server(asked).await.expect("two stay");
    until("one votes", async || council.voters().await.filter(|(voters, _)| *voters == 1)).await;
    until("it is no member", async || council.server(&removed).await.is_none().then_some(())).await;
    council.stop(third).await;
    council.start(third).await;
    let told = council.control(third).get_snapshot(v1::GetSnapshotRequest::default()).await;
    assert!(told.is_err(), "it is not let in again: {told:?}");
    assert!(council.server(&removed).await.is_none());
    council.shutdown().await;
}
