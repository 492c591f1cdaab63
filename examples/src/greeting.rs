//! The small programs: `hello`, and the tutorials' pair of `frontend` and `backend`.
//!
//! Does: answer in one sentence; `frontend` asks `backend` by name and passes its words on.
//! Never: part of the shop.
//! Called by: `src/bin/shop.rs`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    client,
    http::{Request, Response},
    replica::Replica,
};

/// How long `frontend` waits for `backend`.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(2);

/// One service that greets.
#[derive(Debug)]
pub struct Hello {
    /// Who answers.
    pub replica: Replica,
    /// What it says.
    pub greeting: String,
}

/// The tutorials' frontend.
#[derive(Debug)]
pub struct Frontend {
    /// Who answers.
    pub replica: Replica,
    /// Where the backend is, `http://backend:5000`.
    pub backend_url: String,
}

// === impl Hello ===

impl Hello {
    /// Answers one request: `/` in words; `backend` uses the same program under another name.
    pub fn answer(&self, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => Response::text(200, &format!("{}, {}", self.greeting, self.replica.host)),
            ("GET", "/api") => Response::json(200, &self.replica.answer(&self.greeting, Value::Null)),
            ("GET", "/healthz") => Response::healthy(),
            _ => Response::not_found(),
        }
    }
}

// === impl Frontend ===

impl Frontend {
    /// Answers one request: `/` in words, `/api` in JSON. 502 while the backend is away.
    pub fn answer(&self, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => match self.backend() {
                Ok(said) => Response::text(200, &format!("frontend on {}; backend said: {said}", self.replica.host)),
                Err(error) => Response::text(502, &format!("the backend is away: {error}")),
            },
            ("GET", "/api") => match self.backend() {
                Ok(said) => Response::json(200, &self.replica.answer(&said, json!({ "backend": self.backend_url }))),
                Err(error) => Response::json(502, &self.replica.away(&error)),
            },
            ("GET", "/healthz") => Response::healthy(),
            _ => Response::not_found(),
        }
    }

    fn backend(&self) -> Result<String, String> {
        match client::get(&format!("{}/", self.backend_url), BACKEND_TIMEOUT) {
            Ok(answer) if answer.status == 200 => Ok(String::from_utf8_lossy(&answer.body).trim().to_owned()),
            Ok(answer) => Err(format!("it answered {}", answer.status)),
            Err(error) => Err(error.explain()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::server::Server;

    fn get(path: &str) -> Request {
        Request { method: "GET".into(), path: path.into(), body: Vec::new(), keep_alive: false }
    }

    #[test]
    fn the_frontend_passes_on_what_the_backend_says_and_admits_its_absence() {
        let backend = Hello { replica: Replica::new("backend"), greeting: "Ahoy".into() };
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (stop, backend_url) = (server.stop(), format!("http://{}", server.address()));
        let running = thread::spawn(move || server.serve(move |request| backend.answer(request)));
        let frontend = Frontend { replica: Replica::new("frontend"), backend_url };

        let there = frontend.answer(&get("/"));
        assert_eq!(there.status, 200);
        assert!(String::from_utf8(there.body).unwrap().contains("backend said: Ahoy, "));

        stop.ask();
        assert!(running.join().unwrap());
        let away = frontend.answer(&get("/api"));
        assert_eq!(away.status, 502);
        assert!(String::from_utf8(away.body).unwrap().contains("\"state\":\"away\""));
    }
}
