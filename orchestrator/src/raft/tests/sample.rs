//! Commands and what they leave in State, for tests of this room: the only test file here that knows real commands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use proto::assignment::Verdict;
use proto::id::{BlobDigest, ClusterId, NodeId, ServerId, ServiceKey, Slot, TaskId};
use proto::identity::{OperatorRole, Subject};
use proto::node::{NodeConditions, NodeInfo};
use proto::revision::{Revision, Wall};
use proto::spec::{BlobKind, ContainerSpec, ProjectSpec, ServiceMode, ServiceSpec};
use proto::task_state::{Health, Phase, TaskStatus};

use crate::engine::command::Enrolling;
use crate::engine::model::{
    Asker, AuditNote, Authority, Content, Grant, Ranges, SealedPart, ServerInfo, Token, VolumeKey,
};
use crate::engine::plan::{Change, Plan, Planned, Requires};
use crate::engine::{Command, Outcome, Reason, State, Steer};

fn digest(n: u64) -> BlobDigest {
    BlobDigest(format!("{n:064x}"))
}

/// The n-th sample command.
pub(super) fn command(n: u64) -> Command {
    let content = Content::Plain { bytes: format!("text {n}").into_bytes() };
    Command::PutBlob { digest: digest(n), kind: BlobKind::Config, content }
}

/// A command whose encoding has a little more than this many bytes.
pub(super) fn command_of_size(n: u64, bytes: usize) -> Command {
    Command::PutBlob { digest: digest(n), kind: BlobKind::Config, content: Content::Plain { bytes: vec![b'x'; bytes] } }
}

/// Whether the n-th sample command was applied.
pub(super) fn holds(state: &State, n: u64) -> bool {
    state.blob(&digest(n)).is_some()
}

/// Whether this is the answer to the n-th sample command.
pub(super) fn answers(outcome: &Outcome, _n: u64) -> bool {
    matches!(outcome, Outcome::Done { .. })
}

/// One of each command, under the name of its fixture. A command, once released, stays here for ever.
pub(super) fn every_command() -> Vec<(&'static str, Command)> {
    let service = key();
    vec![
        ("bootstrap", Command::Bootstrap { cluster: ClusterId(7), ranges: ranges() }),
        ("put-blob", command(7)),
        ("put-secret", Command::PutBlob { digest: digest(8), kind: BlobKind::Secret, content: sealed() }),
        ("put-project", Command::PutProject { spec: Box::new(project()), expected_release: Some(3), prune: true }),
        ("delete-project", Command::DeleteProject { project: service.project.clone(), volumes: true }),
        ("delete-service", Command::DeleteService { service: service.clone() }),
        ("scale-service", Command::ScaleService { service, replicas: 4 }),
        ("register-node", Command::RegisterNode { info: node() }),
        ("report-statuses", Command::ReportStatuses { node: NodeId(1), reports: vec![(TaskId(5), status())] }),
        ("report-conditions", Command::ReportConditions { node: NodeId(1), conditions: NodeConditions::default() }),
        ("apply-plan", Command::ApplyPlan { plan: plan() }),
    ]
}

/// What State version 2 brought, under the names of its fixtures.
pub(super) fn commands_of_version_2() -> Vec<(&'static str, Command)> {
    let changed = Command::PutProject { spec: Box::new(changed_project()), expected_release: None, prune: false };
    vec![
        ("raise-version", Command::RaiseVersion { to: 2 }),
        ("put-project-2", changed),
        ("steer-rollout", Command::SteerRollout { service: key(), how: Steer::Undo { to: Some(3) } }),
        ("apply-plan-2", Command::ApplyPlan { plan: plan_of_version_2() }),
    ]
}

/// What State version 3 brought, under the names of its fixtures; applied in this order, each changes something.
pub(super) fn commands_of_version_3() -> Vec<(&'static str, Command)> {
    let token = |id, grant| Token {
        id,
        hash: format!("{id:064x}"),
        grant,
        uses: 2,
        used: 0,
        made: Wall(1_000),
        expires: Wall(9_000_000_000_000),
    };
    let shop = key().project;
    let name = "alice".parse().expect("a name");
    let operator = Grant::Operator { role: OperatorRole::Deployer, project: Some(shop), name };
    let enrol = |token, who| Command::Enrol { token, hash: format!("{token:064x}"), who, key: vec![7; 32] };
    let authority = Authority { certificate: vec![1, 2, 3], key: sealed() };
    vec![
        ("found-authority-3", Command::FoundAuthority { authority }),
        ("put-token-3", Command::PutToken { token: token(5, Grant::Agent) }),
        ("put-token-operator-3", Command::PutToken { token: token(6, operator) }),
        ("enrol-agent-3", enrol(5, Enrolling::Agent(NodeId(77)))),
        ("enrol-operator-3", enrol(6, Enrolling::Operator)),
        ("revoke-identity-3", Command::RevokeIdentity { subject: Subject::Agent(NodeId(77)) }),
        ("revoke-token-3", Command::RevokeToken { id: 5 }),
    ]
}

