//! `depends_on`, short and long (Compose Specification, section 05).
//!
//! Never looks for cycles: `across` does. Called by `service`.

use std::collections::BTreeMap;

use proto::id::ServiceName;
use proto::spec::{Dependency, DependencyCondition};

use super::super::tree::{Mark, Value, shorten};
use super::context::{Context, Field, Fields};
use super::{Declared, keys};

/// What a service waits for, each with its place.
pub fn depends_on(
    cx: &mut Context<'_>,
    service: &mut Fields<'_>,
    declared: &Declared<'_>,
) -> BTreeMap<ServiceName, (Dependency, Mark)> {
    let mut found = BTreeMap::new();
    let Some(field) = service.take("depends_on") else { return found };
    let short = Dependency { condition: DependencyCondition::Started, required: true };
    let written: Vec<(String, Mark, Option<Dependency>)> = match field.node.value {
        Value::List(_) => {
            cx.text_list(&field).unwrap_or_default().into_iter().map(|(name, at)| (name, at, Some(short))).collect()
        }
        _ => {
            let Some(entries) = cx.map_or(&field, "a list or a map") else { return found };
            entries.all().map(|(name, field)| (name.to_owned(), field.at, long(cx, &field))).collect()
        }
    };
    for (name, at, dependency) in written {
        let Some(dependency) = dependency else { continue };
        if declared.services.contains(name.as_str()) {
            // A name that is declared but not valid is a problem where it is declared.
            let Ok(name) = name.parse::<ServiceName>() else { continue };
            if let Some((_, first)) = found.insert(name.clone(), (dependency, at)) {
                let message = format!(
                    "`{name}` is written twice in `{}`: on line {} and on line {}",
                    field.path, first.line, at.line
                );
                cx.problem(at, message, "keep one of them");
            }
        } else if let Some(profiles) = cx.left_out.get(&name).cloned() {
            left_out(cx, at, &name, dependency, &profiles);
        } else if dependency.required {
            cx.undefined(at, "service", &name, "declare it under `services:`", declared.services.iter().copied());
        } else {
            cx.remark(
                at,
                format!("there is no service `{}`: it is not waited for, as `required: false` allows", shorten(&name)),
            );
        }
    }
    found
}

/// A dependency that is declared, but whose profile is not active.
fn left_out(cx: &mut Context<'_>, at: Mark, name: &str, dependency: Dependency, profiles: &[String]) {
    let profile = profiles.first().map(String::as_str).unwrap_or_default();
    if dependency.required {
        let message = format!("there is no service `{name}` here: its profile `{profile}` is not active");
        cx.problem(at, message, &format!("use `--profile {profile}`, or write `required: false`"));
    } else {
        cx.remark(at, format!("`{name}` is not waited for, as its profile `{profile}` is not active"));
    }
}

fn long(cx: &mut Context<'_>, field: &Field<'_>) -> Option<Dependency> {
    const CONDITIONS: &str = "write service_started, service_healthy or service_completed_successfully";
    let mut keys = cx.map(field)?;
    let condition = keys.take("condition");
    let required = keys.take("required").and_then(|f| cx.boolean(&f)).unwrap_or(true);
    if let Some(restart) = keys.take("restart")
        && cx.boolean(&restart) == Some(true)
    {
        cx.problem(restart.at, format!("`{}: true` is not supported yet", restart.path), "remove it");
    }
    keys.finish(cx, keys::DEPENDENCY);
    let Some(condition) = condition else {
        cx.problem(field.at, format!("`{}` has no `condition`", field.path), CONDITIONS);
        return None;
    };
    let condition = match cx.text(&condition)? {
        "service_started" => DependencyCondition::Started,
        "service_healthy" => DependencyCondition::Healthy,
        "service_completed_successfully" => DependencyCondition::Completed,
        other => {
            cx.problem(
                condition.node.at,
                format!("`{}`: there is no condition `{}`", condition.path, shorten(other)),
                CONDITIONS,
            );
            return None;
        }
    };
    Some(Dependency { condition, required })
}
