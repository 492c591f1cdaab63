//! Builds a service's image on this machine's Docker Engine, showing the steps.
//!
//! Never pushes. Called by `apply` when the cluster is a dev cluster.

use agent::runtime::ContainerRuntime;
use agent::runtime::build::{BuildLine, BuildRequest, Dockerfile, build_image};
use agent::runtime::docker::DockerRuntime;
use proto::id::ServiceName;

use crate::exit::Failure;
use crate::manifest::Build;
use crate::output::Terminal;
use crate::output::style::{DIM, paint};
use crate::output::table::{cut, one_line};

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its name.
    pub tag: String,
    /// Its content's identity, `sha256:...`.
    pub id: String,
}

/// Builds the image of a service.
pub async fn image(
    terminal: &mut Terminal,
    docker: &str,
    service: &ServiceName,
    build: &Build,
) -> Result<Built, Failure> {
    let runtime = DockerRuntime::new(docker);
    let width = terminal.progress_width();
    let live = terminal.live;
    let built = build_image(&runtime, request(build), |line| show(terminal, width, &line)).await;
    let id = built.map_err(|e| failed(service, &e.to_string()))?;
    if live {
        terminal.whisper("\r\x1b[2K");
    }
    Ok(Built { tag: build.tag.clone(), id })
}

/// The identity of the image that has this name now, if there is one.
pub async fn present(docker: &str, service: &ServiceName, tag: &str) -> Result<Option<String>, Failure> {
    let image = DockerRuntime::new(docker).image(tag).await;
    Ok(image.map_err(|e| failed(service, &e.to_string()))?.map(|image| image.id))
}

fn request(build: &Build) -> BuildRequest {
    let dockerfile = match (&build.dockerfile_inline, &build.dockerfile) {
        (Some(text), _) => Dockerfile::Inline(text.clone()),
        (None, Some(path)) => Dockerfile::Path(path.into()),
        (None, None) => Dockerfile::default(),
    };
    BuildRequest {
        context: build.context.clone(),
        dockerfile,
        tag: build.tag.clone(),
        args: build.args.clone(),
        target: build.target.clone(),
        no_cache: build.no_cache,
        labels: build.labels.clone(),
    }
}

/// On a terminal one line that is overwritten; elsewhere the steps.
fn show(terminal: &mut Terminal, width: usize, line: &BuildLine) {
    let text = match line {
        BuildLine::Step { number, total, instruction } => format!("  {number}/{total} {}", one_line(instruction)),
        BuildLine::Output(text) => format!("      {}", one_line(text)),
    };
    if terminal.live {
        terminal.whisper(&format!("\r\x1b[2K{}", paint(DIM, &cut(&text, width.saturating_sub(1)))));
    } else if matches!(line, BuildLine::Step { .. }) {
        terminal.say(&text);
    }
}

fn failed(service: &ServiceName, words: &str) -> Failure {
    let mut lines = words.lines().map(str::to_owned);
    let first = lines.next().unwrap_or_default();
    Failure::refused(format!("service {service}: {first}")).lines(lines).hint("nothing was applied")
}
