//! `ctl dev`: a cluster of one node on this machine, in this process or in the background; `ctl dev down` removes it.
//!
//! Reads like a table of contents; directory, lock, checks and processes are in `dev/`.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use proto::v1;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::apply::{self, After, Asked};
use super::delete;
use super::logs::{Chunk, Printer, spawn};
use super::wait::{self, Ended, Watch};
use crate::args::{DevArgs, DevCommand, DevDownArgs, DevPlace, ManifestArgs, Waiting};
use crate::client::Client;
use crate::dev::cluster::{self, Cluster, DevConfig};
use crate::dev::daemon::Build;
use crate::dev::home::Home;
use crate::dev::{checks, daemon};
use crate::exit::{Exit, Failure};
use crate::intake;
use crate::manifest::Loaded;
use crate::name::{self, Found};
use crate::output::style::{BOLD, DIM, paint};
use crate::place::{self, DEFAULT_DEV};
use crate::session::Session;
use crate::time::now_ms;

const ASKED: Asked = Asked {
    waiting: Waiting { no_wait: false, timeout: Duration::from_secs(300) },
    prune: false,
    expected_release: None,
    after: After::Return,
    cluster_since_unix_ms: None,
};
const DOWN_TIMEOUT: Duration = Duration::from_secs(120);
const VOLUME_POLL: Duration = Duration::from_millis(50);

/// `ctl dev`.
pub async fn run(session: &mut Session, args: &DevArgs) -> Result<Exit, Failure> {
    if let Some(DevCommand::Down(down_args)) = &args.command {
        return down(session, down_args).await;
    }
    if args.file.as_deref().is_some_and(|file| file.as_os_str() == "down" && !file.exists()) {
        return Err(Failure::usage("`down` comes first").hint("write it such as `ctl dev down --name NAME`"));
    }
    let mut config = config(session, &args.place, args.range.clone())?;
    config.labels = args.labels.iter().cloned().collect();
    config.allow = args.allow.iter().copied().collect();
    let home = Home::new(config.dir.clone());
    session.target.cluster = Some(config.name.clone());
    session.target.socket = None;
    session.target.context = None;
    if args.foreground_daemon {
        return serve(&home, config).await;
    }
    // A manifest with problems is told before anything is made.
    let loaded = manifest(session, args)?;
    root()?;
    if args.upgrade {
        upgrade(session, &home, &config).await?;
    }
    if home.holder().is_some()
        && let Some(client) = daemon::ready_unless_gone(&home, &config).await?
    {
        session.terminal.say(&format!("dev cluster {} runs already", paint(BOLD, &config.name)));
        if !config.labels.is_empty() || !config.allow.is_empty() {
            let words = "its node keeps the labels and what it allows from its start; stop the cluster and start it with the new ones";
            session.terminal.say(words);
        }
        return beside(session, &client, loaded, args.detach, None).await;
    }
    checks::docker(&config.docker).await?;
    home.make()?;
    home.remember_docker(&config.docker)?;
    if args.detach {
        let started = now_ms();
        let mut child = daemon::spawn(&home, &config)?;
        session.terminal.say(&format!("starting dev cluster {}", paint(BOLD, &config.name)));
        let client = daemon::ready(&home, &config, Some(&mut child)).await?;
        say_started(session, &client).await?;
        return beside(session, &client, loaded, true, Some(started)).await;
    }
    foreground(session, &home, config, loaded).await
}

/// Ends another build that runs the cluster in the background, so that this one takes its place. Containers run on, and
/// are adopted; names and published ports are away until then.
async fn upgrade(session: &mut Session, home: &Home, config: &DevConfig) -> Result<(), Failure> {
    let Some(id) = home.holder() else { return Ok(()) };
    let name = &config.name;
    match daemon::build_of(id) {
        None | Some(Build::Ours) => Ok(()),
        Some(Build::Another { background: false }) => {
            let what =
                format!("process {id} runs dev cluster `{name}` in a terminal, and stops its containers when it ends");
            Err(Failure::refused(what).hint("end it there with Ctrl-C, then run this again"))
        }
        Some(Build::Another { background: true }) => {
            session.terminal.say(&format!("another build runs dev cluster {}: taking its place", paint(BOLD, name)));
            daemon::stop(home).await
        }
    }
}

