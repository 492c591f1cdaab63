//! Changes that operators ask for: read, admit, propose, answer.

use proto::convert::{ConvertError, parsed, required};
use proto::id::{ServiceKey, Slot};
use proto::spec::ProjectSpec;
use proto::v1;
use tonic::Status;

use super::{Api, refusal};
use crate::access::By;
use crate::engine::{Command, Outcome, explain};

pub(super) fn invalid(error: ConvertError) -> Status {
    refusal::wrong_field(
        &error.field,
        &error.problem,
        "this client and server disagree about the schema; compare `ctl version`",
    )
}

pub(super) fn changed(outcome: &Outcome) -> Result<v1::ChangeResponse, Status> {
    match outcome {
        Outcome::Done { revision, changed } => Ok(v1::ChangeResponse { revision: revision.0, changed: *changed }),
        other => Err(Status::internal(format!("unexpected outcome {other:?}"))),
    }
}

/// The command that a request to apply stands for.
pub(super) fn put_project(request: v1::ApplyProjectRequest) -> Result<Command, Status> {
    let spec: ProjectSpec = required("project", request.project).map_err(invalid)?;
    Ok(Command::PutProject { spec: Box::new(spec), expected_release: request.expected_release, prune: request.prune })
}

/// What an applied project is answered with.
pub(super) fn applied(outcome: Outcome) -> Result<v1::ApplyProjectResponse, Status> {
    match outcome {
        Outcome::Project { revision, release, changed, services, notices } => Ok(v1::ApplyProjectResponse {
            revision: revision.0,
            release,
            changed,
            services: services
                .into_iter()
                .map(|(name, change)| v1::ServiceChange { service: name.into(), change: change.as_str().to_owned() })
                .collect(),
            notices,
        }),
        other => Err(Status::internal(format!("unexpected outcome {other:?}"))),
    }
}

// === impl Api ===

impl Api {
    pub(super) async fn apply(
        &self,
        by: By,
        request: v1::ApplyProjectRequest,
    ) -> Result<v1::ApplyProjectResponse, Status> {
        let id = request.request;
        let command = put_project(request)?;
        applied(self.change_anywhere(by, id, command).await?)
    }

    pub(super) async fn remove_project(
        &self,
        by: By,
        request: v1::DeleteProjectRequest,
    ) -> Result<v1::ChangeResponse, Status> {
        let project = parsed("project", &request.project).map_err(invalid)?;
        let command = Command::DeleteProject { project, volumes: request.volumes };
        changed(&self.change_anywhere(by, request.request, command).await?)
    }

    pub(super) async fn remove_service(
        &self,
        by: By,
        request: v1::DeleteServiceRequest,
    ) -> Result<v1::ChangeResponse, Status> {
        let service = required("service", request.service).map_err(invalid)?;
        changed(&self.change_anywhere(by, request.request, Command::DeleteService { service }).await?)
    }

    pub(super) async fn scale(&self, by: By, request: v1::ScaleServiceRequest) -> Result<v1::ChangeResponse, Status> {
        let service = required("service", request.service).map_err(invalid)?;
        let command = Command::ScaleService { service, replicas: request.replicas };
        changed(&self.change_anywhere(by, request.request, command).await?)
    }

    pub(super) fn explain(&self, request: v1::WhyRequest) -> Result<v1::WhyResponse, Status> {
        let (state, wall) = (self.present(), self.clock.wall());
        let (what, answer) = match (request.project.as_str(), request.node.as_str()) {
            ("", "") => {
                let key: ServiceKey = required("service", request.service).map_err(invalid)?;
                let answer = explain::why(&state, &key, request.slot.map(Slot), wall);
                (format!("service `{key}`"), answer)
            }
            (project, "") => {
                let name = parsed("project", project).map_err(invalid)?;
                (format!("project `{project}`"), explain::project::why(&state, &name, wall))
            }
            (_, node) => {
                let id = parsed("node", node).map_err(invalid)?;
                (format!("node `{node}`"), explain::node::why(&state, id, wall))
            }
        };
        let answer = answer.ok_or_else(|| Status::not_found(format!("{what} does not exist")))?;
        Ok(v1::WhyResponse { now: answer.now, cause: answer.cause, next: answer.next, detail: answer.detail })
    }
}
