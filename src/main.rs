//! Parse, call, return an exit code.

fn main() -> std::process::ExitCode {
    posewire::cli::main()
}