fn config(session: &Session, place: &DevPlace, range: Option<String>) -> Result<DevConfig, Failure> {
    let name = place.name.clone().or_else(|| session.target.cluster.clone()).unwrap_or_else(|| DEFAULT_DEV.to_owned());
    place::check_name(&name)?;
    let dir = session.places.dev_dir(&name);
    // An empty DOCKER_HOST is none, as for docker itself.
    let docker = if place.docker.is_empty() { checks::DOCKER_DEFAULT.to_owned() } else { place.docker.clone() };
    Ok(DevConfig { name, dir, range, docker, labels: BTreeMap::new(), allow: BTreeSet::new() })
}

/// The named manifest, or that of the directory if there is one.
fn manifest(session: &Session, args: &DevArgs) -> Result<Option<Loaded>, Failure> {
    if args.file.is_none() && intake::chosen(session).is_empty() {
        return Ok(None);
    }
    let manifest = ManifestArgs { profile: args.profile.clone(), ..ManifestArgs::of(args.file.as_ref()) };
    intake::load(session, &manifest).map(Some)
}

async fn say_started(session: &mut Session, client: &Client) -> Result<(), Failure> {
    let version = client.version().await?;
    let ranges = format!("containers {}, services {}", version.container_range, version.service_range);
    session.terminal.say(&paint(DIM, &format!("ready: {ranges}")));
    Ok(())
}

/// With a cluster in another process: apply, and follow unless detached. `cluster_since_unix_ms`: its start, if just now.
async fn beside(
    session: &mut Session,
    client: &Client,
    loaded: Option<Loaded>,
    detach: bool,
    cluster_since_unix_ms: Option<u64>,
) -> Result<Exit, Failure> {
    let Some(loaded) = loaded else {
        let ctl = session.ctl();
        session.terminal.say(&format!("{} {ctl} apply -f compose.yaml", paint(DIM, "next:")));
        return Ok(Exit::Done);
    };
    let (project, since) = (loaded.spec.name.to_string(), now_ms());
    let after = if detach { After::Return } else { After::Follow };
    let exit = apply::send(session, client, loaded, Asked { after, cluster_since_unix_ms, ..ASKED }).await?;
    if detach || exit != Exit::Done {
        return Ok(exit);
    }
    session.terminal.say(&paint(DIM, "following its output; Ctrl-C stops following only"));
    tokio::select! {
        failure = follow(session, client, &project, since) => failure.map(|()| Exit::Done),
        _ = tokio::signal::ctrl_c() => Ok(Exit::Done),
    }
}

/// The cluster in this process, until Ctrl-C.
async fn foreground(
    session: &mut Session,
    home: &Home,
    config: DevConfig,
    loaded: Option<Loaded>,
) -> Result<Exit, Failure> {
    let lock = home.lock()?.ok_or_else(|| Failure::refused("another process has just started it").hint("try again"))?;
    log_to_stderr("warn");
    let mut end = EndSignals::new()?;
    session.terminal.say(&format!("starting dev cluster {}", paint(BOLD, &config.name)));
    let started = now_ms();
    let cluster = cluster::start(config.clone()).await.map_err(|e| start_failed(&config, &e))?;
    // Ctrl-C is looked at first: it ends the cluster, not only the waiting within `live`.
    let lived = tokio::select! {
        biased;
        () = end.next() => Ok(Exit::Interrupted),
        error = cluster.lost() => Err(Failure::refused(format!("the cluster ended: {}", proto::chain::in_one_line(error.as_ref())))),
        lived = live(session, home, &config, loaded, started) => lived.map(|()| Exit::Done),
    };
    let exit = lived?;
    let again = async {
        end.next().await;
        Err(Failure::new(Exit::Interrupted, "stopped at once: containers may still run")
            .hint(format!("`{}` adopts them again", dev_line("", &config.name))))
    };
    tokio::select! {
        stopped = stop(session, cluster, &config.name) => stopped?,
        ended = again => return ended,
    }
    drop(lock);
    // Ctrl-C is how one leaves: that is no failure.
    Ok(if exit == Exit::Interrupted { Exit::Done } else { exit })
}

async fn stop(session: &mut Session, cluster: Cluster, name: &str) -> Result<(), Failure> {
    session.terminal.say("\nstopping… (Ctrl-C again leaves at once)");
    cluster.stop_with_tasks().await.map_err(|e| Failure::refused(format!("containers could not be stopped: {e:#}")))?;
    let (again, down) = (dev_line("", name), dev_line(" down", name));
    session.terminal.say(&paint(DIM, &format!("stopped; data stay. `{again}` starts it again, `{down}` removes it")));
    Ok(())
}

/// The command that leads to this cluster again: `ctl dev down --name b`.
fn dev_line(words: &str, name: &str) -> String {
    let named = if name == DEFAULT_DEV { String::new() } else { format!(" --name {name}") };
    format!("ctl dev{words}{named}")
}

