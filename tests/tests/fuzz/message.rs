//! Messages of gRPC: made after the schema, then spoilt; decoded, converted, and what operators and agents send applied.
//!
//! A change that the engine takes from a peer must never end the server: it would end every server that applies it.

use std::collections::{BTreeMap, BTreeSet};

use orchestrator::engine::model::Ranges;
use orchestrator::engine::{Command, Leases, STATE_VERSION, Stamped, State, apply, reconcile};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use proto::assignment::AssignmentSet;
use proto::convert::{ConvertError, required};
use proto::endpoint::EndpointTable;
use proto::id::{ClusterId, NodeId, ServiceKey, TaskId};
use proto::node::{NodeConditions, NodeInfo};
use proto::revision::{Revision, Time, Wall};
use proto::spec::ProjectSpec;
use proto::task_state::TaskStatus;
use proto::v1;
use tests::sim::rng::Rng;

use super::mutate;
use super::run::Target;

/// What a room does with the bytes of one message.
type Reader = fn(&State, &[u8]);

/// The messages that peers send, and their readers.
const READERS: [(&str, Reader); 11] = [
    ("ApplyProjectRequest", apply_project),
    ("AgentMessage", agent_message),
    ("ServerMessage", server_message),
    ("ScaleServiceRequest", scale_service),
    ("SteerRolloutRequest", |_, bytes| drop(v1::SteerRolloutRequest::decode(bytes))),
    ("PutBlobRequest", |_, bytes| drop(v1::PutBlobRequest::decode(bytes))),
    ("LogsRequest", |_, bytes| drop(v1::LogsRequest::decode(bytes))),
    ("PushLogRequest", |_, bytes| drop(v1::PushLogRequest::decode(bytes))),
    ("Snapshot", |_, bytes| drop(v1::Snapshot::decode(bytes))),
    ("PlanProjectResponse", |_, bytes| drop(v1::PlanProjectResponse::decode(bytes))),
    ("LabelNodeRequest", label_node),
];

pub struct Messages {
    schema: BTreeMap<String, DescriptorProto>,
    state: State,
}

// === readers ===

fn submit(state: &State, command: Command) -> State {
    let mut state = state.clone();
    apply(&mut state, &Stamped { at: Time(2_000), wall: Wall(2_000), request: None, by: None, command });
    state
}

fn apply_project(state: &State, bytes: &[u8]) {
    let Ok(request) = v1::ApplyProjectRequest::decode(bytes) else { return };
    let Ok(spec) = required::<_, ProjectSpec>("project", request.project) else { return };
    let back = ProjectSpec::try_from(v1::ProjectSpec::from(&spec));
    assert_eq!(back.as_ref(), Ok(&spec), "a spec survives the wire");
    submit(
        state,
        Command::PutProject { spec: Box::new(spec), expected_release: request.expected_release, prune: request.prune },
    );
}

fn scale_service(state: &State, bytes: &[u8]) {
    let Ok(request) = v1::ScaleServiceRequest::decode(bytes) else { return };
    let Ok(service) = required::<_, ServiceKey>("service", request.service) else { return };
    submit(state, Command::ScaleService { service, replicas: request.replicas });
}

fn label_node(state: &State, bytes: &[u8]) {
    let Ok(request) = v1::LabelNodeRequest::decode(bytes) else { return };
    let expected = request.expected_revision.map(Revision);
    let remove = request.remove.into_iter().collect();
    submit(state, Command::LabelNode { node: NodeId(1), set: request.set, remove, expected });
}

fn agent_message(state: &State, bytes: &[u8]) {
    let Ok(v1::AgentMessage { message: Some(message) }) = v1::AgentMessage::decode(bytes) else { return };
    let node = NodeId(1);
    match message {
        v1::agent_message::Message::Hello(hello) => register(state, hello.node),
        v1::agent_message::Message::Fingerprint(info) => register(state, Some(info)),
        v1::agent_message::Message::Heartbeat(_) => {}
        v1::agent_message::Message::Conditions(conditions) => {
            if let Ok(conditions) = NodeConditions::try_from(conditions) {
                submit(state, Command::ReportConditions { node, conditions });
            }
        }
        v1::agent_message::Message::Statuses(batch) => {
            let read = |report: v1::TaskReport| -> Result<(TaskId, TaskStatus), ConvertError> {
                Ok((TaskId(report.task), required("status", report.status)?))
            };
            if let Ok(reports) = batch.reports.into_iter().map(read).collect() {
                submit(state, Command::ReportStatuses { node, reports });
            }
        }
    }
}

