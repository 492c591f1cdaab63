//! What a container needs of its node beyond the ordinary: what the node's own policy must allow, and what its engine and
//! its agent must be able to do.
//!
//! Pure judgement, said once for all: placement asks it of the features a node announces, and the agent asks it again
//! before it makes a container, because the decision is the node's. Never looks at a host: paths are taken by the letter.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::spec::{ContainerSpec, Isolation, Mount, MountSource, Namespace};

/// What a container has without asking: Docker's default set but NET_RAW, with which it could speak as its neighbours.
const DEFAULT_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Lets a process write packets of any kind and sender, ARP too: dropped unless it is asked for and allowed.
pub const NET_RAW: &str = "NET_RAW";

/// Sockets by which a container could have any other container made, a privileged one too.
const ENGINE_SOCKETS: [&str; 4] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/var/run/containerd/containerd.sock",
    "/run/containerd/containerd.sock",
];

/// Something that only a node itself can allow (`agent --allow`). By default it allows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// `privileged: true`.
    Privileged,
    /// `devices`, `device_cgroup_rules`.
    Devices,
    /// `cap_add` beyond Docker's default set.
    Capabilities,
    /// `cap_add: [NET_RAW]`; `Capabilities` allows it, too.
    NetRaw,
    /// `security_opt` that may take protection away.
    SecurityOpt,
    /// A mount of any path of the host.
    HostPaths,
    /// A mount by which the engine's socket can be reached.
    EngineSocket,
    /// `pid: host`.
    HostPid,
    /// `ipc: host`.
    HostIpc,
    /// `uts: host`.
    HostUts,
    /// `userns_mode: host`.
    HostUserns,
    /// `cgroup: host`.
    HostCgroup,
}

/// Something that not every agent or engine can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ability {
    /// The agent knows the keys of a container that came after the first version; an earlier one would overlook them.
    ContainerKeys,
    /// The engine mounts a part of a volume: Docker Engine 26.0 (API 1.45).
    VolumeSubpath,
    /// The engine passes annotations to its runtime: Docker Engine 24.0 (API 1.43).
    Annotations,
}

/// What a node lacks for a container. Its text says so in one sentence, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// The node's policy does not allow it: what is asked for, in the manifest's words, and what must be allowed.
    Permission(Vec<(Permission, String)>),
    /// Its engine or its agent cannot do it.
    Ability(Ability),
}

/// What a node with these features lacks for a container; `None`: nothing. `sockets`: further ones of its engine.
pub fn lack(container: &ContainerSpec, features: &BTreeSet<String>, sockets: &[&str]) -> Option<Lack> {
    let has = |feature: &str| features.contains(feature);
    let allows = |permission: Permission| {
        has(permission.feature()) || permission == Permission::NetRaw && has(Permission::Capabilities.feature())
    };
    let denied: Vec<_> = asks(container, sockets).into_iter().filter(|(permission, _)| !allows(*permission)).collect();
    if !denied.is_empty() {
        return Some(Lack::Permission(denied));
    }
    abilities(container).into_iter().find(|ability| !has(ability.feature())).map(Lack::Ability)
}

/// What the container asks for that a node must allow, in the manifest's words.
pub fn asks(container: &ContainerSpec, sockets: &[&str]) -> Vec<(Permission, String)> {
    let mut asks = Vec::new();
    if container.isolation != Isolation::default() {
        isolation(&container.isolation, &mut asks);
    }
    for mount in &container.mounts {
        let MountSource::Bind { path, .. } = &mount.source else { continue };
        if reaches_a_socket(path, sockets) {
            asks.push((Permission::EngineSocket, format!("the host path {path}, by which the engine can be told")));
        }
        // Who may mount the socket itself need not be allowed every other path.
        if !is_a_socket(path, sockets) {
            asks.push((Permission::HostPaths, format!("the host path {path}")));
        }
    }
    asks
}

