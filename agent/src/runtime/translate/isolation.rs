//! How far a container is kept apart from its host, in the engine's fields.
//!
//! Pure. Never judges whether the node allows it: `create_body` asked that before. What is not said is not sent.

use bollard::models::{DeviceMapping, HostConfig, HostConfigCgroupnsModeEnum};
use proto::spec::{Isolation, Namespace};

use super::kernel::some;

/// Not an option of the engine: its own client turns it into two empty lists.
const UNMASKED: &str = "systempaths=unconfined";

/// Adds what `isolation` says.
pub fn fill(isolation: &Isolation, host: &mut HostConfig) {
    host.privileged = Some(isolation.privileged);
    host.cap_add = some(isolation.cap_add.iter().cloned());
    host.cap_drop = some(isolation.cap_drop.iter().cloned());
    host.security_opt = some(isolation.security_opt.iter().filter(|o| *o != UNMASKED).cloned());
    if isolation.security_opt.iter().any(|o| o == UNMASKED) {
        host.masked_paths = Some(Vec::new());
        host.readonly_paths = Some(Vec::new());
    }
    host.devices = some(isolation.devices.iter().map(|d| DeviceMapping {
        path_on_host: Some(d.source.clone()),
        path_in_container: Some(d.target.clone()),
        cgroup_permissions: Some(d.permissions.clone()),
    }));
    host.device_cgroup_rules = some(isolation.device_cgroup_rules.iter().cloned());
    host.group_add = some(isolation.group_add.iter().cloned());
    host.pid_mode = mode(isolation.pid);
    host.ipc_mode = mode(isolation.ipc);
    host.uts_mode = mode(isolation.uts);
    host.userns_mode = mode(isolation.userns);
    host.cgroupns_mode = match isolation.cgroup {
        Namespace::Host => Some(HostConfigCgroupnsModeEnum::HOST),
        Namespace::Private => Some(HostConfigCgroupnsModeEnum::PRIVATE),
        Namespace::Default | Namespace::Shareable | Namespace::Absent => None,
    };
    host.cgroup_parent.clone_from(&isolation.cgroup_parent);
    host.runtime.clone_from(&isolation.runtime);
}

fn mode(namespace: Namespace) -> Option<String> {
    let word = match namespace {
        Namespace::Default => return None,
        Namespace::Private => "private",
        Namespace::Shareable => "shareable",
        Namespace::Absent => "none",
        Namespace::Host => "host",
    };
    Some(word.to_owned())
}
