//! What is honoured, key by key: the typed project that comes out.

use std::collections::BTreeMap;

use proto::id::BlobDigest;
use proto::spec::BlobKind;
use serde_json::{Value, json};

use super::{World, indented, loaded, notices, spec, web, world};

/// Keys of the service `web`, and what must stand at a place of its JSON.
fn check(keys: &str, place: &str, want: Value) {
    let service = serde_json::to_value(web(keys)).expect("serialisable");
    assert_eq!(service.pointer(place), Some(&want), "{keys}\n{service:#}");
}

#[test]
fn commands() {
    check("command: nginx -g 'daemon off;'", "/container/command", json!(["nginx", "-g", "daemon off;"]));
    check("command: [a, \"b c\"]", "/container/command", json!(["a", "b c"]));
    check("command: []", "/container/command", json!([]));
    check("command:", "/container/command", Value::Null);
    check("entrypoint: \"\"", "/container/entrypoint", json!([]));
    check("entrypoint: /bin/sh -c", "/container/entrypoint", json!(["/bin/sh", "-c"]));
    check("command: echo $$HOME $SET", "/container/command", json!(["echo", "$HOME", "yes"]));
}

#[test]
fn environment() {
    check(
        "environment:\n  A: text\n  B: 1.0\n  C: true\n  D: \"\"\n  SET:\n  NOPE:",
        "/container/environment",
        json!({"A": "text", "B": "1.0", "C": "true", "D": "", "SET": "yes"}),
    );
    check("environment: [A=1=2, SET, B=]", "/container/environment", json!({"A": "1=2", "SET": "yes", "B": ""}));
    check("env_file: web.env\nenvironment: {SIZE: 2}", "/container/environment", json!({"COLOR": "red", "SIZE": "2"}));
    check(
        "env_file:\n  - path: ./web.env\n  - path: gone.env\n    required: false",
        "/container/environment",
        json!({"COLOR": "red", "SIZE": "1"}),
    );
    let keys = "services:\n  web:\n    image: a\n    env_file: [a.env, {path: b.env, format: raw}]\n";
    let world = World::default().file("a.env", "A=1\nB=\"${A}x\"\n").file("b.env", "C='${A}'\nA=2\n");
    let loaded = world.load(keys).expect("good");
    let service = loaded.spec.services.values().next().expect("one");
    let got: Vec<_> = service.container.environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(got, ["A=2", "B=1x", "C='${A}'"]);
}

fn port(published: u16, target: u16) -> Value {
    json!({"name": null, "target": target, "published": published, "host_ip": null, "protocol": "tcp", "mode": "ingress"})
}

fn with(mut port: Value, key: &str, value: Value) -> Value {
    port[key] = value;
    port
}

#[test]
fn ports() {
    for (written, want) in [
        ("\"80\"", json!([port(0, 80)])),
        ("80", json!([port(0, 80)])),
        ("\"8080:80\"", json!([port(8080, 80)])),
        ("8080:80", json!([port(8080, 80)])),
        ("\"127.0.0.1:8080:80\"", json!([with(port(8080, 80), "host_ip", json!("127.0.0.1"))])),
        ("\"127.0.0.1::80\"", json!([with(port(0, 80), "host_ip", json!("127.0.0.1"))])),
        (
            "\"[::1]:8080:80/udp\"",
            json!([with(with(port(8080, 80), "host_ip", json!("::1")), "protocol", json!("udp"))]),
        ),
        ("\"8080-8081:80-81\"", json!([port(8080, 80), port(8081, 81)])),
        ("\"80-81\"", json!([port(0, 80), port(0, 81)])),
        ("\"53:53/UDP\"", json!([with(port(53, 53), "protocol", json!("udp"))])),
        ("\"${NOPE:-8080}:80\"", json!([port(8080, 80)])),
        ("{target: 80, published: \"8080\"}", json!([port(8080, 80)])),
        ("{target: \"80\", published: 8080, name: http}", json!([with(port(8080, 80), "name", json!("http"))])),
        ("{target: 80, published: 0}", json!([port(0, 80)])),
        ("{target: 80}", json!([port(0, 80)])),
        ("{target: 80-81, published: 90-91}", json!([port(90, 80), port(91, 81)])),
        (
            "{target: 80, published: 80, mode: host, protocol: udp, host_ip: \"::\"}",
            json!([with(
                with(with(port(80, 80), "mode", json!("host")), "protocol", json!("udp")),
                "host_ip",
                json!("::")
            )]),
        ),
    ] {
        check(&format!("ports:\n  - {written}"), "/ports", want);
    }
    check(
        "expose: [\"80\", 81, 90-91/udp]",
        "/expose",
        json!([
            {"port": 80, "protocol": "tcp"}, {"port": 81, "protocol": "tcp"},
            {"port": 90, "protocol": "udp"}, {"port": 91, "protocol": "udp"},
        ]),
    );
}

