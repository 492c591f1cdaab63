//! Containers to the wire and back: what they are made from, what they mount, how they are kept apart.
//!
//! Never fills in a default, but for fields that came after the first version: their absence means what it meant before
//! they were there. Called by `convert::spec`.

use super::spec::{number_or_default, or_default};
use super::{
    ConvertError, blob_digest, enumerated, list_from, list_to, map_from, map_to, parsed, parsed_list, required, texts,
};
use crate::spec::{
    BlobKind, BlockIo, ContainerSpec, CpuTuning, Device, DeviceRate, FileMount, HostEntry, Isolation, Kernel, Limits,
    Logging, MemoryTuning, Mount, MountSource, Namespace, Naming, PullPolicy, Ulimit,
};
use crate::v1;

enumeration!(PullPolicy { Missing, Always, Never });
enumeration!(BlobKind { Config, Secret });
enumeration!(Namespace { Default, Private, Shareable, Absent, Host });

/// A part that the first version did not have: its default is not said.
fn said<'a, T: Default + PartialEq, W: From<&'a T>>(part: &'a T) -> Option<W> {
    (*part != T::default()).then(|| W::from(part))
}

impl From<&ContainerSpec> for v1::ContainerSpec {
    fn from(c: &ContainerSpec) -> Self {
        let list = |items: &Option<Vec<String>>| items.clone().map(|items| v1::StringList { items });
        v1::ContainerSpec {
            image: c.image.clone(),
            image_id: c.image_id.clone(),
            pull: c.pull.into(),
            command: list(&c.command),
            entrypoint: list(&c.entrypoint),
            environment: c.environment.clone(),
            labels: c.labels.clone(),
            hostname: c.hostname.clone(),
            container_name: c.container_name.clone(),
            user: c.user.clone(),
            working_dir: c.working_dir.clone(),
            stop_grace_ms: c.stop_grace_ms,
            stop_signal: c.stop_signal.clone(),
            init: c.init,
            read_only: c.read_only,
            mounts: list_to(&c.mounts),
            files: list_to(&c.files),
            limits: Some((&c.limits).into()),
            platform: c.platform.clone(),
            tty: c.tty,
            stdin_open: c.stdin_open,
            tmpfs: c.tmpfs.clone(),
            kernel: said(&c.kernel),
            isolation: said(&c.isolation),
            naming: said(&c.naming),
            logging: said(&c.logging),
            annotations: c.annotations.clone(),
        }
    }
}

impl TryFrom<v1::ContainerSpec> for ContainerSpec {
    type Error = ConvertError;
    fn try_from(w: v1::ContainerSpec) -> Result<Self, ConvertError> {
        Ok(ContainerSpec {
            image: w.image,
            image_id: w.image_id,
            pull: enumerated("pull", w.pull)?,
            command: w.command.map(|list| list.items),
            entrypoint: w.entrypoint.map(|list| list.items),
            environment: w.environment,
            labels: w.labels,
            hostname: w.hostname,
            container_name: w.container_name,
            user: w.user,
            working_dir: w.working_dir,
            stop_grace_ms: w.stop_grace_ms,
            stop_signal: w.stop_signal,
            init: w.init,
            read_only: w.read_only,
            mounts: list_from("mounts", w.mounts)?,
            files: list_from("files", w.files)?,
            limits: required("limits", w.limits)?,
            platform: w.platform,
            tty: w.tty,
            stdin_open: w.stdin_open,
            tmpfs: w.tmpfs,
            kernel: or_default("kernel", w.kernel)?,
            isolation: or_default("isolation", w.isolation)?,
            naming: or_default("naming", w.naming)?,
            logging: or_default("logging", w.logging)?,
            annotations: w.annotations,
        })
    }
}

impl From<&Mount> for v1::Mount {
    fn from(m: &Mount) -> Self {
        use v1::mount::{Anonymous, Bind, Source, Tmpfs};
        let mut wire = v1::Mount { target: m.target.clone(), read_only: m.read_only, ..v1::Mount::default() };
        wire.source = Some(match &m.source {
            MountSource::Volume { name, nocopy, subpath } => {
                wire.nocopy = *nocopy;
                wire.subpath.clone_from(subpath);
                Source::Volume(name.clone())
            }
            MountSource::Anonymous => Source::Anonymous(Anonymous {}),
            MountSource::Bind { path, create, propagation } => {
                Source::Bind(Bind { path: path.clone(), create: *create, propagation: propagation.clone() })
            }
            MountSource::Tmpfs { size_bytes, mode } => Source::Tmpfs(Tmpfs { size_bytes: *size_bytes, mode: *mode }),
        });
        wire
    }
}

