//! What a request is about, for callers who are restricted to one project.
//!
//! A request of the operators' door without an answer here does not compile into it: every call goes through `admit`.

use proto::v1;
use tonic::{Request, Status};

use super::{Caller, Witness};
use crate::engine::model::Asker;
use crate::raft;

/// What a request is about.
#[derive(Debug)]
pub enum About<'a> {
    /// No project.
    Nothing,
    /// One project.
    One(&'a str),
    /// One project, or all when it is empty: narrowed for who is restricted.
    Filter(&'a mut String),
}

/// A request of the operators' door.
pub trait Asked {
    /// What it is about.
    fn about(&mut self) -> About<'_>;
}

/// Who asks for a change: for the audit, and for the server that may have to make it.
#[derive(Debug, Clone)]
pub struct By {
    /// In the audit's words.
    pub asker: Asker,
    /// By which right.
    pub right: raft::Asked,
}

/// Takes in a request that changes something: with who asks.
pub fn admit_change<T: Asked>(request: Request<T>) -> Result<(By, T), Status> {
    let witness = Witness::of(&request)?;
    let project = request.extensions().get::<Caller>().and_then(Caller::project).cloned();
    let right = raft::Asked { who: witness.for_servers().who, call: witness.call().to_owned(), project };
    let by = By { asker: witness.asker(), right };
    admit(request).map(|asked| (by, asked))
}

/// Takes a request in, from a caller that the gate let through. Restricted callers are held to their project.
pub fn admit<T: Asked>(request: Request<T>) -> Result<T, Status> {
    let witness = Witness::of(&request)?;
    let (_, extensions, mut asked) = request.into_parts();
    let caller = extensions.get::<Caller>().ok_or_else(|| Status::internal("the call came past the gate"))?;
    let Some(own) = caller.project() else { return Ok(asked) };
    let refused = || Status::permission_denied(format!("{caller} may only see and change project {own}; ask an admin"));
    match asked.about() {
        About::Nothing => {}
        About::Filter(project) if project.is_empty() => *project = own.to_string(),
        About::Filter(project) if project == own.as_str() => {}
        About::One(project) if project == own.as_str() => {}
        About::Filter(other) => return Err(witness.refused(other, String::new(), refused())),
        About::One(other) => return Err(witness.refused(other, String::new(), refused())),
    }
    Ok(asked)
}

fn of_service(key: Option<&v1::ServiceKey>) -> About<'_> {
    About::One(key.map_or("", |key| key.project.as_str()))
}

macro_rules! about_nothing {
    ($($request:ident),* $(,)?) => {
        $(impl Asked for v1::$request {
            fn about(&mut self) -> About<'_> {
                About::Nothing
            }
        })*
    };
}

macro_rules! about_a_service {
    ($($request:ident),* $(,)?) => {
        $(impl Asked for v1::$request {
            fn about(&mut self) -> About<'_> {
                of_service(self.service.as_ref())
            }
        })*
    };
}

macro_rules! about_a_filter {
    ($($request:ident),* $(,)?) => {
        $(impl Asked for v1::$request {
            fn about(&mut self) -> About<'_> {
                About::Filter(&mut self.project)
            }
        })*
    };
}

about_nothing!(
    GetVersionRequest,
    PutBlobRequest,
    CreateTokenRequest,
    GetTokensRequest,
    RevokeTokenRequest,
    GetIdentitiesRequest,
    RevokeIdentityRequest,
    PromoteServerRequest,
    RemoveServerRequest,
    RotateSealingKeyRequest,
    LabelNodeRequest,
);
about_a_service!(DeleteServiceRequest, ScaleServiceRequest, SteerRolloutRequest, GetHistoryRequest, LogsRequest,);
about_a_filter!(GetSnapshotRequest, WatchEventsRequest, GetAuditRequest);

impl Asked for v1::ApplyProjectRequest {
    fn about(&mut self) -> About<'_> {
        About::One(self.project.as_ref().map_or("", |project| project.name.as_str()))
    }
}

impl Asked for v1::DeleteProjectRequest {
    fn about(&mut self) -> About<'_> {
        About::One(&self.project)
    }
}

impl Asked for v1::WhyRequest {
    fn about(&mut self) -> About<'_> {
        // A node runs tasks of all projects: who is restricted is not told of it.
        match self.project.as_str() {
            "" => of_service(self.service.as_ref()),
            project => About::One(project),
        }
    }
}
