//! Volumes: declared at the top, mounted by services in short and long form (Compose Specification, sections 05 and 07).
//!
//! Never looks whether a host path exists. Called by `lower` and `service`.

use std::collections::BTreeMap;

use proto::spec::{Mount, MountSource, VolumeSpec};

use super::super::project::host_path;
use super::super::tree::{Mark, Value, shorten};
use super::super::words;
use super::context::{Context, Field, Fields};
use super::{Declared, check_key, is_docker_name, keys};

const TYPES: &str = "write volume, bind or tmpfs";

/// The volumes declared at the top level.
pub fn declared(cx: &mut Context<'_>, section: Option<&Field<'_>>) -> BTreeMap<String, VolumeSpec> {
    let mut volumes = BTreeMap::new();
    let Some(entries) = section.and_then(|field| cx.map(field)) else { return volumes };
    for (name, field) in entries.all() {
        check_key(cx, "volume", name, field.at);
        let volume = if field.node.value == Value::Null { None } else { declared_one(cx, name, &field) };
        volumes.insert(name.to_owned(), volume.unwrap_or_default());
    }
    volumes
}

fn declared_one(cx: &mut Context<'_>, key: &str, field: &Field<'_>) -> Option<VolumeSpec> {
    let mut keys = cx.map(field)?;
    let external = keys.take("external").and_then(|f| external(cx, &f)).unwrap_or_default();
    let mut docker_name = keys.take("name").and_then(|f| {
        let text = cx.filled_text(&f)?;
        if !is_docker_name(text) {
            cx.mismatch(&f, "the name of a volume");
        }
        Some(text.to_owned())
    });
    if let Some(driver) = keys.take("driver")
        && let Some(text) = cx.text(&driver)
        && text != "local"
    {
        let message = format!("`{}: {}` is not supported yet", driver.path, shorten(text));
        cx.problem(driver.node.at, message, "remove it: volumes are local to their host");
    }
    let labels = keys.take("labels");
    if let (true, Some(labels)) = (external, &labels) {
        let message = format!("`{}` cannot label an external volume", labels.path);
        cx.problem(labels.at, message, "remove it: an external volume is neither made nor changed");
    }
    let labels = labels.map(|f| cx.labels(&f)).unwrap_or_default();
    keys.finish(cx, keys::VOLUME);
    if external && docker_name.is_none() {
        // An external volume is known to Docker under the key itself, without the project before it.
        docker_name = Some(key.to_owned());
    }
    Some(VolumeSpec { docker_name, external, labels })
}

fn external(cx: &mut Context<'_>, field: &Field<'_>) -> Option<bool> {
    if let Value::Map(_) = field.node.value {
        let message = format!("`{}` with a name in it is an old form", field.path);
        cx.problem(field.at, message, "write `external: true` and `name: NAME` beside it");
        return None;
    }
    cx.boolean(field)
}

/// What a service mounts, each with its place. No two at the same path.
pub fn mounts(cx: &mut Context<'_>, service: &mut Fields<'_>, declared: &Declared<'_>) -> Vec<(Mount, Mark)> {
    let Some(field) = service.take("volumes") else { return Vec::new() };
    let mut mounts: Vec<(Mount, Mark)> = Vec::new();
    let mut targets: BTreeMap<String, Mark> = BTreeMap::new();
    for item in cx.list(&field).unwrap_or_default() {
        let mount = match item.node.value {
            Value::Map(_) => long(cx, &item, declared),
            _ => short(cx, &item, declared),
        };
        let Some(mount) = mount else { continue };
        if let Some(first) = targets.insert(comparable(&mount.target), item.at) {
            let (target, place) = (shorten(&mount.target), cx.elsewhere(first, item.at));
            let message = format!("`{target}` is mounted twice: {place} and on line {}", item.at.line);
            cx.problem(item.at, message, "keep one of them");
        }
        mounts.push((mount, item.at));
    }
    mounts
}

