//! The table: every call, and who may make it. Read it from left to right.
//!
//! Pure. `Own` is judged by what the message says: an agent's own node, a restricted operator's own project.

use proto::identity::OperatorRole;
use std::collections::BTreeSet;
use tonic::Status;

use super::Caller;

/// May a kind of caller make a call?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// No.
    No,
    /// For itself.
    Own,
    /// Yes.
    Yes,
}

use Right::{No, Own, Yes};

/// One call.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Its path.
    pub call: &'static str,
    /// Another server.
    pub server: Right,
    /// An agent.
    pub agent: Right,
    /// An operator with all rights.
    pub admin: Right,
    /// An operator that changes projects.
    pub deployer: Right,
    /// An operator that looks.
    pub viewer: Right,
    /// A stranger.
    pub nobody: Right,
}

const fn row(call: &'static str, rights: [Right; 6]) -> Row {
    let [server, agent, admin, deployer, viewer, nobody] = rights;
    Row { call, server, agent, admin, deployer, viewer, nobody }
}

/// All calls. What is not here is refused.
#[rustfmt::skip]
pub const TABLE: &[Row] = &[
    //                                                     server agent admin deployer viewer nobody
    row("/wherry.v1.Enrolment/Enrol",                       [No,  No,  No,  No,  No,  Yes]),
    row("/wherry.v1.Enrolment/Renew",                       [No,  Own, Own, Own, Own, No]),
    row("/wherry.v1.Agents/Session",                        [No,  Own, No,  No,  No,  No]),
    row("/wherry.v1.Agents/FetchBlob",                      [No,  Own, No,  No,  No,  No]),
    row("/wherry.v1.Agents/PushLog",                        [No,  Own, No,  No,  No,  No]),
    row("/wherry.v1.Control/GetVersion",                    [No,  No,  Yes, Yes, Yes, No]),
    row("/wherry.v1.Control/PutBlob",                       [No,  No,  Yes, Yes, No,  No]),
    row("/wherry.v1.Control/ApplyProject",                  [No,  No,  Yes, Own, No,  No]),
    row("/wherry.v1.Control/PlanProject",                   [No,  No,  Yes, Own, No,  No]),
    row("/wherry.v1.Control/DeleteProject",                 [No,  No,  Yes, Own, No,  No]),
    row("/wherry.v1.Control/DeleteService",                 [No,  No,  Yes, Own, No,  No]),
    row("/wherry.v1.Control/ScaleService",                  [No,  No,  Yes, Own, No,  No]),
    row("/wherry.v1.Control/SteerRollout",                  [No,  No,  Yes, Own, No,  No]),
    row("/wherry.v1.Control/GetHistory",                    [No,  No,  Yes, Own, Own, No]),
    row("/wherry.v1.Control/GetSnapshot",                   [No,  No,  Yes, Own, Own, No]),
    row("/wherry.v1.Control/WatchSnapshot",                 [No,  No,  Yes, Own, Own, No]),
    row("/wherry.v1.Control/WatchEvents",                   [No,  No,  Yes, Own, Own, No]),
    row("/wherry.v1.Control/Why",                           [No,  No,  Yes, Own, Own, No]),
    row("/wherry.v1.Control/Logs",                          [No,  No,  Yes, Own, Own, No]),
    row("/wherry.v1.Control/CreateToken",                   [No,  No,  Yes, No,  No,  No]),
    row("/wherry.v1.Control/GetTokens",                     [No,  No,  Yes, No,  No,  No]),
    row("/wherry.v1.Control/RevokeToken",                   [No,  No,  Yes, No,  No,  No]),
    row("/wherry.v1.Control/GetAudit",                      [No,  No,  Yes, No,  No,  No]),
    row("/wherry.v1.Control/GetIdentities",                 [No,  No,  Yes, No,  No,  No]),
    row("/wherry.v1.Control/RevokeIdentity",                [No,  No,  Yes, No,  No,  No]),
    row("/wherry.v1.Control/PromoteServer",                   [No,  No,  Yes, No,  No,  No]),
    row("/wherry.v1.Control/RemoveServer",                    [No,  No,  Yes, No,  No,  No]),
    row("/wherry.v1.Control/RotateSealingKey",                [No,  No,  Yes, No,  No,  No]),
    row("/wherry.v1.Control/LabelNode",                       [No,  No,  Yes, No,  No,  No]),
    row("/wherry.v1.Servers/Append",                          [Yes, No,  No,  No,  No,  No]),
    row("/wherry.v1.Servers/Vote",                            [Yes, No,  No,  No,  No,  No]),
    row("/wherry.v1.Servers/InstallSnapshot",                 [Yes, No,  No,  No,  No,  No]),
    row("/wherry.v1.Servers/Canvass",                         [Yes, No,  No,  No,  No,  No]),
    row("/wherry.v1.Servers/TakeLead",                        [Yes, No,  No,  No,  No,  No]),
    row("/wherry.v1.Servers/Propose",                         [Yes, No,  No,  No,  No,  No]),
    row("/wherry.v1.Servers/Announce",                        [Yes, No,  No,  No,  No,  No]),
    row("/wherry.v1.Servers/FetchSealingKey",                 [Yes, No,  No,  No,  No,  No]),
    row("/grpc.health.v1.Health/Check",                     [No,  No,  Yes, Yes, Yes, No]),
    row("/grpc.health.v1.Health/Watch",                     [No,  No,  Yes, Yes, Yes, No]),
    row("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", [No, No, Yes, Yes, Yes, No]),
];

/// The calls of these schemas that have no row, and rows without a call.
pub fn mismatches(descriptors: &[&[u8]]) -> Vec<String> {
    let calls: BTreeSet<String> = descriptors.iter().flat_map(|d| proto::methods(d)).collect();
    let rows: BTreeSet<String> = TABLE.iter().map(|row| row.call.to_owned()).collect();
    calls.symmetric_difference(&rows).cloned().collect()
}

/// What the table says of a caller and a call.
pub fn right(caller: &Caller, call: &str) -> Right {
    let Some(row) = TABLE.iter().find(|row| row.call == call) else { return No };
    match caller {
        // The socket's permissions are what keeps others out. Nobody enrols there: who may open it is known.
        Caller::Local if row.nobody == Yes || row.server == Yes => No,
        Caller::Local => Yes,
        Caller::Server(_) => row.server,
        Caller::Agent(_) => row.agent,
        Caller::Operator { role: OperatorRole::Admin, .. } => row.admin,
        Caller::Operator { role: OperatorRole::Deployer, .. } => row.deployer,
        Caller::Operator { role: OperatorRole::Viewer, .. } => row.viewer,
        Caller::Nobody => row.nobody,
    }
}

/// Refuses a call that the caller may not make.
pub fn allow(caller: &Caller, call: &str) -> Result<(), Status> {
    if right(caller, call) != No {
        return Ok(());
    }
    let name = call.rsplit('/').next().unwrap_or(call);
    Err(match caller {
        Caller::Nobody => Status::unauthenticated(format!(
            "{name} needs a certificate, and none was shown; join with a token first: `ctl token create` makes one"
        )),
        Caller::Operator { role, .. } => {
            let role = role.as_str();
            Status::permission_denied(format!("{caller} is a {role}, and a {role} may not call {name}; ask an admin"))
        }
        other => Status::permission_denied(format!("{other} may not call {name}")),
    })
}
