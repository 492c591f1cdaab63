//! Images built on this machine by the engine's own builder, for `build:` in a one-node cluster.
//!
//! Never pushes, never keeps credentials. Called by ctl. The context goes out as a stream: it is never whole in memory.

mod context;
pub mod ignore;

use super::docker::{BuildQuestion, DockerRuntime};
use super::{ContainerRuntime, RuntimeError};
use context::Plan;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

/// Lines of output told when a build fails.
const TAIL_LINES: usize = 12;

/// What to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// Directory that is sent along.
    pub context: PathBuf,
    /// The recipe.
    pub dockerfile: Dockerfile,
    /// Name of the image, `name[:tag]`.
    pub tag: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Stage to stop at; `None`: the last.
    pub target: Option<String>,
    /// Do every step anew.
    pub no_cache: bool,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// Where the recipe is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dockerfile {
    /// A path, relative to the context or absolute; it may lie outside of the context.
    Path(PathBuf),
    /// Its text.
    Inline(String),
}

impl Default for Dockerfile {
    fn default() -> Dockerfile {
        Dockerfile::Path(PathBuf::from("Dockerfile"))
    }
}

/// Something to show while it builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildLine {
    /// A step begins.
    Step {
        /// From 1.
        number: u32,
        /// How many there are.
        total: u32,
        /// The instruction.
        instruction: String,
    },
    /// A line that a step or the builder wrote.
    Output(String),
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The context is not a directory.
    #[error("build context {path} is not a directory")]
    NoContext {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The recipe is not there.
    #[error("there is no Dockerfile at {path}; write one, or name it with `build.dockerfile`")]
    NoDockerfile {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A line of the ignore file that means nothing.
    #[error("{path}:{line}: {cause}")]
    Ignore {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// Part of the context cannot be read.
    #[error("{path} in the build context cannot be read: {cause}; exclude it in .dockerignore if it is not needed")]
    Read {
        /// Which part.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A step failed.
    #[error("image `{tag}` cannot be built: {cause}{}", shown(step, tail))]
    Failed {
        /// The image.
        tag: String,
        /// The engine's words.
        cause: String,
        /// The step it was at, empty before the first.
        step: String,
        /// The last lines of output.
        tail: Vec<String>,
    },
    /// The engine did not do it.
    #[error(transparent)]
    Engine(#[from] RuntimeError),
}

fn shown(step: &str, tail: &[String]) -> String {
    let step = if step.is_empty() { String::new() } else { format!("\n  at {step}") };
    tail.iter().fold(step, |text, line| format!("{text}\n  | {line}"))
}

/// Builds an image and returns its id, `sha256:...`. `progress` is called for every line.
///
/// # Errors
/// `BuildError`; a failed step comes with the last lines of its output.
pub async fn build_image(
    runtime: &DockerRuntime,
    request: BuildRequest,
    mut progress: impl FnMut(BuildLine) + Send,
) -> Result<String, BuildError> {
    let (context, dockerfile) = (request.context.clone(), request.dockerfile.clone());
    let plan = tokio::task::spawn_blocking(move || Plan::new(context, &dockerfile)).await.map_err(ended_early)??;
    let question = BuildQuestion {
        dockerfile: plan.dockerfile_name().to_owned(),
        tag: request.tag.clone(),
        args: request.args.into_iter().collect(),
        target: request.target.unwrap_or_default(),
        no_cache: request.no_cache,
        labels: request.labels.into_iter().collect(),
    };
    let (sending, body) = plan.send();
    let mut screen = Screen::default();
    let built = runtime.build(question, body, &mut |text| screen.print(text, &mut progress)).await;
    match (built, sending.await.map_err(ended_early)?) {
        // What could not be read explains whatever the engine said about a context cut short.
        (Err(_), Err(unreadable)) => Err(unreadable),
        (Err(RuntimeError::Refused { cause, .. } | RuntimeError::Conflict { cause, .. }), _) => {
            Err(BuildError::Failed { tag: request.tag, cause, step: screen.step, tail: screen.tail.into() })
        }
        (Err(other), _) => Err(other.into()),
        (Ok(Some(id)), _) => Ok(id),
        (Ok(None), _) => image_id(runtime, &request.tag).await,
    }
}

async fn image_id(runtime: &DockerRuntime, tag: &str) -> Result<String, BuildError> {
    let missing = || RuntimeError::NotFound { what: format!("image `{tag}` after its build") };
    Ok(runtime.image(tag).await?.ok_or_else(missing)?.id)
}

fn ended_early(error: tokio::task::JoinError) -> BuildError {
    BuildError::Engine(RuntimeError::Refused { call: "read the build context", cause: error.to_string() })
}

/// Puts the engine's pieces of text together to lines, and remembers the last ones.
#[derive(Debug, Default)]
struct Screen {
    partial: String,
    step: String,
    tail: VecDeque<String>,
}

impl Screen {
    fn print(&mut self, text: &str, progress: &mut impl FnMut(BuildLine)) {
        self.partial.push_str(text);
        // Statuses of a base image's pull come without a line end, instructions with one.
        while let Some(end) = self.partial.find('\n') {
            let line: String = self.partial.drain(..=end).collect();
            self.line(without_colours(&line).trim_end(), progress);
        }
    }

    fn line(&mut self, line: &str, progress: &mut impl FnMut(BuildLine)) {
        if line.is_empty() {
            return;
        }
        if let Some((number, total, instruction)) = step(line) {
            self.step = line.to_owned();
            self.tail.clear();
            return progress(BuildLine::Step { number, total, instruction: instruction.to_owned() });
        }
        let of_the_builder = line.starts_with(" --->") || line.starts_with("Removing intermediate container");
        if !of_the_builder {
            self.tail.push_back(line.to_owned());
        }
        if self.tail.len() > TAIL_LINES {
            self.tail.pop_front();
        }
        progress(BuildLine::Output(line.to_owned()));
    }
}

/// The builder paints what a step writes to its stderr.
fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        let escape = &rest[at + 2..];
        rest = escape.find(|c: char| ('@'..='~').contains(&c)).map_or("", |end| &escape[end + 1..]);
    }
    plain + rest
}

/// `Step 2/5 : RUN make`.
fn step(line: &str) -> Option<(u32, u32, &str)> {
    let (count, instruction) = line.strip_prefix("Step ")?.split_once(" : ")?;
    let (number, total) = count.split_once('/')?;
    Some((number.parse().ok()?, total.parse().ok()?, instruction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_and_steps() {
        let mut screen = Screen::default();
        let mut lines = Vec::new();
        for piece in ["Step 1/2 : FROM scratch\n", " ---> \n", "Step 2/2", " : RUN x\nhel", "lo\r\n\nrest"] {
            screen.print(piece, &mut |line| lines.push(line));
        }
        let step = |number, instruction: &str| BuildLine::Step { number, total: 2, instruction: instruction.into() };
        let output = |text: &str| BuildLine::Output(text.into());
        assert_eq!(lines, [step(1, "FROM scratch"), output(" --->"), step(2, "RUN x"), output("hello")]);
        assert_eq!((screen.step.as_str(), screen.tail), ("Step 2/2 : RUN x", VecDeque::from(["hello".to_owned()])));
    }

    #[test]
    fn colours_are_taken_off() {
        for (painted, plain) in [
            ("\u{1b}[91mlast words\n", "last words\n"),
            ("\u{1b}[0m\u{1b}[1;31mä\u{1b}[0m b", "ä b"),
            ("plain [0m", "plain [0m"),
            ("cut \u{1b}[9", "cut "),
        ] {
            assert_eq!(without_colours(painted), plain);
        }
    }

    #[test]
    fn a_failure_shows_the_last_lines() {
        let mut screen = Screen::default();
        screen.print("Step 1/1 : RUN make\n", &mut |_| ());
        for n in 0..50 {
            screen.print(&format!("line {n}\n"), &mut |_| ());
        }
        let error = BuildError::Failed {
            tag: "app".to_owned(),
            cause: "code: 2".to_owned(),
            step: screen.step,
            tail: screen.tail.into(),
        };
        let text = error.to_string();
        assert!(text.starts_with("image `app` cannot be built: code: 2\n  at Step 1/1 : RUN make\n"), "{text}");
        assert!(text.ends_with("| line 49") && !text.contains("line 37\n") && text.contains("line 38\n"), "{text}");
    }
}