#[test]
fn ports_that_only_look_alike_are_accepted() {
    let two = "services:\n  a:\n    image: x\n    ports: [\"127.0.0.1:80:80\", \"80:80/udp\", \"81\", \"82\"]\n  b:\n    image: x\n    ports: [\"127.0.0.2:80:80\", \"[::]:80:80\", \"81\"]\n";
    assert_eq!(spec(two).services.len(), 2);
}

#[test]
fn mounts() {
    let manifest =
        |keys: &str| format!("services:\n  web:\n    image: a\n    volumes:\n      - {keys}\nvolumes:\n  data:\n");
    for (written, source, read_only) in [
        ("data:/x", json!({"volume": {"name": "data"}}), false),
        ("data:/x:ro", json!({"volume": {"name": "data"}}), true),
        ("/x", json!("anonymous"), false),
        ("./html:/x:rw,z", json!({"bind": {"path": "/home/me/shop/html", "create": true}}), false),
        ("../html:/x", json!({"bind": {"path": "/home/me/html", "create": true}}), false),
        ("~/html:/x", json!({"bind": {"path": "/home/me/html", "create": true}}), false),
        ("/etc/x:/x", json!({"bind": {"path": "/etc/x", "create": true}}), false),
        ("{type: volume, source: data, target: /x, read_only: true}", json!({"volume": {"name": "data"}}), true),
        ("{type: volume, target: /x}", json!("anonymous"), false),
        ("{type: bind, source: ., target: /x}", json!({"bind": {"path": "/home/me/shop", "create": true}}), false),
        (
            "{type: bind, source: /a, target: /x, bind: {create_host_path: false}}",
            json!({"bind": {"path": "/a", "create": false}}),
            false,
        ),
        ("{type: tmpfs, target: /x}", json!({"tmpfs": {"size_bytes": null, "mode": null}}), false),
        (
            "{type: tmpfs, target: /x, tmpfs: {size: 64m, mode: 0700}}",
            json!({"tmpfs": {"size_bytes": 67108864, "mode": 448}}),
            false,
        ),
    ] {
        let services = spec(&manifest(written)).services;
        let got = serde_json::to_value(&services.values().next().expect("one").container.mounts).expect("serialisable");
        assert_eq!(got, json!([{"source": source, "target": "/x", "read_only": read_only}]), "{written}");
    }
}

