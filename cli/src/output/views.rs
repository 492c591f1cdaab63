//! What each kind looks like in a table: which columns, in which order, which of them only with `-o wide`.
//!
//! Pure: a snapshot in, a table out. "Now" is the snapshot's own time, so that a skewed clock does not show.

use std::collections::BTreeMap;

use anstyle::Style;
use proto::v1;

use super::style;
use super::table::{Cell, Table, one_line};
use crate::name::full;
use crate::time::{age_since, rfc3339};

/// `shop/web.1`.
pub fn task_name(task: &v1::Task) -> String {
    let key = task.service.clone().unwrap_or_default();
    format!("{}.{}", full(&key), task.slot)
}

/// The word for a phase.
pub fn phase_word(phase: v1::Phase) -> &'static str {
    match phase {
        v1::Phase::Unspecified | v1::Phase::Pending => "pending",
        v1::Phase::Preparing => "preparing",
        v1::Phase::Prepared => "prepared",
        v1::Phase::Starting => "starting",
        v1::Phase::Running => "running",
        v1::Phase::Exited => "exited",
        v1::Phase::Failed => "failed",
        v1::Phase::Stopped => "stopped",
    }
}

/// The word for a health.
pub fn health_word(health: v1::Health) -> &'static str {
    match health {
        v1::Health::Unspecified | v1::Health::None => "none",
        v1::Health::Starting => "starting",
        v1::Health::Healthy => "healthy",
        v1::Health::Unhealthy => "unhealthy",
    }
}

/// `8080->80`, `127.0.0.1:8080->80`, `8053->53/udp`, `8080!->80` when it is not bound.
pub fn port_text(port: &v1::PublishedPort) -> String {
    let spec = port.port.clone().unwrap_or_default();
    let host = spec.host_ip.as_ref().map_or(String::new(), |ip| match ip.contains(':') {
        true => format!("[{ip}]:"),
        false => format!("{ip}:"),
    });
    let (number, mark) = match (port.bound, port.problem.is_empty()) {
        (0, true) => (spec.published, ""),
        (0, false) => (spec.published, "!"),
        (bound, _) => (bound, ""),
    };
    let protocol = if spec.protocol() == v1::Protocol::Udp { "/udp" } else { "" };
    format!("{host}{number}{mark}->{}{protocol}", spec.target)
}

fn ports_text(service: &v1::Service) -> String {
    let mut texts: Vec<String> = service.ports.iter().map(port_text).collect();
    texts.sort();
    texts.dedup();
    texts.join(", ")
}

/// Projects.
pub fn projects(snapshot: &v1::Snapshot) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "RELEASE", "SERVICES", "APPLIED"]);
    for p in &snapshot.projects {
        let applied = age_since(snapshot.at_unix_ms, p.applied_at_unix_ms);
        let numbers = [p.release.to_string(), p.services.to_string()];
        let [release, services] = numbers.map(Cell::from);
        table.row(vec![p.name.as_str().into(), Cell::state(&p.state), release, services, applied.into()]);
    }
    table
}

/// Services.
pub fn services(snapshot: &v1::Snapshot, wide: bool) -> Table {
    let titles = ["NAME", "STATE", "READY", "IMAGE", "PORTS", "GENERATION", "CURRENT", "AGE", "REASON"];
    let mut table = Table::new(&titles);
    for s in &snapshot.services {
        let key = s.key.clone().unwrap_or_default();
        table.row(vec![
            full(&key).into(),
            Cell::state(&s.state),
            ready_cell(s),
            Cell::image(&s.image),
            ports_text(s).into(),
            only(wide, s.generation.to_string()),
            only(wide, format!("{}/{}", s.current, s.replicas)),
            age_since(snapshot.at_unix_ms, s.created_at_unix_ms).into(),
            s.reason.as_str().into(),
        ]);
    }
    table
}

fn ready_cell(service: &v1::Service) -> Cell {
    let enough = service.ready >= service.replicas;
    let style = if enough || service.state == "complete" { style::PLAIN } else { style::of_state(&service.state) };
    Cell::styled(format!("{}/{}", service.ready, service.replicas), style)
}