/// What State version 4 brought, under the names of its fixtures.
pub(super) fn commands_of_version_4() -> Vec<(&'static str, Command)> {
    let put = Command::PutProject { spec: Box::new(global_project()), expected_release: None, prune: false };
    let changes = [
        (Change::StopTask { task: TaskId(4), drain_ms: 0 }, Reason::Misplaced { because: "no label".to_owned() }),
        (Change::FinishRollout { service: key() }, Reason::PlacedDone { without_node: 2 }),
    ];
    let changes = changes.into_iter().map(|(change, reason)| Planned { change, requires: Vec::new(), reason });
    let plan = Plan { base: Revision(9), changes: changes.collect(), unplaced: Vec::new() };
    vec![
        ("raise-version-4", Command::RaiseVersion { to: 4 }),
        ("put-project-4", put),
        ("apply-plan-4", Command::ApplyPlan { plan }),
    ]
}

/// What State version 5 brought, under the names of its fixtures.
pub(super) fn commands_of_version_5() -> Vec<(&'static str, Command)> {
    vec![
        ("raise-version-5", Command::RaiseVersion { to: 5 }),
        ("note-access-5", Command::NoteAccess { note: note(false) }),
        ("note-refusal-5", Command::NoteAccess { note: note(true) }),
    ]
}

/// What State version 6 brought, under the names of its fixtures; applied in this order, each changes something.
pub(super) fn commands_of_version_6() -> Vec<(&'static str, Command)> {
    let token = Token {
        id: 8,
        hash: format!("{:064x}", 8),
        grant: Grant::Server,
        uses: 1,
        used: 0,
        made: Wall(1_000),
        expires: Wall(9_000_000_000_000),
    };
    let who = Enrolling::Server(ServerId(0x5e));
    let info = ServerInfo {
        id: ServerId(0x5e),
        hostname: "host2".to_owned(),
        peers: "10.0.0.2:7421".to_owned(),
        operators: "10.0.0.2:7420".to_owned(),
        understands: 6,
        program: "0.1.0".to_owned(),
        sealing_keys: Vec::new(),
    };
    vec![
        ("raise-version-6", Command::RaiseVersion { to: 6 }),
        ("put-token-server-6", Command::PutToken { token }),
        ("enrol-server-6", Command::Enrol { token: 8, hash: format!("{:064x}", 8), who, key: vec![7; 32] }),
        ("put-server-6", Command::PutServer { info }),
        ("promote-server-6", Command::PromoteServer { id: ServerId(0x5e) }),
        ("remove-server-6", Command::RemoveServer { id: ServerId(0x5e) }),
    ]
}

/// What State version 7 brought, under the names of its fixtures; applied in this order, each changes something.
pub(super) fn commands_of_version_7() -> Vec<(&'static str, Command)> {
    let info = ServerInfo {
        id: ServerId(0x5e),
        hostname: "host1".to_owned(),
        peers: "10.0.0.1:7421".to_owned(),
        operators: "10.0.0.1:7420".to_owned(),
        understands: 7,
        program: "0.1.0".to_owned(),
        sealing_keys: vec![OLD_KEY.to_owned(), NEW_KEY.to_owned()],
    };
    let (to, from) = (NEW_KEY.to_owned(), OLD_KEY.to_owned());
    let content = || Content::Sealed { key_id: NEW_KEY.to_owned(), nonce: vec![8; 24], bytes: vec![3, 2, 1] };
    let reseal = |part| Command::Reseal { part, from: from.clone(), content: content() };
    vec![
        ("raise-version-7", Command::RaiseVersion { to: 7 }),
        ("begin-key-rotation-7", Command::BeginKeyRotation { to: to.clone() }),
        ("put-server-7", Command::PutServer { info }),
        ("use-new-key-7", Command::UseNewKey { to: to.clone(), digest_key: content() }),
        ("reseal-authority-7", reseal(SealedPart::Authority)),
        ("reseal-blob-7", reseal(SealedPart::Blob(digest(8)))),
        ("finish-key-rotation-7", Command::FinishKeyRotation { to }),
    ]
}

