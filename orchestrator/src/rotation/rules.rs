//! What comes next in a rotation, given State. Pure.

use std::collections::BTreeSet;

use crate::engine::State;
use crate::engine::model::{KeyRotation, RotationPhase, SealedPart};

/// Contents that are sealed again at once: a few entries of the log.
const RESEALED_AT_ONCE: usize = 8;

/// What the leader does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Draws a key: whoever drew the one that was to come is lost with it, or it became worthless.
    Draw,
    /// Has this key used: every server has it.
    Use(String),
    /// Seals these with the new key.
    Reseal {
        /// What.
        parts: Vec<SealedPart>,
        /// Which key they are sealed with, and which one they get.
        keys: KeyRotation,
    },
    /// Gives the old key up; this is the new one.
    Finish(String),
}

/// The next step; `None`: there is none, or servers have to do theirs first. `has`: does the leader have this key?
pub fn next(state: &State, has: impl Fn(&str) -> bool) -> Option<Next> {
    let rotation = state.sealing().rotation.as_ref()?;
    match rotation.phase {
        RotationPhase::Spreading if !has(&rotation.to) => Some(Next::Draw),
        RotationPhase::Spreading => {
            let is_spread = state.servers().next().is_some() && state.lacking(&rotation.to).next().is_none();
            is_spread.then(|| Next::Use(rotation.to.clone()))
        }
        RotationPhase::Resealing => {
            let parts: Vec<SealedPart> = state.sealed_with(&rotation.from).take(RESEALED_AT_ONCE).collect();
            if parts.is_empty() {
                return Some(Next::Finish(rotation.to.clone()));
            }
            Some(Next::Reseal { parts, keys: rotation.clone() })
        }
    }
}

/// The keys that a server needs now.
pub fn needed(state: &State) -> BTreeSet<&str> {
    let authority = state.authority().and_then(|authority| authority.key.key_id());
    let coming = state.sealing().rotation.as_ref().map(|rotation| rotation.to.as_str());
    authority.into_iter().chain(state.key_in_use()).chain(coming).filter(|key| !key.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::{Authority, Content, Ranges, ServerInfo};
    use crate::engine::{Command, KEY_ROTATION, Outcome, Stamped, apply};
    use proto::id::{BlobDigest, ClusterId, ServerId};
    use proto::revision::{Time, Wall};
    use proto::spec::BlobKind;

    fn say(state: &mut State, command: Command) {
        let stamped = Stamped { at: Time(0), wall: Wall(0), request: None, by: None, command };
        let outcome = apply(state, &stamped);
        assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    }

    fn sealed(key: &str) -> Content {
        Content::Sealed { key_id: key.to_owned(), nonce: Vec::new(), bytes: Vec::new() }
    }

    fn server(state: &mut State, keys: &[&str]) {
        let info = ServerInfo {
            id: ServerId(1),
            hostname: "s1".to_owned(),
            peers: String::new(),
            operators: String::new(),
            understands: KEY_ROTATION,
            program: String::new(),
            sealing_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        say(state, Command::PutServer { info });
    }

    fn secret(n: usize) -> Command {
        Command::PutBlob { digest: BlobDigest(format!("{n:064}")), kind: BlobKind::Secret, content: sealed("a") }
    }

    fn world() -> State {
        let mut state = State::empty();
        let ranges = Ranges::default();
        say(&mut state, Command::Bootstrap { cluster: ClusterId(1), ranges });
        say(&mut state, Command::RaiseVersion { to: KEY_ROTATION });
        say(&mut state, Command::FoundAuthority { authority: Authority { certificate: vec![], key: sealed("a") } });
        state
    }

    #[test]
    fn a_leader_without_the_new_key_draws_another_and_one_with_it_waits_for_all() {
        let mut state = world();
        assert_eq!(next(&state, |_| true), None, "nobody asked");
        assert_eq!(needed(&state), BTreeSet::from(["a"]));
        say(&mut state, Command::BeginKeyRotation { to: "b".to_owned() });
        assert_eq!(needed(&state), BTreeSet::from(["a", "b"]));
        assert_eq!(next(&state, |_| false), Some(Next::Draw));
        assert_eq!(next(&state, |_| true), None, "no server has said what it has");
        server(&mut state, &["a"]);
        assert_eq!(next(&state, |_| true), None);
        assert_eq!(state.lacking("b").collect::<Vec<_>>(), [ServerId(1)]);
        server(&mut state, &["a", "b"]);
        assert_eq!(next(&state, |_| true), Some(Next::Use("b".to_owned())));
        assert_eq!(next(&state, |_| false), Some(Next::Draw), "it could seal nothing with it");
    }

    #[test]
    fn everything_is_sealed_again_before_the_end() {
        let mut state = world();
        server(&mut state, &["a", "b"]);
        (0..20).for_each(|n| say(&mut state, secret(n)));
        say(&mut state, Command::BeginKeyRotation { to: "b".to_owned() });
        say(&mut state, Command::UseNewKey { to: "b".to_owned(), digest_key: sealed("b") });
        let mut steps = 0;
        while let Some(Next::Reseal { parts, keys }) = next(&state, |_| true) {
            for part in parts {
                say(&mut state, Command::Reseal { part, from: keys.from.clone(), content: sealed(&keys.to) });
            }
            steps += 1;
        }
        assert_eq!((steps, state.sealed_with("a").count(), state.sealed_with("b").count()), (3, 0, 21));
        assert_eq!(needed(&state), BTreeSet::from(["b"]));
        assert_eq!(next(&state, |_| true), Some(Next::Finish("b".to_owned())));
        say(&mut state, Command::FinishKeyRotation { to: "b".to_owned() });
        assert_eq!(next(&state, |_| true), None);
        assert_eq!(state.holding("a").count(), 1);
    }
}
