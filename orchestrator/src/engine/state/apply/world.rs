//! A State and all that was applied to it, for the tests of what applies commands: each family adds its own words.

use proto::id::ClusterId;
use proto::revision::{Time, Wall};

use crate::engine::model::{Asker, Ranges};
use crate::engine::outcome::{Outcome, Rejection};
use crate::engine::{Command, Stamped, State, apply};

/// The State, what was applied, and for whom.
pub(super) struct World(pub(super) State, pub(super) Vec<Stamped>, Option<Asker>);

pub(super) fn stamped(wall: u64, command: Command) -> Stamped {
    Stamped { at: Time(wall), wall: Wall(wall), request: None, by: None, command }
}

impl World {
    /// A cluster with a State of this version.
    pub(super) fn of_version(version: u32, by: Option<Asker>) -> World {
        let mut world = World(State::empty(), Vec::new(), by);
        world.done(Command::Bootstrap { cluster: ClusterId(1), ranges: Ranges::default() });
        world.done(Command::RaiseVersion { to: version });
        world
    }

    pub(super) fn say(&mut self, command: Command) -> Outcome {
        self.at(0, command)
    }

    pub(super) fn at(&mut self, wall: u64, command: Command) -> Outcome {
        let stamped = Stamped { by: self.2.clone(), ..stamped(wall, command) };
        self.1.push(stamped.clone());
        apply(&mut self.0, &stamped)
    }

    /// It is accepted: did it change something?
    pub(super) fn done(&mut self, command: Command) -> bool {
        match self.say(command) {
            Outcome::Done { changed, .. } => changed,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn refused(&mut self, command: Command) -> Rejection {
        match self.say(command) {
            Outcome::Rejected(why) => why,
            other => panic!("{other:?}"),
        }
    }

    /// The State of who has nothing but what was applied.
    pub(super) fn replayed(&self) -> State {
        let mut state = State::empty();
        for stamped in &self.1 {
            apply(&mut state, stamped);
        }
        state
    }
}
