//! The published schema of Compose against our tables: no key it knows may be unknown to us.

use serde_json::Value;

use super::world;

const SCHEMA: &str = include_str!("../../../schema/compose-spec.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).expect("the schema is JSON")
}

fn keys<'a>(schema: &'a Value, place: &str) -> Vec<&'a str> {
    let properties = schema.pointer(place).and_then(Value::as_object).unwrap_or_else(|| panic!("no {place}"));
    properties.keys().map(String::as_str).collect()
}

/// Writes each key alone where `before` ends and looks at what is said. A list is wrong for some keys, but no reason to not know them.
fn check(place: &str, before: &str, after: &str, least: usize) {
    let schema = schema();
    let keys = keys(&schema, place);
    assert!(keys.len() >= least, "{place} has only {}", keys.len());
    for key in keys {
        let manifest = format!("{before}{key}: []{after}\n");
        let said = match world().load(manifest.as_str()) {
            Ok(_) => String::new(),
            Err(problems) => super::shown(&problems),
        };
        assert!(!said.contains("unknown key"), "{manifest}{said}");
    }
}

#[test]
fn every_key_of_compose_is_honoured_noticed_or_refused_by_name() {
    let service = "services:\n  web:\n    image: a\n    ";
    let top = "services: {web: {image: a}}\n";
    check("/properties", "", "", 9);
    check("/definitions/service/properties", "services:\n  web:\n    ", "", 90);
    check("/definitions/service/properties/build/oneOf/1/properties", "services:\n  web:\n    build:\n      ", "", 20);
    check("/definitions/healthcheck/properties", &format!("{service}healthcheck: {{"), "}", 7);
    check("/definitions/deployment/properties", &format!("{service}deploy: {{"), "}", 9);
    let resources = "/definitions/deployment/properties/resources/properties";
    check(&format!("{resources}/limits/properties"), &format!("{service}deploy: {{resources: {{limits: {{"), "}}}", 3);
    check(
        &format!("{resources}/reservations/properties"),
        &format!("{service}deploy: {{resources: {{reservations: {{"),
        "}}}",
        4,
    );
    check("/definitions/service/properties/ports/items/oneOf/2/properties", &format!("{service}ports: [{{"), "}]", 7);
    let mount = "/definitions/service/properties/volumes/items/oneOf/1/properties";
    check(mount, &format!("{service}volumes: [{{"), "}]", 9);
    check(&format!("{mount}/bind/properties"), &format!("{service}volumes: [{{bind: {{"), "}}]", 4);
    check(&format!("{mount}/volume/properties"), &format!("{service}volumes: [{{volume: {{"), "}}]", 3);
    check(&format!("{mount}/tmpfs/properties"), &format!("{service}volumes: [{{tmpfs: {{"), "}}]", 2);
    let network =
        "/definitions/service/properties/networks/oneOf/1/patternProperties/^[a-zA-Z0-9._-]+$/oneOf/0/properties";
    check(network, &format!("{service}networks: {{default: {{"), "}}", 9);
    let dependency =
        "/definitions/service/properties/depends_on/oneOf/1/patternProperties/^[a-zA-Z0-9._-]+$/properties";
    check(dependency, &format!("{service}depends_on: {{web: {{"), "}}", 3);
    check("/definitions/service_config_or_secret/items/oneOf/1/properties", &format!("{service}secrets: [{{"), "}]", 5);
    check("/definitions/env_file/oneOf/1/items/oneOf/1/properties", &format!("{service}env_file: [{{"), "}]", 3);
    for (definition, section, least) in
        [("network", "networks", 10), ("volume", "volumes", 5), ("config", "configs", 7), ("secret", "secrets", 8)]
    {
        check(&format!("/definitions/{definition}/properties"), &format!("{top}{section}: {{x: {{"), "}}", least);
    }
}

/// The tables hold no key twice, and none that Compose does not know except those its prose is ahead with.
#[test]
fn the_table_of_services_holds_only_keys_of_compose() {
    let schema = schema();
    let known = keys(&schema, "/definitions/service/properties");
    let mut seen = Vec::new();
    for (key, hint) in super::super::lower::keys::SERVICE {
        assert!(known.contains(key) || *key == "pre_start", "{key}");
        assert!(!seen.contains(key) && !hint.is_empty(), "{key}");
        seen.push(key);
    }
}
