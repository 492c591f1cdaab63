//! Starts what `layout` and `units` say: by the service manager, or as processes that outlive ctl.
//!
//! Never ends a process unless its command line names the data directory of this very host's program.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::layout::{Layout, Role};
use super::units::Wanted;
use crate::exit::{Exit, Failure};
use crate::process::{file_id, log_tail};

/// A program that was asked to stop is gone within this.
const GONE_DEADLINE: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(50);

/// What became of a program that was to run.
#[derive(Debug)]
pub enum Begun {
    /// It was started.
    Started(Child),
    /// This build of it runs already.
    Runs,
}

fn trouble(what: &str, path: &Path, e: &io::Error) -> Failure {
    Failure::refused(format!("cannot {what} {}: {e}", path.display()))
}

/// The one program for all, whose part ctl is; or the one beside this ctl.
pub fn program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|e| Failure::refused(format!("ctl cannot find itself: {e}")))?;
    if own.file_name().is_some_and(|name| name == "wherry") {
        return Ok(own);
    }
    let beside = own.with_file_name("wherry");
    if beside.is_file() {
        return Ok(beside);
    }
    Err(Failure::refused(format!("{} is ctl alone: a host needs `wherry`, which is all programs", own.display()))
        .hint("take it from the tarball of a release, or from `make dist`"))
}

/// Makes a host's directories, for root alone.
pub fn make_dirs(layout: &Layout) -> Result<(), Failure> {
    let key_dir = layout.key.parent().unwrap_or(Path::new("/"));
    for dir in [&layout.server, &layout.agent, &layout.run, &layout.log, &key_dir.to_owned()] {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| trouble("make", dir, &e))?;
    }
    Ok(())
}

/// The process that runs a program of this host, if one does.
pub fn running(layout: &Layout, role: Role) -> Option<i32> {
    let text = std::fs::read_to_string(layout.pid_file(role)).ok()?;
    let process: i32 = text.trim().parse().ok()?;
    let line = std::fs::read(format!("/proc/{process}/cmdline")).ok()?;
    let named = layout.data_dir(role).as_os_str().as_encoded_bytes();
    line.split(|byte| *byte == 0).any(|word| word == named).then_some(process)
}

/// Starts a program unless this build of it runs; another build is asked to stop first. Its containers run on.
pub async fn begin(
    layout: &Layout,
    role: Role,
    program: &Path,
    words: &[std::ffi::OsString],
) -> Result<Begun, Failure> {
    if let Some(process) = running(layout, role) {
        if is_from(process, program) {
            return Ok(Begun::Runs);
        }
        stop(layout, role, process).await?;
    }
    let path = layout.log_file(role);
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
    let log = log.map_err(|e| trouble("write", &path, &e))?;
    let log_too = log.try_clone().map_err(|e| trouble("write", &path, &e))?;
    let mut command = Command::new(program);
    // Told its role by its name; in a process group of its own, so that Ctrl-C here does not reach it.
    command.arg0(role.program()).args(words).process_group(0);
    command.stdin(Stdio::null()).stdout(log).stderr(log_too).current_dir("/");
    if role == Role::Server {
        command.env_remove("WHERRY_TOKEN");
    }
    let child = command.spawn().map_err(|e| trouble("start", program, &e))?;
    let pid_file = layout.pid_file(role);
    std::fs::write(&pid_file, format!("{}\n", child.id())).map_err(|e| trouble("write", &pid_file, &e))?;
    Ok(Begun::Started(child))
}

/// Was it started from this file? One that took its place since is another.
fn is_from(process: i32, program: &Path) -> bool {
    let its = file_id(format!("/proc/{process}/exe"));
    its.is_some() && its == file_id(program)
}

