//! Between our words and the engine's: what to make becomes request bodies, what it answers becomes what we saw.
//!
//! Pure: never talks to an engine, never reads a file or a clock. Called by `docker`.

pub mod image;
pub mod seen;
pub mod when;

use super::{CreateRequest, Identity, RuntimeError};
use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, Ipam, IpamConfig,
    Mount as DockerMount, MountBindOptions, MountTmpfsOptions, MountType, NetworkCreateRequest, NetworkingConfig,
    PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum, VolumeCreateRequest,
};
use proto::assignment::{Assignment, NodeNetwork};
use proto::label;
use proto::spec::{ContainerSpec, Mount, MountSource, VolumeSpec};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// Label of the one container that a task has today.
pub const MAIN_CONTAINER: &str = "main";
/// Where every container looks for its resolver.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Longest host name; the kernel takes 64, the engine checks for 63.
const HOSTNAME_MAX: usize = 63;
const CREATE: &str = "create a container";

/// What must be known of engine and image before a container's body can be written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Processors the engine has: it refuses a higher limit, though such a limit only means "all". 0: not known.
    pub cpus: u64,
    /// The image's entry point. Only asked for when the command is cleared: the engine takes the image's command
    /// unless an entry point is named.
    pub image_entrypoint: Option<Vec<String>>,
}

/// Whether `Facts::image_entrypoint` is needed for this container.
pub fn needs_image_entrypoint(spec: &ContainerSpec) -> bool {
    spec.entrypoint.is_none() && spec.command.as_ref().is_some_and(Vec::is_empty)
}

/// The reference to make a container from: the identity of what was built here, else the name as written.
pub fn image_reference(spec: &ContainerSpec) -> &str {
    if spec.image_id.is_empty() { &spec.image } else { &spec.image_id }
}

/// The body of "create a container". Nothing in it is privileged, and its restarts are ours, not the engine's.
///
/// # Errors
/// `Refused` when the request contradicts itself: a volume or file that the assignment does not carry.
pub fn create_body(request: &CreateRequest, facts: &Facts) -> Result<ContainerCreateBody, RuntimeError> {
    let assignment = &request.assignment;
    let spec = &*assignment.container;
    let entrypoint = match needs_image_entrypoint(spec) {
        // An empty word stands for "no entry point, and not the image's command either".
        true => Some(facts.image_entrypoint.clone().unwrap_or_else(|| vec![String::new()])),
        false => spec.entrypoint.clone(),
    };
    Ok(ContainerCreateBody {
        image: Some(image_reference(spec).to_owned()),
        entrypoint,
        cmd: spec.command.clone(),
        env: Some(spec.environment.iter().map(|(k, v)| format!("{k}={v}")).collect()),
        labels: Some(labels(request)),
        hostname: Some(hostname(assignment)),
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: Some(spec.stop_grace_ms.div_ceil(1000) as i64),
        exposed_ports: Some(exposed_ports(assignment)),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(host_config(request, facts)?),
        networking_config: Some(networking(request)),
        ..ContainerCreateBody::default()
    })
}

fn labels(request: &CreateRequest) -> HashMap<String, String> {
    let a = &request.assignment;
    let ours = [
        (label::LABELS, label::VERSION.to_owned()),
        (label::CLUSTER, request.identity.cluster.to_string()),
        (label::EPOCH, request.identity.epoch.0.to_string()),
        (label::NODE, request.identity.node.to_string()),
        (label::PROJECT, a.service.project.to_string()),
        (label::SERVICE, a.service.service.to_string()),
        (label::SLOT, a.slot.to_string()),
        (label::TASK, a.task.to_string()),
        (label::GENERATION, a.generation.to_string()),
        (label::CONTAINER, MAIN_CONTAINER.to_owned()),
        (label::SPEC_HASH, a.spec_hash.clone()),
    ];
    let theirs = a.container.labels.iter().filter(|(k, _)| !k.starts_with("wherry."));
    let theirs = theirs.map(|(k, v)| (k.clone(), v.clone()));
    theirs.chain(ours.into_iter().map(|(k, v)| (k.to_owned(), v))).collect()
}

/// As written, else `SERVICE-SLOT`, the service cut so that the slot stays readable.
fn hostname(assignment: &Assignment) -> String {
    if let Some(name) = &assignment.container.hostname {
        return name.clone();
    }
    let slot = format!("-{}", assignment.slot);
    let service: String = assignment.service.service.as_str().chars().take(HOSTNAME_MAX - slot.len()).collect();
    format!("{}{slot}", service.trim_end_matches(['-', '_']))
}

