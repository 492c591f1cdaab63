//! `ctl describe`: one thing in full, with its parts and its latest events.

use std::collections::BTreeMap;

use proto::v1;

use crate::args::{DescribeArgs, Kind};
use crate::exit::{Exit, Failure};
use crate::name::{self, Scope, full};
use crate::output::style::{BOLD, DIM, of_state, paint};
use crate::output::table::{Table, one_line};
use crate::output::views::{self, bytes, cores, health_word, phase_word, task_name};
use crate::session::Session;
use crate::time::{age_since, rfc3339};

/// Events looked through, and shown.
const EVENTS_READ: u32 = 1_000;
const EVENTS_SHOWN: usize = 10;

/// `ctl describe`.
pub async fn run(session: &mut Session, args: &DescribeArgs) -> Result<Exit, Failure> {
    let scope = session.scope(&args.scope);
    let client = session.client().await?;
    let snapshot = client.snapshot("", EVENTS_READ).await?;
    let page = match args.kind {
        Kind::Projects => project(&args.name, &snapshot)?,
        Kind::Services | Kind::Tasks => service_or_task(&args.name, args.kind, &scope, &snapshot)?,
        Kind::Nodes => node(&args.name, &snapshot)?,
        Kind::Servers => server(&args.name, &snapshot)?,
        Kind::Volumes => volume(&args.name, &scope, &snapshot)?,
        Kind::Events | Kind::Audit | Kind::All => {
            return Err(Failure::usage("only a project, service, task, node, server or volume can be described"));
        }
    };
    session.terminal.print(&page.render(session.terminal.width))?;
    if let Some(next) = page.next {
        let ctl = session.ctl();
        session.terminal.say(&format!("\n{} {ctl} {next}", paint(DIM, "next:")));
    }
    Ok(Exit::Done)
}

