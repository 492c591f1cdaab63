//! What the engine's refusals mean.
//!
//! The one rule that matters: only a plain 404 about the very thing asked for is "not there". Everything that was not
//! understood, cut short or late means that nothing is known.

use super::super::RuntimeError;
use bollard::errors::Error;

/// Longest cause passed on, in characters.
const CAUSE_MAX: usize = 300;

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing<'a> {
    /// The engine itself.
    Engine,
    /// A container by id or name.
    Container(&'a str),
    /// An image by reference.
    Image(&'a str),
    /// A network by name.
    Network(&'a str),
    /// A volume by name.
    Volume(&'a str),
    /// A command within a container.
    Exec(&'a str),
}

impl Thing<'_> {
    /// Whether a 404 with these words is about this thing rather than about something it needs.
    fn is_meant_by(self, words: &str) -> bool {
        let words = words.to_lowercase();
        match self {
            Thing::Engine => false,
            Thing::Container(_) => words.contains("no such container"),
            Thing::Image(_) => words.contains("no such image"),
            Thing::Network(name) => {
                words.contains("no such network")
                    || words.contains(&format!("network {} not found", name.to_lowercase()))
            }
            Thing::Volume(_) => words.contains("no such volume"),
            Thing::Exec(_) => words.contains("no such exec instance"),
        }
    }
}

impl std::fmt::Display for Thing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Thing::Engine => write!(f, "the engine"),
            Thing::Container(id) => write!(f, "container `{}`", short_id(id)),
            Thing::Image(reference) => write!(f, "image `{reference}`"),
            Thing::Network(name) => write!(f, "network `{name}`"),
            Thing::Volume(name) => write!(f, "volume `{name}`"),
            Thing::Exec(id) => write!(f, "exec `{}`", short_id(id)),
        }
    }
}

/// The twelve characters of an id that people read; a name stays whole.
fn short_id(id: &str) -> &str {
    if id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()) { &id[..12] } else { id }
}

/// The meaning of an error of bollard's.
pub fn classify(endpoint: &str, call: &'static str, thing: Thing<'_>, error: Error) -> RuntimeError {
    let unreachable = |cause: String| RuntimeError::Unreachable { endpoint: endpoint.to_owned(), cause };
    match error {
        Error::DockerResponseServerError { status_code, message } => refusal(call, thing, status_code, &message),
        Error::DockerStreamError { error } => RuntimeError::Refused { call, cause: one_line(&error) },
        Error::SocketNotFoundError(path) => unreachable(format!("no socket at {path}; is Docker running?")),
        Error::HyperLegacyError { err } if speaks_no_http(&err) => nonsense(call, &deepest(&err)),
        Error::HyperLegacyError { err } => unreachable(connect_cause(&err)),
        Error::HyperResponseError { err } => unreachable(deepest(&err)),
        // What is left in the buffer when a stream of JSON ends in the middle of a word.
        Error::IOError { err } if err.to_string().contains("bytes remaining") => nonsense(call, &err.to_string()),
        Error::IOError { err } => unreachable(err.to_string()),
        Error::RequestTimeoutError => unreachable("no answer".to_owned()),
        other => nonsense(call, &other.to_string()),
    }
}

fn nonsense(call: &'static str, cause: &str) -> RuntimeError {
    RuntimeError::Nonsense { call, cause: one_line(cause) }
}

fn deepest(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(next) = at.source() {
        at = next;
    }
    at.to_string()
}

fn connect_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let cause = deepest(error);
    if cause.to_lowercase().contains("permission denied") {
        return "permission denied; run as root or as a member of the group `docker`".to_owned();
    }
    cause
}

fn speaks_no_http(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut at = error.source();
    while let Some(error) = at {
        if error.to_string().starts_with("invalid HTTP") {
            return true;
        }
        at = error.source();
    }
    false
}

fn refusal(call: &'static str, thing: Thing<'_>, status: u16, message: &str) -> RuntimeError {
    let cause = one_line(message);
    if status == 404 && thing.is_meant_by(message) {
        return RuntimeError::NotFound { what: thing.to_string() };
    }
    match taken(status, message, thing) {
        Some(what) => RuntimeError::Conflict { what, cause },
        None => RuntimeError::Refused { call, cause },
    }
}

/// What is taken, if the refusal says that something is.
fn taken(status: u16, message: &str, thing: Thing<'_>) -> Option<String> {
    let words = message.to_lowercase();
    let has = |part: &str| words.contains(part);
    if has("port is already allocated") || has("bind: address already in use") {
        return Some("a host port".to_owned());
    }
    if has("address already in use") {
        return Some("the address".to_owned());
    }
    if has("pool overlaps") {
        return Some("the subnet".to_owned());
    }
    if has("is already in use by container") {
        return Some("the container name".to_owned());
    }
    let other = status == 409 || has("same bridge name") || has("has active endpoints") || has("already exists");
    other.then(|| thing.to_string())
}

/// The engine's words on one line, cut where they get long.
pub fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CAUSE_MAX) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

