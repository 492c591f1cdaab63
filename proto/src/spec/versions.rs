//! Which version of State knows a spec: the newest among the fields that are written.
//!
//! Fields that came after the first version are not written while they have their default. One that this table does not
//! name asks for the newest version there is: forgetting it can hold a spec back, never let an older server misread it.

use serde_json::Value;

use super::ProjectSpec;

/// The newest version that a field of a spec can ask for: that of State.
pub const NEWEST: u32 = 8;

/// Fields by their path as written, in order, with the version that brought them. `*` is any key of a map, `[]` any
/// element of a list; what is below a path that ends here is the user's own.
const FIELDS: &[(&str, u32)] = &[
    ("name", 1),
    ("networks", 1),
    ("services.*.aliases", 2),
    ("services.*.container.annotations", 2),
    ("services.*.container.command", 1),
    ("services.*.container.container_name", 1),
    ("services.*.container.entrypoint", 1),
    ("services.*.container.environment", 1),
    ("services.*.container.files[].digest", 1),
    ("services.*.container.files[].gid", 1),
    ("services.*.container.files[].kind", 1),
    ("services.*.container.files[].mode", 1),
    ("services.*.container.files[].name", 1),
    ("services.*.container.files[].target", 1),
    ("services.*.container.files[].uid", 1),
    ("services.*.container.hostname", 1),
    ("services.*.container.image", 1),
    ("services.*.container.image_id", 1),
    ("services.*.container.init", 1),
    ("services.*.container.isolation.cap_add", 2),
    ("services.*.container.isolation.cap_drop", 2),
    ("services.*.container.isolation.cgroup", 2),
    ("services.*.container.isolation.cgroup_parent", 2),
    ("services.*.container.isolation.device_cgroup_rules", 2),
    ("services.*.container.isolation.devices[].permissions", 2),
    ("services.*.container.isolation.devices[].source", 2),
    ("services.*.container.isolation.devices[].target", 2),
    ("services.*.container.isolation.group_add", 2),
    ("services.*.container.isolation.ipc", 2),
    ("services.*.container.isolation.no_network", 2),
    ("services.*.container.isolation.pid", 2),
    ("services.*.container.isolation.privileged", 2),
    ("services.*.container.isolation.runtime", 2),
    ("services.*.container.isolation.security_opt", 2),
    ("services.*.container.isolation.userns", 2),
    ("services.*.container.isolation.uts", 2),
    ("services.*.container.kernel.block_io.read_bps[].path", 2),
    ("services.*.container.kernel.block_io.read_bps[].rate", 2),
    ("services.*.container.kernel.block_io.read_iops[].path", 2),
    ("services.*.container.kernel.block_io.read_iops[].rate", 2),
    ("services.*.container.kernel.block_io.weight", 2),
    ("services.*.container.kernel.block_io.weight_device[].path", 2),
    ("services.*.container.kernel.block_io.weight_device[].rate", 2),
    ("services.*.container.kernel.block_io.write_bps[].path", 2),
    ("services.*.container.kernel.block_io.write_bps[].rate", 2),
    ("services.*.container.kernel.block_io.write_iops[].path", 2),
    ("services.*.container.kernel.block_io.write_iops[].rate", 2),
    ("services.*.container.kernel.cpu.period_us", 2),
    ("services.*.container.kernel.cpu.quota_us", 2),
    ("services.*.container.kernel.cpu.realtime_period_us", 2),
    ("services.*.container.kernel.cpu.realtime_runtime_us", 2),
    ("services.*.container.kernel.cpu.set", 2),
    ("services.*.container.kernel.cpu.shares", 2),
    ("services.*.container.kernel.memory.oom_kill_disable", 2),
    ("services.*.container.kernel.memory.oom_score_adj", 2),
    ("services.*.container.kernel.memory.shm_bytes", 2),
    ("services.*.container.kernel.memory.soft_limit_bytes", 2),
    ("services.*.container.kernel.memory.swappiness", 2),
    ("services.*.container.kernel.memory.with_swap_bytes", 2),
    ("services.*.container.kernel.storage_opt", 2),
    ("services.*.container.kernel.sysctls", 2),
    ("services.*.container.kernel.ulimits.*.hard", 2),
    ("services.*.container.kernel.ulimits.*.soft", 2),
    ("services.*.container.labels", 1),
    ("services.*.container.limits.cpu_millis", 1),
    ("services.*.container.limits.memory_bytes", 1),
    ("services.*.container.limits.pids", 1),
    ("services.*.container.logging.driver", 2),
    ("services.*.container.logging.options", 2),
    ("services.*.container.mounts[].read_only", 1),
    ("services.*.container.mounts[].source", 1),
    ("services.*.container.mounts[].source.bind.create", 1),
    ("services.*.container.mounts[].source.bind.path", 1),
    ("services.*.container.mounts[].source.bind.propagation", 2),
    ("services.*.container.mounts[].source.tmpfs.mode", 1),
    ("services.*.container.mounts[].source.tmpfs.size_bytes", 1),
    ("services.*.container.mounts[].source.volume.name", 1),
    ("services.*.container.mounts[].source.volume.nocopy", 2),
    ("services.*.container.mounts[].source.volume.subpath", 2),
    ("services.*.container.mounts[].target", 1),
    ("services.*.container.naming.domain", 2),
    ("services.*.container.naming.hosts[].address", 2),
    ("services.*.container.naming.hosts[].name", 2),
    ("services.*.container.naming.options", 2),
    ("services.*.container.naming.search", 2),
    ("services.*.container.naming.servers", 2),
    ("services.*.container.platform", 2),
    ("services.*.container.pull", 1),
    ("services.*.container.read_only", 1),
    ("services.*.container.stdin_open", 2),
    ("services.*.container.stop_grace_ms", 1),
    ("services.*.container.stop_signal", 1),
    ("services.*.container.tmpfs", 2),
    ("services.*.container.tty", 2),
    ("services.*.container.user", 1),
    ("services.*.container.working_dir", 1),
    ("services.*.depends_on.*.condition", 1),
    ("services.*.depends_on.*.required", 1),
    ("services.*.drain_ms", 2),
    ("services.*.expose[].port", 1),
    ("services.*.expose[].protocol", 1),
    ("services.*.health", 1),
    ("services.*.health.check.interval_ms", 1),
    ("services.*.health.check.probe.exec.argv", 1),
    ("services.*.health.check.probe.http.path", 1),
    ("services.*.health.check.probe.http.port", 1),
    ("services.*.health.check.probe.tcp.port", 1),
    ("services.*.health.check.retries", 1),
    ("services.*.health.check.start_interval_ms", 1),
    ("services.*.health.check.start_period_ms", 1),
    ("services.*.health.check.timeout_ms", 1),
    ("services.*.labels", 2),
    ("services.*.mode", 4),
    ("services.*.networks", 1),
    ("services.*.placement.constraints[].attribute", 2),
    ("services.*.placement.constraints[].equal", 2),
    ("services.*.placement.constraints[].value", 2),
    ("services.*.placement.max_per_node", 2),
    ("services.*.placement.spread", 2),
    ("services.*.ports[].host_ip", 1),
    ("services.*.ports[].mode", 1),
    ("services.*.ports[].name", 1),
    ("services.*.ports[].protocol", 1),
    ("services.*.ports[].published", 1),
    ("services.*.ports[].target", 1),
    ("services.*.replicas", 1),
    ("services.*.reservations.cpu_millis", 1),
    ("services.*.reservations.memory_bytes", 1),
    ("services.*.restart", 1),
    ("services.*.restart.on_failure.max", 1),
    ("services.*.rollback.deadline_ms", 2),
    ("services.*.rollback.delay_ms", 2),
    ("services.*.rollback.max_failures_per_mille", 2),
    ("services.*.rollback.monitor_ms", 2),
    ("services.*.rollback.on_failure", 2),
    ("services.*.rollback.order", 2),
    ("services.*.rollback.parallelism", 2),
    ("services.*.update.deadline_ms", 2),
    ("services.*.update.delay_ms", 2),
    ("services.*.update.max_failures_per_mille", 2),
    ("services.*.update.monitor_ms", 2),
    ("services.*.update.on_failure", 2),
    ("services.*.update.order", 2),
    ("services.*.update.parallelism", 2),
    ("volumes.*.docker_name", 1),
    ("volumes.*.external", 1),
    ("volumes.*.labels", 1),
];

