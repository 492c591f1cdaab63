//! `ctl get` and `ctl ps`: what there is, as a table, JSON, YAML or names; once, or whenever it changes.

use proto::v1;

use super::wait::Watch;
use crate::args::{Format, GetArgs, Kind, Output, PsArgs};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::name::{self, Scope};
use crate::output::json::{self, List, to_json, to_yaml};
use crate::output::style::{DIM, paint};
use crate::output::table::Table;
use crate::output::views;
use crate::session::Session;

/// What is listed, resolved.
#[derive(Debug, Clone)]
struct Selection {
    kind: Kind,
    name: Option<String>,
    scope: Scope,
}

/// `ctl get`.
pub async fn run(session: &mut Session, args: &GetArgs) -> Result<Exit, Failure> {
    if args.kind == Kind::Events && args.after.is_none() {
        return super::events::run(session, &args.events()).await;
    }
    if args.kind == Kind::Audit {
        return super::audit::run(session, args).await;
    }
    if args.since.is_some() || args.limit.is_some() || args.after.is_some() {
        let of = if args.after.is_some() {
            "--after is of `get audit`"
        } else {
            "--since and --limit are of events and audit"
        };
        return Err(Failure::usage(of).hint("leave it out: these lists are of what there is now"));
    }
    // A list is of all projects unless one is named; a name alone is looked for in the directory's.
    let here = args.name.is_some().then(|| session.scope(&args.scope)).and_then(|scope| scope.here);
    let scope = Scope { asked: args.scope.project.clone(), here };
    let selection = Selection { kind: args.kind, name: args.name.clone(), scope };
    list(session, selection, args.output, args.watch, args.stale).await
}

/// `ctl ps`.
pub async fn ps(session: &mut Session, args: &PsArgs) -> Result<Exit, Failure> {
    let mut scope = if args.all { Scope::default() } else { session.scope(&args.scope) };
    if args.name.is_none() && args.scope.project.is_none() {
        // The directory's project, unless it does not run: then all.
        let client = session.client().await?;
        let here = scope.here.take();
        let snapshot = read(&client, args.stale).await?;
        scope.asked = here.filter(|here| snapshot.projects.iter().any(|p| p.name == *here));
    }
    let selection = Selection { kind: Kind::Tasks, name: args.name.clone(), scope };
    list(session, selection, args.output, args.watch, args.stale).await
}

async fn read(client: &Client, stale: bool) -> Result<v1::Snapshot, Failure> {
    Ok(if stale { client.stale_snapshot().await? } else { client.snapshot("", 0).await? })
}

async fn list(
    session: &mut Session,
    selection: Selection,
    output: Output,
    watch: bool,
    stale: bool,
) -> Result<Exit, Failure> {
    let client = session.client().await?;
    let snapshot = read(&client, stale).await?;
    if stale {
        let known = format!("as the server that was asked knew it at revision {}; it may be old", snapshot.revision);
        session.terminal.say(&format!("{} {known}", paint(DIM, "note:")));
    }
    let shown = select(&selection, snapshot)?;
    if !watch {
        let text = render(&selection, &shown, output, session.terminal.width);
        if text.is_empty() {
            say_nothing(session, &selection);
        }
        session.terminal.print(&text)?;
        return Ok(Exit::Done);
    }
    follow(session, Watch::new(&client, "", 0), &selection, output).await
}

async fn follow(
    session: &mut Session,
    mut watch: Watch,
    selection: &Selection,
    output: Output,
) -> Result<Exit, Failure> {
    let mut before = String::new();
    let mut drawn = 0;
    loop {
        let snapshot = tokio::select! {
            snapshot = watch.next() => snapshot?,
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        };
        // While watching, what is named may come and go.
        let shown = select(selection, snapshot).unwrap_or_default();
        let text = render(selection, &shown, output, session.terminal.width);
        if text == before {
            continue;
        }
        if session.terminal.out_is_terminal {
            let up = if drawn > 0 { format!("\x1b[{drawn}A\x1b[J") } else { String::new() };
            session.terminal.print(&format!("{up}{text}"))?;
            drawn = text.lines().count();
        } else {
            let gap = if before.is_empty() || output.format == Format::Json { "" } else { "\n" };
            session.terminal.print(&format!("{gap}{text}"))?;
        }
        before = text;
    }
}

