//! Making, starting, stopping, removing and looking at containers.

use super::super::translate::seen::{self, Inspected, LabelError, Listed};
use super::super::translate::{self, Facts};
use super::super::{CreateRequest, Created, Identity, RuntimeError, SeenContainer, SeenState};
use super::failure::Thing;
use super::{DockerRuntime, gone_is_fine, plain};
use bollard::errors::Error;
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, KillContainerOptions, ListContainersOptions,
    RemoveContainerOptions, StartContainerOptions, WaitContainerOptions,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use proto::label;
use proto::spec::ContainerSpec;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;
use std::time::Duration;

pub(super) const CREATE: &str = "create a container";
pub(super) const STOP: &str = "stop a container";
pub(super) const REMOVE: &str = "remove a container";
const START: &str = "start a container";
const LIST: &str = "list containers";
const INSPECT: &str = "inspect a container";
/// Inspections at one time within a list.
const INSPECTIONS: usize = 8;
/// Between two looks at something that the engine does not announce.
const POLL: Duration = Duration::from_millis(100);

impl DockerRuntime {
    pub(super) async fn create_container(&self, request: &CreateRequest) -> Result<Created, RuntimeError> {
        let body = translate::create_body(request, &self.facts(request).await?)?;
        for wanted in translate::wanted_volumes(&request.assignment)? {
            self.volume_ready(request, &wanted).await?;
        }
        let reference = translate::image_reference(&request.assignment.container);
        let platform = request.assignment.container.platform.clone().unwrap_or_default();
        let options = CreateContainerOptions { name: Some(request.name.clone()), platform };
        let limit = self.deadlines().make;
        let made = self
            .call(CREATE, Thing::Image(reference), limit, |docker| async move {
                docker.create_container(Some(options), body).await
            })
            .await?;
        Ok(Created { id: made.id, warnings: made.warnings })
    }

    async fn facts(&self, request: &CreateRequest) -> Result<Facts, RuntimeError> {
        let spec = &*request.assignment.container;
        let cpus = match (spec.limits.cpu_millis, self.shared.cpus.load(Ordering::Relaxed)) {
            (Some(_), 0) => self.engine_info().await?.cpus,
            (_, known) => known,
        };
        let image_entrypoint = match translate::needs_image_entrypoint(spec) {
            true => self.image_entrypoint(translate::image_reference(spec)).await?,
            false => None,
        };
        let features = self.features().await?;
        Ok(Facts { cpus, image_entrypoint, features, engine_socket: self.socket_path().to_owned() })
    }

    async fn features(&self) -> Result<BTreeSet<String>, RuntimeError> {
        let version = self.client().await.map_err(|e| self.failed(CREATE, Thing::Engine, e))?.client_version();
        let api_version = format!("{}.{}", version.major_version, version.minor_version);
        Ok(translate::abilities::features(&self.shared.allowed, &api_version))
    }

    pub(super) async fn admits_container(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let lack = proto::needs::lack(spec, &self.features().await?, &[self.socket_path()]);
        lack.map_or(Ok(()), |lack| Err(RuntimeError::Lacking { lack }))
    }