fn exposed_ports(assignment: &Assignment) -> Vec<String> {
    let expose = assignment.expose.iter().map(|p| format!("{}/{}", p.port, p.protocol.as_str()));
    let bound = assignment.host_ports.iter().map(|p| format!("{}/{}", p.target, p.protocol.as_str()));
    expose.chain(bound).collect::<BTreeSet<_>>().into_iter().collect()
}

fn host_config(request: &CreateRequest, facts: &Facts) -> Result<HostConfig, RuntimeError> {
    let spec = &*request.assignment.container;
    let mut mounts = Vec::new();
    let mut binds = Vec::new();
    for mount in &spec.mounts {
        match short_bind(mount) {
            Some(bind) => binds.push(bind),
            None => mounts.push(docker_mount(mount, &request.assignment)?),
        }
    }
    mounts.extend(file_mounts(request)?);
    Ok(HostConfig {
        binds: (!binds.is_empty()).then_some(binds),
        mounts: Some(mounts),
        network_mode: Some(request.identity.network_name()),
        port_bindings: Some(port_bindings(&request.assignment)),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        auto_remove: Some(false),
        privileged: Some(false),
        init: Some(spec.init),
        readonly_rootfs: Some(spec.read_only),
        nano_cpus: spec.limits.cpu_millis.map(|millis| nano_cpus(millis, facts.cpus)),
        memory: spec.limits.memory_bytes.map(clamped),
        pids_limit: spec.limits.pids,
        ..HostConfig::default()
    })
}

fn clamped(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The engine refuses less than a hundredth of a processor and more than it has.
fn nano_cpus(millis: u64, cpus: u64) -> i64 {
    let most = if cpus == 0 { u64::MAX } else { cpus.saturating_mul(1000) };
    clamped(millis.max(10).min(most).saturating_mul(1_000_000))
}

/// A host path in the engine's older form, the only one in which it makes the directory (before API 1.42).
/// That form cannot say a path with a colon.
fn short_bind(mount: &Mount) -> Option<String> {
    match &mount.source {
        MountSource::Bind { path, create: true, propagation: None }
            if !path.contains(':') && !mount.target.contains(':') =>
        {
            Some(format!("{path}:{}:{}", mount.target, if mount.read_only { "ro" } else { "rw" }))
        }
        _ => None,
    }
}

fn docker_mount(mount: &Mount, assignment: &Assignment) -> Result<DockerMount, RuntimeError> {
    let plain =
        DockerMount { target: Some(mount.target.clone()), read_only: Some(mount.read_only), ..DockerMount::default() };
    Ok(match &mount.source {
        MountSource::Volume { name, .. } => {
            let volume = volume_of(assignment, name)?;
            let source = Some(volume.name_in_docker(&assignment.service.project, name));
            DockerMount { typ: Some(MountType::VOLUME), source, ..plain }
        }
        MountSource::Anonymous => DockerMount { typ: Some(MountType::VOLUME), ..plain },
        MountSource::Bind { path, .. } => bind(path.clone(), plain),
        MountSource::Tmpfs { size_bytes, mode } => {
            let options = MountTmpfsOptions {
                size_bytes: size_bytes.map(clamped),
                mode: mode.map(i64::from),
                ..MountTmpfsOptions::default()
            };
            DockerMount { typ: Some(MountType::TMPFS), tmpfs_options: Some(options), ..plain }
        }
    })
}

fn bind(path: String, plain: DockerMount) -> DockerMount {
    let options = MountBindOptions::default();
    DockerMount { typ: Some(MountType::BIND), source: Some(path), bind_options: Some(options), ..plain }
}

fn volume_of<'a>(assignment: &'a Assignment, name: &str) -> Result<&'a VolumeSpec, RuntimeError> {
    assignment.volumes.get(name).ok_or_else(|| RuntimeError::Refused {
        call: CREATE,
        cause: format!("the assignment of {} mounts volume `{name}` but does not carry it", assignment.task),
    })
}

/// Configs, secrets and the resolver's address, all read-only. A user's own mount over `/etc/resolv.conf` wins.
fn file_mounts(request: &CreateRequest) -> Result<Vec<DockerMount>, RuntimeError> {
    let spec = &*request.assignment.container;
    if let Some(file) = spec.files.iter().find(|f| !request.files.contains_key(&f.target)) {
        let cause = format!("the content of `{}` for {} is not on this node yet", file.name, file.target);
        return Err(RuntimeError::Refused { call: CREATE, cause });
    }
    let taken = request.files.contains_key(RESOLV_CONF) || spec.mounts.iter().any(|m| m.target == RESOLV_CONF);
    let resolver = (!taken).then(|| (RESOLV_CONF.to_owned(), request.resolv_conf.clone()));
    let files = request.files.iter().map(|(target, path)| (target.clone(), path.clone()));
    Ok(files
        .chain(resolver)
        .map(|(target, path)| {
            let plain = DockerMount { target: Some(target), read_only: Some(true), ..DockerMount::default() };
            bind(path.to_string_lossy().into_owned(), plain)
        })
        .collect())
}