async fn stop(layout: &Layout, role: Role, process: i32) -> Result<(), Failure> {
    if let Some(pid) = Pid::from_raw(process) {
        // One that ended meanwhile is as good.
        let _ = kill_process(pid, Signal::TERM);
    }
    let end = Instant::now() + GONE_DEADLINE;
    while running(layout, role) == Some(process) {
        if Instant::now() >= end {
            let message = format!("the earlier {} (process {process}) does not stop", role.program());
            return Err(Failure::new(Exit::TimedOut, message));
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Waits until something holds, as long as the program that is to bring it about runs.
pub async fn until(
    layout: &Layout,
    role: Role,
    begun: &mut Begun,
    within: Duration,
    what: &str,
    mut holds: impl AsyncFnMut() -> Result<(), String>,
) -> Result<(), Failure> {
    let end = Instant::now() + within;
    loop {
        let Err(why) = holds().await else { return Ok(()) };
        if let Begun::Started(child) = begun
            && let Ok(Some(status)) = child.try_wait()
        {
            let _ = std::fs::remove_file(layout.pid_file(role));
            return Err(Failure::refused(format!("the {} ended ({status})", role.program()))
                .lines(log_tail(&layout.log_file(role)))
                .hint(format!("see {}", layout.log_file(role).display())));
        }
        if Instant::now() >= end {
            return Err(Failure::new(Exit::TimedOut, format!("{what}: not within {} s: {why}", within.as_secs()))
                .lines(log_tail(&layout.log_file(role)))
                .hint(format!("see {}", layout.log_file(role).display())));
        }
        sleep(POLL).await;
    }
}

// === The service manager ===

/// Installs the units from the directory of the program, where they are not there yet.
pub fn install(program: &Path) -> Result<(), Failure> {
    let installer = program.with_file_name("install");
    if !installer.is_file() {
        return Err(Failure::refused("the units are not installed, and no installer is beside the program")
            .hint("run this from the unpacked tarball, or use --dir DIR for plain processes"));
    }
    run(Command::new(&installer))
}

/// Writes what the units read. A file that says otherwise is somebody's: it is not written over.
pub fn write(files: &[Wanted]) -> Result<(), Failure> {
    for file in files {
        let path = Path::new(file.path);
        match std::fs::read_to_string(path) {
            Ok(present) if present == file.content => continue,
            Ok(_) if !file.replaced => {
                return Err(Failure::refused(format!("{} is there and says otherwise", file.path))
                    .hint(format!("remove it, or write into it:\n{}", file.content)));
            }
            _ => {}
        }
        let dir = path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| trouble("make", dir, &e))?;
        let mut open = OpenOptions::new();
        let opened: io::Result<File> = open.create(true).write(true).truncate(true).mode(0o600).open(path);
        opened.and_then(|mut f| f.write_all(file.content.as_bytes())).map_err(|e| trouble("write", path, &e))?;
    }
    Ok(())
}

/// Has the service manager run the units from now on and at every boot.
pub fn enable(units: &[&str]) -> Result<(), Failure> {
    let systemctl = |words: &[&str]| {
        let mut command = Command::new("systemctl");
        command.args(words).args(if words == ["daemon-reload"] { &[][..] } else { units });
        command
    };
    run(systemctl(&["daemon-reload"]))?;
    run(systemctl(&["enable"]))?;
    // Also the next version of one that runs.
    run(systemctl(&["restart"]))
}

fn run(mut command: Command) -> Result<(), Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    // What it says is not a result of ours.
    let output = command.stdin(Stdio::null()).env_remove("WHERRY_TOKEN").output();
    let output = output.map_err(|e| Failure::refused(format!("{name} cannot be started: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Failure::refused(format!("{name} failed ({})", output.status)).lines(said.lines().map(|l| format!("  | {l}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_taken_for_ours_only_by_our_data_directory() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::below(dir.path());
        make_dirs(&layout).expect("makes");
        assert_eq!(running(&layout, Role::Agent), None, "no file");
        let mine = std::process::id();
        std::fs::write(layout.pid_file(Role::Agent), format!("{mine}\n")).expect("writes");
        assert_eq!(running(&layout, Role::Agent), None, "the number belongs to another program now");
        let agent = layout.agent.display().to_string();
        let mut child = Command::new("sh").args(["-c", "sleep 60", "sh", &agent]).spawn().expect("starts");
        std::fs::write(layout.pid_file(Role::Agent), child.id().to_string()).expect("writes");
        // What a process is called is known a moment after it began.
        let begun = std::time::Instant::now();
        let mut found = None;
        while found.is_none() && begun.elapsed() < Duration::from_secs(20) {
            found = running(&layout, Role::Agent);
        }
        let (_, _) = (child.kill(), child.wait());
        assert_eq!(found, i32::try_from(child.id()).ok());
        assert_eq!(running(&layout, Role::Agent), None, "it has ended");
    }

    #[tokio::test]
    async fn a_program_that_ends_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::below(dir.path());
        make_dirs(&layout).expect("makes");
        std::fs::write(layout.log_file(Role::Server), "first\nport 7420 is taken\n").expect("writes");
        let mut begun = Begun::Started(Command::new("false").spawn().expect("starts"));
        let never = async || Err("not yet".to_owned());
        let patience = Duration::from_secs(20);
        let failure =
            until(&layout, Role::Server, &mut begun, patience, "ready", never).await.expect_err("it has ended");
        assert!(failure.message.starts_with("the orchestrator ended"), "{}", failure.message);
        assert_eq!(failure.detail, ["  | first", "  | port 7420 is taken"]);
    }

    #[test]
    fn a_file_of_somebody_elses_is_not_written_over() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path: &'static str = dir.path().join("env").display().to_string().leak();
        let wanted = |content: &str, replaced| Wanted { path, content: content.to_owned(), replaced };
        write(&[wanted("A=1\n", false)]).expect("is new");
        write(&[wanted("A=1\n", false)]).expect("is the same");
        let refused = write(&[wanted("A=2\n", false)]).expect_err("says otherwise");
        assert!(refused.message.contains("says otherwise"), "{}", refused.message);
        write(&[wanted("A=2\n", true)]).expect("a token is replaced");
        assert_eq!(std::fs::read_to_string(path).expect("is there"), "A=2\n");
    }
}
