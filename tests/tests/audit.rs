//! Promise: who changed what, which secret went to whom and what was refused is in the audit, from the real sockets, with
//! the caller that was proved and its address; it outlives a restart; only admins read it; and strangers do not fill it.

use proto::limits::AUDIT_REFUSALS_PER_MINUTE;
use proto::peer::Kept;
use proto::v1;
use proto::v1::agents_client::AgentsClient;
use proto::v1::control_client::ControlClient;
use tests::site::{LONG, Site, channel_as, shop, until};
use tonic::Code;
use tonic::transport::Channel;

const SECRET: &[u8] = b"the horse is brown";

async fn records(site: &Site) -> Vec<v1::AuditRecord> {
    let asked = v1::GetAuditRequest::default();
    site.control().get_audit(asked).await.expect("an answer").into_inner().records
}

/// One line of a record: what is the same each time.
fn told(record: &v1::AuditRecord) -> String {
    let v1::AuditRecord { who, call, project, object, outcome, .. } = record;
    [who, call, project, object, outcome].map(|word| if word.is_empty() { "-" } else { word }).join(" ")
}

fn as_operator(site: &Site, kept: &Kept) -> ControlClient<Channel> {
    ControlClient::new(channel_as(kept, site.operators()))
}

fn web() -> Option<v1::ServiceKey> {
    Some(v1::ServiceKey { project: "shop".into(), service: "web".into() })
}

fn request(sequence: u64) -> Option<v1::RequestId> {
    Some(v1::RequestId { client: proto::id::RequestId::client(1_000_000, 7), sequence })
}

