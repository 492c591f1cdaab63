//! `ctl cluster rotate-key`: another sealing key takes the place of the one in use.
//!
//! Begins it, unless one is under way, and follows it: the cluster does it by itself. Only the new key's id goes to stdout.

use proto::v1;
use std::time::Duration;
use tokio::time::{Instant, sleep};

use crate::args::RotateKeyArgs;
use crate::exit::{Exit, Failure};
use crate::output::style::{DIM, paint};
use crate::session::Session;
use crate::time::age;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// `ctl cluster rotate-key`.
pub async fn run(session: &mut Session, args: &RotateKeyArgs) -> Result<Exit, Failure> {
    let client = session.client().await?;
    let ctl = session.ctl();
    let mut now = client.begin_key_rotation().await?;
    if args.waiting.no_wait {
        session
            .terminal
            .say(&format!("the cluster replaces its sealing key; follow it with `{ctl} cluster rotate-key`"));
        return Ok(Exit::Done);
    }
    let end = Instant::now() + args.waiting.timeout;
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    let mut told = Vec::new();
    while now.phase != "done" {
        let words = progress(&ctl, &now);
        if words != told {
            words.iter().for_each(|line| session.terminal.say(line));
            told.clone_from(&words);
        }
        if Instant::now() >= end {
            let after = u64::try_from(args.waiting.timeout.as_millis()).unwrap_or(u64::MAX);
            let message = format!("the sealing key is not replaced after {}", age(after));
            return Err(Failure::new(Exit::TimedOut, message)
                .lines(words)
                .hint("the cluster goes on with it: the same command follows it; wait longer with --timeout"));
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            _ = &mut interrupt => {
                let note = format!("stopped waiting; the cluster goes on with it. `{ctl} cluster rotate-key` follows it");
                session.terminal.say(&paint(DIM, &note));
                return Ok(Exit::Interrupted);
            }
        }
        now = client.key_rotation(now.number).await?;
    }
    session.terminal.line(&now.key)?;
    let contents = now.contents;
    session
        .terminal
        .say(&format!("the sealing key was replaced; {contents} secrets and keys are sealed with the new one"));
    for server in &now.waits_for {
        let name = named(server);
        session
            .terminal
            .say(&format!("server {name} is away: it removes the old key from its file when it comes back"));
    }
    session.terminal.say("next: put a server's key file into your backup; earlier backups need the key of their day");
    Ok(Exit::Done)
}

/// How far it is, in lines.
fn progress(ctl: &str, now: &v1::RotateSealingKeyResponse) -> Vec<String> {
    let mut lines: Vec<String> = match now.phase.as_str() {
        "resealing" => {
            vec![format!("{} of {} secrets and keys are still sealed with the old key", now.left, now.contents)]
        }
        "forgetting" => now.waits_for.iter().filter(|s| !s.away).map(|s| waits(s, "remove the old key")).collect(),
        _ if now.waits_for.is_empty() => vec!["every server has the new key".to_owned()],
        _ => now.waits_for.iter().map(|server| lacks(ctl, server)).collect(),
    };
    if !now.problem.is_empty() {
        lines.push(format!("it does not go on: {}", now.problem));
    }
    lines
}

fn lacks(ctl: &str, server: &v1::WaitsFor) -> String {
    if !server.away {
        return waits(server, "take the new key in");
    }
    let (name, id) = (named(server), &server.server);
    format!("waits for server {name}, which is away: bring it back, or `{ctl} server remove {id}`")
}

fn waits(server: &v1::WaitsFor, to: &str) -> String {
    format!("waits for server {} to {to}; if it takes long, see its log", named(server))
}

fn named(server: &v1::WaitsFor) -> String {
    match server.hostname.as_str() {
        "" => server.server.clone(),
        hostname => format!("{hostname} ({})", server.server),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::fake::World;

    fn told(phase: &str) -> v1::RotateSealingKeyResponse {
        let (key, contents) = ("0123456789abcdef".to_owned(), 3);
        v1::RotateSealingKeyResponse { number: 2, phase: phase.to_owned(), key, contents, ..Default::default() }
    }

    fn server(away: bool) -> Vec<v1::WaitsFor> {
        vec![v1::WaitsFor { server: "00000000000000b2".to_owned(), hostname: "host-b".to_owned(), away }]
    }

    fn world(answers: Vec<v1::RotateSealingKeyResponse>) -> World {
        let world = World::new(v1::Snapshot::default());
        world.script(|script| script.rotation = answers.into());
        world
    }

    #[tokio::test]
    async fn it_is_followed_to_its_end() {
        let spreading = v1::RotateSealingKeyResponse { waits_for: server(true), ..told("spreading") };
        let resealing = v1::RotateSealingKeyResponse { left: 2, ..told("resealing") };
        let forgetting = v1::RotateSealingKeyResponse { waits_for: server(false), ..told("forgetting") };
        let done = v1::RotateSealingKeyResponse { waits_for: server(true), ..told("done") };
        let mut world = world(vec![spreading.clone(), spreading, resealing, forgetting, done]);
        assert_eq!(world.ctl("cluster rotate-key").await, 0);
        assert_eq!(world.out.text(), "0123456789abcdef\n", "only the id");
        let notes = world.err.text();
        let waits = "waits for server host-b (00000000000000b2), which is away: bring it back, or `ctl server remove \
                     00000000000000b2`";
        assert_eq!(notes.matches(waits).count(), 1, "said once: {notes}");
        assert!(notes.contains("2 of 3 secrets and keys are still sealed with the old key"), "{notes}");
        assert!(notes.contains("waits for server host-b (00000000000000b2) to remove the old key"), "{notes}");
        assert!(notes.contains("host-b (00000000000000b2) is away: it removes the old key from its file"), "{notes}");
        // Begun once, then followed by its number.
        assert_eq!(world.script(|script| script.rotated.clone()), [0, 2, 2, 2, 2]);
    }

    #[tokio::test]
    async fn what_holds_it_up_is_said_when_time_is_over() {
        let stuck =
            v1::RotateSealingKeyResponse { problem: "content x does not authenticate".to_owned(), ..told("resealing") };
        let mut world = world(vec![stuck]);
        assert_eq!(world.ctl("cluster rotate-key --timeout 1ms").await, crate::exit::Exit::TimedOut.code());
        let notes = world.err.text();
        assert!(notes.contains("it does not go on: content x does not authenticate"), "{notes}");
        assert!(notes.contains("the same command follows it"), "{notes}");
        assert_eq!(world.out.text(), "");
    }

    #[tokio::test]
    async fn nobody_has_to_wait() {
        let mut world = world(vec![told("spreading")]);
        assert_eq!(world.ctl("cluster rotate-key --no-wait").await, 0);
        assert!(world.err.text().contains("follow it with `ctl cluster rotate-key`"), "{}", world.err.text());
    }
}