fn register(state: &State, info: Option<v1::NodeInfo>) {
    if let Ok(info) = required::<_, NodeInfo>("node", info) {
        submit(state, Command::RegisterNode { info });
    }
}

fn server_message(_: &State, bytes: &[u8]) {
    let Ok(v1::ServerMessage { message: Some(message) }) = v1::ServerMessage::decode(bytes) else { return };
    match message {
        v1::server_message::Message::Assignments(set) => drop(AssignmentSet::try_from(set)),
        v1::server_message::Message::Endpoints(table) => drop(EndpointTable::try_from(table)),
        _ => {}
    }
}

// === making ===

/// Texts that mean something somewhere.
const TEXTS: [&str; 24] = [
    "shop",
    "web",
    "db",
    "",
    "web.1",
    "shop/web",
    "10.210.1.1",
    "::1",
    "10.210.0.0/16",
    "10.210.0.0/99",
    "0000000000000001",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "/var/lib/data",
    "../../etc",
    "node.labels.disk",
    "ssd",
    "nginx:1",
    "sha256:0",
    "A-very-long-name-that-is-longer-than-a-label-of-a-name-in-the-domain-name-system-may-be",
    "\u{0}",
    "ä\u{202e}🚢",
    "NET_ADMIN",
    "SIGTERM",
    "100",
];
const NUMBERS: [u64; 12] =
    [0, 1, 2, 3, 80, 65_535, 65_536, u32::MAX as u64, i64::MAX as u64, 1 << 63, u64::MAX, 10_000];
/// Messages inside messages at most.
const DEPTH_MAX: u32 = 6;

impl Messages {
    pub fn new() -> Messages {
        let set = FileDescriptorSet::decode(v1::DESCRIPTOR).expect("the schema");
        let mut schema = BTreeMap::new();
        for file in set.file {
            for message in file.message_type {
                list(&format!(".{}", file.package.as_deref().unwrap_or_default()), message, &mut schema);
            }
        }
        for (name, _) in READERS {
            assert!(schema.contains_key(&format!(".wherry.v1.{name}")), "{name} is in the schema");
        }
        Messages { schema, state: state() }
    }