#[test]
fn declared_volumes_and_networks() {
    let manifest = "services:\n  a:\n    image: x\n    networks: [front]\n  b:\n    image: x\n    networks: {front: , default: {}}\n  c:\n    image: x\nvolumes:\n  plain:\n  named: {name: my.data, driver: local, labels: {a: b}}\n  ext: {external: true}\nnetworks:\n  front: {driver: bridge, name: f}\n  back:\n";
    let loaded = loaded(manifest);
    let got = serde_json::to_value(&loaded.spec).expect("serialisable");
    assert_eq!(got["networks"], json!(["back", "default", "front"]));
    assert_eq!(got["services"]["a"]["networks"], json!(["front"]));
    assert_eq!(got["services"]["b"]["networks"], json!(["default", "front"]));
    assert_eq!(got["services"]["c"]["networks"], json!(["default"]));
    assert_eq!(got["volumes"]["plain"], json!({"docker_name": null, "external": false, "labels": {}}));
    assert_eq!(got["volumes"]["named"], json!({"docker_name": "my.data", "external": false, "labels": {"a": "b"}}));
    assert_eq!(got["volumes"]["ext"], json!({"docker_name": "ext", "external": true, "labels": {}}));
    assert_eq!(
        notices(&loaded),
        "compose.yaml:2:3: restart always unless `restart: \"no\"` is written: a, b, c\n\
         compose.yaml:14:1: networks are honoured as names: traffic between them is not separated yet\n\
         compose.yaml:15:11: `networks.front.driver` has no effect: the cluster has a network of its own\n\
         compose.yaml:15:27: `networks.front.name` has no effect: the network is known by its key\n"
    );
}

#[test]
fn health() {
    let check_of = |probe: Value| json!({"check": {"probe": probe, "interval_ms": 30000, "timeout_ms": 30000, "retries": 3, "start_period_ms": 0, "start_interval_ms": 1000}});
    let exec = |argv: &[&str]| check_of(json!({"exec": {"argv": argv}}));
    check("healthcheck:", "/health", json!("from_image"));
    check("healthcheck: {disable: true}", "/health", json!("disabled"));
    check("healthcheck: {test: [NONE]}", "/health", json!("disabled"));
    check("healthcheck: {test: curl -f x}", "/health", exec(&["/bin/sh", "-c", "curl -f x"]));
    check("healthcheck: {test: [CMD, curl, x]}", "/health", exec(&["curl", "x"]));
    check(
        "healthcheck: {test: [CMD-SHELL, curl x || exit 1]}",
        "/health",
        exec(&["/bin/sh", "-c", "curl x || exit 1"]),
    );
    check(
        "healthcheck: {test: [CMD, a], interval: 1m30s, timeout: 500ms, retries: 5, start_period: 1m, start_interval: 2s}",
        "/health",
        json!({"check": {"probe": {"exec": {"argv": ["a"]}}, "interval_ms": 90000, "timeout_ms": 500, "retries": 5, "start_period_ms": 60000, "start_interval_ms": 2000}}),
    );
    check("x-wherry: {health: {http: {port: 80}}}", "/health", check_of(json!({"http": {"port": 80, "path": "/"}})));
    check(
        "x-wherry: {health: {tcp: {port: 80}, interval: 5s, retries: 1}}",
        "/health",
        json!({"check": {"probe": {"tcp": {"port": 80}}, "interval_ms": 5000, "timeout_ms": 30000, "retries": 1, "start_period_ms": 0, "start_interval_ms": 1000}}),
    );
}

#[test]
fn numbers_and_limits() {
    check("scale: 3", "/replicas", json!(3));
    check("scale: 3\ndeploy: {replicas: \"3\", mode: replicated}", "/replicas", json!(3));
    check("deploy: {replicas: 0}", "/replicas", json!(0));
    check("deploy: {replicas: \"${NOPE:-4}\"}", "/replicas", json!(4));
    check(
        "deploy: {resources: {limits: {cpus: 0.5, memory: 64m, pids: 100}}}",
        "/container/limits",
        json!({"cpu_millis": 500, "memory_bytes": 67108864, "pids": 100}),
    );
    check("deploy: {resources: {limits: {pids: -1}}}", "/container/limits/pids", Value::Null);
    check(
        "deploy: {resources: {reservations: {cpus: \"1.5\", memory: 1gb}}}",
        "/reservations",
        json!({"cpu_millis": 1500, "memory_bytes": 1073741824}),
    );
}

