//! Tests of the whole room: text in, project or problems out. No disk, no clock, no environment of the process.

mod assembled;
mod bounds;
mod honoured;
mod papers;
mod places;
mod refused;
mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proto::spec::{ProjectSpec, ServiceSpec};

use super::{Input, LoadOptions, Loaded, Problem, ReadError, Sources, load};

/// Files and variables around a manifest at `/home/me/shop/compose.yaml`.
#[derive(Default)]
struct World {
    files: BTreeMap<PathBuf, Vec<u8>>,
    env: BTreeMap<String, String>,
    project_name: Option<String>,
    profiles: Vec<String>,
}

impl Sources for World {
    fn read(&self, path: &Path, max_bytes: usize) -> Result<Vec<u8>, ReadError> {
        let bytes = self.files.get(path).ok_or(ReadError::NotFound)?;
        if bytes.len() > max_bytes { Err(ReadError::TooLarge { max_bytes }) } else { Ok(bytes.clone()) }
    }
}

impl World {
    fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(Path::new("/home/me/shop").join(path), content.into());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    fn named(mut self, name: &str) -> Self {
        self.project_name = Some(name.into());
        self
    }

    fn load(mut self, manifest: impl Into<Vec<u8>>) -> Result<Loaded, Vec<Problem>> {
        self.files.insert("/home/me/shop/compose.yaml".into(), manifest.into());
        let options = LoadOptions {
            inputs: vec![Input::File("compose.yaml".into())],
            profiles: self.profiles.clone(),
            project_name: self.project_name.clone(),
            env: self.env.clone(),
            working_dir: "/home/me/shop".into(),
        };
        load(&options, &self)
    }
}

/// The world of the transcripts.
fn world() -> World {
    World::default().env("HOME", "/home/me").env("SET", "yes").env("EMPTY", "").file("web.env", "COLOR=red\nSIZE=1\n")
}

fn spec(manifest: &str) -> ProjectSpec {
    loaded(manifest).spec
}

fn loaded(manifest: &str) -> Loaded {
    world().load(manifest).unwrap_or_else(|problems| panic!("{manifest}\n{}", shown(&problems)))
}

/// The service `web` of a project in which it is the only one; the text is indented below its name.
fn web(keys: &str) -> ServiceSpec {
    let manifest = format!("services:\n  web:\n    image: nginx\n{}", indented(keys));
    spec(&manifest).services.remove(&"web".parse().expect("a name")).expect("it is declared")
}

fn indented(keys: &str) -> String {
    keys.lines().map(|line| format!("    {line}\n")).collect()
}

fn shown(problems: &[Problem]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

fn notices(loaded: &Loaded) -> String {
    loaded.notices.iter().map(|n| format!("{n}\n")).collect()
}
