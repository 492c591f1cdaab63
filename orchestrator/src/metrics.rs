//! This server in figures, as a file that Prometheus' node exporter reads (its textfile collector).
//!
//! A file, so that nothing listens that is not authenticated. `text` is pure. Written whole, every ten seconds; never
//! read. Started by `server` if `--metrics-file` names one.

use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::raft::{RaftHandle, RaftMetrics};

/// Between two versions of the file.
const EVERY: Duration = Duration::from_secs(10);

/// Writes the file until it is told to stop, and takes it away then: old figures are worse than none.
pub async fn keep(raft: RaftHandle, file: PathBuf, stop: CancellationToken) {
    let mut failed = false;
    loop {
        let leads = raft.leadership().borrow().leading().is_some();
        let revision = raft.state().borrow().revision();
        let written = write(&file, text(&raft.metrics(), leads, revision.0)).await;
        if let Err(error) = &written
            && !failed
        {
            tracing::warn!(file = %file.display(), %error, "the metrics cannot be written");
        }
        failed = written.is_err();
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = stop.cancelled() => break,
        }
    }
    let _ = tokio::fs::remove_file(&file).await;
}

async fn write(file: &Path, text: String) -> std::io::Result<()> {
    let mut unfinished = file.as_os_str().to_owned();
    unfinished.push(".tmp");
    tokio::fs::write(&unfinished, text).await?;
    // Whoever collects it is another user; nothing in it is secret.
    tokio::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(0o644)).await?;
    tokio::fs::rename(&unfinished, file).await
}

/// One metric: its name, what it is, its kind, and its value.
struct Metric(&'static str, &'static str, &'static str, f64);

/// The figures in Prometheus' text format.
fn text(raft: &RaftMetrics, leads: bool, revision: u64) -> String {
    let number = |n: u64| n as f64;
    let seconds = |us: u64| us as f64 / 1e6;
    let metrics = [
        Metric("wherry_server_leads", "Whether this server leads.", "gauge", number(u64::from(leads))),
        Metric("wherry_server_votes", "Whether it votes.", "gauge", number(u64::from(raft.voters.contains(&raft.id)))),
        Metric("wherry_leader_known", "Whether it knows a leader.", "gauge", number(u64::from(raft.leader.is_some()))),
        Metric("wherry_voters", "Servers that vote.", "gauge", raft.voters.len() as f64),
        Metric("wherry_raft_term", "The newest term it knows of.", "counter", number(raft.term)),
        Metric(
            "wherry_raft_last_log_index",
            "The last entry on its disk.",
            "gauge",
            number(raft.last_log.unwrap_or(0)),
        ),
        Metric(
            "wherry_raft_applied_index",
            "The last entry applied: committed, and in State.",
            "gauge",
            number(raft.applied.unwrap_or(0)),
        ),
        Metric("wherry_state_revision", "Commands applied.", "counter", number(revision)),
        Metric(
            "wherry_commands_passed_on_total",
            "Commands of operators that it passed on to a leader, and that were answered.",
            "counter",
            number(raft.passed_on),
        ),
        Metric("wherry_raft_syncs_total", "Syncs of the log since the start.", "counter", number(raft.sync.count)),
        Metric(
            "wherry_raft_sync_median_seconds",
            "Half of the last 256 syncs were faster.",
            "gauge",
            seconds(raft.sync.p50_us),
        ),
        Metric(
            "wherry_raft_sync_p99_seconds",
            "99 of 100 of the last 256 syncs were faster.",
            "gauge",
            seconds(raft.sync.p99_us),
        ),
    ];
    let mut text = String::new();
    for Metric(name, what, kind, value) in metrics {
        let _ = writeln!(text, "# HELP {name} {what}\n# TYPE {name} {kind}\n{name}{{server=\"{}\"}} {value}", raft.id);
    }
    if let Some(ms) = raft.quorum_ack_age_ms.filter(|_| leads) {
        let name = "wherry_raft_majority_answered_seconds";
        let _ = writeln!(text, "# HELP {name} Since a majority last answered this leader.\n# TYPE {name} gauge");
        let _ = writeln!(text, "{name}{{server=\"{}\"}} {}", raft.id, ms as f64 / 1e3);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proto::id::ServerId;

    use super::*;
    use crate::raft::SyncLatency;

    #[test]
    fn the_figures_of_a_leader() {
        let raft = RaftMetrics {
            id: ServerId(0xab),
            term: 7,
            leader: None,
            members: Vec::new(),
            voters: BTreeSet::from([ServerId(0xab)]),
            last_log: Some(12),
            applied: Some(11),
            snapshot: None,
            purged: None,
            quorum_ack_age_ms: Some(250),
            passed_on: 5,
            sync: SyncLatency { last_us: 1, p50_us: 1_500, p99_us: 20_000, count: 9 },
        };
        let text = text(&raft, true, 33);
        for line in [
            "# TYPE wherry_raft_term counter",
            "wherry_server_leads{server=\"00000000000000ab\"} 1",
            "wherry_raft_applied_index{server=\"00000000000000ab\"} 11",
            "wherry_commands_passed_on_total{server=\"00000000000000ab\"} 5",
            "wherry_state_revision{server=\"00000000000000ab\"} 33",
            "wherry_raft_sync_median_seconds{server=\"00000000000000ab\"} 0.0015",
            "wherry_raft_majority_answered_seconds{server=\"00000000000000ab\"} 0.25",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
