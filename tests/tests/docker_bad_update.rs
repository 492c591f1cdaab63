//! Promise: an image that cannot be pulled is taken back with its reason (exit 5), and the old containers serve on, without
//! one request failing.

use tests::docker::IMAGE;
use tests::docker::dev::{Dev, project, service};
use tests::docker::wire::{Load, free_port, get_local};

#[test]
fn an_image_that_cannot_be_pulled_leaves_the_old_containers_serving() {
    let mut dev = Dev::start("pull");
    let port = free_port();
    let more = format!("    ports: [\"{port}:8080\"]\n    deploy: {{replicas: 2}}\n");
    let good =
        project("pull", &[service("web", "mkdir /w; echo hi >/w/index.html; exec httpd -f -p 8080 -h /w", &more)]);
    dev.apply(&good).expect(0);
    let before = dev.containers("pull");
    let load = Load::on(port, "/index.html");

    let absent = "registry.invalid/nobody/nothing:1";
    let failed = dev.apply(&good.replace(IMAGE, absent)).expect(5);
    let (good_requests, failures) = load.stop();
    assert!(failed.err.contains(absent), "the image is named: {}", failed.err);
    assert!(failed.err.contains("pull"), "the reason is told: {}", failed.err);
    assert!(good_requests > 10, "there were requests");
    assert_eq!(failures, [] as [String; 0], "of {good_requests} requests");
    for (name, container) in &before {
        assert_eq!(dev.containers("pull").get(name), Some(container), "{name}");
    }
    let why = dev.ctl(&["why", "pull/web"]).expect(0);
    assert!(why.out.contains(absent), "{}", why.out);

    dev.apply(&good).expect(0);
    assert_eq!(get_local(port, "/index.html").expect("it serves"), "hi\n");
    assert_eq!(dev.containers("pull"), before, "back to what ran, without a restart");
    dev.down();
}
