//! `ctl get audit` against a scripted server.

use super::fake::*;

#[tokio::test]
async fn the_audit_is_a_table_with_moments_and_says_what_is_no_longer_kept() {
    let mut world = World::new(shop(vec![], vec![]));
    assert_eq!(world.ctl("get audit").await, 0, "{}", world.err.text());
    let out = world.out.text();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 4, "{out}");
    for (line, words) in [
        (lines[0], ["NUMBER", "WHEN", "WHO", "CALL", "PROJECT", "OBJECT", "OUTCOME", "DETAIL"].as_slice()),
        (lines[1], &["5", "Z", "operator/alice", "ScaleService", "shop", "service/web", "done", "to 3"]),
        (lines[2], &["6", "agent/00000000000000ff", "FetchBlob", "secret/password", "given", "web.1"]),
        (lines[3], &["7", "operator/vera", "DeleteProject", "refused", "is a viewer"]),
    ] {
        assert!(words.iter().all(|word| line.contains(word)), "{words:?} is not in: {line}");
    }
    assert!(!out.contains("192.0.2.7"), "from where is for -o wide: {out}");
    assert_eq!(world.err.text(), "4 older records of changes were pushed out: the newest 10000 are kept\n");
    assert_eq!(world.ctl("get audit -o wide").await, 0);
    assert!(world.out.text().contains("192.0.2.7:40001"), "{}", world.out.text());
}

#[tokio::test]
async fn what_is_asked_for_reaches_the_server_and_json_holds_all_of_it() {
    let mut world = World::new(shop(vec![], vec![]));
    assert_eq!(world.ctl("get audit alice -p shop --since 1h --limit 7 --after 4 -o json").await, 0);
    let asked = world.script(|s| s.audit.clone()).remove(0);
    assert_eq!((asked.who.as_str(), asked.project.as_str(), asked.limit, asked.after), ("alice", "shop", 7, Some(4)));
    assert!(asked.since_unix_ms > 0);
    let told: serde_json::Value = serde_json::from_str(&world.out.text()).expect("JSON");
    assert_eq!(told["kind"], "AuditList");
    assert_eq!((&told["made"], &told["lost"]["changes"]), (&7.into(), &4.into()));
    let first = &told["items"][0];
    assert_eq!(
        (&first["name"], &first["state"], &first["from"]),
        (&"5".into(), &"done".into(), &"192.0.2.7:40001".into())
    );
    assert!(told["items"][2].get("object").is_none(), "what is empty is left out");
}

#[tokio::test]
async fn what_the_audit_and_other_lists_cannot_do_is_refused() {
    let mut world = World::new(shop(vec![], vec![]));
    for (line, words) in [
        ("get audit --watch", "not watched"),
        ("get audit --limit 0", "between 1 and 5000"),
        ("get audit --limit 5001", "between 1 and 5000"),
        ("get tasks --since 5m", "of events and audit"),
        ("get events --after 5", "of `get audit`"),
        ("describe audit 5", "can be described"),
    ] {
        assert_eq!(world.ctl(line).await, 2, "{line}");
        assert!(world.err.text().contains(words), "{line}: {}", world.err.text());
    }
}
