//! The engine itself and its images.

use super::super::translate::{abilities, image};
use super::super::{EngineInfo, ImageInfo, RuntimeError};
use super::DockerRuntime;
use super::failure::{Thing, pull_cause};
use bollard::models::ImageInspect;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;
use std::sync::atomic::Ordering;

const INFO: &str = "describe itself";
const IMAGE: &str = "inspect an image";
const PULL: &str = "pull an image";

impl DockerRuntime {
    pub(super) async fn engine_info(&self) -> Result<EngineInfo, RuntimeError> {
        let limit = self.deadlines().look;
        let both = |docker: bollard::Docker| async move { Ok((docker.version().await?, docker.info().await?)) };
        let (version, info) = self.call(INFO, Thing::Engine, limit, both).await?;
        let cpus = info.ncpu.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        self.shared.cpus.store(cpus, Ordering::Relaxed);
        let api_version = version.api_version.unwrap_or_default();
        Ok(EngineInfo {
            version: version.version.unwrap_or_default(),
            features: abilities::features(&self.shared.allowed, &api_version),
            api_version,
            os: info.os_type.unwrap_or_default(),
            arch: info.architecture.unwrap_or_default(),
            cpus,
            memory_bytes: info.mem_total.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        })
    }

    pub(super) async fn image_info(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        match self.image_inspected(reference).await {
            Ok(inspected) => Ok(Some(image::info(inspected))),
            Err(RuntimeError::NotFound { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    pub(super) async fn image_entrypoint(&self, reference: &str) -> Result<Option<Vec<String>>, RuntimeError> {
        Ok(self.image_inspected(reference).await?.config.and_then(|c| c.entrypoint).filter(|e| !e.is_empty()))
    }

    async fn image_inspected(&self, reference: &str) -> Result<ImageInspect, RuntimeError> {
        let limit = self.deadlines().look;
        self.call(IMAGE, Thing::Image(reference), limit, |docker| async move { docker.inspect_image(reference).await })
            .await
    }

    pub(super) async fn pull_image(&self, reference: &str, platform: Option<&str>) -> Result<(), RuntimeError> {
        let _turn = self.shared.pulls.acquire().await.ok();
        self.pull_to_the_end(reference, platform).await.map_err(|error| match error {
            RuntimeError::Refused { cause, .. } | RuntimeError::Conflict { cause, .. } => {
                RuntimeError::Pull { image: reference.to_owned(), cause: pull_cause(&cause) }
            }
            RuntimeError::NotFound { what } => {
                RuntimeError::Pull { image: reference.to_owned(), cause: pull_cause(&format!("manifest for {what}")) }
            }
            other => other,
        })
    }

    /// Drains the whole stream: an engine gives up a pull whose listener leaves.
    async fn pull_to_the_end(&self, reference: &str, platform: Option<&str>) -> Result<(), RuntimeError> {
        let (name, tag) = image::split_reference(reference);
        let options = CreateImageOptions {
            from_image: Some(name.to_owned()),
            tag: Some(tag.to_owned()),
            platform: platform.unwrap_or_default().to_owned(),
            ..CreateImageOptions::default()
        };
        let thing = Thing::Image(reference);
        let docker = self.call(PULL, thing, self.deadlines().look, |docker| async move { Ok(docker) }).await?;
        let mut progress = docker.create_image(Some(options), None, None);
        let silence = self.deadlines().pull_silence;
        loop {
            match tokio::time::timeout(silence, progress.next()).await {
                // No container hangs on it: that is a failed pull, not an outcome nobody knows.
                Err(_) => {
                    let cause =
                        format!("nothing came of it for {} s; its registry is slow or silent", silence.as_secs());
                    return Err(RuntimeError::Pull { image: reference.to_owned(), cause });
                }
                Ok(None) => return Ok(()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(self.failed(PULL, thing, error)),
            }
        }
    }
}