fn isolation(isolation: &Isolation, asks: &mut Vec<(Permission, String)>) {
    if isolation.privileged {
        asks.push((Permission::Privileged, "privileged".to_owned()));
    }
    let beyond: Vec<&str> =
        isolation.cap_add.iter().map(String::as_str).filter(|c| !DEFAULT_CAPABILITIES.contains(c)).collect();
    let (raw, beyond): (Vec<&str>, Vec<&str>) = beyond.into_iter().partition(|c| *c == NET_RAW);
    if !raw.is_empty() {
        asks.push((Permission::NetRaw, "cap_add NET_RAW".to_owned()));
    }
    if !beyond.is_empty() {
        asks.push((Permission::Capabilities, format!("cap_add {}", beyond.join(", "))));
    }
    for option in isolation.security_opt.iter().filter(|option| may_weaken(option)) {
        let shown = option.split_once("={").map_or_else(|| option.clone(), |(key, _)| format!("{key} with a profile"));
        asks.push((Permission::SecurityOpt, format!("security_opt {shown}")));
    }
    let devices = isolation.devices.iter().map(|d| format!("device {}", d.source));
    let rules = isolation.device_cgroup_rules.iter().map(|r| format!("device_cgroup_rules {r}"));
    asks.extend(devices.chain(rules).map(|asked| (Permission::Devices, asked)));
    for (namespace, permission, key) in [
        (isolation.pid, Permission::HostPid, "pid: host"),
        (isolation.ipc, Permission::HostIpc, "ipc: host"),
        (isolation.uts, Permission::HostUts, "uts: host"),
        (isolation.userns, Permission::HostUserns, "userns_mode: host"),
        (isolation.cgroup, Permission::HostCgroup, "cgroup: host"),
    ] {
        if namespace == Namespace::Host {
            asks.push((permission, key.to_owned()));
        }
    }
}

/// Whether a security option may take protection away. A profile of one's own may allow anything: nobody reads it here.
fn may_weaken(option: &str) -> bool {
    let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    match key {
        "no-new-privileges" => false,
        "seccomp" => value != "builtin",
        "apparmor" => value != "docker-default",
        "label" => !value.starts_with("level:"),
        _ => true,
    }
}

/// Whether the path is that of an engine's socket.
fn is_a_socket(path: &str, sockets: &[&str]) -> bool {
    let path = plain(path);
    ENGINE_SOCKETS.iter().chain(sockets).any(|socket| *socket == path)
}

