//! The stable form of `ctl plan`.
//!
//! Apart from the wire. Fields are added, never renamed or removed. Called by `command/plan`.

use proto::v1;
use serde::Serialize;

use crate::name::full;

/// What applying would do.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    kind: &'static str,
    project: String,
    /// The release there would be.
    release: u64,
    /// The one there is; 0: none.
    present_release: u64,
    /// The cluster's revision it was made against.
    revision: u64,
    changed: bool,
    /// All services, with what becomes of them as their state.
    items: Vec<Service>,
    /// What happens, in order.
    steps: Vec<Step>,
    /// Every step is told.
    complete: bool,
    unplaced: Vec<Unplaced>,
    notices: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Service {
    name: String,
    state: String,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Serialize)]
struct Field {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    hidden: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Step {
    step: u32,
    change: String,
    reason: String,
    message: String,
    /// It follows at once; the others follow if what is begun succeeds.
    at_once: bool,
    /// It is not about this project.
    elsewhere: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Unplaced {
    name: String,
    state: &'static str,
    reason: String,
    nodes: u32,
    filters: Vec<Filter>,
}

#[derive(Debug, Clone, Serialize)]
struct Filter {
    name: String,
    nodes: u32,
    example: String,
    message: String,
}

// === impl Plan ===

impl Plan {
    /// Of the server's answer about a project.
    pub fn of(project: &str, answer: &v1::PlanProjectResponse) -> Plan {
        let applied = answer.apply.clone().unwrap_or_default();
        let items = applied.services.iter().map(|s| {
            let difference = answer.differences.iter().find(|d| d.service == s.service);
            let fields = difference.map(|d| d.fields.iter().map(field).collect()).unwrap_or_default();
            Service { name: format!("{project}/{}", s.service), state: s.change.clone(), fields }
        });
        let now = answer.changes.iter().map(|c| step(c, true));
        Plan {
            kind: "Plan",
            project: project.to_owned(),
            release: applied.release,
            present_release: answer.present_release,
            revision: answer.revision,
            changed: applied.changed,
            items: items.collect(),
            steps: now.chain(answer.foreseen.iter().map(|c| step(c, false))).collect(),
            complete: !answer.cut,
            unplaced: answer.unplaced.iter().map(unplaced).collect(),
            notices: applied.notices,
        }
    }
}

fn field(f: &v1::FieldChange) -> Field {
    Field { name: f.field.clone(), before: f.before.clone(), after: f.after.clone(), hidden: f.hidden }
}

fn step(c: &v1::PlannedChange, at_once: bool) -> Step {
    Step {
        step: c.step,
        change: c.change.clone(),
        reason: c.kind.clone(),
        message: c.reason.clone(),
        at_once,
        elsewhere: c.elsewhere,
    }
}

fn unplaced(u: &v1::UnplacedSlot) -> Unplaced {
    let filter = |f: &v1::FilterCount| Filter {
        name: f.filter.clone(),
        nodes: f.nodes,
        example: f.example.clone(),
        message: f.refusal.clone(),
    };
    Unplaced {
        name: format!("{}.{}", full(&u.service.clone().unwrap_or_default()), u.slot),
        state: "unplaced",
        reason: u.why.clone(),
        nodes: u.nodes,
        filters: u.filters.iter().map(filter).collect(),
    }
}