/// Tasks: what runs where.
pub fn tasks(snapshot: &v1::Snapshot, wide: bool) -> Table {
    let titles =
        ["NAME", "STATE", "NODE", "RESTARTS", "AGE", "IMAGE", "ID", "ADDRESS", "GENERATION", "CONTAINER", "REASON"];
    let mut table = Table::new(&titles);
    for t in &snapshot.tasks {
        let status = t.status.clone().unwrap_or_default();
        let restarts = status.incarnation.saturating_sub(1);
        let container: String = status.container_id.chars().take(12).collect();
        table.row(vec![
            Cell::styled(task_name(t), if t.outdated || t.desired == "stop" { style::DIM } else { style::PLAIN }),
            Cell::state(&t.state),
            t.node_name.as_str().into(),
            Cell::styled(restarts.to_string(), if restarts > 0 { style::MOVING } else { style::PLAIN }),
            age_since(snapshot.at_unix_ms, t.created_at_unix_ms).into(),
            only(wide, t.image.clone()),
            only(wide, proto::id::TaskId(t.id).to_string()),
            only(wide, t.addresses.join(", ")),
            only(wide, format!("{}{}", t.generation, if t.outdated { " (old)" } else { "" })),
            only(wide, container),
            t.reason.as_str().into(),
        ]);
    }
    table
}

/// A node's labels as placement sees them: an operator's wins over its agent's own.
pub fn labels(node: &v1::Node) -> BTreeMap<&str, &str> {
    let own = node.info.iter().flat_map(|info| &info.labels);
    own.chain(&node.labels).map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

/// Nodes.
pub fn nodes(snapshot: &v1::Snapshot, wide: bool) -> Table {
    let titles = ["NAME", "STATE", "TASKS", "CPU", "MEMORY", "ID", "SUBNET", "GATEWAY", "ENGINE", "AGENT", "REASON"];
    let mut table = Table::new(&titles);
    for n in &snapshot.nodes {
        let info = n.info.clone().unwrap_or_default();
        let reserved = n.reserved.unwrap_or_default();
        let engine_problem = n.conditions.as_ref().map_or("", |c| c.engine_problem.as_str());
        let reason = if n.reason.is_empty() { engine_problem } else { n.reason.as_str() };
        table.row(vec![
            info.hostname.as_str().into(),
            Cell::state(&n.state),
            n.tasks.to_string().into(),
            format!("{}/{}", cores(reserved.cpu_millis), cores(info.cpu_millis)).into(),
            format!("{}/{}", bytes(reserved.memory_bytes), bytes(info.memory_bytes)).into(),
            only(wide, info.id),
            only(wide, n.subnet.clone()),
            only(wide, n.gateway.clone()),
            only(wide, info.engine_version),
            only(wide, info.agent_version),
            reason.into(),
        ]);
    }
    table
}

/// Servers.
pub fn servers(snapshot: &v1::Snapshot, wide: bool) -> Table {
    let mut table =
        Table::new(&["NAME", "HOST", "ROLE", "STATE", "VERSION", "TERM", "LOG", "APPLIED", "ADDRESS", "SAFETY"]);
    let is_one_of_several = snapshot.servers.len() > 1;
    for s in &snapshot.servers {
        table.row(vec![
            s.id.as_str().into(),
            only(wide || is_one_of_several, s.hostname.clone()),
            Cell::state(&s.role),
            Cell::state(&s.state),
            s.version.as_str().into(),
            only(wide, s.term.to_string()),
            only(wide, s.last_log.to_string()),
            only(wide, s.applied.to_string()),
            only(wide, s.address.clone()),
            s.safety.as_str().into(),
        ]);
    }
    table
}

/// Volumes.
pub fn volumes(snapshot: &v1::Snapshot, wide: bool) -> Table {
    let mut table = Table::new(&["NAME", "STATE", "NODE", "DOCKER NAME", "AGE"]);
    for v in &snapshot.volumes {
        let host = |n: &&v1::Node| n.info.as_ref().is_some_and(|i| i.id == v.node);
        let host = snapshot.nodes.iter().find(host).and_then(|n| n.info.as_ref()).map(|i| i.hostname.clone());
        table.row(vec![
            format!("{}/{}", v.project, v.name).into(),
            Cell::state(&v.state),
            host.filter(|_| !wide).unwrap_or_else(|| v.node.clone()).into(),
            v.docker_name.as_str().into(),
            age_since(snapshot.at_unix_ms, v.created_at_unix_ms).into(),
        ]);
    }
    table
}

/// Events, oldest first, so that the newest stands next to the prompt.
pub fn events(snapshot: &v1::Snapshot, wide: bool) -> Table {
    let mut table = Table::new(&["AGE", "SUBJECT", "EVENT", "REVISION", "MESSAGE"]);
    let mut ordered: Vec<&v1::Event> = snapshot.events.iter().collect();
    ordered.sort_by_key(|e| (e.revision, e.number));
    for e in ordered {
        let moment = match wide {
            true => rfc3339(e.at_unix_ms).unwrap_or_default(),
            false => age_since(snapshot.at_unix_ms, e.at_unix_ms),
        };
        table.row(vec![
            Cell::styled(moment, style::DIM),
            e.subject.as_str().into(),
            Cell::styled(e.kind.as_str(), event_style(&e.kind)),
            only(wide, e.revision.to_string()),
            e.message.as_str().into(),
        ]);
    }
    table
}

/// One event as a line of a stream: when, about what, what, and why.
pub fn event_line(event: &v1::Event, wide: bool, on_terminal: bool) -> String {
    const SECONDS: std::ops::Range<usize> = 11..19;
    let moment = rfc3339(event.at_unix_ms).unwrap_or_default();
    // While one watches, the time of day is enough, and the line fits.
    let moment = match moment.get(SECONDS).filter(|_| on_terminal && !wide) {
        Some(of_day) => format!("{of_day}Z"),
        None => moment,
    };
    let column = if on_terminal { 16 } else { 20 };
    let number = if wide { format!("{:>6}  ", event.number) } else { String::new() };
    let (subject, message) = (one_line(&event.subject), one_line(&event.message));
    let kind = style::paint(event_style(&event.kind), &format!("{:16}", one_line(&event.kind)));
    let line = format!("{number}{}  {subject:column$}  {kind}  {message}", style::paint(style::DIM, &moment));
    format!("{}\n", line.trim_end())
}

fn event_style(kind: &str) -> Style {
    let has = |word: &str| kind.contains(word);
    if has("fail") || has("lost") || has("unhealthy") || has("exited") {
        style::BAD
    } else if has("ready") || has("complete") {
        style::GOOD
    } else {
        style::PLAIN
    }
}

/// A column that only `-o wide` fills; a column that is empty everywhere is not shown.
fn only(wide: bool, text: String) -> Cell {
    if wide { text.into() } else { "".into() }
}

/// Processors with at most one decimal.
pub fn cores(millis: u64) -> String {
    match millis % 1000 {
        0 => (millis / 1000).to_string(),
        _ => format!("{:.1}", millis as f64 / 1000.0),
    }
}

/// Bytes in the largest binary unit that leaves at least one.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return count.to_string();
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value < 10.0 { format!("{value:.1}{}", UNITS[unit]) } else { format!("{value:.0}{}", UNITS[unit]) }
}

