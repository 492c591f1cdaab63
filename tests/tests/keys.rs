//! Every key of the Compose schema has a verdict that is tested: `cli/fixtures/keys/PATH.yaml`, one file per key.
//!
//! A fixture is a manifest that uses the key, and below it, as comments, what becomes of it: the fields of the typed spec and of
//! Docker's request that the key changes, the notice that translates it, or the refusal. Lines that end in `#-` are left out, and
//! those that end in `#= TEXT` are `TEXT` instead, in the manifest without the key: what is listed is the difference between the two.
//! `# behaviour: FILE` names the test of a key that no field of Docker's shows. `WHERRY_UPDATE_EXPECT=1 cargo test -p tests --test keys`
//! writes what is so now; read the difference before committing it.
//!
//! A key that the schema has and no fixture tells of fails the test, except below a key that is refused or has no effect as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use agent::runtime::translate::abilities::features;
use agent::runtime::translate::{Facts, create_body, volume_body, wanted_volumes};
use agent::runtime::{CreateRequest, Identity};
use cli::manifest::{Input, LoadOptions, Loaded, ReadError, Sources, check, load};
use proto::assignment::{Assignment, Desired, NodeNetwork};
use proto::id::{ClusterId, NodeId, ServiceKey, ServiceName, Slot, TaskId};
use proto::needs::Permission;
use proto::revision::Epoch;
use proto::spec::{PortMode, ServiceSpec};
use serde_json::{Value, json};

const SCHEMA: &str = include_str!("../../cli/schema/compose-spec.json");
const DIRECTORY: &str = "/home/me/shop";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files that fixtures name. Real ones would be taken for fixtures.
struct Files;

impl Sources for Files {
    fn read(&self, path: &Path, _: usize) -> Result<Vec<u8>, ReadError> {
        let name = path.strip_prefix(DIRECTORY).map_err(|_| ReadError::NotFound)?.to_string_lossy().into_owned();
        let text = match name.as_str() {
            "web.env" => "COLOR=red\nQUOTED='a b'\n",
            "web.txt" => "content of web.txt\n",
            "web.labels" => "tier=front\n",
            "base.yaml" => "services:\n  base:\n    image: base:1\n    environment: {FROM: base.yaml}\n",
            "parts/db.yaml" => "services:\n  db:\n    image: db:${TAG:-1}\n    volumes: [\"./data:/data\"]\n",
            "parts/cache.yaml" => "services:\n  cache:\n    image: cache:1\n",
            "parts/tag.env" => "TAG=16\n",
            _ => return Err(ReadError::NotFound),
        };
        Ok(text.as_bytes().to_vec())
    }
}

// === the schema ===

/// Every key of the schema: `services.healthcheck.test` for `services: {ANY: {healthcheck: {test: }}}`.
fn keys_of_schema() -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let mut keys = BTreeSet::new();
    walk(&schema, &schema, "", &mut Vec::new(), &mut keys);
    keys
}

fn walk<'s>(schema: &'s Value, node: &'s Value, path: &str, inside: &mut Vec<&'s str>, keys: &mut BTreeSet<String>) {
    if let Some(reference) = node["$ref"].as_str() {
        if !inside.contains(&reference) {
            inside.push(reference);
            let target = schema.pointer(reference.trim_start_matches('#')).expect("a definition");
            walk(schema, target, path, inside, keys);
            inside.pop();
        }
        return;
    }
    for form in ["oneOf", "anyOf", "allOf"].iter().filter_map(|f| node[*f].as_array()).flatten() {
        walk(schema, form, path, inside, keys);
    }
    if node["items"].is_object() {
        walk(schema, &node["items"], path, inside, keys);
    }
    for (key, below) in node["properties"].as_object().into_iter().flatten() {
        let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        walk(schema, below, &key, inside, keys);
        keys.insert(key);
    }
    let named = node["patternProperties"].as_object().into_iter().flatten().filter(|(pattern, _)| *pattern != "^x-");
    for below in named
        .map(|(_, below)| below)
        .chain(node["additionalProperties"].is_object().then(|| &node["additionalProperties"]))
    {
        walk(schema, below, path, inside, keys);
    }
}

// === a fixture ===

struct Fixture {
    /// Such as `services.healthcheck.test`.
    key: String,
    path: PathBuf,
    manifest: String,
    expected: String,
}

impl Fixture {
    fn all() -> Vec<Fixture> {
        let entries = std::fs::read_dir(root().join("cli/fixtures/keys")).expect("the fixtures are there");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
        paths.sort();
        paths.into_iter().map(Fixture::read).collect()
    }

