//! `ctl cluster init` and `ctl cluster join`: this host becomes the first of a cluster, or the next.
//!
//! Only the line that the next host pastes goes to stdout. Doing it again starts what does not run, and puts this build in
//! the place of another; containers run on.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::join_token::TokenKind;
use proto::peer::{AGENTS_PORT, with_port};
use proto::v1;

use crate::args::{ClusterInitArgs, ClusterJoinArgs, HostArgs};
use crate::client::Client;
use crate::dev::checks;
use crate::exit::{Exit, Failure};
use crate::host::layout::{AgentWords, Layout, Leads, Role, next_line};
use crate::host::processes::{self, Begun};
use crate::host::units;
use crate::output::style::{DIM, paint};
use crate::session::Session;
use crate::token_text;

/// A server and its agent are up within this, or something is wrong.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long a token for the next host holds.
const TOKEN_VALID: Duration = Duration::from_secs(3_600);

/// How a host's programs are run.
enum Mode {
    /// By the service manager.
    Units,
    /// As processes, with all they have below a directory of ours or where packages have it.
    Processes(Layout),
}

fn mode(session: &Session, args: &HostArgs) -> Mode {
    match &args.dir {
        Some(dir) => Mode::Processes(Layout::below(&session.dir.join(dir))),
        None if Path::new(units::MANAGER).is_dir() => Mode::Units,
        None => Mode::Processes(Layout::of_system()),
    }
}

fn told(args: &HostArgs) -> AgentWords {
    AgentWords {
        docker: args.docker.clone(),
        allow: args.allow.iter().map(|permission| permission.word().to_owned()).collect(),
        labels: args.labels.iter().map(|(key, value)| format!("{key}={value}")).collect(),
    }
}

async fn check(args: &HostArgs) -> Result<(), Failure> {
    checks::root("a host's agent", "run it with sudo, or as root")?;
    checks::docker(args.docker.as_deref().unwrap_or(checks::DOCKER_DEFAULT)).await
}

/// `ctl cluster init`.
pub async fn init(session: &mut Session, args: &ClusterInitArgs) -> Result<Exit, Failure> {
    check(&args.host).await?;
    let listen = match args.listen {
        Some(listen) => listen,
        None => outward().ok_or_else(|| {
            Failure::refused("this host has no address that others could reach it by: no route leads out")
                .hint("say which one with --listen IP")
        })?,
    };
    let (leads, words) = (Leads::Here, told(&args.host));
    let (socket, program) = match mode(session, &args.host) {
        Mode::Units => {
            let program = installed()?;
            processes::write(&units::files(Some(listen), &leads, &words, None))?;
            processes::enable(&units::units(&[Role::Server, Role::Agent]))?;
            let socket = Layout::of_system().api_socket();
            wait_ready(&socket).await?;
            (socket, program)
        }
        Mode::Processes(layout) => {
            let program = processes::program()?;
            processes::make_dirs(&layout)?;
            let socket = layout.api_socket();
            let server = layout.server_words(Some(listen));
            let mut begun = processes::begin(&layout, Role::Server, &program, &server).await?;
            tell(session, "server", &begun, &layout, Role::Server);
            let answers = async || Client::connect(&socket).await.map(drop).map_err(|e| e.to_string());
            processes::until(&layout, Role::Server, &mut begun, READY_WITHIN, "the server answers", answers).await?;
            let agent = layout.agent_words(&leads, &words);
            let mut begun = processes::begin(&layout, Role::Agent, &program, &agent).await?;
            tell(session, "agent", &begun, &layout, Role::Agent);
            let ready = async || Client::of_ready_node(&socket).await.map(drop);
            processes::until(&layout, Role::Agent, &mut begun, READY_WITHIN, "its node is ready", ready).await?;
            (socket, program)
        }
    };
    let client = Client::connect(&socket).await?;
    let made = client
        .create_token(v1::CreateTokenRequest {
            kind: "agent".to_owned(),
            uses: args.uses,
            valid_ms: u64::try_from(TOKEN_VALID.as_millis()).unwrap_or(u64::MAX),
            ..v1::CreateTokenRequest::default()
        })
        .await?;
    if made.address.is_empty() {
        return Err(Failure::refused(
            "the server that runs here lets no other host in: it was started without --listen",
        )
        .hint("stop it, and run `ctl cluster init` again; its data and containers stay"));
    }
    let times = if args.uses == 1 { "once".to_owned() } else { format!("{} times", args.uses) };
    let note = format!("the next host pastes this line, {times}, within the hour; `ctl token create agent` makes more");
    session.terminal.say(&paint(DIM, &note));
    let dir = args.host.dir.as_ref().map(|dir| dir.display().to_string());
    session.terminal.line(&next_line(&called(&program), &made.address, &made.token, dir.as_deref()))?;
    Ok(Exit::Done)
}