/// Targets that do not speak HTTP, so that no link is offered for them.
const NOT_HTTP: [u32; 16] = [21, 22, 25, 53, 110, 143, 389, 587, 993, 1433, 1883, 3306, 4222, 5432, 5672, 6379];

/// Published ports as something to click on or to connect to: (service, `http://localhost:8080`).
pub fn urls(snapshot: &v1::Snapshot) -> Vec<(String, String)> {
    let mut urls = Vec::new();
    for service in &snapshot.services {
        let name = service.key.clone().unwrap_or_default().service;
        for port in service.ports.iter().filter(|p| p.bound != 0) {
            let spec = port.port.clone().unwrap_or_default();
            let host = match spec.host_ip.as_deref() {
                None | Some("0.0.0.0" | "::" | "127.0.0.1" | "::1") => published_host(snapshot, &port.node),
                Some(ip) if ip.contains(':') => format!("[{ip}]"),
                Some(ip) => ip.to_owned(),
            };
            let address = match (spec.protocol(), spec.target) {
                (v1::Protocol::Udp, _) => format!("{host}:{}/udp", port.bound),
                (_, target) if NOT_HTTP.contains(&target) => format!("{host}:{}", port.bound),
                (_, 443 | 8443) => format!("https://{host}:{}", port.bound),
                _ if port.bound == 80 => format!("http://{host}"),
                _ => format!("http://{host}:{}", port.bound),
            };
            urls.push((name.clone(), address));
        }
    }
    urls.dedup();
    urls
}

/// `localhost` while there is one node: ctl talks to it over a unix socket, so it is this machine.
fn published_host(snapshot: &v1::Snapshot, node: &str) -> String {
    let info = |n: &v1::Node| n.info.clone().unwrap_or_default();
    let of_node = snapshot.nodes.iter().map(info).find(|i| i.id == node || i.hostname == node);
    match of_node {
        Some(info) if snapshot.nodes.len() > 1 => info.addresses.first().cloned().unwrap_or(info.hostname),
        _ => "localhost".to_owned(),
    }
}
