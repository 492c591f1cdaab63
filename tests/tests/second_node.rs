//! Promise: a host joins by one line with a token, over TLS, and its node is used; a stolen certificate of a node does
//! nothing in another node's name.

use std::path::Path;

use clap::Parser;
use cli::args::Args;
use cli::args::Target;
use cli::output::Terminal;
use cli::place::Places;
use cli::session::Session;
use proto::id::RequestId;
use proto::v1;
use proto::v1::agents_client::AgentsClient;
use tests::site::{LONG, Site, channel_as, hello, shop, until};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

/// Runs a line of ctl on a server's own host: exit code, stdout, stderr.
async fn ctl(dir: &Path, line: &str) -> (u8, String, String) {
    let args = Args::try_parse_from(std::iter::once("ctl").chain(line.split_whitespace())).expect("is a command line");
    let (terminal, out, err) = Terminal::buffered();
    let places = Places { state: dir.join("state"), system_socket: dir.join("api.sock"), config: dir.join("config") };
    let target = Target { context: args.target.context.clone(), ..Target::default() };
    let mut session = Session { terminal, target, places, dir: dir.to_owned(), env: Default::default() };
    let exit = match cli::run(&mut session, &args.command).await {
        Ok(exit) => exit,
        Err(failure) => {
            cli::report(&mut session.terminal, &failure);
            failure.exit
        }
    };
    (exit.code(), out.text(), err.text())
}

