//! Volumes, host paths, memory and files, in the engine's fields; and the volumes to have before a container is made.
//!
//! Pure. Never looks whether a path exists. Called by `translate` and `docker`.

use bollard::models::{
    Mount as DockerMount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions, VolumeCreateRequest,
};
use proto::assignment::Assignment;
use proto::label;
use proto::spec::{Mount, MountSource, VolumeSpec};
use std::collections::HashMap;

use super::super::{CreateRequest, Identity, RuntimeError};
use super::{CREATE, RESOLV_CONF, clamped};

/// All that is mounted: in the engine's older form and in its newer one.
pub fn all(request: &CreateRequest) -> Result<(Vec<String>, Vec<DockerMount>), RuntimeError> {
    let (mut binds, mut mounts) = (Vec::new(), Vec::new());
    for mount in &request.assignment.container.mounts {
        match short_bind(mount) {
            Some(bind) => binds.push(bind),
            None => mounts.push(docker_mount(mount, &request.assignment)?),
        }
    }
    mounts.extend(file_mounts(request)?);
    Ok((binds, mounts))
}

/// A host path in the engine's older form, the only one in which it makes the directory (before API 1.42).
/// That form cannot say a path with a colon.
fn short_bind(mount: &Mount) -> Option<String> {
    match &mount.source {
        MountSource::Bind { path, create: true, propagation } if !path.contains(':') && !mount.target.contains(':') => {
            let propagation = propagation.as_ref().map(|word| format!(",{word}")).unwrap_or_default();
            Some(format!("{path}:{}:{}{propagation}", mount.target, if mount.read_only { "ro" } else { "rw" }))
        }
        _ => None,
    }
}

fn docker_mount(mount: &Mount, assignment: &Assignment) -> Result<DockerMount, RuntimeError> {
    let plain =
        DockerMount { target: Some(mount.target.clone()), read_only: Some(mount.read_only), ..DockerMount::default() };
    Ok(match &mount.source {
        MountSource::Volume { name, nocopy, subpath } => {
            let volume = volume_of(assignment, name)?;
            let source = Some(volume.name_in_docker(&assignment.service.project, name));
            let options = (*nocopy || subpath.is_some()).then(|| MountVolumeOptions {
                no_copy: nocopy.then_some(true),
                subpath: subpath.clone(),
                ..MountVolumeOptions::default()
            });
            DockerMount { typ: Some(MountType::VOLUME), source, volume_options: options, ..plain }
        }
        MountSource::Anonymous => DockerMount { typ: Some(MountType::VOLUME), ..plain },
        MountSource::Bind { path, propagation, .. } => bind(path.clone(), propagation.as_deref(), plain)?,
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

fn bind(path: String, propagation: Option<&str>, plain: DockerMount) -> Result<DockerMount, RuntimeError> {
    let known = |word: &str| {
        word.parse::<MountBindOptionsPropagationEnum>()
            .map_err(|cause| RuntimeError::Refused { call: CREATE, cause: format!("propagation of {path}: {cause}") })
    };
    let options = MountBindOptions { propagation: propagation.map(known).transpose()?, ..MountBindOptions::default() };
    Ok(DockerMount { typ: Some(MountType::BIND), source: Some(path), bind_options: Some(options), ..plain })
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
    files
        .chain(resolver)
        .map(|(target, path)| {
            let plain = DockerMount { target: Some(target), read_only: Some(true), ..DockerMount::default() };
            bind(path.to_string_lossy().into_owned(), None, plain)
        })
        .collect()
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
