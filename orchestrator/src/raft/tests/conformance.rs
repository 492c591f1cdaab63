//! openraft's suite for stores.

use std::sync::Arc;
use std::time::Duration;

use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::raft::fault::Fault;
use crate::raft::log_store::LogStore;
use crate::raft::meter::Meter;
use crate::raft::snapshot::Snapshots;
use crate::raft::state_machine::StateMachine;
use crate::raft::type_config::{StorageError, TypeConfig};

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let meter = Arc::new(Meter::new(Duration::from_secs(1)));
        let store = LogStore::open(&dir.path().join("raft"), Fault::none(), meter).unwrap();
        let (snapshots, begin) = Snapshots::open(&dir.path().join("snapshots"), None).unwrap();
        let machine = StateMachine::new(snapshots, begin, Fault::none());
        Ok((dir, store, machine))
    }
}

#[test]
fn the_suite_passes() {
    Suite::test_all(Builder).unwrap();
}
