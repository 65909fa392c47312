//! What a package holds beside the program: manual pages and completions, made of the command
//! line's own description.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure};

#[derive(Args)]
pub(super) struct Completions {
    /// For which shell
    shell: Shell,
}

/// Writes a shell's completions to standard output.
pub(super) fn completions(args: &Completions) -> Result<(), Failure> {
    clap_complete::generate(args.shell, &mut Cli::command(), "posewire", &mut io::stdout());
    Ok(())
}

#[derive(Args)]
pub(super) struct Man {
    /// Folder that the pages are written to: posewire.1, posewire-run.1, ...
    folder: PathBuf,
}

/// Writes the manual pages.
pub(super) fn man(args: &Man) -> Result<(), Failure> {
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), &args.folder))
        .map_err(|source| Failure::config(&NotWritten { folder: args.folder.clone(), source }))
}

#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", Path::display(folder))]
struct NotWritten {
    folder: PathBuf,
    source: io::Error,
}
