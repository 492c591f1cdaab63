//! Between our words and the engine's: what to make becomes request bodies, what it answers becomes what we saw.
//!
//! Pure: never talks to an engine, never reads a file or a clock. Called by `docker`.

pub mod abilities;
pub mod image;
mod isolation;
mod kernel;
mod mounts;
pub mod seen;
pub mod when;

pub use mounts::{WantedVolume, volume_body, wanted_volumes};

use super::{CreateRequest, Identity, RuntimeError};
use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig, Ipam,
    IpamConfig, NetworkCreateRequest, NetworkingConfig, PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};
use proto::assignment::{Assignment, NodeNetwork};
use proto::label;
use proto::spec::{ContainerSpec, HostEntry, Logging, Namespace};
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
    /// What the node can do and allows.
    pub features: BTreeSet<String>,
    /// The engine's own socket, which no container may have without being allowed to.
    pub engine_socket: String,
}

/// Whether `Facts::image_entrypoint` is needed for this container.
pub fn needs_image_entrypoint(spec: &ContainerSpec) -> bool {
    spec.entrypoint.is_none() && spec.command.as_ref().is_some_and(Vec::is_empty)
}

/// The reference to make a container from: the identity of what was built here, else the name as written.
pub fn image_reference(spec: &ContainerSpec) -> &str {
    if spec.image_id.is_empty() { &spec.image } else { &spec.image_id }
}

/// The body of "create a container". Nothing in it opens the host but what the node allows, and its restarts are ours,
/// not the engine's.
///
/// # Errors
/// `Lacking` when the node does not allow it or its engine cannot do it; `Refused` when the request contradicts itself: a volume or file that the assignment does not carry.
pub fn create_body(request: &CreateRequest, facts: &Facts) -> Result<ContainerCreateBody, RuntimeError> {
    let assignment = &request.assignment;
    let spec = &*assignment.container;
    if let Some(lack) = proto::needs::lack(spec, &facts.features, &[&facts.engine_socket]) {
        return Err(RuntimeError::Lacking { lack });
    }
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
        hostname: (spec.isolation.uts != Namespace::Host).then(|| hostname(assignment)),
        domainname: spec.naming.domain.clone(),
        tty: spec.tty.then_some(true),
        open_stdin: spec.stdin_open.then_some(true),
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: Some(spec.stop_grace_ms.div_ceil(1000) as i64),
        exposed_ports: Some(exposed_ports(assignment)),
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(host_config(request, facts)?),
        networking_config: (!spec.isolation.no_network).then(|| networking(request)),
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
    let (binds, mounts) = mounts::all(request)?;
    let mut host = HostConfig {
        binds: (!binds.is_empty()).then_some(binds),
        mounts: Some(mounts),
        network_mode: Some(match spec.isolation.no_network {
            true => "none".to_owned(),
            false => request.identity.network_name(),
        }),
        port_bindings: Some(port_bindings(&request.assignment)),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        auto_remove: Some(false),
        init: Some(spec.init),
        readonly_rootfs: Some(spec.read_only),
        nano_cpus: spec.limits.cpu_millis.map(|millis| nano_cpus(millis, facts.cpus)),
        memory: spec.limits.memory_bytes.map(clamped),
        pids_limit: spec.limits.pids,
        tmpfs: kernel::some_map(&spec.tmpfs),
        extra_hosts: kernel::some(spec.naming.hosts.iter().map(|h| host_line(h, request))),
        log_config: log_config(&spec.logging),
        annotations: kernel::some_map(&spec.annotations),
        ..HostConfig::default()
    };
    kernel::fill(&spec.kernel, &mut host);
    isolation::fill(&spec.isolation, &mut host);
    Ok(host)
}

/// A line of `/etc/hosts` in the engine's form. Without an address it is the node's own on this network: the engine's
/// word `host-gateway` would mean its default bridge, which containers of ours are not on.
fn host_line(entry: &HostEntry, request: &CreateRequest) -> String {
    format!("{}:{}", entry.name, entry.address.unwrap_or(IpAddr::V4(request.network.gateway)))
}

fn log_config(logging: &Logging) -> Option<HostConfigLogConfig> {
    (*logging != Logging::default()).then(|| HostConfigLogConfig {
        // Empty: the engine's own default driver.
        typ: Some(logging.driver.clone().unwrap_or_default()),
        config: kernel::some_map(&logging.options),
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
