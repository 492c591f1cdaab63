//! Every limit of the product in one file, with its unit and its reason.

/// Characters in a name: a DNS label.
pub const NAME_MAX: usize = 63;
/// Bytes of one log entry: bounds the time one append and one resend may take.
pub const LOG_ENTRY_MAX_BYTES: usize = 1 << 20;
/// Bytes of one config or one secret: Swarm's limit, so that files move over unchanged.
pub const BLOB_MAX_BYTES: usize = 500 * 1024;
/// Bytes of one manifest file before it is parsed: whatever is in it, `ctl check` answers within a tenth of a second.
pub const MANIFEST_MAX_BYTES: usize = 640 * 1024;
/// Depth of nesting in a manifest.
pub const MANIFEST_MAX_DEPTH: usize = 64;
/// Services in one project.
pub const SERVICES_PER_PROJECT_MAX: usize = 500;
/// Replicas of one service.
pub const REPLICAS_MAX: u32 = 10_000;
/// Releases kept per project.
pub const RELEASES_KEPT: usize = 10;
/// Events kept in State's ring.
pub const EVENTS_KEPT: usize = 10_000;
/// Changes kept in the audit: three months of a hundred a day.
pub const AUDIT_CHANGES_KEPT: usize = 10_000;
/// Secrets given that are kept in the audit.
pub const AUDIT_READS_KEPT: usize = 10_000;
/// Refusals kept in the audit: fewer, for anybody with a certificate can make them.
pub const AUDIT_REFUSALS_KEPT: usize = 1_000;
/// Refusals to one caller that are noted within a minute; the others are counted.
pub const AUDIT_REFUSALS_PER_MINUTE: u32 = 10;
/// Characters of one text in a record of the audit.
pub const AUDIT_TEXT_MAX: usize = 200;
/// Records in one answer.
pub const AUDIT_ANSWER_MAX: usize = 5_000;
/// Client sessions whose outcomes are remembered.
pub const CLIENT_SESSIONS_KEPT: usize = 10_000;
/// Outcomes remembered per client session.
pub const OUTCOMES_PER_SESSION_KEPT: usize = 64;
/// Commands in one log entry.
pub const BATCH_MAX_COMMANDS: usize = 1024;
/// Bytes of commands in one log entry.
pub const BATCH_MAX_BYTES: usize = 512 * 1024;
/// Bytes of one message between servers: several log entries.
pub const PEER_MESSAGE_MAX_BYTES: usize = 16 << 20;
/// Bytes of one gRPC message on any door.
pub const MESSAGE_MAX_BYTES: usize = 8 << 20;
/// Milliseconds a node may be silent before it is lost.
pub const LEASE_MS: u64 = 3_000;
/// Milliseconds between an agent's heartbeats: three fit into a lease.
pub const HEARTBEAT_MS: u64 = 1_000;
/// Milliseconds an address rests after its task's stop is confirmed.
pub const ADDRESS_REST_MS: u64 = 60_000;
/// First delay of a restart that backs off, in milliseconds. The very first restart has none.
pub const RESTART_BACKOFF_FIRST_MS: u64 = 100;
/// Longest delay of a restart that backs off, in milliseconds.
pub const RESTART_BACKOFF_MAX_MS: u64 = 60_000;
/// A container that ran this long, in milliseconds, starts its backoff from the beginning.
pub const RESTART_BACKOFF_RESET_MS: u64 = 60_000;
/// Failures in a row on one node before another node is tried.
pub const ESCALATE_AFTER_FAILURES: u32 = 5;
/// Time to live of a DNS answer in seconds, also of a negative one.
pub const DNS_TTL_S: u32 = 1;
/// Grace before SIGKILL when the manifest does not say, in milliseconds (Compose's default).
pub const STOP_GRACE_DEFAULT_MS: u64 = 10_000;

/// A task that another replaces is out of discovery for so long before it is asked to stop, in milliseconds: answers
/// given before live for a second (their TTL), and connections begun on them must find somebody.
pub const DRAIN_DEFAULT_MS: u64 = 2_000;
/// A new task must stay ready for so long before its slot counts as done, in milliseconds (Swarm's `monitor`).
pub const UPDATE_MONITOR_DEFAULT_MS: u64 = 5_000;
/// A started task of an update must be ready within so long, in milliseconds; `start_period` is added.
pub const UPDATE_DEADLINE_DEFAULT_MS: u64 = 120_000;

/// Labels that an operator may give one node: all of them are in every snapshot of State.
pub const NODE_LABELS_MAX: usize = 64;
/// Bytes of the key of a node's label.
pub const NODE_LABEL_KEY_MAX_BYTES: usize = 128;
/// Bytes of the value of a node's label.
pub const NODE_LABEL_VALUE_MAX_BYTES: usize = 256;

/// Most servers of a cluster that an agent remembers.
pub const SERVERS_KNOWN_MAX: usize = 32;

/// Longest text of a join token with what stands around it, in bytes: what is longer is another file.
pub const JOIN_TOKEN_MAX_BYTES: usize = 4 * 1024;
