//! Files written by every released version stay readable: `orchestrator/fixtures/` against today's code.
//!
//! `WHERRY_UPDATE_EXPECT=1 cargo test -p orchestrator raft::tests::fixtures` writes the missing ones. Those that are
//! there are never rewritten: delete one by hand only as long as no release has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use openraft::{BasicNode, EntryPayload, Membership};
use proto::id::RequestId;
use proto::revision::{Time, Wall};

use super::sample;
use crate::engine::{Stamped, State, apply};
use crate::raft::codec;
use crate::raft::record::{self, Position, SnapshotRecord, VoteRecord};
use crate::raft::type_config::{Batch, Encoded, Entry, Proposed, SnapshotMeta, StoredMembership, Vote};

type Check = Box<dyn Fn(&[u8])>;

/// A fixture: its file, the bytes of today's code, and a check that bytes mean what they should.
struct Fixture {
    name: String,
    today: Vec<u8>,
    check: Check,
}

const REQUEST: RequestId = RequestId { client: 0x0123_4567_89ab_cdef, sequence: 42 };

fn members() -> Membership<u64, BasicNode> {
    let nodes = BTreeMap::from([(1, BasicNode::new("10.0.0.1:7421")), (2, BasicNode::new("10.0.0.2:7421"))]);
    Membership::new(vec![BTreeSet::from([1]), BTreeSet::from([1, 2])], nodes)
}

fn entry(name: &str, payload: EntryPayload<crate::raft::TypeConfig>) -> Fixture {
    let entry = Entry { log_id: Position { term: 3, server: 1, index: 9 }.into(), payload };
    Fixture {
        name: format!("entry-{name}.bin"),
        today: record::seal_entry(&entry).unwrap(),
        check: Box::new(move |bytes| {
            let read = record::open_entry(bytes).unwrap();
            // openraft's Entry compares by content.
            assert_eq!(read, entry);
        }),
    }
}

fn command(name: &str, command: crate::engine::Command) -> Fixture {
    proposed(name, Proposed { request: Some(REQUEST), by: None, command })
}

fn proposed(name: &str, proposed: Proposed) -> Fixture {
    let version = proposed.version();
    let encoded = Encoded(codec::encode_body(&proposed).unwrap().into());
    let batch = Batch { version, at: Time(1_000), wall: Wall(1_700_000_000_000), commands: vec![encoded] };
    Fixture {
        name: format!("command-{name}.bin"),
        today: codec::seal(version, &batch).unwrap(),
        check: Box::new(move |bytes| {
            let batch: Batch = codec::open(bytes).unwrap();
            let read: Proposed = codec::decode_body(&batch.commands[0].0).unwrap();
            assert_eq!((read, batch.at, batch.wall), (proposed.clone(), Time(1_000), Wall(1_700_000_000_000)));
        }),
    }
}

fn snapshot(name: &str, state: State) -> Fixture {
    let at = Position { term: 3, server: 1, index: 9 }.into();
    let meta = SnapshotMeta {
        last_log_id: Some(at),
        last_membership: StoredMembership::new(Some(at), members()),
        snapshot_id: "3-9".to_owned(),
    };
    let record = SnapshotRecord::new(&meta, state);
    Fixture {
        name: format!("snapshot-{name}.bin"),
        today: codec::seal(record.state.version(), &record).unwrap(),
        check: Box::new(move |bytes| {
            let read: SnapshotRecord = codec::open(bytes).unwrap();
            assert_eq!((read.meta(), &read), (meta.clone(), &record));
        }),
    }
}

fn vote() -> Fixture {
    let record = VoteRecord::from(Vote::new_committed(3, 1));
    Fixture {
        name: "vote.bin".to_owned(),
        today: codec::seal(0, &record).unwrap(),
        check: Box::new(move |bytes| assert_eq!(codec::open::<VoteRecord>(bytes).unwrap(), record)),
    }
}

