//! `ctl get audit`: who changed what, which secrets went to whom, what was refused.

use proto::limits::AUDIT_ANSWER_MAX;
use proto::v1;
use serde::Serialize;

use crate::args::{Format, GetArgs};
use crate::exit::{Exit, Failure};
use crate::output::json::{to_json, to_yaml};
use crate::output::table::{Cell, Table};
use crate::session::Session;
use crate::time::rfc3339;

/// Records shown unless a number is asked for.
const LIMIT: u32 = 200;

/// `ctl get audit`.
pub async fn run(session: &mut Session, args: &GetArgs) -> Result<Exit, Failure> {
    if args.watch {
        return Err(Failure::usage("the audit is not watched")
            .hint("read on with --after NUMBER, or follow `audit` in the server's own log"));
    }
    let limit = args.limit.unwrap_or(LIMIT);
    if !(1..=u32::try_from(AUDIT_ANSWER_MAX).unwrap_or(u32::MAX)).contains(&limit) {
        return Err(Failure::usage(format!("--limit is between 1 and {AUDIT_ANSWER_MAX}"))
            .hint("read on with --after and the number of the last record"));
    }
    let since = args.since.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    let asked = v1::GetAuditRequest {
        project: args.scope.project.clone().unwrap_or_default(),
        since_unix_ms: since.map_or(0, |span| crate::time::now_ms().saturating_sub(span)),
        who: args.name.clone().unwrap_or_default(),
        after: args.after,
        limit,
    };
    let answer = session.client().await?.audit(asked).await?;
    if answer.records.is_empty() {
        session.terminal.say("no such record is in the audit");
    }
    for loss in answer.losses.iter().filter(|loss| loss.lost > 0) {
        let (records, were) = if loss.lost == 1 { ("record", "was") } else { ("records", "were") };
        session.terminal.say(&format!(
            "{} older {records} of {} {were} pushed out: the newest {} are kept",
            loss.lost, loss.kind, loss.kept
        ));
    }
    let text = match args.output.format {
        Format::Json => to_json(&AuditList::from(&answer)),
        Format::Yaml => to_yaml(&AuditList::from(&answer)),
        Format::Name => answer.records.iter().map(|r| format!("{}\n", r.number)).collect(),
        Format::Wide => table(&answer, true).map_or_else(String::new, |t| t.render(None)),
        Format::Table => table(&answer, false).map_or_else(String::new, |t| t.render(session.terminal.width)),
    };
    session.terminal.print(&text)?;
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct AuditList<'a> {
    kind: &'static str,
    revision: u64,
    /// The number of the newest record there is.
    made: u64,
    lost: Lost,
    items: Vec<Item<'a>>,
}

#[derive(Debug, Serialize, Default)]
struct Lost {
    changes: u64,
    reads: u64,
    refusals: u64,
}

#[derive(Debug, Serialize)]
struct Item<'a> {
    name: String,
    state: &'a str,
    number: u64,
    at: Option<String>,
    revision: u64,
    who: &'a str,
    from: &'a str,
    call: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    project: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    object: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

impl<'a> From<&'a v1::GetAuditResponse> for AuditList<'a> {
    fn from(answer: &'a v1::GetAuditResponse) -> AuditList<'a> {
        let mut lost = Lost::default();
        for loss in &answer.losses {
            match loss.kind.as_str() {
                "changes" => lost.changes = loss.lost,
                "reads" => lost.reads = loss.lost,
                _ => lost.refusals = loss.lost,
            }
        }
        let item = |r: &'a v1::AuditRecord| Item {
            name: r.number.to_string(),
            state: &r.outcome,
            number: r.number,
            at: rfc3339(r.at_unix_ms),
            revision: r.revision,
            who: &r.who,
            from: &r.from,
            call: &r.call,
            project: &r.project,
            object: &r.object,
            detail: &r.detail,
        };
        let items = answer.records.iter().map(item).collect();
        AuditList { kind: "AuditList", revision: answer.revision, made: answer.made, lost, items }
    }
}

fn table(answer: &v1::GetAuditResponse, wide: bool) -> Option<Table> {
    let mut table = Table::new(&["NUMBER", "WHEN", "WHO", "FROM", "CALL", "PROJECT", "OBJECT", "OUTCOME", "DETAIL"]);
    for r in &answer.records {
        table.row(vec![
            Cell::from(r.number.to_string()),
            Cell::from(rfc3339(r.at_unix_ms).unwrap_or_default()),
            Cell::from(r.who.as_str()),
            Cell::from(if wide { r.from.as_str() } else { "" }),
            Cell::from(r.call.as_str()),
            Cell::from(r.project.as_str()),
            Cell::from(r.object.as_str()),
            Cell::state(&r.outcome),
            Cell::from(r.detail.as_str()),
        ]);
    }
    (!table.is_empty()).then_some(table)
}
