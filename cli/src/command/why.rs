//! `ctl why`: the state of a service or slot in words: what is, what caused it, what happens next.
//!
//! The words are the server's; this only lays them out.

use crate::args::WhyArgs;
use crate::exit::{Exit, Failure};
use crate::name;
use crate::output::style::{BOLD, DIM, paint};
use crate::output::table::one_line;
use crate::session::Session;

/// `ctl why`.
pub async fn run(session: &mut Session, args: &WhyArgs) -> Result<Exit, Failure> {
    name::parse(&args.name)?;
    let scope = session.scope(&args.scope);
    let client = session.client().await?;
    let found = name::find(&args.name, &scope, &client.snapshot("", 0).await?)?;
    let why = client.why(found.key.clone(), found.slot).await?;
    session.terminal.line(&paint(BOLD, &found.to_string()))?;
    for (head, text) in [("now", &why.now), ("cause", &why.cause), ("next", &why.next)] {
        if !text.is_empty() {
            session.terminal.line(&format!("{}  {}", paint(DIM, &format!("{head:>5}")), one_line(text)))?;
        }
    }
    if !why.detail.is_empty() {
        session.terminal.line("")?;
    }
    for line in &why.detail {
        session.terminal.line(&format!("  {}", one_line(line)))?;
    }
    let ctl = session.ctl();
    session.terminal.say(&format!("\n{} {ctl} logs --tail 50 {found}", paint(DIM, "more:")));
    Ok(Exit::Done)
}
