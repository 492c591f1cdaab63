//! `environment` over `env_file`, `labels` over `label_file` (Compose Specification, section 05).
//!
//! Never puts a value into a message. Called by `service`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proto::limits::MANIFEST_MAX_BYTES;

use super::super::ReadError;
use super::super::project::host_path;
use super::super::tree::{Mark, Value, shorten};
use super::context::{Context, Field, Fields};

/// The variables of a service: env files in order, then `environment`. A name without a value takes the one of the environment of ctl.
pub fn environment(cx: &mut Context<'_>, keys: &mut Fields<'_>) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if let Some(field) = keys.take("env_file") {
        for file in env_files(cx, &field) {
            variables.extend(read(cx, "env_file", &file));
        }
    }
    let Some(field) = keys.take("environment") else { return variables };
    for (name, value, at) in cx.pairs(&field) {
        if name.is_empty() || name.contains(['=', '\0']) {
            cx.problem(at, format!("`{}`: `{}` is not the name of a variable", field.path, shorten(&name)), "");
            continue;
        }
        match value.or_else(|| cx.variable(at, &name)) {
            Some(value) => {
                variables.insert(name, value);
            }
            None => {
                variables.remove(&name);
                cx.remark(at, format!("the variable `{}` has no value here and is left out", shorten(&name)));
            }
        }
    }
    variables
}

/// The labels of a service: label files in order, then `labels`.
pub fn labels(cx: &mut Context<'_>, keys: &mut Fields<'_>) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    if let Some(field) = keys.take("label_file") {
        let items = match field.node.value {
            Value::Scalar(_) => vec![field.clone()],
            _ => cx.list_or(&field, "a path or a list").unwrap_or_default(),
        };
        for item in items {
            let Some(file) = cx.filled_text(&item).and_then(|text| named(cx, text, item.node.at)) else { continue };
            for (name, value) in read(cx, "label_file", &file) {
                match name.starts_with("wherry.") {
                    true => cx.reserved_label(item.node.at, &name),
                    false => _ = labels.insert(name, value),
                }
            }
        }
    }
    labels.extend(keys.take("labels").map(|f| cx.labels(&f)).unwrap_or_default());
    labels
}

struct EnvFile {
    written: String,
    path: PathBuf,
    at: Mark,
    required: bool,
    raw: bool,
}

fn env_files(cx: &mut Context<'_>, field: &Field<'_>) -> Vec<EnvFile> {
    match field.node.value {
        Value::Scalar(_) => env_file(cx, field).into_iter().collect(),
        Value::List(_) => cx.list(field).unwrap_or_default().iter().filter_map(|item| env_file(cx, item)).collect(),
        _ => {
            cx.mismatch(field, "a path or a list");
            Vec::new()
        }
    }
}

fn env_file(cx: &mut Context<'_>, field: &Field<'_>) -> Option<EnvFile> {
    if let Value::Scalar(_) = field.node.value {
        let text = cx.filled_text(field)?;
        return named(cx, text, field.node.at);
    }
    let mut keys = cx.map_or(field, "a path or a map")?;
    let (path, required, format) = (keys.take("path"), keys.take("required"), keys.take("format"));
    keys.finish(cx, &[]);
    let Some(path) = path else {
        cx.problem(field.at, format!("`{}` has no `path`", field.path), "write `path: FILE`");
        return None;
    };
    let text = cx.filled_text(&path)?;
    let mut file = named(cx, text, path.node.at)?;
    file.required = required.and_then(|f| cx.boolean(&f)).unwrap_or(true);
    file.raw = match &format {
        None => false,
        Some(format) if cx.text(format)? == "raw" => true,
        Some(format) => {
            cx.problem(
                format.node.at,
                format!("`{}` knows only raw", format.path),
                "remove it for the format of Compose",
            );
            false
        }
    };
    Some(file)
}

fn named(cx: &mut Context<'_>, text: &str, at: Mark) -> Option<EnvFile> {
    match host_path(cx, at, text) {
        Ok(path) => Some(EnvFile { written: text.to_owned(), path, at, required: true, raw: false }),
        Err(why) => {
            cx.problem(at, why, "");
            None
        }
    }
}

fn read(cx: &mut Context<'_>, key: &str, file: &EnvFile) -> Vec<(String, String)> {
    match cx.sources.read(&file.path, MANIFEST_MAX_BYTES) {
        Ok(bytes) => {
            let env = cx.env(file.at);
            cx.dotenv(&file.written, &bytes, file.raw, &|name| env.get(name).cloned())
        }
        Err(ReadError::NotFound) if !file.required => Vec::new(),
        Err(e) => {
            let hint = match (&e, key) {
                (ReadError::NotFound, "env_file") => "write it, or `required: false` beside its `path`",
                _ => "",
            };
            cx.problem(file.at, format!("{key} `{}`: {e}", shorten(&file.written)), hint);
            Vec::new()
        }
    }
}
