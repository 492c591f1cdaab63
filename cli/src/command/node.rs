//! `ctl node`: what is done to a node as a whole.

use crate::exit::{Exit, Failure};
use crate::name::thing;
use crate::session::Session;

/// `ctl node revoke`.
pub async fn revoke(session: &mut Session, name: &str) -> Result<Exit, Failure> {
    let client = session.client().await?;
    let snapshot = client.snapshot("", 0).await?;
    let info = thing::node(name, &snapshot)?.info.clone().unwrap_or_default();
    client.revoke_identity("agent", &info.id).await?;
    session
        .terminal
        .say(&format!("node {} ({}) is refused from now on; what runs there goes on", info.hostname, info.id));
    session.terminal.say("a fresh `ctl token create agent` lets it join again under the same id");
    Ok(Exit::Done)
}
