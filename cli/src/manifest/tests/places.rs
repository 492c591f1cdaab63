//! Where things stand: the map by which problems of a server find their line, and the order of problems.

use super::super::{Disk, Input, LoadOptions, load};
use super::{World, loaded, shown, world};

#[test]
fn a_field_is_found_and_else_what_is_around_it() {
    let loaded = loaded(
        "services:\n  web:\n    image: nginx\n    ports:\n      - \"80:80\"\n      - \"81:81\"\n    deploy: {replicas: 2}\n",
    );
    for (field, place) in [
        ("services.web.ports[1]", "compose.yaml:6:9"),
        ("services.web.image", "compose.yaml:3:5"),
        ("services.web.deploy.replicas", "compose.yaml:7:14"),
        ("services.web.ports[7].published", "compose.yaml:4:5"),
        ("services.web.container.mounts[0]", "compose.yaml:2:3"),
        ("services", "compose.yaml:1:1"),
    ] {
        assert_eq!(loaded.spans.locate(field).map(|p| p.to_string()).as_deref(), Some(place), "{field}");
    }
    assert_eq!(loaded.spans.locate("volumes.x"), None);
    assert_eq!(loaded.spans.iter().count(), 8);
}

#[test]
fn problems_come_in_the_order_of_the_file_and_are_counted_beyond_a_hundred() {
    let bad: String = (0..150).map(|n| format!("  s{n}: {{image: [], zzz: 1}}\n")).collect();
    let problems = world().load(format!("services:\n{bad}")).expect_err("all are wrong");
    assert_eq!(problems.len(), 101);
    assert_eq!(problems[100].to_string(), "compose.yaml: 200 more problems are not shown");
    assert!(problems[..100].windows(2).all(|w| (w[0].line, w[0].col) <= (w[1].line, w[1].col)), "{}", shown(&problems));
}

#[test]
fn a_text_has_the_name_it_was_given_and_the_working_directory() {
    let manifest = "services:\n  web:\n    build: .\n    imgae: x\n";
    let load = |bytes: &str| {
        let input = Input::Text { name: "-".into(), bytes: bytes.into() };
        let options = LoadOptions {
            inputs: vec![input],
            profiles: Vec::new(),
            project_name: None,
            env: Default::default(),
            working_dir: "/tmp/My Shop".into(),
        };
        load(&options, &World::default())
    };
    assert_eq!(
        shown(&load(manifest).expect_err("misspelt")),
        "-:4:5: unknown key `services.web.imgae`\n  hint: did you mean `image`?\n"
    );
    let loaded = load("services:\n  web:\n    build: .\n").expect("good");
    assert_eq!(loaded.spec.name.as_str(), "myshop");
    assert_eq!(loaded.builds.values().next().expect("one").context.as_path(), std::path::Path::new("/tmp/My Shop"));
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let options = LoadOptions {
        inputs: vec![Input::File("gone.yaml".into())],
        profiles: Vec::new(),
        project_name: None,
        env: Default::default(),
        working_dir: "/tmp".into(),
    };
    let problems = load(&options, &World::default()).expect_err("gone");
    assert_eq!(
        shown(&problems),
        "gone.yaml: cannot be read: there is no such file\n  hint: name the file with `-f FILE`\n"
    );
}

#[test]
fn files_on_a_disk_are_named_as_the_user_named_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let sub = dir.path().join("sub");
    std::fs::create_dir(&sub).expect("writable");
    let write = |name: &str, text: &str| std::fs::write(sub.join(name), text).expect("writable");
    write("compose.yaml", "services:\n  web:\n    image: a:$TAG\n    secrets: [s]\nsecrets:\n  s: {file: s.txt}\n");
    write("s.txt", "geheim");
    write(".env", "TAG=1\n");
    let options = LoadOptions {
        inputs: vec![Input::File("sub/compose.yaml".into())],
        profiles: Vec::new(),
        project_name: None,
        env: Default::default(),
        working_dir: dir.path().to_owned(),
    };
    let loaded = load(&options, &Disk).unwrap_or_else(|p| panic!("{}", shown(&p)));
    assert_eq!((loaded.spec.name.as_str(), loaded.blobs[0].content.as_slice()), ("sub", b"geheim".as_slice()));
    write(".env", "TAG=1\n=\n");
    let problems = load(&options, &Disk).expect_err("a broken line");
    assert_eq!(shown(&problems), "sub/.env:2:1: a variable has no name\n  hint: write `KEY=value`\n");
}
