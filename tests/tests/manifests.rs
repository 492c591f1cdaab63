//! The Compose files of `examples/` are read without a problem; the only notice is that of the default restart.

use cli::manifest::{Disk, Input, LoadOptions, Loaded, load};
use std::collections::BTreeMap;
use std::path::Path;

/// A manifest, its services in order, and those of them that say nothing of `restart`, in the order of the file.
const EXAMPLES: [(&str, &[&str], &str); 3] = [
    ("examples/hello/compose.yaml", &["hello"], "hello"),
    ("examples/frontend-backend/compose.yaml", &["backend", "frontend"], "frontend, backend"),
    ("examples/shop/compose.yaml", &["cart", "front", "payment", "product", "user"], ""),
];

fn loaded(path: &str) -> Loaded {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a directory of the workspace");
    let options = LoadOptions {
        inputs: vec![Input::File(path.into())],
        profiles: Vec::new(),
        project_name: None,
        env: BTreeMap::new(),
        working_dir: root.to_path_buf(),
    };
    load(&options, &Disk).unwrap_or_else(|problems| {
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("{}", shown.join("\n"))
    })
}

#[test]
fn every_example_is_honoured_whole() {
    for (path, services, silent) in EXAMPLES {
        let loaded = loaded(path);
        let named: Vec<&str> = loaded.spec.services.keys().map(|name| name.as_str()).collect();
        assert_eq!(named, services, "{path}");
        let notices: String = loaded.notices.iter().map(ToString::to_string).collect();
        let default = format!("restart always unless `restart: \"no\"` is written: {silent}");
        assert!(if silent.is_empty() { notices.is_empty() } else { notices.ends_with(&default) }, "{path}: {notices}");
        assert_eq!(loaded.notices.len(), usize::from(!silent.is_empty()), "{path}: {notices}");
    }
}