impl TryFrom<v1::Mount> for Mount {
    type Error = ConvertError;
    fn try_from(w: v1::Mount) -> Result<Self, ConvertError> {
        use v1::mount::Source;
        let source = match w.source.ok_or_else(|| ConvertError::new("is missing").under("source"))? {
            Source::Volume(name) => MountSource::Volume { name, nocopy: w.nocopy, subpath: w.subpath },
            Source::Anonymous(_) => MountSource::Anonymous,
            Source::Bind(v1::mount::Bind { path, create, propagation }) => {
                MountSource::Bind { path, create, propagation }
            }
            Source::Tmpfs(tmpfs) => MountSource::Tmpfs { size_bytes: tmpfs.size_bytes, mode: tmpfs.mode },
        };
        Ok(Mount { source, target: w.target, read_only: w.read_only })
    }
}

impl From<&FileMount> for v1::FileMount {
    fn from(f: &FileMount) -> Self {
        v1::FileMount {
            kind: f.kind.into(),
            name: f.name.clone(),
            digest: f.digest.to_string(),
            target: f.target.clone(),
            uid: f.uid,
            gid: f.gid,
            mode: f.mode,
        }
    }
}

impl TryFrom<v1::FileMount> for FileMount {
    type Error = ConvertError;
    fn try_from(w: v1::FileMount) -> Result<Self, ConvertError> {
        Ok(FileMount {
            kind: enumerated("kind", w.kind)?,
            name: w.name,
            digest: blob_digest("digest", w.digest)?,
            target: w.target,
            uid: w.uid,
            gid: w.gid,
            mode: w.mode,
        })
    }
}

impl From<&Limits> for v1::Limits {
    fn from(l: &Limits) -> Self {
        v1::Limits { cpu_millis: l.cpu_millis, memory_bytes: l.memory_bytes, pids: l.pids }
    }
}

impl TryFrom<v1::Limits> for Limits {
    type Error = ConvertError;
    fn try_from(w: v1::Limits) -> Result<Self, ConvertError> {
        Ok(Limits { cpu_millis: w.cpu_millis, memory_bytes: w.memory_bytes, pids: w.pids })
    }
}

impl From<&Kernel> for v1::Kernel {
    fn from(k: &Kernel) -> Self {
        v1::Kernel {
            memory_soft_limit_bytes: k.memory.soft_limit_bytes,
            memory_with_swap_bytes: k.memory.with_swap_bytes,
            memory_swappiness: k.memory.swappiness,
            shm_bytes: k.memory.shm_bytes,
            oom_kill_disable: k.memory.oom_kill_disable,
            oom_score_adj: k.memory.oom_score_adj,
            cpu_shares: k.cpu.shares,
            cpu_period_us: k.cpu.period_us,
            cpu_quota_us: k.cpu.quota_us,
            cpu_realtime_period_us: k.cpu.realtime_period_us,
            cpu_realtime_runtime_us: k.cpu.realtime_runtime_us,
            cpu_set: k.cpu.set.clone(),
            block_io: said(&k.block_io),
            ulimits: map_to(&k.ulimits),
            sysctls: k.sysctls.clone(),
            storage_opt: k.storage_opt.clone(),
        }
    }
}

impl TryFrom<v1::Kernel> for Kernel {
    type Error = ConvertError;
    fn try_from(w: v1::Kernel) -> Result<Self, ConvertError> {
        Ok(Kernel {
            memory: MemoryTuning {
                soft_limit_bytes: w.memory_soft_limit_bytes,
                with_swap_bytes: w.memory_with_swap_bytes,
                swappiness: w.memory_swappiness,
                shm_bytes: w.shm_bytes,
                oom_kill_disable: w.oom_kill_disable,
                oom_score_adj: w.oom_score_adj,
            },
            cpu: CpuTuning {
                shares: w.cpu_shares,
                period_us: w.cpu_period_us,
                quota_us: w.cpu_quota_us,
                realtime_period_us: w.cpu_realtime_period_us,
                realtime_runtime_us: w.cpu_realtime_runtime_us,
                set: w.cpu_set,
            },
            block_io: or_default("block_io", w.block_io)?,
            ulimits: map_from("ulimits", w.ulimits)?,
            sysctls: w.sysctls,
            storage_opt: w.storage_opt,
        })
    }
}

impl From<&BlockIo> for v1::BlockIo {
    fn from(b: &BlockIo) -> Self {
        v1::BlockIo {
            weight: b.weight,
            weight_device: list_to(&b.weight_device),
            read_bps: list_to(&b.read_bps),
            write_bps: list_to(&b.write_bps),
            read_iops: list_to(&b.read_iops),
            write_iops: list_to(&b.write_iops),
        }
    }
}

impl TryFrom<v1::BlockIo> for BlockIo {
    type Error = ConvertError;
    fn try_from(w: v1::BlockIo) -> Result<Self, ConvertError> {
        Ok(BlockIo {
            weight: w.weight,
            weight_device: list_from("weight_device", w.weight_device)?,
            read_bps: list_from("read_bps", w.read_bps)?,
            write_bps: list_from("write_bps", w.write_bps)?,
            read_iops: list_from("read_iops", w.read_iops)?,
            write_iops: list_from("write_iops", w.write_iops)?,
        })
    }
}

