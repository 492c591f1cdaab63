//! The guard: rules by example, and by property over whatever happens.

use super::*;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet as Set;
use std::rc::Rc;

const SECOND: Duration = Duration::from_secs(1);

fn small() -> Limits {
    Limits {
        connections: 20,
        per_address: 6,
        strangers: 5,
        strangers_per_address: 3,
        handshakes: 6,
        handshakes_per_address: 4,
        handshake_deadline: 5 * SECOND,
        stranger_idle: 8 * SECOND,
        stranger_yields: 2 * SECOND,
    }
}

fn origin(last: u8) -> Origin {
    Origin::from(IpAddr::from([10, 0, 0, last]))
}

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Arrivals are named; whoever is evicted says its name.
fn arrive(guard: &mut Guard<u32>, from: u8, name: u32, now: u64) -> (Ticket, Option<(u32, Limit)>) {
    let (ticket, evicted) = guard.arrive(origin(from), name, at(now)).expect("there is room");
    (ticket, evicted.map(|e| (e.end, e.limit)))
}

fn stranger(guard: &mut Guard<u32>, from: u8, name: u32, now: u64) -> (Ticket, Greeted<u32>) {
    let (ticket, _) = arrive(guard, from, name, now);
    (ticket, guard.greet(ticket, false, at(now)))
}

#[test]
fn the_oldest_handshake_of_a_flood_makes_room() {
    let mut guard = Guard::new(small());
    for name in 0..4 {
        assert_eq!(arrive(&mut guard, 1, name, 0).1, None);
    }
    assert_eq!(arrive(&mut guard, 1, 4, 0).1, Some((0, Limit::HandshakesPerAddress)), "its own address is full");
    assert_eq!(arrive(&mut guard, 2, 10, 0).1, None);
    assert_eq!(arrive(&mut guard, 3, 20, 0).1, None);
    assert_eq!(arrive(&mut guard, 4, 30, 0).1, Some((1, Limit::Handshakes)), "the address with most of them yields");
    // Who is quick gets in, also from the address of the flood.
    let (quick, _) = arrive(&mut guard, 1, 5, 0);
    assert_eq!(guard.greet(quick, true, at(1)), Greeted::Stays(None));
}

#[test]
fn the_known_have_a_share_of_their_own() {
    let mut guard = Guard::new(small());
    for from in 1..=2 {
        for name in 0..3 {
            let _ = stranger(&mut guard, from, name, 0);
        }
    }
    for from in 3..=8 {
        arrive(&mut guard, from, 0, 0);
    }
    assert_eq!(guard.open(), Open { handshakes: 6, strangers: 5, known: 0 });
    for known in 0..9 {
        let (ticket, _) = arrive(&mut guard, 100 + known, 0, 0);
        assert_eq!(guard.greet(ticket, true, at(0)), Greeted::Stays(None), "{known}");
    }
    let (ticket, _) = arrive(&mut guard, 200, 0, 0);
    assert_eq!(guard.greet(ticket, true, at(0)), Greeted::Refused(Limit::Known));
}

#[test]
fn a_stranger_yields_when_it_is_silent_or_its_address_greedy() {
    let mut guard = Guard::new(small());
    let (first, _) = stranger(&mut guard, 1, 1, 0);
    stranger(&mut guard, 1, 2, 0);
    stranger(&mut guard, 1, 3, 0);
    assert_eq!(stranger(&mut guard, 1, 4, 100).1, Greeted::Refused(Limit::StrangersPerAddress), "none is silent yet");
    guard.heard(first, at(1_900));
    let evicted = Evicted { end: 2, limit: Limit::StrangersPerAddress };
    assert_eq!(
        stranger(&mut guard, 1, 5, 2_100).1,
        Greeted::Stays(Some(evicted)),
        "the first was heard, the second not"
    );
    stranger(&mut guard, 2, 11, 2_200);
    stranger(&mut guard, 2, 12, 2_200);
    // All places are taken: three by the first address, two by the second.
    let evicted = Evicted { end: 3, limit: Limit::Strangers };
    assert_eq!(stranger(&mut guard, 3, 21, 2_200).1, Greeted::Stays(Some(evicted)));
    // Two, two and one: none is greedier than the fourth would be by more than one, and the second is heard of.
    guard.heard(first, at(3_000));
    let evicted = Evicted { end: 5, limit: Limit::Strangers };
    assert_eq!(
        stranger(&mut guard, 4, 31, 3_000).1,
        Greeted::Stays(Some(evicted)),
        "two of one address are more than none"
    );
}

