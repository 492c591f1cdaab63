//! What an action's end means.
//!
//! Never takes an unknown outcome for a failure of the task, nor for success: such a task waits until it was looked at.

use proto::id::TaskId;
use proto::revision::{Time, Wall};
use proto::task_state::{Health, Phase};

use super::backoff;
use super::health::ImageCheck;
use super::memory::{Memory, TaskMemory, shortened};
use super::task_state::Step;

/// Warnings of one container kept.
const WARNINGS_MAX: usize = 8;

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its image and its files are there; what its image says of health.
    Fetched(ImageCheck),
    /// Its container is made; what its image says of health.
    Prepared {
        /// Docker's id.
        container: String,
        /// The image's check.
        image_check: ImageCheck,
        /// What the engine could not do of what it was asked for.
        warnings: Vec<String>,
    },
    /// The image was read.
    ImageRead(ImageCheck),
    /// It was done; what came of the container is in what was seen.
    Done,
    /// It was given up because the task is to stop.
    Cancelled,
    /// It was not done.
    Failed(Trouble),
}

/// Why a step was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing is known: the engine did not answer, or not intelligibly.
    Unknown(String),
    /// Something far away failed: an image, a config, a secret.
    Fetch(String),
    /// The engine refused.
    Refused(String),
}

impl Memory {
    /// A step of a task has ended.
    pub fn settle(&mut self, id: TaskId, outcome: Outcome, now: Time, wall: Wall) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Some(step) = task.busy.take() else { return };
        match outcome {
            Outcome::Fetched(image_check) => task.fetched(image_check),
            Outcome::Prepared { container, image_check, warnings } => task.prepared(container, image_check, warnings),
            Outcome::ImageRead(check) => task.image_check = Some(check),
            Outcome::Done => task.attempts = Default::default(),
            Outcome::Cancelled => task.unsure = true,
            Outcome::Failed(trouble) => task.failed(&step, trouble, now, wall),
        }
    }

    /// A step towards the end of a stranger has ended.
    pub fn settle_stranger(&mut self, container: &str, done: bool, now: Time) {
        if done {
            self.strangers.remove(container);
        } else if let Some(attempts) = self.strangers.get_mut(container) {
            attempts.failed(now);
        }
    }

    /// A volume was removed, or not.
    pub fn settle_volume(&mut self, name: &str, done: bool, now: Time) {
        let volume = self.volumes.entry(name.to_owned()).or_default();
        if done {
            volume.removed = true;
            volume.attempts = Default::default();
        } else {
            volume.attempts.failed(now);
        }
    }

    /// Names of the volumes removed on request.
    pub fn removed_volumes(&self) -> Vec<String> {
        self.volumes.iter().filter(|(_, v)| v.removed).map(|(name, _)| name.clone()).collect()
    }

    /// A task was looked at: whatever was unknown or suspected of it is in what was seen now.
    pub fn looked_at(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.unsure = false;
            task.suspect = false;
        }
    }
}

impl TaskMemory {
    fn fetched(&mut self, image_check: ImageCheck) {
        self.image_check = Some(image_check);
        self.attempts = Default::default();
        self.change(|status| {
            status.phase = Phase::Prepared;
            status.message.clear();
            status.failures_in_a_row = 0;
            status.retry_at = None;
        });
    }

    fn prepared(&mut self, container: String, image_check: ImageCheck, warnings: Vec<String>) {
        self.image_check = Some(image_check);
        self.attempts = Default::default();
        self.change(|status| {
            status.container_id = container;
            status.warnings = warnings.into_iter().take(WARNINGS_MAX).map(shortened).collect();
        });
    }

    fn failed(&mut self, step: &Step, trouble: Trouble, now: Time, wall: Wall) {
        match (step, trouble) {
            (Step::Fetch | Step::Prepare { .. } | Step::Start { .. }, Trouble::Unknown(message)) => {
                self.unsure = true;
                self.attempts.failed(now);
                self.change(|status| status.message = shortened(message));
            }
            (_, Trouble::Unknown(_)) => {
                self.unsure = true;
                self.attempts.failed(now);
            }
            (Step::Fetch | Step::Prepare { .. } | Step::Start { .. }, Trouble::Fetch(message)) => {
                let delay = backoff::fetch_ms(self.status.failures_in_a_row.saturating_add(1));
                self.not_started(message, delay, now, wall);
            }
            (Step::Fetch | Step::Prepare { .. }, Trouble::Refused(message)) => {
                let delay = backoff::retry_ms(self.status.failures_in_a_row.saturating_add(1));
                self.not_started(message, delay, now, wall);
            }
            (Step::Start { .. }, Trouble::Refused(message)) => {
                let delay = backoff::retry_ms(self.status.failures_in_a_row.saturating_add(1));
                self.recreate = true;
                self.not_started(message, delay, now, wall);
            }
            (
                Step::Stop { .. } | Step::Remove { .. } | Step::ReadImage,
                Trouble::Fetch(why) | Trouble::Refused(why),
            ) => {
                self.attempts.failed(now);
                self.change(|status| status.message = shortened(why));
            }
        }
    }

    /// This incarnation never ran.
    fn not_started(&mut self, message: String, delay_ms: u64, now: Time, wall: Wall) {
        self.retry_at = Some(now.after_ms(delay_ms));
        self.change(|status| {
            status.phase = Phase::Failed;
            status.health = Health::None;
            status.message = shortened(message);
            status.failures_in_a_row = status.failures_in_a_row.saturating_add(1);
            status.retry_at = Some(Wall(wall.0 + delay_ms));
        });
    }
}
