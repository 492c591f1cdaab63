//! `ctl logs`: what containers write, whole lines, several streams interleaved and told apart by a coloured prefix.
//!
//! Also followed by `dev`. A stream that breaks while following is taken up again where it ended.

use std::collections::BTreeMap;
use std::time::Duration;

use anstyle::Style;
use proto::v1;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::args::LogsArgs;
use crate::client::{CallError, Client};
use crate::exit::{Exit, Failure};
use crate::name::{self, Found};
use crate::output::Terminal;
use crate::output::style::{DIM, PALETTE, PLAIN, paint};
use crate::session::Session;
use crate::time::{now_ms, rfc3339};

const AGAIN_PAUSE: Duration = Duration::from_millis(500);
/// A line longer than this is shown in pieces, so that memory stays bounded.
const LINE_MAX_BYTES: usize = 64 * 1024;
const WHAT: &str = "reading logs";

/// `ctl logs`.
pub async fn run(session: &mut Session, args: &LogsArgs) -> Result<Exit, Failure> {
    for text in &args.names {
        name::parse(text)?;
    }
    let scope = session.scope(&args.scope);
    let client = session.client().await?;
    let snapshot = client.snapshot("", 0).await?;
    let found = args.names.iter().map(|text| name::find(text, &scope, &snapshot)).collect::<Result<Vec<_>, _>>()?;
    let several = sources(&found, &snapshot) > 1 || args.follow;
    let since = args.since.map(|span| now_ms().saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)));
    let query = v1::LogQuery { follow: args.follow, tail: args.tail, since_unix_ms: since };
    let (sender, mut chunks) = mpsc::channel(64);
    let mut readers = Vec::new();
    for one in found {
        readers.push(spawn(client.clone(), one, query, sender.clone()));
    }
    drop(sender);
    let mut printer = Printer::new(several, args.timestamps);
    loop {
        tokio::select! {
            chunk = chunks.recv() => match chunk {
                Some(Ok(chunk)) => printer.chunk(&mut session.terminal, &chunk)?,
                Some(Err(problem)) => return Err(problem.into()),
                None => break,
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    printer.finish(&mut session.terminal)?;
    Ok(Exit::Done)
}

/// How many containers the names mean.
fn sources(found: &[Found], snapshot: &v1::Snapshot) -> usize {
    let count = |f: &Found| {
        let mine = |t: &&v1::Task| t.service.as_ref() == Some(&f.key) && f.slot.is_none_or(|slot| slot == t.slot);
        snapshot.tasks.iter().filter(mine).count()
    };
    found.iter().map(count).sum()
}

/// What a reader hands over.
pub type Chunk = Result<v1::LogChunk, CallError>;

/// Reads one service's or slot's output into the channel; the handle's end is the reader's.
pub fn spawn(client: Client, found: Found, query: v1::LogQuery, sender: mpsc::Sender<Chunk>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(read(client, found, query, sender)))
}

async fn read(client: Client, found: Found, mut query: v1::LogQuery, sender: mpsc::Sender<Chunk>) {
    let mut last_at = None;
    loop {
        let request = v1::LogsRequest { service: Some(found.key.clone()), slot: found.slot, query: Some(query) };
        let problem = match client.logs(request).await {
            Ok(mut stream) => loop {
                match stream.message().await {
                    Ok(Some(chunk)) => {
                        last_at = chunk.at_unix_ms.max(last_at);
                        if sender.send(Ok(chunk)).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => break None,
                    Err(status) => break Some(client.judge_stream(WHAT, &status)),
                }
            },
            Err(problem) => Some(problem),
        };
        let passes = matches!(problem, None | Some(CallError::Unreachable { .. } | CallError::Deadline { .. }));
        if !query.follow || !passes {
            if let Some(problem) = problem {
                let _ = sender.send(Err(problem)).await;
            }
            return;
        }
        // Go on after the last line seen.
        query.since_unix_ms = last_at.map(|at| at + 1).or(query.since_unix_ms);
        query.tail = if last_at.is_some() { None } else { query.tail };
        tokio::time::sleep(AGAIN_PAUSE).await;
    }
}

/// Puts chunks together to lines and prints them.
#[derive(Debug)]
pub struct Printer {
    prefixed: bool,
    timestamps: bool,
    width: usize,
    styles: BTreeMap<String, Style>,
    partial: BTreeMap<(String, bool), (Option<u64>, Vec<u8>)>,
}

// === impl Printer ===

impl Printer {
    /// `prefixed`: each line begins with its container's name.
    pub fn new(prefixed: bool, timestamps: bool) -> Printer {
        Printer { prefixed, timestamps, width: 0, styles: BTreeMap::new(), partial: BTreeMap::new() }
    }

    /// Prints the lines that `chunk` completes.
    pub fn chunk(&mut self, terminal: &mut Terminal, chunk: &v1::LogChunk) -> Result<(), Failure> {
        let key = (chunk.source.clone(), chunk.stderr);
        let (at, mut bytes) = self.partial.remove(&key).unwrap_or((chunk.at_unix_ms, Vec::new()));
        let mut at = at.or(chunk.at_unix_ms);
        bytes.extend_from_slice(&chunk.data);
        let mut rest = bytes.as_slice();
        while let Some(end) =
            rest.iter().position(|b| *b == b'\n').or((rest.len() > LINE_MAX_BYTES).then_some(LINE_MAX_BYTES))
        {
            self.line(terminal, &chunk.source, at, &rest[..end])?;
            let skip = usize::from(rest.get(end) == Some(&b'\n'));
            rest = &rest[end + skip..];
            at = chunk.at_unix_ms;
        }
        if !rest.is_empty() {
            self.partial.insert(key, (at, rest.to_vec()));
        }
        Ok(())
    }

    /// Prints what is left without a line end.
    pub fn finish(&mut self, terminal: &mut Terminal) -> Result<(), Failure> {
        for ((source, _), (at, bytes)) in std::mem::take(&mut self.partial) {
            self.line(terminal, &source, at, &bytes)?;
        }
        Ok(())
    }

    fn line(&mut self, terminal: &mut Terminal, source: &str, at: Option<u64>, bytes: &[u8]) -> Result<(), Failure> {
        let mut text = String::new();
        if self.prefixed {
            let short = source.split_once('/').map_or(source, |(_, rest)| rest);
            self.width = self.width.max(short.len());
            let style = self.style(source);
            text = paint(style, &format!("{short:width$} | ", width = self.width));
        }
        if let Some(moment) = at.filter(|_| self.timestamps).and_then(rfc3339) {
            text += &paint(DIM, &format!("{moment} "));
        }
        let words = String::from_utf8_lossy(bytes);
        terminal.line(&format!("{text}{}", words.trim_end_matches('\r')))?;
        Ok(())
    }

    fn style(&mut self, source: &str) -> Style {
        let next = PALETTE.get(self.styles.len() % PALETTE.len()).copied().unwrap_or(PLAIN);
        *self.styles.entry(source.to_owned()).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(source: &str, data: &str) -> v1::LogChunk {
        let at_unix_ms = Some(1_700_000_000_000);
        v1::LogChunk { source: source.into(), stderr: false, at_unix_ms, data: data.as_bytes().to_vec() }
    }

    fn printed(prefixed: bool, timestamps: bool, chunks: &[(&str, &str)]) -> String {
        let (mut terminal, out, _) = Terminal::buffered();
        let mut printer = Printer::new(prefixed, timestamps);
        for (source, data) in chunks {
            printer.chunk(&mut terminal, &chunk(source, data)).expect("prints");
        }
        printer.finish(&mut terminal).expect("prints");
        out.text()
    }

    #[test]
    fn parts_of_lines_are_put_together_per_source() {
        let got = printed(
            true,
            false,
            &[("s/web.1", "hel"), ("s/db.1", "ready\n"), ("s/web.1", "lo\nworld\r\n"), ("s/web.1", "end")],
        );
        assert_eq!(got, "db.1 | ready\nweb.1 | hello\nweb.1 | world\nweb.1 | end\n");
    }

    #[test]
    fn one_source_has_no_prefix_and_times_are_shown_when_asked() {
        assert_eq!(printed(false, false, &[("s/web.1", "a\nb\n")]), "a\nb\n");
        assert_eq!(printed(false, true, &[("s/web.1", "a\n")]), "2023-11-14T22:13:20.000Z a\n");
    }

    #[test]
    fn a_line_without_end_does_not_fill_memory() {
        let long = "x".repeat(LINE_MAX_BYTES + 10);
        assert_eq!(printed(false, false, &[("s/web.1", &long)]).lines().count(), 2);
    }
}