#[test]
fn restart_policies() {
    check("", "/restart", json!("always"));
    check("restart: no", "/restart", json!("no"));
    check("restart: \"no\"", "/restart", json!("no"));
    check("restart: unless-stopped", "/restart", json!("always"));
    check("restart: on-failure", "/restart", json!({"on_failure": {"max": 0}}));
    check("restart: on-failure:5", "/restart", json!({"on_failure": {"max": 5}}));
}

#[test]
fn restart_policies_of_deploy() {
    check("deploy: {restart_policy: {}}", "/restart", json!("always"));
    check("deploy: {restart_policy: {condition: none}}", "/restart", json!("no"));
    check("deploy: {restart_policy: {condition: on-failure}}", "/restart", json!({"on_failure": {"max": 0}}));
    let both = "restart: always\ndeploy: {restart_policy: {condition: on-failure, max_attempts: 3}}";
    check(both, "/restart", json!({"on_failure": {"max": 3}}));
    let keys = "restart: \"no\"\ndeploy:\n  endpoint_mode: vip\n  restart_policy: {delay: 1s, window: 1m, max_attempts: 3}\n  placement: {constraints: [node.role == worker]}";
    assert_eq!(
        notices(&loaded(&format!("services:\n  web:\n    image: a\n{}", indented(keys)))),
        "compose.yaml:4:5: `services.web.restart` has no effect beside `deploy.restart_policy`\n\
         compose.yaml:6:7: `services.web.deploy.endpoint_mode: vip` is taken as dnsrr: names answer the addresses of all ready tasks\n\
         compose.yaml:7:24: `services.web.deploy.restart_policy.delay` has no effect: the first restart is at once, later ones back off from 100 ms to 60 s\n\
         compose.yaml:7:35: `services.web.deploy.restart_policy.window` has no effect: failures count until a task was ready for a while\n\
         compose.yaml:7:47: `services.web.deploy.restart_policy.max_attempts` has no effect without `condition: on-failure`: restarts go on, ever slower\n\
         compose.yaml:8:33: `services.web.deploy.placement.constraints[0]` has no effect: every node is a worker, servers run no tasks\n"
    );
}

#[test]
fn placement() {
    check(
        "deploy: {placement: {constraints: [node.labels.zone==a, \"node.platform.arch != arm64\"], preferences: [{spread: node.labels.rack}], max_replicas_per_node: 2}}",
        "/placement",
        json!({"constraints": [{"attribute": "node.labels.zone", "equal": true, "value": "a"}, {"attribute": "node.platform.arch", "equal": false, "value": "arm64"}], "spread": ["node.labels.rack"], "max_per_node": 2}),
    );
    check("deploy: {labels: [a=b]}", "/labels", json!({"a": "b"}));
    check("deploy: {mode: global}", "/mode", json!("global"));
    let spread = "services:\n  web:\n    image: a\n    restart: always\n    deploy: {mode: global, placement: {preferences: [{spread: node.labels.a}]}}\n";
    assert_eq!(
        notices(&loaded(spread)),
        "compose.yaml:5:40: `services.web.deploy.placement.preferences` has no effect with `mode: global`: it is on each node\n"
    );
}

#[test]
fn the_simple_keys() {
    for (written, place, want) in [
        ("hostname: a.b", "hostname", json!("a.b")),
        ("container_name: my_web", "container_name", json!("my_web")),
        ("user: \"1000:1000\"", "user", json!("1000:1000")),
        ("working_dir: /srv", "working_dir", json!("/srv")),
        ("stop_grace_period: 1m", "stop_grace_ms", json!(60000)),
        ("", "stop_grace_ms", json!(10000)),
        ("stop_signal: SIGQUIT", "stop_signal", json!("SIGQUIT")),
        ("stop_signal: \"3\"", "stop_signal", json!("3")),
        ("init: true", "init", json!(true)),
        ("read_only: \"true\"", "read_only", json!(true)),
        ("labels: [a=b, c]", "labels", json!({"a": "b", "c": ""})),
        ("labels: {a: 1, b: }", "labels", json!({"a": "1", "b": ""})),
        ("pull_policy: always", "pull", json!("always")),
        ("pull_policy: if_not_present", "pull", json!("missing")),
        ("x-mine: {anything: [goes]}", "image", json!("nginx")),
    ] {
        check(written, &format!("/container/{place}"), want);
    }
}

