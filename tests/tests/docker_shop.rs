//! Promise: the shop runs from its Compose file; its parts find each other by name, its config reaches it, its replicas
//! take turns; what `ctl` lists has a stable shape, and applying the same file again touches nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::docker::dev::Dev;
use tests::docker::engine::docker;
use tests::docker::until_true;
use tests::docker::wire::{free_port, get_json, get_local, lookup};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path).canonicalize().expect("an example")
}

fn names(items: &Value) -> Vec<&str> {
    items.as_array().expect("a list").iter().map(|item| item["name"].as_str().expect("a name")).collect()
}

#[test]
fn the_shop_runs_and_applying_it_again_touches_nothing() {
    let mut dev = Dev::prepare("shop");
    let (port, file) = (free_port(), example("shop/compose.yaml").display().to_string());
    let port_text = port.to_string();
    let shop = [("SHOP_PORT", port_text.as_str())];
    dev.begin();
    let applied = dev.ctl_with(&["apply", "-f", &file], &shop).expect(0);
    assert!(applied.out.contains(&format!("http://localhost:{port}")), "the address is printed: {}", applied.out);

    let all = get_json(port, "/api/all");
    assert_eq!(names(&all["services"]), ["front", "user", "product", "cart", "payment"]);
    assert_eq!(all["state"], "ok", "{all}");
    assert_eq!(
        all["services"][2]["data"]["source"], "/etc/shop/catalogue.json",
        "the config is read, not the built-in"
    );

    both_replicas_answer(port);
    names_resolve(&dev);
    lists_have_their_shape(&dev);

    let before = dev.containers("shop");
    assert_eq!(before.len(), 6);
    let again = dev.ctl_with(&["apply", "-f", &file], &shop).expect(0);
    assert!(again.out.contains("no change"), "{}", again.out);
    assert_eq!(dev.containers("shop"), before, "same containers, same start times");

    let deleted = dev.ctl(&["delete", "project", "shop", "--yes"]).expect(0);
    assert!(deleted.out.contains("shop"), "{}", deleted.out);
    assert_eq!(dev.containers("shop").len(), 0);
    until_true("the page is closed", || get_local(port, "/").is_err());
    dev.down();
}

fn both_replicas_answer(port: u16) {
    let mut seen = BTreeSet::new();
    until_true("both replicas of product answer", || {
        let all = get_json(port, "/api/all");
        seen.insert(all["services"][2]["replica"].as_str().expect("a replica").to_owned());
        seen.len() == 2
    });
}

fn names_resolve(dev: &Dev) {
    let addresses = |name: &str| lookup(dev.resolver(), name).addresses.into_iter().collect::<BTreeSet<_>>();
    let tasks = dev.get("tasks");
    let of = |task: &str| tasks[task]["addresses"][0].as_str().expect("an address").parse().expect("an address");
    let products = BTreeSet::from([of("shop/product.1"), of("shop/product.2")]);
    assert_eq!(addresses("product.shop.svc.cluster.local"), products);
    assert_eq!(addresses("2.product.shop.svc.cluster.local"), BTreeSet::from([of("shop/product.2")]));
    assert_eq!(lookup(dev.resolver(), "nobody.shop.svc.cluster.local").code, "NXDomain");

    let inside = ["exec", &dev.container("shop/front.1"), "/bin/wget", "-q", "-O", "-", "http://cart:8080/"];
    assert!(docker(&inside).contains("\"replica\":\"cart-1\""), "short names are completed");
    let asked = dev.ctl(&["dns", "lookup", "cart.shop"]).expect(0);
    assert!(asked.out.contains(&of("shop/cart.1").to_string()), "{}", asked.out);
}

fn lists_have_their_shape(dev: &Dev) {
    let all = dev.json(&["get", "all", "-o", "json"]);
    assert_eq!(all["kind"], "List");
    let items = all["items"].as_array().expect("items");
    for item in items {
        for key in ["kind", "name", "state"] {
            assert!(item[key].as_str().is_some_and(|text| !text.is_empty()), "`{key}` of {item}");
        }
    }
    let count = |kind: &str| items.iter().filter(|item| item["kind"] == kind).count();
    assert_eq!((count("Project"), count("Service"), count("Task")), (1, 5, 6));
    assert!(items.iter().filter(|item| item["kind"] == "Task").all(|task| task["state"] == "ready"), "{all}");
    for (kind, key, value) in [("nodes", "state", "ready"), ("servers", "role", "leader")] {
        let items = dev.get(kind);
        assert_eq!(items.len(), 1);
        assert!(items.values().all(|item| item[key] == value), "{items:?}");
    }
    let named = dev.ctl(&["get", "services", "-o", "name"]).expect(0);
    assert_eq!(named.out.lines().count(), 5, "{}", named.out);
}
