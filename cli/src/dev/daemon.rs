//! The dev cluster as a process of its own: started in a session of its own, waited for, stopped by its id.
//!
//! Never kills by name, and no process whose lock it has not seen. Called by `command/dev`.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::cluster::DevConfig;
use super::home::Home;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::process::{file_id, log_tail};

/// A cluster is up within this, or something is wrong.
pub const READY_DEADLINE: Duration = Duration::from_secs(30);
/// A stopped process is gone within this.
const GONE_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Starts `ctl dev --foreground-daemon` for this cluster, its output going to the log.
pub fn spawn(home: &Home, config: &DevConfig) -> Result<Child, Failure> {
    let trouble = |what: &str, e: &std::io::Error| Failure::refused(format!("{what}: {e}"));
    let program = std::env::current_exe().map_err(|e| trouble("ctl cannot find itself", &e))?;
    let open = |truncate: bool| {
        OpenOptions::new().create(true).write(true).truncate(truncate).append(!truncate).mode(0o600).open(home.log())
    };
    // Begun anew: what an earlier run said is not about this one. Then appended to, by both streams.
    open(true).map_err(|e| trouble("the log cannot be written", &e))?;
    let log = open(false).map_err(|e| trouble("the log cannot be written", &e))?;
    let log_too = log.try_clone().map_err(|e| trouble("the log cannot be written", &e))?;
    let mut command = Command::new(program);
    command.args(["dev", "--foreground-daemon", "--name", &config.name, "--docker", &config.docker]);
    if let Some(range) = &config.range {
        command.args(["--range", range]);
    }
    let allow: Vec<&str> = config.allow.iter().map(|permission| permission.word()).collect();
    // What the environment allows is in it already.
    command.env_remove("WHERRY_ALLOW");
    if !allow.is_empty() {
        command.args(["--allow", &allow.join(",")]);
    }
    for (key, value) in &config.labels {
        command.args(["--label", &format!("{key}={value}")]);
    }
    // A multi-call binary is told its role by its name.
    std::os::unix::process::CommandExt::arg0(&mut command, "ctl");
    command.stdin(Stdio::null()).stdout(log).stderr(log_too).current_dir("/");
    command.spawn().map_err(|e| trouble("the process in the background cannot be started", &e))
}

/// In that process: away from the terminal, so that Ctrl-C there does not reach it.
pub fn leave_terminal() -> Result<(), Failure> {
    match rustix::process::setsid() {
        // Already a leader of its own: nothing to leave.
        Ok(_) | Err(rustix::io::Errno::PERM) => Ok(()),
        Err(e) => Err(Failure::refused(format!("cannot leave the terminal: {e}"))),
    }
}

/// Which program a process that runs a cluster was started from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// The file that this program was started from.
    Ours,
    /// Another one, which may have been replaced since.
    Another {
        /// It runs in the background: its containers outlive it.
        background: bool,
    },
}

/// The build that a process runs; `None` when it has just ended. A build that replaced another is another file.
pub fn build_of(process: i32) -> Option<Build> {
    let its = file_id(format!("/proc/{process}/exe"))?;
    if Some(its) == file_id("/proc/self/exe") {
        return Some(Build::Ours);
    }
    let line = std::fs::read(format!("/proc/{process}/cmdline")).ok()?;
    Some(Build::Another { background: line.split(|byte| *byte == 0).any(|word| word == b"--foreground-daemon") })
}

/// Waits until the node of the cluster is ready; `child` is the process that starts it, when it is ours.
pub async fn ready(home: &Home, config: &DevConfig, mut child: Option<&mut Child>) -> Result<Client, Failure> {
    let end = Instant::now() + READY_DEADLINE;
    let mut last = "its socket is not there".to_owned();
    while Instant::now() < end {
        if let Some(status) = child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
            let message = format!("the dev cluster `{}` did not start ({status})", config.name);
            return Err(Failure::refused(message).lines(log_tail(&home.log())));
        }
        match Client::of_ready_node(&config.api_socket()).await {
            Ok(client) => return Ok(client),
            Err(why) => last = why,
        }
        sleep(POLL).await;
    }
    let message =
        format!("the dev cluster `{}` is not ready after {} s: {last}", config.name, READY_DEADLINE.as_secs());
    Err(Failure::new(Exit::TimedOut, message)
        .lines(log_tail(&home.log()))
        .hint(format!("see {}", home.log().display())))
}

/// As `ready`, for one that runs in another process; `None` once nobody holds it: a process that was just killed keeps
/// its lock for a moment longer.
pub async fn ready_unless_gone(home: &Home, config: &DevConfig) -> Result<Option<Client>, Failure> {
    let gone = async {
        while home.holder().is_some() {
            sleep(POLL).await;
        }
    };
    tokio::select! {
        client = ready(home, config, None) => client.map(Some),
        () = gone => Ok(None),
    }
}

/// Ends the process that runs the cluster, if one does, and waits until it is gone. Containers stay.
pub async fn stop(home: &Home) -> Result<(), Failure> {
    let Some(id) = home.holder() else { return Ok(()) };
    let failed = |why: String| Failure::refused(format!("process {id} that runs the cluster cannot be stopped: {why}"));
    let pid = Pid::from_raw(id).ok_or_else(|| failed("it has no valid id".to_owned()))?;
    match kill_process(pid, Signal::TERM) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(e) => return Err(failed(e.to_string())),
    }
    let end = Instant::now() + GONE_DEADLINE;
    while home.holder() == Some(id) {
        if Instant::now() >= end {
            return Err(
                failed(format!("it still runs after {} s", GONE_DEADLINE.as_secs())).hint(format!("kill -9 {id}"))
            );
        }
        sleep(POLL).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::fake::{World, service, shop};
    use std::collections::BTreeMap;

    fn config(dir: &std::path::Path) -> (Home, DevConfig) {
        let config = DevConfig {
            name: "t".into(),
            dir: dir.to_owned(),
            range: None,
            docker: String::new(),
            allow: Default::default(),
            labels: BTreeMap::new(),
        };
        (Home::new(config.dir.clone()), config)
    }

    #[tokio::test]
    async fn ready_is_when_the_node_is() {
        let mut joining = shop(vec![service("shop/web", "running", 1, 1)], vec![]);
        joining.nodes[0].state = "down".into();
        let world = World::new(joining);
        let (home, config) = config(&world.session.dir);
        let snapshots = world.fake.snapshots.clone();
        let waiting = ready(&home, &config, None);
        tokio::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
        assert!(early.is_err(), "a node that is down is not ready");
        snapshots.send_modify(|snapshot| snapshot.nodes[0].state = "ready".into());
        waiting.await.expect("ready now");
    }

    #[tokio::test]
    async fn one_that_ends_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (home, config) = config(&dir.path().join("dev-t"));
        home.make().expect("makes");
        let lock = home.lock().expect("can be locked").expect("is free");
        let waiting = ready_unless_gone(&home, &config);
        tokio::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
        assert!(early.is_err(), "somebody holds it");
        drop(lock);
        assert!(waiting.await.expect("no failure").is_none());
    }

    #[tokio::test]
    async fn a_process_that_ends_at_once_is_told_with_its_log() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (home, config) = config(dir.path());
        std::fs::write(home.log(), "first\nport 53 is taken\n").expect("writes");
        let mut child = Command::new("false").spawn().expect("starts");
        let failure = ready(&home, &config, Some(&mut child)).await.expect_err("it ended");
        assert!(failure.message.contains("did not start"), "{}", failure.message);
        assert_eq!(failure.detail, ["  | first", "  | port 53 is taken"]);
    }
}
