//! The answer of `ctl why` for a node: how it is and since when, what runs on it, what it cannot take and why.
//!
//! Pure. What it cannot take is asked of the filters that place, as `unplaced` does. Called by `api`.

use proto::id::{NodeId, ProjectName};
use proto::revision::Wall;
use std::collections::BTreeMap;

use super::why::ago;
use super::{AS_ASKED, Explanation, Judgement, global, port_problem_of, word};
use crate::engine::model::{Node, Reachability, Service, Task};
use crate::engine::placement::Ledger;
use crate::engine::placement::filter::{self, Bytes, Cpus};
use crate::engine::state::State;

/// Lines about single tasks or services, of each kind.
const LINES_MAX: usize = 20;

/// One node in a word.
pub fn judge(node: &Node) -> Judgement {
    match node.reachability {
        Reachability::Down { .. } => word("down", "silent for longer than its lease"),
        Reachability::Up if node.conditions.engine_problem.is_empty() => word("ready", ""),
        Reachability::Up => word("degraded", node.conditions.engine_problem.clone()),
    }
}

/// The answer of `ctl why` for a node.
pub fn why(state: &State, id: NodeId, wall: Wall) -> Option<Explanation> {
    let node = state.node(id)?;
    let host = &node.info.hostname;
    let judged = judge(node);
    let mut tasks: Vec<&Task> = state.tasks_on(id).map(|t| &**t).collect();
    tasks.sort_by_key(|t| (&t.service, t.slot, t.id));
    let now = format!("{host} is {}{}; {}", judged.state, since(state, node, wall), held(&tasks));
    let (cause, next) = match (node.reachability, node.conditions.engine_problem.as_str()) {
        (Reachability::Down { since_wall, .. }, _) => (
            format!("its agent was silent for longer than its lease, {}", ago(since_wall, wall)),
            next_of_lost(state, host, &tasks),
        ),
        (Reachability::Up, "") => {
            (format!("its agent is heard and its Docker Engine answers; {}", load(state, node)), AS_ASKED.to_owned())
        }
        (Reachability::Up, problem) => (
            format!("its Docker Engine cannot be used: {problem}"),
            format!("its agent goes on asking; nothing is started or stopped on {host} until it answers"),
        ),
    };
    let mut detail = running(state, &tasks);
    detail.extend(conditions(node));
    detail.extend(cannot_hold(state, node));
    let next = match port_problem_of(node) {
        Some(problem) if node.is_up() && next == AS_ASKED => {
            format!("its agent tries port {} again and publishes it as soon as it is free", problem.port.published)
        }
        _ => next,
    };
    Some(Explanation { now, cause, next, detail })
}

/// Since it was last not as it is.
fn since(state: &State, node: &Node, wall: Wall) -> String {
    if !node.is_up() {
        return String::new();
    }
    let of_node = state.events().rev().take_while(|e| e.at >= node.registered_at);
    let back = of_node.filter(|e| e.subject == node.info.hostname).find(|e| e.kind == "node-up");
    match back {
        Some(event) => format!(", heard again {}", ago(event.at, wall)),
        None => format!(", joined {}", ago(node.registered_at, wall)),
    }
}

/// How many tasks it has.
fn held(tasks: &[&Task]) -> String {
    match tasks.len() {
        0 => "nothing runs on it".to_owned(),
        1 => "it has 1 task".to_owned(),
        count => format!("it has {count} tasks"),
    }
}

/// `1.5 of 4 CPUs and 2.0 GiB of 8.0 GiB of memory are reserved`.
fn load(state: &State, node: &Node) -> String {
    let reserved = Ledger::of(state).reserved(node.info.id);
    let cpus = (Cpus(reserved.cpu_millis), Cpus(node.info.cpu_millis));
    let memory = (Bytes(reserved.memory_bytes), Bytes(node.info.memory_bytes));
    format!("{} of {} CPUs and {} of {} of memory are reserved", cpus.0, cpus.1, memory.0, memory.1)
}

