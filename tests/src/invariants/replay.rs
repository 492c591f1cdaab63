//! Determinism: who has nothing but the log has the same State.

use super::Promise;
use crate::sim::World;
use crate::sim::event::Fact;

/// The promise.
#[derive(Debug)]
pub(super) struct Replay;

impl Promise for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn hold(&mut self, world: &World, fact: &Fact) -> Result<(), String> {
        let Fact::Elected { before } = fact else { return Ok(()) };
        if **before == world.state {
            Ok(())
        } else {
            let (was, is) = (format!("{before:?}"), format!("{:?}", world.state));
            let differs = was.bytes().zip(is.bytes()).take_while(|(a, b)| a == b).count();
            Err(format!(
                "revision {} replayed from the log is another State: {} became {}",
                before.revision(),
                around(&was, differs),
                around(&is, differs)
            ))
        }
    }
}

/// The text about a place.
fn around(text: &str, at: usize) -> String {
    String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(80)..text.len().min(at + 80)]).into_owned()
}
