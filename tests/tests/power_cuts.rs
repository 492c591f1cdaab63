//! Promise: what was acknowledged outlives the power of one server, and of all of them at once.
//!
//! The disks forget what was not synced, or keep any half of it. The same test with a disk that does not heed our own
//! sync must lose something: else it would prove nothing. WHERRY_CUTS: how many cuts each (ten in a usual run; `make
//! power-cuts` 200).

use std::time::{Duration, Instant};

use tests::disk::{Fault, Survivors};
use tests::lab::Lab;
use tests::writer::{Writer, lost, release_of};

/// Bytes of every other write: entries that do not fit into one page of the log's database.
const BALLAST: usize = 40_000;

fn cuts() -> u64 {
    std::env::var("WHERRY_CUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(10)
}

fn survivors(cut: u64) -> Survivors {
    if cut.is_multiple_of(4) { Survivors::None } else { Survivors::Half(cut) }
}

/// Waits for some acknowledgements and a moment that differs from cut to cut; says how long ago the last one was. Two of
/// three times the disks are slow, so that most cuts fall between a write and the end of its sync.
async fn moment(lab: &Lab, servers: usize, writer: &Writer, cut: u64) -> Duration {
    for at in 0..servers {
        lab.disk(at).set_fault(if cut.is_multiple_of(3) { Fault::None } else { Fault::SyncLate(cut % 9 * 3) });
    }
    writer.more(3).await;
    tokio::time::sleep(Duration::from_millis(cut * 37 % 60)).await;
    let last = writer.acknowledged().last().expect("something was written").told;
    Instant::now() - last
}

/// Says what was done, and that the cuts took something back.
fn tell(who: &str, of: &[usize], lab: &Lab, late: u32, acknowledged: usize) {
    let forgotten: u64 = of.iter().map(|at| lab.disk(*at).forgotten()).sum();
    assert!(forgotten > 0, "the cuts struck nothing");
    let cuts = cuts();
    eprintln!(
        "{who}: {cuts} cuts, {late} of them later than 500 ms after an acknowledgement; {forgotten} blocks, lengths and directories forgotten"
    );
    eprintln!("{who}: {acknowledged} writes acknowledged, 0 lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_without_power_loses_nothing() {
    let mut lab = Lab::on_disks(1).await;
    let writer = Writer::of(BALLAST, "shop", vec![lab.control(0)]);
    let mut late = 0;
    for cut in 0..cuts() {
        late += u32::from(moment(&lab, 1, &writer, cut).await > Duration::from_millis(500));
        lab.cut_power(&[0], survivors(cut));
        lab.start(0).await;
    }
    let acknowledged = writer.stop().await;
    let found = release_of("shop", &lab.control(0)).await;
    assert_eq!(lost(&acknowledged, found), Vec::<u64>::new(), "release {found} is there");
    tell("one server", &[0], &lab, late, acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_without_power_lose_nothing() {
    let mut lab = Lab::on_disks(3).await;
    let writer = Writer::of(BALLAST, "shop", (0..3).map(|at| lab.control(at)).collect());
    let mut late = 0;
    for cut in 0..cuts() {
        late += u32::from(moment(&lab, 3, &writer, cut).await > Duration::from_millis(500));
        // One, two of three, or all of them, in turns; whoever leads is among them sooner or later.
        let first = usize::try_from(cut).expect("small") % 3;
        let of: Vec<usize> = match cut % 4 {
            0 => vec![0, 1, 2],
            1 => vec![first, (first + 1) % 3],
            _ => vec![first],
        };
        lab.cut_power(&of, survivors(cut));
        for at in of {
            lab.start(at).await;
        }
    }
    let acknowledged = writer.stop().await;
    let found = release_of("shop", &lab.control(0)).await;
    assert_eq!(lost(&acknowledged, found), Vec::<u64>::new(), "release {found} is there");
    tell("three servers", &[0, 1, 2], &lab, late, acknowledged.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_our_own_sync_the_same_loses() {
    let mut lab = Lab::on_disks(1).await;
    let writer = Writer::start("shop", vec![lab.control(0)]);
    writer.more(3).await;
    lab.disk(0).set_fault(Fault::DataSyncLies);
    writer.more(3).await;
    lab.cut_power(&[0], Survivors::None);
    let acknowledged = writer.break_off();
    lab.start(0).await;
    let found = release_of("shop", &lab.control(0)).await;
    assert_ne!(lost(&acknowledged, found), Vec::<u64>::new(), "all of {acknowledged:?} is there without a sync");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_it_opens_it_opens() {
    let mut lab = Lab::on_disks(1).await;
    let writer = Writer::start("shop", vec![lab.control(0)]);
    writer.more(20).await;
    let acknowledged = writer.stop().await;
    let began = Instant::now();
    lab.kill(0);
    lab.start(0).await;
    let opens_in = began.elapsed();
    let mut while_opening = 0;
    for cut in 0..cuts() * 5 / 2 {
        lab.kill(0);
        lab.spawn(0).await;
        tokio::time::sleep(opens_in * u32::try_from(cut % 16).expect("small") / 16).await;
        while_opening += u32::from(!lab.is_open(0).await);
        lab.cut_power(&[0], if cut.is_multiple_of(3) { Survivors::All } else { survivors(cut) });
        lab.start(0).await;
    }
    assert!(while_opening > 0, "it was never killed while it opened");
    let found = release_of("shop", &lab.control(0)).await;
    assert_eq!(lost(&acknowledged, found), Vec::<u64>::new(), "release {found} is there");
    eprintln!(
        "killed {} times, {while_opening} of them before its door was open; opening takes {opens_in:?}",
        cuts() * 5 / 2
    );
}
