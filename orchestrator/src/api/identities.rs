//! Join tokens and who joined: made, listed, revoked.

use proto::identity::{OperatorRole, Subject};
use proto::join_token::{JoinToken, SECRET_BYTES, TokenKind};
use proto::revision::Wall;
use proto::v1;
use tonic::Status;

use super::{Api, changes, refusal};
use crate::access::By;
use crate::engine::Command;
use crate::engine::model::{Grant, Identity, Token};

/// Longest a token may be valid, in milliseconds: 30 days. It is a secret on its way between two hosts, not a key.
const VALID_MAX_MS: u64 = 30 * 86_400_000;
/// Most who may join by one token.
const USES_MAX: u32 = 1_000;

// === impl Api ===

impl Api {
    pub(super) async fn make_token(
        &self,
        by: By,
        asked: v1::CreateTokenRequest,
    ) -> Result<v1::CreateTokenResponse, Status> {
        let state = self.present();
        let cluster = state.cluster().ok_or_else(|| Status::unavailable("there is no cluster yet"))?;
        let mut random = [0; 8 + SECRET_BYTES];
        getrandom::fill(&mut random).map_err(|e| Status::internal(format!("the system gives no random bytes: {e}")))?;
        let (id, secret) = random.split_at(8);
        let id = u64::from_be_bytes(id.try_into().unwrap_or_default()).max(1);
        let secret: [u8; SECRET_BYTES] = secret.try_into().map_err(|_| Status::internal("a secret of another size"))?;
        let (kind, grant) = grant(&asked, id)?;
        if !(1..=USES_MAX).contains(&asked.uses) {
            return Err(refusal::wrong_field("uses", &format!("between 1 and {USES_MAX}"), "make several tokens"));
        }
        if !(1..=VALID_MAX_MS).contains(&asked.valid_ms) {
            let hint = "who has joined stays, whatever becomes of the token";
            return Err(refusal::wrong_field("expires", "at most 30 days, and later than now", hint));
        }
        let made = self.clock.wall();
        let expires = Wall(made.0.saturating_add(asked.valid_ms));
        let hash = proto::digest::sha256_hex(&secret);
        let token = Token { id, hash, grant, uses: asked.uses, used: 0, made, expires };
        self.change(by, None, Command::PutToken { token }).await?;
        let pin = self.founded.now()?.pin();
        let token = JoinToken { kind, cluster, pin, id, secret }.reveal();
        let [operators, agents] = self.place.reached.clone();
        let address = if kind == TokenKind::Operator { operators } else { agents };
        Ok(v1::CreateTokenResponse { token, id: format!("{id:016x}"), expires_at_unix_ms: expires.0, address })
    }

    pub(super) fn tokens(&self) -> v1::GetTokensResponse {
        let (state, now) = (self.present(), self.clock.wall());
        let tokens = state.tokens().map(|token| token_view(token, now)).collect();
        v1::GetTokensResponse { tokens, at_unix_ms: now.0, revision: state.revision().0 }
    }

    pub(super) async fn forget_token(
        &self,
        by: By,
        asked: v1::RevokeTokenRequest,
    ) -> Result<v1::ChangeResponse, Status> {
        let wrong = || refusal::wrong_field("id", "16 hexadecimal digits", "`ctl token list` shows them");
        let id = u64::from_str_radix(&asked.id, 16).map_err(|_| wrong())?;
        changes::changed(&self.change(by, asked.request, Command::RevokeToken { id }).await?)
    }

    pub(super) fn identities(&self) -> v1::GetIdentitiesResponse {
        let state = self.present();
        let identities = state.identities().map(|identity| identity_view(identity)).collect();
        v1::GetIdentitiesResponse { identities, at_unix_ms: self.clock.wall().0, revision: state.revision().0 }
    }

    pub(super) async fn forget_identity(
        &self,
        by: By,
        asked: v1::RevokeIdentityRequest,
    ) -> Result<v1::ChangeResponse, Status> {
        let text = format!("{}/{}", asked.kind, asked.name);
        let subject: Subject = text.parse().map_err(|e: proto::identity::NotAName| {
            refusal::wrong_field("name", &e.to_string(), "`ctl get operators` and `ctl get nodes -o wide` show them")
        })?;
        changes::changed(&self.change(by, asked.request, Command::RevokeIdentity { subject }).await?)
    }
}

fn grant(asked: &v1::CreateTokenRequest, id: u64) -> Result<(TokenKind, Grant), Status> {
    let wrong = |field: &str, message: String| refusal::wrong_field(field, &message, "see `ctl token create --help`");
    match asked.kind.as_str() {
        "agent" | "server" if !(asked.role.is_empty() && asked.project.is_empty() && asked.name.is_empty()) => {
            Err(wrong("kind", "agents and servers have no role, project or name".to_owned()))
        }
        "agent" => Ok((TokenKind::Agent, Grant::Agent)),
        "server" => Ok((TokenKind::Server, Grant::Server)),
        "operator" => {
            let role: OperatorRole = asked.role.parse().map_err(|e| wrong("role", format!("{e}")))?;
            let project = match asked.project.as_str() {
                "" => None,
                text => Some(text.parse().map_err(|e| wrong("project", format!("{e}")))?),
            };
            if role == OperatorRole::Admin && project.is_some() {
                return Err(wrong("project", "an admin is not restricted to a project; make a deployer".to_owned()));
            }
            let name = match asked.name.as_str() {
                "" => format!("operator-{:06x}", id >> 40),
                text => text.to_owned(),
            };
            let name = name.parse().map_err(|e| wrong("name", format!("{e}")))?;
            Ok((TokenKind::Operator, Grant::Operator { role, project, name }))
        }
        other => Err(wrong("kind", format!("`{other}` is none of agent, operator, server"))),
    }
}

/// Kind, role, project and name as words; empty where there is none.
fn words(grant: &Grant) -> [String; 4] {
    match grant {
        Grant::Agent => ["agent".to_owned(), String::new(), String::new(), String::new()],
        Grant::Server => ["server".to_owned(), String::new(), String::new(), String::new()],
        Grant::Operator { role, project, name } => [
            "operator".to_owned(),
            role.as_str().to_owned(),
            project.as_ref().map(ToString::to_string).unwrap_or_default(),
            name.to_string(),
        ],
    }
}

fn token_view(token: &Token, now: Wall) -> v1::Token {
    let [kind, role, project, name] = words(&token.grant);
    v1::Token {
        id: format!("{:016x}", token.id),
        kind,
        role,
        project,
        name,
        uses: token.uses,
        used: token.used,
        made_at_unix_ms: token.made.0,
        expires_at_unix_ms: token.expires.0,
        state: token.standing(now).err().unwrap_or("valid").to_owned(),
    }
}

fn identity_view(identity: &Identity) -> v1::Identity {
    let [_, role, project, _] = words(&identity.grant);
    v1::Identity {
        kind: identity.subject.kind().to_owned(),
        name: identity.subject.name(),
        role,
        project,
        enrolled_at_unix_ms: identity.enrolled.0,
        token: format!("{:016x}", identity.token),
    }
}
