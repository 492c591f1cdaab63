//! Promise: two dev clusters run beside each other and do not see one another, even with a project of the same name.

use tests::docker::dev::{Dev, project, service};
use tests::docker::engine::docker;
use tests::docker::wire::{free_port, get_local, lookup};

fn manifest(name: &str, words: &str, port: u16) -> String {
    let script = format!("mkdir /w; echo {words} >/w/index.html; exec httpd -f -p 8080 -h /w");
    let web = service("web", &script, &format!("    ports: [\"{port}:8080\"]\n"));
    project(name, &[web])
}

#[test]
fn two_clusters_do_not_see_one_another() {
    let (mut one, mut two) = (Dev::start("one"), Dev::start("two"));
    assert_ne!(one.cluster, two.cluster);
    assert_ne!(one.resolver(), two.resolver(), "ranges differ");
    let ports = (free_port(), free_port());
    let twin = format!("twin{}", one.unique);
    one.apply(&manifest(&twin, "one", ports.0)).expect(0);
    let ones = one.containers("");
    two.apply(&manifest(&twin, "two", ports.1)).expect(0);
    two.apply(&project("alone", &[service("web", "exec sleep 1000", "")])).expect(0);

    assert_eq!(get_local(ports.0, "/index.html").expect("one serves"), "one\n");
    assert_eq!(get_local(ports.1, "/index.html").expect("two serves"), "two\n");
    let names = |dev: &Dev| dev.get("tasks").into_keys().collect::<Vec<_>>();
    let shared = format!("{twin}/web.1");
    assert_eq!(names(&one), [shared.as_str()]);
    assert_eq!(names(&two), ["alone/web.1", &shared]);

    let (twos, plain) = (two.containers(&twin), format!("{twin}-web-1"));
    let name = twos.keys().next().expect("two runs its own");
    assert!(ones.contains_key(&plain), "{ones:?}");
    let suffix = name.strip_prefix(&format!("{plain}-")).unwrap_or_else(|| panic!("named around a stranger: {name}"));
    assert_eq!(suffix.len(), 6, "{name}");

    let code = |dev: &Dev, name: &str| lookup(dev.resolver(), name).code;
    assert_eq!(code(&two, "web.alone.svc.cluster.local"), "NoError");
    assert_eq!(code(&one, "web.alone.svc.cluster.local"), "NXDomain");
    let inside =
        |container: &str| docker(&["exec", container, "/bin/wget", "-q", "-O", "-", "http://web:8080/index.html"]);
    assert_eq!((inside(&plain), inside(name)), ("one".to_owned(), "two".to_owned()));

    two.down();
    assert_eq!(one.containers(""), ones, "untouched by the other's end");
    assert_eq!(get_local(ports.0, "/index.html").expect("one still serves"), "one\n");
    one.down();
}
