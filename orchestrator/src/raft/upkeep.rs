//! When a snapshot is due by bytes, and how much log may go.
//!
//! openraft itself takes a snapshot after a number of entries. The log is cut here, not there: it must reach back to the
//! older of the two kept snapshots, or a damaged one could not be survived. Never touches the disk itself.
//! Started by `handle::open`.

use std::sync::Arc;

use super::meter::Meter;
use super::options::SnapshotRule;
use super::snapshot::Snapshots;
use super::type_config::Raft;

/// Follows openraft until it ends.
pub(super) async fn follow(raft: Raft, snapshots: Snapshots, meter: Arc<Meter>, rule: SnapshotRule) {
    let mut metrics = raft.metrics();
    let mut cut_upto = None;
    let mut bytes_at_last = 0;
    let mut last_snapshot = None;
    loop {
        let snapshot = metrics.borrow_and_update().snapshot;
        if snapshot != last_snapshot {
            last_snapshot = snapshot;
            bytes_at_last = meter.appended_bytes();
        } else if meter.appended_bytes() - bytes_at_last >= rule.after_bytes {
            bytes_at_last = meter.appended_bytes();
            if raft.trigger().snapshot().await.is_err() {
                return;
            }
        }
        let may_go = cuttable(&snapshots.next_indexes(), rule.keep_entries);
        if may_go.is_some() && may_go != cut_upto {
            cut_upto = may_go;
            if raft.trigger().purge_log(may_go.unwrap_or(0)).await.is_err() {
                return;
            }
        }
        let has_stopped = metrics.borrow().running_state.is_err();
        if has_stopped || metrics.changed().await.is_err() {
            return;
        }
    }
}

/// The last index that may go, given the first index that each kept snapshot does not cover, oldest first.
fn cuttable(next_indexes: &[u64], keep: u64) -> Option<u64> {
    let [older, .., newest] = next_indexes else { return None };
    (*older).min(newest.saturating_sub(keep)).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_reaches_the_older_snapshot() {
        assert_eq!(cuttable(&[], 10), None);
        assert_eq!(cuttable(&[5_000], 10), None);
        assert_eq!(cuttable(&[5_000, 10_000], 1_000), Some(4_999));
        assert_eq!(cuttable(&[5_000, 5_500], 1_000), Some(4_499));
        assert_eq!(cuttable(&[5, 10], 1_000), None);
    }
}
