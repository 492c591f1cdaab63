//! `user`: who is shopping.
//!
//! Does: answer with the one customer this shop has.
//! Never: asks anyone; the simplest of the five.
//! Called by: `front`, over HTTP.

use serde_json::json;

use crate::{
    http::{Request, Response},
    replica::Replica,
};

/// The service.
#[derive(Debug)]
pub struct User {
    /// Who answers.
    pub replica: Replica,
}

// === impl User ===

impl User {
    /// Answers one request.
    pub fn answer(&self, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => {
                let data = json!({ "id": 7, "name": "Robin", "town": "Henley" });
                Response::json(200, &self.replica.answer("Robin from Henley is signed in", data))
            }
            ("GET", "/healthz") => Response::healthy(),
            _ => Response::not_found(),
        }
    }
}