    fn read(path: PathBuf) -> Fixture {
        let text = std::fs::read_to_string(&path).expect("readable");
        let at = text.find("\n# ").map_or(text.len(), |at| at + 1);
        let (manifest, expected) = text.split_at(at);
        let key = path.file_stem().expect("a name").to_string_lossy().into_owned();
        Fixture { key, manifest: manifest.to_owned(), expected: expected.to_owned(), path }
    }

    /// The manifest without the key.
    fn without(&self) -> String {
        let line = |line: &str| match line.split_once("#= ") {
            Some((before, other)) => format!("{}{other}\n", &before[..before.len() - before.trim_start().len()]),
            // An empty line, so that what stands below stays where it is.
            None if line.ends_with("#-") => "\n".to_owned(),
            None => format!("{line}\n"),
        };
        self.manifest.lines().map(line).collect()
    }

    /// Whether a marked line is about the key.
    fn is_about_its_key(&self) -> bool {
        let key = format!("{}:", self.key.rsplit('.').next().unwrap_or_default());
        self.manifest.lines().any(|line| (line.ends_with("#-") || line.contains("#= ")) && line.contains(&key))
    }

    /// What becomes of the key, in the words of the fixture.
    fn now(&self) -> String {
        let with = match read(&self.manifest) {
            Ok(seen) => seen,
            Err(problems) => return format!("# refused\n{}", comments("", &problems)),
        };
        let mut without = read(&self.without()).unwrap_or_default();
        // A service that the key brings is compared with a plain one of its name: what is usual says nothing.
        for name in with.services.difference(&without.services) {
            let plain = read(&format!("services: {{{name}: {{image: none}}}}\n")).expect("a plain service");
            without.fields.extend(plain.fields);
        }
        let new: Vec<&String> = with.notices.iter().filter(|n| !without.notices.contains(*n)).collect();
        let mut text = String::from(if new.is_empty() { "# honoured\n" } else { "# translated\n" });
        new.iter().for_each(|notice| text.push_str(&comments("notice ", notice)));
        for name in without.services.difference(&with.services) {
            text.push_str(&format!("# service {name} is not there\n"));
            let (docker, spec) = (format!("docker {name}."), format!("spec services.{name}."));
            without.fields.retain(|field, _| !field.starts_with(&docker) && !field.starts_with(&spec));
        }
        for (field, value) in &with.fields {
            if without.fields.get(field) != Some(value) && value != "[]" {
                text.push_str(&format!("# {field} = {value}\n"));
            }
        }
        let gone = without
            .fields
            .iter()
            .filter(|(field, value)| !with.fields.contains_key(*field) && !matches!(value.as_str(), "[]" | "{}"));
        gone.for_each(|(field, _)| text.push_str(&format!("# {field} is not there\n")));
        let behaviours = self.expected.lines().filter(|line| line.starts_with("# behaviour: "));
        behaviours.for_each(|line| text.push_str(&format!("{line}\n")));
        text
    }

    fn verdict(&self) -> &str {
        self.expected.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or("")
    }

    /// Nothing below this key is looked at.
    fn is_whole(&self) -> bool {
        self.verdict() == "refused" || (self.verdict() == "translated" && !self.expected.contains(" = "))
    }
}

fn comments(first: &str, text: &str) -> String {
    text.lines().map(|line| format!("# {first}{line}\n")).collect()
}

/// Whether a key above it is refused or has no effect, and it with it.
fn is_below_whole(key: &str, by_key: &BTreeMap<&str, &Fixture>) -> bool {
    key.match_indices('.').any(|(at, _)| by_key.get(&key[..at]).is_some_and(|f| f.is_whole()))
}

// === what becomes of a manifest ===

#[derive(Default)]
struct Seen {
    /// Fields of the spec (`spec ...`), of Docker's requests (`docker ...`), of builds and contents, with their values.
    fields: BTreeMap<String, String>,
    notices: BTreeSet<String>,
    services: BTreeSet<String>,
}

fn options(manifest: &str) -> LoadOptions {
    LoadOptions {
        inputs: vec![Input::Text { name: "compose.yaml".into(), bytes: manifest.into() }],
        profiles: Vec::new(),
        project_name: None,
        env: [("HOME", "/home/me"), ("SET", "yes"), ("PASSWORD", "secret")].map(|(k, v)| (k.into(), v.into())).into(),
        working_dir: DIRECTORY.into(),
    }
}

