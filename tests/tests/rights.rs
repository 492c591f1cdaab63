//! Promise: nobody makes a call that the table of rights does not give them. Each call is made over the wire by each kind
//! of caller; what came of it is compared with `rights.expected`, which is to be read as the table it is.

use std::fmt::Write as _;
use std::path::Path;

use bytes::{Buf, BufMut};
use orchestrator::access::rights::TABLE;
use proto::peer::{Remote, Trust};
use proto::v1;
use tests::site::{LONG, Site, channel_as, hello};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const OWN_NODE: &str = "00000000000000a1";
const OTHER_NODE: &str = "00000000000000b2";

/// Messages as bytes: the walk knows calls by their paths only.
#[derive(Debug, Default, Clone)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;
    fn encoder(&mut self) -> Raw {
        Raw
    }
    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = bytes.remaining();
        Ok(Some(bytes.copy_to_bytes(length).to_vec()))
    }
}

/// What a call is made with: about this project, for this node.
fn message(call: &str, project: &str, node: &str) -> Vec<u8> {
    use prost::Message;
    let service = Some(v1::ServiceKey { project: project.into(), service: "web".into() });
    match call.rsplit('/').next().expect("a name") {
        "ApplyProject" | "PlanProject" => {
            let spec = v1::ProjectSpec { name: project.into(), ..Default::default() };
            v1::ApplyProjectRequest { project: Some(spec), ..Default::default() }.encode_to_vec()
        }
        "DeleteProject" => v1::DeleteProjectRequest { project: project.into(), ..Default::default() }.encode_to_vec(),
        "DeleteService" => v1::DeleteServiceRequest { service, ..Default::default() }.encode_to_vec(),
        "ScaleService" => v1::ScaleServiceRequest { service, ..Default::default() }.encode_to_vec(),
        "SteerRollout" => v1::SteerRolloutRequest { service, ..Default::default() }.encode_to_vec(),
        "GetHistory" => v1::GetHistoryRequest { service }.encode_to_vec(),
        "Why" => v1::WhyRequest { service, ..Default::default() }.encode_to_vec(),
        "Logs" => v1::LogsRequest { service, ..Default::default() }.encode_to_vec(),
        "GetSnapshot" | "WatchSnapshot" => {
            v1::GetSnapshotRequest { project: project.into(), ..Default::default() }.encode_to_vec()
        }
        "WatchEvents" => {
            v1::WatchEventsRequest { project: project.into(), once: true, ..Default::default() }.encode_to_vec()
        }
        "FetchBlob" => v1::FetchBlobRequest { node: node.into(), digest: "0".repeat(64) }.encode_to_vec(),
        "Session" => {
            let info = v1::NodeInfo { id: node.into(), hostname: "n".into(), ..Default::default() };
            hello(info).encode_to_vec()
        }
        _ => Vec::new(),
    }
}

/// Makes the call; `None`: it was not refused for who made it.
async fn refused(channel: &Channel, call: &'static str, message: Vec<u8>) -> Option<Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.expect("connects");
    let request = Request::new(tokio_stream::once(message));
    let answered = client.streaming(request, PathAndQuery::from_static(call), Raw).await;
    let status = match answered {
        Ok(response) => response.into_inner().message().await.err(),
        Err(status) => Some(status),
    }?;
    let is_refusal = match status.code() {
        Code::Unauthenticated => true,
        // That no task of a node mounts a content is another matter.
        Code::PermissionDenied => !status.message().contains("mounts"),
        // Served on the other port only.
        Code::Unimplemented => panic!("{call} is not served here: {status}"),
        _ => false,
    };
    is_refusal.then_some(status)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_holds_over_the_wire() {
    let site = Site::new(LONG).await;
    let agent = site.node(OWN_NODE).await;
    let admin = site.operator("ada", "admin", "").await;
    let deployer = site.operator("dan", "deployer", "shop").await;
    let roamer = site.operator("rob", "deployer", "").await;
    let viewer = site.operator("vera", "viewer", "shop").await;
    // (who, identity, project that is asked about, node that is spoken for)
    let callers = [
        ("agent, its own node", Some(&agent), "shop", OWN_NODE),
        ("agent, another node", Some(&agent), "shop", OTHER_NODE),
        ("admin", Some(&admin), "shop", OWN_NODE),
        ("deployer of all", Some(&roamer), "other", OWN_NODE),
        ("deployer of shop: shop", Some(&deployer), "shop", OWN_NODE),
        ("deployer of shop: other", Some(&deployer), "other", OWN_NODE),
        ("viewer of shop: shop", Some(&viewer), "shop", OWN_NODE),
        ("viewer of shop: other", Some(&viewer), "other", OWN_NODE),
        ("nobody", None, "shop", OWN_NODE),
    ];
    let mut got = String::from("May, over the wire: rows are calls, columns callers.\n\n");
    for (index, (who, ..)) in callers.iter().enumerate() {
        let _ = writeln!(got, "{} {who}", index + 1);
    }
    let _ = writeln!(got, "\n{:64} 1   2   3   4   5   6   7   8   9", "");
    let cluster = agent.cluster().expect("a cluster");
    for row in TABLE {
        let on_agents_port = row.call.contains("Agents");
        let address = if on_agents_port { site.agents() } else { site.operators() };
        let mut cells = String::new();
        for (_, kept, project, node) in &callers {
            let channel = match kept {
                Some(kept) => channel_as(kept, address.clone()),
                None => {
                    let pin = site_pin(&site).await;
                    let remote =
                        std::sync::Arc::new(Remote::new(vec![address.clone()], cluster, Trust::Pin(pin), None));
                    remote.channel(Endpoint::from_static("http://server.wherry"))
                }
            };
            let refused = refused(&channel, row.call, message(row.call, project, node)).await;
            cells.push_str(if refused.is_some() { "-   " } else { "yes " });
        }
        let _ = writeln!(got, "{:64} {}", row.call, cells.trim_end());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rights.expected");
    if std::env::var_os("WHERRY_UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &got).expect("writes");
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(got, want, "WHERRY_UPDATE_EXPECT=1 writes it; then read the difference as you would read code");
    site.shutdown().await;
}

/// The authority's pin, from a token.
async fn site_pin(site: &Site) -> [u8; 32] {
    site.agent_token(1).await.parse::<proto::join_token::JoinToken>().expect("a token").pin
}

#[test]
fn each_call_of_the_schemas_has_a_row() {
    let schemas =
        [proto::v1::DESCRIPTOR, tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET];
    assert_eq!(orchestrator::access::rights::mismatches(&schemas), [""; 0]);
    // A schema without a row is noticed, and a row without a call.
    let without = &schemas[..2];
    assert_eq!(orchestrator::access::rights::mismatches(without).len(), 1);
}