#[test]
fn time_is_over_for_the_slow_and_the_silent_but_never_for_the_known() {
    let mut guard = Guard::new(small());
    let (known, _) = arrive(&mut guard, 1, 1, 0);
    guard.greet(known, true, at(10));
    let (silent, _) = stranger(&mut guard, 2, 2, 0);
    arrive(&mut guard, 3, 3, 1_000);
    assert_eq!(guard.next_deadline(), Some(at(6_000)));
    assert_eq!(guard.due(at(5_999)), None);
    assert_eq!(guard.due(at(6_000)), Some((3, Due::Handshake)));
    guard.heard(silent, at(7_000));
    assert_eq!((guard.due(at(8_000)), guard.next_deadline()), (None, Some(at(15_000))));
    assert_eq!(guard.due(at(15_000)), Some((2, Due::Idle)));
    assert_eq!((guard.due(at(1 << 40)), guard.next_deadline()), (None, None));
    assert_eq!(guard.leave(known), Some(1));
    assert!(guard.origins.is_empty(), "nothing is remembered of those who left");
}

#[test]
fn a_network_is_one_origin() {
    let ip = |text: &str| Origin::from(text.parse::<IpAddr>().expect("an address"));
    assert_eq!(ip("2001:db8:1:2::1"), ip("2001:db8:1:2:ffff::9"));
    assert_ne!(ip("2001:db8:1:2::1"), ip("2001:db8:1:3::1"));
    assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
    assert_ne!(ip("10.0.0.2"), ip("10.0.0.1"));
}

#[derive(Debug, Clone)]
enum Event {
    Arrive { from: u8 },
    Greet { which: usize, is_known: bool },
    Heard { which: usize },
    Leave { which: usize },
    Wait { ms: u64 },
    Shed,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => (0_u8..8).prop_map(|from| Event::Arrive { from: if from > 3 { 1 } else { from } }),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(which, is_known)| Event::Greet { which, is_known }),
        2 => any::<usize>().prop_map(|which| Event::Heard { which }),
        1 => any::<usize>().prop_map(|which| Event::Leave { which }),
        2 => (0_u64..4_000).prop_map(|ms| Event::Wait { ms }),
        1 => Just(Event::Shed),
    ];
    proptest::collection::vec(event, 0..200)
}

/// Says that it ended, as a connection does.
#[derive(Debug)]
struct End(Ticket, Rc<RefCell<Set<Ticket>>>);

impl Drop for End {
    fn drop(&mut self) {
        self.1.borrow_mut().insert(self.0);
    }
}

/// What the test believes of one connection.
#[derive(Debug, Clone, Copy)]
struct Belief {
    ticket: Ticket,
    from: u8,
    phase: Phase,
}

/// The books, kept by the simplest means.
#[derive(Debug)]
struct World {
    guard: Guard<End>,
    ended: Rc<RefCell<Set<Ticket>>>,
    open: Vec<Belief>,
    now: Duration,
    next: u64,
}

impl World {
    fn pick(&self, which: usize, wanted: impl Fn(&Phase) -> bool) -> Option<usize> {
        let fitting: Vec<usize> = (0..self.open.len()).filter(|i| wanted(&self.open[*i].phase)).collect();
        (!fitting.is_empty()).then(|| fitting[which % fitting.len()])
    }

    fn count(&self, wanted: impl Fn(&Belief) -> bool) -> usize {
        self.open.iter().filter(|b| wanted(b)).count()
    }

    /// Forgets those that were ended; none may be known.
    fn collect(&mut self) {
        let ended = std::mem::take(&mut *self.ended.borrow_mut());
        for ticket in ended {
            let index = self.open.iter().position(|b| b.ticket == ticket).expect("it was open");
            let gone = self.open.swap_remove(index);
            assert!(gone.phase != Phase::Known, "a known peer was closed");
        }
    }