/// `ctl cluster join`.
pub async fn join(session: &mut Session, args: &ClusterJoinArgs) -> Result<Exit, Failure> {
    check(&args.host).await?;
    let servers: Vec<String> = args.servers.iter().map(|server| with_port(server, AGENTS_PORT)).collect();
    let token = token_text::read(session, args.token_file.as_deref(), TokenKind::Agent)?.map(|given| given.text);
    let (leads, words) = (Leads::To(servers), told(&args.host));
    match mode(session, &args.host) {
        Mode::Units => {
            installed()?;
            processes::write(&units::files(None, &leads, &words, token.as_deref()))?;
            processes::enable(&units::units(&[Role::Agent]))?;
            session.terminal.say("the agent runs; `ctl get nodes` on the first host shows it");
        }
        Mode::Processes(layout) => {
            let program = processes::program()?;
            processes::make_dirs(&layout)?;
            let identity = layout.agent.join("identity.json");
            if token.is_none() && !identity.exists() {
                return Err(Failure::usage("there is no join token: this host is not known to the cluster yet")
                    .hint("paste the whole line, or name a file with --token-file"));
            }
            let mut line = layout.agent_words(&leads, &words);
            if let Some(file) = token_file(session, args, &layout, token.as_deref())? {
                line.extend(["--token-file".into(), file.into()]);
            }
            let mut begun = processes::begin(&layout, Role::Agent, &program, &line).await?;
            tell(session, "agent", &begun, &layout, Role::Agent);
            let known = async || if identity.exists() { Ok(()) } else { Err("no server has let it in".to_owned()) };
            processes::until(&layout, Role::Agent, &mut begun, READY_WITHIN, "this host is known", known).await?;
            session.terminal.say("this host has joined; `ctl get nodes` on the first host shows it");
        }
    }
    Ok(Exit::Done)
}

/// The file that the agent reads the token from, if there is one: it stays, a fresh one in it is taken up. What came from
/// standard input is kept beside the agent's data, for its owner alone.
fn token_file(
    session: &Session,
    args: &ClusterJoinArgs,
    layout: &Layout,
    token: Option<&str>,
) -> Result<Option<PathBuf>, Failure> {
    match (&args.token_file, token) {
        (Some(file), Some(text)) if file.as_os_str() == token_text::STDIN => {
            let path = layout.agent.join("join-token");
            let opened = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path);
            opened
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|e| Failure::refused(format!("cannot write the join token to {}: {e}", path.display())))?;
            Ok(Some(path))
        }
        (Some(file), _) => Ok(Some(session.dir.join(file))),
        (None, _) => Ok(None),
    }
}

/// The packaged program; brought by the installer beside this one where it is not there yet.
fn installed() -> Result<PathBuf, Failure> {
    let program = processes::program()?;
    let is_unpacked = program.with_file_name("install").is_file();
    if is_unpacked || !Path::new(units::SERVER_UNIT).is_file() {
        processes::install(&program)?;
    }
    Ok(program)
}

fn tell(session: &mut Session, what: &str, begun: &Begun, layout: &Layout, role: Role) {
    let words = match begun {
        Begun::Started(child) => {
            format!("{what}: process {}, data {}", child.id(), layout.data_dir(role).display())
        }
        Begun::Runs => format!("{what}: runs already"),
    };
    session.terminal.say(&words);
}

/// Waits until a node of the server that the service manager runs is ready.
async fn wait_ready(socket: &Path) -> Result<(), Failure> {
    let end = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        let Err(why) = Client::of_ready_node(socket).await else { return Ok(()) };
        if tokio::time::Instant::now() >= end {
            return Err(Failure::new(
                Exit::TimedOut,
                format!("no node is ready after {} s: {why}", READY_WITHIN.as_secs()),
            )
            .hint("see `journalctl -u wherry-server -u wherry-agent`"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// This host's address towards others: that of the way out. Nothing is sent.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    // An address of documentation: whatever the route to it is, is the way out.
    socket.connect(("192.0.2.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// As it was called here: the next host unpacks the same tarball and has it in the same place.
fn called(program: &Path) -> String {
    let word = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    match word.file_name() {
        Some(name) if name == "wherry" => word.display().to_string(),
        _ => program.display().to_string(),
    }
}
