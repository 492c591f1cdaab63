//! Which servers should vote, given who answers. Pure.

use proto::id::ServerId;
use std::collections::BTreeSet;
use std::time::Duration;

/// Most voters: more only makes each decision slower.
pub const VOTERS_MAX: usize = 5;
/// A voter that is silent for so long gives its place to a spare.
pub const REPLACED_AFTER: Duration = Duration::from_secs(30);

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub id: ServerId,
    /// Has it a vote?
    pub votes: bool,
    /// Is it in State? One that is not was removed.
    pub known: bool,
    /// It does not answer, for so long.
    pub silent: Option<Duration>,
    /// It has not caught up.
    pub is_behind: bool,
}

/// The members, seen by their leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The leader.
    pub own: ServerId,
    /// All, the leader too.
    pub members: Vec<Member>,
    /// The voters of a change whose leader was lost before it took the second step. Until somebody takes it, nothing is
    /// decided without a majority of those before, too.
    pub unfinished: Option<BTreeSet<ServerId>>,
}

/// What is to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// These are to vote.
    Voters(BTreeSet<ServerId>),
    /// This one is to be no member any more.
    Drop(ServerId),
}

// === impl View ===

impl View {
    /// Those that vote.
    pub fn voters(&self) -> BTreeSet<ServerId> {
        self.members.iter().filter(|m| m.votes).map(|m| m.id).collect()
    }

    /// How many of these answer.
    pub fn answering(&self, of: &BTreeSet<ServerId>) -> usize {
        self.members.iter().filter(|m| m.silent.is_none() && of.contains(&m.id)).count()
    }

    /// Could these decide, as far as is known now?
    pub fn could_decide(&self, voters: &BTreeSet<ServerId>) -> bool {
        self.answering(voters) > voters.len() / 2
    }

    /// One of them.
    pub fn member(&self, id: ServerId) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }
}

// === impl Member ===

impl Member {
    /// Could it vote at once?
    pub fn is_fit(&self) -> bool {
        self.known && self.silent.is_none() && !self.is_behind
    }
}

/// The next change, if one is needed and can be made.
pub fn next(view: &View) -> Option<Next> {
    if let Some(goal) = &view.unfinished {
        return Some(Next::Voters(goal.clone()));
    }
    let voters = view.voters();
    let wanted = removed(view, &voters)
        .or_else(|| replaced(view, &voters))
        .or_else(|| grown(view, &voters))
        .or_else(|| made_odd(view, &voters));
    match wanted {
        Some(wanted) => (wanted != voters && view.could_decide(&wanted)).then_some(Next::Voters(wanted)),
        None => {
            let gone = view.members.iter().find(|m| !m.known && !m.votes)?;
            Some(Next::Drop(gone.id))
        }
    }
}

/// Without a voter that was removed; the leader itself goes last.
fn removed(view: &View, voters: &BTreeSet<ServerId>) -> Option<BTreeSet<ServerId>> {
    let gone = view.members.iter().filter(|m| m.votes && !m.known);
    let gone = gone.max_by_key(|m| m.id != view.own)?;
    let left = without(voters, gone.id);
    (!left.is_empty()).then_some(left)
}

/// A spare in the place of a voter that has been silent for long.
fn replaced(view: &View, voters: &BTreeSet<ServerId>) -> Option<BTreeSet<ServerId>> {
    let lost = view.members.iter().find(|m| m.votes && m.silent.is_some_and(|s| s >= REPLACED_AFTER))?;
    let spare = spares(view).next()?;
    let mut wanted = without(voters, lost.id);
    wanted.insert(spare);
    Some(wanted)
}

/// As many as make the largest odd number.
fn grown(view: &View, voters: &BTreeSet<ServerId>) -> Option<BTreeSet<ServerId>> {
    let could = (voters.len() + spares(view).count()).min(VOTERS_MAX);
    let target = if could.is_multiple_of(2) { could.saturating_sub(1) } else { could };
    let more = target.checked_sub(voters.len()).filter(|more| *more > 0)?;
    Some(voters.iter().copied().chain(spares(view).take(more)).collect())
}

/// One fewer, where their number is even and none can be added: an even number survives no more than the odd one below.
fn made_odd(view: &View, voters: &BTreeSet<ServerId>) -> Option<BTreeSet<ServerId>> {
    if voters.is_empty() || voters.len() % 2 == 1 {
        return None;
    }
    let others = view.members.iter().filter(|m| m.votes && m.id != view.own);
    let leaves = others.max_by_key(|m| (m.silent, m.is_behind, m.id))?;
    Some(without(voters, leaves.id))
}