/// `tmpfs`: paths with their mount options, `PATH[:OPTIONS]`, none of them mounted on already.
pub fn memory(cx: &mut Context<'_>, service: &mut Fields<'_>, mounts: &[(Mount, Mark)]) -> BTreeMap<String, String> {
    let mut memory = BTreeMap::new();
    let Some(field) = service.take("tmpfs") else { return memory };
    for (text, at) in super::naming::text_or_list(cx, &field) {
        let (target, options) = text.split_once(':').unwrap_or((&text, ""));
        let item = Field { path: field.path.clone(), at, node: field.node };
        if !check_target(cx, &item, target) {
            continue;
        }
        if let Some(wrong) = options.split(',').find(|option| !option.is_empty() && !is_tmpfs_option(option)) {
            let message = format!("`{}`: `{}` is no option of a tmpfs", field.path, shorten(wrong));
            cx.problem(at, message, "write such as `size=64m,mode=1777,noexec`");
            continue;
        }
        let is_taken = mounts.iter().any(|(mount, _)| comparable(&mount.target) == comparable(target));
        if is_taken || memory.insert(target.to_owned(), options.to_owned()).is_some() {
            cx.problem(at, format!("`{}` is mounted twice", shorten(target)), "keep one of them");
        }
    }
    memory
}

/// What the engine passes on to the kernel.
fn is_tmpfs_option(option: &str) -> bool {
    const FLAGS: [&str; 18] = [
        "ro",
        "rw",
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dev",
        "nodev",
        "sync",
        "async",
        "dirsync",
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
    ];
    const VALUES: [&str; 7] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"];
    match option.split_once('=') {
        Some((name, value)) => VALUES.contains(&name) && !value.is_empty(),
        None => FLAGS.contains(&option),
    }
}

/// A path inside, for comparing: without a slash at its end.
pub fn comparable(target: &str) -> String {
    target.trim_end_matches('/').to_owned()
}

/// Whether a path inside can be a target; what is wrong is reported.
pub fn check_target(cx: &mut Context<'_>, field: &Field<'_>, target: &str) -> bool {
    let parts_good = !target.split('/').any(|part| part == "..") && !target.contains(['\0', '\n']);
    let is_good = target.starts_with('/') && parts_good && !comparable(target).is_empty();
    if !is_good {
        let message =
            format!("`{}`: the target `{}` is not an absolute path inside the container", field.path, shorten(target));
        cx.problem(field.node.at, message, "begin it with `/`, without `..`");
    }
    is_good
}

fn short(cx: &mut Context<'_>, item: &Field<'_>, declared: &Declared<'_>) -> Option<Mount> {
    let text = cx.filled_text(item)?;
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => {
            let message = format!("`{}`: `{}` has too many `:`", item.path, shorten(text));
            cx.problem(item.node.at, message, "write [SOURCE:]TARGET[:ro], or the long form");
            return None;
        }
    };
    let options = short_options(cx, item, options);
    if !check_target(cx, item, target) {
        return None;
    }
    let source = match source {
        None => MountSource::Anonymous,
        Some(path) if path.starts_with(['/', '.', '~']) => bind(cx, item, path, true)?,
        Some(name) => volume(cx, item, name, declared)?,
    };
    let source = options.on(cx, item, source)?;
    Some(Mount { source, target: target.to_owned(), read_only: options.read_only })
}

/// What stands beside a mount's source and target.
#[derive(Default)]
struct Options {
    read_only: bool,
    nocopy: bool,
    subpath: Option<String>,
    propagation: Option<String>,
}

impl Options {
    /// The source with what is said of it. What does not go with a source of its kind is refused.
    fn on(&self, cx: &mut Context<'_>, item: &Field<'_>, source: MountSource) -> Option<MountSource> {
        let of_volume = self.nocopy || self.subpath.is_some();
        let (nocopy, subpath, propagation) = (self.nocopy, self.subpath.clone(), self.propagation.clone());
        match source {
            MountSource::Volume { name, .. } if propagation.is_none() => {
                Some(MountSource::Volume { name, nocopy, subpath })
            }
            MountSource::Bind { path, create, .. } if !of_volume => {
                Some(MountSource::Bind { path, create, propagation })
            }
            other if !of_volume && propagation.is_none() => Some(other),
            _ => {
                let message = format!(
                    "`{}`: `nocopy` and `subpath` are for named volumes, propagation is for host paths",
                    item.path
                );
                cx.problem(item.at, message, "remove what does not belong to it");
                None
            }
        }
    }
}

