//! Labels that an operator gives a node: they win, they go, they are bounded, and a replay says the same.

use proto::id::{NodeId, RequestId};
use proto::limits::{NODE_LABEL_KEY_MAX_BYTES, NODE_LABEL_VALUE_MAX_BYTES, NODE_LABELS_MAX};
use proto::node::NodeInfo;
use proto::revision::Revision;
use proto::spec::Constraint;
use std::collections::{BTreeMap, BTreeSet};

use super::world::{World, stamped};
use crate::engine::model::{Asker, AuditRecord, Node};
use crate::engine::outcome::{Outcome, Rejection};
use crate::engine::placement::constraint::holds;
use crate::engine::{Command, NODE_LABELS, Stamped, State, apply};

const NODE: NodeId = NodeId(7);

/// A cluster with a node whose agent says `zone=a`.
fn world() -> World {
    let by = Asker { who: "operator/ada".to_owned(), from: "192.0.2.7:1".to_owned() };
    let mut world = World::of_version(NODE_LABELS, Some(by));
    world.done(Command::RegisterNode { info: info("a") });
    world
}

impl World {
    /// The fields that are wrong.
    fn wrong(&mut self, set: &[(&str, &str)], remove: &[&str]) -> Vec<String> {
        match self.say(label(set, remove)) {
            Outcome::Rejected(Rejection::Inadmissible(problems)) => problems.into_iter().map(|p| p.field).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn node(&self) -> &Node {
        self.0.node(NODE).expect("is registered")
    }

    /// All labels in one line.
    fn labels(&self) -> String {
        self.node().labels().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
    }

    fn events(&self) -> Vec<&str> {
        self.0.events().filter(|e| e.kind == "node-labelled").map(|e| e.message.as_str()).collect()
    }
}

fn info(zone: &str) -> NodeInfo {
    NodeInfo {
        id: NODE,
        hostname: "alpha".to_owned(),
        agent_version: "0.1.0".to_owned(),
        engine_version: "20.10.24".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        cpu_millis: 4_000,
        memory_bytes: 8 << 30,
        addresses: Vec::new(),
        labels: BTreeMap::from([("zone".to_owned(), zone.to_owned())]),
        features: BTreeSet::new(),
    }
}

fn label(set: &[(&str, &str)], remove: &[&str]) -> Command {
    expecting(None, set, remove)
}

fn expecting(expected: Option<u64>, set: &[(&str, &str)], remove: &[&str]) -> Command {
    let set = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let remove = remove.iter().map(|key| (*key).to_owned()).collect();
    Command::LabelNode { node: NODE, set, remove, expected: expected.map(Revision) }
}

#[test]
fn an_operators_label_wins_and_where_it_goes_the_agents_counts_again() {
    let mut world = world();
    assert!(world.done(label(&[("disk", "ssd"), ("zone", "b")], &[])));
    assert_eq!(world.labels(), "disk=ssd zone=b");
    let is_in = |zone: &str, world: &World| {
        let attribute = "node.labels.zone".to_owned();
        holds(&Constraint { attribute, equal: true, value: zone.to_owned() }, world.node())
    };
    assert!(is_in("b", &world) && !is_in("a", &world));
    // Its agent starts again with another label: the operator's word stands.
    world.done(Command::RegisterNode { info: info("c") });
    assert_eq!((world.node().label("zone"), world.node().label("rack")), (Some("b"), None));
    assert!(world.done(label(&[("disk", "")], &["zone"])));
    assert_eq!(world.labels(), "disk= zone=c");
    assert!(is_in("c", &world));
    assert!(!world.done(label(&[], &["zone"])), "an agent's own is not an operator's to remove");
    assert_eq!(world.events(), ["set disk, zone", "set disk; removed zone"]);
}

#[test]
fn what_changes_nothing_moves_nothing() {
    let mut world = world();
    let before = world.node().clone();
    assert_eq!(before.labelled, Revision(0));
    assert!(!world.done(label(&[], &["disk"])));
    assert!(!world.done(label(&[], &[])));
    assert_eq!(*world.node(), before);
    assert!(world.done(label(&[("disk", "ssd")], &[])));
    let after = world.node().clone();
    assert_eq!((after.labelled, after.modified), (world.0.revision(), world.0.revision()));
    assert!(!world.done(label(&[("disk", "ssd")], &["rack"])));
    assert_eq!(*world.node(), after);
    // What else changes the node is no change of its labels.
    world.done(Command::RegisterNode { info: info("c") });
    assert_eq!((world.node().labelled, world.node().modified), (after.labelled, world.0.revision()));
    assert_eq!(world.events(), ["set disk"], "only what changed is told");
}

#[test]
fn who_expects_another_revision_is_refused() {
    let mut world = world();
    assert!(world.done(expecting(Some(0), &[("disk", "ssd")], &[])));
    let present = world.node().labelled;
    let moved = |expected| {
        Outcome::Rejected(Rejection::LabelsMoved { node: "alpha".to_owned(), present, expected: Revision(expected) })
    };
    assert_eq!(world.say(expecting(Some(0), &[("disk", "hdd")], &[])), moved(0));
    assert_eq!(world.say(expecting(Some(0), &[("disk", "ssd")], &[])), moved(0), "also when nothing would change");
    assert_eq!(world.labels(), "disk=ssd zone=a");
    assert!(world.done(expecting(Some(present.0), &[], &["disk"])));
    assert!(world.node().labels.is_empty() && world.node().labelled > present, "that they went is dated too");
    let told = moved(0);
    let Outcome::Rejected(why) = told else { panic!("{told:?}") };
    let words = format!(
        "the labels of node alpha are at revision {present}, not 0 as expected; read them again and decide anew"
    );
    assert_eq!(why.to_string(), words);
    let none = Command::LabelNode { node: NodeId(8), set: BTreeMap::new(), remove: BTreeSet::new(), expected: None };
    assert_eq!(world.say(none), Outcome::Rejected(Rejection::NoNode(NodeId(8))));
}

#[test]
fn keys_values_and_their_number_are_bounded() {
    let mut world = world();
    let (key, value) = ("k".repeat(NODE_LABEL_KEY_MAX_BYTES), "v".repeat(NODE_LABEL_VALUE_MAX_BYTES));
    assert!(world.done(label(&[(&key, &value), ("a.b_c/D-9", "\u{e4} b")], &[])));
    let (long_key, long_value) = (format!("{key}k"), format!("{value}v"));
    for wrong in ["", "a b", "a=b", "\u{e4}", "a\n", &long_key] {
        assert_eq!(world.wrong(&[(wrong, "x")], &[]).len(), 1, "{wrong:?}");
        assert_eq!(world.wrong(&[], &[wrong]).len(), 1, "{wrong:?}");
    }
    assert_eq!(world.wrong(&[("disk", &long_value)], &[]), ["labels.disk"]);
    assert_eq!(world.wrong(&[("disk", "a\u{1b}[2J"), ("zone", "\u{85}")], &[]), ["labels.disk", "labels.zone"]);
    assert_eq!(world.wrong(&[("disk", "ssd")], &["disk"]), ["labels.disk"]);
    assert_eq!(world.wrong(&[(&"\n".repeat(5_000), "x")], &[])[0].len(), "labels.".len() + NODE_LABEL_KEY_MAX_BYTES);
    let keys: Vec<String> = (2..NODE_LABELS_MAX).map(|n| n.to_string()).collect();
    let many: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "x")).collect();
    assert!(world.done(label(&many, &[])));
    assert_eq!(world.node().labels.len(), NODE_LABELS_MAX);
    assert_eq!(world.wrong(&[("more", "x")], &[]), ["labels"]);
    assert!(world.done(label(&[("more", "x"), ("2", "y")], &["3"])), "one goes, one comes");
    assert_eq!(world.node().labels.len(), NODE_LABELS_MAX);
    let told = world.events().into_iter().map(str::len).max().unwrap_or_default();
    assert!(told < 1_024, "an event names some of many keys: {told}");
}

