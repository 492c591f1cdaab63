//! A service's image: which, for what platform, when it is pulled, how it is built (Compose Specification, section 05).
//!
//! Never asks a registry or an engine. Called by `service`.

use proto::id::ServiceName;
use proto::spec::PullPolicy;

use super::super::Build;
use super::super::tree::shorten;
use super::super::words;
use super::context::{Context, Field, Fields};
use super::{Declared, build};

/// The image's name and how it is made. One that is only built is called `PROJECT-SERVICE`.
pub fn image(
    cx: &mut Context<'_>,
    keys: &mut Fields<'_>,
    name: &ServiceName,
    declared: &Declared<'_>,
) -> (String, Option<Build>) {
    let image = keys.take("image");
    let build_field = keys.take("build");
    let written = image.as_ref().and_then(|field| {
        let text = cx.text(field)?.trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
        if text.is_empty() {
            cx.empty(field, "name an image, such as `nginx:1.27`");
        } else if !text.chars().all(allowed) || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            let message = format!("`{}`: `{}` is not the name of an image", field.path, shorten(text));
            cx.problem(field.node.at, message, "write `NAME:TAG`, such as `nginx:1.27`");
        }
        Some(text.to_owned())
    });
    if image.is_none() && build_field.is_none() {
        cx.problem(keys.at, format!("the service `{name}` has neither `image` nor `build`"), "write `image: NAME:TAG`");
    }
    let made = || declared.project.map(|project| format!("{project}-{name}")).unwrap_or_default();
    let tag = written.unwrap_or_else(made);
    let build = build_field.and_then(|field| build::build(cx, &field, &tag));
    (tag, build)
}

/// `pull_policy`, which asks at the making of a container and never in between: a policy by age asks each time.
pub fn pull_policy(cx: &mut Context<'_>, keys: &mut Fields<'_>) -> PullPolicy {
    let is_built = keys.has("build");
    let after = keys.take("pull_refresh_after");
    let Some(field) = keys.take("pull_policy") else {
        if let Some(after) = after {
            let message = format!("`{}` has no effect without `pull_policy: refresh`", after.path);
            cx.problem(after.at, message, "write `pull_policy: refresh`, or remove it");
        }
        return PullPolicy::default();
    };
    if let Some(after) = &after
        && cx.duration_ms(after).is_some()
    {
        let message = format!("`{}` has no effect: the registry is asked whenever a container is made", after.path);
        cx.notice(after.at, message);
    }
    match cx.text(&field) {
        Some("missing" | "if_not_present") | None => PullPolicy::Missing,
        Some("always") => PullPolicy::Always,
        Some("never") => PullPolicy::Never,
        Some("build") if is_built => PullPolicy::Never,
        Some("build") => {
            let message = format!("`{}: build`, and there is no `build`", field.path);
            cx.problem(field.node.at, message, "write `build`, or another policy");
            PullPolicy::Never
        }
        Some(age) if is_age(age) => {
            let message = format!(
                "`{}: {age}` asks the registry whenever a container is made, whatever the age of the image, as `always` does",
                field.path
            );
            cx.notice(field.at, message);
            PullPolicy::Always
        }
        Some(other) => {
            let message = format!("`{}`: there is no policy `{}`", field.path, shorten(other));
            cx.problem(field.node.at, message, "write missing, always, never, build, daily, weekly or every_12h");
            PullPolicy::default()
        }
    }
}

fn is_age(policy: &str) -> bool {
    let every = policy.strip_prefix("every_").is_some_and(|age| words::duration_ms(age).is_ok_and(|ms| ms > 0));
    every || matches!(policy, "daily" | "weekly" | "refresh")
}

/// `OS[/ARCH[/VARIANT]]` in lower case.
pub fn platform(cx: &mut Context<'_>, field: &Field<'_>) -> Option<String> {
    let text = cx.filled_text(field)?.to_ascii_lowercase();
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let parts: Vec<&str> = text.split('/').collect();
    if parts.len() > 3 || !parts.iter().all(|part| is_word(part)) {
        cx.mismatch(field, "a platform such as linux/amd64");
        return None;
    }
    if parts[0] != "linux" {
        let message = format!("`{}: {}` is not supported: nodes run Linux", field.path, shorten(&text));
        cx.problem(field.node.at, message, "write linux/amd64 or linux/arm64, or remove it");
        return None;
    }
    Some(text)
}
