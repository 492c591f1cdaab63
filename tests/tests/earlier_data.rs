//! Promise: the data directory of an earlier version opens: the server knows its projects, the agent its tasks.
//!
//! `tests/fixtures/data-COMMIT.tar.gz` are such directories, whole; see the page beside them for how they came to be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use agent::ledger::{Kept, Ledger};
use cli::client::Client;
use orchestrator::server::{ServerConfig, start};
use proto::assignment::Assignment;
use proto::task_state::Phase;

/// SHA-256 over the containers' specs as 230902d wrote them, its first 16 digits.
const SHOP_HASHES: [(&str, &str); 5] = [
    ("cart", "b47108101ec86d49"),
    ("front", "ecdb65ed6bf22bc1"),
    ("payment", "4cb71948cde8fa93"),
    ("product", "e934d9cf03331a6a"),
    ("user", "92673ddc25c97d5d"),
];

fn unpacked(archive: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tar = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(dir.path()).status();
    assert!(tar.is_ok_and(|status| status.success()), "tar unpacks {}", archive.display());
    dir
}

fn fixtures() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let entries = std::fs::read_dir(dir).expect("there are fixtures").flatten().map(|entry| entry.path());
    let archives: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "gz")).collect();
    assert!(!archives.is_empty(), "a test without a fixture proves nothing");
    archives
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_opens_what_earlier_ones_wrote() {
    for archive in fixtures() {
        let dir = unpacked(&archive);
        let config = ServerConfig {
            data_dir: dir.path().join("server"),
            api_socket: dir.path().join("api.sock"),
            agents_socket: dir.path().join("agents.sock"),
            seal_key: dir.path().join("keys/seal.key"),
            bootstrap: false,
            join: None,
            dev: true,
            range: None,
            used: Vec::new(),
            tcp: None,
        };
        let server = start(config.clone()).await.unwrap_or_else(|e| panic!("{}: {e}", archive.display()));
        let client = Client::connect(&config.api_socket).await.expect("it answers");
        let snapshot = client.snapshot("", 0).await.expect("it knows its state");
        let services: Vec<String> =
            snapshot.services.iter().filter_map(|s| s.key.as_ref()).map(|k| k.service.clone()).collect();
        assert_eq!(services, ["cart", "front", "payment", "product", "user"], "{}", archive.display());
        assert_eq!(snapshot.tasks.len(), 6, "{}", archive.display());
        server.shutdown().await;
    }
}

#[test]
fn an_agent_opens_what_earlier_ones_wrote() {
    for archive in fixtures() {
        let dir = unpacked(&archive);
        let ledger = Ledger::open(&dir.path().join("agent")).expect("the ledger opens");
        let Kept::Whole(set) = ledger.assignments().expect("it is read") else { panic!("the set is whole") };
        let Kept::Whole(memory) = ledger.memory().expect("it is read") else { panic!("the memory is whole") };
        let Kept::Whole(table) = ledger.endpoints().expect("it is read") else { panic!("the table is whole") };
        assert_eq!((set.tasks.len(), table.services.len()), (6, 5));
        assert!(memory.tasks.values().all(|task| task.status.phase == Phase::Running), "{memory:?}");
        // What a container was made from must be the same today, to the byte: otherwise it would be replaced.
        let hash = |a: &Assignment| (a.service.service.to_string(), a.container.hash());
        let hashes: BTreeMap<String, String> = set.tasks.values().map(hash).collect();
        let kept = SHOP_HASHES.map(|(service, hash)| (service.to_owned(), hash.to_owned()));
        assert_eq!(hashes, BTreeMap::from(kept), "{}", archive.display());
    }
}
