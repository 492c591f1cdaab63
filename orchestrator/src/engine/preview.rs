//! What a command would do, foreseen on a copy: apply, reconcile, and again as if all that is begun succeeded.
//!
//! The first step is exactly what the leader does next; the later ones follow from the same functions on the assumption
//! that each image is pulled, each process starts and each check succeeds. Never proposes, never judges who is alive.
//! Pure. Called by `api`.

use proto::assignment::Desired;
use proto::id::{NodeId, ProjectName, ServiceKey, TaskId};
use proto::revision::{Time, Wall};
use proto::spec::{DependencyCondition, HealthSpec, RestartPolicy};
use proto::task_state::{Health, Phase, TaskStatus};
use std::collections::BTreeMap;

use super::command::{Command, Stamped};
use super::lease::{CLOSED_GRACE_MS, Leases};
use super::model::{Service, Task};
use super::outcome::{Outcome, Rejection};
use super::plan::{Change, Plan, Unplaced};
use super::reconcile::{next_deadline, reconcile};
use super::state::State;
use super::state::apply::apply;

/// Plans foreseen at most, and waits for a moment in a row in which nothing happens.
const PLANS_MAX: usize = 400;
const IDLE_WAITS_MAX: u32 = 40;
/// Tasks looked at, over all rounds: bounds the time a large cluster's server spends on one question.
const TASKS_LOOKED_AT_MAX: usize = 4_000_000;

/// What follows from a command.
#[derive(Debug, Clone)]
pub struct Preview {
    /// What the command is answered with.
    pub outcome: Outcome,
    /// State right after it.
    pub applied: State,
    /// The plans that follow, in order; the first is made at once, and empty when nothing happens then.
    pub steps: Vec<Step>,
    /// Slots that no node can hold once all that can be done is done.
    pub unplaced: Vec<Unplaced>,
    /// State after the last step.
    pub end: State,
    /// More follows than was foreseen.
    pub is_cut: bool,
}

/// One plan, and the state it was made from.
#[derive(Debug, Clone)]
pub struct Step {
    /// The state it was made from: what its changes name is found there.
    pub from: State,
    /// Its changes.
    pub plan: Plan,
}

/// Foresees a command of one project, or says why it would be refused. `before`: commands that come first, such as uploads.
pub fn preview(
    state: &State,
    before: Vec<Command>,
    command: Command,
    project: &ProjectName,
    now: Time,
    wall: Wall,
) -> Result<Preview, Rejection> {
    let mut foresight = Foresight { copy: state.clone(), born_from: state.next_task(), now, wall, project };
    for first in before {
        foresight.command(first);
    }
    let outcome = match foresight.command(command) {
        Outcome::Rejected(rejection) => return Err(rejection),
        outcome => outcome,
    };
    let applied = foresight.copy.clone();
    let mut steps = Vec::new();
    let mut unplaced = Vec::new();
    let is_cut = !foresight.look_ahead(&mut steps, &mut unplaced);
    Ok(Preview { outcome, applied, steps, unplaced, end: foresight.copy, is_cut })
}

/// A copy of State and its clock.
struct Foresight<'a> {
    copy: State,
    /// Tasks from this number on are made by what is foreseen.
    born_from: TaskId,
    now: Time,
    wall: Wall,
    project: &'a ProjectName,
}

// === impl Foresight ===

