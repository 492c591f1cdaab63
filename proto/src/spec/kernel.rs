//! What a container gets of the kernel beyond the plain limits: memory, processors, limits of its processes, block devices.
//!
//! Never says how much placement sets aside. Part of `ContainerSpec`; every field's default is the engine's own.
//! Compose Specification, section 05.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::is_default;

/// What a container gets of the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Memory.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory: MemoryTuning,
    /// Processors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpu: CpuTuning,
    /// Block devices.
    #[serde(default, skip_serializing_if = "is_default")]
    pub block_io: BlockIo,
    /// Limits of each of its processes, by the kernel's name (`nofile`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Kernel parameters of its namespaces (`net.core.somaxconn`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub sysctls: BTreeMap<String, String>,
    /// Options of the engine's storage driver (`size`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub storage_opt: BTreeMap<String, String>,
}

/// Memory beyond its upper limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct MemoryTuning {
    /// What it is held to when memory is short, in bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub soft_limit_bytes: Option<u64>,
    /// Memory and swap together in bytes; -1: any amount of swap.
    #[serde(default, skip_serializing_if = "is_default")]
    pub with_swap_bytes: Option<i64>,
    /// How readily its pages are swapped out, 0 to 100.
    #[serde(default, skip_serializing_if = "is_default")]
    pub swappiness: Option<u32>,
    /// Size of `/dev/shm` in bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shm_bytes: Option<u64>,
    /// It waits for memory rather than being killed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub oom_kill_disable: bool,
    /// How soon the kernel kills it when the host has no memory left, -1000 (last) to 1000 (first).
    #[serde(default, skip_serializing_if = "is_default")]
    pub oom_score_adj: i32,
}

/// Processors beyond the upper limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct CpuTuning {
    /// Weight against other containers; the engine's default is 1024.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shares: Option<u64>,
    /// Length of a scheduling period in microseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub period_us: Option<u64>,
    /// Processor time in each period in microseconds; -1: without limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub quota_us: Option<i64>,
    /// Length of a real-time period in microseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub realtime_period_us: Option<u64>,
    /// Real-time processor time in each of them in microseconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub realtime_runtime_us: Option<u64>,
    /// The processors it may run on, as the kernel writes them (`0-2,4`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub set: Option<String>,
}

/// Block devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct BlockIo {
    /// Weight against other containers, 10 to 1000.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weight: Option<u32>,
    /// Weights for single devices.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weight_device: Vec<DeviceRate>,
    /// Bytes read per second at most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_bps: Vec<DeviceRate>,
    /// Bytes written per second at most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub write_bps: Vec<DeviceRate>,
    /// Reads per second at most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_iops: Vec<DeviceRate>,
    /// Writes per second at most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub write_iops: Vec<DeviceRate>,
}

/// A number for one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRate {
    /// Its path on the host.
    pub path: String,
    /// The rate or the weight.
    pub rate: u64,
}

/// A limit of each process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    /// In force; -1: none.
    pub soft: i64,
    /// What a process may raise it to; -1: none.
    pub hard: i64,
}
