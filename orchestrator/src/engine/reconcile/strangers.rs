//! Containers of ours that no set mentions: those whose stop was confirmed are stopped, the others kept and listed.

use proto::assignment::Verdict;

use super::Draft;
use crate::engine::plan::Change;
use crate::engine::reason::Reason;

pub(super) fn pass(draft: &mut Draft<'_>) {
    for node in draft.state.nodes().filter(|n| n.is_up()) {
        for stranger in &node.conditions.strangers {
            if node.verdicts.contains_key(&stranger.container_id) {
                continue;
            }
            let was_ours = stranger.task < draft.state.next_task() && draft.state.task(stranger.task).is_none();
            let (verdict, reason) =
                if was_ours { (Verdict::Stop, Reason::StoppedBefore) } else { (Verdict::Keep, Reason::NeverMade) };
            let change = Change::JudgeStranger {
                node: node.info.id,
                container: stranger.container_id.clone(),
                verdict: Some(verdict),
            };
            draft.change(change, Vec::new(), reason);
        }
        let gone = node.verdicts.keys().filter(|id| !node.conditions.strangers.iter().any(|s| s.container_id == **id));
        for container in gone {
            let change = Change::JudgeStranger { node: node.info.id, container: container.clone(), verdict: None };
            draft.change(change, Vec::new(), Reason::ContainerGone);
        }
    }
}
