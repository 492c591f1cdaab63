//! The audit for operators: who changed what, which secrets went to whom, what was refused.

use proto::limits::{AUDIT_ANSWER_MAX, AUDIT_CHANGES_KEPT, AUDIT_READS_KEPT, AUDIT_REFUSALS_KEPT};
use proto::v1;

use super::Api;
use crate::engine::model::AuditRecord;

// === impl Api ===

impl Api {
    pub(super) fn audit(&self, asked: &v1::GetAuditRequest) -> v1::GetAuditResponse {
        let state = self.present();
        let audit = state.audit();
        let max = match asked.limit {
            0 => AUDIT_ANSWER_MAX,
            limit => AUDIT_ANSWER_MAX.min(usize::try_from(limit).unwrap_or(usize::MAX)),
        };
        let wanted = audit.after(asked.after.unwrap_or(0)).filter(|record| wants(asked, record));
        let records: Vec<_> = match asked.after {
            // Who goes on behind a number goes through all of them, in order.
            Some(_) => wanted.take(max).map(|record| view(record)).collect(),
            None => {
                let all: Vec<_> = wanted.collect();
                all[all.len().saturating_sub(max)..].iter().map(|record| view(record)).collect()
            }
        };
        let lost = audit.lost();
        let loss =
            |kind: &str, lost: u64, kept: usize| v1::AuditLoss { kind: kind.to_owned(), lost, kept: kept as u64 };
        v1::GetAuditResponse {
            records,
            made: audit.made(),
            losses: vec![
                loss("changes", lost.changes, AUDIT_CHANGES_KEPT),
                loss("reads", lost.reads, AUDIT_READS_KEPT),
                loss("refusals", lost.refusals, AUDIT_REFUSALS_KEPT),
            ],
            at_unix_ms: self.clock.wall().max(state.wall()).0,
            revision: state.revision().0,
        }
    }
}

fn wants(asked: &v1::GetAuditRequest, record: &AuditRecord) -> bool {
    (asked.project.is_empty() || record.project == asked.project)
        && record.at.0 >= asked.since_unix_ms
        && (asked.who.is_empty() || is_of(&record.by.who, &asked.who))
}

/// `operator/alice` is asked for as such, or as `alice`.
fn is_of(who: &str, name: &str) -> bool {
    who == name || who.split_once('/').is_some_and(|(_, short)| short == name)
}

fn view(record: &AuditRecord) -> v1::AuditRecord {
    v1::AuditRecord {
        number: record.number,
        revision: record.revision.0,
        at_unix_ms: record.at.0,
        who: record.by.who.clone(),
        from: record.by.from.clone(),
        call: record.call.clone(),
        project: record.project.clone(),
        object: record.object.clone(),
        detail: record.detail.clone(),
        outcome: record.outcome.as_str().to_owned(),
    }
}