fn fixtures() -> Vec<Fixture> {
    let mut used = State::empty();
    for (_, command) in sample::every_command() {
        apply(&mut used, &Stamped { at: Time(1_000), wall: Wall(2_000), request: Some(REQUEST), by: None, command });
    }
    let mut updating = State::empty();
    for command in sample::history_with_a_rollout() {
        apply(&mut updating, &Stamped { at: Time(1_000), wall: Wall(2_000), request: None, by: None, command });
    }
    assert!(updating.services().any(|s| s.rollout.is_some()), "the fixture has what it is for");
    let mut global = State::empty();
    for command in sample::history_with_a_global_service() {
        apply(&mut global, &Stamped { at: Time(1_000), wall: Wall(2_000), request: None, by: None, command });
    }
    assert!(global.tasks().any(|t| t.slot.0 == 1), "the fixture has what it is for");
    let mut joined = State::empty();
    for command in [sample::every_command().remove(0).1, crate::engine::Command::RaiseVersion { to: 3 }] {
        apply(&mut joined, &Stamped { at: Time(1_000), wall: Wall(2_000), request: None, by: None, command });
    }
    for (name, command) in sample::commands_of_version_3() {
        let outcome =
            apply(&mut joined, &Stamped { at: Time(1_000), wall: Wall(2_000), request: None, by: None, command });
        assert!(!matches!(outcome, crate::engine::Outcome::Rejected(_)), "{name}: {outcome:?}");
    }
    let mut audited = State::empty();
    for command in sample::history_with_an_audit() {
        let by = Some(sample::asker());
        apply(&mut audited, &Stamped { at: Time(1_000), wall: Wall(2_000), request: None, by, command });
    }
    let told: Vec<_> = audited.audit().after(0).map(|r| (r.call.as_str(), r.outcome.as_str())).collect();
    assert_eq!(told, [("ApplyProject", "done"), ("FetchBlob", "given"), ("ScaleService", "refused")]);
    let mut several = State::empty();
    let mut said = vec![sample::every_command().remove(0).1];
    said.extend(sample::commands_of_version_6().into_iter().map(|(_, command)| command));
    said.pop();
    for command in said {
        let outcome =
            apply(&mut several, &Stamped { at: Time(1_000), wall: Wall(2_000), request: None, by: None, command });
        assert!(!matches!(outcome, crate::engine::Outcome::Rejected(_)), "{outcome:?}");
    }
    assert_eq!(several.servers().count(), 1, "the fixture has what it is for");
    // One that is half done, and one that is over.
    let mut rotating = State::empty();
    let mut said = sample::history_before_a_rotation();
    said.extend(sample::commands_of_version_7().into_iter().map(|(_, command)| command));
    let (end, half) = (said.split_off(said.len() - 2), said);
    let say = |state: &mut State, command| {
        let outcome = apply(state, &Stamped { at: Time(1_000), wall: Wall(2_000), request: None, by: None, command });
        assert!(matches!(outcome, crate::engine::Outcome::Done { changed: true, .. }), "{outcome:?}");
    };
    half.into_iter().for_each(|command| say(&mut rotating, command));
    let mut rotated = rotating.clone();
    end.into_iter().for_each(|command| say(&mut rotated, command));
    assert!(
        rotating.sealing().rotation.is_some() && rotated.sealing().retired.len() == 1,
        "both are what they are for"
    );
    let mut labelled = State::empty();
    let said = sample::commands_of_version_8().into_iter().map(|(_, command)| command);
    sample::history_before_labels().into_iter().chain(said).for_each(|command| say(&mut labelled, command));
    assert!(labelled.nodes().all(|n| n.label("disk") == Some("ssd")), "the fixture has what it is for");
    let batch = Batch {
        version: 1,
        at: Time(1_000),
        wall: Wall(1_700_000_000_000),
        commands: vec![Encoded(b"one"[..].into()), Encoded(b"two"[..].into())],
    };
    let mut all = vec![
        vote(),
        entry("blank", EntryPayload::Blank),
        entry("membership", EntryPayload::Membership(members())),
        entry("batch", EntryPayload::Normal(batch)),
        snapshot("empty", State::empty()),
        snapshot("used", used),
        snapshot("updating-2", updating),
        snapshot("joined-3", joined),
        snapshot("global-4", global),
        snapshot("audited-5", audited),
        snapshot("several-6", several),
        snapshot("rotating-7", rotating),
        snapshot("rotated-7", rotated),
        snapshot("labelled-8", labelled),
    ];
    let commands = sample::every_command()
        .into_iter()
        .chain(sample::commands_of_version_2())
        .chain(sample::commands_of_version_3())
        .chain(sample::commands_of_version_4());
    all.extend(commands.map(|(name, c)| command(name, c)));
    let newer = sample::commands_of_version_5().into_iter().chain(sample::commands_of_version_6());
    for (name, c) in newer.chain(sample::commands_of_version_7()).chain(sample::commands_of_version_8()) {
        all.push(command(name, c));
    }
    let (_, scale) = sample::every_command().swap_remove(6);
    all.push(proposed(
        "scale-service-by-5",
        Proposed { request: Some(REQUEST), by: Some(sample::asker()), command: scale },
    ));
    all
}

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

