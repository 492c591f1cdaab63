//! `ctl`: hands the command line to the library and its exit code to the shell. Decides nothing.

fn main() -> std::process::ExitCode {
    cli::main(std::env::args_os())
}
