//! Promise: one file is all programs, and a service manager is told when they are ready, alive and ending.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn wherry() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_wherry"))
}

fn says(program: &Path, words: &[&str]) -> String {
    let Output { stdout, stderr, .. } = Command::new(program).args(words).output().expect("it starts");
    String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
}

#[test]
fn the_name_or_the_first_word_says_which() {
    let dir = tempfile::tempdir().expect("a directory");
    let called = |name: &str| {
        let link = dir.path().join(name);
        std::os::unix::fs::symlink(wherry(), &link).expect("a link");
        link
    };
    for (role, part_of_help) in [("ctl", "apply"), ("orchestrator", "--bootstrap"), ("agent", "--server-socket")] {
        let by_name = says(&called(role), &["--help"]);
        assert!(by_name.contains(part_of_help), "{role}: {by_name}");
        assert_eq!(says(wherry(), &[role, "--help"]), by_name, "{role} as the first word");
    }
    let other = says(&called("mine"), &["get", "--help"]).replace("Usage: mine", "Usage: ctl");
    assert_eq!(other, says(&dir.path().join("ctl"), &["get", "--help"]), "otherwise it is ctl");
}

/// A program under a service manager that only listens.
struct Service {
    child: Child,
    heard: UnixDatagram,
}

impl Service {
    fn start(dir: &Path, words: &[&OsStr]) -> Service {
        let socket = dir.join("notify.sock");
        // The one of an earlier start.
        let _ = std::fs::remove_file(&socket);
        let heard = UnixDatagram::bind(&socket).expect("a socket");
        heard.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let child = Command::new(wherry())
            .args(words)
            .env("NOTIFY_SOCKET", &socket)
            .env("WATCHDOG_USEC", "300000")
            .env_remove("WATCHDOG_PID")
            .env("WHERRY_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        Service { child, heard }
    }

    fn hear(&self) -> String {
        let mut words = [0; 512];
        match self.heard.recv(&mut words) {
            Ok(length) => String::from_utf8_lossy(&words[..length]).trim().to_owned(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing was said within {PATIENCE:?}"),
            Err(error) => panic!("{error}"),
        }
    }

    /// It is ready, says that it is alive, and ends when asked.
    fn lives(mut self) {
        assert_eq!(self.hear(), "READY=1");
        for _ in 0..3 {
            assert_eq!(self.hear(), "WATCHDOG=1");
        }
        let id = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("an id");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it is there");
        while self.hear() != "STOPPING=1" {}
        let begun = Instant::now();
        let ended = loop {
            match self.child.try_wait().expect("our own child") {
                Some(ended) => break ended,
                None if begun.elapsed() > PATIENCE => panic!("it did not end"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_service_manager_hears_of_a_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, run, key) = (dir.path().join("data"), dir.path().join("run"), dir.path().join("keys/seal.key"));
    let words: [&OsStr; 8] = [
        "orchestrator".as_ref(),
        "--bootstrap".as_ref(),
        "--data-dir".as_ref(),
        data.as_ref(),
        "--run-dir".as_ref(),
        run.as_ref(),
        "--seal-key".as_ref(),
        key.as_ref(),
    ];
    Service::start(dir.path(), &words).lives();
    // The same line starts it again.
    Service::start(dir.path(), &words).lives();
}

#[test]
fn a_service_manager_hears_of_an_agent_that_has_neither_server_nor_engine() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, door) = (dir.path().join("data"), dir.path().join("agents.sock"));
    let engine = format!("unix://{}", dir.path().join("docker.sock").display());
    let words: [&OsStr; 7] = [
        "agent".as_ref(),
        "--data-dir".as_ref(),
        data.as_ref(),
        "--server-socket".as_ref(),
        door.as_ref(),
        "--docker".as_ref(),
        engine.as_ref(),
    ];
    Service::start(dir.path(), &words).lives();
    let _ = Command::new("umount").arg(data.join("secrets")).stderr(Stdio::null()).status();
}
