//! Tree to typed project: one file per part of a service, one for what holds between services.
//!
//! Never touches a disk but through `Sources`. Called by `load`.

mod across;
mod blobs;
mod build;
pub mod context;
mod depends;
mod deploy;
mod environment;
mod extension;
mod fields;
mod health;
mod images;
mod isolation;
mod kernel;
pub mod keys;
mod naming;
mod networks;
mod placement;
mod ports;
mod restart;
mod service;
mod update;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use proto::id::{ProjectName, ServiceName};
use proto::limits::SERVICES_PER_PROJECT_MAX;
use proto::spec::{BlobKind, ProjectSpec};

use super::tree::{Mark, Node, Value, shorten};
use super::{Blob, Build};
use context::{Context, Field, Fields};

/// What the top level declares, for the services to refer to.
pub struct Declared<'a> {
    /// The project's name, when it has one.
    project: Option<&'a ProjectName>,
    /// Names under `services:`, also of those that are wrong.
    services: BTreeSet<&'a str>,
    /// Names under `volumes:`.
    volumes: BTreeSet<&'a str>,
    /// Names under `networks:`.
    networks: BTreeSet<&'a str>,
    /// Names under `configs:` and `secrets:`.
    blobs: BTreeMap<BlobKind, BTreeSet<&'a str>>,
}

/// A project and what belongs to it.
pub type Lowered = (ProjectSpec, Vec<Blob>, BTreeMap<ServiceName, Build>);

/// Lowers a document. `None` only without a project's name; whether the result may be used, the context knows.
pub fn lower(root: &Node, cx: &mut Context<'_>, project: Option<&ProjectName>) -> Option<Lowered> {
    let whole = Field { path: String::new(), at: root.at, node: root };
    let mut top = cx.map(&whole)?;
    top.take("name");
    if let Some(version) = top.take("version") {
        cx.notice(version.at, "`version` has no meaning any more and can be removed");
    }
    refuse_extension(&mut top, cx);
    let sections = Sections {
        services: top.take("services"),
        volumes: top.take("volumes"),
        networks: top.take("networks"),
        configs: top.take("configs"),
        secrets: top.take("secrets"),
    };
    let is_listed = top.has("services");
    top.finish(cx, keys::TOP);
    lower_sections(&sections, is_listed, root, cx, project)
}

struct Sections<'a> {
    services: Option<Field<'a>>,
    volumes: Option<Field<'a>>,
    networks: Option<Field<'a>>,
    configs: Option<Field<'a>>,
    secrets: Option<Field<'a>>,
}

fn lower_sections(
    sections: &Sections<'_>,
    is_listed: bool,
    root: &Node,
    cx: &mut Context<'_>,
    project: Option<&ProjectName>,
) -> Option<Lowered> {
    let volumes = volumes::declared(cx, sections.volumes.as_ref());
    let networks = networks::declared(cx, sections.networks.as_ref());
    let mut origins = blobs::declared(cx, sections.configs.as_ref(), BlobKind::Config);
    origins.extend(blobs::declared(cx, sections.secrets.as_ref(), BlobKind::Secret));
    let declared = Declared {
        project,
        services: names_in(sections.services.as_ref()),
        volumes: names_in(sections.volumes.as_ref()),
        networks: names_in(sections.networks.as_ref()),
        blobs: BTreeMap::from([
            (BlobKind::Config, names_in(sections.configs.as_ref())),
            (BlobKind::Secret, names_in(sections.secrets.as_ref())),
        ]),
    };
    let at = sections.services.as_ref().map_or(root.at, |field| field.at);
    let mut services = match &sections.services {
        Some(field) => all_services(cx, field, &declared),
        None => {
            let message = if is_listed { "`services` has no entries" } else { "there is no `services` in this file" };
            cx.problem(at, message, "write `services:` with at least one service below it");
            Vec::new()
        }
    };
    across::check(cx, &mut services);
    let blobs = blobs::contents(cx, &services, &origins);
    let builds = services.iter_mut().filter_map(|s| Some((s.name.clone(), s.build.take()?))).collect();
    let services: BTreeMap<_, _> = services.into_iter().map(|s| (s.name, s.spec)).collect();
    let used = services.values().flat_map(|s| s.networks.iter().cloned());
    let networks = networks.into_iter().chain(used).collect();
    Some((ProjectSpec { name: project?.clone(), services, volumes, networks }, blobs, builds))
}

fn all_services(cx: &mut Context<'_>, field: &Field<'_>, declared: &Declared<'_>) -> Vec<service::Service> {
    let Some(entries) = cx.map(field) else { return Vec::new() };
    let count = entries.all().count();
    if count == 0 && cx.left_out.is_empty() {
        cx.problem(field.at, "`services` has no entries", "write at least one service below it");
    }
    if count > SERVICES_PER_PROJECT_MAX {
        let message = format!("{count} services in one project, at most {SERVICES_PER_PROJECT_MAX} are allowed");
        cx.problem(field.at, message, "split it into several projects");
        return Vec::new();
    }
    entries.all().filter_map(|(name, field)| service::service(cx, name, &field, declared)).collect()
}

fn names_in<'a>(field: Option<&Field<'a>>) -> BTreeSet<&'a str> {
    match field.map(|f| &f.node.value) {
        Some(Value::Map(entries)) => entries.iter().map(|e| e.key.as_str()).collect(),
        _ => BTreeSet::new(),
    }
}

/// `x-wherry` is ours: nothing in it may be overlooked, and at the top it has no meaning yet.
fn refuse_extension(fields: &mut Fields<'_>, cx: &mut Context<'_>) {
    let Some(field) = fields.take("x-wherry") else { return };
    if let Some(inner) = cx.map(&field) {
        inner.finish(cx, &[]);
    }
}

/// Names of volumes, networks, configs and secrets: Compose's characters.
fn check_key(cx: &mut Context<'_>, what: &str, name: &str, at: Mark) -> bool {
    let is_good = is_docker_name(name);
    if !is_good {
        let message = format!(
            "{what} name `{}` may hold only letters, digits, `.`, `-` and `_`, and starts with a letter or digit",
            shorten(name)
        );
        cx.problem(at, message, "");
    }
    is_good
}

/// What Docker takes as a name of a container or a volume.
fn is_docker_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    name.len() <= 128 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(allowed)
}