/// Applies and follows. Only an unreachable cluster ends it: a project that does not run can be mended and applied again.
async fn live(
    session: &mut Session,
    home: &Home,
    config: &DevConfig,
    loaded: Option<Loaded>,
    started_unix_ms: u64,
) -> Result<(), Failure> {
    let client = daemon::ready(home, config, None).await?;
    say_started(session, &client).await?;
    let Some(loaded) = loaded else {
        let ctl = session.ctl();
        session.terminal.say(&format!(
            "{} {ctl} apply -f compose.yaml, in another terminal; Ctrl-C here stops",
            paint(DIM, "next:")
        ));
        return std::future::pending().await;
    };
    let (project, since) = (loaded.spec.name.to_string(), now_ms());
    let asked = Asked { after: After::Follow, cluster_since_unix_ms: Some(started_unix_ms), ..ASKED };
    match apply::send(session, &client, loaded, asked).await {
        // The signal that ended the waiting ends the cluster too, by the caller.
        Ok(Exit::Interrupted) => return std::future::pending().await,
        Ok(_) => {}
        Err(failure) => crate::report(&mut session.terminal, &failure),
    }
    session.terminal.say(&paint(DIM, "following its output; Ctrl-C stops the containers, data stay"));
    follow(session, &client, &project, since).await
}

/// Prints what all services of a project write since `since_unix_ms`, also those that come later.
async fn follow(session: &mut Session, client: &Client, project: &str, since_unix_ms: u64) -> Result<(), Failure> {
    let (sender, mut chunks) = mpsc::channel::<Chunk>(64);
    let mut readers: BTreeMap<String, AbortOnDropHandle<()>> = BTreeMap::new();
    let mut watch = Watch::new(client, project, 0);
    let mut printer = Printer::new(true, false);
    loop {
        tokio::select! {
            snapshot = watch.next() => {
                let keys = snapshot?.services.into_iter().filter_map(|s| s.key).filter(|k| k.project == project);
                let services: BTreeSet<String> = keys.map(|k| k.service).collect();
                readers.retain(|service, _| services.contains(service));
                for service in services {
                    // A reader that ended is begun again, from now on.
                    let since = match readers.get(&service) {
                        Some(reader) if reader.is_finished() => now_ms(),
                        Some(_) => continue,
                        None => since_unix_ms,
                    };
                    let query = v1::LogQuery { follow: true, tail: None, since_unix_ms: Some(since) };
                    let key = v1::ServiceKey { project: project.to_owned(), service: service.clone() };
                    readers.insert(service, spawn(client.clone(), Found { key, slot: None }, query, sender.clone()));
                }
            }
            // A service that has just gone has no output: that is no reason to end.
            Some(chunk) = chunks.recv() => if let Ok(chunk) = chunk { printer.chunk(&mut session.terminal, &chunk)? },
        }
    }
}

/// The process in the background: the cluster, until SIGTERM. Containers outlive it.
async fn serve(home: &Home, config: DevConfig) -> Result<Exit, Failure> {
    daemon::leave_terminal()?;
    root()?;
    home.make()?;
    let lock = home.lock()?.ok_or_else(|| Failure::refused(format!("dev cluster `{}` runs already", config.name)))?;
    log_to_stderr("info");
    let mut end = EndSignals::new()?;
    let cluster = cluster::start(config.clone()).await.map_err(|e| start_failed(&config, &e))?;
    tokio::select! {
        () = end.next() => {}
        error = cluster.lost() => return Err(Failure::refused(format!("the cluster ended: {}", proto::chain::in_one_line(error.as_ref())))),
    }
    cluster.shutdown().await.map_err(|e| Failure::refused(format!("the cluster did not end well: {e:#}")))?;
    drop(lock);
    Ok(Exit::Done)
}

fn start_failed(config: &DevConfig, error: &anyhow::Error) -> Failure {
    Failure::refused(format!(
        "dev cluster `{}` cannot be started: {}",
        config.name,
        proto::chain::in_one_line(error.as_ref())
    ))
}

/// SIGINT, SIGTERM, SIGHUP: whichever asks us to end.
#[derive(Debug)]
struct EndSignals([Signal; 3]);

impl EndSignals {
    fn new() -> Result<EndSignals, Failure> {
        let listen = |kind| signal(kind).map_err(|e| Failure::refused(format!("signals cannot be listened to: {e}")));
        let signals =
            [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?];
        Ok(EndSignals(signals))
    }

    fn next(&mut self) -> impl Future<Output = ()> {
        let [interrupt, terminate, hangup] = &mut self.0;
        async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        }
    }
}