fn ready(snapshot: &v1::Snapshot) -> usize {
    snapshot.nodes.iter().filter(|n| n.state == "ready").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_joins_by_a_token_and_runs_containers() {
    let site = Site::new(LONG).await;
    let first = site.run_agent("first", agent::session::Door::Unix(site.dir.path().join("agents.sock")));
    let (exit, token, notes) = ctl(site.dir.path(), "token create agent").await;
    assert_eq!(exit, 0, "{notes}");
    assert_eq!(token.lines().count(), 1, "only the token is on stdout: {token}");
    assert!(notes.contains(&format!("agent --join {}", site.agents())), "{notes}");
    let file = site.token_file("token", token.trim());
    let second = site.run_agent("second", site.door(&file));
    until("both nodes are ready", async || (ready(&site.snapshot().await) == 2).then_some(())).await;
    let (exit, table, _) = ctl(site.dir.path(), "get nodes -o json").await;
    assert_eq!((exit, table.matches("\"state\": \"ready\"").count()), (0, 2), "{table}");

    std::fs::write(
        site.dir.path().join("compose.yaml"),
        "name: shop\nservices:\n  web:\n    image: img:1\n    deploy:\n      replicas: 4\n",
    )
    .expect("writes");
    let (exit, _, notes) = ctl(site.dir.path(), "apply -f compose.yaml --timeout 40s").await;
    assert_eq!(exit, 0, "{notes}");
    let snapshot = site.snapshot().await;
    let nodes: std::collections::BTreeSet<&str> = snapshot.tasks.iter().map(|t| t.node.as_str()).collect();
    assert_eq!(nodes.len(), 2, "both run some of it: {:?}", snapshot.tasks);

    // The same line again, without its token: an identity is kept, join flags do not matter any more.
    second.stop().await.expect("ends in order");
    std::fs::remove_file(&file).expect("removes");
    let again = site.run_agent("second", site.door(&file));
    until("it is back", async || {
        let snapshot = site.snapshot().await;
        let sessions = snapshot.events.iter().filter(|e| e.kind == "node-registered").count();
        (sessions == 2 && ready(&snapshot) == 2).then_some(())
    })
    .await;
    again.stop().await.expect("ends in order");
    first.stop().await.expect("ends in order");
    site.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_on_another_host_uses_a_context() {
    let site = Site::new(LONG).await;
    let laptop = tempfile::tempdir().expect("a temporary directory");
    let (exit, token, notes) =
        ctl(site.dir.path(), "token create operator --role deployer --project shop --name alice").await;
    assert_eq!(exit, 0, "{notes}");
    std::fs::write(laptop.path().join("token"), &token).expect("writes");
    // The first server of the list is not there: the next one is asked.
    let add = format!("context add prod --server 127.0.0.1:1,{} --token-file token", site.operators());
    let (exit, _, notes) = ctl(laptop.path(), &add).await;
    assert_eq!(exit, 0, "{notes}");
    assert!(notes.contains("operator alice"), "{notes}");
    let file = laptop.path().join("config/contexts/prod.json");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let (exit, list, _) = ctl(laptop.path(), "context list").await;
    assert!(exit == 0 && list.contains("prod") && list.contains("alice"), "{list}");
    // It is in use, because it is the first.
    let (exit, _, notes) = ctl(laptop.path(), "ps").await;
    assert_eq!(exit, 0, "{notes}");
    let (exit, _, notes) = ctl(laptop.path(), "--context prod scale other/web=2").await;
    assert_eq!(exit, 1, "{notes}");
    let (exit, _, notes) = ctl(laptop.path(), "token create agent").await;
    assert_eq!(exit, 1);
    assert!(notes.contains("operator/alice is a deployer, and a deployer may not call CreateToken"), "{notes}");
    let (exit, list, _) = ctl(site.dir.path(), "operator list").await;
    assert!(exit == 0 && list.contains("alice") && list.contains("deployer"), "{list}");
    assert_eq!(ctl(site.dir.path(), "operator revoke alice").await.0, 0);
    let (exit, _, notes) = ctl(laptop.path(), "ps").await;
    assert_eq!(exit, 1, "{notes}");
    assert!(notes.contains("operator/alice was revoked; join again with a fresh token"), "{notes}");
    // A fresh token: the same name, the same key, another role.
    let (_, token, _) = ctl(site.dir.path(), "token create operator --role admin --name alice").await;
    std::fs::write(laptop.path().join("token"), &token).expect("writes");
    assert_eq!(ctl(laptop.path(), &add).await.0, 0);
    assert_eq!(ctl(laptop.path(), "token create agent").await.0, 0);
    assert_eq!(ctl(laptop.path(), "context remove prod").await.0, 0);
    assert!(!file.exists());
    site.shutdown().await;
}

/// A session of this identity in the name of this node: the stream, or the refusal.
async fn open(
    site: &Site,
    kept: &proto::peer::Kept,
    node: &str,
) -> Result<(tokio::sync::mpsc::Sender<v1::AgentMessage>, tonic::Streaming<v1::ServerMessage>), tonic::Status> {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let info = v1::NodeInfo {
        id: node.into(),
        hostname: format!("host-{node}"),
        cpu_millis: 4_000,
        memory_bytes: 1 << 33,
        ..Default::default()
    };
    sender.send(hello(info)).await.expect("there is room");
    let mut client = AgentsClient::new(channel_as(kept, site.agents()));
    let incoming = client.session(ReceiverStream::new(receiver)).await?.into_inner();
    Ok((sender, incoming))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_certificate_speaks_for_its_own_node_only() {
    let site = Site::new(LONG).await;
    let (victim, thief) = ("00000000000000a1", "00000000000000b2");
    let (of_victim, stolen) = (site.node(victim).await, site.node(thief).await);
    let (_hold, mut sets) = open(&site, &of_victim, victim).await.expect("its own session");

    // A secret that a task of the victim mounts.
    let mut control = site.control();
    let request = |sequence| Some(v1::RequestId { client: RequestId::client(1_000_000, 7), sequence });
    let content = b"canary of the victim".to_vec();
    let put =
        v1::PutBlobRequest { request: request(1), kind: v1::BlobKind::Secret.into(), content, digest_only: false };
    let digest = control.put_blob(put).await.expect("is stored").into_inner().digest;
    let file = v1::FileMount {
        name: "s".into(),
        target: "/run/secrets/s".into(),
        digest: digest.clone(),
        kind: v1::BlobKind::Secret.into(),
        mode: 0o400,
        ..Default::default()
    };
    let apply = v1::ApplyProjectRequest { request: request(2), project: Some(shop(vec![file])), ..Default::default() };
    control.apply_project(apply).await.expect("is applied");
    loop {
        let message = sets.next().await.expect("the stream goes on").expect("no error").message;
        if matches!(message, Some(v1::server_message::Message::Assignments(set)) if !set.tasks.is_empty()) {
            break;
        }
    }

    let fetch = |node: &str| v1::FetchBlobRequest { node: node.to_owned(), digest: digest.clone() };
    let mut owner = AgentsClient::new(channel_as(&of_victim, site.agents()));
    let fetched = owner.fetch_blob(fetch(victim)).await.expect("its own secret").into_inner();
    assert_eq!(fetched.content, b"canary of the victim");
    let mut other = AgentsClient::new(channel_as(&stolen, site.agents()));
    let refused = other.fetch_blob(fetch(victim)).await.expect_err("in another's name");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("does not speak for node 00000000000000a1"), "{refused}");
    let refused = other.fetch_blob(fetch(thief)).await.expect_err("in its own name: nothing of its mounts it");
    assert!(refused.message().contains("no task of node 00000000000000b2 mounts"), "{refused}");
    let refused = open(&site, &stolen, victim).await.map(|_| ()).expect_err("a session in another's name");
    assert!(refused.message().contains("does not speak for node"), "{refused}");

    // A log that the victim is asked for is not fed by another.
    let logs = v1::LogsRequest {
        service: Some(v1::ServiceKey { project: "shop".into(), service: "web".into() }),
        slot: None,
        query: Some(v1::LogQuery { follow: true, ..Default::default() }),
    };
    let mut read = tokio::spawn(async move { control.logs(logs).await });
    let stream = loop {
        let message = sets.next().await.expect("the stream goes on").expect("no error").message;
        if let Some(v1::server_message::Message::OpenLog(open)) = message {
            break open.stream;
        }
    };
    let chunk = |text: &str| v1::PushLogRequest {
        stream,
        chunk: Some(v1::LogChunk { data: text.as_bytes().to_vec(), source: "shop/web.1".into(), ..Default::default() }),
        ..Default::default()
    };
    other.push_log(tokio_stream::once(chunk("forged"))).await.expect("nobody listens");
    owner.push_log(tokio_stream::once(chunk("genuine"))).await.expect("the reader listens");
    let mut lines = (&mut read).await.expect("no panic").expect("a stream").into_inner();
    let first = lines.next().await.expect("a chunk").expect("no error");
    assert_eq!(String::from_utf8_lossy(&first.data), "genuine");

    // Revoked while its session is open: the stream ends, and nothing of it is heard any more.
    let mut control = site.control();
    let revoke = v1::RevokeIdentityRequest { request: request(3), kind: "agent".into(), name: victim.into() };
    control.revoke_identity(revoke).await.expect("is revoked");
    let ended = loop {
        match sets.next().await {
            Some(Ok(_)) => {}
            Some(Err(status)) => break status,
            None => panic!("it ended without a word"),
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended}");
    assert!(ended.message().contains("was revoked"), "{ended}");
    let refused = owner.fetch_blob(fetch(victim)).await.expect_err("on the connection that was open");
    assert!(refused.message().contains("was revoked; join again with a fresh token"), "{refused}");
    site.shutdown().await;
}
