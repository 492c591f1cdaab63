//! `ctl events` and `ctl get events`: what happened, once or as it happens.
//!
//! Each event is shown once and in order, over reconnections; what was missed is said. Never changes anything.

use std::time::Duration;

use proto::v1;
use tokio::time::Instant;

use crate::args::{EventsArgs, Format};
use crate::client::{CallError, Client};
use crate::exit::{Exit, Failure};
use crate::name;
use crate::output::json::{self, List, to_json, to_json_line, to_yaml};
use crate::output::style::{BAD, paint};
use crate::output::views;
use crate::session::Session;

/// Events shown at first unless a span of time or a number is asked for.
const TAIL: u32 = 200;
/// Events looked through for a project that is gone.
const EVENTS_READ: u32 = 1_000;
const WATCHING: &str = "watching events";
const RECONNECT_PAUSE: Duration = Duration::from_millis(300);

/// `ctl events`.
pub async fn run(session: &mut Session, args: &EventsArgs) -> Result<Exit, Failure> {
    let client = session.client().await?;
    let project = args.scope.project.clone().unwrap_or_default();
    if !project.is_empty() {
        has_project(&client, &project).await?;
    }
    let tail = args.tail.or(args.since.is_none().then_some(TAIL));
    let since = args.since.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let request = v1::WatchEventsRequest {
        after: None,
        project,
        subject: args.name.clone().unwrap_or_default(),
        tail,
        since_unix_ms: since.map_or(0, |span| crate::time::now_ms().saturating_sub(span)),
        once: !args.watch,
    };
    if args.watch { follow(session, &client, request, args).await } else { list(session, &client, request, args).await }
}

/// A project that is gone has events too; one that never was is a mistake.
async fn has_project(client: &Client, project: &str) -> Result<(), Failure> {
    let all = client.snapshot("", EVENTS_READ).await?;
    let has_events = all.events.iter().any(|e| e.subject.split(['/', '.']).next() == Some(project));
    let known = || all.projects.iter().map(|p| p.name.as_str());
    if has_events || known().any(|name| name == project) {
        return Ok(());
    }
    Err(name::suggest(name::not_found("project", project), project, known(), "see `ctl get projects`"))
}

async fn list(
    session: &mut Session,
    client: &Client,
    request: v1::WatchEventsRequest,
    args: &EventsArgs,
) -> Result<Exit, Failure> {
    let mut stream = client.events(request).await?;
    let mut snapshot = v1::Snapshot::default();
    while let Some(batch) = stream.message().await.map_err(|s| client.judge_stream(WATCHING, &s))? {
        snapshot.at_unix_ms = batch.at_unix_ms;
        snapshot.revision = batch.revision;
        snapshot.events.extend(batch.events);
    }
    let items = || snapshot.events.iter().map(json::Event::from).collect();
    let whole = List { kind: "EventList", revision: snapshot.revision, items: items() };
    let text = match args.output.format {
        Format::Json => to_json(&whole),
        Format::Yaml => to_yaml(&whole),
        Format::Name => snapshot.events.iter().map(|e| format!("{}\n", e.subject)).collect(),
        _ if snapshot.events.is_empty() => {
            let of = args.name.as_ref().map(|n| format!(" of `{n}`")).unwrap_or_default();
            session.terminal.say(&format!("no events{of} are kept"));
            return Ok(Exit::Done);
        }
        Format::Wide => views::events(&snapshot, true).render(None),
        Format::Table => views::events(&snapshot, false).render(session.terminal.width),
    };
    session.terminal.print(&text)?;
    Ok(Exit::Done)
}

async fn follow(
    session: &mut Session,
    client: &Client,
    mut request: v1::WatchEventsRequest,
    args: &EventsArgs,
) -> Result<Exit, Failure> {
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let mut lost_since: Option<Instant> = None;
    loop {
        let told = tell(session, client, &mut request, args, &mut lost_since);
        let problem = tokio::select! {
            told = told => match told { Ok(problem) => problem, Err(failure) => return Err(failure) },
            _ = &mut interrupt => return Ok(Exit::Done),
        };
        let since = *lost_since.get_or_insert_with(Instant::now);
        let passes = matches!(problem, CallError::Unreachable { .. } | CallError::Deadline { .. });
        if !passes || since.elapsed() >= client.read_deadline {
            return Err(problem.into());
        }
        tokio::select! {
            () = tokio::time::sleep(RECONNECT_PAUSE) => {}
            _ = &mut interrupt => return Ok(Exit::Done),
        }
    }
}

/// Tells what one stream brings; returns why it ended. `request` is then the one that goes on behind it.
async fn tell(
    session: &mut Session,
    client: &Client,
    request: &mut v1::WatchEventsRequest,
    args: &EventsArgs,
    lost_since: &mut Option<Instant>,
) -> Result<CallError, Failure> {
    let mut stream = match client.events(request.clone()).await {
        Ok(stream) => stream,
        Err(problem) => return Ok(problem),
    };
    loop {
        let batch = match stream.message().await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(client.stream_ended()),
            Err(status) => return Ok(client.judge_stream(WATCHING, &status)),
        };
        *lost_since = None;
        if batch.missed > 0 {
            say_missed(session, batch.missed, args.output.format)?;
        }
        for event in &batch.events {
            let text = line(event, args.output.format, session.terminal.width.is_some());
            session.terminal.print(&text)?;
        }
        // What is old was chosen by the first request; a later one goes on behind it.
        *request = v1::WatchEventsRequest { after: Some(batch.last), tail: None, since_unix_ms: 0, ..request.clone() };
    }
}

fn say_missed(session: &mut Session, missed: u64, form: Format) -> Result<(), Failure> {
    let were = if missed == 1 { "event was" } else { "events were" };
    let words = format!("{missed} {were} missed: more happened meanwhile than is kept");
    if form == Format::Json {
        session.terminal.print(&to_json_line(&json::Missed::of(missed, &words)))?;
    }
    session.terminal.say(&paint(BAD, &words));
    Ok(())
}

fn line(event: &v1::Event, form: Format, on_terminal: bool) -> String {
    match form {
        Format::Json => to_json_line(&json::Event::from(event)),
        Format::Yaml => format!("---\n{}", to_yaml(&json::Event::from(event))),
        Format::Name => format!("{}\n", event.subject),
        Format::Table | Format::Wide => views::event_line(event, form == Format::Wide, on_terminal),
    }
}
