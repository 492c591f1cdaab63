//! The `agent` program: hands the command line to the library. Decides nothing.

fn main() -> std::process::ExitCode {
    agent::program::main(std::env::args_os())
}
