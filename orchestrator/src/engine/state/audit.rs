//! The audit as State keeps it: three rings, so that nobody pushes out what changed by reading or by being refused.
//!
//! Nothing takes a record away or changes it but the next one of its ring when that is full; what went is counted.

use imbl::Vector;
use proto::limits::{AUDIT_CHANGES_KEPT, AUDIT_READS_KEPT, AUDIT_REFUSALS_KEPT};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::engine::model::{AuditOutcome, AuditRecord};

/// All records that are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    made: u64,
    changes: Ring,
    reads: Ring,
    refusals: Ring,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Ring {
    kept: Vector<Arc<AuditRecord>>,
    lost: u64,
}

/// How many records went because newer ones came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditLoss {
    /// Of changes.
    pub changes: u64,
    /// Of secrets given.
    pub reads: u64,
    /// Of what was refused.
    pub refusals: u64,
}

// === impl Audit ===

impl Audit {
    /// How many records there have ever been: the number of the newest.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// What is no longer kept.
    pub fn lost(&self) -> AuditLoss {
        AuditLoss { changes: self.changes.lost, reads: self.reads.lost, refusals: self.refusals.lost }
    }

    /// The records after a number, in order.
    pub fn after(&self, number: u64) -> impl Iterator<Item = &Arc<AuditRecord>> {
        let mut rings = [&self.changes, &self.reads, &self.refusals].map(|ring| ring.after(number).peekable());
        std::iter::from_fn(move || {
            let next = rings.iter_mut().filter_map(|r| r.peek().map(|record| record.number)).min()?;
            rings.iter_mut().find_map(|r| r.next_if(|record| record.number == next))
        })
    }

    /// Keeps a record, whose number is the next.
    pub(super) fn push(&mut self, record: AuditRecord) {
        self.made += 1;
        debug_assert_eq!(record.number, self.made, "records are numbered without gaps");
        let (ring, kept) = match record.outcome {
            AuditOutcome::Done | AuditOutcome::Unchanged => (&mut self.changes, AUDIT_CHANGES_KEPT),
            AuditOutcome::Given => (&mut self.reads, AUDIT_READS_KEPT),
            AuditOutcome::Refused => (&mut self.refusals, AUDIT_REFUSALS_KEPT),
        };
        if ring.kept.len() >= kept {
            ring.kept.pop_front();
            ring.lost += 1;
        }
        ring.kept.push_back(Arc::new(record));
    }

    /// What does not hold, in words.
    pub(super) fn violations(&self) -> Vec<String> {
        let rings = [
            (&self.changes, AUDIT_CHANGES_KEPT),
            (&self.reads, AUDIT_READS_KEPT),
            (&self.refusals, AUDIT_REFUSALS_KEPT),
        ];
        let mut found = Vec::new();
        for (ring, max) in rings {
            if ring.kept.len() > max {
                found.push(format!("a ring of the audit keeps {} records, at most {max}", ring.kept.len()));
            }
        }
        let all: u64 = rings.iter().map(|(ring, _)| ring.kept.len() as u64 + ring.lost).sum();
        if all != self.made {
            found.push(format!("the audit made {} records and knows of {all}", self.made));
        }
        // A walk over all of it at each change would cost more than it tells: the newest are looked at.
        for (ring, _) in rings {
            let newest: Vec<u64> = ring.kept.iter().rev().take(2).map(|record| record.number).collect();
            if newest.first().is_some_and(|n| *n > self.made) || matches!(newest[..], [a, b] if a <= b) {
                found.push(format!("records of the audit are out of order: {newest:?} of {}", self.made));
            }
        }
        found
    }
}

// === impl Ring ===

impl Ring {
    fn after(&self, number: u64) -> impl Iterator<Item = &Arc<AuditRecord>> {
        let from = match self.kept.binary_search_by(|record| record.number.cmp(&number)) {
            Ok(at) => at + 1,
            Err(at) => at,
        };
        (from..self.kept.len()).filter_map(|at| self.kept.get(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::Asker;
    use proto::revision::{Revision, Wall};

    fn record(number: u64, outcome: AuditOutcome) -> AuditRecord {
        AuditRecord {
            number,
            revision: Revision(number),
            at: Wall(number),
            by: Asker { who: "operator/ada".to_owned(), from: "192.0.2.1:9".to_owned() },
            call: "ScaleService".to_owned(),
            project: String::new(),
            object: String::new(),
            detail: String::new(),
            outcome,
        }
    }

    /// Who is refused, or reads, as often as it likes pushes out no change.
    #[test]
    fn each_kind_has_a_ring_of_its_own_and_what_it_loses_is_counted() {
        let mut audit = Audit::default();
        audit.push(record(1, AuditOutcome::Done));
        let (refusals, reads) = (AUDIT_REFUSALS_KEPT as u64 + 5, AUDIT_READS_KEPT as u64 + 7);
        for number in 2..2 + refusals {
            audit.push(record(number, AuditOutcome::Refused));
        }
        for number in 2 + refusals..2 + refusals + reads {
            audit.push(record(number, AuditOutcome::Given));
        }
        assert_eq!(audit.lost(), AuditLoss { changes: 0, reads: 7, refusals: 5 });
        assert_eq!(audit.after(0).next().map(|r| r.number), Some(1), "the change is kept");
        assert_eq!(audit.violations(), [""; 0]);
        let numbers: Vec<u64> = audit.after(0).map(|r| r.number).collect();
        assert!(numbers.is_sorted() && numbers.len() == 1 + AUDIT_REFUSALS_KEPT + AUDIT_READS_KEPT);
        assert_eq!(audit.after(audit.made() - 1).count(), 1);
        assert_eq!(audit.after(audit.made()).count(), 0);
    }

    #[test]
    fn records_of_all_rings_come_in_the_order_in_which_they_were_made() {
        let mut audit = Audit::default();
        let outcomes = [AuditOutcome::Given, AuditOutcome::Done, AuditOutcome::Refused, AuditOutcome::Unchanged];
        for (number, outcome) in (1..).zip(outcomes.into_iter().cycle().take(40)) {
            audit.push(record(number, outcome));
        }
        let numbers: Vec<u64> = audit.after(3).map(|r| r.number).collect();
        assert_eq!(numbers, (4..=40).collect::<Vec<u64>>());
    }
}