fn root() -> Result<(), Failure> {
    checks::root("`ctl dev`", "run `sudo ctl dev`")
}

fn log_to_stderr(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("WHERRY_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi);
    // Fails when there is one already, as in tests: then that one is used.
    let _ = subscriber.try_init();
}

/// `ctl dev down`.
async fn down(session: &mut Session, args: &DevDownArgs) -> Result<Exit, Failure> {
    let mut config = config(session, &args.place, None)?;
    let home = Home::new(config.dir.clone());
    session.target.cluster = Some(config.name.clone());
    session.target.socket = None;
    session.target.context = None;
    if !home.dir.exists() {
        return nothing_there(session, &config);
    }
    root()?;
    config.docker = home.docker().unwrap_or(config.docker);
    // One that was killed is started again, so that all it made can be removed in order.
    let running = if home.holder().is_some() { daemon::ready_unless_gone(&home, &config).await? } else { None };
    let (client, ours) = match running {
        Some(client) => (client, None),
        None => {
            let lock = home.lock()?.ok_or_else(|| Failure::refused("it is being started").hint("try again"))?;
            log_to_stderr("error");
            session.terminal.say(&paint(DIM, "it does not run: starting it to remove what it made"));
            let cluster = cluster::start(config.clone()).await.map_err(|e| start_failed(&config, &e))?;
            (daemon::ready(&home, &config, None).await?, Some((cluster, lock)))
        }
    };
    let kept = delete_all(session, &client, args.volumes).await?;
    match ours {
        Some((cluster, lock)) => {
            cluster.shutdown().await.map_err(|e| Failure::refused(format!("the cluster did not end well: {e:#}")))?;
            drop(lock);
        }
        None => daemon::stop(&home).await?,
    }
    cluster::remove_traces(&config).await.map_err(|e| Failure::refused(format!("{e:#}")))?;
    home.remove()?;
    session.terminal.line(&format!("dev cluster {} removed", config.name))?;
    delete::say_kept(session, &kept);
    Ok(Exit::Done)
}

fn nothing_there(session: &mut Session, config: &DevConfig) -> Result<Exit, Failure> {
    let others = session.places.dev_names();
    let also = if others.is_empty() { String::new() } else { format!("; there is: {}", others.join(", ")) };
    session.terminal.say(&format!("there is no dev cluster `{}`{also}", config.name));
    Ok(Exit::Done)
}

/// Deletes every project and waits; returns the volumes that stay.
async fn delete_all(session: &mut Session, client: &Client, volumes: bool) -> Result<Vec<String>, Failure> {
    let snapshot = client.snapshot("", 0).await?;
    for project in &snapshot.projects {
        client.delete_project(&project.name, volumes).await?;
    }
    for project in &snapshot.projects {
        let ended = wait::until_gone(&mut session.terminal, client, &project.name, None, DOWN_TIMEOUT).await?;
        if !matches!(ended, Ended::Done(_)) {
            wait::conclude(session, ended, DOWN_TIMEOUT, &format!("deleting {}", project.name))?;
            return Err(
                Failure::new(Exit::Interrupted, "the cluster was not removed").hint("`ctl dev down` goes on with it")
            );
        }
        let count =
            snapshot.tasks.iter().filter(|t| t.service.as_ref().is_some_and(|k| k.project == project.name)).count();
        session.terminal.line(&format!(
            "project {} deleted, {count} container{}",
            project.name,
            name::plural(count as u64)
        ))?;
    }
    if volumes {
        delete_kept(client).await?;
        return Ok(Vec::new());
    }
    Ok(snapshot.volumes.iter().map(|v| v.docker_name.clone()).collect())
}

/// Removes the volumes of projects that were deleted earlier, without them.
async fn delete_kept(client: &Client) -> Result<(), Failure> {
    let kept = client.snapshot("", 0).await?.volumes;
    let projects: BTreeSet<&str> = kept.iter().map(|v| v.project.as_str()).collect();
    for project in projects {
        // Those that were there before us are not ours to remove: nothing else of that project is there.
        let _ = client.delete_project(project, true).await;
    }
    let end = tokio::time::Instant::now() + DOWN_TIMEOUT;
    while client.snapshot("", 0).await?.volumes.iter().any(|v| v.state == "removing") {
        if tokio::time::Instant::now() >= end {
            return Err(Failure::new(Exit::TimedOut, "volumes of deleted projects are still there")
                .hint("`ctl get volumes` names them; `ctl dev down --volumes` goes on with it"));
        }
        tokio::time::sleep(VOLUME_POLL).await;
    }
    Ok(())
}