fn read(manifest: &str) -> Result<Seen, String> {
    let loaded = load(&options(manifest), &Files).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| p.to_string().replace("compose.yaml:", "")).collect();
        lines.join("\n")
    })?;
    let services = loaded.spec.services.keys().map(ToString::to_string).collect();
    let translations = loaded.notices.iter().filter(|notice| notice.translates);
    let notices = translations.map(|n| n.to_string().replace("compose.yaml:", "")).collect();
    let mut seen = Seen { fields: BTreeMap::new(), notices, services };
    flatten("spec", &serde_json::to_value(&loaded.spec).expect("serialisable"), &mut seen.fields);
    for (service, build) in &loaded.builds {
        let build = json!({
            "context": build.context, "dockerfile": build.dockerfile, "dockerfile_inline": build.dockerfile_inline, "args": build.args,
            "target": build.target, "labels": build.labels, "no_cache": build.no_cache, "tag": build.tag,
        });
        flatten(&format!("build {service}"), &build, &mut seen.fields);
    }
    for blob in &loaded.blobs {
        let content = String::from_utf8_lossy(&blob.content).into_owned();
        seen.fields.insert(format!("content {:?} {}", blob.kind, blob.name).to_lowercase(), json!(content).to_string());
    }
    for name in loaded.spec.services.keys() {
        flatten(&format!("docker {name}"), &in_docker(&loaded, name), &mut seen.fields);
    }
    Ok(seen)
}

/// The leaves of a JSON value. Absent, null, false and empty are the same to Docker and to us.
fn flatten(path: &str, value: &Value, fields: &mut BTreeMap<String, String>) {
    let dot = if path.contains(' ') && !path.ends_with(' ') { "." } else { " " };
    match value {
        Value::Null => {}
        Value::Object(entries) if !entries.is_empty() => {
            entries.iter().for_each(|(key, below)| flatten(&format!("{path}{dot}{key}"), below, fields))
        }
        Value::Array(items) if items.iter().any(|i| i.is_object()) => {
            items.iter().enumerate().for_each(|(n, below)| flatten(&format!("{path}[{n}]"), below, fields));
        }
        leaf => {
            fields.insert(path.to_owned(), leaf.to_string());
        }
    }
}

/// A node that allows everything and has a new engine.
fn facts() -> Facts {
    Facts { features: features(&Permission::ALL.into(), "1.99"), ..Facts::default() }
}

/// The requests that an agent would send for slot 1 of a service.
fn in_docker(loaded: &Loaded, name: &ServiceName) -> Value {
    let service = &loaded.spec.services[name];
    let identity = Identity { cluster: ClusterId(0xabcd), epoch: Epoch(1), node: NodeId(1) };
    let files = service
        .container
        .files
        .iter()
        .map(|f| (f.target.clone(), PathBuf::from(format!("/files/{}", f.name))))
        .collect();
    let request = CreateRequest {
        identity: identity.clone(),
        network: NodeNetwork {
            subnet: Ipv4Addr::new(10, 210, 0, 0),
            prefix: 24,
            gateway: Ipv4Addr::new(10, 210, 0, 1),
        },
        resolv_conf: "/files/resolv.conf".into(),
        files,
        name: format!("{}-{name}-1", loaded.spec.name),
        assignment: assignment(loaded, name, service),
    };
    let mut container =
        serde_json::to_value(create_body(&request, &facts()).expect("translated")).expect("serialisable");
    if let Some(labels) = container["Labels"].as_object_mut() {
        labels.retain(|label, _| !label.starts_with("wherry."));
    }
    let volumes: Vec<Value> = wanted_volumes(&request.assignment)
        .expect("translated")
        .iter()
        .map(|wanted| serde_json::to_value(volume_body(&identity, &request.assignment, wanted)).expect("serialisable"))
        .collect();
    container["Volume"] = volumes.into();
    container
}

fn assignment(loaded: &Loaded, name: &ServiceName, service: &ServiceSpec) -> Assignment {
    Assignment {
        task: TaskId(1),
        service: ServiceKey { project: loaded.spec.name.clone(), service: name.clone() },
        slot: Slot(1),
        generation: 1,
        desired: Desired::Run,
        addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 210, 0, 2))],
        spec_hash: service.container.hash(),
        container: service.container.clone(),
        restart: service.restart,
        health: service.health.clone(),
        host_ports: service.ports.iter().filter(|port| port.mode == PortMode::Host).cloned().collect(),
        expose: service.expose.clone(),
        volumes: loaded.spec.volumes.clone(),
        drain_ms: 0,
    }
}

// === the tests ===