/// The engine's words for whether mounts made below a host path are seen on the other side.
const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

fn short_options(cx: &mut Context<'_>, item: &Field<'_>, written: &str) -> Options {
    let mut options = Options::default();
    for option in written.split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" => options.read_only = true,
            "rw" => {}
            "nocopy" => options.nocopy = true,
            word if PROPAGATIONS.contains(&word) => options.propagation = Some(word.to_owned()),
            "z" | "Z" => cx.notice(
                item.at,
                format!("`{option}` in `{}` has no effect: files are not relabelled for SELinux", item.path),
            ),
            "consistent" | "cached" | "delegated" => {
                let message = format!("`{option}` in `{}` has no effect: it is for Docker Desktop", item.path);
                cx.notice(item.at, message);
            }
            other => {
                let message = format!("`{}`: the option `{}` is not supported yet", item.path, shorten(other));
                cx.problem(item.node.at, message, "ro, rw, nocopy and propagation such as rslave are");
            }
        }
    }
    options
}

fn bind(cx: &mut Context<'_>, field: &Field<'_>, path: &str, create: bool) -> Option<MountSource> {
    match host_path(cx, field.node.at, path) {
        Ok(path) => Some(MountSource::Bind { path: path.to_string_lossy().into_owned(), create, propagation: None }),
        Err(why) => {
            cx.problem(field.node.at, format!("`{}`: {why}", field.path), "");
            None
        }
    }
}

fn volume(cx: &mut Context<'_>, field: &Field<'_>, name: &str, declared: &Declared<'_>) -> Option<MountSource> {
    if declared.volumes.contains(name) {
        return Some(MountSource::Volume { name: name.to_owned(), nocopy: false, subpath: None });
    }
    let declare = "declare it under the top-level `volumes:`, or begin a host path with `./`";
    cx.undefined(field.node.at, "volume", name, declare, declared.volumes.iter().copied());
    None
}

fn long(cx: &mut Context<'_>, item: &Field<'_>, declared: &Declared<'_>) -> Option<Mount> {
    let mut keys = cx.map(item)?;
    let (kind, source, target) = (keys.take("type"), keys.take("source"), keys.take("target"));
    let read_only = keys.take("read_only").and_then(|f| cx.boolean(&f)).unwrap_or_default();
    let mut options = Options { read_only, ..Options::default() };
    let create = bind_options(cx, &mut keys, &mut options);
    volume_options(cx, &mut keys, &mut options);
    if let Some(field) = keys.take("consistency") {
        cx.notice(field.at, format!("`{}` has no effect: it is for Docker Desktop", field.path));
    }
    let tmpfs = tmpfs(cx, &mut keys);
    keys.finish(cx, keys::MOUNT);
    let Some(kind) = kind else {
        cx.problem(item.at, format!("`{}` has no `type`", item.path), TYPES);
        return None;
    };
    let source = match source {
        None => long_without_source(cx, item, &kind, tmpfs)?,
        Some(source) => long_source(cx, &source, &kind, create, declared)?,
    };
    let Some(target) = target else {
        cx.problem(item.at, format!("`{}` has no `target`", item.path), "name the path inside the container");
        return None;
    };
    let path = cx.filled_text(&target)?;
    if !check_target(cx, &target, path) {
        return None;
    }
    let source = options.on(cx, item, source)?;
    Some(Mount { source, target: path.to_owned(), read_only })
}