    fn message(&self, name: &str, depth: u32, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Some(message) = self.schema.get(name) else { return bytes };
        // Some are full, some are nearly empty.
        let often = *rng.pick(&[150, 500, 900]).unwrap_or(&500);
        for field in &message.field {
            if !rng.chance(often) {
                continue;
            }
            let count = if field.label() == Label::Repeated { rng.skewed(1, 30) } else { 1 };
            for _ in 0..count {
                self.field(field.number() as u64, field.r#type(), field.type_name(), depth, rng, &mut bytes);
            }
        }
        bytes
    }

    fn field(&self, number: u64, kind: Type, name: &str, depth: u32, rng: &mut Rng, bytes: &mut Vec<u8>) {
        match kind {
            Type::String | Type::Bytes => {
                let text = rng.pick(&TEXTS).copied().unwrap_or_default();
                length_delimited(number, text.as_bytes(), bytes);
            }
            Type::Message if depth < DEPTH_MAX => {
                let inner = self.message(name, depth + 1, rng);
                length_delimited(number, &inner, bytes);
            }
            Type::Message => {}
            Type::Double | Type::Fixed64 | Type::Sfixed64 => {
                varint(number << 3 | 1, bytes);
                bytes.extend(rng.range(0, u64::MAX - 1).to_le_bytes());
            }
            Type::Float | Type::Fixed32 | Type::Sfixed32 => {
                varint(number << 3 | 5, bytes);
                bytes.extend((rng.range(0, u32::MAX.into()) as u32).to_le_bytes());
            }
            Type::Enum => {
                varint(number << 3, bytes);
                varint(rng.range(0, 6), bytes);
            }
            Type::Bool => {
                varint(number << 3, bytes);
                varint(rng.range(0, 1), bytes);
            }
            _ => {
                varint(number << 3, bytes);
                let edge = rng.pick(&NUMBERS).copied().unwrap_or_default();
                let value = if rng.chance(600) { rng.range(0, 20) } else { edge };
                varint(value, bytes);
            }
        }
    }
}

fn list(outer: &str, message: DescriptorProto, schema: &mut BTreeMap<String, DescriptorProto>) {
    let name = format!("{outer}.{}", message.name());
    for inner in message.nested_type.clone() {
        list(&name, inner, schema);
    }
    schema.insert(name, message);
}

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn length_delimited(number: u64, content: &[u8], bytes: &mut Vec<u8>) {
    varint(number << 3 | 2, bytes);
    varint(content.len() as u64, bytes);
    bytes.extend_from_slice(content);
}

/// A cluster with a node that runs tasks 1, 2 and so on.
fn state() -> State {
    let mut state = State::empty();
    let ranges = Ranges::default();
    let info = NodeInfo {
        id: NodeId(1),
        hostname: "h1".to_owned(),
        agent_version: "0.1.0".to_owned(),
        engine_version: "20.10.24".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        cpu_millis: 4_000,
        memory_bytes: 8 << 30,
        addresses: Vec::new(),
        labels: BTreeMap::new(),
        features: BTreeSet::new(),
    };
    for command in [
        Command::Bootstrap { cluster: ClusterId(7), ranges },
        Command::RaiseVersion { to: STATE_VERSION },
        Command::RegisterNode { info },
        Command::PutProject { spec: Box::new(spec()), expected_release: None, prune: false },
    ] {
        state = submit(&state, command);
    }
    let mut leases = Leases::default();
    leases.heard(NodeId(1), Time(2_000));
    let plan = reconcile(&state, &leases, Time(2_000));
    let state = submit(&state, Command::ApplyPlan { plan });
    assert!(state.tasks().count() > 1, "tasks are there to be reported");
    state
}

fn spec() -> ProjectSpec {
    let text = "services:\n  web:\n    image: nginx:1\n    deploy: {replicas: 3}\n    ports: [\"80:80\"]\n    volumes: [\"data:/data\"]\n  db:\n    image: db:1\nvolumes: {data: }\n";
    let options = cli::manifest::LoadOptions {
        inputs: vec![cli::manifest::Input::Text { name: "compose.yaml".to_owned(), bytes: text.into() }],
        profiles: Vec::new(),
        project_name: Some("shop".to_owned()),
        env: BTreeMap::new(),
        working_dir: "/home/me/shop".into(),
    };
    cli::manifest::load(&options, &cli::manifest::Disk).expect("it is sound").spec
}

impl Target for Messages {
    fn input(&self, rng: &mut Rng) -> Vec<u8> {
        // Those that change something most of the time.
        let which = if rng.chance(700) { rng.range(0, 3) } else { rng.range(0, READERS.len() as u64 - 1) } as usize;
        let mut bytes = self.message(&format!(".wherry.v1.{}", READERS[which].0), 0, rng);
        if rng.chance(300) {
            const WORDS: [&[u8]; 4] =
                [b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0a\xff\xff\xff\xff\x0f", b"\x0b", b"\x00"];
            let sound = [bytes.clone()];
            for _ in 0..rng.range(1, 4) {
                mutate::change(rng, &mut bytes, &sound, &WORDS);
            }
        }
        bytes.insert(0, which as u8);
        bytes
    }

    fn run(&self, input: &[u8]) {
        let Some((which, bytes)) = input.split_first() else { return };
        if let Some((_, read)) = READERS.get(usize::from(*which)) {
            read(&self.state, bytes);
        }
    }
}
