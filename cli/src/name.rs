//! Which thing a name on the command line means: `[PROJECT/]SERVICE[.SLOT]` against what the cluster has.
//!
//! Pure. Never guesses between two: it names the candidates instead.

pub mod thing;

use proto::names::TypedName;
use proto::v1;

use crate::exit::{Exit, Failure};

/// A service or one of its slots, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its service.
    pub key: v1::ServiceKey,
    /// Its slot, if one was named.
    pub slot: Option<u32>,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&full(&self.key))?;
        self.slot.map_or(Ok(()), |slot| write!(f, ".{slot}"))
    }
}

/// `shop/web`.
pub fn full(key: &v1::ServiceKey) -> String {
    format!("{}/{}", key.project, key.service)
}

/// Where a name without a project is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// From `-p`.
    pub asked: Option<String>,
    /// That of the Compose file in the working directory.
    pub here: Option<String>,
}

impl Scope {
    /// The project a name without one belongs to, if that is settled.
    pub fn project(&self) -> Option<&str> {
        self.asked.as_deref().or(self.here.as_deref())
    }
}

/// Parses a name as typed.
pub fn parse(text: &str) -> Result<TypedName, Failure> {
    text.parse().map_err(|e| {
        Failure::usage(format!("`{text}` is no name of a service: {e}")).hint("a name is [PROJECT/]SERVICE[.SLOT]")
    })
}

/// The service or slot that `text` means.
pub fn find(text: &str, scope: &Scope, snapshot: &v1::Snapshot) -> Result<Found, Failure> {
    let typed = parse(text)?;
    let keys: Vec<&v1::ServiceKey> = snapshot.services.iter().filter_map(|s| s.key.as_ref()).collect();
    let explicit = typed.project.as_ref().map(|p| p.as_str());
    let key = match explicit.or(scope.project()) {
        Some(project) => in_project(project, typed.service.as_str(), &keys)?,
        None => anywhere(typed.service.as_str(), &keys)?,
    };
    let slot = typed.slot.map(|slot| slot.0);
    let found = Found { key: key.clone(), slot };
    check_slot(&found, snapshot)?;
    Ok(found)
}

fn in_project<'a>(project: &str, service: &str, keys: &[&'a v1::ServiceKey]) -> Result<&'a v1::ServiceKey, Failure> {
    if let Some(key) = keys.iter().find(|k| k.project == project && k.service == service) {
        return Ok(key);
    }
    let failure = not_found("service", &format!("{project}/{service}"));
    let elsewhere: Vec<String> = keys.iter().filter(|k| k.service == service).map(|k| full(k)).collect();
    if !elsewhere.is_empty() {
        return Err(failure.hint(format!("did you mean `{}`?", elsewhere.join("` or `"))));
    }
    if !keys.iter().any(|k| k.project == project) {
        let projects = keys.iter().map(|k| k.project.as_str());
        let absent = not_found("project", project);
        return Err(suggest(absent, project, projects, "see `ctl get projects`"));
    }
    let siblings = keys.iter().filter(|k| k.project == project).map(|k| k.service.as_str());
    Err(suggest(failure, service, siblings, &format!("see `ctl get services -p {project}`")))
}

fn anywhere<'a>(service: &str, keys: &[&'a v1::ServiceKey]) -> Result<&'a v1::ServiceKey, Failure> {
    let all: Vec<&&v1::ServiceKey> = keys.iter().filter(|k| k.service == service).collect();
    match all.as_slice() {
        [one] => Ok(one),
        [] => {
            let names = keys.iter().map(|k| k.service.as_str());
            Err(suggest(not_found("service", service), service, names, "see `ctl get services`"))
        }
        several => {
            let names: Vec<String> = several.iter().map(|k| full(k)).collect();
            let message = format!("`{service}` is a service of {} projects", names.len());
            Err(Failure::refused(message).hint(format!("name one: `{}`", names.join("`, `"))))
        }
    }
}

