//! The `orchestrator` program: hands the command line to the library. Decides nothing.

fn main() -> std::process::ExitCode {
    orchestrator::program::main(std::env::args_os())
}
