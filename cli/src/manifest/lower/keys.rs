//! Keys that Compose knows and Wherry does not honour yet, each with what to do instead.
//!
//! A key leaves its table the day it is honoured. A test holds these tables against the Compose schema. Used by `Fields::finish`.

/// A key and its hint.
pub type NotYet = &'static [(&'static str, &'static str)];

const DROP: &str = "remove it, or run this service elsewhere for now";
const HOOKS: &str = "commands beside the container's own are not run yet: do it in the image's entry point";

/// Top level.
pub const TOP: NotYet = &[("models", "run the model as a service of its own, and name it in `environment`")];

/// A service.
pub const SERVICE: NotYet = &[
    ("cpu_count", "it is for Windows containers: write `cpus`"),
    ("cpu_percent", "it is for Windows containers: write `cpus`"),
    ("credential_spec", "it is for Windows containers: remove it"),
    ("external_links", "services of another project are reached as `SERVICE.PROJECT`: remove it"),
    ("gpus", "GPUs are not counted by nodes yet: give the device itself in `devices`, if its driver needs no more"),
    ("isolation", "it is for Windows containers: remove it"),
    ("mac_address", "an update runs old and new side by side, and two with one address cut each other off: remove it"),
    ("models", "run the model as a service of its own, and name it in `environment`"),
    ("post_start", HOOKS),
    ("pre_start", HOOKS),
    ("pre_stop", HOOKS),
    ("provider", "it runs a program on ctl's machine, which no node has: run the service itself"),
    ("use_api_socket", "mount the engine's socket in `volumes`, on a node that allows `engine-socket`"),
    ("volumes_from", "the two may be on different nodes: name the volumes in `volumes` of both services"),
];

/// `build`.
pub const BUILD: NotYet = &[
    ("additional_contexts", "copy what is needed into the context"),
    ("cache_from", "remove it: the local cache is used"),
    ("cache_to", "remove it: the local cache is used"),
    ("entitlements", "remove it"),
    ("extra_hosts", "remove it"),
    ("isolation", "it is for Windows containers: remove it"),
    ("network", "remove it"),
    ("platforms", "remove it: the platform of this machine is built"),
    ("privileged", "remove it"),
    ("provenance", "remove it"),
    ("pull", "remove it"),
    ("sbom", "remove it"),
    ("secrets", "build the image elsewhere and name it in `image`"),
    ("shm_size", "remove it"),
    ("ssh", "build the image elsewhere and name it in `image`"),
    ("tags", "write the one name in `image`"),
    ("ulimits", "remove it"),
];

/// `deploy`.
pub const DEPLOY: NotYet = &[];

/// `deploy.resources.limits`.
pub const LIMITS: NotYet = &[];

/// `deploy.resources.reservations`.
pub const RESERVATIONS: NotYet = &[("devices", DROP), ("generic_resources", DROP)];

/// Long form of `depends_on`.
pub const DEPENDENCY: NotYet = &[];

/// Long form of a service's `networks`.
pub const SERVICE_NETWORK: NotYet = &[
    ("driver_opts", "remove it"),
    ("gw_priority", "remove it"),
    ("interface_name", "remove it"),
    ("ipv4_address", "remove it: addresses are given by the cluster, names stay"),
    ("ipv6_address", "remove it: addresses are given by the cluster, names stay"),
    ("link_local_ips", "remove it"),
    ("mac_address", "an update runs old and new side by side, and two with one address cut each other off: remove it"),
    ("priority", "remove it"),
];

/// Long form of a service's `volumes`.
pub const MOUNT: NotYet = &[("image", "copy the files into the service's image")];
/// `bind` of a mount.
pub const MOUNT_BIND: NotYet = &[("recursive", "remove it")];
/// `volume` of a mount.
pub const MOUNT_VOLUME: NotYet = &[("labels", "write the labels under the top-level `volumes`")];

/// Top-level `volumes`.
pub const VOLUME: NotYet = &[("driver_opts", "make the volume on its host and write `external: true`")];
/// Top-level `networks`.
pub const NETWORK: NotYet = &[
    ("attachable", "remove it"),
    ("driver_opts", "remove it"),
    ("enable_ipv4", "remove it"),
    ("enable_ipv6", "remove it"),
    ("internal", "traffic is not separated yet: remove it only if the services may reach the outside"),
    ("ipam", "remove it: addresses are given by the cluster"),
    ("labels", "remove it"),
];
/// Top-level `configs`.
pub const CONFIG: NotYet = &[
    ("external", "configs belong to their project: write `file`, `content` or `environment`"),
    ("labels", "remove it"),
    ("name", "a config is known by its key: remove it"),
    ("template_driver", "write the content out"),
];
/// Top-level `secrets`.
pub const SECRET: NotYet = &[
    ("driver", "write `file` or `environment`"),
    ("driver_opts", "write `file` or `environment`"),
    ("external", "secrets belong to their project: write `file` or `environment`"),
    ("labels", "remove it"),
    ("name", "a secret is known by its key: remove it"),
    ("template_driver", "write the content out"),
];

/// `x-wherry` of a service.
pub const X_WHERRY: NotYet = &[("fence_lease", "remove it"), ("on_lost", "remove it")];