/// The version that knows all fields that a project's spec writes.
pub(super) fn needed(spec: &ProjectSpec) -> u32 {
    match serde_json::to_value(spec) {
        Ok(written) => needed_by(&written, &mut String::new()),
        Err(_) => NEWEST,
    }
}

fn needed_by(value: &Value, path: &mut String) -> u32 {
    let end = path.len();
    let mut newest = 0;
    match value {
        Value::Object(fields) if !below(path, '.').is_empty() || path.is_empty() => {
            for (key, inner) in fields {
                join(path, key);
                newest = newest.max(needed_by(inner, path));
                path.truncate(end);
            }
        }
        Value::Array(elements) if !below(path, '[').is_empty() => {
            path.push_str("[]");
            newest = elements.iter().map(|element| needed_by(element, path)).max().unwrap_or(0);
            path.truncate(end);
        }
        _ => return of_leaf(path),
    }
    // An empty map or list says as much as its first field.
    if newest > 0 { newest } else { first_below(path) }
}

/// Adds a field of a struct, or the key of a map.
fn join(path: &mut String, key: &str) {
    let end = path.len();
    if end > 0 {
        path.push('.');
    }
    path.push_str(key);
    if end > 0 && of_path(path).is_none() && below(path, '.').is_empty() && below(path, '[').is_empty() {
        let above = &path[..end];
        if below(above, '.').iter().any(|(field, _)| field[end..].starts_with(".*")) {
            path.truncate(end);
            path.push_str(".*");
        }
    }
}