#[test]
fn dependencies() {
    let manifest = "services:\n  web:\n    image: a\n    restart: always\n    depends_on:\n      db: {condition: service_healthy, restart: false}\n      job: {condition: service_completed_successfully}\n      gone: {condition: service_started, required: false}\n  db:\n    image: a\n    depends_on: [job]\n    restart: always\n  job:\n    image: a\n";
    let loaded = loaded(manifest);
    let got = serde_json::to_value(&loaded.spec.services).expect("serialisable");
    assert_eq!(
        got["web"]["depends_on"],
        json!({"db": {"condition": "healthy", "required": true}, "job": {"condition": "completed", "required": true}})
    );
    assert_eq!(got["db"]["depends_on"], json!({"job": {"condition": "started", "required": true}}));
    assert_eq!(got["job"]["restart"], json!("no"));
    assert_eq!(
        notices(&loaded),
        "compose.yaml:8:7: there is no service `gone`: it is not waited for, as `required: false` allows\n\
         compose.yaml:13:3: `job` runs once: others wait for it to complete, and it has no `restart`\n"
    );
}

#[test]
fn a_file_is_its_readers_unless_it_says_otherwise() {
    let owners = |user: &str| {
        let text = format!(
            "services:\n  web:\n    image: a\n    user: \"{user}\"\n    secrets: [one, {{source: one, target: b, uid: \"7\"}}]\nsecrets:\n  one: {{environment: PASSWORD}}\n"
        );
        let loaded =
            world().env("PASSWORD", "geheim").load(text.as_str()).unwrap_or_else(|p| panic!("{}", super::shown(&p)));
        let files = loaded.spec.services.values().next().expect("a service").container.files.clone();
        files.iter().map(|f| format!("{}:{} {:o}", f.uid, f.gid, f.mode)).collect::<Vec<_>>()
    };
    assert_eq!(owners("1000:2000"), ["1000:2000 400", "7:2000 400"]);
    assert_eq!(owners("1000"), ["1000:0 400", "7:0 400"]);
    assert_eq!(owners("nobody"), ["0:0 400", "7:0 400"]);
}

#[test]
fn configs_and_secrets() {
    let manifest = "services:\n  web:\n    image: a\n    configs:\n      - one\n      - {source: two, target: /etc/two, uid: \"1000\", gid: 7, mode: 0440}\n    secrets:\n      - one\n      - {source: one, target: other, mode: \"0444\"}\nconfigs:\n  one: {content: \"hello $SET\"}\n  two: {file: ./two.conf}\n  unused: {file: ./gone}\nsecrets:\n  one: {environment: PASSWORD}\n";
    let world = world().file("two.conf", "2").env("PASSWORD", "geheim");
    let loaded = world.load(manifest).unwrap_or_else(|p| panic!("{}", super::shown(&p)));
    let contents: Vec<_> = loaded.blobs.iter().map(|b| (b.kind, b.name.as_str(), b.content.as_slice())).collect();
    assert_eq!(
        contents,
        [
            (BlobKind::Config, "one", b"hello yes".as_slice()),
            (BlobKind::Config, "two", b"2"),
            (BlobKind::Secret, "one", b"geheim")
        ]
    );
    assert!(!format!("{loaded:?}").contains("geheim"), "a secret is never shown");
    assert_eq!(
        loaded.with_digests(&BTreeMap::new()).expect_err("none").to_string(),
        "the config `one` was not uploaded: its digest is missing"
    );
    let digests = loaded
        .blobs
        .iter()
        .map(|b| ((b.kind, b.name.clone()), BlobDigest(format!("{:?}-{}", b.kind, b.name))))
        .collect();
    let spec = loaded.with_digests(&digests).expect("all there");
    let files: Vec<_> = spec.services.values().flat_map(|s| &s.container.files).collect();
    let got: Vec<_> =
        files.iter().map(|f| format!("{} {} {}:{} {:o}", f.digest, f.target, f.uid, f.gid, f.mode)).collect();
    assert_eq!(
        got,
        [
            "Config-one /one 0:0 444",
            "Config-two /etc/two 1000:7 440",
            "Secret-one /run/secrets/one 0:0 400",
            "Secret-one /run/secrets/other 0:0 444"
        ]
    );
}

