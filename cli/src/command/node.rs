//! `ctl node`: what is done to a node as a whole.

use std::collections::{BTreeMap, BTreeSet};

use proto::v1;

use crate::args::NodeLabelArgs;
use crate::exit::{Exit, Failure};
use crate::name::thing;
use crate::output::style::{DIM, paint};
use crate::output::table::one_line;
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

/// `ctl node label`.
pub async fn label(session: &mut Session, args: &NodeLabelArgs) -> Result<Exit, Failure> {
    let asked = Asked::parse(&args.labels)?;
    let client = session.client().await?;
    let snapshot = client.snapshot("", 0).await?;
    let node = thing::node(&args.node, &snapshot)?;
    let info = node.info.clone().unwrap_or_default();
    let remove = asked.remove.iter().cloned().collect();
    client.label_node(&info.id, asked.set.clone(), remove, args.expect).await?;
    for line in asked.told(node) {
        session.terminal.line(&format!("{} {}", info.hostname, one_line(&line)))?;
    }
    let ctl = session.ctl();
    session.terminal.say(&format!("{} {ctl} describe node {}", paint(DIM, "next:"), args.node));
    Ok(Exit::Done)
}

/// What is asked of a node's labels.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    set: BTreeMap<String, String>,
    remove: BTreeSet<String>,
}

// === impl Asked ===

impl Asked {
    /// Of the words on the line: `KEY=VALUE` sets, `KEY-` removes.
    fn parse(words: &[String]) -> Result<Asked, Failure> {
        const FORM: &str =
            "KEY=VALUE sets a label, KEY- removes one; write it such as `ctl node label alpha disk=ssd rack-`";
        let mut asked = Asked::default();
        for word in words {
            let key = match (word.split_once('='), word.strip_suffix('-')) {
                (Some((key, value)), _) if !key.is_empty() => {
                    if asked.set.insert(key.to_owned(), value.to_owned()).is_some() {
                        return Err(Failure::usage(format!("`{key}` is set twice")).hint("give it one value"));
                    }
                    key
                }
                (None, Some(key)) if !key.is_empty() => {
                    asked.remove.insert(key.to_owned());
                    key
                }
                _ => return Err(Failure::usage(format!("`{word}` is neither KEY=VALUE nor KEY-")).hint(FORM)),
            };
            if asked.set.contains_key(key) && asked.remove.contains(key) {
                let message = format!("`{key}` is set and removed at once");
                return Err(Failure::usage(message).hint("ask for one of the two: another value needs no removal"));
            }
        }
        if words.is_empty() { Err(Failure::usage("no label is given").hint(FORM)) } else { Ok(asked) }
    }

