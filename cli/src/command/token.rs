//! `ctl token`: join tokens. Only the token itself goes to stdout, so that it can be piped.

use proto::v1;
use serde::Serialize;

use crate::args::{Format, Joining, Output, Role, TokenCreateArgs};
use crate::exit::{Exit, Failure};
use crate::output::json::{List, to_json, to_yaml};
use crate::output::style::{DIM, paint};
use crate::output::table::{Cell, Table};
use crate::session::Session;
use crate::time::{age, age_since, rfc3339};

/// `ctl token create`.
pub async fn create(session: &mut Session, args: &TokenCreateArgs) -> Result<Exit, Failure> {
    let role = match (args.kind, args.role) {
        (Joining::Agent | Joining::Server, Some(_)) => {
            return Err(Failure::usage("only operators have a role; leave --role out"));
        }
        (Joining::Agent | Joining::Server, None) => "",
        (Joining::Operator, None | Some(Role::Viewer)) => "viewer",
        (Joining::Operator, Some(Role::Deployer)) => "deployer",
        (Joining::Operator, Some(Role::Admin)) => "admin",
    };
    let kind = match args.kind {
        Joining::Agent => "agent",
        Joining::Operator => "operator",
        Joining::Server => "server",
    };
    let asked = v1::CreateTokenRequest {
        kind: kind.to_owned(),
        uses: args.uses,
        valid_ms: u64::try_from(args.expires.as_millis()).unwrap_or(u64::MAX),
        role: role.to_owned(),
        project: args.project.clone().unwrap_or_default(),
        name: args.name.clone().unwrap_or_default(),
    };
    let valid = age(asked.valid_ms);
    let made = session.client().await?.create_token(asked).await?;
    session.terminal.line(&made.token)?;
    let times = if args.uses == 1 { "once".to_owned() } else { format!("{} times", args.uses) };
    let mut notes = vec![format!("token {}: {times}, within {valid}; it is not shown again", made.id)];
    notes.push(match (made.address.as_str(), args.kind) {
        ("", _) => "this server lets no other host in: start it with --listen IP".to_owned(),
        (address, Joining::Agent) => format!("on the other host: agent --join {address} --token-file FILE"),
        (address, Joining::Server) => {
            format!("on the other host: orchestrator --listen IP --join {address} --token-file FILE")
        }
        (address, Joining::Operator) => format!("there: ctl context add NAME --server {address} --token-file FILE"),
    });
    for note in notes {
        session.terminal.say(&paint(DIM, &note));
    }
    Ok(Exit::Done)
}

/// `ctl token revoke`.
pub async fn revoke(session: &mut Session, id: &str) -> Result<Exit, Failure> {
    session.client().await?.revoke_token(id).await?;
    session.terminal.say(&format!("token {id} revoked: nobody joins by it any more, who joined stays"));
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct Token {
    name: String,
    state: String,
    kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    role: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    project: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    operator: String,
    uses: u32,
    used: u32,
    made: Option<String>,
    expires: Option<String>,
}

impl From<&v1::Token> for Token {
    fn from(t: &v1::Token) -> Token {
        Token {
            name: t.id.clone(),
            state: t.state.clone(),
            kind: t.kind.clone(),
            role: t.role.clone(),
            project: t.project.clone(),
            operator: t.name.clone(),
            uses: t.uses,
            used: t.used,
            made: rfc3339(t.made_at_unix_ms),
            expires: rfc3339(t.expires_at_unix_ms),
        }
    }
}

/// `ctl token list`.
pub async fn list(session: &mut Session, output: Output) -> Result<Exit, Failure> {
    let answer = session.client().await?.tokens().await?;
    let items: Vec<Token> = answer.tokens.iter().map(Token::from).collect();
    if items.is_empty() {
        session.terminal.say("no join tokens; `ctl token create agent` makes one");
    }
    let text = match output.format {
        Format::Json => to_json(&List { kind: "TokenList", revision: answer.revision, items }),
        Format::Yaml => to_yaml(&List { kind: "TokenList", revision: answer.revision, items }),
        Format::Name => items.iter().map(|t| format!("{}\n", t.name)).collect(),
        Format::Table | Format::Wide => table(&answer, session.terminal.width),
    };
    session.terminal.print(&text)?;
    Ok(Exit::Done)
}

fn table(answer: &v1::GetTokensResponse, width: Option<usize>) -> String {
    let mut table = Table::new(&["ID", "FOR", "STATE", "ROLE", "PROJECT", "NAME", "USED", "EXPIRES", "AGE"]);
    for t in &answer.tokens {
        let left = t.expires_at_unix_ms.saturating_sub(answer.at_unix_ms);
        table.row(vec![
            Cell::from(t.id.as_str()),
            Cell::from(t.kind.as_str()),
            Cell::state(&t.state),
            Cell::from(t.role.as_str()),
            Cell::from(t.project.as_str()),
            Cell::from(t.name.as_str()),
            Cell::from(format!("{}/{}", t.used, t.uses)),
            Cell::from(if left == 0 { String::new() } else { format!("in {}", age(left)) }),
            Cell::from(age_since(answer.at_unix_ms, t.made_at_unix_ms)),
        ]);
    }
    if table.is_empty() { String::new() } else { table.render(width) }
}
