//! `payment`: takes the money, with a key that is a Compose secret.
//!
//! Does: read the key once at the start, without which it does not start; acknowledge charges with a receipt.
//! Never: shows the key. What it shows is a fingerprint: the beginning of a digest.
//! Called by: `front`, over HTTP.

use std::{fmt, fs, io, path::Path};

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::{
    http::{Request, Response},
    replica::Replica,
    shop::price,
};

/// Why payment cannot start.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The secret is not where it should be.
    #[error("cannot read the secret payment_key at {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The secret has no content.
    #[error("the secret payment_key at {0} is empty")]
    Empty(String),
}

/// The service.
#[derive(Debug)]
pub struct Payment {
    /// Who answers.
    pub replica: Replica,
    key: Key,
}

/// The key; its `Debug` says nothing.
struct Key(Vec<u8>);

/// The body of `POST /charge`.
#[derive(Debug, Deserialize)]
struct Charge {
    total_cents: u64,
    currency: String,
}

// === impl Payment ===

impl Payment {
    /// The service with the key in the file at `path`.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn open(replica: Replica, path: &Path) -> Result<Payment, KeyError> {
        let name = path.display().to_string();
        let content = match fs::read(path) {
            Ok(content) => content,
            Err(source) => return Err(KeyError::Read { path: name, source }),
        };
        let key = content.trim_ascii();
        if key.is_empty() {
            return Err(KeyError::Empty(name));
        }
        Ok(Payment { replica, key: Key(key.to_vec()) })
    }

    /// Answers one request: `/` in general, `POST /charge {"total_cents", "currency"}` with a receipt.
    pub fn answer(&self, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => {
                let said = format!("ready to be paid, key {}", self.key.fingerprint());
                Response::json(200, &self.replica.answer(&said, json!({ "key": self.key.fingerprint() })))
            }
            ("POST", "/charge") => match serde_json::from_slice(&request.body) {
                Ok(charge) => self.charge(&charge),
                Err(error) => Response::json(400, &json!({ "error": format!("not a charge: {error}") })),
            },
            ("GET", "/healthz") => Response::healthy(),
            _ => Response::not_found(),
        }
    }

    fn charge(&self, charge: &Charge) -> Response {
        let said = format!("{} {} received, thank you", price(charge.total_cents), charge.currency);
        let receipt = self.key.digest(&format!("{} {}", charge.total_cents, charge.currency));
        let data = json!({ "receipt": receipt, "total_cents": charge.total_cents, "currency": charge.currency });
        Response::json(200, &self.replica.answer(&said, data))
    }
}

// === impl Key ===

impl Key {
    fn fingerprint(&self) -> String {
        self.digest("fingerprint")
    }

    /// The first 12 hexadecimal digits of a digest of the key and `purpose`.
    fn digest(&self, purpose: &str) -> String {
        let digest = Sha256::new().chain_update(purpose).chain_update([0]).chain_update(&self.0).finalize();
        digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_used_and_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "open sesame\n").unwrap();
        let payment = Payment::open(Replica::new("payment"), &path).unwrap();
        fs::write(&path, "another").unwrap();
        let other = Payment::open(Replica::new("payment"), &path).unwrap();
        assert_ne!(payment.key.fingerprint(), other.key.fingerprint());

        let ask = |method: &str, path: &str, body: &str| {
            let (method, path, body) = (method.into(), path.into(), body.into());
            payment.answer(&Request { method, path, body, keep_alive: false })
        };
        let paid = ask("POST", "/charge", r#"{"total_cents":1250,"currency":"EUR"}"#);
        let texts = [ask("GET", "/", "").body, paid.body.clone(), format!("{payment:?}").into_bytes()];
        for text in texts.map(|text| String::from_utf8(text).unwrap()) {
            assert!(!text.contains("sesame"), "{text}");
        }
        assert!(String::from_utf8(paid.body).unwrap().contains("12.50 EUR received"));
        assert_eq!(ask("POST", "/charge", "{}").status, 400);
    }

    #[test]
    fn without_a_key_it_does_not_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(matches!(Payment::open(Replica::new("payment"), &path), Err(KeyError::Read { .. })));
        fs::write(&path, " \n").unwrap();
        assert!(matches!(Payment::open(Replica::new("payment"), &path), Err(KeyError::Empty(_))));
    }
}
