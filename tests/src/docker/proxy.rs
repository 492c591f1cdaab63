//! Stands between an agent and its Docker Engine, and can let answers hang in the middle or swallow what is announced.
//!
//! Never changes a byte that it passes on. It counts what it withheld: a fault counts only if it happened.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of a body that still come through before an answer hangs.
const PASSED: usize = 5;

/// The proxy. It ends with the test's process.
#[derive(Debug)]
pub struct Proxy {
    socket: PathBuf,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    hang: AtomicBool,
    deaf: AtomicBool,
    hung: AtomicUsize,
    swallowed: AtomicUsize,
}

// === impl Proxy ===

impl Proxy {
    /// Listens at `socket` for the engine at `engine`.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[track_caller]
    pub fn between(socket: &Path, engine: &Path) -> Proxy {
        let listener = UnixListener::bind(socket).expect("a free place for a socket");
        let faults = Arc::new(Faults::default());
        let (shared, engine) = (Arc::clone(&faults), engine.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (faults, engine) = (Arc::clone(&shared), engine.clone());
                std::thread::spawn(move || drop(serve(client, &engine, &faults)));
            }
        });
        Proxy { socket: socket.to_owned(), faults }
    }

    /// Where it listens, as `DOCKER_HOST` has it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// From now on, or no longer, each answer with a body hangs after its first bytes.
    pub fn hang(&self, on: bool) {
        self.faults.hang.store(on, Ordering::SeqCst);
    }

    /// From now on, or no longer, nothing that the engine announces comes through.
    pub fn drop_events(&self, on: bool) {
        self.faults.deaf.store(on, Ordering::SeqCst);
    }

    /// Answers that hung.
    pub fn hung(&self) -> usize {
        self.faults.hung.load(Ordering::SeqCst)
    }

    /// Pieces of announcements swallowed.
    pub fn swallowed(&self) -> usize {
        self.faults.swallowed.load(Ordering::SeqCst)
    }
}

/// One connection: requests go on in a thread of their own, answers here.
fn serve(mut client: UnixStream, engine: &Path, faults: &Arc<Faults>) -> std::io::Result<()> {
    let mut engine = UnixStream::connect(engine)?;
    let listens = Arc::new(AtomicBool::new(false));
    let (mut from, mut to, heard) = (client.try_clone()?, engine.try_clone()?, Arc::clone(&listens));
    let requests = std::thread::spawn(move || {
        let mut piece = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut piece) {
            let text = String::from_utf8_lossy(&piece[..count]);
            if text.lines().next().is_some_and(|line| line.starts_with("GET ") && line.contains("/events")) {
                heard.store(true, Ordering::SeqCst);
            }
            if to.write_all(&piece[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let answered = answer(&mut engine, &mut client, &listens, faults);
    if answered.is_ok_and(|hangs| hangs) {
        // It stays open and silent until its client leaves.
        let _ = requests.join();
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = engine.shutdown(Shutdown::Both);
    Ok(())
}

/// Passes answers on. True when one hangs.
fn answer(
    engine: &mut UnixStream,
    client: &mut UnixStream,
    listens: &AtomicBool,
    faults: &Faults,
) -> std::io::Result<bool> {
    let mut piece = [0; 16 << 10];
    loop {
        let count = engine.read(&mut piece)?;
        if count == 0 {
            return Ok(false);
        }
        let piece = &piece[..count];
        let is_head = piece.starts_with(b"HTTP/1.1 ");
        if listens.load(Ordering::SeqCst) && !is_head && faults.deaf.load(Ordering::SeqCst) {
            faults.swallowed.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        if faults.hang.load(Ordering::SeqCst) {
            let body = piece.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
            let cut = (body + PASSED).min(count);
            client.write_all(&piece[..cut])?;
            if cut < count {
                faults.hung.fetch_add(1, Ordering::SeqCst);
                return Ok(true);
            }
            continue;
        }
        client.write_all(piece)?;
    }
}