/// Why a pull failed, with what to do about it.
pub fn pull_cause(words: &str) -> String {
    let lower = words.to_lowercase();
    let remedies: [(&[&str], &str); 7] = [
        (&["no space left"], "free disk space on this node"),
        (&["toomanyrequests", "rate limit"], "wait, or pull through a mirror"),
        (&["no matching manifest"], "the image is not built for this node's platform"),
        (&["x509", "server gave http response"], "make the engine trust this registry"),
        (&["manifest unknown", "not found: manifest", "manifest for"], "check the tag"),
        (&["denied", "unauthorized", "authentication required"], "check the name, and whether it needs credentials"),
        (
            &["dial tcp", "no such host", "i/o timeout", "connection refused", "server misbehaving", "client.timeout"],
            "check this node's way to the registry, or load the image here with `docker load`",
        ),
    ];
    let remedy = remedies.iter().find(|(signs, _)| signs.iter().any(|sign| lower.contains(sign)));
    match remedy {
        Some((_, remedy)) => format!("{}; {remedy}", one_line(words)),
        None => format!("{}; try `docker pull` on this node to see more", one_line(words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(thing: Thing<'_>, status_code: u16, message: &str) -> String {
        let error = Error::DockerResponseServerError { status_code, message: message.to_owned() };
        classify("sock", "start a container", thing, error).to_string()
    }

    #[test]
    fn refusals() {
        let c = Thing::Container("web");
        for (thing, status, words, expect) in [
            (c, 404, "No such container: web", "container `web` does not exist"),
            (c, 404, "network abc not found", "the Docker Engine refused `start a container`: network abc not found"),
            (c, 404, "page not found", "the Docker Engine refused `start a container`: page not found"),
            (c, 500, "No such container: web", "the Docker Engine refused `start a container`: No such container: web"),
            (Thing::Image("a:1"), 404, "No such image: a:1", "image `a:1` does not exist"),
            (Thing::Network("n"), 404, "network n not found", "network `n` does not exist"),
            (Thing::Volume("v"), 404, "get v: no such volume", "volume `v` does not exist"),
            (
                c,
                500,
                "driver failed programming external connectivity on endpoint web: Bind for 0.0.0.0:80 failed: port is already allocated",
                "a host port is taken: driver failed programming external connectivity on endpoint web: Bind for 0.0.0.0:80 failed: port is already allocated",
            ),
            (
                c,
                500,
                "listen tcp4 0.0.0.0:80: bind: address already in use",
                "a host port is taken: listen tcp4 0.0.0.0:80: bind: address already in use",
            ),
            (c, 403, "Address already in use", "the address is taken: Address already in use"),
            (
                Thing::Network("n"),
                403,
                "Pool overlaps with other one on this address space",
                "the subnet is taken: Pool overlaps with other one on this address space",
            ),
            (
                Thing::Image("a"),
                409,
                "Conflict. The container name \"/x\" is already in use by container \"y\".",
                "the container name is taken: Conflict. The container name \"/x\" is already in use by container \"y\".",
            ),
            (Thing::Volume("v"), 409, "volume is in use", "volume `v` is taken: volume is in use"),
        ] {
            assert_eq!(meaning(thing, status, words), expect);
        }
    }

    #[test]
    fn what_is_not_understood_is_never_gone() {
        for error in [
            Error::JsonDataError { message: "unknown variant `napping`".to_owned(), column: 3 },
            Error::APIVersionParseError {},
            Error::IOError { err: std::io::Error::other("bytes remaining on stream") },
        ] {
            let meant = classify("sock", "list", Thing::Container("web"), error);
            assert!(matches!(meant, RuntimeError::Nonsense { .. }), "{meant:?}");
        }
        let cut = Error::IOError { err: std::io::Error::other("connection reset") };
        let meant = classify("sock", "list", Thing::Container("web"), cut);
        assert!(matches!(meant, RuntimeError::Unreachable { .. }), "{meant:?}");
    }

    #[test]
    fn causes_are_one_line() {
        assert_eq!(one_line("a\n  b\tc"), "a b c");
        assert_eq!(one_line(&"ä".repeat(400)).chars().count(), CAUSE_MAX + 3);
    }

    #[test]
    fn pulls_come_with_a_remedy() {
        for (words, remedy) in [
            ("Get \"https://r/v2/\": dial tcp: lookup r on 1.1.1.1:53: no such host", "docker load"),
            ("pull access denied for x, repository does not exist", "credentials"),
            ("manifest for nginx:nope not found: manifest unknown: manifest unknown", "check the tag"),
            ("toomanyrequests: You have reached your pull rate limit", "mirror"),
            ("write /var/lib/docker/tmp/x: no space left on device", "disk space"),
            ("something new", "docker pull"),
        ] {
            let cause = pull_cause(words);
            assert!(cause.starts_with(words) && cause.contains(remedy) && !cause.contains('\n'), "{cause}");
        }
    }

    #[test]
    fn ids_are_shown_short() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(Thing::Container(&id).to_string(), "container `0123456789ab`");
        assert_eq!(Thing::Container("shop-web-1").to_string(), "container `shop-web-1`");
    }
}
