//! Promise: the leader of three servers is killed, paused and cut off under load; another acknowledges soon, and no
//! acknowledged write is lost.
//!
//! WHERRY_FAULTS: how many faults, in turns of those three (three in a usual run; `make failover` more, with the figures).

use std::time::{Duration, Instant};

use tests::lab::Lab;
use tests::site::until;
use tests::writer::{Writer, lost, release_of};

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
    let writer = Writer::start("shop", (0..3).map(|at| lab.control(at)).collect());
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
        let (other, lost_id) = ((leader + 1) % 3, lab.id(leader));
        until("another leads", async || {
            let servers = lab.servers_seen(other).await?;
            servers.iter().any(|s| s.role == "leader" && s.id != lost_id).then_some(())
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
    let acknowledged = writer.stop().await;

    let found = release_of("shop", &lab.control(0)).await;
    assert_eq!(lost(&acknowledged, found), Vec::<u64>::new(), "release {found} is there");

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