fn check_slot(found: &Found, snapshot: &v1::Snapshot) -> Result<(), Failure> {
    let Some(slot) = found.slot else { return Ok(()) };
    let of_service = |key: &Option<v1::ServiceKey>| key.as_ref() == Some(&found.key);
    let service = snapshot.services.iter().find(|s| of_service(&s.key));
    let wanted = service.map_or(0, |s| s.replicas);
    // Which nodes have which slot of a global one, the servers know.
    let is_global = service.is_some_and(|s| s.global);
    let exists = is_global
        || (1..=wanted).contains(&slot)
        || snapshot.tasks.iter().any(|t| of_service(&t.service) && t.slot == slot);
    if exists {
        return Ok(());
    }
    let message = format!("`{}` has no slot {slot}: it has {wanted} replica{}", full(&found.key), plural(wanted));
    Err(Failure::refused(message).hint(format!("see `ctl ps {}`", full(&found.key))))
}

/// `s` unless there is one.
pub fn plural(count: impl TryInto<u64>) -> &'static str {
    if count.try_into().ok() == Some(1) { "" } else { "s" }
}

/// `there is no service `web``.
pub fn not_found(kind: &str, name: &str) -> Failure {
    Failure::new(Exit::Refused, format!("there is no {kind} `{name}`"))
}

/// The failure with the name that was probably meant, else with `otherwise`.
pub fn suggest<'a>(failure: Failure, typed: &str, known: impl Iterator<Item = &'a str>, otherwise: &str) -> Failure {
    match nearest(typed, known) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(otherwise),
    }
}

/// The known name that is at most a third of its letters away.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let judged = known.map(|name| (distance(typed, name), name));
    let limit = |name: &str| (name.chars().count().max(typed.chars().count()) / 3).max(1);
    judged.filter(|(d, name)| *d <= limit(name)).min().map(|(_, name)| name)
}

/// Letters to add, drop, change or swap with their neighbour to get from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(project: &str, service: &str) -> v1::ServiceKey {
        v1::ServiceKey { project: project.into(), service: service.into() }
    }

    fn snapshot(keys: &[(&str, &str, u32)]) -> v1::Snapshot {
        let service =
            |(p, s, n): &(&str, &str, u32)| v1::Service { key: Some(key(p, s)), replicas: *n, ..Default::default() };
        v1::Snapshot { services: keys.iter().map(service).collect(), ..Default::default() }
    }

    fn here(project: &str) -> Scope {
        Scope { asked: None, here: Some(project.into()) }
    }

    #[track_caller]
    fn check(text: &str, scope: &Scope, want: &str) {
        let cluster = snapshot(&[("shop", "web", 3), ("shop", "db", 1), ("blog", "web", 1), ("blog", "comments", 1)]);
        let got = match find(text, scope, &cluster) {
            Ok(found) => found.to_string(),
            Err(failure) => format!("{}; {}", failure.message, failure.hints.join("; ")),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn names_without_a_project() {
        check("db", &Scope::default(), "shop/db");
        check("web", &Scope::default(), "`web` is a service of 2 projects; name one: `shop/web`, `blog/web`");
        check("web", &here("blog"), "blog/web");
        check("db", &here("blog"), "there is no service `blog/db`; did you mean `shop/db`?");
        check("db", &here("new"), "there is no service `new/db`; did you mean `shop/db`?");
        let asked = Scope { asked: Some("shop".into()), here: Some("blog".into()) };
        check("web.2", &asked, "shop/web.2");
    }

    #[test]
    fn names_with_a_project() {
        check("shop/web.3", &here("blog"), "shop/web.3");
        check("shop/wbe", &here("blog"), "there is no service `shop/wbe`; did you mean `web`?");
        check("shpo/x", &Scope::default(), "there is no project `shpo`; did you mean `shop`?");
        check("zzz/x", &Scope::default(), "there is no project `zzz`; see `ctl get projects`");
        check("coments", &Scope::default(), "there is no service `coments`; did you mean `comments`?");
        check("shop/queue", &Scope::default(), "there is no service `shop/queue`; see `ctl get services -p shop`");
    }

    #[test]
    fn slots_must_exist() {
        check("shop/web.4", &Scope::default(), "`shop/web` has no slot 4: it has 3 replicas; see `ctl ps shop/web`");
        check("shop/db.0", &Scope::default(), "`shop/db` has no slot 0: it has 1 replica; see `ctl ps shop/db`");
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        let failure = find("a b", &Scope::default(), &snapshot(&[])).expect_err("has a space");
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(distance("web", "wbe"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("frontned", ["frontend", "backend"].into_iter()), Some("frontend"));
        assert_eq!(nearest("web", ["database"].into_iter()), None);
    }
}