#[test]
fn what_was_written_is_still_read() {
    let may_write = std::env::var_os("WHERRY_UPDATE_EXPECT").is_some();
    for fixture in fixtures() {
        (fixture.check)(&fixture.today);
        let path = dir().join(&fixture.name);
        if may_write && !path.exists() {
            fs::create_dir_all(dir()).unwrap();
            fs::write(&path, &fixture.today).unwrap();
        }
        let bytes = fs::read(&path).unwrap_or_else(|e| {
            panic!("{}: {e}; WHERRY_UPDATE_EXPECT=1 writes what is missing", path.display());
        });
        (fixture.check)(&bytes);
    }
    let known: BTreeSet<String> = fixtures().into_iter().map(|f| f.name).collect();
    let found: BTreeSet<String> =
        fs::read_dir(dir()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, known, "every file is checked");
}

#[test]
fn a_later_version_dates_nothing_anew() {
    let mut state = State::empty();
    for command in sample::history_with_a_rollout() {
        apply(&mut state, &Stamped { at: Time(1_000), wall: Wall(2_000), request: None, by: None, command });
    }
    let tasks = |state: &State| state.tasks().cloned().collect::<Vec<_>>();
    let before = tasks(&state);
    let command = crate::engine::Command::RaiseVersion { to: 3 };
    apply(&mut state, &Stamped { at: Time(9_000), wall: Wall(9_000), request: None, by: None, command });
    assert_eq!((state.version(), tasks(&state)), (3, before));
}

/// A server of version 1 refuses a field that it does not know.
#[test]
fn events_are_counted_from_version_2_on() {
    let mut state = State::empty();
    let mut say = |command| {
        apply(&mut state, &Stamped { at: Time(1_000), wall: Wall(2_000), request: None, by: None, command });
        let bytes = codec::encode_body(&state).unwrap();
        let is_counted = bytes.windows(11).any(|w| w == b"events_made");
        (state.events_made(), is_counted)
    };
    for (name, command) in sample::every_command() {
        if matches!(name, "bootstrap" | "register-node") {
            let (_, is_counted) = say(command);
            assert!(!is_counted, "{name}");
        }
    }
    let (before, _) = say(crate::engine::Command::RaiseVersion { to: 2 });
    let (_, put) = sample::every_command().swap_remove(3);
    let crate::engine::Command::PutProject { spec, .. } = put else { panic!("the samples have another order") };
    let put = crate::engine::Command::PutProject { spec, expected_release: None, prune: false };
    let (after, is_counted) = say(put);
    assert!(before > 0 && after > before && is_counted, "{before}, then {after}");
}
