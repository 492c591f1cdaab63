//! `ctl context`: clusters on other hosts.

use proto::join_token::TokenKind;
use proto::peer::{OPERATORS_PORT, with_port};
use serde::Serialize;

use crate::args::{ContextAddArgs, Format, Output};
use crate::context::Contexts;
use crate::exit::{Exit, Failure};
use crate::output::json::{List, to_json, to_yaml};
use crate::output::table::{Cell, Table};
use crate::session::Session;
use crate::time::{age, now_ms, rfc3339};
use crate::token_text;

/// `ctl context add`.
pub async fn add(session: &mut Session, args: &ContextAddArgs) -> Result<Exit, Failure> {
    let given = token_text::read(session, args.token_file.as_deref(), TokenKind::Operator)?.ok_or_else(|| {
        Failure::usage("no join token was given").hint("name a file with --token-file, or `-` for standard input")
    })?;
    let servers = args.server.iter().map(|server| with_port(server, OPERATORS_PORT)).collect();
    let contexts = Contexts::of(&session.places);
    let kept = contexts.join(&args.name, servers, &given.token).await?;
    let who = kept.subject().map(|subject| subject.name()).unwrap_or_default();
    session.terminal.say(&format!("context {} added: you are operator {who} there", args.name));
    if contexts.current()?.is_none() {
        contexts.choose(&args.name)?;
        session.terminal.say(&format!("ctl uses {} from now on when no cluster is named", args.name));
    }
    Ok(Exit::Done)
}

/// `ctl context use`.
pub fn choose(session: &mut Session, name: &str) -> Result<Exit, Failure> {
    Contexts::of(&session.places).choose(name)?;
    session.terminal.say(&format!("ctl uses {name} from now on when no cluster is named"));
    Ok(Exit::Done)
}

/// `ctl context remove`.
pub fn remove(session: &mut Session, name: &str) -> Result<Exit, Failure> {
    Contexts::of(&session.places).remove(name)?;
    let note = "an admin can revoke its operator with `ctl operator revoke`";
    session.terminal.say(&format!("context {name} removed with its key; {note}"));
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct Context {
    name: String,
    state: &'static str,
    current: bool,
    operator: String,
    servers: Vec<String>,
    cluster: String,
    expires: Option<String>,
    #[serde(skip)]
    left_ms: u64,
}

/// `ctl context list`.
pub fn list(session: &mut Session, output: Output) -> Result<Exit, Failure> {
    let contexts = Contexts::of(&session.places);
    let (current, now) = (contexts.current()?, now_ms());
    let mut items = Vec::new();
    for name in contexts.names() {
        let current = current.as_ref() == Some(&name);
        items.push(match contexts.kept(&name) {
            Ok(kept) => Context {
                state: if kept.is_over(now) { "expired" } else { "valid" },
                current,
                operator: kept.subject().map(|subject| subject.name()).unwrap_or_default(),
                servers: kept.servers.clone(),
                cluster: kept.cluster().map(|cluster| cluster.to_string()).unwrap_or_default(),
                expires: rfc3339(kept.until_unix_ms),
                left_ms: kept.until_unix_ms.saturating_sub(now),
                name,
            },
            Err(failure) => {
                session.terminal.say(&failure.message);
                continue;
            }
        });
    }
    if items.is_empty() {
        session.terminal.say("no contexts; `ctl context add NAME --server HOST --token-file FILE` joins a cluster");
    }
    let text = match output.format {
        Format::Json => to_json(&List { kind: "ContextList", revision: 0, items }),
        Format::Yaml => to_yaml(&List { kind: "ContextList", revision: 0, items }),
        Format::Name => items.iter().map(|c| format!("{}\n", c.name)).collect(),
        Format::Table | Format::Wide => table(&items, session.terminal.width),
    };
    session.terminal.print(&text)?;
    Ok(Exit::Done)
}

fn table(items: &[Context], width: Option<usize>) -> String {
    let mut table = Table::new(&["NAME", "IN USE", "OPERATOR", "SERVERS", "CERTIFICATE"]);
    for context in items {
        let left = if context.left_ms == 0 { "expired".to_owned() } else { format!("{} left", age(context.left_ms)) };
        table.row(vec![
            Cell::from(context.name.as_str()),
            Cell::from(if context.current { "yes" } else { "" }),
            Cell::from(context.operator.as_str()),
            Cell::from(context.servers.join(",")),
            Cell::from(left),
        ]);
    }
    if table.is_empty() { String::new() } else { table.render(width) }
}
