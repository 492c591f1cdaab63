//! Promise: nobody stands for election without need: not idle, not under load, not by a slow disk, not when a follower
//! comes back. A leader that stops in order hands over, servers that were all killed come back in any order, and all of
//! them are replaced one by one under load.
//!
//! `make failover` runs this longer: WHERRY_QUIET_S seconds of each quiet, WHERRY_HEALS cuts of a follower, WHERRY_STOPS
//! stops of a leader. WHERRY_OLD_ORCHESTRATOR: the program that is replaced, else the same one.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tests::disk::Fault;
use tests::lab::{Lab, orchestrator};
use tests::site::until;
use tests::writer::{Writer, lost, release_of};

fn asked(name: &str, usually: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usually)
}

async fn terms(lab: &Lab) -> [u64; 3] {
    [lab.term(0).await, lab.term(1).await, lab.term(2).await]
}

fn writer(lab: &Lab, project: &str) -> Writer {
    Writer::start(project, (0..3).map(|at| lab.control(at)).collect())
}

fn median(mut times: Vec<u128>) -> (u128, u128) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_stands_for_election_while_all_are_there() {
    let quiet = Duration::from_secs(asked("WHERRY_QUIET_S", 5));
    let lab = Lab::on_disks(3).await;
    let before = terms(&lab).await;
    tokio::time::sleep(quiet).await;
    assert_eq!(terms(&lab).await, before, "idle");

    let writers: Vec<Writer> = (0..16).map(|n| writer(&lab, &format!("p{n}"))).collect();
    tokio::time::sleep(quiet).await;
    let under_load: usize = writers.iter().map(|w| w.acknowledged().len()).sum();
    assert_eq!(terms(&lab).await, before, "under load");

    (0..3).for_each(|at| lab.disk(at).set_fault(Fault::SyncLate(50)));
    tokio::time::sleep(quiet).await;
    let all: usize = writers.iter().map(|w| w.acknowledged().len()).sum();
    assert_eq!(terms(&lab).await, before, "with syncs of 50 ms");
    let late: Vec<u64> = (0..3).map(|at| lab.disk(at).struck()).collect();
    assert!(late.iter().all(|n| *n > 0), "no sync was late");
    (0..3).for_each(|at| lab.disk(at).set_fault(Fault::None));
    for writer in writers {
        writer.stop().await;
    }
    eprintln!(
        "no election in {quiet:?} idle, {quiet:?} with {under_load} writes, {quiet:?} with {} writes and {late:?} late syncs",
        all - under_load
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_comes_back_unseats_nobody() {
    let heals = asked("WHERRY_HEALS", 3);
    let lab = Lab::of(3).await;
    let writer = writer(&lab, "shop");
    let leader = lab.leader(&[0, 1, 2]).await;
    let before = terms(&lab).await;
    for n in 0..heals {
        let follower = (leader + 1 + usize::try_from(n % 2).expect("small")) % 3;
        lab.cut(follower);
        writer.more(3).await;
        // Longer than it waits for a leader.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        lab.heal(follower);
        assert_eq!(lab.leader(&[0, 1, 2]).await, leader, "another leads");
    }
    assert_eq!(terms(&lab).await, before, "there was an election");
    let acknowledged = writer.stop().await;
    eprintln!(
        "{heals} times a follower was cut off and came back: no election, {} writes acknowledged",
        acknowledged.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_in_order_hands_over() {
    let stops = asked("WHERRY_STOPS", 3);
    let mut lab = Lab::of(3).await;
    let writer = writer(&lab, "shop");
    let mut pauses = Vec::new();
    for _ in 0..stops {
        let leader = lab.leader(&[0, 1, 2]).await;
        writer.more(3).await;
        let at = Instant::now();
        tokio::task::block_in_place(|| lab.stop(leader));
        writer.more(5).await;
        let told: Vec<Instant> = writer.acknowledged().iter().map(|a| a.told).collect();
        let longest = told.windows(2).filter(|pair| pair[1] > at).map(|pair| pair[1] - pair[0].max(at)).max();
        pauses.push(longest.expect("writes went on").as_millis());
        lab.start(leader).await;
    }
    lab.leader(&[0, 1, 2]).await;
    let acknowledged = writer.stop().await;
    let found = release_of("shop", &lab.control(0)).await;
    assert_eq!(lost(&acknowledged, found), Vec::<u64>::new(), "release {found} is there");
    let all = pauses.clone();
    let (middle, longest) = median(pauses);
    eprintln!(
        "a leader stopped in order {stops} times: writes paused {middle} ms in the median, {longest} ms at most, all {all:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_killed_come_back_in_any_order() {
    let mut lab = Lab::of(3).await;
    let writer = writer(&lab, "shop");
    let mut waits = Vec::new();
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        writer.more(3).await;
        (0..3).for_each(|at| lab.kill(at));
        lab.start(order[0]).await;
        // Alone it decides nothing, and says what it knows to who asks for that.
        let stale = until("it says what it knows", async || lab.stale(order[0]).await).await;
        assert!(stale.projects.iter().any(|p| p.name == "shop"), "it knows nothing");
        let at = Instant::now();
        lab.start(order[1]).await;
        writer.more(1).await;
        let told = writer.acknowledged().iter().map(|a| a.told).find(|told| *told > at);
        waits.push((told.expect("it was written") - at).as_millis());
        lab.start(order[2]).await;
        lab.leader(&[0, 1, 2]).await;
    }
    let acknowledged = writer.stop().await;
    let found = release_of("shop", &lab.control(0)).await;
    assert_eq!(lost(&acknowledged, found), Vec::<u64>::new(), "release {found} is there");
    let all = waits.clone();
    let (middle, longest) = median(waits);
    eprintln!(
        "all killed, six orders of starting: from the second start to the next write {middle} ms in the median, {longest} ms at most, all {all:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn three_are_replaced_one_by_one_under_load() {
    let old = std::env::var_os("WHERRY_OLD_ORCHESTRATOR").map_or_else(orchestrator, PathBuf::from);
    let mut lab = Lab::by(old.clone(), 3).await;
    let writers: Vec<Writer> = (0..4).map(|n| writer(&lab, &format!("p{n}"))).collect();
    for at in 0..3 {
        writers[0].more(3).await;
        tokio::task::block_in_place(|| lab.stop(at));
        lab.set_program(at, orchestrator());
        lab.start(at).await;
        lab.leader(&[0, 1, 2]).await;
    }
    let mut count = 0;
    for (n, writer) in writers.into_iter().enumerate() {
        writer.more(3).await;
        let acknowledged = writer.stop().await;
        let found = release_of(&format!("p{n}"), &lab.control(n % 3)).await;
        assert_eq!(lost(&acknowledged, found), Vec::<u64>::new(), "release {found} is there");
        count += acknowledged.len();
    }
    eprintln!("{} replaced one by one: {count} writes acknowledged, none failed", old.display());
}
