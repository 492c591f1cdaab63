//! `profiles`: services that are only wanted when one of their profiles is active (Compose Specification, section 15).
//!
//! Never touches services without profiles. What is left out is told once. Called by `assemble`.

use std::collections::BTreeSet;

use super::super::lower::context::{Context, Field};
use super::super::tree::{Entry, Mark, Node, Value, shorten};

/// The variable with active profiles, separated by commas.
const VARIABLE: &str = "COMPOSE_PROFILES";
/// Services named in the notice of what is left out.
const SHOWN: usize = 8;

/// Takes away the services whose profiles are not active.
pub fn apply(cx: &mut Context<'_>, asked: &[String], root: &mut Node) {
    let active = active(cx, asked);
    let Value::Map(top) = &mut root.value else { return };
    let Some(section) = top.iter_mut().find(|e| e.key == "services") else { return };
    let Value::Map(entries) = &mut section.value.value else { return };
    let (mut known, mut left_out, before) = (BTreeSet::new(), Vec::new(), entries.len());
    entries.retain_mut(|entry| {
        let profiles = taken(cx, entry);
        known.extend(profiles.iter().cloned());
        let wanted = profiles.is_empty() || active.contains("*") || profiles.iter().any(|p| active.contains(p));
        if !wanted {
            left_out.push((entry.key.clone(), entry.at, profiles.clone()));
            cx.left_out.insert(entry.key.clone(), profiles);
        }
        wanted
    });
    say(cx, &left_out, section.at, before == left_out.len());
    for profile in asked.iter().flat_map(|p| p.split(',')).filter(|p| *p != "*" && !known.contains(*p)) {
        cx.remark(Mark::default(), format!("no service has the profile `{}`", shorten(profile)));
    }
}

fn active(cx: &Context<'_>, asked: &[String]) -> BTreeSet<String> {
    let variable = cx.variable(Mark::default(), VARIABLE).unwrap_or_default();
    let words = asked.iter().flat_map(|profiles| profiles.split(',')).chain(variable.split(','));
    words.map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The profiles of a service. The key is taken away: lowering has no use for it.
fn taken(cx: &mut Context<'_>, entry: &mut Entry) -> Vec<String> {
    let Value::Map(keys) = &mut entry.value.value else { return Vec::new() };
    let Some(index) = keys.iter().position(|e| e.key == "profiles") else { return Vec::new() };
    let written = keys.remove(index);
    let path = format!("services.{}.profiles", shorten(&entry.key));
    cx.understood(path.clone(), written.at);
    if written.value.value == Value::Null {
        return Vec::new();
    }
    let items = cx.text_list(&Field { path: path.clone(), at: written.at, node: &written.value }).unwrap_or_default();
    for (name, at) in items.iter().filter(|(name, _)| !is_name(name)) {
        let message = format!("`{path}`: `{}` is not the name of a profile", shorten(name));
        cx.problem(*at, message, "use letters, digits, `_`, `.` and `-`, a letter or digit first");
    }
    items.into_iter().map(|(name, _)| name).collect()
}

fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed)
}

fn say(cx: &mut Context<'_>, left_out: &[(String, Mark, Vec<String>)], services_at: Mark, is_all: bool) {
    let Some((_, first, _)) = left_out.first() else { return };
    if cx.judges_all() && !is_all {
        for (name, at, profiles) in left_out {
            cx.understood(format!("services.{}", shorten(name)), *at);
            let profiles = profiles.join("` nor `");
            cx.remark(*at, format!("left out with all its keys: its profile `{profiles}` is not active"));
        }
        return;
    }
    let shown = left_out.iter().take(SHOWN).map(|(name, _, profiles)| format!("{name} ({})", profiles.join(", ")));
    let mut names = shown.collect::<Vec<_>>().join(", ");
    if left_out.len() > SHOWN {
        names.push_str(&format!(", and {} more", left_out.len() - SHOWN));
    }
    if is_all {
        let message = format!("no service is left, as no profile of theirs is active: {names}");
        cx.problem(services_at, message, "use `--profile NAME`, or COMPOSE_PROFILES");
    } else {
        cx.remark(
            *first,
            format!("left out, as no profile of theirs is active (`--profile NAME` takes them in): {names}"),
        );
    }
}
