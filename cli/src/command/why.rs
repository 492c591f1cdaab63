//! `ctl why`: the state of a service, slot, project or node in words: what is, what caused it, what happens next.
//!
//! The words are the server's; this only finds what is meant and lays them out.

use proto::v1;

use crate::args::{WhyArgs, WhyKind};
use crate::exit::{Exit, Failure};
use crate::name::thing::Thing;
use crate::name::{self, Scope, full};
use crate::output::style::{BOLD, DIM, paint};
use crate::output::table::{one_line, wrap};
use crate::session::Session;

/// Columns before a sentence.
const MARGIN: usize = 7;

/// `ctl why`.
pub async fn run(session: &mut Session, args: &WhyArgs) -> Result<Exit, Failure> {
    let (kind, name) = args.asked()?;
    let scope = session.scope(&args.scope);
    let client = session.client().await?;
    let snapshot = client.snapshot("", 0).await?;
    let (thing, others) = meant(kind, name, &scope, &snapshot)?;
    let why = client.why(question(&thing)).await?;
    show(session, &thing, &why)?;
    let ctl = session.ctl();
    for other in others {
        session.terminal.say(&format!("\nnote: there is a {other} too: {ctl} why {other}"));
    }
    let more = more(&thing, &snapshot);
    session.terminal.say(&format!("\n{} {ctl} {more}", paint(DIM, "more:")));
    Ok(Exit::Done)
}

fn meant(
    kind: Option<WhyKind>,
    name: &str,
    scope: &Scope,
    snapshot: &v1::Snapshot,
) -> Result<(Thing, Vec<Thing>), Failure> {
    let thing = match kind {
        None => return Thing::any(name, scope, snapshot),
        Some(WhyKind::Service) => Thing::Service(name::find(name, scope, snapshot)?),
        Some(WhyKind::Project) => Thing::project(name, snapshot)?,
        Some(WhyKind::Node) => Thing::node(name, snapshot)?,
    };
    Ok((thing, Vec::new()))
}

fn question(thing: &Thing) -> v1::WhyRequest {
    match thing {
        Thing::Service(found) => {
            v1::WhyRequest { service: Some(found.key.clone()), slot: found.slot, ..Default::default() }
        }
        Thing::Project(name) => v1::WhyRequest { project: name.clone(), ..Default::default() },
        Thing::Node { id, .. } => v1::WhyRequest { node: id.clone(), ..Default::default() },
    }
}

fn show(session: &mut Session, thing: &Thing, why: &v1::WhyResponse) -> Result<(), Failure> {
    let width = session.terminal.width.map(|width| width.saturating_sub(MARGIN));
    session.terminal.line(&paint(BOLD, &thing.to_string()))?;
    for (head, text) in [("now", &why.now), ("cause", &why.cause), ("next", &why.next)] {
        let lines = if text.is_empty() { Vec::new() } else { wrap(&one_line(text), width) };
        for (number, line) in lines.iter().enumerate() {
            let head = if number == 0 { head } else { "" };
            session.terminal.line(&format!("{}  {line}", paint(DIM, &format!("{head:>5}"))))?;
        }
    }
    if !why.detail.is_empty() {
        session.terminal.line("")?;
    }
    for line in &why.detail {
        for line in detail(&one_line(line), width) {
            session.terminal.line(&format!("  {line}"))?;
        }
    }
    Ok(())
}

/// A line of what is behind it: a container's own output as it is, anything else broken, what follows it further in.
fn detail(line: &str, width: Option<usize>) -> Vec<String> {
    if line.contains(" | ") {
        return vec![line.to_owned()];
    }
    let text = line.trim_start();
    let indent = " ".repeat(line.len() - text.len());
    let lines = wrap(text, width.map(|width| width.saturating_sub(indent.len())));
    lines.iter().enumerate().map(|(n, l)| format!("{indent}{}{l}", if n == 0 { "" } else { "  " })).collect()
}

/// The command that shows most of what stands behind the answer.
fn more(thing: &Thing, snapshot: &v1::Snapshot) -> String {
    match thing {
        Thing::Project(name) => format!("ps -p {name}"),
        Thing::Node { host, .. } => format!("describe node {host}"),
        Thing::Service(found) => {
            let is_it =
                |t: &&v1::Task| t.service.as_ref() == Some(&found.key) && found.slot.is_none_or(|slot| t.slot == slot);
            let mut tasks = snapshot.tasks.iter().filter(is_it).peekable();
            let is_placed = tasks.peek().is_some();
            let has_run = tasks.any(|t| t.status.as_ref().is_some_and(|s| !s.container_id.is_empty()));
            let lacks_node = snapshot.services.iter().any(|s| s.key.as_ref() == Some(&found.key) && s.unplaced > 0);
            match (has_run, is_placed) {
                (true, _) => format!("logs --tail 50 {found}"),
                (false, false) if lacks_node => "get nodes -o wide".to_owned(),
                _ => format!("describe service {}", full(&found.key)),
            }
        }
    }
}
