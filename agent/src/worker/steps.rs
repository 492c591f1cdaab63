//! Carries out one step at the engine and says how it ended and what was seen after it.
//!
//! Never decides what to do. Called by the worker, each step in a task of its own: one stuck container holds up nobody
//! but itself.

use proto::assignment::{Assignment, NodeNetwork};
use proto::spec::PullPolicy;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::seen::trouble;
use crate::engine::health::ImageCheck;
use crate::engine::{Container, Outcome, Step, Trouble};
use crate::files::{Files, Placed};
use crate::runtime::{ContainerRuntime, CreateRequest, Created, Identity, ImageInfo, RuntimeError};

/// Containers created or started at once: beyond this an engine only gets slower.
const CREATES_AT_ONCE: usize = 8;
/// Images pulled at once.
const PULLS_AT_ONCE: usize = 3;

/// What was seen of a container after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It is like this.
    Container(Box<Container>),
    /// It does not exist.
    Gone(String),
    /// Nobody could look.
    Unknown,
}

/// The agent's hands: what steps need.
#[derive(Debug, Clone)]
pub struct Hands {
    runtime: Arc<dyn ContainerRuntime>,
    files: Arc<Files>,
    creates: Arc<Semaphore>,
    pulls: Arc<Semaphore>,
}

/// What a step is done for.
#[derive(Debug, Clone)]
pub struct Errand {
    /// Who we are.
    pub identity: Identity,
    /// The node's network.
    pub network: NodeNetwork,
    /// The task.
    pub assignment: Assignment,
    /// Ends what can be given up without leaving anything unknown.
    pub cancel: CancellationToken,
}

/// How a step ended early.
enum Stopped {
    Cancelled,
    Trouble(Trouble),
}

impl From<RuntimeError> for Stopped {
    fn from(error: RuntimeError) -> Stopped {
        Stopped::Trouble(trouble(&error))
    }
}

impl Hands {
    /// Hands on this engine.
    pub fn new(runtime: Arc<dyn ContainerRuntime>, files: Arc<Files>) -> Hands {
        let creates = Arc::new(Semaphore::new(CREATES_AT_ONCE));
        Hands { runtime, files, creates, pulls: Arc::new(Semaphore::new(PULLS_AT_ONCE)) }
    }

    /// Carries out a step.
    pub async fn perform(&self, step: &Step, errand: &Errand) -> (Outcome, Seen) {
        let ended = match step {
            Step::Fetch => self.fetch(errand).await,
            Step::Prepare { names, fetched } => self.prepare(names, *fetched, errand).await,
            Step::Start { container } => self.start(container, errand).await,
            Step::Stop { container, grace_ms } => self.stop(container, *grace_ms).await,
            Step::Remove { container } => self.remove(container).await,
            Step::ReadImage => self.read_image(errand).await,
        };
        match ended {
            Ok(ended) => ended,
            Err(Stopped::Cancelled) => (Outcome::Cancelled, Seen::Unknown),
            Err(Stopped::Trouble(trouble)) => (Outcome::Failed(trouble), self.after_failure(step).await),
        }
    }

    /// Brings a container without a task in the set nearer to its end.
    pub async fn dismiss(&self, step: &Step) -> (bool, Seen) {
        let ended = match step {
            Step::Stop { container, grace_ms } => self.stop(container, *grace_ms).await,
            Step::Remove { container } => self.remove(container).await,
            Step::Fetch | Step::Prepare { .. } | Step::Start { .. } | Step::ReadImage => return (false, Seen::Unknown),
        };
        ended.map_or((false, Seen::Unknown), |(outcome, seen)| (outcome == Outcome::Done, seen))
    }

    async fn fetch(&self, errand: &Errand) -> Result<(Outcome, Seen), Stopped> {
        let image = self.image(errand, errand.assignment.container.pull).await?;
        self.files(errand).await?;
        Ok((Outcome::Fetched(image_check(image)), Seen::Unknown))
    }

    async fn prepare(&self, names: &[String], fetched: bool, errand: &Errand) -> Result<(Outcome, Seen), Stopped> {
        let pull = match errand.assignment.container.pull {
            PullPolicy::Always if fetched => PullPolicy::Missing,
            policy => policy,
        };
        let image = self.image(errand, pull).await?;
        let placed = self.files(errand).await?;
        let permit = tokio::select! {
            permit = self.creates.acquire() => permit,
            () = errand.cancel.cancelled() => return Err(Stopped::Cancelled),
        };
        let Created { id, warnings } = self.create(names, errand, &placed).await?;
        let seen = self.look(&id).await;
        drop(permit);
        Ok((Outcome::Prepared { container: id, image_check: image_check(image), warnings }, seen))
    }

