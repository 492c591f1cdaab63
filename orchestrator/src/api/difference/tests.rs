//! Changes of a spec as they are told: by the manifest's words, without secrets.

use super::*;
use crate::engine::model::service::replacement_hash;
use proto::id::ServiceKey;
use proto::revision::{Epoch, Revision, Uid, Wall};
use proto::spec::*;
use std::sync::Arc;

fn service(spec: ServiceSpec) -> Service {
    Service {
        key: ServiceKey { project: "shop".parse().expect("a name"), service: "web".parse().expect("a name") },
        uid: Uid { epoch: Epoch(1), created: Revision(1) },
        spec_hash: replacement_hash(&spec, &BTreeMap::new()),
        spec: Arc::new(spec),
        volumes: BTreeMap::new(),
        generation: 1,
        gates: BTreeMap::new(),
        rollout: None,
        removing: false,
        created_at: Wall(0),
        modified: Revision(1),
    }
}

/// What is told of a change made to a plain service.
#[track_caller]
fn check(make: impl Fn(&mut ServiceSpec, &mut ContainerSpec, bool), want: &[&str]) {
    let of = |is_new: bool| {
        let mut spec = ServiceSpec::default();
        let mut container = ContainerSpec { image: "web:1".to_owned(), stop_grace_ms: 10_000, ..Default::default() };
        make(&mut spec, &mut container, is_new);
        spec.container = Arc::new(container);
        service(spec)
    };
    let told = between(Some(&of(false)), &of(true));
    let line = |c: &v1::FieldChange| match (&c.before, &c.after, c.hidden) {
        (None, None, true) => format!("{}: hidden", c.field),
        (before, after, false) => {
            let text = |t: &Option<String>| t.clone().unwrap_or_else(|| "-".to_owned());
            format!("{}: {} -> {}", c.field, text(before), text(after))
        }
        other => panic!("{other:?}: a hidden value is told"),
    };
    assert_eq!(told.iter().map(line).collect::<Vec<_>>(), want);
}

#[test]
fn nothing_is_told_of_what_is_the_same() {
    check(|_, _, _| {}, &[]);
}

#[test]
fn fields_have_the_manifests_words() {
    check(
        |spec, container, is_new| {
            if is_new {
                spec.replicas = 3;
                spec.update.parallelism = 2;
                spec.reservations.memory_bytes = 64 << 20;
                container.image = "web:2".to_owned();
                container.stop_grace_ms = 90_000;
                container.limits.cpu_millis = Some(1_500);
                container.command = Some(vec!["serve".to_owned(), "--all".to_owned()]);
            }
        },
        &[
            "command: - -> serve --all",
            "image: web:1 -> web:2",
            "deploy.resources.limits.cpus: - -> 1.5",
            "stop_grace_period: 10s -> 1m30s",
            "deploy.replicas: 1 -> 3",
            "deploy.resources.reservations.memory: 0 bytes -> 64 MiB",
            "deploy.update_config.parallelism: 1 -> 2",
        ],
    );
}

#[test]
fn of_lists_only_what_differs_is_told() {
    let port = |published| PortSpec {
        name: None,
        target: 80,
        published,
        host_ip: None,
        protocol: Protocol::Tcp,
        mode: PortMode::Ingress,
    };
    check(
        |spec, container, is_new| {
            spec.ports = if is_new { vec![port(8080), port(8082)] } else { vec![port(8080), port(8081)] };
            let name = if is_new { "data" } else { "old" }.to_owned();
            container.mounts = vec![Mount {
                source: MountSource::Volume { name, nocopy: false, subpath: None },
                target: "/data".into(),
                read_only: is_new,
            }];
        },
        &["volumes: old:/data -> data:/data:ro", "ports: 8081:80/tcp -> 8082:80/tcp"],
    );
}

#[test]
fn secrets_are_not_told() {
    check(
        |_, container, is_new| {
            let value = |old: &str, new: &str| if is_new { new } else { old }.to_owned();
            container.environment = [
                ("DB_PASSWORD".to_owned(), value("a", "b")),
                ("api_key".to_owned(), value("a", "b")),
                ("DATABASE".to_owned(), value("postgres://me:word@db/x", "postgres://me:other@db/x")),
                ("LOG_LEVEL".to_owned(), value("info", "debug")),
                ("HOME_PAGE".to_owned(), value("http://a/b:c@d", "http://b/b:c@d")),
            ]
            .into();
            let digest = proto::id::BlobDigest(value("1", "2").repeat(64));
            let kind = BlobKind::Secret;
            let (name, target) = ("db".to_owned(), "/run/secrets/db".to_owned());
            container.files = vec![FileMount { kind, name, digest, target, uid: 0, gid: 0, mode: 0o400 }];
        },
        &[
            "environment.DATABASE: hidden",
            "environment.DB_PASSWORD: hidden",
            "environment.HOME_PAGE: http://a/b:c@d -> http://b/b:c@d",
            "environment.LOG_LEVEL: info -> debug",
            "environment.api_key: hidden",
            "secrets.db at /run/secrets/db.content: hidden",
        ],
    );
}
