//! Promise: the screens people judge us by, byte for byte, as the real server and agent make them.
//!
//! Server, agent and ctl are the production ones, in this process, over unix sockets; only the container engine is the
//! scripted one. What no two runs share (ages, and the order in which services come up) is written as one value of the
//! same width. `WHERRY_UPDATE_EXPECT=1 cargo test -p tests --test screens` writes `cli/transcripts/*.txt` anew.

use agent::Config;
use agent::runtime::ImageInfo;
use agent::runtime::fake::FakeRuntime;
use cli::args::{Args, Target};
use cli::output::{Buffer, Terminal};
use cli::place::Places;
use cli::session::Session;
use orchestrator::server::{RunningServer, ServerConfig};
use proto::id::TaskId;
use proto::revision::Wall;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::docker::wire::free_port;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(45);
/// What the node of all screens is called: names have widths.
const HOST: &str = "alpha";
/// Stands for the published port.
const PORT: &str = "18080";
/// Columns of a terminal of the usual size.
const COLUMNS: usize = 80;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs this test again on a host of that name, unless it is one: a name in a namespace of its own.
fn on_alpha(test: &str, screen: impl AsyncFnOnce(&mut Screen)) {
    if rustix::system::uname().nodename().to_bytes() == HOST.as_bytes() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(async {
            let mut shown = Screen::start(test).await;
            screen(&mut shown).await;
            shown.end().await;
        });
    }
    let script = format!("hostname {HOST} && exec \"$0\" \"$@\"");
    let mut again = Command::new("unshare");
    again.args(["--uts", "sh", "-c", &script]).arg(std::env::current_exe().expect("a path"));
    let ended = again.args(["--exact", test, "--nocapture"]).status().expect("unshare is there");
    assert!(ended.success(), "{test}: see above");
}

/// A cluster of one node, and ctl on a terminal that is a buffer.
struct Screen {
    name: String,
    dir: tempfile::TempDir,
    engine: FakeRuntime,
    server: RunningServer,
    stop: CancellationToken,
    agent: tokio::task::JoinHandle<()>,
    port: String,
    text: String,
}

impl Screen {
    async fn start(test: &str) -> Screen {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        // Each test has a range of its own among this host's loopback addresses: the resolver needs one to listen on.
        let number = TESTS.iter().position(|t| *t == test).expect("it is in the list") + 10;
        let config = ServerConfig {
            data_dir: at("server"),
            api_socket: at("api.sock"),
            agents_socket: at("agents.sock"),
            seal_key: at("keys/seal.key"),
            bootstrap: true,
            join: None,
            dev: true,
            range: Some(format!("127.{number}.0.0/16").parse().expect("a range")),
            used: Vec::new(),
            tcp: None,
        };
        let server = orchestrator::server::start(config).await.expect("the server starts");
        let engine = FakeRuntime::new();
        engine.add_image("wherry/shop:dev", image("shop"));
        tokio::spawn(keep_time(engine.clone()));
        let config = Config {
            data_dir: at("agent"),
            door: agent::session::Door::Unix(at("agents.sock")),
            docker: "unix:///nowhere".to_owned(),
            labels: Default::default(),
            allow: Default::default(),
            pulse: Default::default(),
        };
        let stop = CancellationToken::new();
        let runs = agent::run_on(config, Arc::new(engine.clone()), agent::clock::Clock::real(), stop.clone());
        let agent = tokio::spawn(async move { runs.await.expect("the agent runs") });
        let port = free_port().to_string();
        let name = test.replace('_', "-");
        let mut screen = Screen { name, dir, engine, server, stop, agent, port, text: String::new() };
        // Until its engine has answered a node tells of the host.
        screen.until("get nodes", |said| said.contains("  ready  ") && said.contains("0/4")).await;
        screen
    }

