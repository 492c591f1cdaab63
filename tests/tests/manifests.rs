//! The Compose files of `examples/` are read without a problem, and say nothing that a newcomer would stumble over.

use cli::manifest::{Disk, Input, LoadOptions, Loaded, load};
use std::collections::BTreeMap;
use std::path::Path;

const EXAMPLES: [(&str, &[&str]); 3] = [
    ("examples/hello/compose.yaml", &["hello"]),
    ("examples/frontend-backend/compose.yaml", &["backend", "frontend"]),
    ("examples/shop/compose.yaml", &["cart", "front", "payment", "product", "user"]),
];

fn loaded(path: &str) -> Loaded {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a directory of the workspace");
    let options = LoadOptions {
        input: Input::File(path.into()),
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
    for (path, services) in EXAMPLES {
        let loaded = loaded(path);
        let named: Vec<&str> = loaded.spec.services.keys().map(|name| name.as_str()).collect();
        assert_eq!(named, services, "{path}");
        let notices: Vec<String> = loaded.notices.iter().map(ToString::to_string).collect();
        assert_eq!(notices, [""; 0], "{path}");
    }
}