fn say_nothing(session: &mut Session, selection: &Selection) {
    let what = kind_word(selection.kind);
    let place = selection.scope.asked.as_ref().map(|p| format!(" in project {p}")).unwrap_or_default();
    let ctl = session.ctl();
    let next = match selection.kind {
        Kind::Nodes | Kind::Servers | Kind::Events | Kind::Audit => String::new(),
        _ => format!("; apply a Compose file with `{ctl} apply`"),
    };
    session.terminal.say(&format!("no {what}{place}{next}"));
}

fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Projects => "projects",
        Kind::Services => "services",
        Kind::Tasks => "tasks",
        Kind::Nodes => "nodes",
        Kind::Servers => "servers",
        Kind::Volumes => "volumes",
        Kind::Events => "events",
        Kind::Audit => "audit",
        Kind::All => "projects",
    }
}

/// The part of the snapshot that was asked for. A name that is not there is a failure.
fn select(selection: &Selection, mut snapshot: v1::Snapshot) -> Result<v1::Snapshot, Failure> {
    if let Some(project) = &selection.scope.asked {
        narrow_to_project(project, &mut snapshot)?;
    }
    let Some(name) = &selection.name else { return Ok(snapshot) };
    match selection.kind {
        Kind::Projects => {
            let known: Vec<String> = snapshot.projects.iter().map(|p| p.name.clone()).collect();
            snapshot.projects.retain(|p| p.name == *name);
            exists("project", name, snapshot.projects.is_empty(), &known)?;
        }
        Kind::Services | Kind::Tasks => {
            let found = name::find(name, &selection.scope, &snapshot)?;
            snapshot.services.retain(|s| s.key.as_ref() == Some(&found.key));
            snapshot.tasks.retain(|t| t.service.as_ref() == Some(&found.key) && found.slot.is_none_or(|n| n == t.slot));
        }
        Kind::Nodes => {
            let known: Vec<String> =
                snapshot.nodes.iter().filter_map(|n| Some(n.info.as_ref()?.hostname.clone())).collect();
            snapshot.nodes.retain(|n| n.info.as_ref().is_some_and(|i| i.hostname == *name || i.id == *name));
            exists("node", name, snapshot.nodes.is_empty(), &known)?;
        }
        Kind::Servers => {
            let known: Vec<String> = snapshot.servers.iter().map(|s| s.id.clone()).collect();
            snapshot.servers.retain(|s| s.id == *name);
            exists("server", name, snapshot.servers.is_empty(), &known)?;
        }
        Kind::Volumes => {
            let (project, short) = split_project(name, &selection.scope);
            let known: Vec<String> = snapshot.volumes.iter().map(|v| v.name.clone()).collect();
            snapshot.volumes.retain(|v| v.name == short && project.as_ref().is_none_or(|p| v.project == *p));
            exists("volume", &short, snapshot.volumes.is_empty(), &known)?;
        }
        Kind::Events => snapshot.events.retain(|e| about(&e.subject, name)),
        // Not of a snapshot: `audit` lists it.
        Kind::Audit => {}
        Kind::All => return Err(Failure::usage("`get all` takes no name").hint("narrow it with -p PROJECT")),
    }
    Ok(snapshot)
}

fn split_project(name: &str, scope: &Scope) -> (Option<String>, String) {
    match name.split_once('/') {
        Some((project, short)) => (Some(project.to_owned()), short.to_owned()),
        None => (scope.project().map(str::to_owned), name.to_owned()),
    }
}

fn exists(kind: &str, name: &str, empty: bool, known: &[String]) -> Result<(), Failure> {
    if !empty {
        return Ok(());
    }
    let list = format!("see `ctl get {kind}s`");
    Err(name::suggest(name::not_found(kind, name), name, known.iter().map(String::as_str), &list))
}

/// Is an event's subject the thing or a part of it?
fn about(subject: &str, name: &str) -> bool {
    let parts =
        |text: &str| text.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '.']));
    parts(subject) || subject.split_once('/').is_some_and(|(_, service)| parts(service))
}

fn narrow_to_project(project: &str, snapshot: &mut v1::Snapshot) -> Result<(), Failure> {
    let known: Vec<String> = snapshot.projects.iter().map(|p| p.name.clone()).collect();
    exists("project", project, !known.iter().any(|p| p == project), &known)?;
    let of_project = |key: &Option<v1::ServiceKey>| key.as_ref().is_some_and(|k| k.project == project);
    snapshot.projects.retain(|p| p.name == project);
    snapshot.services.retain(|s| of_project(&s.key));
    snapshot.tasks.retain(|t| of_project(&t.service));
    snapshot.volumes.retain(|v| v.project == project);
    snapshot.events.retain(|e| e.subject == project || e.subject.starts_with(&format!("{project}/")));
    Ok(())
}