impl Foresight<'_> {
    fn command(&mut self, command: Command) -> Outcome {
        let stamped = Stamped { at: self.now, wall: self.wall, request: None, by: None, command };
        apply(&mut self.copy, &stamped)
    }

    /// Who is up was decided in the log: nobody's lease ends here.
    fn leases(&self) -> Leases {
        let mut leases = Leases::default();
        for node in self.copy.nodes().filter(|n| n.is_up()) {
            leases.closed(node.info.id, self.now, true);
        }
        leases
    }

    /// Plan after plan until nothing follows; false when there is more than is foreseen.
    fn look_ahead(&mut self, steps: &mut Vec<Step>, unplaced: &mut Vec<Unplaced>) -> bool {
        let mut looked_at = 0;
        let mut idle = 0;
        while steps.len() < PLANS_MAX && looked_at < TASKS_LOOKED_AT_MAX {
            looked_at += self.copy.task_count() + 1;
            let leases = self.leases();
            let plan = reconcile(&self.copy, &leases, self.now);
            *unplaced = plan.unplaced.clone();
            // The first plan is told whole, also when it is empty: what follows later is not what happens at once.
            let is_followed = steps.is_empty() || plan.changes.iter().any(|c| self.is_ours(&c.change));
            if is_followed {
                steps.push(Step { from: self.copy.clone(), plan: plan.clone() });
            }
            let acted = !plan.is_empty() && self.accepted(plan) > 0;
            let reported = self.agents_obey();
            if acted || reported {
                idle = 0;
                continue;
            }
            match next_deadline(&self.copy, &leases, self.now).filter(|at| *at > self.now) {
                Some(at) if idle < IDLE_WAITS_MAX && self.is_under_way() => {
                    idle += 1;
                    self.pass(at.since_ms(self.now).min(CLOSED_GRACE_MS));
                }
                _ => return true,
            }
        }
        false
    }

    fn accepted(&mut self, plan: Plan) -> u32 {
        match self.command(Command::ApplyPlan { plan }) {
            Outcome::Plan { accepted, .. } => accepted,
            _ => 0,
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.after_ms(ms);
        self.wall = Wall(self.wall.0 + ms);
    }

    fn is_ours(&self, change: &Change) -> bool {
        project_of(&self.copy, change).is_some_and(|p| p == *self.project)
    }

    /// Does anything of the project wait for time to pass?
    fn is_under_way(&self) -> bool {
        let word = |s: &Service| super::explain::service(&self.copy, s).state;
        self.copy
            .services_of(self.project)
            .any(|s| matches!(word(s), "updating" | "rolling-back" | "starting" | "deleting"))
    }

    /// Every agent reports that what it was asked for is so; false when none had anything to say.
    fn agents_obey(&mut self) -> bool {
        let mut reports: BTreeMap<NodeId, Vec<(TaskId, TaskStatus)>> = BTreeMap::new();
        for service in self.copy.services_of(self.project) {
            for task in self.copy.tasks_of(&service.key) {
                let is_heard = self.copy.node(task.node).is_some_and(|n| n.is_up());
                if let Some(status) = self.obeyed(service, task).filter(|_| is_heard) {
                    reports.entry(task.node).or_default().push((task.id, status));
                }
            }
        }
        let mut changed = false;
        for (node, reports) in reports {
            let outcome = self.command(Command::ReportStatuses { node, reports });
            changed |= matches!(outcome, Outcome::Done { changed: true, .. });
        }
        changed
    }

    /// The next good news of a task; `None` when there is none.
    fn obeyed(&self, service: &Service, task: &Task) -> Option<TaskStatus> {
        let known = &task.status;
        let next = |phase| TaskStatus {
            incarnation: known.incarnation.max(1),
            sequence: known.sequence + 1,
            phase,
            started_at: known.started_at,
            ..TaskStatus::default()
        };
        match task.desired {
            Desired::Stop => Some(next(Phase::Stopped)),
            Desired::Prepare if known.phase < Phase::Prepared => Some(next(Phase::Prepared)),
            Desired::Prepare => None,
            Desired::Run => self.ran(service, task, next),
        }
    }

    fn ran(&self, service: &Service, task: &Task, next: impl Fn(Phase) -> TaskStatus) -> Option<TaskStatus> {
        let known = &task.status;
        let is_on_its_way = matches!(
            (known.phase, known.health),
            (Phase::Pending | Phase::Preparing | Phase::Prepared | Phase::Starting, _)
                | (Phase::Running, Health::Starting)
        );
        // What ran before and fails goes on failing: only a change of its spec is taken to mend it.
        if is_on_its_way {
            let spec = task.health.as_ref().unwrap_or(&service.spec.health);
            let health = if *spec == HealthSpec::Disabled { Health::None } else { Health::Healthy };
            return Some(TaskStatus { health, started_at: Some(self.wall), ..next(Phase::Running) });
        }
        let ends = known.phase == Phase::Running && task.id >= self.born_from && self.is_to_complete(service);
        ends.then(|| TaskStatus { exit_code: Some(0), finished_at: Some(self.wall), ..next(Phase::Exited) })
    }

    /// A service whose end others wait for ends.
    fn is_to_complete(&self, service: &Service) -> bool {
        let waits = |s: &Service| {
            s.spec.depends_on.get(&service.key.service).is_some_and(|d| d.condition == DependencyCondition::Completed)
        };
        service.spec.restart != RestartPolicy::Always && self.copy.services_of(self.project).any(|s| waits(s))
    }
}

/// The project a change is about; `None` when it is about a node or about content.
pub fn project_of(state: &State, change: &Change) -> Option<ProjectName> {
    let of = |service: &ServiceKey| Some(service.project.clone());
    match change {
        Change::CreateTask { service, .. }
        | Change::PrepareTask { service, .. }
        | Change::FailSlot { service, .. }
        | Change::HoldSlot { service, .. }
        | Change::RollBack { service }
        | Change::PauseRollout { service }
        | Change::FailRollout { service }
        | Change::FinishRollout { service }
        | Change::LatchGate { service, .. }
        | Change::ForgetService { service } => of(service),
        Change::StopTask { task, .. } | Change::RunTask { task } => of(&state.task(*task)?.service),
        Change::ForgetProject { project } => Some(project.clone()),
        Change::RemoveVolume { volume } | Change::ForgetVolume { volume } => Some(volume.project.clone()),
        Change::MarkDown { .. } | Change::MarkUp { .. } | Change::ForgetBlob { .. } | Change::JudgeStranger { .. } => {
            None
        }
    }
}

/// A change for people: nodes by their host names, tasks by their slots.
pub fn in_words(state: &State, change: &Change) -> String {
    let host = |node: NodeId| state.node(node).map_or_else(|| node.to_string(), |n| n.info.hostname.clone());
    match change {
        Change::StopTask { task, .. } | Change::RunTask { task } => match state.task(*task) {
            Some(t) => {
                let name = format!("{}.{} ({task}) on {}", t.service, t.slot, host(t.node));
                change.to_string().replace(&task.to_string(), &name)
            }
            None => change.to_string(),
        },
        other => state
            .nodes()
            .fold(other.to_string(), |text, node| text.replace(&node.info.id.to_string(), &node.info.hostname)),
    }
}
