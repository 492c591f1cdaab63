//! Which of several kinds a bare name means: a service or slot first, else a project, else a node.
//!
//! Pure. What is unknown is answered with the nearest name of any kind.

use proto::v1;

use super::{Found, Scope, find, nearest, not_found, suggest};
use crate::exit::Failure;

/// What `ctl why` can be asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A service or one of its slots.
    Service(Found),
    /// A project.
    Project(String),
    /// A node.
    Node {
        /// Its id.
        id: String,
        /// What people call it.
        host: String,
    },
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Thing::Service(found) => found.fmt(f),
            Thing::Project(name) => write!(f, "project {name}"),
            Thing::Node { host, .. } => write!(f, "node {host}"),
        }
    }
}

/// A node by its id, or its host name if it is the only one of that name.
pub fn node<'a>(name: &str, snapshot: &'a v1::Snapshot) -> Result<&'a v1::Node, Failure> {
    let which = |called: fn(&v1::NodeInfo) -> &str| -> Vec<&'a v1::Node> {
        snapshot.nodes.iter().filter(|n| n.info.as_ref().is_some_and(|info| called(info) == name)).collect()
    };
    let by_id = which(|info| &info.id);
    let found = if by_id.is_empty() { which(|info| &info.hostname) } else { by_id };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(suggest(not_found("node", name), name, hosts(snapshot), "see `ctl get nodes`")),
        several => {
            let ids: Vec<&str> = several.iter().filter_map(|n| Some(n.info.as_ref()?.id.as_str())).collect();
            let message = format!("{} nodes are called `{name}`", ids.len());
            Err(Failure::refused(message).hint(format!("name one by its id: `{}`", ids.join("`, `"))))
        }
    }
}

/// A project.
pub fn project<'a>(name: &str, snapshot: &'a v1::Snapshot) -> Result<&'a v1::Project, Failure> {
    let absent = || suggest(not_found("project", name), name, projects(snapshot), "see `ctl get projects`");
    snapshot.projects.iter().find(|p| p.name == name).ok_or_else(absent)
}

fn hosts(snapshot: &v1::Snapshot) -> impl Iterator<Item = &str> {
    snapshot.nodes.iter().filter_map(|n| Some(n.info.as_ref()?.hostname.as_str()))
}

fn projects(snapshot: &v1::Snapshot) -> impl Iterator<Item = &str> {
    snapshot.projects.iter().map(|p| p.name.as_str())
}

impl Thing {
    /// The node of that name.
    pub fn node(name: &str, snapshot: &v1::Snapshot) -> Result<Thing, Failure> {
        let info = node(name, snapshot)?.info.clone().unwrap_or_default();
        Ok(Thing::Node { id: info.id, host: info.hostname })
    }

    /// The project of that name.
    pub fn project(name: &str, snapshot: &v1::Snapshot) -> Result<Thing, Failure> {
        Ok(Thing::Project(project(name, snapshot)?.name.clone()))
    }

    /// The thing of that name, whatever it is, and the others that have it too.
    pub fn any(name: &str, scope: &Scope, snapshot: &v1::Snapshot) -> Result<(Thing, Vec<Thing>), Failure> {
        let service = find(name, scope, snapshot);
        // `-p` says that it is something of that project.
        let others = if scope.asked.is_some() {
            Vec::new()
        } else {
            [Thing::project(name, snapshot), Thing::node(name, snapshot)].into_iter().flatten().collect()
        };
        let mut all = service.clone().map(Thing::Service).into_iter().chain(others);
        match (all.next(), service) {
            (Some(first), _) => Ok((first, all.collect())),
            (None, Ok(found)) => Ok((Thing::Service(found), Vec::new())),
            (None, Err(failure)) => Err(unknown(name, failure, scope, snapshot)),
        }
    }
}

/// What to say of a name that nothing has. `failure`: what there is to say if it should be a service.
fn unknown(name: &str, failure: Failure, scope: &Scope, snapshot: &v1::Snapshot) -> Failure {
    let says_more = name.contains(['/', '.']) || scope.asked.is_some();
    let is_ambiguous =
        snapshot.services.iter().filter_map(|s| s.key.as_ref()).filter(|k| k.service == name).count() > 1;
    if says_more || is_ambiguous {
        return failure;
    }
    let services = snapshot.services.iter().filter_map(|s| Some(s.key.as_ref()?.service.as_str()));
    let known = services.chain(projects(snapshot)).chain(hosts(snapshot));
    let nothing = Failure::refused(format!("there is no service, project or node `{name}`"));
    match nearest(name, known) {
        Some(near) => nothing.hint(format!("did you mean `{near}`?")),
        None => nothing.hint("see `ctl get services`, `ctl get projects` or `ctl get nodes`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::fake::{service, shop, task};

    #[track_caller]
    fn check(name: &str, scope: &Scope, want: &str) {
        let services = vec![service("shop/web", "running", 1, 1), service("shop/shop", "running", 1, 1)];
        let snapshot = shop(services, vec![task(1, "shop/web.1", "ready")]);
        let got = match Thing::any(name, scope, &snapshot) {
            Ok((thing, others)) => [vec![thing], others].concat().iter().map(ToString::to_string).collect(),
            Err(failure) => [vec![failure.message], failure.hints].concat(),
        };
        assert_eq!(got.join("; "), want, "{name}");
    }

    #[test]
    fn a_name_is_a_service_else_a_project_else_a_node() {
        let anywhere = Scope::default();
        check("web.1", &anywhere, "shop/web.1");
        check("shop", &anywhere, "shop/shop; project shop");
        check("alpha", &anywhere, "node alpha");
        check("00000000000000ff", &anywhere, "node alpha");
        let elsewhere = Scope { asked: None, here: Some("blog".into()) };
        check("shop", &elsewhere, "project shop");
    }

    #[test]
    fn the_nearest_name_of_any_kind_is_meant() {
        let anywhere = Scope::default();
        check("wbe", &anywhere, "there is no service, project or node `wbe`; did you mean `web`?");
        check("alhpa", &anywhere, "there is no service, project or node `alhpa`; did you mean `alpha`?");
        let nothing = "there is no service, project or node `payments`; \
             see `ctl get services`, `ctl get projects` or `ctl get nodes`";
        check("payments", &anywhere, nothing);
        check("shop/wbe", &anywhere, "there is no service `shop/wbe`; did you mean `web`?");
        let asked = Scope { asked: Some("shop".into()), here: None };
        check("alpha", &asked, "there is no service `shop/alpha`; see `ctl get services -p shop`");
    }
}
