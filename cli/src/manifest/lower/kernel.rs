//! What a service's containers get of the kernel: memory, processors, ulimits, sysctls, block devices (Compose
//! Specification, section 05), and the short forms of `deploy.resources`.
//!
//! Never asks whether the node's kernel can do it: the engine says so when the container is made. Called by `service`.

use std::collections::BTreeMap;

use proto::spec::{BlockIo, CpuTuning, DeviceRate, Kernel, MemoryTuning, Ulimit};

use super::super::tree::{Value, shorten};
use super::super::words;
use super::context::{Context, Field, Fields};
use super::deploy::{self, Deploy, MEMORY_MIN_BYTES};

/// The limits of processes that the engine knows, by the kernel's names.
const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Lowers the kernel's keys; the short forms of `deploy.resources` go to `deploy`.
pub fn kernel(cx: &mut Context<'_>, keys: &mut Fields<'_>, deploy: &mut Deploy) -> Kernel {
    let cpus_at = short_forms(cx, keys, deploy);
    Kernel {
        memory: memory(cx, keys, deploy),
        cpu: cpu(cx, keys, cpus_at.as_deref()),
        block_io: keys.take("blkio_config").map(|f| block_io(cx, &f)).unwrap_or_default(),
        ulimits: keys.take("ulimits").map(|f| ulimits(cx, &f)).unwrap_or_default(),
        sysctls: keys.take("sysctls").map(|f| parameters(cx, &f)).unwrap_or_default(),
        storage_opt: keys.take("storage_opt").map(|f| parameters(cx, &f)).unwrap_or_default(),
    }
}

/// `cpus`, `mem_limit`, `mem_reservation` and `pids_limit` say what `deploy.resources` says; both may, if they agree.
/// Returns the key by which processors are limited, if they are.
fn short_forms(cx: &mut Context<'_>, keys: &mut Fields<'_>, deploy: &mut Deploy) -> Option<String> {
    let below = "deploy.resources.limits";
    let mut cpus_at = deploy.limits.cpu_millis.map(|_| format!("{below}.cpus"));
    if let Some(field) = keys.take("cpus")
        && !is_zero(&field)
    {
        let cpus = deploy::cpus(cx, &field);
        cpus_at = Some("cpus".to_owned());
        agree(cx, &field, cpus, &mut deploy.limits.cpu_millis, &format!("{below}.cpus"));
    }
    if let Some(field) = keys.take("mem_limit")
        && !is_zero(&field)
    {
        let bytes = deploy::memory(cx, &field, MEMORY_MIN_BYTES);
        agree(cx, &field, bytes, &mut deploy.limits.memory_bytes, &format!("{below}.memory"));
    }
    if let Some(field) = keys.take("pids_limit") {
        let pids = deploy::pids(cx, &field);
        agree(cx, &field, pids, &mut deploy.limits.pids, &format!("{below}.pids"));
    }
    cpus_at
}

/// 0 is Docker's word for no limit.
fn is_zero(field: &Field<'_>) -> bool {
    matches!(&field.node.value, Value::Scalar(scalar) if scalar.text == "0")
}

fn agree<T: PartialEq>(cx: &mut Context<'_>, field: &Field<'_>, short: Option<T>, long: &mut Option<T>, name: &str) {
    let Some(short) = short else { return };
    if long.as_ref().is_some_and(|long| *long != short) {
        cx.problem(field.at, format!("`{}` and `{name}` say different things", field.path), "keep one of them");
    }
    *long = Some(short);
}

fn memory(cx: &mut Context<'_>, keys: &mut Fields<'_>, deploy: &mut Deploy) -> MemoryTuning {
    MemoryTuning {
        soft_limit_bytes: keys.take("mem_reservation").and_then(|f| soft_limit(cx, &f, deploy)),
        with_swap_bytes: keys.take("memswap_limit").and_then(|f| with_swap(cx, &f, deploy.limits.memory_bytes)),
        swappiness: keys.take("mem_swappiness").and_then(|f| cx.whole(&f, 0, 100)).and_then(|n| u32::try_from(n).ok()),
        shm_bytes: keys.take("shm_size").and_then(|f| bytes(cx, &f)).filter(|bytes| *bytes > 0),
        oom_kill_disable: keys.take("oom_kill_disable").and_then(|f| cx.boolean(&f)).unwrap_or_default(),
        oom_score_adj: keys
            .take("oom_score_adj")
            .and_then(|f| cx.whole(&f, -1000, 1000))
            .and_then(|n| i32::try_from(n).ok())
            .unwrap_or_default(),
    }
}

