//! One program, many parts: `shop ROLE` with front, user, product, cart, payment, hello, frontend or backend; and
//! `shop check [URL]`, the health check for images that hold nothing else.
//!
//! Does: read the settings, make the role, listen, serve until SIGTERM.
//! Never: answers requests itself.
//! Called by: containers.

use std::{
    env,
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use examples::{
    client,
    greeting::{Frontend, Hello},
    http::{Request, Response},
    replica::Replica,
    server::{self, Server},
    settings::Settings,
    shop::{cart::Cart, front::Front, payment::Payment, product::Product, user::User},
};

const USAGE: &str = "usage: shop front|user|product|cart|payment|hello|frontend|backend
       shop check [http://HOST:PORT/PATH]";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let role = arguments.next().unwrap_or_default();
    match run(&role, arguments.next()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(io::stderr(), "shop {role}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(role: &str, argument: Option<String>) -> Result<ExitCode, Failure> {
    let settings = Settings::read(usual_port(role), |name| env::var(name).ok())?;
    let settings_copy = settings.clone();
    let Settings { listen, user_url, product_url, cart_url, payment_url, .. } = settings_copy;
    match role {
        "front" => {
            let replica = Replica::new("front");
            let front = Front { replica, user_url, product_url, cart_url, payment_url };
            serve(role, listen, move |request| front.answer(request))
        }
        "user" => {
            let user = User { replica: Replica::new("user") };
            serve(role, listen, move |request| user.answer(request))
        }
        "product" => {
            let product = Product::open(Replica::new("product"), &settings.catalogue_file)?;
            serve(role, listen, move |request| product.answer(request))
        }
        "cart" => {
            let cart = Cart { replica: Replica::new("cart"), product_url };
            serve(role, listen, move |request| cart.answer(request))
        }
        "payment" => {
            let payment = Payment::open(Replica::new("payment"), &settings.payment_key_file)?;
            serve(role, listen, move |request| payment.answer(request))
        }
        "hello" | "backend" => {
            let replica = Replica::new(if role == "hello" { "hello" } else { "backend" });
            let hello = Hello { replica, greeting: settings.greeting };
            serve(role, listen, move |request| hello.answer(request))
        }
        "frontend" => {
            let frontend = Frontend { replica: Replica::new("frontend"), backend_url: settings.backend_url };
            serve(role, listen, move |request| frontend.answer(request))
        }
        "check" => check(&argument.unwrap_or_else(|| format!("http://{}/healthz", server::reachable(listen)))),
        _ => {
            let _ = writeln!(io::stderr(), "{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

/// The port a role has without `LISTEN`: what tutorials use.
fn usual_port(role: &str) -> u16 {
    match role {
        "frontend" => 3000,
        "backend" => 5000,
        _ => 8080,
    }
}

fn serve(
    role: &str,
    listen: SocketAddr,
    answer: impl Fn(&Request) -> Response + Send + Sync + 'static,
) -> Result<ExitCode, Failure> {
    let server = Server::bind(listen).map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    server.stop().on_signals()?;
    let _ = writeln!(io::stdout(), "{role} listening on {}", server.address());
    let finished = server.serve(answer);
    let _ = writeln!(io::stdout(), "{role} stopped{}", if finished { "" } else { " with requests still open" });
    Ok(if finished { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(url: &str) -> Result<ExitCode, Failure> {
    let answer = client::get(url, Duration::from_secs(1)).map_err(|error| error.explain())?;
    let _ = io::stdout().write_all(&answer.body);
    Ok(if answer.status == 200 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