/// Whether a socket of an engine is at the path or below it.
fn reaches_a_socket(path: &str, sockets: &[&str]) -> bool {
    let path = plain(path);
    ENGINE_SOCKETS.iter().chain(sockets).any(|socket| {
        let rest = socket.strip_prefix(path.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// An absolute path without `.`, `..` and doubled slashes.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    format!("/{}", parts.join("/"))
}

fn abilities(container: &ContainerSpec) -> Vec<Ability> {
    let mut abilities = Vec::new();
    if has_later_keys(container) {
        abilities.push(Ability::ContainerKeys);
    }
    if container.mounts.iter().any(|m| matches!(&m.source, MountSource::Volume { subpath: Some(_), .. })) {
        abilities.push(Ability::VolumeSubpath);
    }
    if !container.annotations.is_empty() {
        abilities.push(Ability::Annotations);
    }
    abilities
}

/// Whether the container says anything that the first version could not say.
fn has_later_keys(c: &ContainerSpec) -> bool {
    let in_mount = |mount: &Mount| match &mount.source {
        MountSource::Volume { nocopy, subpath, .. } => *nocopy || subpath.is_some(),
        MountSource::Bind { propagation, .. } => propagation.is_some(),
        MountSource::Anonymous | MountSource::Tmpfs { .. } => false,
    };
    let plain = ContainerSpec::default();
    c.platform.is_some()
        || c.tty
        || c.stdin_open
        || !c.tmpfs.is_empty()
        || c.kernel != plain.kernel
        || c.isolation != plain.isolation
        || c.naming != plain.naming
        || c.logging != plain.logging
        || !c.annotations.is_empty()
        || c.mounts.iter().any(in_mount)
}

// === impl Permission ===

impl Permission {
    /// All of them, in the order of their words in help and documents.
    pub const ALL: [Permission; 12] = [
        Permission::Privileged,
        Permission::Devices,
        Permission::Capabilities,
        Permission::NetRaw,
        Permission::SecurityOpt,
        Permission::HostPaths,
        Permission::EngineSocket,
        Permission::HostPid,
        Permission::HostIpc,
        Permission::HostUts,
        Permission::HostUserns,
        Permission::HostCgroup,
    ];

    /// Its word in `--allow`.
    pub fn word(self) -> &'static str {
        // The feature is the word with a prefix.
        self.feature().trim_start_matches("allow.")
    }

    /// The feature by which a node says that it allows it.
    pub fn feature(self) -> &'static str {
        match self {
            Permission::Privileged => "allow.privileged",
            Permission::Devices => "allow.devices",
            Permission::Capabilities => "allow.capabilities",
            Permission::NetRaw => "allow.net-raw",
            Permission::HostPaths => "allow.host-paths",
            Permission::SecurityOpt => "allow.security-opt",
            Permission::EngineSocket => "allow.engine-socket",
            Permission::HostPid => "allow.host-pid",
            Permission::HostIpc => "allow.host-ipc",
            Permission::HostUts => "allow.host-uts",
            Permission::HostUserns => "allow.host-userns",
            Permission::HostCgroup => "allow.host-cgroup",
        }
    }
}

impl FromStr for Permission {
    type Err = String;
    fn from_str(text: &str) -> Result<Permission, String> {
        Permission::ALL.into_iter().find(|p| p.word() == text).ok_or_else(|| {
            let words: Vec<&str> = Permission::ALL.iter().map(|p| p.word()).collect();
            format!("there is no permission `{text}`; write some of {}", words.join(", "))
        })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

// === impl Ability ===

impl Ability {
    /// The feature by which a node says that it has it.
    pub fn feature(self) -> &'static str {
        match self {
            Ability::ContainerKeys => "container-keys",
            Ability::VolumeSubpath => "volume-subpath",
            Ability::Annotations => "annotations",
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Permission(asked) => {
                let what: Vec<&str> = asked.iter().map(|(_, what)| what.as_str()).collect();
                let words: BTreeSet<Permission> = asked.iter().map(|(permission, _)| *permission).collect();
                let words: Vec<&str> = words.into_iter().map(Permission::word).collect();
                write!(f, "it asks for {}, which the node does not allow; ", what.join(" and "))?;
                write!(f, "start its agent, or `ctl dev`, with --allow {}", words.join(","))
            }
            Lack::Ability(Ability::ContainerKeys) => {
                write!(f, "its agent is of an earlier version, which would overlook keys of the container; upgrade it")
            }
            Lack::Ability(Ability::VolumeSubpath) => {
                write!(f, "its engine cannot mount a part of a volume (`subpath`); that takes Docker Engine 26.0")
            }
            Lack::Ability(Ability::Annotations) => {
                write!(f, "its engine does not pass on `annotations`; that takes Docker Engine 24.0")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Device;

    fn features(words: &[&str]) -> BTreeSet<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    fn isolated(change: impl FnOnce(&mut Isolation)) -> ContainerSpec {
        let mut container = ContainerSpec::default();
        change(&mut container.isolation);
        container
    }

    fn bound(path: &str) -> ContainerSpec {
        let source = MountSource::Bind { path: path.to_owned(), create: true, propagation: None };
        let mounts = vec![Mount { source, target: "/x".to_owned(), read_only: true }];
        ContainerSpec { mounts, ..ContainerSpec::default() }
    }

    fn permissions(container: &ContainerSpec) -> Vec<Permission> {
        asks(container, &[]).into_iter().map(|(permission, _)| permission).collect()
    }

    #[test]
    fn an_ordinary_container_needs_nothing() {
        assert_eq!(lack(&ContainerSpec::default(), &BTreeSet::new(), &[]), None);
    }

    #[test]
    fn each_thing_that_opens_the_host_asks_for_its_permission() {
        let device =
            Device { source: "/dev/fuse".to_owned(), target: "/dev/fuse".to_owned(), permissions: "rwm".to_owned() };
        for (container, permission) in [
            (isolated(|i| i.privileged = true), Permission::Privileged),
            (isolated(|i| i.devices = vec![device]), Permission::Devices),
            (isolated(|i| i.device_cgroup_rules = vec!["c 1:3 mr".to_owned()]), Permission::Devices),
            (isolated(|i| i.cap_add.extend(["NET_ADMIN".to_owned()])), Permission::Capabilities),
            (isolated(|i| i.cap_add.extend(["ALL".to_owned()])), Permission::Capabilities),
            (isolated(|i| i.pid = Namespace::Host), Permission::HostPid),
            (isolated(|i| i.ipc = Namespace::Host), Permission::HostIpc),
            (isolated(|i| i.uts = Namespace::Host), Permission::HostUts),
            (isolated(|i| i.userns = Namespace::Host), Permission::HostUserns),
            (isolated(|i| i.cgroup = Namespace::Host), Permission::HostCgroup),
            (isolated(|i| i.cap_add.extend(["NET_RAW".to_owned()])), Permission::NetRaw),
            (bound("/srv/data"), Permission::HostPaths),
            (bound("/var/run/docker.sock"), Permission::EngineSocket),
        ] {
            assert_eq!(permissions(&container), [permission]);
            let denied = lack(&container, &features(&["container-keys"]), &[]).expect("nothing is allowed");
            assert!(denied.to_string().ends_with(&format!("with --allow {permission}")), "{denied}");
            let allowed = features(&["container-keys", permission.feature()]);
            assert_eq!(lack(&container, &allowed, &[]), None, "{permission}");
        }
    }

    #[test]
    fn who_allows_all_capabilities_allows_net_raw() {
        let container = isolated(|i| i.cap_add.extend(["NET_RAW".to_owned(), "NET_ADMIN".to_owned()]));
        assert_eq!(permissions(&container), [Permission::NetRaw, Permission::Capabilities]);
        assert_eq!(lack(&container, &features(&["container-keys", "allow.capabilities"]), &[]), None);
        let denied = lack(&container, &features(&["container-keys", "allow.net-raw"]), &[]).expect("one is missing");
        assert!(denied.to_string().ends_with("with --allow capabilities"), "{denied}");
    }

    #[test]
    fn security_options_are_judged_by_what_they_may_take_away() {
        let asks = |option: &str| permissions(&isolated(|i| i.security_opt = vec![option.to_owned()])).len();
        for harmless in [
            "no-new-privileges",
            "no-new-privileges:true",
            // It gives back what every container of Docker has, inside of it.
            "no-new-privileges:false",
            "apparmor=docker-default",
            "seccomp=builtin",
            "label=level:s0",
        ] {
            assert_eq!(asks(harmless), 0, "{harmless}");
        }
        for weakening in [
            "seccomp=unconfined",
            "seccomp:unconfined",
            "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}",
            "apparmor=unconfined",
            "apparmor=mine",
            "label=disable",
            "label:type:spc_t",
            "systempaths=unconfined",
            "whatever=comes",
        ] {
            assert_eq!(asks(weakening), 1, "{weakening}");
        }
    }

    #[test]
    fn a_profile_is_not_repeated_in_the_answer() {
        let container = isolated(|i| i.security_opt = vec!["seccomp={\"x\":1}".to_owned()]);
        let denied = lack(&container, &BTreeSet::new(), &[]).expect("not allowed").to_string();
        assert!(denied.starts_with("it asks for security_opt seccomp with a profile, which"), "{denied}");
    }

    #[test]
    fn what_the_default_set_has_and_what_is_dropped_asks_for_nothing() {
        let container = isolated(|i| {
            i.cap_add.extend(["KILL".to_owned(), "CHOWN".to_owned()]);
            i.cap_drop.extend(["ALL".to_owned()]);
            i.pid = Namespace::Private;
            i.ipc = Namespace::Shareable;
        });
        assert_eq!(permissions(&container), []);
    }

    #[test]
    fn the_engines_socket_is_found_by_any_spelling_of_a_way_to_it() {
        for path in ["/run/docker.sock", "/var/run/docker.sock", "/srv/../run/./docker.sock", "//run/docker.sock"] {
            assert_eq!(permissions(&bound(path)), [Permission::EngineSocket], "{path}");
        }
        // More than the socket is more than that permission.
        for path in ["/run", "/", "/run/", "//run", "/run/containerd"] {
            assert_eq!(permissions(&bound(path)), [Permission::EngineSocket, Permission::HostPaths], "{path}");
        }
        let own = |path: &str| asks(&bound(path), &["/srv/engine/docker.sock"]).iter().map(|a| a.0).collect::<Vec<_>>();
        assert_eq!(own("/srv/engine/docker.sock"), [Permission::EngineSocket], "its own is known, too");
        assert_eq!(own("/srv"), [Permission::EngineSocket, Permission::HostPaths]);
        for path in ["/runner", "/run/docker", "/run/user", "/var/lib", "/srv/run/docker.sock", "/srv/data"] {
            assert_eq!(permissions(&bound(path)), [Permission::HostPaths], "{path}");
        }
    }

    #[test]
    fn several_lacks_of_permission_are_told_in_one_sentence() {
        let container = isolated(|i| {
            i.privileged = true;
            i.pid = Namespace::Host;
            i.cap_add.extend(["SYS_ADMIN".to_owned(), "BPF".to_owned()]);
        });
        let allowed = features(&["allow.host-pid"]);
        assert_eq!(
            lack(&container, &allowed, &[]).expect("two are missing").to_string(),
            "it asks for privileged and cap_add BPF, SYS_ADMIN, which the node does not allow; start its agent, or `ctl dev`, with \
             --allow privileged,capabilities"
        );
    }

    #[test]
    fn an_agent_or_an_engine_that_would_overlook_a_key_is_not_asked() {
        let tty = ContainerSpec { tty: true, ..ContainerSpec::default() };
        assert_eq!(lack(&tty, &BTreeSet::new(), &[]), Some(Lack::Ability(Ability::ContainerKeys)));
        let source = MountSource::Volume { name: "v".to_owned(), nocopy: false, subpath: Some("a".to_owned()) };
        let mounts = vec![Mount { source, target: "/x".to_owned(), read_only: false }];
        let part = ContainerSpec { mounts, ..ContainerSpec::default() };
        assert_eq!(lack(&part, &features(&["container-keys"]), &[]), Some(Lack::Ability(Ability::VolumeSubpath)));
        assert_eq!(lack(&part, &features(&["container-keys", "volume-subpath"]), &[]), None);
        let annotations = [("a".to_owned(), "b".to_owned())].into();
        let noted = ContainerSpec { annotations, ..ContainerSpec::default() };
        assert_eq!(lack(&noted, &features(&["container-keys"]), &[]), Some(Lack::Ability(Ability::Annotations)));
    }

    #[test]
    fn words_read_back_as_permissions() {
        for permission in Permission::ALL {
            assert_eq!(permission.word().parse(), Ok(permission));
        }
        let unknown = "root".parse::<Permission>().expect_err("no such word");
        assert!(unknown.contains("privileged, devices"), "{unknown}");
    }
}
