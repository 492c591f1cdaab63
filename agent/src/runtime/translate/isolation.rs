//! How far a container is kept apart from its host, in the engine's fields.
//!
//! Pure. Never judges whether the node allows it: `create_body` asked that before. What is not said is not sent, but for two
//! things that every container is kept from unless it says otherwise: writing raw packets, and gaining privileges by a program.

use bollard::models::{DeviceMapping, HostConfig, HostConfigCgroupnsModeEnum};
use proto::needs::NET_RAW;
use proto::spec::{Isolation, Namespace};
use std::collections::BTreeSet;

use super::kernel::some;

/// Not an option of the engine: its own client turns it into two empty lists.
const UNMASKED: &str = "systempaths=unconfined";

/// A program that is started cannot have more privileges than who starts it, whatever its file says (setuid).
const NO_NEW_PRIVILEGES: &str = "no-new-privileges";

/// Adds what `isolation` says.
pub fn fill(isolation: &Isolation, host: &mut HostConfig) {
    host.privileged = Some(isolation.privileged);
    host.cap_add = some(isolation.cap_add.iter().cloned());
    let raw = (!keeps_raw_packets(isolation)).then(|| NET_RAW.to_owned());
    host.cap_drop = some(isolation.cap_drop.iter().cloned().chain(raw));
    let kept = isolation.security_opt.iter().filter(|o| *o != UNMASKED).cloned();
    let stays = (!may_gain_privileges(isolation)).then(|| NO_NEW_PRIVILEGES.to_owned());
    host.security_opt = some(kept.chain(stays));
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

/// Docker gives the right to write raw packets to every container: with it one speaks in the name of its neighbours on the
/// bridge. `ping` does without it.
fn keeps_raw_packets(isolation: &Isolation) -> bool {
    let named = |list: &BTreeSet<String>| list.iter().any(|c| c == NET_RAW || c == "ALL");
    isolation.privileged || named(&isolation.cap_add) || named(&isolation.cap_drop)
}

/// Whether the manifest has a word of its own about it. A privileged container has all there is to gain.
fn may_gain_privileges(isolation: &Isolation) -> bool {
    isolation.privileged || isolation.security_opt.iter().any(|option| option.starts_with(NO_NEW_PRIVILEGES))
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
