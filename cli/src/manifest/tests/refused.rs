//! Every way to be wrong that we know of, with the exact words. The transcript is `refused.txt`: a title after `###`, a manifest, `>>>`,
//! what is said. `WHERRY_UPDATE_EXPECT=1 cargo test` writes what is said now; read the difference before committing it.

use super::{World, shown, world};

const TRANSCRIPT: &str = include_str!("refused.txt");

fn said(manifest: &str) -> String {
    match world().load(manifest) {
        Ok(_) => "accepted\n".into(),
        Err(problems) => shown(&problems),
    }
}

#[test]
fn every_refusal_in_its_exact_words() {
    let mut now = String::new();
    let mut wrong = Vec::new();
    for case in TRANSCRIPT.split("### ").skip(1) {
        let (title, rest) = case.split_once('\n').expect("a title");
        let (manifest, want) = rest.split_once(">>>\n").expect("a manifest and an answer");
        let got = said(manifest);
        assert_ne!(got, "accepted\n", "{title}: a transcript of refusals");
        if got.trim_end() != want.trim_end() {
            wrong.push(format!("### {title}\n{manifest}want:\n{want}got:\n{got}"));
        }
        now.push_str(&format!("### {title}\n{manifest}>>>\n{got}\n"));
    }
    if std::env::var_os("WHERRY_UPDATE_EXPECT").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/manifest/tests/refused.txt");
        std::fs::write(path, now).expect("writable");
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a transcript cannot hold: tabs, bytes, other files.
#[test]
fn files_that_are_not_yaml_text() {
    let services = "services:\n  web:\n    image: nginx\n";
    let cases: Vec<(World, Vec<u8>, &str)> = vec![
        (
            world(),
            b"services:\n\tweb:\n\t\timage: nginx\n".to_vec(),
            "compose.yaml:2:1: a tab cannot indent YAML\n  hint: use spaces\n",
        ),
        (
            world(),
            b"services:\n  web:\n    image: nginx\n    labels:\n    \ta: b\n".to_vec(),
            "compose.yaml:5:5: a tab cannot indent YAML\n  hint: use spaces\n",
        ),
        (
            world(),
            b"services:\n  caf\xe9: {}\n".to_vec(),
            "compose.yaml:2:6: the byte 0xe9 is not UTF-8 text\n  hint: save the file as UTF-8\n",
        ),
        (
            world(),
            b"\x7fELF\x02".to_vec(),
            "compose.yaml:1:1: the control character U+007F cannot stand in YAML\n  hint: is this a text file?\n",
        ),
        (
            world(),
            b"a: b\0c".to_vec(),
            "compose.yaml:1:5: the control character U+0000 cannot stand in YAML\n  hint: is this a text file?\n",
        ),
        (
            world().file(".env", "A=1\nB='x\n"),
            services.into(),
            ".env:2:1: the value of `B` has no closing '\n  hint: close the quote\n",
        ),
        (
            world().file("bad.env", "A=1\n=2\n"),
            format!("{services}    env_file: bad.env\n").into(),
            "bad.env:2:1: a variable has no name\n  hint: write `KEY=value`\n",
        ),
        (
            world().file("big", vec![b'x'; 600 * 1024]),
            format!("{services}    secrets: [s]\nsecrets:\n  s:\n    file: big\n").into(),
            "compose.yaml:7:11: the secret `s` has more than 512000 bytes, at most 512000 are allowed\n  hint: put large files into the image or on a volume\n",
        ),
        (
            world().named("Shop!"),
            services.into(),
            "compose.yaml: -p Shop!: project name `Shop!` may hold only a-z, 0-9, `-` and `_`, and starts with a letter or digit\n  hint: use a-z, 0-9, `-` and `_`, a letter or digit first, at most 63 characters\n",
        ),
        (
            world().env("COMPOSE_PROJECT_NAME", "A"),
            services.into(),
            "compose.yaml: COMPOSE_PROJECT_NAME=A: project name `A` may hold only a-z, 0-9, `-` and `_`, and starts with a letter or digit\n  hint: use a-z, 0-9, `-` and `_`, a letter or digit first, at most 63 characters\n",
        ),
    ];
    for (world, manifest, want) in cases {
        let problems = world.load(manifest.clone()).expect_err(want);
        assert_eq!(shown(&problems), want, "{}", String::from_utf8_lossy(&manifest));
    }
}
