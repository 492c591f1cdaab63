//! `ctl rollout`: how far a service's last change has come, how earlier ones ended, and the hand on the lever.
//!
//! Decides nothing: the servers roll out, and take back, by themselves.

use std::collections::BTreeMap;

use proto::v1;

use super::progress::Goal;
use super::wait::{self, Ended};
use crate::args::{Format, InProject, RolloutArgs, RolloutCommand, RolloutShowArgs, RolloutSteerArgs, RolloutUndoArgs};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::intake;
use crate::name::{self, full};
use crate::output::json::{self, List};
use crate::output::style::{BOLD, DIM, paint};
use crate::output::table::{Cell, Table, one_line};
use crate::output::views;
use crate::session::Session;
use crate::time::age_since;

/// `ctl rollout`.
pub async fn run(session: &mut Session, args: &RolloutArgs) -> Result<Exit, Failure> {
    match &args.command {
        RolloutCommand::Status(args) => status(session, args).await,
        RolloutCommand::History(args) => history(session, args).await,
        RolloutCommand::Undo(args) => undo(session, args).await,
        RolloutCommand::Pause(args) => steer(session, args, v1::RolloutAction::Pause, "paused").await,
        RolloutCommand::Resume(args) => steer(session, args, v1::RolloutAction::Resume, "goes on").await,
    }
}

/// The service that is meant, as the cluster has it now.
async fn find(
    session: &mut Session,
    scope: &InProject,
    typed: &str,
) -> Result<(Client, v1::Snapshot, v1::Service), Failure> {
    name::parse(typed)?;
    let scope = session.scope(scope);
    let client = session.client().await?;
    let snapshot = client.snapshot("", 0).await?;
    let found = name::find(typed, &scope, &snapshot)?;
    if found.slot.is_some() {
        return Err(Failure::usage(format!("`{found}` is one slot; a service is rolled out")));
    }
    let service = snapshot.services.iter().find(|s| s.key.as_ref() == Some(&found.key)).cloned();
    let service = service.ok_or_else(|| Failure::refused(format!("service `{found}` does not exist")))?;
    Ok((client, snapshot, service))
}

async fn status(session: &mut Session, args: &RolloutShowArgs) -> Result<Exit, Failure> {
    let (_, snapshot, service) = find(session, &args.scope, &args.service).await?;
    let text = match args.output.format {
        Format::Json => json::to_json(&status_list(&snapshot, &service)),
        Format::Yaml => json::to_yaml(&status_list(&snapshot, &service)),
        Format::Name => format!("{}\n", full(&service.key.clone().unwrap_or_default())),
        Format::Table | Format::Wide => status_text(&snapshot, &service, session.terminal.width),
    };
    session.terminal.print(&text)?;
    if matches!(args.output.format, Format::Table | Format::Wide) {
        let (ctl, name) = (session.ctl(), full(&service.key.clone().unwrap_or_default()));
        let more = match service.rollout.as_ref().map_or("", |r| r.state.as_str()) {
            "" | "done" | "rolled-back" => format!("rollout history {name}"),
            _ => format!("why {name}"),
        };
        session.terminal.say(&format!("\n{} {ctl} {more}", paint(DIM, "more:")));
    }
    Ok(Exit::Done)
}

fn status_list(snapshot: &v1::Snapshot, service: &v1::Service) -> List<json::Rollout> {
    let items = service.rollout.iter().map(|r| json::Rollout::new(service, r)).collect();
    List { kind: "RolloutList", revision: snapshot.revision, items }
}

fn status_text(snapshot: &v1::Snapshot, service: &v1::Service, width: Option<usize>) -> String {
    let key = service.key.clone().unwrap_or_default();
    let head = paint(BOLD, &full(&key));
    let Some(rollout) = &service.rollout else {
        return format!("{head} is as first applied: nothing was rolled out\n");
    };
    let done = rollout.slots.iter().filter(|s| s.state == "done").count();
    let word = paint(crate::output::style::of_state(&rollout.state), &rollout.state);
    let mut text = format!(
        "{head} release {} {word}: {done} of {} slots done, began {} ago\n",
        rollout.release,
        rollout.slots.len(),
        age_since(snapshot.at_unix_ms, rollout.began_at_unix_ms)
    );
    if !rollout.cause.is_empty() {
        text.push_str(&format!("{}  {}\n", paint(DIM, "cause"), one_line(&rollout.cause)));
    }
    let order = match rollout.stop_first.as_str() {
        "" => "the old container of a slot serves until the new one is done".to_owned(),
        why => format!("the old container of a slot stops before the new one starts: {why}"),
    };
    text.push_str(&format!("{}  {order}\n\n", paint(DIM, "order")));
    text.push_str(&slots(snapshot, &key, rollout).render(width));
    for line in &rollout.log {
        text.push_str(&format!("  | {}\n", one_line(line)));
    }
    text
}

