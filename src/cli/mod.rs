//! What can be asked of posewire: one file per subcommand.

mod listen;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::fault::Exit;

#[derive(Parser)]
#[command(name = "posewire", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Receive packets and print them
    Listen(listen::Listen),
}

/// Why a subcommand ended, in words for the operator, and how the process is to end.
pub(crate) struct Failure {
    message: String,
    exit: Exit,
}

impl Failure {
    /// Something that starting again will not mend.
    pub(crate) fn config(error: &dyn std::error::Error) -> Self {
        Self { message: crate::fault::Chain(error).to_string(), exit: Exit::Config }
    }
}

/// Parses the command line, does what it asks and gives the exit code.
pub fn main() -> ExitCode {
    let Command::Listen(args) = Cli::parse().command;
    match listen::listen(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.message);
            ExitCode::from(failure.exit.code())
        }
    }
}
