//! ctl: what a person or a script types to run a Compose file on a cluster.
//!
//! `args` is the whole command line, `command/` has one file per verb, `manifest/` turns Compose into a spec, `client` is
//! the operators' door, `output/` what is seen, `complete/` what Tab offers, `dev/` the one-node cluster: the only room that reaches server and agent.

pub mod args;
#[cfg(test)]
mod args_tests;
pub mod client;
pub mod command;
pub mod complete;
pub mod context;
pub mod dev;
pub mod exit;
pub mod host;
pub mod intake;
pub mod manifest;
pub mod name;
pub mod output;
pub mod place;
pub mod process;
pub mod session;
pub mod time;
pub mod token_text;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{
    Args, ClusterCommand, Command, ContextCommand, DnsCommand, NodeCommand, OperatorCommand, ServerCommand,
    TokenCommand,
};
use exit::{Exit, Failure};
use output::Terminal;
use output::style::{BAD, BOLD, paint};
use session::Session;

/// Runs a command line, `ctl` itself first, and returns what the shell is to see.
pub fn main(words: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.collect();
    if let Some(shell) = std::env::var_os(complete::ASKED).filter(|shell| !shell.is_empty()) {
        return complete(&shell.to_string_lossy(), &words);
    }
    let args = match Args::try_parse_from(words) {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report(&mut Terminal::of_process(), &Failure::refused(format!("ctl cannot start: {error}")));
            return Exit::Refused.into();
        }
    };
    let exit = match Session::of_process(args.target.clone()) {
        Ok(mut session) => runtime.block_on(Box::pin(run_and_report(&mut session, &args.command))),
        Err(failure) => {
            report(&mut Terminal::of_process(), &failure);
            failure.exit
        }
    };
    // A thread may still be waiting for standard input: nobody waits for it.
    runtime.shutdown_background();
    exit.into()
}

/// One command to its end; a failure is said.
pub async fn run_and_report(session: &mut Session, command: &Command) -> Exit {
    let ended = run(session, command).await;
    ended.unwrap_or_else(|failure| {
        report(&mut session.terminal, &failure);
        failure.exit
    })
}

