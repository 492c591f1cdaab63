//! Promise: every Compose file of `examples/` starts as it stands. The shop has a test of its own: `docker_shop`.

use std::path::{Path, PathBuf};

use tests::docker::dev::Dev;
use tests::docker::engine::docker;
use tests::docker::wire::{free_port, get_local};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").canonicalize().expect("the examples are there")
}

#[test]
fn every_example_has_a_test() {
    let entries = std::fs::read_dir(examples()).expect("readable").flatten();
    let with_file = entries.filter(|entry| entry.path().join("compose.yaml").is_file());
    let mut names: Vec<String> = with_file.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    assert_eq!(names, ["frontend-backend", "hello", "shop"], "an example that is not started by a test");
}

#[test]
fn hello_greets() {
    let mut dev = Dev::start("hello");
    let port = free_port().to_string();
    let file = examples().join("hello/compose.yaml").display().to_string();
    dev.ctl_with(&["apply", "-f", &file], &[("HELLO_PORT", &port), ("GREETING", "Good day")]).expect(0);
    let said = get_local(port.parse().expect("a port"), "/").expect("it answers");
    assert!(said.starts_with("Good day"), "{said}");
    dev.down();
}

/// Built by `ctl dev` itself. The port that the file publishes may be taken here, so a copy publishes another.
#[test]
fn frontend_finds_the_backend_that_was_built_for_it() {
    let mut dev = Dev::prepare("pair");
    for part in ["frontend", "backend"] {
        std::fs::create_dir(dev.dir.join(part)).expect("a directory");
        for file in ["Dockerfile", "shop", "busybox"] {
            let source = examples().join("frontend-backend").join(part).join(file);
            std::fs::copy(&source, dev.dir.join(part).join(file))
                .unwrap_or_else(|e| panic!("{}: {e}; run examples/build-images", source.display()));
        }
    }
    let text = std::fs::read_to_string(examples().join("frontend-backend/compose.yaml")).expect("the example");
    let (port, project) = (free_port(), format!("pair{}", dev.unique));
    assert!(text.contains("\"3000:3000\""), "{text}");
    let text = format!("name: {project}\n{}", text.replace("\"3000:3000\"", &format!("\"{port}:3000\"")));
    let file = dev.write("compose.yaml", &text);

    let said = dev.begin_with(&[&file]);
    assert!(said.out.contains(&format!("http://localhost:{port}")), "{}", said.out);
    let answer = get_local(port, "/").expect("the frontend answers");
    assert!(answer.contains("backend said: Hello from the backend"), "{answer}");
    let images = docker(&["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    let built: Vec<&str> = images.lines().filter(|image| image.contains(&project)).collect();
    assert_eq!(built.len(), 2, "both were built: {images}");
    dev.down();
    docker(&[&["image", "rm"], built.as_slice()].concat());
}