fn port_bindings(assignment: &Assignment) -> PortMap {
    let mut map = PortMap::new();
    for port in &assignment.host_ports {
        let host_ip = port.host_ip.map(|ip| ip.to_string());
        let host_port = Some(if port.published == 0 { String::new() } else { port.published.to_string() });
        let key = format!("{}/{}", port.target, port.protocol.as_str());
        map.entry(key).or_default().get_or_insert_default().push(PortBinding { host_ip, host_port });
    }
    map
}

fn networking(request: &CreateRequest) -> NetworkingConfig {
    let addresses = &request.assignment.addresses;
    let v4 = addresses.iter().find(|a| a.is_ipv4()).map(IpAddr::to_string);
    let v6 = addresses.iter().find(|a| a.is_ipv6()).map(IpAddr::to_string);
    let ipam_config = (!addresses.is_empty()).then_some(EndpointIpamConfig {
        ipv4_address: v4,
        ipv6_address: v6,
        link_local_ips: None,
    });
    let endpoint = EndpointSettings { ipam_config, ..EndpointSettings::default() };
    NetworkingConfig { endpoints_config: Some(HashMap::from([(request.identity.network_name(), endpoint)])) }
}

/// A named volume to have before the container is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedVolume {
    /// Its name in Docker.
    pub name: String,
    /// It must exist already; we never make it.
    pub external: bool,
    /// The manifest's name of it.
    pub key: String,
}

/// The named volumes a container mounts, each once.
///
/// # Errors
/// `Refused` when the assignment does not carry one of them.
pub fn wanted_volumes(assignment: &Assignment) -> Result<Vec<WantedVolume>, RuntimeError> {
    let mut wanted: Vec<WantedVolume> = Vec::new();
    for mount in &assignment.container.mounts {
        let MountSource::Volume { name: key, .. } = &mount.source else { continue };
        let volume = volume_of(assignment, key)?;
        let name = volume.name_in_docker(&assignment.service.project, key);
        if wanted.iter().all(|w| w.name != name) {
            wanted.push(WantedVolume { name, external: volume.external, key: key.clone() });
        }
    }
    Ok(wanted)
}

/// The body of "make a volume": labelled as ours and with the user's labels.
pub fn volume_body(identity: &Identity, assignment: &Assignment, wanted: &WantedVolume) -> VolumeCreateRequest {
    let user = assignment.volumes.get(&wanted.key).map(|v| v.labels.clone()).unwrap_or_default();
    let mut labels: HashMap<String, String> = user.into_iter().filter(|(k, _)| !k.starts_with("wherry.")).collect();
    labels.insert(label::LABELS.to_owned(), label::VERSION.to_owned());
    labels.insert(label::CLUSTER.to_owned(), identity.cluster.to_string());
    labels.insert(label::PROJECT.to_owned(), assignment.service.project.to_string());
    VolumeCreateRequest { name: Some(wanted.name.clone()), labels: Some(labels), ..VolumeCreateRequest::default() }
}

/// The engine's option that names a bridge's interface.
pub const BRIDGE_NAME_OPTION: &str = "com.docker.network.bridge.name";

/// The body of "make the node's network": a bridge with this subnet, with masquerading and traffic between containers.
pub fn network_body(identity: &Identity, network: &NodeNetwork) -> NetworkCreateRequest {
    let options = [
        (BRIDGE_NAME_OPTION, identity.bridge_name()),
        ("com.docker.network.bridge.enable_ip_masquerade", "true".to_owned()),
        ("com.docker.network.bridge.enable_icc", "true".to_owned()),
    ];
    let labels = [
        (label::LABELS, label::VERSION.to_owned()),
        (label::CLUSTER, identity.cluster.to_string()),
        (label::NODE, identity.node.to_string()),
    ];
    let owned = |pairs: [(&str, String); 3]| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let config = IpamConfig {
        subnet: Some(format!("{}/{}", network.subnet, network.prefix)),
        gateway: Some(network.gateway.to_string()),
        ..IpamConfig::default()
    };
    NetworkCreateRequest {
        name: identity.network_name(),
        driver: Some("bridge".to_owned()),
        ipam: Some(Ipam { driver: Some("default".to_owned()), config: Some(vec![config]), options: None }),
        options: Some(owned(options)),
        labels: Some(owned(labels)),
        ..NetworkCreateRequest::default()
    }
}

#[cfg(test)]
mod tests;
