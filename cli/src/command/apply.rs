//! `ctl apply`: create or change a project from its Compose file, and wait until it runs.
//!
//! Nothing is sent before the whole manifest is known to be good. Also called by `dev`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use proto::id::{BlobDigest, ServiceName};
use proto::spec::{BlobKind, ProjectSpec};
use proto::v1;

use super::progress::Goal;
use super::wait::{self, Ended};
use crate::args::{ApplyArgs, Waiting};
use crate::client::Client;
use crate::dev::home::Home;
use crate::exit::{Exit, Failure};
use crate::intake;
use crate::manifest::Loaded;
use crate::output::style::{BOLD, DIM, GOOD, MOVING, paint};
use crate::output::views;
use crate::session::Session;

/// `ctl apply`.
pub async fn run(session: &mut Session, args: &ApplyArgs) -> Result<Exit, Failure> {
    if args.dry_run {
        return super::plan::run(session, &args.plan()).await;
    }
    let loaded = intake::load(session, &args.manifest)?;
    let client = session.client().await?;
    let asked = Asked {
        waiting: args.waiting,
        prune: args.prune,
        expected_release: args.expect_release,
        after: After::Return,
        cluster_since_unix_ms: None,
    };
    send(session, &client, loaded, asked).await
}

/// How a manifest is to be applied.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// How long to wait.
    pub waiting: Waiting,
    /// Services that the file no longer has are removed.
    pub prune: bool,
    /// It is refused unless this is the present release.
    pub expected_release: Option<u64>,
    /// What the caller does then.
    pub after: After,
    /// When the cluster was started, if that was for this apply.
    pub cluster_since_unix_ms: Option<u64>,
}

/// What follows a successful apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The prompt: the next command is suggested.
    Return,
    /// The output of the services.
    Follow,
}

/// Builds, uploads, applies and waits.
pub async fn send(session: &mut Session, client: &Client, loaded: Loaded, asked: Asked) -> Result<Exit, Failure> {
    let waiting = asked.waiting;
    intake::say_notices(session, &loaded);
    let loaded = build(session, client, loaded).await?;
    let spec = upload(client, &loaded).await?;
    let answer = client
        .apply(v1::ProjectSpec::from(&spec), asked.prune, asked.expected_release)
        .await
        .map_err(|e| intake::locate(e, &loaded))?;
    intake::say_server_notices(session, &answer.notices);
    say_changes(session, &spec, &answer)?;
    if waiting.no_wait {
        let ctl = session.ctl();
        session.terminal.say(&paint(DIM, &format!("not waiting; see `{ctl} ps -p {}`", spec.name)));
        return Ok(Exit::Done);
    }
    let goal = Goal { cluster_since_unix_ms: asked.cluster_since_unix_ms, ..goal(&spec, &answer) };
    let ended = wait::until(&mut session.terminal, client, goal, waiting.timeout).await?;
    if let Ended::Done(snapshot) = &ended {
        show_result(session, snapshot)?;
        if asked.after == After::Return {
            suggest(session, &spec);
        }
    }
    wait::conclude(session, ended, waiting.timeout, &format!("project {}", spec.name))
}

/// Builds what is to be built; possible only where the images are used, on a dev cluster.
async fn build(session: &mut Session, client: &Client, mut loaded: Loaded) -> Result<Loaded, Failure> {
    let Some(first) = loaded.builds.keys().next() else { return Ok(loaded) };
    may_build(client, first).await?;
    let docker = docker_of(client);
    for (service, request) in std::mem::take(&mut loaded.builds) {
        session.terminal.say(&format!("building {} for {service}", request.tag));
        let built = crate::dev::build::image(&mut session.terminal, &docker, &service, &request).await?;
        if let Some(spec) = loaded.spec.services.get_mut(&service) {
            let container = Arc::make_mut(&mut spec.container);
            container.image = built.tag;
            container.image_id = built.id;
        }
    }
    Ok(loaded)
}

