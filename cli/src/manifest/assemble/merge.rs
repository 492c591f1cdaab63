//! One document over another, by the rules of the Compose Specification, section 13: maps are merged, lists appended, other values
//! replaced; commands are replaced; ports, mounts and files that mean the same place are one; `!reset` and `!override`.
//!
//! Never reads a file, never judges a value: what stays is lowered as if it had been written in one file. Called by `assemble`.

use std::collections::BTreeMap;

use super::super::lower::context::Context;
use super::super::tree::{Entry, Mark, Merging, Node, Scalar, Value};

/// A path of keys, the last one first.
#[derive(Clone, Copy)]
pub struct Path<'p> {
    key: &'p str,
    above: Option<&'p Path<'p>>,
}

impl<'p> Path<'p> {
    /// The path of a key at the top.
    pub fn top(key: &'p str) -> Path<'p> {
        Path { key, above: None }
    }

    /// The path of a key below this one.
    pub fn below(&'p self, key: &'p str) -> Path<'p> {
        Path { key, above: Some(self) }
    }

    fn keys(&self) -> Vec<&'p str> {
        let mut keys = self.above.map(Path::keys).unwrap_or_default();
        keys.push(self.key);
        keys
    }
}

/// How two values of one key become one.
enum Rule {
    /// By their kind.
    Plain,
    /// The later one stays.
    Replace,
    /// A map, or a list of `NAME=VALUE`.
    Pairs,
    /// A map, or a list of its keys; the value of a listed key.
    Names(fn(Mark) -> Node),
    /// A map, or a string that is its first key.
    Expanded(&'static str),
    /// A list, or a single string; two items with the same key are one.
    Unique(fn(&Node) -> Option<String>),
    /// Options belong to their driver.
    Logging,
}

fn rule(path: &Path<'_>) -> Rule {
    let keys = path.keys();
    let below_service = match keys.as_slice() {
        ["services", _, below @ ..] => below,
        [_, _, "labels"] => return Rule::Pairs,
        _ => return Rule::Plain,
    };
    match below_service {
        ["command" | "entrypoint"] | ["healthcheck", "test"] | ["ulimits", _] => Rule::Replace,
        ["environment" | "labels" | "annotations" | "sysctls"] => Rule::Pairs,
        ["build", "args" | "labels" | "additional_contexts"] | ["deploy", "labels"] => Rule::Pairs,
        ["depends_on"] => Rule::Names(started),
        ["networks" | "models"] => Rule::Names(|at| Node::new(at, Value::Null)),
        ["build"] => Rule::Expanded("context"),
        ["logging"] => Rule::Logging,
        ["ports"] => Rule::Unique(port),
        ["volumes"] => Rule::Unique(mount),
        ["configs"] => Rule::Unique(|item| file(item, "")),
        ["secrets"] => Rule::Unique(|item| file(item, "/run/secrets")),
        ["devices"] => Rule::Unique(mount),
        ["env_file"] => Rule::Unique(|item| text_of(item, "path")),
        [
            "cap_add" | "cap_drop" | "dns" | "dns_opt" | "dns_search" | "expose" | "external_links" | "group_add"
            | "label_file" | "links" | "profiles" | "security_opt" | "tmpfs" | "volumes_from",
        ] => Rule::Unique(|item| text_of(item, "")),
        _ => Rule::Plain,
    }
}

/// A document over another.
pub fn documents(cx: &mut Context<'_>, base: Node, over: Node) -> Node {
    match (base.value, over.value) {
        (Value::Map(a), Value::Map(b)) => {
            Node { value: Value::Map(maps(cx, a, b, None)), ..Node::new(base.at, Value::Null) }
        }
        // Documents are maps; what is not was refused.
        (a, _) => Node::new(base.at, a),
    }
}

/// A value over the earlier value of the same key.
pub fn values(cx: &mut Context<'_>, base: Node, over: Node, path: &Path<'_>) -> Node {
    if over.merging == Merging::Override {
        return over;
    }
    match rule(path) {
        Rule::Replace => over,
        Rule::Plain => plain(cx, base, over, path),
        Rule::Pairs => {
            let (base, over) = (expanded(base, pair), expanded(over, pair));
            plain(cx, base, over, path)
        }
        Rule::Names(value) => {
            let listed = |item: Node| match item.value {
                Value::Scalar(scalar) => Ok(Entry { key: scalar.text, at: item.at, value: value(item.at) }),
                _ => Err(item),
            };
            let (base, over) = (expanded(base, listed), expanded(over, listed));
            plain(cx, base, over, path)
        }
        Rule::Expanded(key) => {
            let (base, over) = (under(base, key), under(over, key));
            plain(cx, base, over, path)
        }
        Rule::Unique(key) => unique(cx, in_list(base), in_list(over), path, key),
        Rule::Logging => {
            let driver = |node: &Node| node.get("driver").and_then(|e| text_of(&e.value, ""));
            let (a, b) = (driver(&base), driver(&over));
            if a.is_some() && b.is_some() && a != b { over } else { plain(cx, base, over, path) }
        }
    }
}

fn plain(cx: &mut Context<'_>, base: Node, over: Node, path: &Path<'_>) -> Node {
    match (base.value, over.value) {
        (Value::Map(a), Value::Map(b)) => Node::new(base.at, Value::Map(maps(cx, a, b, Some(path)))),
        (Value::List(mut a), Value::List(b)) => {
            a.extend(b);
            Node::new(base.at, Value::List(a))
        }
        (Value::Null | Value::Scalar(_), value @ (Value::Map(_) | Value::List(_)))
        | (Value::Null | Value::Scalar(_), value @ Value::Scalar(_)) => Node::new(over.at, value),
        // A key without a value says nothing of the earlier one.
        (value, Value::Null) => Node::new(base.at, value),
        (a, b) => {
            let (base, over) = (Node::new(base.at, a), Node::new(over.at, b));
            let place = cx.elsewhere(base.at, over.at);
            let message = format!(
                "`{}` is {} here and {} {place}: they cannot be merged",
                path.keys().join("."),
                over.describe(),
                base.describe()
            );
            cx.problem(over.at, message, "write both in the same form, or `!override` before this one");
            cx.silence(over.at);
            over
        }
    }
}

/// Keys of both; those of `over` win by the rule of each.
fn maps(cx: &mut Context<'_>, mut base: Vec<Entry>, over: Vec<Entry>, path: Option<&Path<'_>>) -> Vec<Entry> {
    let mut places: BTreeMap<String, usize> = base.iter().enumerate().map(|(n, e)| (e.key.clone(), n)).collect();
    let mut gone = Vec::new();
    for entry in over {
        let name = entry.key.clone();
        let below = path.map_or(Path::top(&name), |path| path.below(&name));
        let place = places.get(&entry.key).copied().filter(|place| !gone.contains(place));
        match (entry.value.merging, place) {
            (Merging::Reset, place) => {
                reset(cx, &entry, &below, place.is_some());
                gone.extend(place);
            }
            (_, None) => {
                places.insert(name.clone(), base.len());
                base.push(entry);
            }
            (_, Some(place)) => {
                let earlier = std::mem::replace(&mut base[place].value, Node::new(entry.at, Value::Null));
                let replaces = entry.value.merging == Merging::Override || stands_alone(&entry.value, &below);
                if replaces {
                    cx.replaced(below.keys().join("."), base[place].at, entry.at);
                }
                let at = if replaces { entry.at } else { base[place].at };
                base[place] = Entry { key: entry.key, at, value: values(cx, earlier, entry.value, &below) };
            }
        }
    }
    let mut index = 0;
    base.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
    base
}

/// Whether nothing of an earlier value will be left.
fn stands_alone(over: &Node, path: &Path<'_>) -> bool {
    match rule(path) {
        Rule::Replace => true,
        Rule::Plain => matches!(over.value, Value::Scalar(_)),
        _ => false,
    }
}

fn reset(cx: &mut Context<'_>, entry: &Entry, path: &Path<'_>, is_there: bool) {
    let path = path.keys().join(".");
    if !is_there {
        cx.remark(entry.at, format!("`!reset` has nothing to take away: no file before this one has `{path}`"));
    }
    cx.understood(path, entry.at);
}

/// Takes away what is left of `!reset`: keys that no earlier file had.
pub fn settle(cx: &mut Context<'_>, node: &mut Node) {
    settle_below(cx, node, None);
}

fn settle_below(cx: &mut Context<'_>, node: &mut Node, path: Option<&Path<'_>>) {
    match &mut node.value {
        Value::Map(entries) => entries.retain_mut(|entry| {
            if entry.value.merging == Merging::Reset {
                let key = entry.key.clone();
                reset(cx, entry, &path.map_or(Path::top(&key), |path| path.below(&key)), false);
                return false;
            }
            let below = path.map_or(Path::top(&entry.key), |path| path.below(&entry.key));
            settle_below(cx, &mut entry.value, Some(&below));
            true
        }),
        Value::List(items) => items.iter_mut().for_each(|item| settle_below(cx, item, path)),
        Value::Null | Value::Scalar(_) => {}
    }
}

/// A list as the map it stands for, unless one of its items cannot be an entry.
fn expanded(node: Node, entry: impl Fn(Node) -> Result<Entry, Node>) -> Node {
    let Value::List(items) = &node.value else { return node };
    let mut entries: Vec<Entry> = Vec::with_capacity(items.len());
    for item in items {
        let Ok(entry) = entry(item.clone()) else { return node };
        match entries.iter_mut().find(|e| e.key == entry.key) {
            Some(earlier) => *earlier = entry,
            None => entries.push(entry),
        }
    }
    Node { value: Value::Map(entries), ..node }
}

/// `NAME=VALUE`, or a name without a value.
fn pair(item: Node) -> Result<Entry, Node> {
    let Value::Scalar(scalar) = &item.value else { return Err(item) };
    let (key, value) = match scalar.text.split_once('=') {
        Some((key, value)) => {
            let text = Scalar { text: value.to_owned(), plain: false, substituted: scalar.substituted };
            (key.to_owned(), Value::Scalar(text))
        }
        None => (scalar.text.clone(), Value::Null),
    };
    Ok(Entry { key, at: item.at, value: Node::new(item.at, value) })
}

/// What the short form of `depends_on` means.
fn started(at: Mark) -> Node {
    let text = Scalar { text: "service_started".to_owned(), plain: false, substituted: false };
    let condition = Entry { key: "condition".to_owned(), at, value: Node::new(at, Value::Scalar(text)) };
    Node::new(at, Value::Map(vec![condition]))
}

fn under(node: Node, key: &str) -> Node {
    let Value::Scalar(_) = node.value else { return node };
    let at = node.at;
    Node { merging: node.merging, ..Node::new(at, Value::Map(vec![Entry { key: key.to_owned(), at, value: node }])) }
}

fn in_list(node: Node) -> Node {
    let Value::Scalar(_) = node.value else { return node };
    Node { merging: node.merging, ..Node::new(node.at, Value::List(vec![node])) }
}

/// Both lists; an item that means the same place as an earlier one takes its place.
fn unique(cx: &mut Context<'_>, base: Node, over: Node, path: &Path<'_>, key: fn(&Node) -> Option<String>) -> Node {
    let (Value::List(a), Value::List(b)) = (&base.value, &over.value) else { return plain(cx, base, over, path) };
    let (mut items, at) = (a.clone(), base.at);
    let mut places: BTreeMap<String, usize> =
        items.iter().enumerate().filter_map(|(n, item)| Some((key(item)?, n))).collect();
    for item in b {
        let name = key(item);
        match name.as_ref().and_then(|name| places.get(name)) {
            Some(place) => {
                cx.replaced(format!("{}[{place}]", path.keys().join(".")), items[*place].at, item.at);
                items[*place] = item.clone();
            }
            None => {
                places.extend(name.map(|name| (name, items.len())));
                items.push(item.clone());
            }
        }
    }
    Node::new(at, Value::List(items))
}

/// The text of a scalar, or of a key of a map.
fn text_of(node: &Node, key: &str) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar.text.clone()),
        Value::Map(_) => match &node.get(key)?.value.value {
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Address, published port, port inside and protocol.
fn port(item: &Node) -> Option<String> {
    let (ip, published, target, protocol) = match &item.value {
        Value::Scalar(scalar) => {
            let (rest, protocol) = scalar.text.split_once('/').unwrap_or((&scalar.text, "tcp"));
            let (host, target) = rest.rsplit_once(':').unwrap_or(("", rest));
            let (ip, published) = match host.rsplit_once(':') {
                Some((ip, published)) => (ip, published),
                None => ("", host),
            };
            (ip.to_owned(), published.to_owned(), target.to_owned(), protocol.to_owned())
        }
        Value::Map(_) => {
            let part = |key: &str| item.get(key).and_then(|e| text_of(&e.value, ""));
            let protocol = part("protocol").unwrap_or_else(|| "tcp".to_owned());
            (part("host_ip").unwrap_or_default(), part("published").unwrap_or_default(), part("target")?, protocol)
        }
        _ => return None,
    };
    let ip = if ip == "0.0.0.0" { "" } else { ip.trim_matches(['[', ']']) };
    Some(format!("{ip} {published} {target} {}", protocol.to_lowercase()))
}

/// The path inside.
fn mount(item: &Node) -> Option<String> {
    let target = match &item.value {
        Value::Scalar(scalar) => {
            let mut parts = scalar.text.split(':');
            let first = parts.next()?;
            parts.next().unwrap_or(first).to_owned()
        }
        _ => text_of(item, "target")?,
    };
    Some(target.trim_end_matches('/').to_owned())
}

/// The path inside of a config or a secret.
fn file(item: &Node, directory: &str) -> Option<String> {
    let name = match &item.value {
        Value::Map(_) => text_of(item, "target").or_else(|| text_of(item, "source"))?,
        _ => text_of(item, "")?,
    };
    Some(if name.starts_with('/') { name } else { format!("{directory}/{name}") })
}
