//! Rejections and failed proposals as typed statuses: one table.

use prost::Message;
use proto::v1;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::engine::Rejection;
use crate::engine::outcome::FieldProblem;
use crate::raft::ProposeError;

/// Trailer that carries an encoded `Refusal`.
const TRAILER: &str = "wherry-refusal-bin";

/// A command that was refused.
pub(super) fn rejected(rejection: &Rejection) -> Status {
    let code = match rejection {
        Rejection::Inadmissible(_) => Code::InvalidArgument,
        Rejection::NoProject(_)
        | Rejection::NoService(_)
        | Rejection::NoNode(_)
        | Rejection::NoToken(_)
        | Rejection::NoServer(_)
        | Rejection::NoIdentity(_) => Code::NotFound,
        Rejection::Deleting(_)
        | Rejection::NoRollout { .. }
        | Rejection::TooNew { .. }
        | Rejection::WrongSecret(_)
        | Rejection::TokenOver { .. }
        | Rejection::TokenKind { .. }
        | Rejection::Taken { .. }
        | Rejection::AuthorityFounded
        | Rejection::NotFounded
        | Rejection::NoKeyRotation(_)
        | Rejection::KeyNotSpread(_)
        | Rejection::StillSealed(_)
        | Rejection::AlreadyBootstrapped => Code::FailedPrecondition,
        Rejection::ReleaseMoved { .. } | Rejection::LabelsMoved { .. } | Rejection::KeyRetired(_) => Code::Aborted,
        Rejection::Forgotten => Code::DataLoss,
        Rejection::RangeExhausted => Code::ResourceExhausted,
    };
    let mut status = Status::new(code, rejection.to_string());
    if let Rejection::Inadmissible(problems) = rejection {
        attach(&mut status, problems);
    }
    status
}

/// One field that is wrong, found by a door.
pub(super) fn wrong_field(field: &str, message: &str, hint: &str) -> Status {
    let problem = FieldProblem { field: field.to_owned(), message: message.to_owned(), hint: hint.to_owned() };
    rejected(&Rejection::Inadmissible(vec![problem]))
}

fn attach(status: &mut Status, problems: &[FieldProblem]) {
    let problems = problems.iter().map(|p| v1::FieldProblem {
        field: p.field.clone(),
        message: p.message.clone(),
        hint: p.hint.clone(),
    });
    let refusal = v1::Refusal { problems: problems.collect() };
    status.metadata_mut().insert_bin(TRAILER, MetadataValue::from_bytes(&refusal.encode_to_vec()));
}

/// A command without an outcome.
pub(super) fn not_proposed(error: &ProposeError) -> Status {
    if matches!(error, ProposeError::NotLeader { .. }) {
        return crate::forward::not_leading(error);
    }
    let code = match error {
        ProposeError::NotLeader { .. } | ProposeError::Stopped => Code::Unavailable,
        ProposeError::Unknown { .. } => Code::DeadlineExceeded,
        ProposeError::TooLarge { .. } => Code::ResourceExhausted,
        ProposeError::Forbidden { is_known: true, .. } => Code::PermissionDenied,
        ProposeError::Forbidden { is_known: false, .. } => Code::Unauthenticated,
    };
    Status::new(code, error.to_string())
}