#[test]
fn every_key_of_the_schema_has_a_fixture_or_stands_below_one_that_is_whole() {
    let fixtures = Fixture::all();
    let by_key: BTreeMap<&str, &Fixture> = fixtures.iter().map(|f| (f.key.as_str(), f)).collect();
    let known = keys_of_schema();
    assert!(known.len() > 300, "only {} keys were found in the schema", known.len());
    let missing: Vec<&String> =
        known.iter().filter(|key| !by_key.contains_key(key.as_str()) && !is_below_whole(key, &by_key)).collect();
    assert!(missing.is_empty(), "write cli/fixtures/keys/KEY.yaml for {missing:#?}");
    let strange: Vec<&&str> = by_key.keys().filter(|key| !known.contains(**key) && !key.contains("x-wherry")).collect();
    assert!(strange.is_empty(), "the schema has no {strange:?}");
}

#[test]
fn every_key_becomes_what_its_fixture_says() {
    let mut wrong = Vec::new();
    for fixture in Fixture::all() {
        let now = fixture.now();
        if std::env::var_os("WHERRY_UPDATE_EXPECT").is_some() {
            std::fs::write(&fixture.path, format!("{}{now}", fixture.manifest)).expect("writable");
        } else if now != fixture.expected {
            wrong.push(format!("{}\nwant:\n{}got:\n{now}", fixture.path.display(), fixture.expected));
        }
    }
    assert!(wrong.is_empty(), "{} fixtures:\n{}", wrong.len(), wrong.join("\n"));
}

/// The key of the schema that a path of a manifest is of: without the names that users give.
fn key_of(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut is_name = false;
    for part in path.split('.') {
        let part = part.split('[').next().unwrap_or_default();
        if !is_name {
            kept.push(part);
        }
        let named = match kept.as_slice() {
            [section] => ["services", "volumes", "networks", "configs", "secrets", "models"].contains(section),
            ["services", key] => {
                ["networks", "depends_on", "ulimits", "models"].contains(key) && !path.contains("volumes[")
            }
            _ => false,
        };
        is_name = named && !is_name;
    }
    kept.join(".")
}

#[test]
fn ctl_check_says_of_each_key_what_its_fixture_says() {
    let mut wrong = Vec::new();
    let fixtures = Fixture::all();
    let by_key: BTreeMap<&str, &Fixture> = fixtures.iter().map(|f| (f.key.as_str(), f)).collect();
    for fixture in fixtures.iter().filter(|f| !is_below_whole(&f.key, &by_key)) {
        let checked = check(&options(&fixture.manifest), &Files);
        // A key that is refused as a whole has no keys of its own.
        let is_it = |key: &str| key == fixture.key || (fixture.verdict() == "refused" && fixture.key.starts_with(key));
        let judged = checked.keys.iter().filter(|judged| is_it(&key_of(&judged.path)));
        let verdicts: BTreeSet<&str> = judged.map(|judged| judged.verdict.as_str()).collect();
        if !verdicts.contains(fixture.verdict()) {
            wrong.push(format!("{}: {} here, {verdicts:?} by ctl check", fixture.key, fixture.verdict()));
        }
        if checked.is_applyable() != (fixture.verdict() != "refused") {
            wrong.push(format!("{}: {}, but applyable: {}", fixture.key, fixture.verdict(), checked.is_applyable()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_fixture_is_about_its_key_and_what_is_honoured_is_seen() {
    let mut wrong = Vec::new();
    let fixtures = Fixture::all();
    let by_key: BTreeMap<&str, &Fixture> = fixtures.iter().map(|f| (f.key.as_str(), f)).collect();
    for fixture in &fixtures {
        if !fixture.is_about_its_key() {
            wrong.push(format!("{}: no line with the key ends in `#-` or `#= TEXT`", fixture.key));
        }
        let stands_alone = !is_below_whole(&fixture.key, &by_key);
        if stands_alone
            && read(&fixture.without()).is_err_and(|said| fixture.verdict() != "refused" || said == fixture.expected)
        {
            wrong.push(format!("{}: the manifest without the key is refused too: write `#= TEXT`", fixture.key));
        }
        let is_seen_in_docker = fixture.expected.contains("\n# docker ");
        let behaviours: Vec<&str> = fixture.expected.lines().filter_map(|l| l.strip_prefix("# behaviour: ")).collect();
        if fixture.verdict() == "honoured" && !is_seen_in_docker && behaviours.is_empty() {
            wrong.push(format!(
                "{}: no field of Docker shows it: write `# behaviour: FILE` of the test that does",
                fixture.key
            ));
        }
        let gone = behaviours.iter().filter(|file| !root().join(file).is_file());
        wrong.extend(gone.map(|file| format!("{}: there is no file {file}", fixture.key)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_schema_is_walked_whole() {
    let keys = keys_of_schema();
    for key in [
        "name",
        "services.image",
        "services.ports.target",
        "services.deploy.placement.preferences.spread",
        "networks.ipam.config.subnet",
    ] {
        assert!(keys.contains(key), "{key}");
    }
}
