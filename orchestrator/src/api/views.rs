//! What is said of services, worked out once for each revision of State: every operator who watches is told the same.
//!
//! A judgement asks placement about empty slots, so that each of many watchers would ask it anew at each change.
//! Never decides. Called by `snapshot`.

use proto::id::ServiceKey;
use proto::revision::{Epoch, Revision};
use proto::v1;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::State;
use crate::engine::model::Service;

/// What was said of the newest revision that somebody asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Views {
    last: Arc<Mutex<Said>>,
}

#[derive(Debug, Default)]
struct Said {
    of: Option<(Epoch, Revision)>,
    services: BTreeMap<ServiceKey, Arc<v1::Service>>,
}

// === impl Views ===

impl Views {
    /// What `view` says of a service, or said before of this State.
    pub(super) fn service(
        &self,
        state: &State,
        service: &Service,
        view: impl FnOnce(&State, &Service) -> v1::Service,
    ) -> Arc<v1::Service> {
        let of = Some((state.epoch(), state.revision()));
        // Nothing is half done when a thread panics: what is there was said of this revision.
        let mut said = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if said.of > of {
            return Arc::new(view(state, service));
        }
        if said.of < of {
            *said = Said { of, services: BTreeMap::new() };
        }
        if let Some(known) = said.services.get(&service.key) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(view(state, service));
        said.services.insert(service.key.clone(), Arc::clone(&fresh));
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Command, Stamped, apply};
    use proto::id::ProjectName;
    use proto::revision::{Time, Wall};
    use proto::spec::{ContainerSpec, ProjectSpec, ServiceSpec};
    use std::cell::Cell;
    use std::collections::BTreeSet;

    fn say(state: &mut State, command: Command) {
        apply(state, &Stamped { at: Time(1), wall: Wall(1), request: None, by: None, command });
    }

    fn with_a_service() -> State {
        let mut state = State::empty();
        let name: ProjectName = "shop".parse().expect("a name");
        let container = ContainerSpec { image: "web:1".to_owned(), ..ContainerSpec::default() };
        let service = ServiceSpec { container: Arc::new(container), ..ServiceSpec::default() };
        let services = BTreeMap::from([("web".parse().expect("a name"), service)]);
        let (volumes, networks) = (BTreeMap::new(), BTreeSet::new());
        let spec = Box::new(ProjectSpec { name, services, volumes, networks });
        say(&mut state, Command::PutProject { spec, expected_release: None, prune: false });
        state
    }

    #[test]
    fn each_revision_is_judged_once_whoever_asks() {
        let views = Views::default();
        let judged = Cell::new(0);
        let ask = |state: &State| {
            let service = state.services().next().expect("there is one");
            let view = |_: &State, _: &Service| {
                judged.set(judged.get() + 1);
                v1::Service { modified: judged.get(), ..v1::Service::default() }
            };
            views.service(state, service, view).modified
        };
        let mut state = with_a_service();
        let before = state.clone();
        assert_eq!((ask(&state), ask(&state), ask(&state.clone())), (1, 1, 1));
        let content = crate::engine::model::Content::Plain { bytes: Vec::new() };
        let (digest, kind) = (proto::id::BlobDigest("0".repeat(64)), proto::spec::BlobKind::Config);
        say(&mut state, Command::PutBlob { digest, kind, content });
        assert_eq!((ask(&state), ask(&state)), (2, 2), "another revision is judged anew");
        assert_eq!(
            (ask(&before), ask(&before)),
            (3, 4),
            "who lags behind is told what was, and takes nothing from others"
        );
        assert_eq!(ask(&state), 2);
    }
}