fn next_of_lost(state: &State, host: &str, tasks: &[&Task]) -> String {
    let is_global = |t: &Task| state.service(&t.service).is_some_and(|s| state.is_global(s));
    let waits = tasks.iter().filter(|t| t.is_wanted() && (t.has_local_volume() || is_global(t))).count();
    let because = match tasks.iter().any(|t| t.is_wanted() && is_global(t)) {
        true => "their volumes are there, or they are of services that are on each node",
        false => "their volumes are there",
    };
    let moves = tasks.iter().filter(|t| t.is_wanted()).count() - waits;
    match (moves, waits) {
        (0, 0) => format!("nothing waits for it; {host} is used again once its agent is heard"),
        (_, 0) => "its tasks are replaced on other nodes as soon as one can hold them".to_owned(),
        (0, _) => format!("its tasks wait until {host} is heard again, because {because}"),
        _ => format!("its tasks are replaced on other nodes, but for {waits}, because {because}"),
    }
}

/// What is not well with a reason each, then what is, by project.
fn running(state: &State, tasks: &[&Task]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut well: BTreeMap<(&ProjectName, &str), Vec<String>> = BTreeMap::new();
    for task in tasks {
        let judged = super::task(state, task);
        let is_well = matches!(judged.state, "ready" | "complete" | "lost");
        match is_well || judged.reason.is_empty() {
            true => well
                .entry((&task.service.project, judged.state))
                .or_default()
                .push(format!("{}.{}", task.service.service, task.slot)),
            false => lines.push(format!("{}.{} is {}: {}", task.service, task.slot, judged.state, judged.reason)),
        }
    }
    let lines = capped(lines, "see `ctl ps`");
    lines
        .into_iter()
        .chain(well.into_iter().map(|((project, state), names)| of_project(project, state, &names)))
        .collect()
}

/// `5 of shop are ready: cart.1, front.1, product.1, and 2 more`.
fn of_project(project: &ProjectName, state: &str, names: &[String]) -> String {
    const NAMED: usize = 4;
    let are = if names.len() == 1 { "is" } else { "are" };
    let more = names.len().saturating_sub(NAMED);
    let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{} of {project} {are} {state}: {named}{more}", names.len())
}

fn capped(mut lines: Vec<String>, what: &str) -> Vec<String> {
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("and {more} more, {what}"));
    }
    lines
}

fn conditions(node: &Node) -> Vec<String> {
    let mut lines = Vec::new();
    for forward in node.conditions.forwards.iter().filter(|f| !f.problem.is_empty()) {
        lines.push(format!(
            "port {} of {} is not published: {}",
            forward.port.published, forward.service, forward.problem
        ));
    }
    for stranger in &node.conditions.strangers {
        let runs = if stranger.running { "runs" } else { "is here" };
        lines.push(format!("container {} of {} {runs} and nobody asked for it", stranger.name, stranger.service));
    }
    capped(lines, "see `ctl describe node`")
}

/// Services with a slot that no node can hold, and what this one says about them.
fn cannot_hold(state: &State, node: &Node) -> Vec<String> {
    let ledger = Ledger::of(state);
    let refusal = |service: &Service| {
        let wanted = filter::Wanted::on(state, service, node.info.id);
        filter::judge(state, &ledger, &wanted, node).err()
    };
    let without = state.services().filter(|service| super::unplaced(state, service) > 0);
    let without = without.filter(|s| !state.is_global(s) || global::lacks_its_task(state, s, node));
    let lines = without.filter_map(|s| Some(format!("{} cannot be placed here: {}", s.key, refusal(s)?))).collect();
    capped(lines, "see `ctl get services`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted_and_few_are_told() {
        let shop = "shop".parse().expect("a name");
        let names: Vec<String> = (1..=6).map(|slot| format!("web.{slot}")).collect();
        assert_eq!(of_project(&shop, "ready", &names[..1]), "1 of shop is ready: web.1");
        let six = "6 of shop are ready: web.1, web.2, web.3, web.4, and 2 more";
        assert_eq!(of_project(&shop, "ready", &names), six);
    }

    #[test]
    fn a_long_list_ends_with_what_was_left_out() {
        let lines = capped((0..23).map(|n| n.to_string()).collect(), "elsewhere");
        assert_eq!((lines.len(), lines[20].as_str()), (21, "and 3 more, elsewhere"));
    }
}
