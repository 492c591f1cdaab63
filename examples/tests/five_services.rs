//! Promise: the shop's front shows an answer from each of the five services, says which are away, and every program
//! leaves gracefully on SIGTERM.
//!
//! The five run as plain processes on loopback, found through their `*_URL` variables.
//! Never: needs a container engine.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use examples::client::{self, Answer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// One running program; killed when dropped, whatever the test's outcome.
struct Program {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
}

impl Program {
    fn start(role: &str, variables: &[(&str, &str)]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.arg(role).env("LISTEN", "127.0.0.1:0").envs(variables.iter().copied()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix(&format!("{role} listening on ")).unwrap_or_else(|| panic!("{line:?}"));
        Program { child, output, address: address.parse().unwrap() }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn get(&self, path: &str) -> Answer {
        client::get(&format!("{}{path}", self.url()), PATIENCE).unwrap()
    }

    fn terminate(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    /// Waits for the end; returns how it ended and what it wrote since it began to listen.
    fn wait(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap(), rest)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Shop {
    front: Program,
    cart: Program,
    product: Program,
    rest: Vec<Program>,
}

fn open_shop() -> Shop {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("shop");
    let file = |name: &str| files.join(name).display().to_string();
    let product = Program::start("product", &[("CATALOGUE_FILE", &file("catalogue.json"))]);
    let payment = Program::start("payment", &[("PAYMENT_KEY_FILE", &file("payment_key.txt"))]);
    let cart = Program::start("cart", &[("PRODUCT_URL", &product.url())]);
    let user = Program::start("user", &[]);
    let front = Program::start(
        "front",
        &[
            ("USER_URL", &user.url()),
            ("PRODUCT_URL", &product.url()),
            ("CART_URL", &cart.url()),
            ("PAYMENT_URL", &payment.url()),
        ],
    );
    Shop { front, cart, product, rest: vec![user, payment] }
}

fn states(all: &Value) -> Vec<(&str, &str)> {
    let services = all["services"].as_array().unwrap();
    services.iter().map(|service| (service["name"].as_str().unwrap(), service["state"].as_str().unwrap())).collect()
}

#[test]
fn all_five_answer_and_the_basket_can_be_paid() {
    let shop = open_shop();
    let all = shop.front.get("/api/all");
    assert_eq!(all.status, 200, "{}", all.json());
    let five = ["front", "user", "product", "cart", "payment"].map(|name| (name, "ok"));
    assert_eq!(states(&all.json()), five);

    let paid = client::post(&format!("{}/api/checkout", shop.front.url()), &Value::Null, PATIENCE).unwrap();
    assert_eq!((paid.status, paid.json()["answer"].as_str()), (200, Some("227.95 EUR received, thank you")));

    let page = String::from_utf8(shop.front.get("/").body).unwrap();
    assert!(page.contains("5 of 5 services answered") && page.contains("Pair of oars"), "{page}");
    let key = include_str!("../shop/payment_key.txt").trim();
    assert!(!page.contains(key) && !all.json().to_string().contains(key), "the key is shown");
    for program in [&shop.product, &shop.cart].into_iter().chain(&shop.rest) {
        assert_eq!(program.get("/healthz").status, 200);
    }
}

#[test]
fn a_missing_service_is_shown_with_those_that_need_it_and_hides_no_other() {
    let shop = open_shop();
    shop.product.terminate();
    assert!(shop.product.wait().0.success());

    let all = shop.front.get("/api/all");
    assert_eq!(all.status, 503);
    let expected = [("front", "ok"), ("user", "ok"), ("product", "away"), ("cart", "away"), ("payment", "ok")];
    assert_eq!(states(&all.json()), expected);
    let cart = &all.json()["services"][3];
    assert!(cart["error"].as_str().unwrap().starts_with("product is away: cannot connect to "), "{cart}");
    assert_eq!(shop.front.get("/").status, 200);

    shop.front.terminate();
    let (status, log) = shop.front.wait();
    assert!(status.success());
    let logged: Vec<_> = log.lines().map(|line| line.split_inclusive(' ').take(3).collect::<String>()).collect();
    assert_eq!(logged, ["GET /api/all 503 ", "GET / 200 ", "front stopped"]);
}

#[test]
fn a_request_half_sent_before_sigterm_is_still_answered() {
    let user = Program::start("user", &[]);
    let address = user.address;
    let mut open = TcpStream::connect(address).unwrap();
    open.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    user.terminate();

    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "connections are still accepted");
    }
    open.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    open.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("Robin"), "{answer}");
    let (status, log) = user.wait();
    assert_eq!((status.code(), log.as_str()), (Some(0), "user stopped\n"));
}

#[test]
fn the_check_tells_healthy_from_absent_by_its_exit_code() {
    let user = Program::start("user", &[]);
    let check = |url: &str| {
        let checked = Command::new(env!("CARGO_BIN_EXE_shop")).args(["check", url]).output().unwrap();
        checked.status.code()
    };
    assert_eq!(check(&format!("{}/healthz", user.url())), Some(0));
    assert_eq!(check(&format!("{}/nowhere", user.url())), Some(1));
    let url = format!("{}/healthz", user.url());
    user.terminate();
    assert!(user.wait().0.success());
    assert_eq!(check(&url), Some(1));
}

#[test]
fn payment_does_not_start_without_its_secret_and_names_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    let refused = command.arg("payment").env("PAYMENT_KEY_FILE", "/nonexistent/key").output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.starts_with("shop payment: cannot read the secret payment_key at /nonexistent/key: "), "{said}");
}
