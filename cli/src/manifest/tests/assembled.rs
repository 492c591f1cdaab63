//! Manifests of several files: what is included, extended, merged, left out. The transcript is `assembled.txt`: a title after `###`, the
//! command line after `$`, files after `--- NAME`, and after `>>>` what came out: notices and fields, or problems.
//! `WHERRY_UPDATE_EXPECT=1 cargo test -p cli assembled` writes what is so now; read the difference before committing it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::{Input, LoadOptions, load};
use super::{World, shown};
use proto::spec::ServiceSpec;

const TRANSCRIPT: &str = include_str!("assembled.txt");

/// Options and files of a case. Words of the command line: `-f FILE`, `--profile NAME`, `NAME=VALUE` of the environment.
fn read(case: &str) -> (LoadOptions, World) {
    let mut parts = case.split("--- ");
    let line = parts.next().and_then(|head| head.lines().find_map(|l| l.strip_prefix("$"))).unwrap_or("");
    let (mut inputs, mut profiles, mut world) = (Vec::new(), Vec::new(), World::default().env("HOME", "/home/me"));
    let mut words = line.split_whitespace();
    while let Some(word) = words.next() {
        match (word, word.split_once('=')) {
            ("-f", _) => inputs.push(Input::File(words.next().expect("a file").into())),
            ("--profile", _) => profiles.push(words.next().expect("a profile").to_owned()),
            (_, Some((name, value))) => world = world.env(name, value),
            _ => panic!("{word}: not a word of these command lines"),
        }
    }
    for part in parts {
        let (name, text) = part.split_once('\n').expect("a file has lines");
        world = world.file(name.trim(), text);
    }
    if inputs.is_empty() {
        inputs.push(Input::File("compose.yaml".into()));
    }
    let options = LoadOptions {
        inputs,
        profiles,
        project_name: None,
        env: world.env.clone(),
        working_dir: "/home/me/shop".into(),
    };
    (options, world)
}

fn said(case: &str) -> String {
    let (options, world) = read(case);
    let loaded = match load(&options, &world) {
        Ok(loaded) => loaded,
        Err(problems) => return shown(&problems),
    };
    let mut text = super::notices(&loaded);
    let defaults = fields(&ServiceSpec::default());
    for (name, service) in &loaded.spec.services {
        let fields = fields(service);
        let told =
            fields.iter().filter(|(field, value)| defaults.get(*field) != Some(value) && !field.contains("stop_grace"));
        told.for_each(|(field, value)| text.push_str(&format!("{name} {field} {value}\n")));
    }
    loaded.spec.volumes.keys().for_each(|name| text.push_str(&format!("volume {name}\n")));
    loaded
        .builds
        .iter()
        .for_each(|(name, build)| text.push_str(&format!("{name} build {}\n", build.context.display())));
    loaded.blobs.iter().for_each(|b| text.push_str(&format!("{:?} {} {}\n", b.kind, b.name, b.content.len())));
    text
}

fn fields(service: &ServiceSpec) -> BTreeMap<String, String> {
    let value = serde_json::to_value(service).expect("serialisable");
    let mut fields = BTreeMap::new();
    let Value::Object(mut service) = value else { unreachable!("a service is a map") };
    if let Some(Value::Object(container)) = service.remove("container") {
        service.extend(container);
    }
    fields.extend(service.into_iter().map(|(key, value)| (key, value.to_string())));
    fields
}

#[test]
fn every_manifest_of_several_files_in_its_exact_words() {
    let mut now = String::new();
    let mut wrong = Vec::new();
    for case in TRANSCRIPT.split("### ").skip(1) {
        let (files, want) = case.split_once(">>>\n").expect("files and an answer");
        let got = said(files);
        if got.trim_end() != want.trim_end() {
            wrong.push(format!("### {files}want:\n{want}got:\n{got}"));
        }
        now.push_str(&format!("### {files}>>>\n{got}\n"));
    }
    if std::env::var_os("WHERRY_UPDATE_EXPECT").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manifest/tests/assembled.txt");
        std::fs::write(path, now).expect("writable");
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_and_depth_are_bounded() {
    let service = "services: {web: {image: a}}\n";
    let mut world = World::default();
    for n in 0..40 {
        world = world.file(&format!("d{n}.yaml"), format!("include: [d{}.yaml]\n{service}", n + 1));
    }
    let problems = world.load(format!("include: [d0.yaml]\n{service}")).expect_err("too deep");
    assert!(shown(&problems).contains("files include each other deeper than 16 levels"), "{}", shown(&problems));

    let many: String = (0..120).map(|n| format!("  - m{n}.yaml\n")).collect();
    let world = (0..120).fold(World::default(), |w, n| w.file(&format!("m{n}.yaml"), format!("volumes: {{v{n}: }}\n")));
    let problems = world.load(format!("{service}include:\n{many}")).expect_err("too many");
    assert!(shown(&problems).contains("more than 100 files make up this manifest"), "{}", shown(&problems));

    let big = |n: usize| format!("x-{n}: {}\n", "y".repeat(600_000));
    let world = (0..6).fold(World::default(), |w, n| w.file(&format!("b{n}.yaml"), big(n)));
    let problems = world.load(format!("{service}include: [b0.yaml, b1.yaml, b2.yaml, b3.yaml, b4.yaml, b5.yaml]\n"));
    let problems = shown(&problems.expect_err("too large"));
    assert!(problems.contains("the files of this manifest have more than 2621440 bytes"), "{problems}");
}

#[test]
fn what_extends_copies_is_bounded() {
    let chain: String = (0..30).map(|n| format!("  s{n}: {{extends: s{}}}\n", n + 1)).collect();
    let problems = World::default().load(format!("services:\n{chain}  s30: {{image: a}}\n")).expect_err("too long");
    assert!(shown(&problems).contains("more than 16 services extend each other"), "{}", shown(&problems));

    let labels: String = (0..2000).map(|n| format!("      l{n}: x\n")).collect();
    let many: String = (0..400).map(|n| format!("  s{n}: {{extends: base}}\n")).collect();
    let manifest = format!("services:\n  base:\n    image: a\n    labels:\n{labels}{many}");
    let problems = shown(&World::default().load(manifest).expect_err("too much"));
    assert!(problems.contains("`extends` copies more than 200000 values or 8388608 bytes"), "{problems}");
}