fn spares(view: &View) -> impl Iterator<Item = ServerId> + '_ {
    view.members.iter().filter(|m| !m.votes && m.is_fit()).map(|m| m.id)
}

fn without(voters: &BTreeSet<ServerId>, id: ServerId) -> BTreeSet<ServerId> {
    voters.iter().copied().filter(|voter| *voter != id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One letter for each member, the leader first: `v` votes, `s` spare, `d` a voter that is silent for long, `q` one
    /// that has just gone quiet, `b` a spare that is behind, `r` a voter that was removed, `g` a removed one without vote.
    fn view(members: &str) -> View {
        let member = |(id, kind): (u64, char)| Member {
            id: ServerId(id),
            votes: "vdqr".contains(kind),
            known: !"rg".contains(kind),
            silent: match kind {
                'd' => Some(REPLACED_AFTER),
                'q' => Some(Duration::from_secs(3)),
                _ => None,
            },
            is_behind: kind == 'b',
        };
        View { own: ServerId(1), members: (1..).zip(members.chars()).map(member).collect(), unfinished: None }
    }

    fn told(members: &str) -> String {
        match next(&view(members)) {
            None => "-".to_owned(),
            Some(Next::Drop(id)) => format!("drop {}", id.0),
            Some(Next::Voters(ids)) => ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" "),
        }
    }

    #[test]
    fn the_number_of_voters_is_odd() {
        for (members, wanted) in [
            ("v", "-"),
            ("vs", "-"),
            ("vss", "1 2 3"),
            ("vsb", "-"),
            ("vvv", "-"),
            ("vvvs", "-"),
            ("vvvss", "1 2 3 4 5"),
            ("vvvvv", "-"),
            ("vvvvvss", "-"),
            ("vv", "1"),
            ("vvs", "1 2 3"),
            ("vvvv", "1 2 3"),
            ("vqvv", "1 3 4"),
        ] {
            assert_eq!(told(members), wanted, "{members}");
        }
    }

    #[test]
    fn a_spare_takes_the_place_of_a_voter_that_is_lost() {
        assert_eq!(told("vvd"), "-", "there is none");
        assert_eq!(told("vvqs"), "-", "it may come back");
        assert_eq!(told("vvds"), "1 2 4");
        assert_eq!(told("vvdb"), "-", "it has not caught up");
    }

    /// Both sets together look as they should: 1 alone before, three after.
    #[test]
    fn a_change_that_its_leader_left_half_done_is_finished() {
        let goal = BTreeSet::from([ServerId(1), ServerId(2), ServerId(3)]);
        let half = View { unfinished: Some(goal.clone()), ..view("vvv") };
        assert_eq!(next(&half), Some(Next::Voters(goal)));
    }

    #[test]
    fn who_was_removed_goes_and_the_rest_can_still_decide() {
        assert_eq!(told("vvr"), "1 2");
        assert_eq!(told("vvg"), "1", "then the number is odd again");
        assert_eq!(told("vg"), "drop 2");
        assert_eq!(told("rvv"), "2 3", "the leader too");
        assert_eq!(told("vqr"), "-", "one of two would be left to decide");
        assert_eq!(told("vqqr"), "-");
    }

    /// Whatever the members are like, no change leaves fewer answering than decide, and changes come to an end.
    #[test]
    fn changes_keep_the_majority_and_end() {
        let kinds = ['v', 's', 'd', 'q', 'b', 'r', 'g'];
        for code in 0..kinds.len().pow(5) {
            let members: String = (0..5)
                .scan(code, |rest, _| {
                    let kind = kinds[*rest % 7];
                    *rest /= 7;
                    Some(kind)
                })
                .collect();
            let mut now = view(&format!("v{members}"));
            let mut steps = 0;
            while let Some(change) = next(&now) {
                match change {
                    Next::Voters(wanted) => {
                        assert!(now.could_decide(&wanted), "{members}: {now:?}");
                        now.members.iter_mut().for_each(|m| m.votes = wanted.contains(&m.id));
                    }
                    Next::Drop(id) => now.members.retain(|m| m.id != id),
                }
                steps += 1;
                assert!(steps < 20, "{members} does not come to rest");
            }
            if now.members.iter().all(|m| m.silent.is_none()) {
                assert_eq!(now.voters().len() % 2, 1, "{members}");
            }
        }
    }
}
