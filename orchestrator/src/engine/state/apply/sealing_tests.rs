//! A rotation, step by step and out of step: whatever comes when, nothing is left that no key opens.

use proto::id::{BlobDigest, ServerId};
use proto::spec::BlobKind;

use super::world::{World, stamped};
use crate::engine::model::{Authority, Content, RotationPhase, SealedPart, ServerInfo};
use crate::engine::outcome::{Outcome, Rejection};
use crate::engine::{Command, KEY_ROTATION, State, apply};

fn sealed(key: &str) -> Content {
    Content::Sealed { key_id: key.to_owned(), nonce: vec![0; 24], bytes: vec![1] }
}

fn digest(n: u8) -> BlobDigest {
    BlobDigest(format!("{n:064}"))
}

/// A cluster whose authority is sealed with key `a`.
fn world() -> World {
    let mut world = World::of_version(KEY_ROTATION, None);
    let authority = Authority { certificate: vec![1], key: sealed("a") };
    world.done(Command::FoundAuthority { authority });
    world
}

impl World {
    fn server(&mut self, id: u64, keys: &[&str]) {
        let info = ServerInfo {
            id: ServerId(id),
            hostname: format!("s{id}"),
            peers: String::new(),
            operators: String::new(),
            understands: KEY_ROTATION,
            program: String::new(),
            sealing_keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        // As the first server does: whoever was not let in is none.
        if self.0.servers().next().is_some() && self.0.server(ServerId(id)).is_none() {
            panic!("let it in first");
        }
        self.done(Command::PutServer { info });
    }

    fn secret(&mut self, n: u8, key: &str) -> Outcome {
        self.say(Command::PutBlob { digest: digest(n), kind: BlobKind::Secret, content: sealed(key) })
    }

    fn key_of(&self, n: u8) -> Option<&str> {
        self.0.blob(&digest(n))?.content.key_id()
    }

    fn retired(&self) -> Vec<&str> {
        self.0.sealing().retired.iter().map(String::as_str).collect()
    }
}

fn begin(to: &str) -> Command {
    Command::BeginKeyRotation { to: to.to_owned() }
}

fn use_new(to: &str) -> Command {
    Command::UseNewKey { to: to.to_owned(), digest_key: sealed(to) }
}

fn reseal(part: SealedPart, from: &str, to: &str) -> Command {
    Command::Reseal { part, from: from.to_owned(), content: sealed(to) }
}

fn finish(to: &str) -> Command {
    Command::FinishKeyRotation { to: to.to_owned() }
}

#[test]
fn a_key_takes_the_place_of_another() {
    let mut world = world();
    world.server(1, &["a"]);
    world.secret(1, "a");
    assert_eq!((world.0.key_in_use(), world.0.sealed_count()), (Some("a"), 2));
    assert!(world.done(begin("b")));
    assert_eq!(world.0.key_in_use(), Some("a"), "nobody is known to have the new one");
    assert_eq!(world.refused(use_new("b")), Rejection::KeyNotSpread(ServerId(1)));
    world.server(1, &["a", "b"]);
    assert!(world.done(use_new("b")));
    assert!(!world.done(use_new("b")), "once");
    assert_eq!(world.0.key_in_use(), Some("b"));
    // One that was under way is sealed again with the others; it was put a moment before.
    world.secret(2, "a");
    assert_eq!(world.refused(finish("b")), Rejection::StillSealed("a".to_owned()));
    let put_at = world.0.blob(&digest(1)).expect("is there").put_at;
    let parts: Vec<SealedPart> = world.0.sealed_with("a").collect();
    assert_eq!(parts.len(), 3);
    for part in parts {
        assert!(world.done(reseal(part.clone(), "a", "b")));
        assert!(!world.done(reseal(part, "a", "b")), "once");
    }
    let blob = world.0.blob(&digest(1)).expect("is there");
    assert_eq!((blob.put_at, blob.content.key_id()), (put_at, Some("b")));
    assert!(world.done(finish("b")));
    assert_eq!((world.retired(), world.0.key_in_use(), world.0.sealing().rotations), (vec!["a"], Some("b"), 1));
    assert_eq!(world.refused(finish("b")), Rejection::NoKeyRotation("b".to_owned()));
    // The next one begins where this one ended; the key of before never comes back.
    assert_eq!(world.refused(begin("a")), Rejection::NoKeyRotation("a".to_owned()));
    assert_eq!(world.refused(begin("b")), Rejection::NoKeyRotation("b".to_owned()));
    assert!(world.done(begin("c")));
    assert_eq!(world.0.sealing().rotation.as_ref().map(|r| r.from.as_str()), Some("b"));
}

#[test]
fn what_was_sealed_with_a_key_that_is_gone_is_not_kept() {
    let mut world = world();
    world.server(1, &["a", "b"]);
    world.done(begin("b"));
    world.done(use_new("b"));
    world.done(reseal(SealedPart::Authority, "a", "b"));
    world.done(finish("b"));
    assert_eq!(world.secret(1, "a"), Outcome::Rejected(Rejection::KeyRetired("a".to_owned())));
    assert!(world.0.blob(&digest(1)).is_none());
    assert!(matches!(world.secret(1, "b"), Outcome::Done { changed: true, .. }));
    let back = reseal(SealedPart::Blob(digest(1)), "b", "a");
    assert_eq!(world.refused(back), Rejection::NoKeyRotation("a".to_owned()));
    assert_eq!(world.key_of(1), Some("b"));
}

#[test]
fn a_new_key_may_be_another_until_it_is_used() {
    let mut world = world();
    world.server(1, &["a"]);
    world.done(begin("b"));
    assert!(!world.done(begin("b")), "the same again begins nothing");
    assert!(world.done(begin("c")), "who had the first one is lost");
    assert_eq!((world.retired(), world.0.sealing().rotations), (vec!["b"], 1));
    assert_eq!(world.refused(use_new("b")), Rejection::NoKeyRotation("b".to_owned()));
    world.server(1, &["a", "c"]);
    let other = Command::UseNewKey { to: "c".to_owned(), digest_key: sealed("a") };
    assert_eq!(world.refused(other), Rejection::NoKeyRotation("c".to_owned()));
    assert_eq!(world.refused(reseal(SealedPart::Authority, "a", "c")), Rejection::NoKeyRotation("c".to_owned()));
    world.done(use_new("c"));
    assert!(!world.done(begin("d")), "now it is used");
    assert_eq!(world.0.sealing().rotation.as_ref().map(|r| r.phase), Some(RotationPhase::Resealing));
}

#[test]
fn a_server_that_is_removed_makes_the_key_it_may_know_worthless() {
    let mut world = world();
    world.server(1, &["a"]);
    world.done(begin("b"));
    world.server(1, &["a", "b"]);
    world.done(Command::RemoveServer { id: ServerId(1) });
    assert_eq!(world.0.sealing().rotation.as_ref().map(|r| r.to.as_str()), Some(""));
    assert_eq!(world.retired(), ["b"]);
    assert_eq!(world.refused(use_new("")), Rejection::NoKeyRotation(String::new()));
    world.server(2, &["a", "b"]);
    assert!(world.done(begin("c")));
    assert_eq!(world.refused(use_new("c")), Rejection::KeyNotSpread(ServerId(2)));
}

#[test]
fn a_replay_says_the_same_and_an_earlier_state_takes_none_of_it() {
    let mut world = world();
    assert_eq!(world.refused(begin("")), Rejection::NoKeyRotation(String::new()));
    world.server(1, &["a", "b"]);
    world.secret(1, "a");
    for command in [begin("b"), use_new("b"), reseal(SealedPart::Blob(digest(1)), "a", "b")] {
        assert!(world.done(command));
    }
    assert_eq!(world.replayed(), world.0);
    let mut earlier = State::empty();
    apply(&mut earlier, &stamped(0, Command::RaiseVersion { to: 6 }));
    let outcome = apply(&mut earlier, &stamped(0, begin("b")));
    assert_eq!(outcome, Outcome::Rejected(Rejection::TooNew { needed: 7, present: 6 }));
    apply(&mut earlier, &stamped(0, Command::RaiseVersion { to: 7 }));
    assert_eq!(apply(&mut earlier, &stamped(0, begin("b"))), Outcome::Rejected(Rejection::NotFounded));
}
