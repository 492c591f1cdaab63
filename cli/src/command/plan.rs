//! `ctl plan`: what applying a Compose file would do, told before it is done.
//!
//! Changes nothing: contents are not uploaded, images not built, and any server answers. The decisions are the server's own
//! on a copy of its state; this lays them out.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto::id::BlobDigest;
use proto::spec::{BlobKind, ProjectSpec};
use proto::v1;

use super::apply::docker_of;
use crate::args::{Format, PlanArgs};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::intake;
use crate::manifest::Loaded;
use crate::output::json::{self, to_json, to_yaml};
use crate::output::plan::{Shown, page};
use crate::output::style::{BOLD, DIM, paint};
use crate::session::Session;

/// `ctl plan`.
pub async fn run(session: &mut Session, args: &PlanArgs) -> Result<Exit, Failure> {
    let loaded = intake::load(session, &args.manifest)?;
    let client = session.client().await?;
    intake::say_notices(session, &loaded);
    let loaded = with_present_images(session, &client, loaded).await?;
    let spec = with_digests(&client, &loaded).await?;
    let answer = client.plan(v1::ProjectSpec::from(&spec), args.prune).await.map_err(|e| intake::locate(e, &loaded))?;
    let applied = answer.apply.clone().unwrap_or_default();
    intake::say_server_notices(session, &applied.notices);
    show(session, &spec, &answer, args.output.format)?;
    let is_nothing = is_nothing(&answer);
    if matches!(args.output.format, Format::Table | Format::Wide) && !is_nothing {
        suggest(session, args, answer.present_release);
    }
    let is_fine = is_nothing && answer.unplaced.is_empty();
    Ok(if args.exit_code && !is_fine { Exit::Refused } else { Exit::Done })
}

fn is_nothing(answer: &v1::PlanProjectResponse) -> bool {
    let changes = answer.changes.iter().filter(|c| !c.elsewhere).count();
    !answer.apply.as_ref().is_some_and(|a| a.changed) && changes == 0 && answer.foreseen.is_empty()
}

fn show(
    session: &mut Session,
    spec: &ProjectSpec,
    answer: &v1::PlanProjectResponse,
    form: Format,
) -> Result<(), Failure> {
    let project = spec.name.as_str();
    let text = match form {
        Format::Json => to_json(&json::Plan::of(project, answer)),
        Format::Yaml => to_yaml(&json::Plan::of(project, answer)),
        Format::Name => {
            let applied = answer.apply.clone().unwrap_or_default();
            let changed = applied.services.iter().filter(|s| s.change != "unchanged");
            changed.map(|s| format!("{project}/{}\n", s.service)).collect()
        }
        Format::Table => page(project, answer, Shown::Within(session.terminal.width)),
        Format::Wide => page(project, answer, Shown::Whole),
    };
    Ok(session.terminal.print(&text)?)
}

/// The command that does it, refused if somebody else was faster.
fn suggest(session: &mut Session, args: &PlanArgs, present_release: u64) {
    let mut words = vec![session.ctl(), "apply".to_owned()];
    words.extend(args.manifest.file.iter().map(|file| format!("-f {}", file.display())));
    words.extend(args.manifest.project.iter().map(|project| format!("-p {project}")));
    words.extend(args.manifest.profile.iter().map(|profile| format!("--profile {profile}")));
    if args.prune {
        words.push("--prune".to_owned());
    }
    words.push(format!("--expect-release {present_release}"));
    session.terminal.say(&format!("\n{} {}", paint(DIM, "next:"), words.join(" ")));
}

/// What is to be built is planned with the image that is there.
async fn with_present_images(session: &mut Session, client: &Client, mut loaded: Loaded) -> Result<Loaded, Failure> {
    let Some(first) = loaded.builds.keys().next() else { return Ok(loaded) };
    super::apply::may_build(client, first).await?;
    let docker = docker_of(client);
    for (service, request) in std::mem::take(&mut loaded.builds) {
        let present = crate::dev::build::present(&docker, &service, &request.tag).await?;
        let how = match &present {
            Some(_) => format!("planned with image {} as it is now", request.tag),
            None => format!("image {} is not there yet", request.tag),
        };
        session.terminal.say(&format!("{} service {service}: plan does not build: {how}", paint(BOLD, "note:")));
        if let Some(spec) = loaded.spec.services.get_mut(&service) {
            let container = Arc::make_mut(&mut spec.container);
            container.image = request.tag;
            container.image_id = present.unwrap_or_default();
        }
    }
    Ok(loaded)
}

/// The digests that uploads would have, without uploading.
async fn with_digests(client: &Client, loaded: &Loaded) -> Result<ProjectSpec, Failure> {
    let mut digests: BTreeMap<(BlobKind, String), BlobDigest> = BTreeMap::new();
    for blob in &loaded.blobs {
        let kind = match blob.kind {
            BlobKind::Config => v1::BlobKind::Config,
            BlobKind::Secret => v1::BlobKind::Secret,
        };
        let digest = client.digest(kind, blob.content.to_vec()).await.map_err(|e| intake::locate(e, loaded))?;
        digests.insert((blob.kind, blob.name.clone()), BlobDigest(digest));
    }
    loaded.with_digests(&digests).map_err(|e| Failure::refused(e.to_string()))
}
