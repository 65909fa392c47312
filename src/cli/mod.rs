//! Being built.
pub mod listen;
/// Being built.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
