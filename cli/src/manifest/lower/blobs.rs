//! Configs and secrets: declared at the top, mounted as files by services (Compose Specification, sections 08 and 09).
//!
//! Never puts a content into a message. Called by `lower` and `service`.

use std::collections::{BTreeMap, BTreeSet};

use proto::id::BlobDigest;
use proto::limits::BLOB_MAX_BYTES;
use proto::spec::{BlobKind, FileMount, Mount};
use zeroize::Zeroizing;

use super::super::project::host_path;
use super::super::tree::{Mark, ScalarKind, Value, shorten};
use super::super::{Blob, ReadError, kind_word, words};
use super::context::{Context, Field, Fields};
use super::service::Service;
use super::volumes::{check_target, comparable};
use super::{Declared, check_key, keys};

/// Where contents come from, by kind and name.
pub type Origins = BTreeMap<(BlobKind, String), (Origin, Mark)>;

/// Where a content comes from.
pub enum Origin {
    /// A file, as written.
    File(String),
    /// The manifest.
    Content(Zeroizing<String>),
    /// A variable.
    Variable(String),
}

/// The configs or secrets declared at the top level.
pub fn declared(cx: &mut Context<'_>, section: Option<&Field<'_>>, kind: BlobKind) -> Origins {
    let mut origins = BTreeMap::new();
    let Some(entries) = section.and_then(|field| cx.map(field)) else { return origins };
    for (name, field) in entries.all() {
        check_key(cx, kind_word(kind), name, field.at);
        if let Some(origin) = origin(cx, &field, kind) {
            origins.insert((kind, name.to_owned()), origin);
        }
    }
    origins
}

fn origin(cx: &mut Context<'_>, field: &Field<'_>, kind: BlobKind) -> Option<(Origin, Mark)> {
    let (wanted, not_yet) = match kind {
        BlobKind::Config => ("`file`, `content` or `environment`", keys::CONFIG),
        BlobKind::Secret => ("`file` or `environment`", keys::SECRET),
    };
    if field.node.value == Value::Null {
        cx.problem(field.at, format!("`{}` has no content", field.path), &format!("write {wanted}"));
        return None;
    }
    let mut keys = cx.map(field)?;
    let (mut found, mut is_said) = (Vec::new(), keys.has("external"));
    is_said |= kind == BlobKind::Secret && keys.has("content");
    // A key without a value says nothing.
    let is_null = |f: &Field<'_>| f.node.value == Value::Null;
    if let Some(f) = keys.take("file") {
        is_said |= !is_null(&f);
        found.extend(cx.filled_text(&f).map(|text| (Origin::File(text.to_owned()), f.node.at)));
    }
    if let Some(f) = keys.take("environment") {
        is_said |= !is_null(&f);
        found.extend(cx.filled_text(&f).map(|text| (Origin::Variable(text.to_owned()), f.node.at)));
    }
    if kind == BlobKind::Config
        && let Some(f) = keys.take("content")
    {
        is_said |= !is_null(&f);
        found.extend(cx.text(&f).map(|text| (Origin::Content(Zeroizing::new(text.to_owned())), f.node.at)));
    }
    keys.finish(cx, not_yet);
    if found.len() > 1 || !is_said {
        cx.problem(field.at, format!("`{}` needs exactly one of {wanted}", field.path), "");
    }
    found.pop()
}

/// The files a service gets, configs first. No two at the same path, none where a volume is mounted.
pub fn files(
    cx: &mut Context<'_>,
    service: &mut Fields<'_>,
    declared: &Declared<'_>,
    mounts: &[(Mount, Mark)],
    user: Option<&str>,
) -> Vec<FileMount> {
    let owner = numeric_owner(user);
    let mut taken: BTreeMap<String, Mark> = mounts.iter().map(|(m, at)| (comparable(&m.target), *at)).collect();
    let mut files = Vec::new();
    for (key, kind) in [("configs", BlobKind::Config), ("secrets", BlobKind::Secret)] {
        let Some(field) = service.take(key) else { continue };
        for item in cx.list(&field).unwrap_or_default() {
            let Some(file) = file(cx, &item, kind, declared, owner) else { continue };
            if let Some(first) = taken.insert(comparable(&file.target), item.at) {
                let (target, place) = (shorten(&file.target), cx.elsewhere(first, item.at));
                let message = format!("`{target}` is mounted twice: {place} and on line {}", item.at.line);
                cx.problem(item.at, message, "keep one of them, or write another `target`");
            }
            files.push(file);
        }
    }
    files
}

/// Whose a file is when it does not say: its reader's. A secret that only root may read is of no use to `user: 1000`.
/// A user by name, or the image's own, cannot be known here: then it is root's, as in Compose.
fn numeric_owner(user: Option<&str>) -> (u32, u32) {
    let (uid, gid) = user.map_or(("", None), |u| u.split_once(':').map_or((u, None), |(u, g)| (u, Some(g))));
    match (uid.parse(), gid.map(str::parse)) {
        (Ok(uid), Some(Ok(gid))) => (uid, gid),
        (Ok(uid), _) => (uid, 0),
        (Err(_), _) => (0, 0),
    }
}