/// One command to its end.
pub async fn run(session: &mut Session, command: &Command) -> Result<Exit, Failure> {
    match command {
        Command::Dev(args) => Box::pin(command::dev::run(session, args)).await,
        Command::Apply(args) => Box::pin(command::apply::run(session, args)).await,
        Command::Check(args) => command::check::run(session, args),
        Command::Plan(args) => Box::pin(command::plan::run(session, args)).await,
        Command::Get(args) => command::get::run(session, args).await,
        Command::Ps(args) => command::get::ps(session, args).await,
        Command::Describe(args) => command::describe::run(session, args).await,
        Command::Why(args) => command::why::run(session, args).await,
        Command::Events(args) => command::events::run(session, args).await,
        Command::Logs(args) => command::logs::run(session, args).await,
        Command::Scale(args) => Box::pin(command::scale::run(session, args)).await,
        Command::Rollout(args) => Box::pin(command::rollout::run(session, args)).await,
        Command::Delete(args) => Box::pin(command::delete::run(session, args)).await,
        Command::Token(args) => match &args.command {
            TokenCommand::Create(create) => command::token::create(session, create).await,
            TokenCommand::List(list) => command::token::list(session, list.output).await,
            TokenCommand::Revoke(revoke) => command::token::revoke(session, &revoke.id).await,
        },
        Command::Operator(args) => match &args.command {
            OperatorCommand::List(list) => command::operator::list(session, list.output).await,
            OperatorCommand::Revoke(revoke) => command::operator::revoke(session, &revoke.name).await,
        },
        Command::Server(args) => match &args.command {
            ServerCommand::Promote(one) => command::server::promote(session, &one.server).await,
            ServerCommand::Remove(one) => command::server::remove(session, &one.server).await,
        },
        Command::Node(args) => match &args.command {
            NodeCommand::Label(label) => command::node::label(session, label).await,
            NodeCommand::Revoke(revoke) => command::node::revoke(session, &revoke.node).await,
        },
        Command::Hosts(args) => match &args.command {
            ClusterCommand::Init(init) => Box::pin(command::cluster::init(session, init)).await,
            ClusterCommand::Join(join) => Box::pin(command::cluster::join(session, join)).await,
            ClusterCommand::RotateKey(rotate) => command::rotate_key::run(session, rotate).await,
        },
        Command::Context(args) => match &args.command {
            ContextCommand::Add(add) => command::context::add(session, add).await,
            ContextCommand::Use(name) => command::context::choose(session, &name.name),
            ContextCommand::List(list) => command::context::list(session, list.output),
            ContextCommand::Remove(name) => command::context::remove(session, &name.name),
        },
        Command::Dns(args) => match &args.command {
            DnsCommand::Lookup(lookup) => command::dns::lookup(session, lookup).await,
        },
        Command::Completion(args) => command::completion::run(session, args),
        Command::Version(args) => command::version::run(session, args).await,
        Command::Up(_) => Err(elsewhere("up", &["ctl apply", "ctl dev"])),
        Command::Down(_) => Err(elsewhere("down", &["ctl delete -f compose.yaml", "ctl dev down"])),
        Command::Run(_) => Err(elsewhere("run", &["ctl apply"])),
        Command::Stop(_) => Err(elsewhere("stop", &["ctl scale SERVICE=0", "ctl delete service SERVICE"])),
        Command::Rm(_) => Err(elsewhere("rm", &["ctl delete service SERVICE", "ctl delete project PROJECT"])),
        Command::Exec(_) => Err(elsewhere("exec", &["docker exec -it PROJECT-SERVICE-SLOT COMMAND"])),
        Command::Restart(_) => Err(elsewhere("restart", &["docker restart PROJECT-SERVICE-SLOT", "ctl apply"])),
        Command::Ls(_) => Err(elsewhere("ls", &["ctl get projects", "ctl ps"])),
        Command::Status(_) => Err(elsewhere("status", &["ctl ps", "ctl why SERVICE"])),
        Command::Build(_) => Err(elsewhere("build", &["ctl dev", "ctl apply"])),
        Command::Inspect(_) => Err(elsewhere("inspect", &["ctl describe service NAME", "ctl why NAME"])),
    }
}

/// Answers a shell in which Tab was pressed. What goes wrong then is not told: it would stand in the middle of a line.
fn complete(shell: &str, words: &[OsString]) -> ExitCode {
    let dir = std::env::current_dir().ok();
    let written = complete::answer(shell, words, dir.as_deref()).and_then(|told| io::stdout().write_all(&told));
    if written.is_ok() { Exit::Done.into() } else { Exit::Refused.into() }
}

/// The word of another program, with ours.
fn elsewhere(word: &str, ours: &[&str]) -> Failure {
    Failure::usage(format!("there is no `ctl {word}`")).hint(format!("use `{}`", ours.join("` or `")))
}

/// Clap's own words: help and version on stdout, problems on stderr.
fn usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    match (error.use_stderr(), printed) {
        (true, _) => Exit::Usage.into(),
        (false, _) => Exit::Done.into(),
    }
}

/// Says a failure on stderr: the thing and the cause, its details, what to do.
pub fn report(terminal: &mut Terminal, failure: &Failure) {
    if failure.message.is_empty() {
        return;
    }
    for place in &failure.places {
        terminal.say_wrapped("", place);
    }
    terminal.say_wrapped(&paint(BAD, "error: "), &failure.message);
    for line in &failure.detail {
        terminal.say_wrapped("  ", line);
    }
    for hint in &failure.hints {
        terminal.say_wrapped(&paint(BOLD, "hint: "), hint);
    }
}