/// One row per slot: the old container and the new one.
fn slots(snapshot: &v1::Snapshot, key: &v1::ServiceKey, rollout: &v1::Rollout) -> Table {
    let mut table = Table::new(&["SLOT", "STATE", "OLD", "NEW", "CAUSE"]);
    for slot in &rollout.slots {
        let tasks: Vec<&v1::Task> =
            snapshot.tasks.iter().filter(|t| t.service.as_ref() == Some(key) && t.slot == slot.slot).collect();
        let told = |old: bool| {
            let task = tasks.iter().rev().find(|t| t.outdated == old && (old || t.desired != "stop"));
            task.map_or(Cell::from(""), |t| Cell::styled(t.state.as_str(), crate::output::style::of_state(&t.state)))
        };
        let name = format!("{}.{}", key.service, slot.slot);
        table.row(vec![name.into(), Cell::state(&slot.state), told(true), told(false), slot.cause.as_str().into()]);
    }
    table
}

async fn history(session: &mut Session, args: &RolloutShowArgs) -> Result<Exit, Failure> {
    let (client, snapshot, service) = find(session, &args.scope, &args.service).await?;
    let answer = client.history(service.key.clone().unwrap_or_default()).await?;
    let list = || List {
        kind: "ReleaseList",
        revision: snapshot.revision,
        items: answer.releases.iter().map(json::Release::from).collect(),
    };
    let text = match args.output.format {
        Format::Json => json::to_json(&list()),
        Format::Yaml => json::to_yaml(&list()),
        Format::Name => answer.releases.iter().map(|r| format!("{}\n", r.number)).collect(),
        Format::Table => releases(&answer).render(session.terminal.width),
        Format::Wide => releases(&answer).render(None),
    };
    session.terminal.print(&text)?;
    Ok(Exit::Done)
}

fn releases(answer: &v1::GetHistoryResponse) -> Table {
    let mut table = Table::new(&["RELEASE", "AGE", "WHAT", "IMAGE", "REPLICAS", "OUTCOME", "CAUSE"]);
    for release in &answer.releases {
        table.row(vec![
            release.number.to_string().into(),
            age_since(answer.at_unix_ms, release.at_unix_ms).into(),
            release.what.as_str().into(),
            Cell::image(&release.image),
            if release.global { "global".into() } else { release.replicas.to_string().into() },
            Cell::state(&release.outcome),
            release.cause.as_str().into(),
        ]);
    }
    table
}

async fn undo(session: &mut Session, args: &RolloutUndoArgs) -> Result<Exit, Failure> {
    let (client, _, service) = find(session, &args.scope, &args.service).await?;
    let key = service.key.clone().unwrap_or_default();
    let answer = client.steer(key.clone(), v1::RolloutAction::Undo, args.to_release).await?;
    intake::say_server_notices(session, &answer.notices);
    let change = answer.services.iter().find(|s| s.service == key.service).map_or("unchanged", |s| s.change.as_str());
    session.terminal.line(&format!("{} {change} by release {}", paint(BOLD, &full(&key)), answer.release))?;
    if args.waiting.no_wait {
        return Ok(Exit::Done);
    }
    let now = client.snapshot(&key.project, 0).await?;
    let replicas = now.services.iter().find(|s| s.key.as_ref() == Some(&key)).map_or(0, |s| s.replicas);
    let goal = Goal {
        project: key.project.clone(),
        revision: answer.revision,
        release: Some(answer.release),
        services: BTreeMap::from([(key.service.clone(), replicas)]),
        ..Goal::default()
    };
    let ended = wait::until(&mut session.terminal, &client, goal, args.waiting.timeout).await?;
    if let Ended::Done(snapshot) = &ended {
        let mut own = (**snapshot).clone();
        own.tasks.retain(|t| t.service.as_ref() == Some(&key));
        let width = session.terminal.width;
        session.terminal.print(&format!("\n{}", views::tasks(&own, false).render(width)))?;
    }
    wait::conclude(session, ended, args.waiting.timeout, &format!("service {}", full(&key)))
}

async fn steer(
    session: &mut Session,
    args: &RolloutSteerArgs,
    action: v1::RolloutAction,
    word: &str,
) -> Result<Exit, Failure> {
    let (client, _, service) = find(session, &args.scope, &args.service).await?;
    let key = service.key.clone().unwrap_or_default();
    let answer = client.steer(key.clone(), action, None).await?;
    let note = if answer.changed { "" } else { " already" };
    session.terminal.line(&format!("{} {word}{note}", full(&key)))?;
    Ok(Exit::Done)
}
