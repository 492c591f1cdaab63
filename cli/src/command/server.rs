//! `ctl server`: which servers vote, and which are none any more.

use crate::exit::{Exit, Failure};
use crate::session::Session;

/// `ctl server promote`.
pub async fn promote(session: &mut Session, name: &str) -> Result<Exit, Failure> {
    let answer = session.client().await?.promote_server(name).await?;
    session.terminal.say(&match answer.changed {
        true => format!("server {name} votes now"),
        false => format!("server {name} votes already"),
    });
    session.terminal.say("next: `ctl get servers`");
    Ok(Exit::Done)
}

/// `ctl server remove`.
pub async fn remove(session: &mut Session, name: &str) -> Result<Exit, Failure> {
    session.client().await?.remove_server(name).await?;
    session
        .terminal
        .say(&format!("server {name} is removed: stop it, and empty its data directory before it joins again"));
    session.terminal.say("next: `ctl get servers`");
    Ok(Exit::Done)
}