    /// What becomes of each label of a node as it was before.
    fn told(&self, node: &v1::Node) -> Vec<String> {
        let own = |key: &String| node.info.as_ref()?.labels.get(key);
        let set = self.set.iter().map(|(key, value)| match (node.labels.get(key), own(key)) {
            (Some(before), _) if before == value => format!("{key}={value}, as before"),
            (Some(before), _) => format!("{key}={value}, was {key}={before}"),
            (None, Some(own)) => format!("{key}={value}, over its agent's {key}={own}"),
            (None, None) => format!("{key}={value}, new"),
        });
        let removed = self.remove.iter().map(|key| match (node.labels.contains_key(key), own(key)) {
            (true, None) => format!("{key} removed"),
            (true, Some(own)) => format!("{key} removed, its agent's {key}={own} counts again"),
            (false, Some(own)) => format!("{key} stays: {key}={own} is its agent's own; {key}= takes it out of use"),
            (false, None) => format!("{key} was no label of it"),
        });
        set.chain(removed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::fake::{World, shop};

    fn parse(line: &str) -> Result<Asked, Failure> {
        Asked::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    /// A node whose agent says `zone=a`, with labels of an operator.
    fn labelled(labels: &[(&str, &str)]) -> v1::Snapshot {
        let mut snapshot = shop(vec![], vec![]);
        for node in &mut snapshot.nodes {
            node.labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            node.labels_revision = if labels.is_empty() { 0 } else { 41 };
            node.info.get_or_insert_default().labels.insert("zone".to_owned(), "a".to_owned());
        }
        snapshot
    }

    #[test]
    fn labels_parse_or_are_usage_errors_with_a_hint() {
        let asked = parse("disk=ssd a.b/c= url=x=y- rack- old--").expect("is sound");
        let set = [("disk", "ssd"), ("a.b/c", ""), ("url", "x=y-")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(asked, Asked { set: set.into(), remove: ["rack", "old-"].map(str::to_owned).into() });
        for bad in ["", "disk", "=ssd", "-", "disk=ssd disk=hdd", "disk=ssd disk-", "disk- disk=ssd"] {
            let failure = parse(bad).expect_err(bad);
            assert_eq!((failure.exit, failure.hints.len()), (Exit::Usage, 1), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_changes_is_sent_at_once_and_told() {
        let mut world = World::new(labelled(&[("disk", "hdd"), ("rack", "r1")]));
        assert_eq!(world.ctl("node label alpha disk=ssd zone=b cpu=fast rack- gpu- --expect 41").await, 0);
        let want = "\
alpha cpu=fast, new
alpha disk=ssd, was disk=hdd
alpha zone=b, over its agent's zone=a
alpha gpu was no label of it
alpha rack removed
";
        assert_eq!(world.out.text(), want);
        assert_eq!(world.err.text(), "next: ctl describe node alpha\n");
        let sent = world.script(|s| s.labelled.clone());
        assert_eq!((sent.len(), sent[0].node.as_str()), (1, "00000000000000ff"));
        assert_eq!((sent[0].set.len(), sent[0].remove.len(), sent[0].expected_revision), (3, 2, Some(41)));
    }

    #[tokio::test]
    async fn an_agents_own_label_stays_and_counts_again() {
        let mut world = World::new(labelled(&[("zone", "b")]));
        assert_eq!(world.ctl("node label 00000000000000ff zone-").await, 0);
        assert_eq!(world.out.text(), "alpha zone removed, its agent's zone=a counts again\n");
        let mut world = World::new(labelled(&[]));
        assert_eq!(world.ctl("node label alpha zone-").await, 0);
        assert_eq!(world.out.text(), "alpha zone stays: zone=a is its agent's own; zone= takes it out of use\n");
    }

    #[tokio::test]
    async fn another_name_and_a_refusal_are_answered_with_what_to_do() {
        let mut world = World::new(labelled(&[]));
        assert_eq!(world.ctl("node label alhpa disk=ssd").await, 1);
        assert!(world.err.text().contains("did you mean `alpha`?"), "{}", world.err.text());
        let moved = "the labels of node alpha are at revision 9, not 7 as expected; read them again and decide anew";
        world.script(|s| s.refusals.push_back(tonic::Status::aborted(moved)));
        assert_eq!(world.ctl("node label alpha disk=ssd --expect 7").await, 1);
        assert!(world.err.text().contains(moved) && world.out.text().is_empty(), "{}", world.err.text());
        let mut twins = labelled(&[]);
        let mut twin = twins.nodes[0].clone();
        twin.info.get_or_insert_default().id = "00000000000000ee".to_owned();
        twins.nodes.push(twin);
        let mut world = World::new(twins);
        assert_eq!(world.ctl("node label alpha disk=ssd").await, 1);
        let hint = "name one by its id: `00000000000000ff`, `00000000000000ee`";
        assert!(world.err.text().contains(hint), "{}", world.err.text());
        assert_eq!(world.ctl("node label 00000000000000ee disk=ssd").await, 0);
        let nothing = world.ctl("node label alpha").await;
        assert_eq!(nothing, 2, "{}", world.err.text());
    }

    #[tokio::test]
    async fn labels_of_a_node_are_shown_with_whose_they_are() {
        let mut world = World::new(labelled(&[("disk", "ssd"), ("zone", "b")]));
        assert_eq!(world.ctl("describe node alpha").await, 0);
        let text = world.out.text();
        assert!(text.contains("disk=ssd  (an operator's)\n"), "{text}");
        assert!(text.contains("zone=b  (an operator's, over its agent's zone=a)\n"), "{text}");
        assert!(text.contains("at revision 41\n"), "{text}");
        assert_eq!(world.ctl("get nodes -o json").await, 0);
        let json = world.out.text()[text.len()..].to_owned();
        let json: serde_json::Value = serde_json::from_str(&json).expect("is JSON");
        assert_eq!(json["items"][0]["labels"], serde_json::json!({"disk": "ssd", "zone": "b"}));
        assert_eq!(json["items"][0]["labels_revision"], 41);
    }
}