/// Images are built where they are used: on a dev cluster.
pub(super) async fn may_build(client: &Client, service: &ServiceName) -> Result<(), Failure> {
    if client.version().await?.dev {
        return Ok(());
    }
    let message =
        format!("service {service} has `build:`, and this cluster has many hosts: images must come from a registry");
    Err(Failure::refused(message).hint("build and push it, write `image:` instead; or use a cluster made by `ctl dev`"))
}

/// The engine of the dev cluster behind that socket.
pub(super) fn docker_of(client: &Client) -> String {
    let home = client.socket().and_then(Path::parent).map(|dir| Home::new(dir.to_owned()));
    home.and_then(|home| home.docker()).unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned())
}

async fn upload(client: &Client, loaded: &Loaded) -> Result<ProjectSpec, Failure> {
    let mut digests: BTreeMap<(BlobKind, String), BlobDigest> = BTreeMap::new();
    for blob in &loaded.blobs {
        let kind = match blob.kind {
            BlobKind::Config => v1::BlobKind::Config,
            BlobKind::Secret => v1::BlobKind::Secret,
        };
        let digest = client.put_blob(kind, blob.content.to_vec()).await.map_err(|e| intake::locate(e, loaded))?;
        digests.insert((blob.kind, blob.name.clone()), BlobDigest(digest));
    }
    loaded.with_digests(&digests).map_err(|e| Failure::refused(e.to_string()))
}

fn goal(spec: &ProjectSpec, answer: &v1::ApplyProjectResponse) -> Goal {
    let removed: BTreeSet<String> =
        answer.services.iter().filter(|s| s.change == "removed").map(|s| s.service.clone()).collect();
    Goal {
        project: spec.name.to_string(),
        revision: answer.revision,
        release: Some(answer.release),
        services: spec.services.iter().map(|(name, s)| (name.to_string(), s.replicas)).collect(),
        removed,
        cluster_since_unix_ms: None,
    }
}

/// One line per service, or "no change".
fn say_changes(session: &mut Session, spec: &ProjectSpec, answer: &v1::ApplyProjectResponse) -> Result<(), Failure> {
    let head = format!("{} release {}", paint(BOLD, spec.name.as_str()), answer.release);
    if !answer.changed {
        session.terminal.line(&format!("{head}: no change"))?;
        return Ok(());
    }
    session.terminal.line(&head)?;
    let width = answer.services.iter().map(|s| s.service.len()).max().unwrap_or(0);
    for change in &answer.services {
        let style = match change.change.as_str() {
            "created" => GOOD,
            "unchanged" => DIM,
            _ => MOVING,
        };
        session.terminal.line(&format!("  {:width$}  {}", change.service, paint(style, &change.change)))?;
    }
    Ok(())
}

fn show_result(session: &mut Session, snapshot: &v1::Snapshot) -> Result<(), Failure> {
    let table = views::tasks(snapshot, false);
    if !table.is_empty() {
        let width = session.terminal.width;
        session.terminal.print(&format!("\n{}", table.render(width)))?;
    }
    let urls = views::urls(snapshot);
    if !urls.is_empty() {
        session.terminal.line("")?;
    }
    let width = urls.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, url) in &urls {
        session.terminal.line(&format!("  {name:width$}  {}", paint(BOLD, url)))?;
    }
    Ok(())
}

/// The next command, for the service one looks at first.
fn suggest(session: &mut Session, spec: &ProjectSpec) {
    if let Some(service) = entrance(spec) {
        let ctl = session.ctl();
        session.terminal.say(&format!("\n{} {ctl} logs -f {}/{service}", paint(DIM, "next:"), spec.name));
    }
}

/// The service one looks at first: one that is reached from outside, else the first.
fn entrance(spec: &ProjectSpec) -> Option<&ServiceName> {
    let published = spec.services.iter().find(|(_, service)| !service.ports.is_empty());
    published.or_else(|| spec.services.iter().next()).map(|(name, _)| name)
}
