//! `ctl delete`: remove a project or a service, and wait until nothing of it is left.
//!
//! Asks only where somebody can answer. Named volumes stay unless asked.

use std::io::BufRead;

use proto::v1;

use super::wait::{self, Ended};
use crate::args::{Deletable, DeleteArgs, ManifestArgs};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::name::{self, full, plural};
use crate::output::style::{BOLD, DIM, paint};
use crate::session::Session;

/// `ctl delete`.
pub async fn run(session: &mut Session, args: &DeleteArgs) -> Result<Exit, Failure> {
    match (args.kind, &args.name, &args.file) {
        (None, _, Some(file)) => {
            let manifest = ManifestArgs { project: args.scope.project.clone(), ..ManifestArgs::of(Some(file)) };
            let name = crate::intake::project_of(session, &manifest)?;
            project(session, args, &name).await
        }
        (Some(Deletable::Project), Some(name), None) => project(session, args, name).await,
        (Some(Deletable::Service), Some(name), None) => service(session, args, name).await,
        _ => Err(Failure::usage("say what to delete").hint("`ctl delete project NAME`, or `ctl delete -f FILE`")),
    }
}

async fn project(session: &mut Session, args: &DeleteArgs, project: &str) -> Result<Exit, Failure> {
    let client = session.client().await?;
    let snapshot = client.snapshot("", 0).await?;
    if !snapshot.projects.iter().any(|p| p.name == project) {
        let known = snapshot.projects.iter().map(|p| p.name.as_str());
        return Err(name::suggest(name::not_found("project", project), project, known, "see `ctl get projects`"));
    }
    let tasks = of_project(&snapshot, project);
    let volumes = volumes_of(&snapshot, project);
    let also = if args.volumes && !volumes.is_empty() {
        format!(" and {} volume{} with all data", volumes.len(), plural(volumes.len() as u64))
    } else {
        String::new()
    };
    let question =
        format!("Delete project {} with {tasks} container{}{also}?", paint(BOLD, project), plural(tasks as u64));
    if !args.yes && !confirm(session, &question)? {
        return Ok(Exit::Refused);
    }
    client.delete_project(project, args.volumes).await?;
    if !args.waiting.no_wait {
        let ended = wait::until_gone(&mut session.terminal, &client, project, None, args.waiting.timeout).await?;
        if !matches!(ended, Ended::Done(_)) {
            return wait::conclude(session, ended, args.waiting.timeout, &format!("deleting {project}"));
        }
    }
    session
        .terminal
        .line(&format!("project {project} {}", if args.waiting.no_wait { "is being deleted" } else { "deleted" }))?;
    if !args.volumes {
        say_kept(session, &volumes);
    }
    Ok(Exit::Done)
}

async fn service(session: &mut Session, args: &DeleteArgs, name: &str) -> Result<Exit, Failure> {
    if args.volumes {
        return Err(Failure::usage("--volumes is for a whole project: volumes are the project's"));
    }
    name::parse(name)?;
    let scope = session.scope(&args.scope);
    let client: Client = session.client().await?;
    let found = name::find(name, &scope, &client.snapshot("", 0).await?)?;
    if found.slot.is_some() {
        return Err(Failure::usage(format!("`{found}` is one slot; use `ctl scale {}=N`", full(&found.key))));
    }
    if !args.yes && !confirm(session, &format!("Delete service {}?", paint(BOLD, &found.to_string())))? {
        return Ok(Exit::Refused);
    }
    client.delete_service(found.key.clone()).await?;
    if !args.waiting.no_wait {
        let (project, service) = (&found.key.project, &found.key.service);
        let ended =
            wait::until_gone(&mut session.terminal, &client, project, Some(service), args.waiting.timeout).await?;
        if !matches!(ended, Ended::Done(_)) {
            return wait::conclude(session, ended, args.waiting.timeout, &format!("deleting {found}"));
        }
    }
    session
        .terminal
        .line(&format!("service {found} {}", if args.waiting.no_wait { "is being deleted" } else { "deleted" }))?;
    session.terminal.say(&paint(DIM, "the next `ctl apply` of its Compose file creates it again"));
    Ok(Exit::Done)
}

fn of_project(snapshot: &v1::Snapshot, project: &str) -> usize {
    snapshot.tasks.iter().filter(|t| t.service.as_ref().is_some_and(|k| k.project == project)).count()
}

/// Docker's names of a project's volumes.
pub fn volumes_of(snapshot: &v1::Snapshot, project: &str) -> Vec<String> {
    let mut names: Vec<String> =
        snapshot.volumes.iter().filter(|v| v.project == project).map(|v| v.docker_name.clone()).collect();
    names.sort();
    names.dedup();
    names
}

/// Says which volumes stay and how to remove them.
pub fn say_kept(session: &mut Session, volumes: &[String]) {
    if !volumes.is_empty() {
        session.terminal.say(&format!("kept volume{}: {}", plural(volumes.len() as u64), volumes.join(", ")));
        session.terminal.say(&paint(DIM, &format!("next: docker volume rm {}", volumes.join(" "))));
    }
}

/// Yes, or nobody can be asked.
fn confirm(session: &mut Session, question: &str) -> Result<bool, Failure> {
    if !session.terminal.can_ask {
        return Ok(true);
    }
    session.terminal.whisper(&format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(|e| Failure::refused(format!("the answer cannot be read: {e}")))?;
    let yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if !yes {
        session.terminal.say("nothing was deleted");
    }
    Ok(yes)
}
