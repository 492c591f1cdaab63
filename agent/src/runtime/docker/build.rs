//! The engine's own builder: a context goes in, lines and an image come out. Called by `runtime::build` only.

use super::super::RuntimeError;
use super::failure::Thing;
use super::{DockerRuntime, deadline};
use bollard::query_parameters::BuildImageOptions;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::collections::HashMap;
use std::io;

const BUILD: &str = "build an image";

/// What to build from the context that is sent along.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildQuestion {
    /// Path of the Dockerfile within the context.
    pub dockerfile: String,
    /// Name to give the image.
    pub tag: String,
    /// Build arguments.
    pub args: HashMap<String, String>,
    /// Stage to stop at; empty for the last.
    pub target: String,
    /// Do every step anew.
    pub no_cache: bool,
    /// Labels of the image.
    pub labels: HashMap<String, String>,
}

impl DockerRuntime {
    /// Sends the context and hands on what the engine prints. Returns the image's id if the engine said it.
    pub(in super::super) async fn build(
        &self,
        question: BuildQuestion,
        context: impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static,
        print: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Option<String>, RuntimeError> {
        let look = self.deadlines().look;
        let docker = self.call(BUILD, Thing::Engine, look, |docker| async move { Ok(docker) }).await?;
        let body = bollard::body_try_stream(context);
        let mut answers = docker.build_image(options(question), None, Some(body));
        let silence = self.deadlines().build_silence;
        let mut id = None;
        loop {
            match tokio::time::timeout(silence, answers.next()).await {
                Err(_) => return Err(deadline(BUILD, silence)),
                Ok(None) => return Ok(id),
                Ok(Some(Err(error))) => return Err(self.failed(BUILD, Thing::Engine, error)),
                Ok(Some(Ok(info))) => {
                    if let Some(text) = info.stream.or(info.status) {
                        print(&text);
                    }
                    id = info.aux.and_then(|aux| aux.id).or(id);
                }
            }
        }
    }
}

fn options(question: BuildQuestion) -> BuildImageOptions {
    BuildImageOptions {
        dockerfile: question.dockerfile,
        t: Some(question.tag),
        nocache: question.no_cache,
        buildargs: Some(question.args),
        labels: Some(question.labels),
        target: question.target,
        rm: true,
        forcerm: true,
        ..BuildImageOptions::default()
    }
}