#[test]
fn builds() {
    let manifest = "services:\n  a:\n    build: ./a\n  b:\n    image: my/b:1\n    build: {context: .., dockerfile: D, target: t, args: [X=1, SET, NOPE], labels: {l: m}, no_cache: true}\n  c:\n    build: {dockerfile_inline: FROM scratch}\n";
    let loaded = loaded(manifest);
    let image = |name: &str| loaded.spec.services[&name.parse().expect("a name")].container.image.clone();
    assert_eq!([image("a"), image("b"), image("c")], ["shop-a", "my/b:1", "shop-c"]);
    let builds: Vec<_> = loaded.builds.values().collect();
    assert_eq!((builds[0].context.as_path(), builds[0].tag.as_str()), ("/home/me/shop/a".as_ref(), "shop-a"));
    assert_eq!(builds[1].context.as_path(), std::path::Path::new("/home/me"));
    assert_eq!(builds[1].args, BTreeMap::from([("SET".into(), "yes".into()), ("X".into(), "1".into())]));
    assert_eq!(
        (builds[1].dockerfile.as_deref(), builds[1].target.as_deref(), builds[1].no_cache),
        (Some("D"), Some("t"), true)
    );
    assert_eq!((builds[1].tag.as_str(), builds[1].labels.len()), ("my/b:1", 1));
    assert_eq!(
        (builds[2].context.as_path(), builds[2].dockerfile_inline.as_deref()),
        ("/home/me/shop".as_ref(), Some("FROM scratch"))
    );
    assert!(
        notices(&loaded).contains("6:69: the build argument `NOPE` has no value here and is left out"),
        "{}",
        notices(&loaded)
    );
}

#[test]
fn anchors_and_merges() {
    let manifest = "x-base: &base\n  image: nginx\n  restart: always\n  environment: &env {A: 1, B: 2}\nservices:\n  a:\n    <<: *base\n    image: mine\n  b:\n    <<: [{image: first}, *base]\n    environment:\n      <<: *env\n      B: 3\n";
    let got = serde_json::to_value(spec(manifest).services).expect("serialisable");
    assert_eq!(got["a"]["container"]["image"], json!("mine"));
    assert_eq!(got["a"]["container"]["environment"], json!({"A": "1", "B": "2"}));
    assert_eq!(got["b"]["container"]["image"], json!("first"));
    assert_eq!(got["b"]["container"]["environment"], json!({"A": "1", "B": "3"}));
}

