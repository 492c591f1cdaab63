//! The audit in this server's own log, as it grows: what leaves the host with the log is out of the cluster's reach.
//!
//! Reads State only. Begins with what is made after the server has started.

use std::fmt::{Display, Formatter, Result};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::engine::State;
use crate::engine::model::AuditRecord;

/// Tells each record once, as long as the server runs.
pub async fn follow(mut states: watch::Receiver<Arc<State>>, stop: CancellationToken) {
    let mut told = states.borrow_and_update().audit().made();
    loop {
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        let state = states.borrow_and_update().clone();
        for record in state.audit().after(told) {
            tracing::info!(target: "audit", "{}", Line(record));
        }
        told = state.audit().made();
    }
}

/// A record on one line. As one text, because thousands of them a second are written by each server.
struct Line<'a>(&'a AuditRecord);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let r = self.0;
        write!(f, "audit number={}", r.number)?;
        let fields = [
            ("who", &r.by.who),
            ("from", &r.by.from),
            ("call", &r.call),
            ("project", &r.project),
            ("object", &r.object),
            ("detail", &r.detail),
        ];
        for (name, value) in fields {
            field(f, name, value)?;
        }
        field(f, "outcome", r.outcome.as_str())
    }
}

/// `name="value"`, so that no value can pass for another field.
fn field(f: &mut Formatter<'_>, name: &str, value: &str) -> Result {
    if value.bytes().all(|b| matches!(b, b' '..=b'~') && !matches!(b, b'"' | b'\\')) {
        for part in [" ", name, "=\"", value, "\""] {
            f.write_str(part)?;
        }
        return Ok(());
    }
    write!(f, " {name}={value:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::{Asker, AuditOutcome};
    use proto::revision::{Revision, Wall};

    #[test]
    fn a_record_is_one_line_that_cannot_be_forged() {
        let record = AuditRecord {
            number: 7,
            revision: Revision(9),
            at: Wall(0),
            by: Asker { who: "operator/ada".to_owned(), from: "192.0.2.7:40001".to_owned() },
            call: "ScaleService".to_owned(),
            project: "shop".to_owned(),
            object: "service/web".to_owned(),
            detail: "a\" outcome=\"done\n".to_owned(),
            outcome: AuditOutcome::Refused,
        };
        assert_eq!(
            Line(&record).to_string(),
            "audit number=7 who=\"operator/ada\" from=\"192.0.2.7:40001\" call=\"ScaleService\" project=\"shop\" \
             object=\"service/web\" detail=\"a\\\" outcome=\\\"done\\n\" outcome=\"refused\""
        );
    }
}
