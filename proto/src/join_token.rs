//! A join token as text: what the one who joins is given, and all it needs to know whom it joins.
//!
//! `wherry-KIND-` and 68 bytes in base64url: cluster, SHA-256 of the authority's certificate, token's id, secret, CRC-32
//! over all of it. Never printed by accident: `Debug` shows its id. Made by a server, read by agents and ctl.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::fmt;
use std::str::FromStr;

use crate::id::ClusterId;

/// Bytes of a token's secret: 128 bits.
pub const SECRET_BYTES: usize = 16;
const BODY_BYTES: usize = 8 + 32 + 8 + SECRET_BYTES + 4;
const PREFIX: &str = "wherry-";

/// For whom a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A node.
    Agent,
    /// An operator.
    Operator,
    /// A member of the control plane.
    Server,
}

/// A join token.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// For whom.
    pub kind: TokenKind,
    /// Which cluster.
    pub cluster: ClusterId,
    /// SHA-256 of its authority's certificate: whoever cannot show it is not that cluster.
    pub pin: [u8; 32],
    /// Which token.
    pub id: u64,
    /// What proves it.
    pub secret: [u8; SECRET_BYTES],
}

/// Why a text is no join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nothing is there.
    #[error("the join token is empty")]
    Empty,
    /// It is something else.
    #[error("this is not a join token: one begins with `wherry-agent-`, `wherry-server-` or `wherry-operator-`")]
    Other,
    /// The end is missing, or something was added.
    #[error("the join token has {found} characters where {wanted} belong: copy it whole, or make a new one")]
    Length {
        /// Found behind the prefix.
        found: usize,
        /// Wanted.
        wanted: usize,
    },
    /// A character was changed.
    #[error("the join token was changed on its way (its checksum does not hold): copy it again, or make a new one")]
    Damaged,
    /// It is for another.
    #[error("this join token is for {}, {}'s is needed: `ctl token create {wanted}`", one(found), one(wanted))]
    Kind {
        /// What it is for.
        found: &'static str,
        /// What is needed.
        wanted: &'static str,
    },
}

/// A kind with its article.
fn one(kind: &str) -> String {
    if kind == "server" { format!("a {kind}") } else { format!("an {kind}") }
}

// === impl TokenKind ===

impl TokenKind {
    /// The word in the token and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenKind::Agent => "agent",
            TokenKind::Operator => "operator",
            TokenKind::Server => "server",
        }
    }
}

// === impl JoinToken ===

impl JoinToken {
    /// Reads a token that must be of a kind.
    pub fn read(text: &str, wanted: TokenKind) -> Result<JoinToken, TokenError> {
        let token: JoinToken = text.parse()?;
        if token.kind != wanted {
            return Err(TokenError::Kind { found: token.kind.as_str(), wanted: wanted.as_str() });
        }
        Ok(token)
    }

    /// The text, whole: for the one who joins and nobody else.
    pub fn reveal(&self) -> String {
        let mut body = Vec::with_capacity(BODY_BYTES);
        body.extend_from_slice(&self.cluster.0.to_be_bytes());
        body.extend_from_slice(&self.pin);
        body.extend_from_slice(&self.id.to_be_bytes());
        body.extend_from_slice(&self.secret);
        body.extend_from_slice(&checksum(self.kind, &body));
        format!("{PREFIX}{}-{}", self.kind.as_str(), URL_SAFE_NO_PAD.encode(body))
    }
}

fn checksum(kind: TokenKind, body: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(kind.as_str().as_bytes());
    hasher.update(body);
    hasher.finalize().to_be_bytes()
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<JoinToken, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        let of_kind = |kind: TokenKind| {
            let rest = text.strip_prefix(PREFIX)?.strip_prefix(kind.as_str())?.strip_prefix('-')?;
            Some((kind, rest))
        };
        let mut kinds = [TokenKind::Agent, TokenKind::Operator, TokenKind::Server].into_iter();
        let (kind, rest) = kinds.find_map(of_kind).ok_or(TokenError::Other)?;
        let wanted = (BODY_BYTES * 4).div_ceil(3);
        let count = rest.chars().count();
        if count != wanted {
            return Err(TokenError::Length { found: count, wanted });
        }
        let body = URL_SAFE_NO_PAD.decode(rest).map_err(|_| TokenError::Damaged)?;
        let (content, sum) = body.split_at(BODY_BYTES - 4);
        if checksum(kind, content) != *sum {
            return Err(TokenError::Damaged);
        }
        Ok(JoinToken {
            kind,
            cluster: ClusterId(u64::from_be_bytes(part(content, 0))),
            pin: part(content, 8),
            id: u64::from_be_bytes(part(content, 40)),
            secret: part(content, 48),
        })
    }
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({} {:016x})", self.kind.as_str(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(kind: TokenKind) -> JoinToken {
        JoinToken { kind, cluster: ClusterId(7), pin: [9; 32], id: 0xab, secret: *b"0123456789abcdef" }
    }

    #[test]
    fn a_token_comes_back_and_does_not_print_itself() {
        for kind in [TokenKind::Agent, TokenKind::Operator, TokenKind::Server] {
            let text = token(kind).reveal();
            assert_eq!(format!("\n {text} \n").parse(), Ok(token(kind)));
            assert_eq!(JoinToken::read(&text, kind), Ok(token(kind)));
        }
        assert_eq!(format!("{:?}", token(TokenKind::Agent)), "JoinToken(agent 00000000000000ab)");
    }

    #[test]
    fn each_cut_and_each_changed_character_is_noticed() {
        let text = token(TokenKind::Agent).reveal();
        for length in 0..text.len() {
            assert!(text[..length].parse::<JoinToken>().is_err(), "cut at {length}");
        }
        for at in 0..text.len() {
            for other in ['A', 'b', '-', ' ', 'ü'] {
                let mut changed: Vec<char> = text.chars().collect();
                if changed[at] == other {
                    continue;
                }
                changed[at] = other;
                let changed: String = changed.into_iter().collect();
                assert!(changed.parse::<JoinToken>().is_err(), "changed at {at} to {other}");
            }
        }
    }

    #[test]
    fn another_kind_and_another_thing_are_told_apart() {
        let text = token(TokenKind::Agent).reveal();
        let wrong = JoinToken::read(&text, TokenKind::Operator);
        assert_eq!(wrong, Err(TokenError::Kind { found: "agent", wanted: "operator" }));
        assert_eq!(text.replace("agent", "operator").parse::<JoinToken>(), Err(TokenError::Damaged));
        assert_eq!("K10abc".parse::<JoinToken>(), Err(TokenError::Other));
        assert_eq!(" \n".parse::<JoinToken>(), Err(TokenError::Empty));
    }
}
