//! `ctl scale`: set how many containers services have, and wait until they have them.

use std::collections::{BTreeMap, BTreeSet};

use super::progress::Goal;
use super::wait::{self, Ended};
use crate::args::ScaleArgs;
use crate::exit::{Exit, Failure};
use crate::name::{self, Found, full, plural};
use crate::output::style::{DIM, paint};
use crate::session::Session;

/// `ctl scale`.
pub async fn run(session: &mut Session, args: &ScaleArgs) -> Result<Exit, Failure> {
    let typed = args.changes.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    let scope = session.scope(&args.scope);
    let client = session.client().await?;
    let snapshot = client.snapshot("", 0).await?;
    // All names are resolved before the first change is sent.
    let mut changes: Vec<(Found, u32)> = Vec::new();
    for (text, replicas) in typed {
        let found = name::find(text, &scope, &snapshot)?;
        if found.slot.is_some() {
            return Err(Failure::usage(format!("`{found}` is one slot; a service is scaled")));
        }
        changes.push((found, replicas));
    }
    let mut goals: BTreeMap<String, Goal> = BTreeMap::new();
    for (found, replicas) in changes {
        let answer = client.scale(found.key.clone(), replicas).await?;
        let had = snapshot.services.iter().find(|s| s.key.as_ref() == Some(&found.key)).map_or(0, |s| s.replicas);
        let words = if answer.changed { format!("{had} to {replicas}") } else { format!("{replicas}, no change") };
        session.terminal.line(&format!("{} {words}", full(&found.key)))?;
        let goal = goals.entry(found.key.project.clone()).or_insert_with(|| empty_goal(&found.key.project));
        goal.revision = goal.revision.max(answer.revision);
        goal.services.insert(found.key.service, replicas);
    }
    if args.waiting.no_wait {
        return Ok(Exit::Done);
    }
    for goal in goals.into_values() {
        let words: Vec<String> = goal.services.iter().map(|(s, n)| format!("{}/{s}={n}", goal.project)).collect();
        let total: u32 = goal.services.values().sum();
        let ended = wait::until(&mut session.terminal, &client, goal, args.waiting.timeout).await?;
        let done = matches!(ended, Ended::Done(_));
        let exit = wait::conclude(session, ended, args.waiting.timeout, &words.join(" "))?;
        if !done {
            return Ok(exit);
        }
        session.terminal.say(&format!("{total} container{} as asked", plural(total)));
    }
    let note = "the next `ctl apply` sets the number of the Compose file again";
    session.terminal.say(&paint(DIM, note));
    Ok(Exit::Done)
}

fn empty_goal(project: &str) -> Goal {
    Goal {
        project: project.to_owned(),
        revision: 0,
        release: None,
        services: BTreeMap::new(),
        removed: BTreeSet::new(),
        cluster_since_unix_ms: None,
    }
}

fn parse(text: &str) -> Result<(&str, u32), Failure> {
    let wrong = || Failure::usage(format!("`{text}` is not SERVICE=N")).hint("write it such as `ctl scale web=3`");
    let (name, number) = text.split_once('=').ok_or_else(wrong)?;
    let replicas: u32 = number.parse().map_err(|_| wrong())?;
    let max = proto::limits::REPLICAS_MAX;
    if replicas > max {
        return Err(Failure::usage(format!("`{text}`: at most {max} replicas are possible")));
    }
    name::parse(name)?;
    Ok((name, replicas))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_parse_or_are_usage_errors() {
        assert_eq!(parse("shop/web=3"), Ok(("shop/web", 3)));
        assert_eq!(parse("web=0"), Ok(("web", 0)));
        for bad in ["web", "web=", "web=-1", "web=x", "=3", "web=10001", "we b=1"] {
            assert_eq!(parse(bad).expect_err(bad).exit, Exit::Usage, "{bad}");
        }
    }
}