    async fn create(&self, names: &[String], errand: &Errand, placed: &Placed) -> Result<Created, Stopped> {
        let mut taken = None;
        for name in names {
            let request = CreateRequest {
                identity: errand.identity.clone(),
                assignment: errand.assignment.clone(),
                network: errand.network,
                resolv_conf: placed.resolv_conf.clone(),
                files: placed.files.clone(),
                name: name.clone(),
            };
            match self.runtime.create(&request).await {
                Ok(created) => return Ok(created),
                Err(error @ RuntimeError::Conflict { .. }) => taken = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let none = || Stopped::Trouble(Trouble::Refused("it has no name".into()));
        Err(taken.map_or_else(none, Stopped::from))
    }

    /// The image, pulled when the policy says so.
    async fn image(&self, errand: &Errand, policy: PullPolicy) -> Result<ImageInfo, Stopped> {
        let spec = &errand.assignment.container;
        let reference = crate::runtime::translate::image_reference(spec);
        let built = !spec.image_id.is_empty();
        let platform = spec.platform.as_deref();
        let fitting = |image: &ImageInfo| crate::runtime::translate::image::is_for(&image.platform, platform);
        let present = self.runtime.image(reference).await?.filter(fitting);
        match (present, policy) {
            (Some(image), PullPolicy::Missing | PullPolicy::Never) => return Ok(image),
            (Some(image), PullPolicy::Always) if built => return Ok(image),
            (None, _) if built => {
                let why = format!("image `{}` was built elsewhere and is not on this node; build it again", spec.image);
                return Err(Stopped::Trouble(Trouble::Fetch(why)));
            }
            (None, PullPolicy::Never) => {
                let why =
                    format!("image `{reference}` is not on this node and `pull_policy: never` forbids to pull it");
                return Err(Stopped::Trouble(Trouble::Fetch(why)));
            }
            (_, PullPolicy::Missing | PullPolicy::Always) => {}
        }
        // Refused before anything is fetched for it.
        self.runtime.admits(spec).await?;
        let pull = async {
            let _permit = self.pulls.acquire().await;
            self.runtime.pull(reference, platform).await
        };
        tokio::select! {
            pulled = pull => pulled?,
            () = errand.cancel.cancelled() => return Err(Stopped::Cancelled),
        }
        let gone = || Stopped::Trouble(Trouble::Fetch(format!("image `{reference}` is not there after it was pulled")));
        self.runtime.image(reference).await?.ok_or_else(gone)
    }

    async fn files(&self, errand: &Errand) -> Result<Placed, Stopped> {
        let (project, naming) = (&errand.assignment.service.project, &errand.assignment.container.naming);
        let resolv_conf = crate::dns::resolv_conf::resolv_conf(errand.network.gateway.into(), project, naming);
        let placed = tokio::select! {
            placed = self.files.ensure(&errand.assignment, &resolv_conf) => placed,
            () = errand.cancel.cancelled() => return Err(Stopped::Cancelled),
        };
        placed.map_err(|error| Stopped::Trouble(Trouble::Fetch(error.to_string())))
    }

    async fn start(&self, container: &str, errand: &Errand) -> Result<(Outcome, Seen), Stopped> {
        self.files(errand).await?;
        let _permit = tokio::select! {
            permit = self.creates.acquire() => permit,
            () = errand.cancel.cancelled() => return Err(Stopped::Cancelled),
        };
        self.runtime.start(container).await?;
        self.certain(container).await
    }

    async fn stop(&self, container: &str, grace_ms: u64) -> Result<(Outcome, Seen), Stopped> {
        self.runtime.stop(container, grace_ms).await?;
        let (outcome, seen) = self.certain(container).await?;
        if matches!(&seen, Seen::Container(c) if c.state.needs_stop()) {
            let why = "its container still runs after the engine stopped it".into();
            return Err(Stopped::Trouble(Trouble::Refused(why)));
        }
        Ok((outcome, seen))
    }

    async fn remove(&self, container: &str) -> Result<(Outcome, Seen), Stopped> {
        self.runtime.remove(container).await?;
        Ok((Outcome::Done, Seen::Gone(container.to_owned())))
    }

    async fn read_image(&self, errand: &Errand) -> Result<(Outcome, Seen), Stopped> {
        let reference = crate::runtime::translate::image_reference(&errand.assignment.container);
        // An image removed under its container has no check to offer any more.
        let image = self.runtime.image(reference).await?.unwrap_or_default();
        Ok((Outcome::ImageRead(image_check(image)), Seen::Unknown))
    }

    /// The step was done; without a look at what came of it the outcome is unknown.
    async fn certain(&self, container: &str) -> Result<(Outcome, Seen), Stopped> {
        match self.runtime.inspect(container).await {
            Ok(seen) => Ok((Outcome::Done, Seen::Container(Box::new(seen.into())))),
            Err(RuntimeError::NotFound { .. }) => Ok((Outcome::Done, Seen::Gone(container.to_owned()))),
            Err(error) => Err(Stopped::Trouble(Trouble::Unknown(error.to_string()))),
        }
    }

    async fn after_failure(&self, step: &Step) -> Seen {
        match step {
            Step::Start { container } | Step::Stop { container, .. } | Step::Remove { container } => {
                self.look(container).await
            }
            Step::Fetch | Step::Prepare { .. } | Step::ReadImage => Seen::Unknown,
        }
    }

    /// One container as it is.
    pub async fn look(&self, container: &str) -> Seen {
        match self.runtime.inspect(container).await {
            Ok(seen) => Seen::Container(Box::new(seen.into())),
            Err(RuntimeError::NotFound { .. }) => Seen::Gone(container.to_owned()),
            Err(_) => Seen::Unknown,
        }
    }
}

fn image_check(image: ImageInfo) -> ImageCheck {
    image.health.map_or(ImageCheck::Absent, ImageCheck::Present)
}
