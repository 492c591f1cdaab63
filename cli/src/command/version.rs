//! `ctl version`: who we are and who answers.

use serde::Serialize;

use crate::args::{Format, VersionArgs};
use crate::exit::{Exit, Failure};
use crate::output::json::{to_json, to_yaml};
use crate::session::Session;

#[derive(Debug, Serialize)]
struct Versions {
    client: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Server>,
}

#[derive(Debug, Serialize)]
struct Server {
    version: String,
    id: String,
    role: String,
    cluster: String,
    dev: bool,
    container_range: String,
    service_range: String,
}

/// `ctl version`. The client's version is printed even when no server answers.
pub async fn run(session: &mut Session, args: &VersionArgs) -> Result<Exit, Failure> {
    let answer = if args.client { Ok(None) } else { server(session).await.map(Some) };
    let (server, failure) = match answer {
        Ok(server) => (server, None),
        Err(failure) => (None, Some(failure)),
    };
    let versions = Versions { client: env!("CARGO_PKG_VERSION").to_owned(), server };
    let text = match args.output.format {
        Format::Json => to_json(&versions),
        Format::Yaml => to_yaml(&versions),
        Format::Name => format!("{}\n", versions.client),
        Format::Table | Format::Wide => table(&versions),
    };
    session.terminal.print(&text)?;
    failure.map_or(Ok(Exit::Done), Err)
}

async fn server(session: &Session) -> Result<Server, Failure> {
    let answer = session.client().await?.version().await?;
    let hello = answer.hello.unwrap_or_default();
    if let Err(problem) = proto::hello::accept(&proto::hello::hello(None, proto::revision::Epoch(0)), &hello) {
        return Err(Failure::refused(problem.to_string()));
    }
    Ok(Server {
        version: hello.version,
        id: answer.server,
        role: answer.role,
        cluster: hello.cluster,
        dev: answer.dev,
        container_range: answer.container_range,
        service_range: answer.service_range,
    })
}

fn table(versions: &Versions) -> String {
    let mut text = format!("client  {}\n", versions.client);
    if let Some(server) = &versions.server {
        let dev = if server.dev { ", dev cluster" } else { "" };
        text += &format!("server  {} ({}{dev})\n", server.version, server.role);
        text += &format!("cluster {}\n", server.cluster);
        text += &format!("ranges  {} containers, {} services\n", server.container_range, server.service_range);
    }
    text
}
