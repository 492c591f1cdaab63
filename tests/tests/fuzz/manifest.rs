//! Manifests: whatever stands in a file is loaded, or refused with a place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cli::manifest::{Input, LoadOptions, ReadError, Sources, check, load};
use tests::sim::rng::Rng;

use super::mutate;
use super::run::Target;

const DIRECTORY: &str = "/home/me/shop";

/// Values that are odd at some key.
const VALUES: [&str; 44] = [
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "18446744073709551615",
    "99999999999999999999999",
    "1e309",
    ".nan",
    "-.inf",
    "0x7fffffffffffffff",
    "0o777",
    "1_000",
    "null",
    "~",
    "true",
    "no",
    "\"\"",
    "[]",
    "{}",
    "[[[[]]]]",
    "[{a: [b]}]",
    "${A}",
    "${A:-${B:-${C:?no}}}",
    "$$",
    "${",
    "\"1-65535:1-65535\"",
    "\"127.0.0.1:80-90:8080-8090/udp\"",
    "\"[::1]:80:80\"",
    "1h2m3s4ms5us",
    "9223372036854775807h",
    "1.5gb",
    "99999999999tb",
    "0.000000001",
    "!reset null",
    "!override {}",
    "&a [*a]",
    "*a",
    "2001-02-03T04:05:06Z",
    "\"\\u0000\"",
    "../../../../etc/passwd",
    "./a:/b:ro,z,rshared",
    "'${A:+x}'",
    "|\n        text",
];
const WORDS: [&[u8]; 16] = [
    b"\n",
    b"  ",
    b": ",
    b"- ",
    b"${",
    b"}",
    b"\t",
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"!reset ",
    b"---\n",
    b"...\n",
    b"\xef\xbb\xbf",
    b"\xff",
    b"#",
];

#[derive(Debug)]
pub struct Manifests {
    sound: Vec<Vec<u8>>,
    /// Every line of all of them.
    lines: Vec<String>,
}

/// What manifests name beside themselves.
struct Files<'a>(&'a [u8]);

impl Sources for Files<'_> {
    fn read(&self, path: &Path, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
        let name = path.strip_prefix(DIRECTORY).map_err(|_| ReadError::NotFound)?.to_string_lossy().into_owned();
        let bytes = match name.as_str() {
            // Itself once more: included and extended by itself at worst.
            "compose.yaml" | "base.yaml" | "parts/db.yaml" => self.0,
            "web.env" | ".env" | "web.labels" => b"COLOR=red\nQUOTED='a b'\nB=${A:-x}\n",
            _ => return Err(ReadError::NotFound),
        };
        if bytes.len() > max_bytes { Err(ReadError::TooLarge { max_bytes }) } else { Ok(bytes.to_vec()) }
    }
}

fn yaml_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            yaml_below(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
    }
}

impl Manifests {
    /// The fixtures of every key, published manifests, and the examples.
    pub fn new() -> Manifests {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut paths = Vec::new();
        for dir in ["cli/fixtures", "examples"] {
            yaml_below(&root.join(dir), &mut paths);
        }
        paths.sort();
        let read = |path: &PathBuf| std::fs::read_to_string(path).expect("text");
        let texts: Vec<String> = paths.iter().map(read).filter(|text| text.len() < 8_000).collect();
        assert!(texts.len() > 200, "only {} manifests were found", texts.len());
        let is_yaml = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
        let lines = texts.iter().flat_map(|text| text.lines().filter(is_yaml).map(str::to_owned)).collect();
        Manifests { sound: texts.into_iter().map(String::into_bytes).collect(), lines }
    }

    /// Changes that keep most of the structure: lines, indentation, values.
    fn change(&self, rng: &mut Rng, lines: &mut Vec<String>) {
        if lines.is_empty() {
            return;
        }
        let at = rng.range(0, lines.len() as u64 - 1) as usize;
        match rng.range(0, 7) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2 => lines.insert(at, rng.pick(&self.lines).cloned().unwrap_or_default()),
            3 => {
                let other = rng.range(0, lines.len() as u64 - 1) as usize;
                lines.swap(at, other);
            }
            4 => lines[at].insert_str(0, "  "),
            5 => {
                let kept = lines[at].strip_prefix("  ").map(str::to_owned);
                lines[at] = kept.unwrap_or_default();
            }
            _ => {
                let value = rng.pick(&VALUES).copied().unwrap_or_default();
                let begin =
                    lines[at].find(": ").map(|colon| colon + 2).or_else(|| lines[at].find("- ").map(|dash| dash + 2));
                match begin {
                    Some(begin) => lines[at].replace_range(begin.., value),
                    None => lines[at].push_str(value),
                }
            }
        }
    }
}

impl Target for Manifests {
    fn input(&self, rng: &mut Rng) -> Vec<u8> {
        if rng.chance(5) {
            // Bombs: nesting, and names for names.
            let depth = rng.range(1, 30_000) as usize;
            return match rng.range(0, 3) {
                0 => "[".repeat(depth).into_bytes(),
                1 => "{a: ".repeat(depth / 4).into_bytes(),
                2 => "- ".repeat(depth / 2).into_bytes(),
                _ => {
                    let step = |n: u64| format!("x-{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", "));
                    let levels: String = (1..rng.range(2, 40)).map(step).collect();
                    format!("x-0: &a0 [lol]\n{levels}services: {{web: {{image: a, labels: *a1}}}}\n").into_bytes()
                }
            };
        }
        let sound = rng.pick(&self.sound).cloned().unwrap_or_default();
        let text = String::from_utf8_lossy(&sound).into_owned();
        let mut lines: Vec<String> = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        for _ in 0..rng.skewed(0, 20) {
            self.change(rng, &mut lines);
        }
        let mut input = lines.join("\n").into_bytes();
        if rng.chance(400) {
            for _ in 0..rng.range(1, 4) {
                mutate::change(rng, &mut input, &self.sound, &WORDS);
            }
        }
        input
    }

    fn run(&self, input: &[u8]) {
        let options = LoadOptions {
            inputs: vec![Input::Text { name: "compose.yaml".to_owned(), bytes: input.to_vec() }],
            profiles: Vec::new(),
            project_name: Some("shop".to_owned()),
            env: BTreeMap::from([("A".to_owned(), "x y".to_owned())]),
            working_dir: PathBuf::from(DIRECTORY),
        };
        let files = Files(input);
        let loaded = load(&options, &files);
        let checked = check(&options, &files);
        match loaded {
            Ok(loaded) => {
                let wire = proto::v1::ProjectSpec::from(&loaded.spec);
                let back = proto::spec::ProjectSpec::try_from(wire);
                // Digests are filled in later, and their absence is the one thing the wire may refuse.
                if loaded.blobs.is_empty() && loaded.builds.is_empty() {
                    assert_eq!(back.as_ref(), Ok(&loaded.spec), "a spec survives the wire");
                }
            }
            Err(problems) => {
                assert!(!problems.is_empty(), "a refusal says why");
                assert!(!checked.is_applyable() || !checked.remarks.is_empty(), "check and load agree");
            }
        }
    }
}