    fn session(&self, screen: &Buffer) -> Session {
        let mut terminal = Terminal::on(screen.clone(), screen.clone());
        terminal.width = Some(COLUMNS);
        let env = [("WHERRY_SOCKET", "set"), ("SHOP_PORT", &self.port)];
        Session {
            terminal,
            target: Target { socket: Some(self.dir.path().join("api.sock")), cluster: None, context: None },
            places: Places {
                state: self.dir.path().join("state"),
                system_socket: self.dir.path().join("none.sock"),
                config: self.dir.path().join("config"),
            },
            dir: self.dir.path().to_owned(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        }
    }

    /// Writes a file of the working directory.
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).expect("writes");
    }

    /// What ctl says to a command, and its exit code.
    async fn ask(&self, line: &str) -> (String, u8) {
        let screen = Buffer::default();
        let mut session = self.session(&screen);
        let args = Args::of_words(std::iter::once("ctl").chain(line.split_whitespace())).expect("a command line");
        let exit = tokio::time::timeout(PATIENCE, cli::run_and_report(&mut session, &args.command)).await;
        let exit = exit.unwrap_or_else(|_| panic!("`ctl {line}` does not end: {}", screen.text()));
        (screen.text(), exit.code())
    }

    /// Asks until the answer is as it has to be.
    async fn until(&mut self, line: &str, is_it: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let (said, _) = self.ask(line).await;
            if is_it(&said) {
                return said;
            }
            assert!(begun.elapsed() < PATIENCE, "`ctl {line}` still says: {said}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a command and puts what is seen into the transcript.
    async fn show(&mut self, line: &str) {
        let (said, exit) = self.ask(line).await;
        self.keep(line, &said, exit);
    }

    /// The same once it is as it has to be.
    async fn show_once(&mut self, line: &str, is_it: impl Fn(&str) -> bool) {
        let said = self.until(line, is_it).await;
        self.keep(line, &said, 0);
    }

    /// A command that never ends, until it has said this.
    async fn watch(&mut self, line: &str, what: &str) {
        let screen = Buffer::default();
        let mut session = self.session(&screen);
        let args = Args::of_words(std::iter::once("ctl").chain(line.split_whitespace())).expect("a command line");
        let told = async {
            while !screen.text().contains(what) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            exit = cli::run_and_report(&mut session, &args.command) => panic!("it ended with {exit:?}: {}", screen.text()),
            told = tokio::time::timeout(PATIENCE, told) => told.unwrap_or_else(|_| panic!("no `{what}`: {}", screen.text())),
        }
        self.keep(line, &screen.text(), 0);
    }

    fn keep(&mut self, line: &str, said: &str, exit: u8) {
        let said = said.replace(&format!("{}/", self.dir.path().display()), "");
        let said = said.replace(&format!("{}/", root().display()), "").replace(&self.port, PORT);
        let line = line.replace(&format!("{}/", root().display()), "");
        self.text += &format!("$ ctl {line}\n{}", same_ages(&in_order(&said)));
        if exit != 0 {
            self.text += &format!("[exit code {exit}]\n");
        }
    }

    /// The newest task of a slot.
    fn task(&self, service: &str, slot: u32) -> TaskId {
        let newest = newest(&self.engine, service, slot);
        newest.unwrap_or_else(|| panic!("there is no {service}.{slot}"))
    }

    async fn end(self) {
        self.stop.cancel();
        self.agent.await.expect("the agent ends");
        self.server.shutdown().await;
        let _ = Command::new("umount")
            .arg(self.dir.path().join("agent/secrets"))
            .stderr(std::process::Stdio::null())
            .status();
        let path = root().join("cli/transcripts").join(format!("{}.txt", self.name));
        if std::env::var_os("WHERRY_UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &self.text).expect("writes");
        }
        let wide: Vec<&str> = self.text.lines().filter(|line| line.chars().count() > COLUMNS).collect();
        assert_eq!(wide, [""; 0], "wider than the terminal");
        assert_eq!(self.text, std::fs::read_to_string(&path).unwrap_or_default(), "{}", path.display());
    }
}

fn newest(engine: &FakeRuntime, service: &str, slot: u32) -> Option<TaskId> {
    let all = engine.containers().into_iter();
    all.filter(|c| c.service.service.as_str() == service && c.slot.0 == slot).map(|c| c.task).max()
}

/// Whether the text before and after a number of seconds from 1 to 9 is there.
fn has_seconds(said: &str, before: &str, after: &str) -> bool {
    (1..=9).any(|s| said.contains(&format!("{before}{s}s{after}")))
}

fn image(id: &str) -> ImageInfo {
    ImageInfo { id: format!("sha256:{id}"), ..Default::default() }
}

/// The engine's clock is this host's.
async fn keep_time(engine: FakeRuntime) {
    loop {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        engine.set_now(Wall(wall));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// === What no two runs share ===

/// Progress of services comes in any order, and in more or fewer steps: of each that ends well its last line is kept, in
/// order of their names.
fn in_order(said: &str) -> String {
    const STATES: [&str; 7] = ["running", "starting", "waiting", "updating", "degraded", "failed", "rolling-back"];
    let of_progress = |line: &str| {
        let (service, rest) = line.split_once(": ")?;
        let is_one = !service.contains(' ') && STATES.iter().any(|state| rest.starts_with(state));
        is_one.then(|| service.to_owned())
    };
    let mut last = std::collections::BTreeMap::new();
    let mut out: Vec<String> = Vec::new();
    let mut at = None;
    for line in said.lines() {
        match of_progress(line) {
            Some(service) => {
                at.get_or_insert(out.len());
                last.insert(service, line.to_owned());
            }
            None => out.push(line.to_owned()),
        }
    }
    if said.contains("error: ") {
        last.clear();
    }
    out.splice(at.unwrap_or(0)..at.unwrap_or(0), last.into_values());
    out.join("\n") + "\n"
}

/// Every age is 3 s, and what a column loses or gains by that is made up for with blanks; every moment is one.
fn same_ages(text: &str) -> String {
    /// The longest pause between restarts: a promise and no age.
    const CONSTANT: &str = "60s";
    let text = text.replace("just now", "3s ago").replace("again at once", "again 200ms later");
    let text = text.lines().map(same_moment).collect::<String>();
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        out += &rest[..at];
        rest = &rest[at..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let is_word = !out.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | ':' | '/' | '-'));
        let unit = ["ms", "s"].into_iter().find(|unit| rest[digits..].starts_with(unit) && is_word);
        let Some(unit) = unit.filter(|u| !rest[digits + u.len()..].starts_with(|c: char| c.is_alphanumeric())) else {
            out += &rest[..digits];
            rest = &rest[digits..];
            continue;
        };
        let length = digits + unit.len();
        let same = match unit {
            "ms" => "200ms",
            _ if rest.starts_with(CONSTANT) => CONSTANT,
            _ => "3s",
        };
        let blanks = rest[length..].chars().take_while(|c| *c == ' ').count();
        out += same;
        rest = &rest[length..];
        if blanks >= 2 {
            out += &" ".repeat((length + blanks).saturating_sub(same.len()).max(2));
            rest = &rest[blanks..];
        }
    }
    out + rest
}

/// A line that begins with a moment begins with this one.
fn same_moment(line: &str) -> String {
    const MOMENT: &str = "00:00:00Z";
    let is_moment = line.len() > MOMENT.len() && line.is_char_boundary(MOMENT.len()) && {
        let form = |c: char| if c.is_ascii_digit() { '0' } else { c };
        line[..MOMENT.len()].chars().map(form).eq(MOMENT.chars().map(form))
    };
    if is_moment { format!("{MOMENT}{}\n", &line[MOMENT.len()..]) } else { format!("{line}\n") }
}

// === The screens ===

const TESTS: [&str; 9] = [
    "quickstart_end",
    "ps",
    "why_killed",
    "why_unplaceable",
    "why_failed_pull",
    "refused_key",
    "rolled_back",
    "plan",
    "events",
];

const WEB: &str = "name: shop
services:
  web:
    image: wherry/shop:dev
    deploy: {replicas: 2, update_config: {monitor: 1s}}
";

#[test]
fn quickstart_end() {
    on_alpha("quickstart_end", async |screen| {
        let file = root().join("examples/shop/compose.yaml");
        screen.show(&format!("apply -f {}", file.display())).await;
    });
}

#[test]
fn ps() {
    on_alpha("ps", async |screen| {
        let file = root().join("examples/shop/compose.yaml");
        assert_eq!(screen.ask(&format!("apply -f {}", file.display())).await.1, 0);
        screen.show("ps").await;
        screen.show("get services").await;
        screen.show("get nodes").await;
        screen.show("why shop").await;
        screen.show("why alpha").await;
    });
}

#[test]
fn why_killed() {
    on_alpha("why_killed", async |screen| {
        screen.write("compose.yaml", WEB);
        assert_eq!(screen.ask("apply").await.1, 0);
        let task = screen.task("web", 1);
        screen.engine.write_log(task, false, b"web listening on 0.0.0.0:8080\n");
        assert!(screen.engine.exit(task, 137), "it ran");
        let is_back = |said: &str| has_seconds(said, "is ready on alpha, running for ", " (start 2)");
        screen.show_once("why web.1", is_back).await;
        screen.show("why web").await;
    });
}

#[test]
fn events() {
    on_alpha("events", async |screen| {
        screen.write("compose.yaml", &WEB.replace("replicas: 2", "replicas: 1"));
        assert_eq!(screen.ask("apply").await.1, 0);
        assert!(screen.engine.exit(screen.task("web", 1), 137), "it ran");
        screen.until("why web.1", |said| said.contains("is ready on alpha") && said.contains("(start 2)")).await;
        screen.watch("events web --watch", "task-restarted").await;
        screen.show("events web").await;
    });
}

#[test]
fn why_unplaceable() {
    on_alpha("why_unplaceable", async |screen| {
        screen.write(
            "compose.yaml",
            "name: shop
services:
  big:
    image: wherry/shop:dev
    deploy: {resources: {reservations: {memory: 900G}}}
",
        );
        screen.show("apply --timeout 2s").await;
        screen.show("why big").await;
    });
}

#[test]
fn why_failed_pull() {
    on_alpha("why_failed_pull", async |screen| {
        screen.write("compose.yaml", "name: shop\nservices:\n  web:\n    image: wherry/shop:tpyo\n");
        assert_eq!(screen.ask("apply --no-wait").await.1, 0);
        // The pause is longer then than it takes to ask.
        let is_told = |said: &str| said.contains("failure 3 in a row") && has_seconds(said, "again in ", " ");
        screen.show_once("why web", is_told).await;
    });
}

#[test]
fn refused_key() {
    on_alpha("refused_key", async |screen| {
        let text = "services:\n  web:\n    image: img:1\n    gpus: all\n    port:\n      - \"8080:80\"\n";
        screen.write("compose.yaml", text);
        screen.show("apply").await;
    });
}

#[test]
fn rolled_back() {
    on_alpha("rolled_back", async |screen| {
        screen.write("compose.yaml", WEB);
        assert_eq!(screen.ask("apply").await.1, 0);
        screen.engine.add_image("wherry/shop:next", image("next"));
        screen.write("compose.yaml", &WEB.replace(":dev", ":next"));
        let (before, engine) = (screen.task("web", 1), screen.engine.clone());
        let crash = async move {
            let begun = Instant::now();
            loop {
                let task = newest(&engine, "web", 1).filter(|task| *task > before);
                if let Some(task) = task {
                    engine.write_log(task, true, b"web: the ledger is locked by another process\n");
                    if engine.exit(task, 7) {
                        return;
                    }
                }
                assert!(begun.elapsed() < PATIENCE, "nothing new was started");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let crashed = tokio::spawn(crash);
        screen.show("apply").await;
        crashed.await.expect("it crashed");
        screen.show_once("rollout status web", |said| !said.contains("stopping")).await;
        screen.show("rollout history web").await;
        screen.show("why web").await;
    });
}

#[test]
fn plan() {
    on_alpha("plan", async |screen| {
        screen.write("compose.yaml", WEB);
        screen.show("plan").await;
        assert_eq!(screen.ask("apply").await.1, 0);
        screen.engine.add_image("wherry/shop:next", image("next"));
        let next = WEB.replace(":dev", ":next").replace("replicas: 2", "replicas: 3");
        screen.write("compose.yaml", &next);
        screen.show("plan").await;
    });
}
