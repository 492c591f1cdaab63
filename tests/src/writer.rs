//! One who writes all the time, and remembers what was acknowledged.
//!
//! Each write makes a release of its own, so that one which is lost shows: the next one is given its number again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proto::id::RequestId;
use proto::v1;
use proto::v1::control_client::ControlClient;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::site::{now_ms, shop, snapshot, until};

static WRITERS: AtomicU32 = AtomicU32::new(0);
/// Longest wait for one server's answer, before the next one is asked.
const ANSWER: Duration = Duration::from_millis(500);

/// What a writer was told: when it asked, when it was answered, and which release that made.
#[derive(Debug, Clone, Copy)]
pub struct Acknowledged {
    /// When it asked first.
    pub asked: Instant,
    /// When it was told that it is done.
    pub told: Instant,
    /// The release that the write made.
    pub release: u64,
}

/// Writes until it is stopped.
#[derive(Debug)]
pub struct Writer {
    project: String,
    told: Arc<Mutex<Vec<Acknowledged>>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

// === impl Writer ===

impl Writer {
    /// One write after another, each by the server that answered last, else by the next; resent under its request id.
    pub fn start(project: &str, doors: Vec<ControlClient<Channel>>) -> Writer {
        Writer::of(0, project, doors)
    }

    /// The same; every other write carries so many bytes more, which do not fit into one page of the log.
    pub fn of(bytes: usize, project: &str, doors: Vec<ControlClient<Channel>>) -> Writer {
        let (told, stop) = (Arc::<Mutex<Vec<Acknowledged>>>::default(), Arc::<AtomicBool>::default());
        let task = tokio::spawn(write_on(bytes, project.to_owned(), doors, told.clone(), stop.clone()));
        Writer { project: project.to_owned(), told, stop, task }
    }

    /// All that was acknowledged so far.
    pub fn acknowledged(&self) -> Vec<Acknowledged> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for so many more.
    pub async fn more(&self, count: usize) {
        let before = self.acknowledged().len();
        until("more is acknowledged", async || {
            assert!(!self.task.is_finished(), "the writer goes on");
            (self.acknowledged().len() >= before + count).then_some(())
        })
        .await;
    }

    /// Ends, once what is under way has an outcome.
    pub async fn stop(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the writer ends");
        Arc::try_unwrap(self.told).map(|told| told.into_inner().unwrap_or_else(PoisonError::into_inner)).expect("ours")
    }

    /// Ends in the middle, whatever is under way.
    pub fn break_off(self) -> Vec<Acknowledged> {
        self.task.abort();
        self.acknowledged()
    }

    /// The release that a server has now: everything acknowledged must be in it.
    pub async fn found(&self, door: &ControlClient<Channel>) -> u64 {
        release_of(&self.project, door).await
    }
}

/// The release of a project that a server tells of, once it answers.
pub async fn release_of(project: &str, door: &ControlClient<Channel>) -> u64 {
    let found =
        until("a server answers", async || snapshot(door.clone(), v1::GetSnapshotRequest::default()).await).await;
    found.projects.iter().find(|p| p.name == project).map(|p| p.release).unwrap_or_default()
}

/// What was acknowledged and is not there: a release that was given twice, or one beyond what was found.
pub fn lost(acknowledged: &[Acknowledged], found: u64) -> Vec<u64> {
    let again = acknowledged.windows(2).filter(|pair| pair[0].release >= pair[1].release).map(|pair| pair[0].release);
    let beyond = acknowledged.iter().map(|a| a.release).filter(|release| *release > found);
    again.chain(beyond).collect()
}

/// Text that is not to be compressed.
fn ballast(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + u8::try_from(state >> 33 & 15).unwrap_or_default())
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

async fn write_on(
    bytes: usize,
    name: String,
    doors: Vec<ControlClient<Channel>>,
    told: Arc<Mutex<Vec<Acknowledged>>>,
    stop: Arc<AtomicBool>,
) {
    let client = RequestId::client(now_ms(), WRITERS.fetch_add(1, Ordering::Relaxed));
    let mut door = 0;
    for sequence in 1.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut project = shop(Vec::new());
        project.name.clone_from(&name);
        for service in project.services.values_mut() {
            service.replicas = 0;
            service.labels = BTreeMap::from([("n".to_owned(), sequence.to_string())]).into_iter().collect();
            if bytes > 0 && sequence % 2 == 0 {
                service.labels.insert("ballast".to_owned(), ballast(sequence, bytes));
            }
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
            match tokio::time::timeout(ANSWER, control.apply_project(asked_of.clone())).await {
                Ok(Ok(answer)) => break answer.into_inner().release,
                // Whether it happened is not known: the same request is answered with its outcome.
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(_) => {}
            }
            door += 1;
        };
        let acknowledged = Acknowledged { asked, told: Instant::now(), release };
        told.lock().unwrap_or_else(PoisonError::into_inner).push(acknowledged);
    }
}
