//! Who becomes known, and that every replay says the same.

use proto::id::NodeId;
use proto::identity::{OperatorRole, Subject};
use proto::revision::Wall;

use super::world::{World, stamped};
use crate::engine::command::Enrolling;
use crate::engine::model::{Grant, Token};
use crate::engine::outcome::{Outcome, Rejection};
use crate::engine::{Command, State, apply};

const NODE: NodeId = NodeId(7);

fn world() -> World {
    World::of_version(3, None)
}

impl World {
    fn token(&mut self, id: u64, grant: Grant, uses: u32) {
        let token = Token { id, hash: format!("h{id}"), grant, uses, used: 0, made: Wall(0), expires: Wall(1_000) };
        assert!(matches!(self.at(0, Command::PutToken { token }), Outcome::Done { .. }));
    }

    /// Enrols by the token's own secret: who it is, or why not.
    fn enrol(&mut self, wall: u64, token: u64, who: Enrolling, key: u8) -> Result<String, Rejection> {
        let command = Command::Enrol { token, hash: format!("h{token}"), who, key: vec![key; 32] };
        match self.at(wall, command) {
            Outcome::Enrolled { subject, .. } => Ok(subject.to_string()),
            Outcome::Rejected(why) => Err(why),
            other => panic!("{other:?}"),
        }
    }
}

fn operator(name: &str) -> Grant {
    Grant::Operator { role: OperatorRole::Viewer, project: None, name: name.parse().expect("a name") }
}

#[test]
fn a_token_is_used_as_often_as_it_says_until_its_end() {
    let mut world = world();
    world.token(1, Grant::Agent, 1);
    let other = Enrolling::Agent(NodeId(8));
    assert_eq!(world.enrol(1, 1, Enrolling::Agent(NODE), 1), Ok("agent/0000000000000007".to_owned()));
    assert!(matches!(world.enrol(1, 1, other, 2), Err(Rejection::TokenOver { .. })));
    // The answer was lost: the same key asks again.
    assert!(world.enrol(2, 1, Enrolling::Agent(NODE), 1).is_ok());
    world.token(2, Grant::Agent, 5);
    assert!(matches!(world.enrol(1_000, 2, other, 2), Err(Rejection::TokenOver { .. })), "at its end it is over");
    assert!(matches!(world.enrol(1, 1, Enrolling::Agent(NODE), 1), Err(Rejection::TokenOver { .. })), "time stays");
}

#[test]
fn another_secret_kind_or_token_makes_nobody_known() {
    let mut world = world();
    world.token(1, operator("ada"), 1);
    let forged = Command::Enrol { token: 1, hash: "h2".to_owned(), who: Enrolling::Operator, key: vec![1; 32] };
    assert_eq!(world.at(1, forged), Outcome::Rejected(Rejection::WrongSecret(1)));
    assert!(matches!(world.enrol(1, 1, Enrolling::Agent(NODE), 1), Err(Rejection::TokenKind { .. })));
    assert_eq!(world.enrol(1, 9, Enrolling::Operator, 1), Err(Rejection::NoToken(9)));
    assert_eq!(world.0.identities().count(), 0);
    assert_eq!(world.0.token(1).map(|t| t.used), Some(0), "what was refused uses nothing up");
}

#[test]
fn a_name_is_taken_over_by_its_key_or_by_the_operators_word_only() {
    let mut world = world();
    world.token(1, Grant::Agent, 9);
    let agent = Enrolling::Agent(NODE);
    assert!(world.enrol(1, 1, agent, 1).is_ok());
    assert!(matches!(world.enrol(1, 1, agent, 2), Err(Rejection::Taken { .. })));
    world.token(2, Grant::Agent, 9);
    assert!(world.enrol(1, 2, agent, 1).is_ok(), "its own key, by another token");
    world.at(1, Command::RevokeIdentity { subject: Subject::Agent(NODE) });
    assert!(world.0.identity(&Subject::Agent(NODE)).is_none());
    assert!(world.enrol(1, 1, agent, 2).is_ok());
    let none = world.at(1, Command::RevokeIdentity { subject: Subject::Agent(NodeId(9)) });
    assert_eq!(none, Outcome::Rejected(Rejection::NoIdentity(Subject::Agent(NodeId(9)))));
}

#[test]
fn several_operators_by_one_token_are_numbered() {
    let mut world = world();
    world.token(1, operator("dev"), 2);
    assert_eq!(world.enrol(1, 1, Enrolling::Operator, 1), Ok("operator/dev-1".to_owned()));
    assert_eq!(world.enrol(1, 1, Enrolling::Operator, 2), Ok("operator/dev-2".to_owned()));
    let known = world.0.identity(&Subject::Operator("dev-2".parse().expect("a name"))).expect("is known").clone();
    assert!(matches!(&known.grant, Grant::Operator { name, .. } if name.as_str() == "dev-2"));
}

#[test]
fn a_replay_says_the_same() {
    let mut world = world();
    world.token(1, operator("dev"), 3);
    world.token(2, Grant::Agent, 1);
    for key in 1..5 {
        let _ = world.enrol(10 * u64::from(key), 1, Enrolling::Operator, key);
        let _ = world.enrol(10 * u64::from(key), 2, Enrolling::Agent(NodeId(key.into())), key);
    }
    world.at(99, Command::RevokeIdentity { subject: "operator/dev-1".parse().expect("a subject") });
    world.at(99, Command::RevokeToken { id: 2 });
    let replayed = world.replayed();
    assert_eq!(replayed, world.0);
    assert_eq!(replayed.identities().count(), 3);
}

#[test]
fn an_earlier_state_takes_none_of_it() {
    let mut state = State::empty();
    apply(&mut state, &stamped(0, Command::RaiseVersion { to: 2 }));
    let outcome = apply(&mut state, &stamped(0, Command::RevokeToken { id: 1 }));
    assert_eq!(outcome, Outcome::Rejected(Rejection::TooNew { needed: 3, present: 2 }));
}
