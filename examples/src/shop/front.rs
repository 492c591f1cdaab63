//! `front`: the shop's page, made of an answer from each of the others.
//!
//! Does: ask the four others by name, all at once, each within a timeout, and show what came; a service that is away
//! is shown as away. Logs one line per request.
//! Never: fails as a whole because one of the others does; `/api/all` says by its status whether all answered.
//! Called by: browsers and tests.

use std::{
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{self, Answer, CallError},
    http::{Request, Response},
    replica::Replica,
    shop::page,
};

/// How long `front` waits for each of the others.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(2);

/// The service.
#[derive(Debug)]
pub struct Front {
    /// Who answers.
    pub replica: Replica,
    /// Where `user` is.
    pub user_url: String,
    /// Where `product` is.
    pub product_url: String,
    /// Where `cart` is.
    pub cart_url: String,
    /// Where `payment` is.
    pub payment_url: String,
}

// === impl Front ===

impl Front {
    /// Answers one request and logs it. `/healthz` is not logged: it would drown the rest.
    pub fn answer(&self, request: &Request) -> Response {
        let begun = Instant::now();
        let response = self.route(request);
        if request.path != "/healthz" {
            let (method, path, status) = (&request.method, &request.path, response.status);
            // A log that nobody reads any more is no reason to fail a request.
            let _ = writeln!(io::stdout(), "{method} {path} {status} {} ms", begun.elapsed().as_millis());
        }
        response
    }

    fn route(&self, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/") => Response::html(200, page::render(&self.services(), None)),
            ("GET", "/api/all") => {
                let services = self.services();
                let all = services.iter().all(|service| service["state"] == "ok");
                let state = if all { "ok" } else { "degraded" };
                Response::json(if all { 200 } else { 503 }, &json!({ "state": state, "services": services }))
            }
            ("POST", "/checkout") => Response::html(200, page::render(&self.services(), Some(&self.check_out()))),
            ("POST", "/api/checkout") => {
                let paid = self.check_out();
                Response::json(if paid["state"] == "ok" { 200 } else { 503 }, &paid)
            }
            ("GET", "/healthz") => Response::healthy(),
            _ => Response::not_found(),
        }
    }

    /// An answer from each of the five, in the order of the page; those away have `"state": "away"` and `"error"`.
    fn services(&self) -> Vec<Value> {
        let others = [
            ("user", &self.user_url),
            ("product", &self.product_url),
            ("cart", &self.cart_url),
            ("payment", &self.payment_url),
        ];
        let ask =
            |(name, url): (&'static str, &String)| understood(name, client::get(&format!("{url}/"), SERVICE_TIMEOUT));
        let mut services = vec![self.replica.answer("welcome to the boat shop", Value::Null)];
        thread::scope(|scope| {
            let asked = others.map(|other| (other.0, scope.spawn(move || ask(other))));
            services.extend(asked.map(|(name, answer)| answer.join().unwrap_or_else(|_| away(name, "front failed"))));
        });
        services
    }

    /// Pays for the basket: asks `cart` what it costs and `payment` to take it.
    fn check_out(&self) -> Value {
        let cart = understood("cart", client::get(&format!("{}/", self.cart_url), SERVICE_TIMEOUT));
        if cart["state"] != "ok" {
            return cart;
        }
        let charge = json!({ "total_cents": cart["data"]["total_cents"], "currency": cart["data"]["currency"] });
        understood("payment", client::post(&format!("{}/charge", self.payment_url), &charge, SERVICE_TIMEOUT))
    }
}

/// What a service said, or that it is away and why.
fn understood(name: &str, result: Result<Answer, CallError>) -> Value {
    match result {
        Err(error) => away(name, &error.explain()),
        Ok(answer) => {
            let said = answer.json();
            if answer.status == 200 && said["state"] == "ok" {
                return said;
            }
            let why = said["error"].as_str().map_or_else(|| format!("it answered {}", answer.status), str::to_owned);
            away(name, &why)
        }
    }
}

fn away(name: &str, error: &str) -> Value {
    json!({ "name": name, "state": "away", "error": error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_present_only_with_a_good_answer() {
        let answer = |status, body: &str| Ok(Answer { status, body: body.into() });
        let good = understood("cart", answer(200, r#"{"name":"cart","state":"ok","answer":"yes"}"#));
        assert_eq!(good["answer"], "yes");
        let sorry = understood("cart", answer(503, r#"{"state":"away","error":"product is away"}"#));
        assert_eq!((&sorry["state"], &sorry["error"]), (&json!("away"), &json!("product is away")));
        let odd = understood("cart", answer(200, "<html>"));
        assert_eq!((&odd["name"], &odd["error"]), (&json!("cart"), &json!("it answered 200")));
    }
}
