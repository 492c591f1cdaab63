//! Joining by a token, and renewing a certificate: the calling side.

use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use zeroize::Zeroizing;

use super::dial::{Remote, Trust, explain_status};
use super::kept::{Issued, Kept, KeptError};
use super::key::{PrivateKey, enrolment_proof};
use crate::id::ClusterId;
use crate::join_token::JoinToken;
use crate::v1;
use crate::v1::enrolment_client::EnrolmentClient;

/// Longest that one call may take once it is connected.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Why somebody did not join or was not renewed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnrolError {
    /// Nobody answers as it should; trying again may help.
    #[error("no server answers at {servers}: {cause}")]
    Unreachable {
        /// Where.
        servers: String,
        /// Why.
        cause: String,
    },
    /// The server says no; trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// The answer makes no sense.
    #[error("the server's answer cannot be used: {0}")]
    Answer(String),
}

// === impl EnrolError ===

impl EnrolError {
    /// May the same call go better later?
    pub fn may_pass(&self) -> bool {
        matches!(self, EnrolError::Unreachable { .. })
    }

    fn of(remote: &Remote, status: &Status) -> EnrolError {
        let cause = explain_status(status);
        match status.code() {
            Code::PermissionDenied | Code::Unauthenticated | Code::InvalidArgument | Code::Unimplemented => {
                EnrolError::Refused(cause)
            }
            _ => EnrolError::Unreachable { servers: remote.shown(), cause },
        }
    }
}

fn client(remote: &Arc<Remote>) -> EnrolmentClient<Channel> {
    // The URI is not used: the connector knows the addresses.
    EnrolmentClient::new(remote.channel(Endpoint::from_static("http://server.wherry")))
}

/// Joins by a token. `node`: an agent's id, empty for an operator. The key must have been kept before: an answer that is
/// lost on its way is asked for again with the same one.
pub async fn enrol(servers: Vec<String>, token: &JoinToken, key: &PrivateKey, node: &str) -> Result<Kept, EnrolError> {
    enrolled(servers, token, key, node).await.map(|(kept, _)| kept)
}

/// The same for a server, under the id that it drew: with the keys that open what is sealed in the log, the one in use first.
pub async fn enrol_server(
    servers: Vec<String>,
    token: &JoinToken,
    key: &PrivateKey,
    id: &str,
) -> Result<(Kept, Vec<Zeroizing<Vec<u8>>>), EnrolError> {
    enrolled(servers, token, key, id).await
}

async fn enrolled(
    servers: Vec<String>,
    token: &JoinToken,
    key: &PrivateKey,
    node: &str,
) -> Result<(Kept, Vec<Zeroizing<Vec<u8>>>), EnrolError> {
    let remote = Arc::new(Remote::new(servers.clone(), token.cluster, Trust::Pin(token.pin), None));
    let kind = token.kind.as_str();
    let asked = v1::EnrolRequest {
        token: token.id,
        secret: token.secret.to_vec(),
        kind: kind.to_owned(),
        node: node.to_owned(),
        public_key: key.public(),
        proof: enrolment_proof(key, token.cluster, token.id, kind, node),
    };
    let began = now_ms();
    let mut answer = within(&remote, client(&remote).enrol(asked)).await?;
    let first = std::mem::take(&mut answer.sealing_key);
    let others = std::mem::take(&mut answer.more_sealing_keys);
    let sealing_keys: Vec<Zeroizing<Vec<u8>>> =
        std::iter::once(first).chain(others).filter(|key| !key.is_empty()).map(Zeroizing::new).collect();
    let pinned: [u8; 32] = Sha256::digest(&answer.authority).into();
    if pinned != token.pin {
        return Err(EnrolError::Answer("it names another authority than the token does".to_owned()));
    }
    let issued = issued(answer, token.cluster, token.id, began)?;
    Ok((Kept::new(servers, key, &issued), sealing_keys))
}

/// A new certificate for a kept identity.
pub async fn renew(kept: &Kept, remote: &Arc<Remote>) -> Result<Kept, EnrolError> {
    let wrong = |e: KeptError| EnrolError::Answer(e.to_string());
    let began = now_ms();
    let answer = within(remote, client(remote).renew(v1::RenewRequest {})).await?;
    let issued = issued(answer, kept.cluster().map_err(wrong)?, kept.token(), began)?;
    if issued.subject != kept.subject().map_err(wrong)? {
        return Err(EnrolError::Answer(format!("it is for {}", issued.subject)));
    }
    Ok(kept.renewed(&issued))
}

async fn within(
    remote: &Remote,
    call: impl Future<Output = Result<tonic::Response<v1::EnrolResponse>, Status>>,
) -> Result<v1::EnrolResponse, EnrolError> {
    match tokio::time::timeout(remote.connect_within() + ANSWER_WITHIN, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(EnrolError::of(remote, &status)),
        Err(_) => Err(EnrolError::Unreachable { servers: remote.shown(), cause: "no answer in time".to_owned() }),
    }
}

/// Dates by this host's clock: its distance from the server's does not matter.
fn issued(answer: v1::EnrolResponse, cluster: ClusterId, token: u64, began_ms: u64) -> Result<Issued, EnrolError> {
    let life = answer.until_unix_ms.saturating_sub(answer.at_unix_ms);
    Ok(Issued {
        cluster,
        subject: answer.subject.parse().map_err(|e| EnrolError::Answer(format!("{e}")))?,
        token,
        certificate: answer.certificate,
        authority: answer.authority,
        from_unix_ms: began_ms,
        until_unix_ms: began_ms + life,
    })
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
