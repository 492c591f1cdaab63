//! `ctl operator`: who operates the cluster from other hosts.

use proto::v1;
use serde::Serialize;

use crate::args::{Format, Output};
use crate::exit::{Exit, Failure};
use crate::output::json::{List, to_json, to_yaml};
use crate::output::table::{Cell, Table};
use crate::session::Session;
use crate::time::{age_since, rfc3339};

/// `ctl operator revoke`.
pub async fn revoke(session: &mut Session, name: &str) -> Result<Exit, Failure> {
    session.client().await?.revoke_identity("operator", name).await?;
    session.terminal.say(&format!("operator {name} is refused from now on"));
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct Operator {
    name: String,
    state: &'static str,
    role: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    project: String,
    joined: Option<String>,
    token: String,
}

/// `ctl operator list`.
pub async fn list(session: &mut Session, output: Output) -> Result<Exit, Failure> {
    let mut answer = session.client().await?.identities().await?;
    answer.identities.retain(|identity| identity.kind == "operator");
    let operator = |o: &v1::Identity| Operator {
        name: o.name.clone(),
        state: "valid",
        role: o.role.clone(),
        project: o.project.clone(),
        joined: rfc3339(o.enrolled_at_unix_ms),
        token: o.token.clone(),
    };
    let items: Vec<Operator> = answer.identities.iter().map(operator).collect();
    if items.is_empty() {
        session
            .terminal
            .say("no operators but who may open the server's socket; `ctl token create operator` invites one");
    }
    let text = match output.format {
        Format::Json => to_json(&List { kind: "OperatorList", revision: answer.revision, items }),
        Format::Yaml => to_yaml(&List { kind: "OperatorList", revision: answer.revision, items }),
        Format::Name => items.iter().map(|o| format!("{}\n", o.name)).collect(),
        Format::Table | Format::Wide => table(&answer, session.terminal.width),
    };
    session.terminal.print(&text)?;
    Ok(Exit::Done)
}

fn table(answer: &v1::GetIdentitiesResponse, width: Option<usize>) -> String {
    let mut table = Table::new(&["NAME", "ROLE", "PROJECT", "TOKEN", "AGE"]);
    for o in &answer.identities {
        table.row(vec![
            Cell::from(o.name.as_str()),
            Cell::from(o.role.as_str()),
            Cell::from(o.project.as_str()),
            Cell::from(o.token.as_str()),
            Cell::from(age_since(answer.at_unix_ms, o.enrolled_at_unix_ms)),
        ]);
    }
    if table.is_empty() { String::new() } else { table.render(width) }
}