/// Fields, then tables.
#[derive(Debug, Default)]
struct Page {
    fields: Vec<(&'static str, String)>,
    sections: Vec<(&'static str, Table)>,
    next: Option<String>,
}

impl Page {
    fn field(&mut self, name: &'static str, value: impl Into<String>) {
        let value: String = value.into();
        if !value.is_empty() {
            self.fields.push((name, value));
        }
    }

    fn state(&mut self, state: &str) {
        self.field("State", paint(of_state(state), state));
    }

    fn moment(&mut self, name: &'static str, now_unix_ms: u64, unix_ms: u64) {
        if let Some(text) = rfc3339(unix_ms) {
            self.field(name, format!("{text} ({} ago)", age_since(now_unix_ms, unix_ms)));
        }
    }

    fn section(&mut self, name: &'static str, table: Table) {
        if !table.is_empty() {
            self.sections.push((name, table));
        }
    }

    fn events(&mut self, snapshot: &v1::Snapshot, about: impl Fn(&str) -> bool) {
        let mut part = snapshot.clone();
        part.events.retain(|e| about(&e.subject));
        part.events.sort_by_key(|e| std::cmp::Reverse((e.revision, e.number)));
        part.events.truncate(EVENTS_SHOWN);
        self.section("Events", views::events(&part, false));
    }

    fn render(&self, width: Option<usize>) -> String {
        let longest = self.fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in &self.fields {
            let mut lines = value.lines();
            let head = paint(DIM, &format!("{name:longest$}"));
            text += &format!("{head}  {}\n", lines.next().unwrap_or(""));
            for line in lines {
                text += &format!("{:longest$}  {line}\n", "");
            }
        }
        for (name, table) in &self.sections {
            text += &format!("\n{}\n{}", paint(BOLD, name), table.render(width));
        }
        text
    }
}

fn project(name: &str, snapshot: &v1::Snapshot) -> Result<Page, Failure> {
    let project = name::thing::project(name, snapshot)?;
    let mut page = Page::default();
    page.field("Project", paint(BOLD, &project.name));
    page.state(&project.state);
    page.field("Release", project.release.to_string());
    page.moment("Applied", snapshot.at_unix_ms, project.applied_at_unix_ms);
    page.field("Uid", &project.uid);
    let mut part = snapshot.clone();
    let mine = |key: &Option<v1::ServiceKey>| key.as_ref().is_some_and(|k| k.project == name);
    part.services.retain(|s| mine(&s.key));
    part.tasks.retain(|t| mine(&t.service));
    part.volumes.retain(|v| v.project == name);
    page.section("Services", views::services(&part, false));
    page.section("Tasks", views::tasks(&part, false));
    page.section("Volumes", views::volumes(&part, false));
    page.events(snapshot, |subject| subject == name || subject.starts_with(&format!("{name}/")));
    Ok(page)
}

fn service_or_task(text: &str, kind: Kind, scope: &Scope, snapshot: &v1::Snapshot) -> Result<Page, Failure> {
    let by_id = snapshot.tasks.iter().find(|t| kind == Kind::Tasks && proto::id::TaskId(t.id).to_string() == text);
    if let Some(task) = by_id {
        return Ok(task_page(task, snapshot));
    }
    let found = name::find(text, scope, snapshot)?;
    let Some(slot) = found.slot else {
        if kind == Kind::Tasks {
            let example = full(&found.key);
            return Err(
                Failure::usage(format!("`{text}` is a service")).hint(format!("name a slot such as `{example}.1`"))
            );
        }
        return Ok(service_page(&found.key, snapshot));
    };
    let of_slot = snapshot.tasks.iter().filter(|t| t.service.as_ref() == Some(&found.key) && t.slot == slot);
    match of_slot.max_by_key(|t| (t.desired != "stop", t.id)) {
        Some(task) => Ok(task_page(task, snapshot)),
        None => Err(Failure::refused(format!("`{found}` has no container now")).hint(format!("ctl why {found}"))),
    }
}

fn service_page(key: &v1::ServiceKey, snapshot: &v1::Snapshot) -> Page {
    let mut page = Page::default();
    let name = full(key);
    page.field("Service", paint(BOLD, &name));
    for service in snapshot.services.iter().filter(|s| s.key.as_ref() == Some(key)) {
        page.state(&service.state);
        page.field("Reason", one_line(&service.reason));
        page.field("Image", &service.image);
        page.field(
            if service.global { "Nodes" } else { "Replicas" },
            format!("{} wanted, {} ready, {} current", service.replicas, service.ready, service.current),
        );
        page.field("Generation", service.generation.to_string());
        if let Some(rollout) = &service.rollout {
            let done = rollout.slots.iter().filter(|s| s.state == "done").count();
            let cause =
                if rollout.cause.is_empty() { String::new() } else { format!("\n{}", one_line(&rollout.cause)) };
            let slots = rollout.slots.len();
            page.field(
                "Rollout",
                format!("release {} {}, {done} of {slots} slots done{cause}", rollout.release, rollout.state),
            );
        }
        let port = |p: &v1::PublishedPort| match p.problem.as_str() {
            "" => views::port_text(p),
            problem => format!("{}: {problem}", views::port_text(p)),
        };
        page.field("Ports", service.ports.iter().map(port).collect::<Vec<_>>().join("\n"));
        let labels: BTreeMap<&String, &String> = service.labels.iter().collect();
        page.field("Labels", labels.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("\n"));
        page.field("Names", format!("{0}, {0}.{1}, {0}.{1}.svc.cluster.local", key.service, key.project));
        page.moment("Created", snapshot.at_unix_ms, service.created_at_unix_ms);
        page.field("Uid", &service.uid);
    }
    let mut part = snapshot.clone();
    part.tasks.retain(|t| t.service.as_ref() == Some(key));
    page.section("Tasks", views::tasks(&part, false));
    page.events(snapshot, |subject| subject == name || subject.starts_with(&format!("{name}.")));
    page.next = Some(format!("why {name}"));
    page
}

fn task_page(task: &v1::Task, snapshot: &v1::Snapshot) -> Page {
    let mut page = Page::default();
    let status = task.status.clone().unwrap_or_default();
    let (name, now) = (task_name(task), snapshot.at_unix_ms);
    page.field("Task", format!("{} ({})", paint(BOLD, &name), proto::id::TaskId(task.id)));
    page.state(&task.state);
    page.field("Reason", one_line(&task.reason));
    page.field("Node", format!("{} ({})", task.node_name, task.node));
    page.field("Image", &task.image);
    page.field("Addresses", task.addresses.join(", "));
    page.field(
        "Generation",
        format!("{}{}", task.generation, if task.outdated { ", not the present one" } else { "" }),
    );
    page.field("Desired", &task.desired);
    page.field("Phase", phase_word(status.phase()));
    page.field("Health", health_word(status.health()));
    page.field("Restarts", status.incarnation.saturating_sub(1).to_string());
    page.field("Container", &status.container_id);
    page.field("Exit code", status.exit_code.map(|c| c.to_string()).unwrap_or_default());
    page.field("Memory", if status.oom_killed { "killed for lack of memory" } else { "" });
    page.field("Message", one_line(&status.message));
    page.moment("Created", now, task.created_at_unix_ms);
    page.moment("Started", now, status.started_at_unix_ms.unwrap_or(0));
    page.moment("Finished", now, status.finished_at_unix_ms.unwrap_or(0));
    let retry = status.retry_at_unix_ms.filter(|at| *at > now).map(|at| format!("in {}", crate::time::age(at - now)));
    page.field("Next try", retry.unwrap_or_default());
    page.field("Last output", status.last_log.iter().map(|l| one_line(l)).collect::<Vec<_>>().join("\n"));
    page.events(snapshot, |subject| subject == name);
    page.next = Some(format!("why {name}"));
    page
}

fn node(name: &str, snapshot: &v1::Snapshot) -> Result<Page, Failure> {
    let node = name::thing::node(name, snapshot)?;
    let info = node.info.clone().unwrap_or_default();
    let (conditions, reserved) = (node.conditions.clone().unwrap_or_default(), node.reserved.unwrap_or_default());
    let mut page = Page::default();
    page.field("Node", format!("{} ({})", paint(BOLD, &info.hostname), info.id));
    page.state(&node.state);
    page.field("Reason", one_line(&node.reason));
    page.field("Engine problem", one_line(&conditions.engine_problem));
    page.field(
        "System",
        format!("{}/{}, Docker Engine {}, agent {}", info.os, info.arch, engine(&info), info.agent_version),
    );
    page.field("Processors", format!("{}, {} reserved", cores(info.cpu_millis), cores(reserved.cpu_millis)));
    page.field("Memory", format!("{}, {} reserved", bytes(info.memory_bytes), bytes(reserved.memory_bytes)));
    page.field("Addresses", info.addresses.join(", "));
    page.field("Subnet", format!("{}, gateway {}", node.subnet, node.gateway));
    page.field("Labels", labels(node).join("\n"));
    page.field(
        "Labelled",
        if node.labels_revision > 0 { format!("at revision {}", node.labels_revision) } else { String::new() },
    );
    let stranger = |s: &v1::Stranger| {
        let short: String = s.container_id.chars().take(12).collect();
        format!("{} ({short}) of {}", s.name, full(&s.service.clone().unwrap_or_default()))
    };
    page.field("Strangers", conditions.strangers.iter().map(stranger).collect::<Vec<_>>().join("\n"));
    let problems = conditions.forwards.iter().filter(|f| !f.problem.is_empty());
    let problem = |f: &v1::ForwardStatus| format!("{}: {}", f.port.as_ref().map_or(0, |p| p.published), f.problem);
    page.field("Port problems", problems.map(problem).collect::<Vec<_>>().join("\n"));
    let mut part = snapshot.clone();
    part.tasks.retain(|t| t.node == info.id);
    page.section("Tasks", views::tasks(&part, false));
    page.events(snapshot, |subject| subject == info.id || subject == info.hostname);
    page.next = Some(format!("why node {}", info.hostname));
    Ok(page)
}

/// Its labels, and which of them an operator gave it.
fn labels(node: &v1::Node) -> Vec<String> {
    let own = |key: &str| node.info.as_ref()?.labels.get(key);
    let told = |(key, value): (&str, &str)| {
        let whose = match (node.labels.contains_key(key), own(key)) {
            (false, _) => String::new(),
            (true, None) => "  (an operator's)".to_owned(),
            (true, Some(own)) => format!("  (an operator's, over its agent's {key}={own})"),
        };
        one_line(&format!("{key}={value}{whose}"))
    };
    views::labels(node).into_iter().map(told).collect()
}

/// An agent that joined before its engine answered does not know it.
fn engine(info: &v1::NodeInfo) -> &str {
    if info.engine_version.is_empty() { "of unknown version" } else { &info.engine_version }
}

fn server(name: &str, snapshot: &v1::Snapshot) -> Result<Page, Failure> {
    let found = snapshot.servers.iter().find(|s| s.id == name);
    let server = found.ok_or_else(|| name::not_found("server", name).hint("see `ctl get servers`"))?;
    let mut page = Page::default();
    page.field("Server", paint(BOLD, &server.id));
    page.state(&server.state);
    page.field("Role", &server.role);
    page.field("Version", &server.version);
    page.field("Term", server.term.to_string());
    page.field("Log", format!("{} written, {} applied", server.last_log, server.applied));
    page.field("Safety", &server.safety);
    Ok(page)
}

fn volume(name: &str, scope: &Scope, snapshot: &v1::Snapshot) -> Result<Page, Failure> {
    let (project, short) = match name.split_once('/') {
        Some((project, short)) => (Some(project), short),
        None => (scope.project(), name),
    };
    let is_it = |v: &&v1::Volume| v.name == short && project.is_none_or(|p| v.project == p);
    let found = snapshot.volumes.iter().find(is_it);
    let volume = found.ok_or_else(|| name::not_found("volume", name).hint("see `ctl get volumes`"))?;
    let mut page = Page::default();
    page.field("Volume", paint(BOLD, &format!("{}/{}", volume.project, volume.name)));
    page.state(&volume.state);
    page.field("Node", &volume.node);
    page.field("Docker name", &volume.docker_name);
    page.moment("Created", snapshot.at_unix_ms, volume.created_at_unix_ms);
    Ok(page)
}
