//! Promise: a token or certificate that is expired, revoked, used up, cut short, changed or of another cluster is refused
//! with words that say which and what to do. That they are renewed without a call that fails: `rotation`.

use std::time::Duration;

use agent::AgentError;
use proto::join_token::{JoinToken, TokenKind};
use proto::peer::{EnrolError, Kept, PrivateKey, enrol, explain_status, renew};
use proto::v1;
use proto::v1::control_client::ControlClient;
use tests::site::{LONG, Site, channel_as, now_ms, shop, until};

const NODE: &str = "00000000000000a1";

fn key() -> PrivateKey {
    PrivateKey::generate().expect("a key")
}

fn words(refused: Result<Kept, EnrolError>) -> String {
    refused.expect_err("it is refused").to_string()
}

/// Asks for the version as this identity: nothing, or what was said.
async fn ask(kept: &Kept, address: String) -> Result<(), String> {
    let mut control = ControlClient::new(channel_as(kept, address));
    control.get_version(v1::GetVersionRequest {}).await.map(|_| ()).map_err(|status| explain_status(&status))
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} is not in: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_does_not_hold_is_refused_with_what_to_do() {
    let site = Site::new(LONG).await;
    let good = site.agent_token(1).await;
    // Cut short and changed are noticed before anybody is asked.
    says(
        &good[..good.len() - 3].parse::<JoinToken>().expect_err("cut").to_string(),
        &["characters where", "copy it whole"],
    );
    says(&good.replace("agent", "operator").parse::<JoinToken>().expect_err("changed").to_string(), &["checksum"]);
    let wrong_kind = JoinToken::read(&good, TokenKind::Operator).expect_err("another kind").to_string();
    says(&wrong_kind, &["for an agent", "ctl token create operator"]);

    // Another secret under the same id.
    let mut forged: JoinToken = good.parse().expect("a token");
    forged.secret = [7; 16];
    let refused = enrol(vec![site.agents()], &forged, &key(), NODE).await;
    says(&words(refused), &["not genuine", "ctl token create"]);
    let mut unknown: JoinToken = good.parse().expect("a token");
    unknown.id ^= 1;
    says(&words(enrol(vec![site.agents()], &unknown, &key(), NODE).await), &["there is no join token"]);

    // Used up; and whoever it made known is asked again with the same key, as after an answer that was lost.
    let mine = key();
    site.join(&good, &mine, NODE).await.expect("the first");
    site.join(&good, &mine, NODE).await.expect("the same again");
    let refused = site.join(&good, &key(), "00000000000000b2").await;
    says(&words(refused), &["was used 1 of 1 times", "make another with `ctl token create`"]);

    // Of two who race with one token, one joins.
    let raced = site.agent_token(1).await;
    let (one, other) = (key(), key());
    let (a, b) =
        tokio::join!(site.join(&raced, &one, "00000000000000c3"), site.join(&raced, &other, "00000000000000d4"));
    assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?} {b:?}");

    // Expired.
    let asked = v1::CreateTokenRequest { kind: "agent".into(), uses: 1, valid_ms: 1, ..Default::default() };
    let expired = site.token_as(asked).await;
    let refused = until("it expires", async || site.join(&expired, &key(), "00000000000000e5").await.err()).await;
    says(&refused.to_string(), &["has expired", "make another with `ctl token create`"]);

    // Revoked.
    let revoked = site.agent_token(1).await;
    let id = revoked.parse::<JoinToken>().expect("a token").id;
    let revoke = v1::RevokeTokenRequest { id: format!("{id:016x}"), ..Default::default() };
    site.control().revoke_token(revoke).await.expect("is revoked");
    says(&words(site.join(&revoked, &key(), "00000000000000e5").await), &["it was revoked"]);

    // For an operator, shown as an agent's: the kind is under the checksum, so it is rebuilt.
    let mut operators: JoinToken = site.operator_token("eve", "viewer", "").await.parse().expect("a token");
    operators.kind = TokenKind::Agent;
    says(&words(enrol(vec![site.agents()], &operators, &key(), NODE).await), &["is not for an agent"]);

    // Of another cluster: its pin is not this server's, so its secret is not sent.
    let elsewhere = Site::new(LONG).await;
    let foreign: JoinToken = elsewhere.agent_token(1).await.parse().expect("a token");
    let refused = enrol(vec![site.agents()], &foreign, &key(), NODE).await;
    says(&words(refused), &["belongs to another cluster", "check the address"]);
    elsewhere.shutdown().await;
    site.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_comes_back_under_its_name_with_its_own_key_only() {
    let site = Site::new(LONG).await;
    let mine = key();
    let first = site.join(&site.agent_token(1).await, &mine, NODE).await.expect("joins");
    // A token alone does not take its place.
    let refused = site.join(&site.agent_token(1).await, &key(), NODE).await;
    says(&words(refused), &["is known with another key", "ctl node revoke 00000000000000a1"]);
    // Its own key does.
    site.join(&site.agent_token(1).await, &mine, NODE).await.expect("comes back");
    // The operator's word lets another key in, and the earlier one is nobody from then on.
    let revoke = v1::RevokeIdentityRequest { kind: "agent".into(), name: NODE.into(), ..Default::default() };
    site.control().revoke_identity(revoke).await.expect("is revoked");
    let other = site.join(&site.agent_token(1).await, &key(), NODE).await.expect("is let in");
    let remote = other.remote().expect("an identity");
    renew(&other, &remote).await.expect("is known");
    let remote = first.remote().expect("an identity");
    says(&words(renew(&first, &remote).await), &["has another key now", "join again with a fresh token"]);
    // A node that joined on the server's host, without a key, is not taken over by a token either.
    let local = site.run_agent("local", agent::session::Door::Unix(site.dir.path().join("agents.sock")));
    let id = until("it is registered", async || {
        let snapshot = site.snapshot().await;
        snapshot.nodes.first().and_then(|n| n.info.as_ref()).map(|info| info.id.clone())
    })
    .await;
    says(&words(site.join(&site.agent_token(1).await, &key(), &id).await), &["is known with another key"]);
    local.stop().await.expect("ends in order");
    site.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_does_not_hold_is_refused_with_what_to_do() {
    let site = Site::new(Duration::from_secs(2)).await;
    let short = site.operator("shorty", "admin", "").await;
    ask(&short, site.operators()).await.expect("it holds");
    let refused =
        until("it expires", async || ask(&short, site.operators()).await.err().filter(|said| said.contains("expired")))
            .await;
    says(&refused, &["expired", "join again with a fresh token"]);

    // Of another cluster, in both directions.
    let elsewhere = Site::new(LONG).await;
    let foreign = elsewhere.operator("fay", "admin", "").await;
    says(&ask(&foreign, site.operators()).await.expect_err("another cluster"), &["belongs to another cluster"]);
    // One that trusts this cluster and shows a certificate of the other.
    let here = site.operator("gus", "admin", "").await;
    let mixed = mixed(&here, &foreign);
    says(&ask(&mixed, site.operators()).await.expect_err("another cluster's certificate"), &["is of another cluster"]);
    elsewhere.shutdown().await;
    site.shutdown().await;
}

/// The trust of one identity and the certificate of another.
fn mixed(trust: &Kept, shown: &Kept) -> Kept {
    let field = |kept: &Kept, name: &str| -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(&kept.write()).expect("JSON")[name].clone()
    };
    let mut value: serde_json::Value = serde_json::from_slice(&trust.write()).expect("JSON");
    for name in ["key", "certificate"] {
        value[name] = field(shown, name);
    }
    Kept::read(&serde_json::to_vec(&value).expect("JSON")).expect("an identity")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_certificate_expired_while_it_was_off_comes_back_by_a_fresh_token() {
    let site = Site::new(Duration::from_secs(2)).await;
    let token = site.token_file("token", &site.agent_token(1).await);
    let guest = site.run_agent("node", site.door(&token));
    until("the node is ready", async || site.snapshot().await.nodes.iter().any(|n| n.state == "ready").then_some(()))
        .await;
    guest.stop().await.expect("ends in order");
    let identity = site.dir.path().join("node/identity.json");
    let kept = Kept::read(&std::fs::read(&identity).expect("is kept")).expect("an identity");
    until("its certificate expires", async || kept.is_over(now_ms()).then_some(())).await;
    let remote = kept.remote().expect("an identity");
    says(&words(renew(&kept, &remote).await), &["expired", "join again with a fresh token"]);

    // The same line with the token it joined by: it runs, and is not let in.
    let guest = site.run_agent("node", site.door(&token));
    // A fresh one in the same file is taken up without a restart.
    let fresh = site.agent_token(1).await;
    site.token_file("token", &fresh);
    let fresh = format!("{:016x}", fresh.parse::<JoinToken>().expect("a token").id);
    until("the node has joined by it", async || {
        let known = site.control().get_identities(v1::GetIdentitiesRequest {}).await.expect("a list").into_inner();
        known.identities.iter().any(|i| i.token == fresh && i.kind == "agent").then_some(())
    })
    .await;
    // What is wanted now reaches it, and what it says is heard.
    let request = Some(v1::RequestId { client: proto::id::RequestId::client(1_000_000, 7), sequence: 1 });
    let apply = v1::ApplyProjectRequest { request, project: Some(shop(Vec::new())), ..Default::default() };
    site.control().apply_project(apply).await.expect("is applied");
    until("a container runs there", async || {
        site.snapshot().await.tasks.iter().any(|t| t.state == "ready").then_some(())
    })
    .await;
    assert_eq!(site.snapshot().await.nodes.len(), 1, "it is the same node");
    guest.stop().await.expect("ends in order");
    site.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_refused_ends_and_says_why() {
    let site = Site::new(LONG).await;
    let used = site.agent_token(1).await;
    site.join(&used, &key(), NODE).await.expect("joins");
    let file = site.token_file("token", &used);
    let ended = site.run_agent("late", site.door(&file)).ended().await.expect_err("it is refused");
    assert!(matches!(ended, AgentError::Identity(_)), "{ended:?}");
    says(&ended.to_string(), &["cannot join", "was used 1 of 1 times"]);
    let missing = site.run_agent("none", site.door(&site.dir.path().join("nowhere"))).ended().await;
    says(&missing.expect_err("there is no token").to_string(), &["the join token in", "cannot be read"]);
    site.shutdown().await;
}
