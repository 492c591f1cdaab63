//! Promise: Tab offers commands and the names of what runs, in the shells themselves, from a live server; and when no
//! server answers it offers what it knows without one and says nothing.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for a server to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bash's own way of asking, without a terminal: what it sets, the function it calls, what that leaves.
const BASH: &str = r#"
source <("$CTL" completion bash) || exit 1
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9; COMPREPLY=()
complete -p ctl >/dev/null || exit 1
_clap_complete_ctl ctl "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Zsh's completion needs a terminal; its function does not, if those it hands the result to are ours.
const ZSH: &str = r#"
compdef() { :; }
_describe() { print -l -- "${(@P)3}"; }
eval "$("$CTL" completion zsh)" || exit 1
words=("$@"); CURRENT=$#
_clap_dynamic_completer_ctl
"#;

/// The same as a file that zsh loads when it is first needed, as packages install it.
const ZSH_LOADED: &str = r#"
compdef() { :; }
_describe() { print -l -- "${(@P)3}"; }
"$CTL" completion zsh > "$HOME/_ctl" || exit 1
fpath=("$HOME"); autoload -Uz _ctl
words=("$@"); CURRENT=$#
_ctl
"#;

const FISH: &str = r#"
"$CTL" completion fish | source; or exit 1
complete --do-complete "$argv[1]"
"#;

/// A server without nodes, in a directory of its own.
struct Server {
    dir: tempfile::TempDir,
    child: Child,
}

impl Server {
    fn start() -> Server {
        let dir = tempfile::tempdir().expect("a directory");
        let child = Command::new(env!("CARGO_BIN_EXE_wherry"))
            .args([
                "orchestrator",
                "--bootstrap",
                "--data-dir",
                "data",
                "--run-dir",
                "run",
                "--seal-key",
                "keys/seal.key",
            ])
            .current_dir(dir.path())
            .env("WHERRY_LOG", "warn")
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let server = Server { dir, child };
        // ctl is called by this name, so that the scripts are those of `ctl`.
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ctl"), server.ctl()).expect("a link");
        server
    }

    fn ctl(&self) -> PathBuf {
        self.dir.path().join("ctl")
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/api.sock")
    }

    /// Applies a project of that name with services `web` and `db`, once the server answers.
    fn apply(&self, project: &str) {
        let file = self.dir.path().join(format!("{project}.yaml"));
        let text = format!("name: {project}\nservices:\n  web:\n    image: a\n  db:\n    image: a\n");
        std::fs::write(&file, text).expect("writes");
        let begun = Instant::now();
        loop {
            let mut command = Command::new(self.ctl());
            let told =
                command.arg("--socket").arg(self.socket()).args(["apply", "--no-wait", "-f"]).arg(&file).output();
            let Output { status, stderr, .. } = told.expect("it starts");
            if status.success() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}", String::from_utf8_lossy(&stderr));
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a shell offers at the end of the line, each with what stands beside it; it must say nothing else.
fn offered(mut shell: Command, ctl: &Path, socket: &Path) -> Vec<String> {
    shell.env("CTL", ctl).env("WHERRY_SOCKET", socket).env("HOME", ctl.parent().expect("a directory"));
    let Output { status, stdout, stderr } = shell.current_dir("/").output().expect("the shell is installed");
    assert!(stderr.is_empty() && status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    let lines = String::from_utf8(stdout).expect("text");
    lines.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn in_bash(line: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", BASH, "bash"]).args(line.split(' '));
    bash
}

fn in_zsh(script: &str, line: &str) -> Command {
    let mut zsh = Command::new("zsh");
    zsh.args(["-f", "-c", script, "zsh"]).args(line.split(' '));
    zsh
}

fn in_fish(line: &str) -> Command {
    let mut fish = Command::new("fish");
    fish.args(["--no-config", "-c", FISH, line]);
    fish
}

#[test]
fn shells_offer_commands_and_the_names_of_what_runs() {
    let server = Server::start();
    server.apply("shop");
    let check = |line: &str, names: &[&str]| {
        let shells = [
            ("bash", in_bash(line)),
            ("zsh", in_zsh(ZSH, line)),
            ("zsh, loaded", in_zsh(ZSH_LOADED, line)),
            ("fish", in_fish(line)),
        ];
        for (shell, command) in shells {
            let got = offered(command, &server.ctl(), &server.socket());
            let got: Vec<&str> = got.iter().map(|l| l.split(['\t', ':']).next().unwrap_or_default()).collect();
            assert_eq!(got, names, "{shell}: {line}");
        }
    };
    check("ctl rollo", &["rollout"]);
    check("ctl rollout un", &["undo"]);
    check("ctl logs ", &["db", "web"]);
    check("ctl logs shop/", &["shop/db", "shop/web"]);
    check("ctl scale w", &["web="]);
    check("ctl describe project s", &["shop"]);
    check("ctl ps -p s", &["shop"]);
    // Now two services have each name.
    server.apply("blog");
    check("ctl logs ", &["blog/db", "blog/web", "shop/db", "shop/web"]);
    check("ctl logs -p blog w", &["web"]);
}

#[test]
fn without_a_server_there_are_no_names_and_no_words_about_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let ctl = dir.path().join("ctl");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_ctl"), &ctl).expect("a link");
    // One socket that is not there, and one that accepts and never answers.
    let silent = dir.path().join("silent.sock");
    let _listens = std::os::unix::net::UnixListener::bind(&silent).expect("listens");
    for socket in [dir.path().join("absent.sock"), silent] {
        assert_eq!(offered(in_bash("ctl why w"), &ctl, &socket), [""; 0], "{}", socket.display());
        assert_eq!(offered(in_bash("ctl rollo"), &ctl, &socket), ["rollout"]);
    }
}