impl From<&DeviceRate> for v1::DeviceRate {
    fn from(d: &DeviceRate) -> Self {
        v1::DeviceRate { path: d.path.clone(), rate: d.rate }
    }
}

impl TryFrom<v1::DeviceRate> for DeviceRate {
    type Error = ConvertError;
    fn try_from(w: v1::DeviceRate) -> Result<Self, ConvertError> {
        Ok(DeviceRate { path: w.path, rate: w.rate })
    }
}

impl From<&Ulimit> for v1::Ulimit {
    fn from(u: &Ulimit) -> Self {
        v1::Ulimit { soft: u.soft, hard: u.hard }
    }
}

impl TryFrom<v1::Ulimit> for Ulimit {
    type Error = ConvertError;
    fn try_from(w: v1::Ulimit) -> Result<Self, ConvertError> {
        Ok(Ulimit { soft: w.soft, hard: w.hard })
    }
}

impl From<&Isolation> for v1::Isolation {
    fn from(i: &Isolation) -> Self {
        v1::Isolation {
            privileged: i.privileged,
            cap_add: texts(&i.cap_add),
            cap_drop: texts(&i.cap_drop),
            security_opt: i.security_opt.clone(),
            devices: list_to(&i.devices),
            device_cgroup_rules: i.device_cgroup_rules.clone(),
            group_add: i.group_add.clone(),
            pid: i.pid.into(),
            ipc: i.ipc.into(),
            uts: i.uts.into(),
            userns: i.userns.into(),
            cgroup: i.cgroup.into(),
            cgroup_parent: i.cgroup_parent.clone(),
            no_network: i.no_network,
            runtime: i.runtime.clone(),
        }
    }
}

impl TryFrom<v1::Isolation> for Isolation {
    type Error = ConvertError;
    fn try_from(w: v1::Isolation) -> Result<Self, ConvertError> {
        Ok(Isolation {
            privileged: w.privileged,
            cap_add: w.cap_add.into_iter().collect(),
            cap_drop: w.cap_drop.into_iter().collect(),
            security_opt: w.security_opt,
            devices: list_from("devices", w.devices)?,
            device_cgroup_rules: w.device_cgroup_rules,
            group_add: w.group_add,
            pid: number_or_default("pid", w.pid)?,
            ipc: number_or_default("ipc", w.ipc)?,
            uts: number_or_default("uts", w.uts)?,
            userns: number_or_default("userns", w.userns)?,
            cgroup: number_or_default("cgroup", w.cgroup)?,
            cgroup_parent: w.cgroup_parent,
            no_network: w.no_network,
            runtime: w.runtime,
        })
    }
}

impl From<&Device> for v1::Device {
    fn from(d: &Device) -> Self {
        v1::Device { source: d.source.clone(), target: d.target.clone(), permissions: d.permissions.clone() }
    }
}

impl TryFrom<v1::Device> for Device {
    type Error = ConvertError;
    fn try_from(w: v1::Device) -> Result<Self, ConvertError> {
        Ok(Device { source: w.source, target: w.target, permissions: w.permissions })
    }
}

impl From<&Naming> for v1::Naming {
    fn from(n: &Naming) -> Self {
        v1::Naming {
            servers: texts(&n.servers),
            search: n.search.clone(),
            options: n.options.clone(),
            domain: n.domain.clone(),
            hosts: list_to(&n.hosts),
        }
    }
}

impl TryFrom<v1::Naming> for Naming {
    type Error = ConvertError;
    fn try_from(w: v1::Naming) -> Result<Self, ConvertError> {
        Ok(Naming {
            servers: parsed_list("servers", &w.servers)?,
            search: w.search,
            options: w.options,
            domain: w.domain,
            hosts: list_from("hosts", w.hosts)?,
        })
    }
}

impl From<&HostEntry> for v1::HostEntry {
    fn from(h: &HostEntry) -> Self {
        v1::HostEntry { name: h.name.clone(), address: h.address.map(|ip| ip.to_string()) }
    }
}

impl TryFrom<v1::HostEntry> for HostEntry {
    type Error = ConvertError;
    fn try_from(w: v1::HostEntry) -> Result<Self, ConvertError> {
        Ok(HostEntry { name: w.name, address: w.address.map(|ip| parsed("address", &ip)).transpose()? })
    }
}

impl From<&Logging> for v1::Logging {
    fn from(l: &Logging) -> Self {
        v1::Logging { driver: l.driver.clone(), options: l.options.clone() }
    }
}

impl TryFrom<v1::Logging> for Logging {
    type Error = ConvertError;
    fn try_from(w: v1::Logging) -> Result<Self, ConvertError> {
        Ok(Logging { driver: w.driver, options: w.options })
    }
}
