//! `build`: what must be built before a service can run (Compose Build Specification).
//!
//! Never builds, never looks whether the directory exists: the builder does. Called by `service`.

use std::collections::BTreeMap;

use super::super::Build;
use super::super::project::host_path;
use super::super::tree::{Mark, Value, shorten};
use super::context::{Context, Field, Fields};
use super::keys;

/// Lowers `build` of a service whose image is to be called `tag`.
pub fn build(cx: &mut Context<'_>, field: &Field<'_>, tag: &str) -> Option<Build> {
    if let Value::Scalar(_) = field.node.value {
        let text = cx.filled_text(field)?;
        return started(cx, text, field.node.at, tag);
    }
    let mut keys = cx.map_or(field, "a directory or a map")?;
    let context = match keys.take("context") {
        Some(field) => cx.filled_text(&field).map(|text| (text, field.node.at)),
        None => Some((".", field.at)),
    };
    let mut build = context.and_then(|(text, at)| started(cx, text, at, tag)).unwrap_or_else(|| Build::of(tag));
    build.dockerfile = keys.take("dockerfile").and_then(|f| cx.filled_text(&f).map(str::to_owned));
    build.target = keys.take("target").and_then(|f| cx.filled_text(&f).map(str::to_owned));
    build.labels = keys.take("labels").map(|f| cx.labels(&f)).unwrap_or_default();
    build.no_cache = keys.take("no_cache").and_then(|f| cx.boolean(&f)).unwrap_or_default();
    build.args = args(cx, &mut keys);
    if let Some(inline) = keys.take("dockerfile_inline") {
        build.dockerfile_inline = cx.filled_text(&inline).map(str::to_owned);
        if build.dockerfile.is_some() {
            cx.problem(inline.at, "`dockerfile` and `dockerfile_inline` exclude each other", "keep one of them");
        }
    }
    keys.finish(cx, keys::BUILD);
    Some(build)
}

impl Build {
    fn of(tag: &str) -> Build {
        Build {
            context: std::path::PathBuf::new(),
            dockerfile: None,
            dockerfile_inline: None,
            args: BTreeMap::new(),
            target: None,
            labels: BTreeMap::new(),
            no_cache: false,
            tag: tag.to_owned(),
        }
    }
}

fn started(cx: &mut Context<'_>, context: &str, at: Mark, tag: &str) -> Option<Build> {
    if context.contains("://") || context.starts_with("git@") || context.starts_with("github.com/") {
        let message = format!("the remote build context `{}` is not supported yet", shorten(context));
        cx.problem(at, message, "name a directory");
        return None;
    }
    match host_path(cx, at, context) {
        Ok(path) => Some(Build { context: path, ..Build::of(tag) }),
        Err(why) => {
            cx.problem(at, why, "name a directory");
            None
        }
    }
}

fn args(cx: &mut Context<'_>, keys: &mut Fields<'_>) -> BTreeMap<String, String> {
    let Some(field) = keys.take("args") else { return BTreeMap::new() };
    let mut args = BTreeMap::new();
    for (name, value, at) in cx.pairs(&field) {
        match value.or_else(|| cx.variable(at, &name)) {
            Some(value) => {
                args.insert(name, value);
            }
            None => cx.remark(at, format!("the build argument `{}` has no value here and is left out", shorten(&name))),
        }
    }
    args
}