/// What State version 8 brought, under the names of its fixtures; applied in this order, each changes something.
pub(super) fn commands_of_version_8() -> Vec<(&'static str, Command)> {
    let pair = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let set = [("disk", "ssd"), ("example.com/zone", "b")].map(pair).into();
    let (node, remove, expected) = (NodeId(1), BTreeSet::from(["rack".to_owned()]), Some(Revision(0)));
    vec![
        ("raise-version-8", Command::RaiseVersion { to: 8 }),
        ("label-node-8", Command::LabelNode { node, set, remove, expected }),
    ]
}

/// A node of version 7.
pub(super) fn history_before_labels() -> Vec<Command> {
    vec![
        Command::Bootstrap { cluster: ClusterId(7), ranges: ranges() },
        Command::RaiseVersion { to: 7 },
        Command::RegisterNode { info: node() },
    ]
}

/// Ids of sealing keys: what `sealed` is sealed with, and the one that takes its place.
const OLD_KEY: &str = "0123456789abcdef";
const NEW_KEY: &str = "fedcba9876543210";

/// A secret and an authority that are sealed with the key that goes.
pub(super) fn history_before_a_rotation() -> Vec<Command> {
    vec![
        Command::Bootstrap { cluster: ClusterId(7), ranges: ranges() },
        Command::RaiseVersion { to: 6 },
        Command::FoundAuthority { authority: Authority { certificate: vec![1, 2, 3], key: sealed() } },
        Command::PutBlob { digest: digest(8), kind: BlobKind::Secret, content: sealed() },
    ]
}

/// A change, a secret that was given, and a change that was refused.
pub(super) fn history_with_an_audit() -> Vec<Command> {
    vec![
        Command::Bootstrap { cluster: ClusterId(7), ranges: ranges() },
        Command::RaiseVersion { to: 5 },
        Command::RegisterNode { info: node() },
        Command::PutProject { spec: Box::new(project()), expected_release: None, prune: false },
        Command::NoteAccess { note: note(false) },
        Command::ScaleService {
            service: ServiceKey { service: "none".parse().expect("a name"), ..key() },
            replicas: 2,
        },
    ]
}

/// Who asks for what is to be in the audit.
pub(super) fn asker() -> Asker {
    Asker { who: "operator/ada".to_owned(), from: "192.0.2.7:40001".to_owned() }
}

fn note(refused: bool) -> AuditNote {
    AuditNote {
        call: "FetchBlob".to_owned(),
        project: "shop".to_owned(),
        object: "secret/password".to_owned(),
        detail: "to node 0000000000000001 for web.1".to_owned(),
        refused,
    }
}

/// A global service with a task on its node.
pub(super) fn history_with_a_global_service() -> Vec<Command> {
    let change = Change::CreateTask { service: key(), slot: Slot(1), node: NodeId(1) };
    let planned = Planned { change, requires: Vec::new(), reason: Reason::SlotEmpty };
    vec![
        Command::Bootstrap { cluster: ClusterId(7), ranges: ranges() },
        Command::RaiseVersion { to: 4 },
        Command::RegisterNode { info: node() },
        Command::PutProject { spec: Box::new(global_project()), expected_release: None, prune: false },
        Command::ApplyPlan { plan: Plan { base: Revision(1), changes: vec![planned], unplaced: Vec::new() } },
        Command::ReportStatuses { node: NodeId(1), reports: vec![(TaskId(1), status())] },
    ]
}

fn global_project() -> ProjectSpec {
    let mut spec = project();
    for service in spec.services.values_mut() {
        service.mode = ServiceMode::Global;
    }
    spec
}

/// A project in the middle of an update of which one slot failed.
pub(super) fn history_with_a_rollout() -> Vec<Command> {
    let put = |spec| Command::PutProject { spec: Box::new(spec), expected_release: None, prune: false };
    let plan = |changes: Vec<Change>| {
        let changes =
            changes.into_iter().map(|change| Planned { change, requires: Vec::new(), reason: Reason::SlotEmpty });
        Command::ApplyPlan { plan: Plan { base: Revision(1), changes: changes.collect(), unplaced: Vec::new() } }
    };
    let create = || Change::CreateTask { service: key(), slot: Slot(1), node: NodeId(1) };
    let reported = |task, status| Command::ReportStatuses { node: NodeId(1), reports: vec![(TaskId(task), status)] };
    let ended =
        TaskStatus { exit_code: Some(1), last_log: vec!["panicked".to_owned()], phase: Phase::Exited, ..status() };
    vec![
        Command::Bootstrap { cluster: ClusterId(7), ranges: ranges() },
        Command::RaiseVersion { to: 2 },
        Command::RegisterNode { info: node() },
        put(project()),
        plan(vec![create()]),
        reported(1, status()),
        put(changed_project()),
        plan(vec![create()]),
        reported(2, TaskStatus { health: Health::None, ..ended }),
        plan(vec![
            Change::FailSlot { service: key(), slot: Slot(1), task: Some(TaskId(2)), cause: "exit code 1".to_owned() },
            Change::HoldSlot { service: key(), slot: Slot(1) },
            Change::PauseRollout { service: key() },
            Change::StopTask { task: TaskId(1), drain_ms: 2_000 },
        ]),
    ]
}

