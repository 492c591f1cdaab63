//! Docker as anybody else sees it: through its own client, its events and its API; never through Wherry.
//!
//! Fails a test at once when the engine does not answer. Called by the tests and by `dev`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{IMAGE, PATIENCE};

const SOCKET: &str = "/var/run/docker.sock";

/// What `docker ARGUMENTS` prints, trimmed.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn docker(arguments: &[&str]) -> String {
    match attempt(arguments) {
        Ok(said) => said,
        Err(why) => panic!("docker {} failed: {why}", arguments.join(" ")),
    }
}

/// As [`docker`], for what may fail: its error output then.
///
/// # Errors
/// What the client wrote to its error output.
pub fn attempt(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|e| format!("{e}; the tests need the docker client and an engine: packaging/test"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// What the tests need of the machine: an engine, and the image of the examples.
///
/// # Panics
/// When one is absent: the tests are never skipped.
pub fn require() {
    if let Err(why) = attempt(&["version", "--format", "{{.Server.Version}}"]) {
        panic!("no Docker Engine answers, and these tests need one: {why}; start it, or run packaging/test");
    }
    if attempt(&["image", "inspect", "--format", "{{.Id}}", IMAGE]).is_err() {
        panic!("there is no image {IMAGE}: run examples/build-images");
    }
}

/// A container at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// When its process began, in the engine's words.
    pub started_at: String,
}

/// The containers with that `wherry.cluster` and, unless empty, that `wherry.project`, by their names.
#[track_caller]
pub fn containers(cluster: &str, project: &str) -> BTreeMap<String, Container> {
    containers_at(None, cluster, project)
}

/// The same of another engine than the machine's.
#[track_caller]
pub fn containers_at(host: Option<&str>, cluster: &str, project: &str) -> BTreeMap<String, Container> {
    let at: Vec<&str> = host.map_or(Vec::new(), |host| vec!["-H", host]);
    let mut filters = vec!["--filter".to_owned(), format!("label=wherry.cluster={cluster}")];
    if !project.is_empty() {
        filters.extend(["--filter".to_owned(), format!("label=wherry.project={project}")]);
    }
    let mut arguments = [at.as_slice(), &["ps", "--all", "--quiet", "--no-trunc"]].concat();
    arguments.extend(filters.iter().map(String::as_str));
    let listed = docker(&arguments);
    // One that goes between the list and the look is not there.
    let looks = listed.lines().filter_map(|id| look(&at, id));
    looks.collect()
}

fn look(at: &[&str], id: &str) -> Option<(String, Container)> {
    let said = attempt(&[at, &["inspect", "--format", "{{.Name}} {{.State.StartedAt}}", id]].concat()).ok()?;
    let (name, started_at) = said.split_once(' ')?;
    let container = Container { id: id.to_owned(), started_at: started_at.to_owned() };
    Some((name.trim_start_matches('/').to_owned(), container))
}

/// `docker inspect` of one container.
#[track_caller]
pub fn inspect(container: &str) -> Value {
    let text = docker(&["inspect", "--type", "container", container]);
    let list: Value = serde_json::from_str(&text).expect("docker inspect prints JSON");
    list[0].clone()
}

/// One event of a container, in nanoseconds of the engine's clock, which is this machine's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// `die`, `start`, ...
    pub action: String,
    /// The container's id.
    pub id: String,
    /// When, in nanoseconds since 1970.
    pub at_ns: u128,
}

/// The engine's events of one cluster's containers since it was made.
#[derive(Debug)]
pub struct Events {
    child: Child,
    lines: mpsc::Receiver<Event>,
    seen: Vec<Event>,
}

// === impl Events ===

impl Events {
    /// Listens from now on.
    #[track_caller]
    pub fn of(cluster: &str) -> Events {
        let label = format!("label=wherry.cluster={cluster}");
        let since = format!("{}", wall_ns() / 1_000_000_000);
        let mut command = Command::new("docker");
        command.args(["events", "--since", &since, "--format", "{{json .}}", "--filter", &label]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the docker client can be started");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for event in output.lines().map_while(Result::ok).filter_map(|line| event(&line)) {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Events { child, lines, seen: Vec::new() }
    }

    /// The first event of that kind about that container after `after_ns`.
    ///
    /// # Panics
    /// When there is none in time.
    #[track_caller]
    pub fn until(&mut self, action: &str, id: &str, after_ns: u128) -> Event {
        let end = Instant::now() + PATIENCE;
        let wanted = |e: &Event| e.action == action && e.id == id && e.at_ns > after_ns;
        loop {
            if let Some(found) = self.seen.iter().find(|e| wanted(e)) {
                return found.clone();
            }
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => self.seen.push(event),
                Err(e) => panic!("no `{action}` of {id} ({e}); seen: {:?}", self.seen),
            }
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn event(line: &str) -> Option<Event> {
    let event: Value = serde_json::from_str(line).ok()?;
    Some(Event {
        action: event["Action"].as_str()?.to_owned(),
        id: event["Actor"]["ID"].as_str()?.to_owned(),
        at_ns: u128::from(event["timeNano"].as_u64()?),
    })
}

/// Nanoseconds since 1970.
pub fn wall_ns() -> u128 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is past 1970").as_nanos()
}

/// The engine's own time for creating and starting a container of the tests' image: what nobody can beat.
///
/// # Panics
/// When the engine refuses.
pub fn create_and_start(name: &str) -> Duration {
    let body = json!({ "Image": IMAGE, "Entrypoint": ["/bin/sleep"], "Cmd": ["1000"] });
    let begun = Instant::now();
    let made: Value = serde_json::from_str(&post(&format!("/containers/create?name={name}"), &body.to_string()))
        .expect("the engine answers in JSON");
    let id = made["Id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    post(&format!("/containers/{id}/start"), "");
    let took = begun.elapsed();
    docker(&["rm", "--force", &id]);
    took
}

/// Kills a container's process, without the time that a client needs to start.
///
/// # Panics
/// When the engine refuses.
pub fn kill(container: &str) {
    post(&format!("/containers/{container}/kill"), "");
}

/// The body of the engine's answer to a POST.
///
/// # Panics
/// When it refuses.
pub fn post(path: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(SOCKET).expect("the engine listens");
    let head =
        format!("POST {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).expect("the engine reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the engine answers");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer.as_str(), ""));
    assert!(head.split(' ').nth(1).is_some_and(|code| code.starts_with('2')), "POST {path}: {answer}");
    body.to_owned()
}