/// Set aside by placement, as `deploy.resources.reservations.memory` is, and the kernel's soft limit on top.
fn soft_limit(cx: &mut Context<'_>, field: &Field<'_>, deploy: &mut Deploy) -> Option<u64> {
    if is_zero(field) {
        return None;
    }
    let bytes = deploy::memory(cx, field, MEMORY_MIN_BYTES)?;
    if deploy.limits.memory_bytes.is_some_and(|limit| bytes > limit) {
        cx.problem(
            field.at,
            format!("`{}` sets aside more memory than the limit allows", field.path),
            "lower it, or raise the limit",
        );
    }
    let mut long = Some(deploy.reservations.memory_bytes).filter(|bytes| *bytes > 0);
    agree(cx, field, Some(bytes), &mut long, "deploy.resources.reservations.memory");
    deploy.reservations.memory_bytes = bytes;
    Some(bytes)
}

fn with_swap(cx: &mut Context<'_>, field: &Field<'_>, limit: Option<u64>) -> Option<i64> {
    if is_zero(field) {
        return None;
    }
    let Some(limit) = limit else {
        let message = format!("`{}` counts memory and swap together, and memory has no limit", field.path);
        cx.problem(field.at, message, "write `mem_limit` too");
        return None;
    };
    if matches!(&field.node.value, Value::Scalar(scalar) if scalar.text == "-1") {
        return Some(-1);
    }
    let bytes = bytes(cx, field)?;
    if bytes < limit {
        let message = format!("`{}` counts memory and swap together: it cannot be below the memory alone", field.path);
        cx.problem(field.at, message, "write at least what `mem_limit` says");
    }
    i64::try_from(bytes).ok()
}

fn bytes(cx: &mut Context<'_>, field: &Field<'_>) -> Option<u64> {
    cx.word(field, "a number of bytes", |s| words::bytes(&s.text))
}

fn cpu(cx: &mut Context<'_>, keys: &mut Fields<'_>, cpus_at: Option<&str>) -> CpuTuning {
    for key in ["cpu_period", "cpu_quota"] {
        if let (Some(field), Some(cpus)) = (keys.take(key), cpus_at) {
            let message = format!("`{}` and `{cpus}` limit the same thing", field.path);
            cx.problem(field.at, message, "keep one of them");
        }
    }
    let quota = keys.take("cpu_quota").and_then(|f| match &f.node.value {
        Value::Scalar(scalar) if scalar.text == "-1" => Some(-1),
        _ => micros(cx, &f, 1_000, i64::MAX as u64).and_then(|us| i64::try_from(us).ok()),
    });
    CpuTuning {
        shares: keys
            .take("cpu_shares")
            .and_then(|f| cx.whole(&f, 0, 262_144))
            .and_then(|n| u64::try_from(n).ok())
            .filter(|shares| *shares > 0),
        period_us: keys.take("cpu_period").and_then(|f| micros(cx, &f, 1_000, 1_000_000)),
        quota_us: quota,
        realtime_period_us: keys.take("cpu_rt_period").and_then(|f| micros(cx, &f, 1, i64::MAX as u64)),
        realtime_runtime_us: keys.take("cpu_rt_runtime").and_then(|f| micros(cx, &f, 1, i64::MAX as u64)),
        set: keys.take("cpuset").and_then(|f| cpu_set(cx, &f)),
    }
}

/// Microseconds: a number of them, or a duration. 0 is Docker's word for its default.
fn micros(cx: &mut Context<'_>, field: &Field<'_>, min: u64, max: u64) -> Option<u64> {
    let us = cx.word(field, "a duration, or a number of microseconds", |s| match words::whole::<u64>(&s.text) {
        Some(us) => Ok(us),
        None => words::duration_ms(&s.text).map(|ms| ms.saturating_mul(1_000)),
    })?;
    if us != 0 && !(min..=max).contains(&us) {
        let most = if max >= i64::MAX as u64 { String::new() } else { format!(" and at most {max}") };
        let message = format!("`{}`: {us} microseconds are out of range, at least {min}{most} are", field.path);
        cx.problem(field.node.at, message, "");
        return None;
    }
    Some(us).filter(|us| *us > 0)
}