fn render(selection: &Selection, snapshot: &v1::Snapshot, output: Output, width: Option<usize>) -> String {
    let wide = output.format == Format::Wide;
    match output.format {
        Format::Json => structured(selection.kind, snapshot, Form::Json),
        Format::Yaml => structured(selection.kind, snapshot, Form::Yaml),
        Format::Name => names(selection.kind, snapshot).iter().map(|name| format!("{name}\n")).collect(),
        Format::Table | Format::Wide => {
            let width = if wide { None } else { width };
            let tables: Vec<String> = tables(selection.kind, snapshot, wide)
                .iter()
                .filter(|t| !t.is_empty())
                .map(|t| t.render(width))
                .collect();
            tables.join("\n")
        }
    }
}

fn tables(kind: Kind, s: &v1::Snapshot, wide: bool) -> Vec<Table> {
    match kind {
        Kind::Projects => vec![views::projects(s)],
        Kind::Services => vec![views::services(s, wide)],
        Kind::Tasks => vec![views::tasks(s, wide)],
        Kind::Nodes => vec![views::nodes(s, wide)],
        Kind::Servers => vec![views::servers(s, wide)],
        Kind::Volumes => vec![views::volumes(s, wide)],
        Kind::Events => vec![views::events(s, wide)],
        Kind::Audit => Vec::new(),
        Kind::All => vec![views::projects(s), views::services(s, wide), views::tasks(s, wide), views::volumes(s, wide)],
    }
}

fn names(kind: Kind, s: &v1::Snapshot) -> Vec<String> {
    let service = |s: &v1::Service| name::full(&s.key.clone().unwrap_or_default());
    match kind {
        Kind::Projects => s.projects.iter().map(|p| p.name.clone()).collect(),
        Kind::Services | Kind::All => s.services.iter().map(service).collect(),
        Kind::Tasks => s.tasks.iter().map(views::task_name).collect(),
        Kind::Nodes => s.nodes.iter().filter_map(|n| Some(n.info.as_ref()?.hostname.clone())).collect(),
        Kind::Servers => s.servers.iter().map(|s| s.id.clone()).collect(),
        Kind::Volumes => s.volumes.iter().map(|v| format!("{}/{}", v.project, v.name)).collect(),
        Kind::Events => s.events.iter().map(|e| e.subject.clone()).collect(),
        Kind::Audit => Vec::new(),
    }
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Yaml,
}

fn write<T: serde::Serialize>(form: Form, kind: &'static str, revision: u64, items: Vec<T>) -> String {
    let list = List { kind, revision, items };
    match form {
        Form::Json => to_json(&list),
        Form::Yaml => to_yaml(&list),
    }
}

fn structured(kind: Kind, s: &v1::Snapshot, form: Form) -> String {
    let at = s.revision;
    match kind {
        Kind::Projects => write(form, "ProjectList", at, s.projects.iter().map(json::Project::from).collect()),
        Kind::Services => write(form, "ServiceList", at, s.services.iter().map(json::Service::from).collect()),
        Kind::Tasks => write(form, "TaskList", at, s.tasks.iter().map(json::Task::from).collect()),
        Kind::Nodes => write(form, "NodeList", at, s.nodes.iter().map(json::Node::from).collect()),
        Kind::Servers => write(form, "ServerList", at, s.servers.iter().map(json::Server::from).collect()),
        Kind::Volumes => write(form, "VolumeList", at, s.volumes.iter().map(json::Volume::from).collect()),
        Kind::Audit => String::new(),
        Kind::Events => write(form, "EventList", at, s.events.iter().map(json::Event::from).collect()),
        Kind::All => {
            let projects = s.projects.iter().map(|p| json::Any::Project(p.into()));
            let services = s.services.iter().map(|v| json::Any::Service(Box::new(v.into())));
            let tasks = s.tasks.iter().map(|t| json::Any::Task(Box::new(t.into())));
            let volumes = s.volumes.iter().map(|v| json::Any::Volume(v.into()));
            write(form, "List", at, projects.chain(services).chain(tasks).chain(volumes).collect())
        }
    }
}
