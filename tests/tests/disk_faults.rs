//! Promise: a server whose disk fails, hangs, fills up, lies or rots ends with a message that says what to do, or goes on
//! with what is right; the others go on meanwhile, and no acknowledged write is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use proto::v1;
use tests::disk::{Fault, Survivors};
use tests::lab::Lab;
use tests::site::{PATIENCE, snapshot, until};
use tests::writer::{Writer, lost, release_of};

async fn three() -> (Lab, Writer) {
    let lab = Lab::on_disks(3).await;
    let writer = Writer::start("shop", (0..3).map(|at| lab.control(at)).collect());
    writer.more(5).await;
    (lab, writer)
}

async fn nothing_lost(lab: &Lab, writer: Writer, asked: usize) {
    let acknowledged = writer.stop().await;
    let found = release_of("shop", &lab.control(asked)).await;
    assert_eq!(lost(&acknowledged, found), Vec::<u64>::new(), "release {found} is there");
}

/// The leader, then a follower, is struck; it ends by itself and says why; mended, it comes back.
async fn strikes(strike: impl Fn(&Lab, usize), mend: impl Fn(&Lab, usize), says: &[&str]) {
    let (mut lab, writer) = three().await;
    let leader = lab.leader(&[0, 1, 2]).await;
    for at in [leader, (leader + 1) % 3] {
        strike(&lab, at);
        assert!(!lab.ended(at).await, "it ended as if all were well: {}", lab.log(at));
        let log = lab.log(at);
        let told = log.lines().rev().take(10).collect::<Vec<_>>().join("\n");
        for words in says {
            assert!(told.contains(words), "`{words}` is not in:\n{told}");
        }
        writer.more(5).await;
        mend(&lab, at);
        lab.start(at).await;
        lab.leader(&[0, 1, 2]).await;
    }
    writer.more(5).await;
    nothing_lost(&lab, writer, leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_ends_the_server() {
    let strike = |lab: &Lab, at| lab.disk(at).set_fault(Fault::SyncFails);
    let mend = |lab: &Lab, at| lab.disk(at).set_fault(Fault::None);
    strikes(strike, mend, &["cannot write the log in", "Input/output error"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_server() {
    let strike = |lab: &Lab, at| lab.disk(at).leave_free(0);
    let mend = |lab: &Lab, at| lab.disk(at).leave_all_free();
    strikes(strike, mend, &["cannot write the log in", "No space left on device"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_sync_hangs_is_replaced_and_says_nothing_old() {
    let (mut lab, writer) = three().await;
    let leader = lab.leader(&[0, 1, 2]).await;
    lab.disk(leader).set_fault(Fault::SyncHangs);
    let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
    let id = lab.id(leader);
    until("another leads", async || {
        let servers = lab.servers_seen(others[0]).await?;
        servers.iter().any(|s| s.role == "leader" && s.id != id).then_some(())
    })
    .await;
    writer.more(10).await;
    assert!(lab.disk(leader).struck() > 0, "nothing hung");
    let newest = writer.acknowledged().last().expect("something was written").release;
    if let Some(found) = snapshot(lab.control(leader), v1::GetSnapshotRequest::default()).await {
        let told = found.projects.first().map(|p| p.release);
        assert!(told >= Some(newest), "it tells of {told:?}, {newest} was acknowledged before");
    }
    // What hung is answered with an error: from then on nothing on it can be trusted.
    lab.disk(leader).set_fault(Fault::None);
    assert!(!lab.ended(leader).await, "it goes on: {}", lab.log(leader));
    lab.start(leader).await;
    lab.leader(&[0, 1, 2]).await;
    nothing_lost(&lab, writer, leader).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_lies_harms_nobody() {
    let (mut lab, writer) = three().await;
    let leader = lab.leader(&[0, 1, 2]).await;
    let liar = (leader + 1) % 3;
    lab.disk(liar).set_fault(Fault::SyncLies);
    writer.more(20).await;
    assert!(lab.disk(liar).struck() > 0, "it told no lie");
    lab.cut_power(&[liar], Survivors::None);
    lab.spawn(liar).await;
    writer.more(20).await;
    for at in (0..3).filter(|at| *at != liar) {
        assert!(lab.runs(at), "it took another with it: {}", lab.log(at));
    }
    nothing_lost(&lab, writer, leader).await;
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        match entry.file_type().expect("a kind").is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.sort();
    found
}

/// What the only server says of the project, or nothing, if it ends instead.
async fn told(lab: &mut Lab) -> Option<u64> {
    lab.spawn(0).await;
    let end = Instant::now() + PATIENCE;
    loop {
        if !lab.runs(0) {
            assert!(!lab.ended(0).await, "it ended as if all were well: {}", lab.log(0));
            return None;
        }
        if let Some(found) = snapshot(lab.control(0), v1::GetSnapshotRequest::default()).await {
            return Some(found.projects.first().map(|p| p.release).unwrap_or_default());
        }
        assert!(Instant::now() < end, "it neither answers nor ends: {}", lab.log(0));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Bits of a file to flip: all over it, and close to the end of what is written.
fn bits(path: &Path) -> Vec<u64> {
    let content = std::fs::read(path).expect("readable");
    let Some(last) = content.iter().rposition(|byte| *byte != 0) else { return Vec::new() };
    let last = last as u64;
    let mut bits: Vec<u64> = (0..16).map(|n| last * n / 16 * 8 + n % 8).collect();
    bits.extend((0..16).filter_map(|n| Some(last.checked_sub(n * n * 13)? * 8 + n % 8)));
    bits
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_that_flips_is_noticed_or_does_no_harm() {
    let mut lab = Lab::on_disks(1).await;
    let writer = Writer::start("shop", vec![lab.control(0)]);
    writer.more(40).await;
    let acknowledged = writer.stop().await;
    lab.kill(0);
    let whole = lab.disk(0).image();
    let (mut noticed, mut harmless) = (BTreeMap::<String, u32>::new(), BTreeMap::<String, u32>::new());
    for path in files(lab.disk(0).path()) {
        let name = path.strip_prefix(lab.disk(0).path()).expect("inside").display().to_string();
        for bit in bits(&path) {
            lab.disk(0).flip(&path, bit);
            let found = told(&mut lab).await;
            let log = lab.log(0);
            match found {
                Some(found) => {
                    let lost = lost(&acknowledged, found);
                    assert_eq!(lost, Vec::<u64>::new(), "bit {bit} of {name}: release {found} is there\n{log}");
                    *harmless.entry(name.clone()).or_insert(0) += 1;
                    lab.kill(0);
                }
                None => {
                    *noticed.entry(name.clone()).or_insert(0) += 1;
                    let last = log.lines().last().unwrap_or_default();
                    assert!(last.starts_with("error: ") && last.contains("estore"), "no remedy for {name}: {last}");
                }
            }
            lab.disk(0).put_back(&whole);
        }
    }
    eprintln!("noticed {noticed:?}, harmless {harmless:?}");
    assert!(noticed.contains_key("server/raft/log.redb"), "no bit of the log matters");
}
