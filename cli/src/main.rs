//! The `apg` binary.

fn main() -> std::process::ExitCode {
    cli::commands::main()
}