/// A word, a number, nothing, or what is the user's own.
fn of_leaf(path: &str) -> u32 {
    of_path(path).unwrap_or_else(|| first_below(path))
}

fn of_path(path: &str) -> Option<u32> {
    FIELDS.binary_search_by(|(field, _)| (*field).cmp(path)).ok().map(|at| FIELDS[at].1)
}

fn first_below(path: &str) -> u32 {
    let versions = below(path, '.').iter().chain(below(path, '[')).map(|(_, version)| *version);
    versions.min().unwrap_or(NEWEST)
}

/// The fields inside a struct or map (`.`) or a list (`[`).
fn below(path: &str, opens: char) -> &'static [(&'static str, u32)] {
    let is_inside = |field: &str| field.strip_prefix(path).is_some_and(|rest| rest.starts_with(opens));
    let from = FIELDS.partition_point(|(field, _)| *field <= path);
    // What is between the path and its inside are names that begin as it does.
    let from =
        from + FIELDS[from..].iter().take_while(|(field, _)| field.starts_with(path) && !is_inside(field)).count();
    let count = FIELDS[from..].iter().take_while(|(field, _)| is_inside(field)).count();
    &FIELDS[from..from + count]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::tests::{check, first_container, project};
    use crate::spec::{HealthSpec, Probe, RestartPolicy};
    use std::collections::BTreeSet;
    use std::sync::Arc;

    /// One with every field, one with what the first version knew, and one for each way to write a field.
    fn samples() -> Vec<ProjectSpec> {
        let whole = project();
        let with = |restart: RestartPolicy, health: HealthSpec| {
            let mut spec = whole.clone();
            for service in spec.services.values_mut() {
                *service = super::super::ServiceSpec {
                    container: Arc::new(first_container()),
                    restart,
                    health: health.clone(),
                    ..super::super::ServiceSpec::default()
                };
            }
            spec
        };
        let exec = Probe::Exec { argv: vec!["/check".to_owned()] };
        vec![
            whole.clone(),
            with(RestartPolicy::No, HealthSpec::FromImage),
            with(RestartPolicy::Always, check(exec)),
            with(RestartPolicy::Always, check(Probe::Tcp { port: 1 })),
        ]
    }

    /// Every path that is written, with all the keys of maps alike.
    fn written(value: &Value, path: &mut String, all: &mut BTreeSet<String>) {
        let end = path.len();
        match value {
            Value::Object(fields) if !below(path, '.').is_empty() || path.is_empty() => {
                for (key, inner) in fields {
                    join(path, key);
                    written(inner, path, all);
                    path.truncate(end);
                }
            }
            Value::Array(elements) if !below(path, '[').is_empty() => {
                path.push_str("[]");
                for element in elements {
                    written(element, path, all);
                }
                path.truncate(end);
            }
            _ => drop(all.insert(path.clone())),
        }
    }

    fn all_written() -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        for spec in samples() {
            let value = serde_json::to_value(&spec).expect("a spec can be written");
            written(&value, &mut String::new(), &mut all);
        }
        all
    }

    #[test]
    fn the_table_is_in_order_and_names_every_field_that_is_written() {
        let table: BTreeSet<String> = FIELDS.iter().map(|(field, _)| (*field).to_owned()).collect();
        let all = all_written();
        let forgotten: Vec<&String> = all.difference(&table).collect();
        assert!(forgotten.is_empty(), "say in FIELDS which version brought them: {forgotten:#?}");
        let stale: Vec<&String> = table.difference(&all).collect();
        assert!(stale.is_empty(), "nobody writes them: {stale:#?}");
        assert!(FIELDS.is_sorted_by(|a, b| a.0 < b.0), "in order, each once");
        assert!(FIELDS.iter().all(|(_, version)| (1..=NEWEST).contains(version)));
    }

    /// The samples would not write a field that nobody gave them.
    #[test]
    fn the_samples_write_every_field_that_is_declared() {
        let all = all_written();
        let segments: BTreeSet<&str> = all.iter().flat_map(|path| path.split(['.', '[', ']'])).collect();
        let sources = [
            include_str!("../spec.rs"),
            include_str!("container.rs"),
            include_str!("isolation.rs"),
            include_str!("kernel.rs"),
        ];
        let declared: Vec<&str> = sources.iter().flat_map(|text| fields(text)).collect();
        assert!(declared.len() > 100, "only {} fields were found", declared.len());
        let missing: Vec<&&str> = declared.iter().filter(|name| !segments.contains(**name)).collect();
        assert!(missing.is_empty(), "give them to convert/samples.rs: {missing:?}");
    }

    /// The names of fields in the declarations of a source.
    fn fields(text: &str) -> Vec<&str> {
        let mut names = Vec::new();
        let mut inside = false;
        for line in text.lines() {
            match line {
                _ if line.starts_with("pub struct ") || line.starts_with("pub enum ") => inside = line.ends_with('{'),
                "}" => inside = false,
                _ => {}
            }
            let line = line.trim();
            let line = line.strip_prefix("pub ").unwrap_or(line);
            if let Some((name, _)) = line.split_once(": ").filter(|_| inside && line.ends_with(','))
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
            {
                names.push(name);
            }
        }
        names
    }

    #[test]
    fn what_is_inside_counts() {
        let all = samples();
        // The newest field of a spec is a global service's mode.
        assert_eq!((needed(&all[0]), needed(&all[1])), (4, 1));
        let with = |change: &dyn Fn(&mut crate::spec::Mount)| {
            let mut spec = all[1].clone();
            for service in spec.services.values_mut() {
                Arc::make_mut(&mut service.container).mounts.iter_mut().for_each(change);
            }
            needed(&spec)
        };
        let nocopy = |mount: &mut crate::spec::Mount| {
            if let crate::spec::MountSource::Volume { nocopy, .. } = &mut mount.source {
                *nocopy = true;
            }
        };
        assert_eq!((with(&|_| {}), with(&nocopy)), (1, 2), "a field of a mount came with version 2");
    }

    #[test]
    fn a_field_that_nobody_named_needs_the_newest() {
        let of = |path: &str, value: Value| needed_by(&value, &mut path.to_owned());
        assert_eq!(of("services.*.container.image", Value::from("a")), 1);
        assert_eq!(of("services.*.container.mounts[].forgotten", Value::from(true)), NEWEST);
        assert_eq!(of("services.*.forgotten", serde_json::json!({"inside": 1})), NEWEST);
        assert_eq!(of("services.*.ports", serde_json::json!([])), 1);
    }
}