#[test]
fn the_project_is_named_as_compose_does() {
    let services = "services:\n  web:\n    image: \"x:${COMPOSE_PROJECT_NAME}\"\n";
    let named = format!("name: ${{NOPE:-top}}\n{services}");
    let name = |world: World, manifest: &str| {
        let loaded = world.load(manifest).expect("good");
        let image = loaded.spec.services.values().next().expect("one").container.image.clone();
        assert_eq!(image, format!("x:{}", loaded.spec.name), "the manifest sees the name");
        loaded.spec.name.to_string()
    };
    assert_eq!(name(world(), services), "shop");
    assert_eq!(name(world(), &named), "top");
    assert_eq!(name(world().file(".env", "COMPOSE_PROJECT_NAME=dot"), &named), "dot");
    assert_eq!(
        name(world().env("COMPOSE_PROJECT_NAME", "env").file(".env", "COMPOSE_PROJECT_NAME=dot"), &named),
        "env"
    );
    assert_eq!(name(world().env("COMPOSE_PROJECT_NAME", "env").named("given"), &named), "given");
}

#[test]
fn the_environment_wins_over_the_dotenv_file() {
    let manifest = "services:\n  web:\n    image: ${A}/${B}\n    environment: [A, B]\n";
    let loaded = World::default().file(".env", "A=file\nB=file\n").env("A", "env").load(manifest).expect("good");
    let container = &loaded.spec.services.values().next().expect("one").container;
    assert_eq!(container.image, "env/file");
    assert_eq!(container.environment, BTreeMap::from([("A".into(), "env".into()), ("B".into(), "file".into())]));
}

#[test]
fn notices_say_what_is_otherwise() {
    let keys = "restart: unless-stopped\nlinks: [db]\nattach: false\ndevelop: {watch: []}\ncommand: a | b\nports:\n  - {target: 80, app_protocol: http}\nenvironment: [NOPE]\nhostname: a${GONE}";
    let manifest = format!("version: \"3\"\nservices:\n  web:\n    image: a\n{}", indented(keys));
    assert_eq!(
        notices(&loaded(&manifest)),
        "compose.yaml:1:1: `version` has no meaning any more and can be removed\n\
         compose.yaml:5:5: `restart: unless-stopped` is taken as `always`: a service is stopped by `ctl scale` or `ctl delete`\n\
         compose.yaml:6:5: `links` is not needed: services reach each other by name; names after a `:` in it are not made\n\
         compose.yaml:7:5: `attach` has no meaning on a cluster: use `ctl logs -f`\n\
         compose.yaml:8:5: `develop` is read by Compose only: files are not watched\n\
         compose.yaml:9:14: `services.web.command` is not read by a shell: `|` is passed on as it is; for a shell write [\"sh\", \"-c\", \"...\"]\n\
         compose.yaml:11:22: `services.web.ports[0].app_protocol` has no effect: connections are forwarded as they come\n\
         compose.yaml:12:19: the variable `NOPE` has no value here and is left out\n\
         compose.yaml:13:15: the variable `GONE` is not set: taken as empty\n"
    );
}

#[test]
fn names_that_begin_like_an_extension_are_names() {
    let manifest =
        "services:\n  x-ray:\n    image: a\n    volumes: [\"x-v:/v\"]\nvolumes:\n  x-v:\nx-free: [anything]\n";
    let spec = spec(manifest);
    assert_eq!((spec.services.len(), spec.volumes.len()), (1, 1));
}

#[test]
fn line_ends_marks_and_tabs_of_other_editors() {
    for manifest in [
        "services:\r\n  web:\r\n    image: nginx\r\n    command: \"a b\"\r\n",
        "\u{feff}services:\n  web:\n    image: nginx\n    command: a b\n",
        "services:\n  web:\n    image: nginx\t# said\n    command: [a,\tb]\n",
        "%YAML 1.2\n---\nservices:\n  web:\n    image: nginx\n    command: >-\n      a\n      b\n...\n",
        "{\"services\": {\"web\": {\"image\": \"nginx\", \"command\": [\"a\", \"b\"]}}}",
        "services:\n  web:\n    image: nginx\n    command:\n    - a\n    - b",
    ] {
        let services = spec(manifest).services;
        let container = &services.values().next().expect("one").container;
        let got = (container.image.as_str(), container.command.clone().unwrap_or_default());
        assert_eq!(got, ("nginx", vec!["a".to_owned(), "b".to_owned()]), "{manifest:?}");
    }
}