fn long_without_source(
    cx: &mut Context<'_>,
    item: &Field<'_>,
    kind: &Field<'_>,
    tmpfs: MountSource,
) -> Option<MountSource> {
    match cx.text(kind)? {
        "tmpfs" => Some(tmpfs),
        "volume" => Some(MountSource::Anonymous),
        "bind" => {
            cx.problem(item.at, format!("`{}` has no `source`", item.path), "name the path on the host");
            None
        }
        other => unknown_type(cx, kind, other),
    }
}

fn long_source(
    cx: &mut Context<'_>,
    source: &Field<'_>,
    kind: &Field<'_>,
    create: bool,
    declared: &Declared<'_>,
) -> Option<MountSource> {
    let text = cx.filled_text(source)?;
    match cx.text(kind)? {
        "volume" => volume(cx, source, text, declared),
        "bind" => bind(cx, source, text, create),
        "tmpfs" => {
            cx.problem(source.at, format!("`{}`: a tmpfs has no source", source.path), "remove it");
            None
        }
        other => unknown_type(cx, kind, other),
    }
}

fn unknown_type(cx: &mut Context<'_>, kind: &Field<'_>, written: &str) -> Option<MountSource> {
    let why = match written {
        "image" => "an engine that can comes with Docker 28; copy the files into the service's image",
        "cluster" => "volumes are local to their nodes",
        "npipe" => "it is for Windows containers",
        _ => "",
    };
    if !why.is_empty() {
        cx.problem(kind.node.at, format!("`{}: {written}` is not supported: {why}", kind.path), TYPES);
    } else {
        let message = format!("`{}`: there is no type `{}`", kind.path, shorten(written));
        cx.problem(kind.node.at, message, TYPES);
    }
    None
}

/// `bind`: whether an absent host path is made. Compose's default is yes.
fn bind_options(cx: &mut Context<'_>, mount: &mut Fields<'_>, options: &mut Options) -> bool {
    let Some(field) = mount.take("bind") else { return true };
    let Some(mut keys) = cx.map(&field) else { return true };
    let create = keys.take("create_host_path").and_then(|f| cx.boolean(&f));
    if let Some(field) = keys.take("selinux") {
        cx.notice(field.at, format!("`{}` has no effect: files are not relabelled for SELinux", field.path));
    }
    if let Some(field) = keys.take("propagation")
        && let Some(word) = cx.text(&field)
    {
        match PROPAGATIONS.contains(&word) {
            true => options.propagation = Some(word.to_owned()),
            false => cx.mismatch(&field, "one of private, rprivate, shared, rshared, slave and rslave"),
        }
    }
    keys.finish(cx, keys::MOUNT_BIND);
    create.unwrap_or(true)
}

/// `volume`: what is mounted of a named volume, and how it is filled.
fn volume_options(cx: &mut Context<'_>, mount: &mut Fields<'_>, options: &mut Options) {
    let Some(field) = mount.take("volume") else { return };
    let Some(mut keys) = cx.map(&field) else { return };
    options.nocopy = keys.take("nocopy").and_then(|f| cx.boolean(&f)).unwrap_or_default();
    if let Some(field) = keys.take("subpath")
        && let Some(path) = cx.filled_text(&field)
    {
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            let message = format!("`{}`: `{}` is not a path within the volume", field.path, shorten(path));
            cx.problem(field.node.at, message, "write it without `/` at its begin and without `..`");
        } else {
            options.subpath = Some(path.to_owned());
        }
    }
    keys.finish(cx, keys::MOUNT_VOLUME);
}

fn tmpfs(cx: &mut Context<'_>, mount: &mut Fields<'_>) -> MountSource {
    let (mut size_bytes, mut mode) = (None, None);
    if let Some(field) = mount.take("tmpfs")
        && let Some(mut keys) = cx.map(&field)
    {
        size_bytes = keys.take("size").and_then(|f| cx.word(&f, "a number of bytes", |s| words::bytes(&s.text)));
        mode = keys.take("mode").and_then(|f| super::blobs::mode(cx, &f));
        keys.finish(cx, &[]);
    }
    MountSource::Tmpfs { size_bytes, mode }
}
