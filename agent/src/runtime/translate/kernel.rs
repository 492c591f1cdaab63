//! What a container gets of the kernel, in the engine's fields.
//!
//! Pure. What is not said is not sent: the engine's default stays. Called by `translate`.

use bollard::models::{HostConfig, ResourcesBlkioWeightDevice, ResourcesUlimits, ThrottleDevice};
use proto::spec::{BlockIo, DeviceRate, Kernel};
use std::collections::{BTreeMap, HashMap};

use super::clamped;

/// Adds what `kernel` says.
pub fn fill(kernel: &Kernel, host: &mut HostConfig) {
    let (memory, cpu) = (&kernel.memory, &kernel.cpu);
    host.memory_reservation = memory.soft_limit_bytes.map(clamped);
    host.memory_swap = memory.with_swap_bytes;
    host.memory_swappiness = memory.swappiness.map(i64::from);
    host.shm_size = memory.shm_bytes.map(clamped);
    host.oom_kill_disable = memory.oom_kill_disable.then_some(true);
    host.oom_score_adj = (memory.oom_score_adj != 0).then_some(memory.oom_score_adj.into());
    host.cpu_shares = cpu.shares.map(clamped);
    host.cpu_period = cpu.period_us.map(clamped);
    host.cpu_quota = cpu.quota_us;
    host.cpu_realtime_period = cpu.realtime_period_us.map(clamped);
    host.cpu_realtime_runtime = cpu.realtime_runtime_us.map(clamped);
    host.cpuset_cpus.clone_from(&cpu.set);
    host.ulimits = some(kernel.ulimits.iter().map(|(name, limit)| ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    }));
    host.sysctls = some_map(&kernel.sysctls);
    host.storage_opt = some_map(&kernel.storage_opt);
    block_io(&kernel.block_io, host);
}

fn block_io(block_io: &BlockIo, host: &mut HostConfig) {
    let rates = |rates: &[DeviceRate]| {
        some(rates.iter().map(|r| ThrottleDevice { path: Some(r.path.clone()), rate: Some(clamped(r.rate)) }))
    };
    host.blkio_weight = block_io.weight.and_then(|weight| u16::try_from(weight).ok());
    host.blkio_weight_device = some(
        block_io
            .weight_device
            .iter()
            .map(|w| ResourcesBlkioWeightDevice { path: Some(w.path.clone()), weight: usize::try_from(w.rate).ok() }),
    );
    host.blkio_device_read_bps = rates(&block_io.read_bps);
    host.blkio_device_write_bps = rates(&block_io.write_bps);
    host.blkio_device_read_iops = rates(&block_io.read_iops);
    host.blkio_device_write_iops = rates(&block_io.write_iops);
}

/// A list, or nothing when it is empty.
pub fn some<T>(items: impl IntoIterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<T> = items.into_iter().collect();
    (!items.is_empty()).then_some(items)
}

/// A map, or nothing when it is empty.
pub fn some_map(map: &BTreeMap<String, String>) -> Option<HashMap<String, String>> {
    (!map.is_empty()).then(|| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
}