/// A file as people have it.
#[test]
fn a_usual_file_is_honoured_whole() {
    let manifest = r#"
name: blog
x-logging: &quiet
  labels: {tier: back}
services:
  proxy:
    image: nginx:${NGINX:-1.27}
    restart: always
    ports: ["80:80", "127.0.0.1:8443:443"]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro"]
    depends_on: [app]
    networks: [front]
  app:
    <<: *quiet
    build: {context: ./app, target: prod}
    restart: unless-stopped
    environment:
      DATABASE_URL: postgres://app@db/blog
      SET:
    expose: ["8000"]
    deploy: {replicas: 3, resources: {limits: {cpus: "0.50", memory: 256M}, reservations: {memory: 64M}}}
    depends_on:
      db: {condition: service_healthy}
    secrets: [db_password]
    networks: [front, back]
    x-wherry: {health: {http: {port: 8000, path: /healthz}, interval: 5s}}
  db:
    image: postgres:16-alpine
    restart: always
    volumes: ["data:/var/lib/postgresql/data"]
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -U $${POSTGRES_USER:-app}"]
      interval: 10s
      retries: 5
    networks: [back]
volumes: {data: }
networks: {front: , back: }
secrets: {db_password: {environment: SET}}
"#;
    let loaded = loaded(manifest);
    let got = serde_json::to_value(&loaded.spec).expect("serialisable");
    assert_eq!(got["name"], json!("blog"));
    assert_eq!(got["networks"], json!(["back", "front"]));
    assert_eq!(
        got["services"]["db"]["health"]["check"]["probe"]["exec"]["argv"][2],
        json!("pg_isready -U ${POSTGRES_USER:-app}")
    );
    assert_eq!(got["services"]["app"]["container"]["image"], json!("blog-app"));
    assert_eq!(got["services"]["app"]["container"]["labels"], json!({"tier": "back"}));
    assert_eq!(loaded.notices.len(), 2, "{}", notices(&loaded));
}

#[test]
fn updates() {
    let keys = "deploy:\n  update_config: {parallelism: 2, delay: 10s, monitor: 1s, max_failure_ratio: 0.25, \
                failure_action: pause, order: stop-first}\n  rollback_config: {parallelism: 0, failure_action: continue}\n\
                x-wherry: {drain: 500ms, update: {deadline: 30s}}";
    let update = json!({"parallelism": 2, "delay_ms": 10_000, "order": "stop_first", "monitor_ms": 1_000,
        "on_failure": "pause", "max_failures_per_mille": 250, "deadline_ms": 30_000});
    check(keys, "/update", update);
    let rollback = json!({"parallelism": 0, "delay_ms": 0, "order": null, "monitor_ms": 5_000,
        "on_failure": "continue", "max_failures_per_mille": 0, "deadline_ms": 30_000});
    check(keys, "/rollback", rollback);
    check(keys, "/drain_ms", json!(500));
    let plain = serde_json::to_value(web("")).expect("serialisable");
    assert!(plain.get("update").is_none() && plain.get("drain_ms").is_none(), "what is not written is not sent");
}

#[test]
fn an_order_that_cannot_be_had_is_said() {
    let manifest = |more: &str| {
        format!(
            "services:\n  web:\n    image: a\n    deploy:\n      update_config:\n        order: start-first\n{more}"
        )
    };
    let said = notices(&loaded(&manifest("    volumes: [\"data:/data\"]\nvolumes: {data: {}}\n")));
    let told = "6:9: `order: start-first` cannot be had, the old container stops first: both write to volume `data`";
    assert!(said.contains(told), "{said}");
    let said = notices(&loaded(&manifest("    volumes: [\"data:/data:ro\"]\nvolumes: {data: {}}\n")));
    assert!(!said.contains("start-first"), "{said}");
}