fn changed_project() -> ProjectSpec {
    let mut spec = project();
    for service in spec.services.values_mut() {
        Arc::make_mut(&mut service.container).image = "web:2".to_owned();
        service.update.monitor_ms = 1_000;
        service.drain_ms = 500;
    }
    spec
}

/// One of each change that came with version 2.
fn plan_of_version_2() -> Plan {
    let service = key();
    let slot = Slot(2);
    let changes = vec![
        Change::PrepareTask { service: service.clone(), slot, node: NodeId(1), succeeds: TaskId(4) },
        Change::RunTask { task: TaskId(5) },
        Change::StopTask { task: TaskId(4), drain_ms: 2_000 },
        Change::FailSlot { service: service.clone(), slot, task: Some(TaskId(5)), cause: "exit code 1".to_owned() },
        Change::HoldSlot { service: service.clone(), slot },
        Change::RollBack { service: service.clone() },
        Change::PauseRollout { service: service.clone() },
        Change::FailRollout { service: service.clone() },
        Change::FinishRollout { service },
    ];
    let planned = changes.into_iter().map(|change| Planned { change, requires: Vec::new(), reason: Reason::AllDone });
    Plan { base: Revision(9), changes: planned.collect(), unplaced: Vec::new() }
}

fn key() -> ServiceKey {
    ServiceKey { project: "shop".parse().expect("a name"), service: "web".parse().expect("a name") }
}

fn ranges() -> Ranges {
    Ranges::default()
}

fn sealed() -> Content {
    Content::Sealed { key_id: OLD_KEY.to_owned(), nonce: vec![9; 24], bytes: vec![1, 2, 3] }
}

fn project() -> ProjectSpec {
    let container = ContainerSpec { image: "web:1".to_owned(), ..ContainerSpec::default() };
    let service = ServiceSpec { container: Arc::new(container), ..ServiceSpec::default() };
    ProjectSpec {
        name: key().project,
        services: BTreeMap::from([(key().service, service)]),
        volumes: BTreeMap::new(),
        networks: BTreeSet::from(["default".to_owned()]),
    }
}

fn node() -> NodeInfo {
    NodeInfo {
        id: NodeId(1),
        hostname: "n1".to_owned(),
        agent_version: "0.1.0".to_owned(),
        engine_version: "20.10.24".to_owned(),
        os: "linux".to_owned(),
        arch: "x86_64".to_owned(),
        cpu_millis: 2_000,
        memory_bytes: 1 << 30,
        addresses: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
        labels: BTreeMap::new(),
        features: BTreeSet::new(),
    }
}

fn status() -> TaskStatus {
    TaskStatus { incarnation: 2, phase: Phase::Running, health: Health::Healthy, sequence: 9, ..TaskStatus::default() }
}

/// One of each change.
fn plan() -> Plan {
    let (service, volume) = (key(), VolumeKey { project: key().project, name: "data".to_owned(), node: NodeId(1) });
    let changes = vec![
        Change::CreateTask { service: service.clone(), slot: Slot(1), node: NodeId(1) },
        Change::StopTask { task: TaskId(4), drain_ms: 0 },
        Change::LatchGate { service: service.clone(), dependency: service.service.clone() },
        Change::MarkDown { node: NodeId(1) },
        Change::MarkUp { node: NodeId(1) },
        Change::ForgetService { service: service.clone() },
        Change::ForgetProject { project: service.project.clone() },
        Change::RemoveVolume { volume: volume.clone() },
        Change::ForgetVolume { volume },
        Change::ForgetBlob { digest: digest(7) },
        Change::JudgeStranger { node: NodeId(1), container: "c0ffee".to_owned(), verdict: Some(Verdict::Stop) },
    ];
    let requires = vec![Requires::Service(service, Revision(3)), Requires::Node(NodeId(1), Revision(2))];
    let planned =
        changes.into_iter().map(|change| Planned { change, requires: requires.clone(), reason: Reason::SlotEmpty });
    Plan { base: Revision(9), changes: planned.collect(), unplaced: Vec::new() }
}