    fn step(&mut self, event: &Event) {
        match *event {
            Event::Arrive { from } => {
                self.next += 1;
                let own = self.count(|b| b.from == from && matches!(b.phase, Phase::Handshake { .. }));
                let all = self.count(|b| b.from == from);
                let end = End(Ticket(self.next), self.ended.clone());
                match self.guard.arrive(origin(from), end, self.now) {
                    Ok((ticket, evicted)) => {
                        assert_eq!(ticket, Ticket(self.next));
                        drop(evicted);
                        let until = self.now + small().handshake_deadline;
                        self.open.push(Belief { ticket, from, phase: Phase::Handshake { until } });
                    }
                    Err(limit) => {
                        assert_eq!(
                            (limit, own),
                            (Limit::PerAddress, 0),
                            "only an address full of the established is refused"
                        );
                        assert!(all >= small().per_address);
                        self.ended.borrow_mut().remove(&Ticket(self.next));
                        self.next -= 1;
                    }
                }
            }
            Event::Greet { which, is_known } => {
                let Some(index) = self.pick(which, |p| matches!(p, Phase::Handshake { .. })) else { return };
                let Belief { ticket, .. } = self.open[index];
                let known = self.count(|b| b.phase == Phase::Known);
                match self.guard.greet(ticket, is_known, self.now) {
                    Greeted::Stays(evicted) => {
                        assert!(!(is_known && evicted.is_some()), "a known peer needs nobody's place");
                        self.open[index].phase =
                            if is_known { Phase::Known } else { Phase::Stranger { heard: self.now } };
                        drop(evicted);
                    }
                    Greeted::Refused(limit) => {
                        assert!(!is_known || known == small().reserved(), "refused by {limit:?} with {known} known");
                    }
                    Greeted::Gone => panic!("it was open"),
                }
            }
            Event::Heard { which } => {
                let Some(index) = self.pick(which, |p| matches!(p, Phase::Stranger { .. })) else { return };
                self.open[index].phase = Phase::Stranger { heard: self.now };
                self.guard.heard(self.open[index].ticket, self.now);
            }
            Event::Leave { which } => {
                let Some(index) = self.pick(which, |_| true) else { return };
                let gone = self.open.swap_remove(index);
                let end = self.guard.leave(gone.ticket).expect("it was open");
                let ticket = end.0;
                drop(end);
                self.ended.borrow_mut().remove(&ticket);
            }
            Event::Wait { ms } => {
                self.now += at(ms);
                while let Some((end, _)) = self.guard.due(self.now) {
                    drop(end);
                }
                self.collect();
                for belief in &self.open {
                    match belief.phase {
                        Phase::Handshake { until } => assert!(until > self.now, "too slow and still there"),
                        Phase::Stranger { heard } => {
                            assert!(heard + small().stranger_idle > self.now, "silent and still there")
                        }
                        Phase::Known => {}
                    }
                }
            }
            Event::Shed => drop(self.guard.shed()),
        }
    }

    fn check(&self) {
        let limits = small();
        let is = |belief: &Belief, kind: u8| match belief.phase {
            Phase::Handshake { .. } => kind == 0,
            Phase::Stranger { .. } => kind == 1,
            Phase::Known => kind == 2,
        };
        let open = Open {
            handshakes: self.count(|b| is(b, 0)),
            strangers: self.count(|b| is(b, 1)),
            known: self.count(|b| is(b, 2)),
        };
        assert_eq!(self.guard.open(), open, "the books are right");
        assert!(open.handshakes <= limits.handshakes && open.strangers <= limits.strangers);
        assert!(open.known <= limits.reserved());
        for from in 0..8 {
            assert!(self.count(|b| b.from == from && is(b, 0)) <= limits.handshakes_per_address);
            assert!(self.count(|b| b.from == from && is(b, 1)) <= limits.strangers_per_address);
            assert!(self.count(|b| b.from == from) <= limits.per_address);
        }
        let origins: Set<u8> = self.open.iter().map(|b| b.from).collect();
        assert_eq!(self.guard.origins.len(), origins.len(), "only origins of open connections are remembered");
        let first = self.open.iter().filter_map(|b| match b.phase {
            Phase::Handshake { until } => Some(until),
            Phase::Stranger { heard } => Some(heard + limits.stranger_idle),
            Phase::Known => None,
        });
        assert_eq!(self.guard.next_deadline(), first.min(), "woken in time");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens: limits hold, the books are right, the slow and the silent go, the known stay, and one with a
    /// certificate is refused only when there are as many of its kind as there may be.
    #[test]
    fn nobody_holds_more_than_its_share(events in events()) {
        let ended = Rc::default();
        let mut world = World { guard: Guard::new(small()), ended, open: Vec::new(), now: Duration::ZERO, next: 0 };
        for event in &events {
            world.step(event);
            world.collect();
            world.check();
        }
    }
}