fn cpu_set(cx: &mut Context<'_>, field: &Field<'_>) -> Option<String> {
    cx.word(field, "numbers of processors", |s| {
        let is_number = |n: &str| !n.is_empty() && n.len() < 6 && n.bytes().all(|b| b.is_ascii_digit());
        let is_part = |part: &str| part.split_once('-').map_or(is_number(part), |(a, b)| is_number(a) && is_number(b));
        match s.text.split(',').all(is_part) {
            true => Ok(s.text.clone()),
            false => Err("write them such as `0-3` or `0,2`".to_owned()),
        }
    })
}

fn ulimits(cx: &mut Context<'_>, field: &Field<'_>) -> BTreeMap<String, Ulimit> {
    let mut ulimits = BTreeMap::new();
    let Some(entries) = cx.map(field) else { return ulimits };
    for (name, field) in entries.all() {
        if !ULIMITS.contains(&name) {
            cx.undefined(field.at, "ulimit", name, "see `man setrlimit`", ULIMITS);
            continue;
        }
        if let Some(limit) = ulimit(cx, &field) {
            ulimits.insert(name.to_owned(), limit);
        }
    }
    ulimits
}

fn ulimit(cx: &mut Context<'_>, field: &Field<'_>) -> Option<Ulimit> {
    if let Value::Scalar(_) = field.node.value {
        let both = cx.whole(field, -1, i64::MAX)?;
        return Some(Ulimit { soft: both, hard: both });
    }
    let mut keys = cx.map_or(field, "a number, or a map with `soft` and `hard`")?;
    let (soft, hard) = (keys.take("soft"), keys.take("hard"));
    keys.finish(cx, &[]);
    let (Some(soft), Some(hard)) = (soft, hard) else {
        cx.problem(field.at, format!("`{}` needs both `soft` and `hard`", field.path), "write the missing one");
        return None;
    };
    let (soft, hard) = (cx.whole(&soft, -1, i64::MAX)?, cx.whole(&hard, -1, i64::MAX)?);
    if hard != -1 && (soft > hard || soft == -1) {
        cx.problem(field.at, format!("`{}`: soft {soft} is above hard {hard}", field.path), "raise `hard`");
        return None;
    }
    Some(Ulimit { soft, hard })
}

/// A map or a list of names and values, all with a value.
fn parameters(cx: &mut Context<'_>, field: &Field<'_>) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    for (name, value, at) in cx.pairs(field) {
        match value {
            Some(value) if !name.is_empty() => {
                parameters.insert(name, value);
            }
            _ => cx.problem(at, format!("`{}`: `{}` has no value", field.path, shorten(&name)), "write NAME: VALUE"),
        }
    }
    parameters
}

fn block_io(cx: &mut Context<'_>, field: &Field<'_>) -> BlockIo {
    let Some(mut keys) = cx.map(field) else { return BlockIo::default() };
    let weight = keys.take("weight").and_then(|f| cx.whole(&f, 0, 1_000)).and_then(|n| u32::try_from(n).ok());
    let block_io = BlockIo {
        weight: weight.filter(|weight| *weight > 0),
        weight_device: rates(cx, &mut keys, "weight_device", "weight"),
        read_bps: rates(cx, &mut keys, "device_read_bps", "rate"),
        write_bps: rates(cx, &mut keys, "device_write_bps", "rate"),
        read_iops: rates(cx, &mut keys, "device_read_iops", "rate"),
        write_iops: rates(cx, &mut keys, "device_write_iops", "rate"),
    };
    keys.finish(cx, &[]);
    block_io
}

fn rates(cx: &mut Context<'_>, keys: &mut Fields<'_>, key: &'static str, number: &'static str) -> Vec<DeviceRate> {
    let Some(field) = keys.take(key) else { return Vec::new() };
    let items = cx.list(&field).unwrap_or_default();
    items.iter().filter_map(|item| rate(cx, item, number)).collect()
}

fn rate(cx: &mut Context<'_>, item: &Field<'_>, number: &'static str) -> Option<DeviceRate> {
    let mut keys = cx.map(item)?;
    let (path, rate) = (keys.take("path"), keys.take(number));
    keys.finish(cx, &[]);
    let (Some(path), Some(rate)) = (path, rate) else {
        cx.problem(item.at, format!("`{}` needs `path` and `{number}`", item.path), "write the missing one");
        return None;
    };
    let (path_text, is_weight) = (cx.filled_text(&path)?.to_owned(), number == "weight");
    if !path_text.starts_with('/') {
        cx.mismatch(&path, "the path of a device, such as `/dev/sda`");
        return None;
    }
    let rate = if is_weight { u64::try_from(cx.whole(&rate, 10, 1_000)?).ok()? } else { bytes(cx, &rate)? };
    Some(DeviceRate { path: path_text, rate })
}
