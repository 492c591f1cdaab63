//! What a script asks to see: tasks, services, endpoints, rollouts, events, and why.

use orchestrator::engine::reconcile::SlotSet;
use orchestrator::engine::{endpoints, explain, next_deadline};
use proto::revision::Wall;
use std::fmt::Write;

use super::{Done, World, key, parse};

// === impl World ===

impl World {
    pub(super) fn deadline(&mut self) -> Done {
        let text = match next_deadline(&self.state, &self.leases, self.now) {
            Some(at) => format!("in {} ms", at.since_ms(self.now)),
            None => "never".to_owned(),
        };
        self.say(text);
        Ok(())
    }

    pub(super) fn tasks(&mut self) -> Done {
        let mut lines = Vec::new();
        for service in self.state.services() {
            for task in self.state.tasks_of(&service.key) {
                let judged = explain::task(&self.state, task);
                let node = self.state.node(task.node).map(|n| n.info.hostname.clone()).unwrap_or_default();
                let address = task.addresses.first().map(ToString::to_string).unwrap_or_default();
                let mut line = format!(
                    "{} {}.{} g{} {node} {address} {}",
                    task.id, task.service, task.slot, task.generation, judged.state
                );
                if !judged.reason.is_empty() {
                    let _ = write!(line, " ({})", judged.reason);
                }
                lines.push(line);
            }
        }
        self.say(if lines.is_empty() { "no tasks".to_owned() } else { lines.join("\n") });
        Ok(())
    }

    pub(super) fn services(&mut self) -> Done {
        let mut lines = Vec::new();
        for service in self.state.services() {
            let judged = explain::service(&self.state, service);
            let counts = explain::counts(&self.state, service);
            let replicas = SlotSet::of(&self.state, service).count();
            let reason = if judged.reason.is_empty() { String::new() } else { format!(" ({})", judged.reason) };
            lines.push(format!("{} {} {}/{}{reason}", service.key, judged.state, counts.ready, replicas));
        }
        self.say(if lines.is_empty() { "no services".to_owned() } else { self.readable(&lines.join("\n")) });
        Ok(())
    }

    pub(super) fn endpoints(&mut self) -> Done {
        let mut lines = Vec::new();
        for (key, service) in &endpoints(&self.state).services {
            let each: Vec<String> = service
                .endpoints
                .iter()
                .map(|e| {
                    format!(
                        "{}={:?}@{}",
                        e.slot,
                        e.state,
                        e.addresses.first().map(ToString::to_string).unwrap_or_default()
                    )
                })
                .collect();
            lines.push(format!("{key}: {}", each.join(" ")));
        }
        self.say(lines.join("\n"));
        Ok(())
    }

    pub(super) fn why(&mut self, name: &str) -> Done {
        let (key, slot) = key(name)?;
        let answer = explain::why(&self.state, &key, slot, Wall(self.now.0)).ok_or("no such service")?;
        self.explained(answer)
    }

    pub(super) fn why_node(&mut self, name: &str) -> Done {
        let id = *self.nodes.get(name).ok_or("no such node")?;
        let answer = explain::node::why(&self.state, id, Wall(self.now.0)).ok_or("no such node")?;
        self.explained(answer)
    }

    pub(super) fn why_project(&mut self, name: &str) -> Done {
        let answer = explain::project::why(&self.state, &parse(name)?, Wall(self.now.0)).ok_or("no such project")?;
        self.explained(answer)
    }

    fn explained(&mut self, answer: explain::Explanation) -> Done {
        let text = format!("now:   {}\ncause: {}\nnext:  {}", answer.now, answer.cause, answer.next);
        let text = self.readable(&text);
        self.say(text);
        for line in answer.detail {
            self.say(format!("       {line}"));
        }
        Ok(())
    }

    pub(super) fn events(&mut self, count: usize) -> Done {
        let newest: Vec<String> = self
            .state
            .events()
            .rev()
            .take(count)
            .map(|e| format!("{} {} {} {}", e.at.0, e.subject, e.kind, e.message).trim_end().to_owned())
            .collect();
        for line in newest.iter().rev() {
            let line = self.readable(line);
            self.say(line);
        }
        Ok(())
    }

    pub(super) fn rollout(&mut self, name: &str) -> Done {
        let key = key(name)?.0;
        let service = self.state.service(&key).ok_or("no such service")?.clone();
        let Some(rollout) = &service.rollout else {
            self.say("none");
            return Ok(());
        };
        let from = rollout.from.as_ref().map_or_else(|| "nothing".to_owned(), |f| format!("release {}", f.release));
        let cause = if rollout.cause().is_empty() { String::new() } else { format!(" ({})", rollout.cause()) };
        let done = explain::rollout::done_words(&self.state, &service);
        self.say(format!("release {}: {}{cause}; {done}; from {from}", rollout.release, rollout.word()));
        for line in explain::rollout::failures(&service, rollout) {
            self.say(format!("  {line}"));
        }
        Ok(())
    }

    pub(super) fn releases(&mut self, project: &str) -> Done {
        let project = self.state.project(&parse(project)?).ok_or("no such project")?.clone();
        for release in &project.releases {
            let outcomes: Vec<String> = release.outcomes.iter().map(|(s, o)| format!("{s} {o}")).collect();
            self.say(format!("{} {:?} {}", release.number, release.origin, outcomes.join(", ")).trim_end());
        }
        Ok(())
    }
}