/// Waits until a record is told so, and returns all of them.
async fn until_told(site: &Site, line: &str) -> Vec<v1::AuditRecord> {
    until(line, async || {
        let all = records(site).await;
        all.iter().any(|record| told(record) == line).then_some(all)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_did_what_is_kept_with_where_it_came_from() {
    let site = Site::new(LONG).await;
    let ada = site.operator("ada", "admin", "").await;
    let dan = site.operator("dan", "deployer", "shop").await;
    let vera = site.operator("vera", "viewer", "").await;
    let thief = site.node("00000000000000e5").await;
    let token = site.token_file("token", &site.agent_token(1).await);
    let guest = site.run_agent("node", site.door(&token));
    until("the node is ready", async || site.snapshot().await.nodes.iter().any(|n| n.state == "ready").then_some(()))
        .await;

    // A secret is put, a project that mounts it applied, its agent reads it.
    let put = v1::PutBlobRequest {
        kind: v1::BlobKind::Secret.into(),
        content: SECRET.to_vec(),
        request: request(1),
        ..Default::default()
    };
    let digest = as_operator(&site, &dan).put_blob(put).await.expect("is stored").into_inner().digest;
    let file = v1::FileMount {
        kind: v1::BlobKind::Secret.into(),
        name: "password".into(),
        digest: digest.clone(),
        target: "/run/secrets/password".into(),
        mode: 0o400,
        ..Default::default()
    };
    let apply = v1::ApplyProjectRequest { request: request(2), project: Some(shop(vec![file])), ..Default::default() };
    as_operator(&site, &dan).apply_project(apply.clone()).await.expect("is applied");
    // Resent, as after an answer that was lost: it happened once, and is told once.
    as_operator(&site, &dan).apply_project(apply).await.expect("is answered again");
    let node = until("it was placed", async || site.snapshot().await.tasks.first().map(|t| t.node.clone())).await;
    let given = format!("agent/{node} FetchBlob shop secret/password given");
    until_told(&site, &given).await;

    // A read that is not its node's, refused; the record is there before the content would be.
    let fetch = v1::FetchBlobRequest { node: "00000000000000e5".into(), digest: digest.clone() };
    let mut thiefs = AgentsClient::new(channel_as(&thief, site.agents()));
    assert_eq!(thiefs.fetch_blob(fetch).await.expect_err("is not its own").code(), Code::PermissionDenied);

    // Changes that are refused: by the table, for the project, by the engine.
    let delete = |project: &str| v1::DeleteProjectRequest { project: project.into(), ..Default::default() };
    let refused = as_operator(&site, &vera).delete_project(delete("shop")).await.expect_err("a viewer");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = as_operator(&site, &dan).delete_project(delete("other")).await.expect_err("not its project");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let refused = as_operator(&site, &ada).delete_project(delete("nothing")).await.expect_err("no such project");
    assert_eq!(refused.code(), Code::NotFound);
    // And one over the socket of this host.
    let scale = v1::ScaleServiceRequest { request: request(3), service: web(), replicas: 1 };
    site.control().scale_service(scale).await.expect("is as it was");
    let revoke = v1::RevokeIdentityRequest { kind: "operator".into(), name: "vera".into(), request: None };
    as_operator(&site, &ada).revoke_identity(revoke).await.expect("is revoked");

    let label = v1::LabelNodeRequest {
        request: request(4),
        node: node.clone(),
        set: [("owner".to_owned(), "horse".to_owned())].into(),
        ..Default::default()
    };
    as_operator(&site, &ada).label_node(label).await.expect("is labelled");

    let own = format!("secret/{digest}");
    let thiefs = format!("agent/00000000000000e5 FetchBlob - content/{digest} refused");
    until_told(&site, &thiefs).await;
    until_told(&site, "operator/dan DeleteProject other - refused").await;
    let all = until_told(&site, "operator/vera DeleteProject - - refused").await;
    let lines: Vec<String> = all.iter().map(told).collect();
    for line in [
        format!("operator/dan PutBlob - {own} done"),
        "operator/dan ApplyProject shop project/shop done".to_owned(),
        "operator/ada DeleteProject nothing project/nothing refused".to_owned(),
        "local ScaleService shop service/web unchanged".to_owned(),
        "operator/ada RevokeIdentity - operator/vera done".to_owned(),
        format!("operator/ada LabelNode - node/{node} done"),
        given.clone(),
    ] {
        assert_eq!(lines.iter().filter(|told| **told == line).count(), 1, "{line}, once, in {lines:#?}");
    }
    // Who joined, and by which token.
    let joined: Vec<&v1::AuditRecord> = all.iter().filter(|r| r.call == "Enrol").collect();
    assert_eq!(joined.len(), 5, "{lines:#?}");
    assert!(joined.iter().all(|r| r.who.starts_with("token/") && r.from.starts_with("127.0.0.1:")), "{joined:#?}");
    let numbers: Vec<u64> = all.iter().map(|r| r.number).collect();
    assert_eq!(numbers, (1..=all.len() as u64).collect::<Vec<_>>(), "in order, without gaps");
    for record in &all {
        let is_local = record.who == "local";
        let uid = format!("uid {}", rustix::process::geteuid().as_raw());
        assert!(record.from.starts_with(if is_local { &uid } else { "127.0.0.1:" }), "{record:?}");
        assert!(record.at_unix_ms > 0 && record.revision > 0, "{record:?}");
    }
    let text = format!("{all:?}");
    assert!(!text.contains("horse"), "no content is in the audit");

    // Filters, and going on behind a number.
    let ask = async |asked: v1::GetAuditRequest| site.control().get_audit(asked).await.expect("an answer").into_inner();
    let of_dan = ask(v1::GetAuditRequest { who: "dan".into(), ..Default::default() }).await.records;
    assert!(of_dan.len() >= 3 && of_dan.iter().all(|r| r.who == "operator/dan"), "{of_dan:#?}");
    let of_shop = ask(v1::GetAuditRequest { project: "shop".into(), limit: 2, ..Default::default() }).await.records;
    assert!(of_shop.len() == 2 && of_shop.iter().all(|r| r.project == "shop"), "{of_shop:#?}");
    let behind = ask(v1::GetAuditRequest { after: Some(3), limit: 2, ..Default::default() }).await.records;
    assert_eq!(behind.iter().map(|r| r.number).collect::<Vec<_>>(), [4, 5]);
    let later = ask(v1::GetAuditRequest { since_unix_ms: u64::MAX, ..Default::default() }).await;
    assert_eq!((later.records.len(), later.made), (0, all.len() as u64));

    // Only an admin reads it.
    let refused = as_operator(&site, &dan).get_audit(v1::GetAuditRequest::default()).await.expect_err("a deployer");
    assert_eq!(refused.code(), Code::PermissionDenied);
    let all = until_told(&site, "operator/dan GetAudit - - refused").await;

    guest.stop().await.expect("ends in order");
    let site = site.restart(LONG).await;
    assert_eq!(records(&site).await, all, "it outlives the server");
    as_operator(&site, &ada).get_audit(v1::GetAuditRequest::default()).await.expect("an admin reads it");
    site.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_strangers_nor_who_is_refused_fill_the_audit() {
    let site = Site::new(LONG).await;
    let vera = site.operator("vera", "viewer", "").await;
    let before = records(&site).await.len();
    let anonymous = {
        let token: proto::join_token::JoinToken = site.agent_token(1).await.parse().expect("a token");
        let servers = vec![site.operators()];
        let trust = proto::peer::Trust::Pin(token.pin);
        let remote = std::sync::Arc::new(proto::peer::Remote::new(servers, token.cluster, trust, None));
        remote.channel(tonic::transport::Endpoint::from_static("http://server.wherry"))
    };
    let delete = || v1::DeleteProjectRequest { project: "shop".into(), ..Default::default() };
    let mut stranger = ControlClient::new(anonymous);
    for _ in 0..30 {
        assert_eq!(stranger.delete_project(delete()).await.expect_err("a stranger").code(), Code::Unauthenticated);
    }
    let mut viewer = as_operator(&site, &vera);
    for _ in 0..50 {
        assert_eq!(viewer.delete_project(delete()).await.expect_err("a viewer").code(), Code::PermissionDenied);
    }
    let mut agent = as_operator(&site, &site.node("00000000000000a1").await);
    agent.delete_project(delete()).await.expect_err("an agent");
    // Refusals are noted in order: once the last is there, so are those before it.
    let all = until_told(&site, "agent/00000000000000a1 DeleteProject - - refused").await;
    let refused = |who: &str| all.iter().filter(|r| r.who == who && r.outcome == "refused").count();
    assert_eq!(refused("operator/vera"), AUDIT_REFUSALS_PER_MINUTE as usize);
    // Two tokens, one node that joined, and what was refused: nothing of a stranger.
    assert_eq!(all.len(), before + 3 + AUDIT_REFUSALS_PER_MINUTE as usize + 1, "{all:#?}");
    site.shutdown().await;
}
