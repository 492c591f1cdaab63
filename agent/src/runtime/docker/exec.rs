//! Commands inside containers, for health checks.
//!
//! Flow: make, start, then read output and ask for the exit code, side by side. The end of the output is never waited
//! for: a grandchild may hold it open for ever. A command past its time is killed with everything it started, and the
//! answer is given only once it is dead. All of it goes on when the caller stops listening, so nothing is left behind.

use super::super::{ExecOutcome, RuntimeError};
use super::failure::Thing;
use super::{DockerRuntime, process, within};
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ExecConfig, ExecInspectResponse};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

const EXEC: &str = "run a command in a container";
/// Bytes of output kept, from its end.
const OUTPUT_MAX: usize = 4096;
/// Between looks for the exit code while output is open.
const POLL_OPEN: Duration = Duration::from_millis(200);
/// The first wait once output ended: the code follows at once.
const POLL_ENDED: Duration = Duration::from_millis(3);
/// What is still in the pipe when the code is known may take this long.
const DRAIN: Duration = Duration::from_millis(50);

type Output = BoxStream<'static, Result<LogOutput, Error>>;

impl DockerRuntime {
    pub(super) async fn exec_to_the_end(
        &self,
        container_id: &str,
        argv: &[String],
        timeout_ms: u64,
    ) -> Result<ExecOutcome, RuntimeError> {
        let (me, container_id, argv) = (self.clone(), container_id.to_owned(), argv.to_vec());
        let run = tokio::spawn(async move { me.exec_run(&container_id, argv, timeout_ms).await });
        run.await.unwrap_or_else(|error| Err(RuntimeError::Refused { call: EXEC, cause: error.to_string() }))
    }

    async fn exec_run(
        &self,
        container_id: &str,
        argv: Vec<String>,
        timeout_ms: u64,
    ) -> Result<ExecOutcome, RuntimeError> {
        let exec = self.exec_made(container_id, argv).await?;
        let output = self.exec_started(&exec).await?;
        let mut tail = Tail::default();
        let limit = Duration::from_millis(timeout_ms);
        match timeout(limit, self.exec_followed(&exec, output, &mut tail)).await {
            Ok(Ok(exit_code)) => Ok(ExecOutcome { exit_code, output: tail.text() }),
            Ok(Err(error)) => {
                let _ = self.exec_killed(&exec).await;
                Err(error)
            }
            Err(_) => {
                self.exec_killed(&exec).await?;
                Err(RuntimeError::CommandTimeout { after_ms: timeout_ms, output: tail.text() })
            }
        }
    }

    async fn exec_made(&self, container_id: &str, argv: Vec<String>) -> Result<String, RuntimeError> {
        let config = ExecConfig {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(argv),
            ..ExecConfig::default()
        };
        let limit = self.deadlines().look;
        let made = self
            .call(EXEC, Thing::Container(container_id), limit, |docker| async move {
                docker.create_exec(container_id, config).await
            })
            .await?;
        Ok(made.id)
    }

    async fn exec_started(&self, exec: &str) -> Result<Output, RuntimeError> {
        let limit = self.deadlines().look;
        let started = self
            .call(EXEC, Thing::Exec(exec), limit, |docker| async move {
                docker.start_exec(exec, None::<StartExecOptions>).await
            })
            .await?;
        match started {
            StartExecResults::Attached { output, .. } => Ok(output),
            StartExecResults::Detached => Ok(futures_util::stream::empty().boxed()),
        }
    }

    /// Reads until the exit code is known.
    async fn exec_followed(&self, exec: &str, mut output: Output, tail: &mut Tail) -> Result<i64, RuntimeError> {
        let mut open = true;
        let mut pause = POLL_OPEN;
        let mut next_look = Instant::now() + pause;
        let code = loop {
            tokio::select! {
                chunk = output.next(), if open => match chunk {
                    Some(Ok(chunk)) => tail.push(chunk.as_ref()),
                    Some(Err(_)) | None => {
                        open = false;
                        pause = POLL_ENDED;
                        next_look = Instant::now();
                    }
                },
                () = sleep_until(next_look) => {
                    if let Some(code) = ended(&self.exec_looked_at(exec).await?) {
                        break code;
                    }
                    next_look = Instant::now() + pause;
                    pause = (pause * 2).min(POLL_OPEN);
                }
            }
        };
        let until = Instant::now() + DRAIN;
        while open && let Ok(Some(Ok(chunk))) = timeout_at(until, output.next()).await {
            tail.push(chunk.as_ref());
        }
        Ok(code)
    }

    async fn exec_looked_at(&self, exec: &str) -> Result<ExecInspectResponse, RuntimeError> {
        let limit = self.deadlines().look;
        self.call(EXEC, Thing::Exec(exec), limit, |docker| async move { docker.inspect_exec(exec).await }).await
    }

    /// Kills until the engine says that it ended. Also what had not begun yet: it may begin late.
    async fn exec_killed(&self, exec: &str) -> Result<(), RuntimeError> {
        within(EXEC, self.deadlines().look, async {
            loop {
                let seen = match self.exec_looked_at(exec).await {
                    // The container was removed, and its commands with it.
                    Err(RuntimeError::NotFound { .. }) => return Ok(()),
                    other => other?,
                };
                if ended(&seen).is_some() {
                    return Ok(());
                }
                if let (Some(pid @ 1..), Some(container)) = (seen.pid, seen.container_id.as_deref()) {
                    process::kill_exec(pid, container);
                }
                sleep(DRAIN).await;
            }
        })
        .await
    }
}

/// Before its start an exec is not running either, but has no code.
fn ended(seen: &ExecInspectResponse) -> Option<i64> {
    if seen.running == Some(true) { None } else { seen.exit_code }
}

/// The end of an output.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(OUTPUT_MAX);
        self.0.drain(..surplus);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = Tail::default();
        tail.push(b"begin");
        assert_eq!(tail.text(), "begin");
        tail.push(&[b'x'; OUTPUT_MAX]);
        tail.push(b"end");
        assert_eq!(tail.0.len(), OUTPUT_MAX);
        assert!(tail.text().ends_with("xend"));
    }

    #[test]
    fn a_code_counts_only_when_it_ended() {
        let seen = |running, exit_code| ExecInspectResponse { running, exit_code, ..ExecInspectResponse::default() };
        assert_eq!(ended(&seen(Some(true), None)), None);
        assert_eq!(ended(&seen(Some(true), Some(0))), None);
        assert_eq!(ended(&seen(Some(false), None)), None, "not started yet");
        assert_eq!(ended(&seen(Some(false), Some(3))), Some(3));
    }
}