fn file(
    cx: &mut Context<'_>,
    item: &Field<'_>,
    kind: BlobKind,
    declared: &Declared<'_>,
    owner: (u32, u32),
) -> Option<FileMount> {
    let (directory, default_mode) = match kind {
        BlobKind::Config => ("/", 0o444),
        BlobKind::Secret => ("/run/secrets/", 0o400),
    };
    let named = |name: &str, target: Option<&str>| FileMount {
        kind,
        name: name.to_owned(),
        digest: BlobDigest(String::new()),
        target: match target {
            Some(target) if target.starts_with('/') => target.to_owned(),
            other => format!("{directory}{}", other.unwrap_or(name)),
        },
        uid: owner.0,
        gid: owner.1,
        mode: default_mode,
    };
    if let Value::Scalar(_) = item.node.value {
        let name = cx.filled_text(item)?;
        return is_declared(cx, item, name, kind, declared).then(|| named(name, None));
    }
    let mut keys = cx.map_or(item, "a name or a map")?;
    let (source, target) = (keys.take("source"), keys.take("target"));
    let uid = keys.take("uid").and_then(|f| id(cx, &f)).unwrap_or(owner.0);
    let gid = keys.take("gid").and_then(|f| id(cx, &f)).unwrap_or(owner.1);
    let mode = keys.take("mode").and_then(|f| mode(cx, &f)).unwrap_or(default_mode);
    keys.finish(cx, &[]);
    let Some(source) = source else {
        cx.problem(
            item.at,
            format!("`{}` has no `source`", item.path),
            &format!("name a {} of the file", kind_word(kind)),
        );
        return None;
    };
    let name = cx.filled_text(&source)?;
    let is_known = is_declared(cx, &source, name, kind, declared);
    let file = match &target {
        None => named(name, None),
        Some(field) => {
            let file = named(name, Some(cx.filled_text(field)?));
            check_target(cx, field, &file.target);
            file
        }
    };
    is_known.then_some(FileMount { uid, gid, mode, ..file })
}

fn is_declared(cx: &mut Context<'_>, field: &Field<'_>, name: &str, kind: BlobKind, declared: &Declared<'_>) -> bool {
    let known = declared.blobs.get(&kind);
    let is_known = known.is_some_and(|names| names.contains(name));
    if !is_known {
        let word = kind_word(kind);
        let declare = format!("declare it under the top-level `{word}s:`");
        cx.undefined(field.node.at, word, name, &declare, known.into_iter().flatten().copied());
    }
    is_known
}

fn id(cx: &mut Context<'_>, field: &Field<'_>) -> Option<u32> {
    u32::try_from(cx.whole(field, 0, i64::from(u32::MAX))?).ok()
}

/// Permission bits.
pub fn mode(cx: &mut Context<'_>, field: &Field<'_>) -> Option<u32> {
    cx.word(field, "permission bits", |s| words::mode(&s.text, s.kind() == ScalarKind::Number))
}

/// The contents that services use. What no service uses is not read.
pub fn contents(cx: &mut Context<'_>, services: &[Service], origins: &Origins) -> Vec<Blob> {
    let used: BTreeSet<(BlobKind, String)> = services
        .iter()
        .flat_map(|service| service.spec.container.files.iter().map(|f| (f.kind, f.name.clone())))
        .collect();
    let mut blobs = Vec::new();
    for (kind, name) in used {
        let Some((origin, at)) = origins.get(&(kind, name.clone())) else { continue };
        let Some(content) = content(cx, kind, &name, origin, *at) else { continue };
        if content.len() > BLOB_MAX_BYTES {
            too_large(cx, kind, &name, *at, format!("has {} bytes", content.len()));
        }
        blobs.push(Blob { kind, name, content });
    }
    blobs
}

fn too_large(cx: &mut Context<'_>, kind: BlobKind, name: &str, at: Mark, size: String) {
    let message = format!("the {} `{name}` {size}, at most {BLOB_MAX_BYTES} are allowed", kind_word(kind));
    cx.problem(at, message, "put large files into the image or on a volume");
}

fn content(cx: &mut Context<'_>, kind: BlobKind, name: &str, origin: &Origin, at: Mark) -> Option<Zeroizing<Vec<u8>>> {
    let word = kind_word(kind);
    match origin {
        Origin::Content(text) => Some(Zeroizing::new(text.as_bytes().to_vec())),
        Origin::Variable(variable) => {
            let value = cx.variable(at, variable).map(|v| Zeroizing::new(v.into_bytes()));
            if value.is_none() {
                let message = format!("the {word} `{name}`: the variable `{}` is not set", shorten(variable));
                cx.problem(at, message, "set it in the environment or in `.env`");
            }
            value
        }
        Origin::File(written) => {
            let path = match host_path(cx, at, written) {
                Ok(path) => path,
                Err(why) => {
                    cx.problem(at, format!("the {word} `{name}`: {why}"), "");
                    return None;
                }
            };
            match cx.sources.read(&path, BLOB_MAX_BYTES) {
                Ok(bytes) => Some(Zeroizing::new(bytes)),
                Err(ReadError::TooLarge { max_bytes }) => {
                    too_large(cx, kind, name, at, format!("has more than {max_bytes} bytes"));
                    None
                }
                Err(e) => {
                    cx.problem(at, format!("the {word} `{name}`: `{}` cannot be read: {e}", shorten(written)), "");
                    None
                }
            }
        }
    }
}