    pub(super) async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.call(START, Thing::Container(id), self.deadlines().make, |docker| async move {
            docker.start_container(id, None::<StartContainerOptions>).await
        })
        .await
    }

    /// The stop signal, the grace to the millisecond (the engine's own stop counts seconds), then SIGKILL.
    pub(super) async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let inspected = match self.look_at(id, self.deadlines().look).await {
            Err(RuntimeError::NotFound { .. }) => return Ok(()),
            other => other?,
        };
        if !has_process(&inspected) {
            return Ok(());
        }
        let signal = inspected.config.stop_signal.filter(|s| !s.is_empty()).unwrap_or_else(|| "SIGTERM".to_owned());
        self.signal(id, &signal).await?;
        if let Ok(ended) = tokio::time::timeout(grace, self.ended(id)).await {
            return ended;
        }
        self.signal(id, "SIGKILL").await?;
        self.ended(id).await
    }

    /// A container that is gone or stopped already is fine.
    async fn signal(&self, id: &str, signal: &str) -> Result<(), RuntimeError> {
        let options = KillContainerOptions { signal: signal.to_owned() };
        let sent = self
            .call(STOP, Thing::Container(id), self.deadlines().make, |docker| async move {
                docker.kill_container(id, Some(options)).await
            })
            .await;
        match sent {
            Err(RuntimeError::Conflict { .. }) => Ok(()),
            other => gone_is_fine(other),
        }
    }

    /// Returns once the container has no process. Without a limit of its own: `stop` has one.
    async fn ended(&self, id: &str) -> Result<(), RuntimeError> {
        loop {
            let options = WaitContainerOptions { condition: "not-running".to_owned() };
            let docker = self.client().await.map_err(|e| self.failed(STOP, Thing::Container(id), e))?;
            match docker.wait_container(id, Some(options)).next().await {
                Some(Ok(_) | Err(Error::DockerContainerWaitError { .. })) => return Ok(()),
                Some(Err(error)) => return gone_is_fine(Err(self.failed(STOP, Thing::Container(id), error))),
                None => tokio::time::sleep(POLL).await,
            }
        }
    }

    pub(super) async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let limit = self.deadlines().remove;
        loop {
            let options = RemoveContainerOptions { v: true, force: false, link: false };
            let removed = self
                .call(REMOVE, Thing::Container(id), limit, |docker| async move {
                    docker.remove_container(id, Some(options)).await
                })
                .await;
            match removed {
                // Somebody else is at it: done when it is gone.
                Err(RuntimeError::Conflict { cause, .. }) if cause.contains("already in progress") => {
                    tokio::time::sleep(POLL).await;
                }
                other => return gone_is_fine(other),
            }
        }
    }

    pub(super) async fn inspect_container(&self, id: &str) -> Result<SeenContainer, RuntimeError> {
        let inspected = self.look_at(id, self.deadlines().look).await?;
        seen::container(&inspected).map_err(|error| RuntimeError::Nonsense { call: INSPECT, cause: error.to_string() })
    }

    /// One inspection; read leniently when the typed client cannot read it.
    pub(super) async fn look_at(&self, id: &str, limit: Duration) -> Result<Inspected, RuntimeError> {
        let thing = Thing::Container(id);
        let typed = self
            .call(INSPECT, thing, limit, |docker| async move {
                docker.inspect_container(id, None::<InspectContainerOptions>).await
            })
            .await;
        match typed {
            Ok(full) => Ok(full.into()),
            Err(RuntimeError::Nonsense { .. }) => {
                let path = format!("/containers/{}/json", plain::encode(id));
                self.call(INSPECT, thing, limit, |_| plain::get(self.socket_path(), &path)).await
            }
            Err(other) => Err(other),
        }
    }

    pub(super) async fn list_containers(&self, identity: &Identity) -> Result<Vec<SeenContainer>, RuntimeError> {
        let mut ours = Vec::new();
        for listed in self.listed(HashMap::from([("label".to_owned(), our_labels(identity))])).await? {
            let none = HashMap::new();
            let name = listed.names.as_deref().unwrap_or_default().first().map_or("", String::as_str);
            let labels = listed.labels.as_ref().unwrap_or(&none);
            match seen::identify(&listed.id, name, labels, SeenState::Other("not looked at yet".to_owned())) {
                Ok(container) => ours.push(container),
                Err(error @ LabelError::OtherVersion { .. }) => {
                    let cause = format!("container `{}`: {error}", listed.id);
                    return Err(RuntimeError::Nonsense { call: LIST, cause });
                }
                Err(error) => tracing::warn!(container = listed.id, %error, "a stranger wears our labels; left alone"),
            }
        }
        let looks = ours.into_iter().map(|container| self.clone().completed(container));
        let seen: Vec<Option<SeenContainer>> = stream::iter(looks).buffer_unordered(INSPECTIONS).try_collect().await?;
        let mut seen: Vec<SeenContainer> = seen.into_iter().flatten().collect();
        seen.sort_by(|a, b| (a.task, &a.id).cmp(&(b.task, &b.id)));
        Ok(seen)
    }

    /// Containers that the engine's filters let through, without their times and codes.
    pub(super) async fn listed(&self, filters: HashMap<String, Vec<String>>) -> Result<Vec<Listed>, RuntimeError> {
        let query = format!("all=1&filters={}", plain::encode(&serde_json::json!(filters).to_string()));
        let options = ListContainersOptions { all: true, filters: Some(filters), ..ListContainersOptions::default() };
        let limit = self.deadlines().look;
        let typed = self
            .call(LIST, Thing::Engine, limit, |docker| async move { docker.list_containers(Some(options)).await })
            .await;
        match typed {
            Ok(full) => Ok(full.into_iter().map(Listed::from).collect()),
            Err(RuntimeError::Nonsense { .. }) => {
                let path = format!("/containers/json?{query}");
                self.call(LIST, Thing::Engine, limit, |_| plain::get(self.socket_path(), &path)).await
            }
            Err(other) => Err(other),
        }
    }

    /// The listed container with its state. `None` when it vanished meanwhile; one that cannot be looked at is still
    /// there, in a state we do not know.
    async fn completed(self, mut container: SeenContainer) -> Result<Option<SeenContainer>, RuntimeError> {
        match self.look_at(&container.id, self.deadlines().look_within_list).await {
            Ok(inspected) => container.state = seen::state(&inspected.state),
            Err(RuntimeError::NotFound { .. }) => return Ok(None),
            Err(gone @ RuntimeError::Unreachable { .. }) => return Err(gone),
            Err(error) => container.state = SeenState::Other(error.to_string()),
        }
        Ok(Some(container))
    }
}

/// Filter for what is of this cluster and node.
pub(super) fn our_labels(identity: &Identity) -> Vec<String> {
    vec![format!("{}={}", label::CLUSTER, identity.cluster), format!("{}={}", label::NODE, identity.node)]
}

/// Only a word that plainly says "no process" makes a stop unnecessary.
fn has_process(inspected: &Inspected) -> bool {
    !matches!(inspected.state.status.as_str(), "created" | "exited" | "dead" | "removing")
}