#[test]
fn the_audit_has_the_keys_and_no_value() {
    let mut world = world();
    world.done(label(&[("disk", "ssd"), ("owner", "hush")], &["rack"]));
    world.done(label(&[("owner", "hush")], &[]));
    world.wrong(&[("owner", "hush\u{7}")], &[]);
    world.say(expecting(Some(1), &[("owner", "hush")], &[]));
    let told = |r: &AuditRecord| {
        let (call, object, outcome) = (&r.call, &r.object, r.outcome.as_str());
        format!("{call} {object} {outcome}: {}", r.detail)
    };
    let records = world.0.audit().after(0);
    let told: Vec<String> = records.filter(|r| r.call == "LabelNode").map(|r| told(r)).collect();
    let at = world.node().labelled;
    let want = [
        "LabelNode node/0000000000000007 done: set disk, owner; remove rack".to_owned(),
        "LabelNode node/0000000000000007 unchanged: set owner".to_owned(),
        "LabelNode node/0000000000000007 refused: set owner: labels.owner: its value has a control character"
            .to_owned(),
        format!(
            "LabelNode node/0000000000000007 refused: set owner: the labels of node alpha are at revision {at}, \
             not 1 as expected; read them again and decide anew"
        ),
    ];
    assert_eq!(told, want);
    assert!(!format!("{:?} {:?}", world.0.audit(), world.events()).contains("hush"));
}

#[test]
fn a_replay_says_the_same_and_an_earlier_state_takes_none_of_it() {
    let mut world = world();
    for n in 0..5 {
        world.done(label(&[("n", &n.to_string())], &["zone"]));
    }
    let request = Some(RequestId { client: RequestId::client(1_000, 7), sequence: 1 });
    let once = Stamped { request, by: None, ..world.1[3].clone() };
    let first = apply(&mut world.0, &once);
    assert_eq!(apply(&mut world.0, &once), first, "sent again, it happens once");
    world.1.extend([once.clone(), once]);
    assert_eq!(world.replayed(), world.0);
    let mut earlier = State::empty();
    apply(&mut earlier, &stamped(0, Command::RaiseVersion { to: 7 }));
    let outcome = apply(&mut earlier, &stamped(0, label(&[("disk", "ssd")], &[])));
    assert_eq!(outcome, Outcome::Rejected(Rejection::TooNew { needed: 8, present: 7 }));
}
