//! Promise: the leader of three servers is killed, paused and cut off under load; another acknowledges soon, and no
//! acknowledged write is lost.
//!
//! WHERRY_FAULTS: how many faults, in turns of those three (three in a usual run; `make failover` more, with the figures).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proto::id::RequestId;
use proto::v1;
use proto::v1::control_client::ControlClient;
use tests::lab::Lab;
use tests::site::{now_ms, shop, until};
use tonic::transport::Channel;

/// What a writer was told: when it asked, when it was answered, and which release that made.
#[derive(Debug, Clone, Copy)]
struct Acknowledged {
    asked: Instant,
    told: Instant,
    release: u64,
}

/// One write after another, each by the server that answered last, else by the next; resent under its request id.
async fn write_on(doors: Vec<ControlClient<Channel>>, stop: Arc<AtomicBool>) -> Vec<Acknowledged> {
    let client = RequestId::client(now_ms(), 7);
    let (mut acknowledged, mut door) = (Vec::new(), 0);
    for sequence in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut project = shop(Vec::new());
        for service in project.services.values_mut() {
            service.replicas = 0;
            service.labels = BTreeMap::from([("n".to_owned(), sequence.to_string())]).into_iter().collect();
        }
        let request = Some(v1::RequestId { client, sequence });
        let asked_of =
            v1::ApplyProjectRequest { request, project: Some(project), expected_release: None, prune: false };
        let asked = Instant::now();
        let release = loop {
            if stop.load(Ordering::Relaxed) && asked.elapsed() > Duration::from_secs(30) {
                panic!("no server acknowledges any more");
            }
            let mut control = doors[door % doors.len()].clone();
            let answer =
                tokio::time::timeout(Duration::from_millis(500), control.apply_project(asked_of.clone())).await;
            match answer {
                Ok(Ok(answer)) => break answer.into_inner().release,
                // Whether it happened is not known: the same request is answered with its outcome.
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(_) => {}
            }
            door += 1;
        };
        acknowledged.push(Acknowledged { asked, told: Instant::now(), release });
    }
    acknowledged
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Killed,
    Paused,
    CutOff,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_lost_and_nothing_that_was_acknowledged() {
    let count: usize = std::env::var("WHERRY_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let mut lab = Lab::of(3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let doors = (0..3).map(|at| lab.control(at)).collect();
    let writer = tokio::spawn(write_on(doors, stop.clone()));
    let mut faults = Vec::new();
    for n in 0..count {
        let fault = [Fault::Killed, Fault::Paused, Fault::CutOff][n % 3];
        let leader = lab.leader(&[0, 1, 2]).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let at = Instant::now();
        match fault {
            Fault::Killed => lab.kill(leader),
            Fault::Paused => lab.pause(leader),
            Fault::CutOff => lab.cut(leader),
        }
        faults.push((fault, at));
        let others: Vec<usize> = (0..3).filter(|other| *other != leader).collect();
        until("another leads", async || {
            let servers = lab.servers_seen(others[0]).await?;
            let led = servers.iter().find(|s| s.role == "leader")?.clone();
            (led.hostname.is_empty() || servers.iter().any(|s| s.id == led.id && s.state == "ready")).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        match fault {
            Fault::Killed => lab.start(leader).await,
            Fault::Paused => lab.resume(leader),
            Fault::CutOff => lab.heal(leader),
        }
    }
    lab.leader(&[0, 1, 2]).await;
    stop.store(true, Ordering::Relaxed);
    let acknowledged = writer.await.expect("the writer ends");

    // Each acknowledged write made a release of its own, and the last one is there.
    assert!(acknowledged.windows(2).all(|pair| pair[0].release < pair[1].release), "a release was given twice");
    let last = acknowledged.last().expect("something was written");
    let projects = lab.control(0).get_snapshot(v1::GetSnapshotRequest::default()).await.expect("answers").into_inner();
    let found = projects.projects.first().map(|p| p.release).unwrap_or_default();
    assert!(found >= last.release, "release {} was acknowledged, {found} is there", last.release);

    let mut pauses: Vec<(Fault, Duration)> = faults
        .iter()
        .map(|(fault, at)| {
            // Asked after the fault and answered: one that was under way may have been acknowledged before it.
            let next = acknowledged.iter().filter(|a| a.told > *at).find(|a| a.asked > *at || a.told - *at > LEASE);
            (*fault, next.expect("there is a later write").told - *at)
        })
        .collect();
    pauses.sort_by_key(|(_, pause)| *pause);
    eprintln!("{} writes acknowledged, 0 lost; fault to the next acknowledged write:", acknowledged.len());
    for kind in [Fault::Killed, Fault::Paused, Fault::CutOff] {
        let of: Vec<u128> = pauses.iter().filter(|(k, _)| *k == kind).map(|(_, p)| p.as_millis()).collect();
        eprintln!("{kind:?}: {} times, median {:?} ms, all {of:?}", of.len(), of.get(of.len() / 2));
    }
    let all: Vec<u128> = pauses.iter().map(|(_, pause)| pause.as_millis()).collect();
    eprintln!("all: median {} ms, longest {} ms", all[all.len() / 2], all[all.len() - 1]);
}

/// No write is acknowledged by others before the lost leader's lease has ended.
const LEASE: Duration = Duration::from_millis(200);
