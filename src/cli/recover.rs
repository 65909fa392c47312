//! `posewire recover`.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, progress};
use crate::fault::Exit;
use crate::recording;

#[derive(Args)]
pub(super) struct Recover {
    /// The recording that was cut off or damaged (any MCAP file); it is not changed
    file: PathBuf,
    /// Where the whole one goes [default: FILE with -recovered before its extension]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A file of the user's that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub(super) struct FileError {
    path: String,
    problem: String,
}

/// Why `path` could not be used, as a configuration error.
pub(super) fn trouble(path: &Path, problem: impl std::fmt::Display) -> Failure {
    let (path, problem) = (path.display().to_string(), problem.to_string());
    Failure::config(&FileError { path, problem })
}

/// What is read or written of a recording at once.
pub(super) const BUFFER_BYTES: usize = 1 << 18;

/// Opens a user's file.
pub(super) fn open_file(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|e| trouble(path, format!("cannot be opened: {e}")))
}

/// Opens a recording for reading.
pub(super) fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    Ok(BufReader::with_capacity(BUFFER_BYTES, open_file(path)?))
}

/// Makes a file that was not there.
pub(super) fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    let file = made.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            trouble(path, "is there already: delete it, or give another name with --out")
        }
        _ => trouble(path, format!("cannot be written: {e}")),
    })?;
    Ok(BufWriter::with_capacity(BUFFER_BYTES, file))
}

/// `a/b.mcap` with `word` and another extension: `a/b-word.ext`.
pub(super) fn beside(path: &Path, word: &str, extension: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}{word}.{extension}"))
}

pub(super) fn recover(args: &Recover) -> Result<(), Failure> {
    let out = args.out.clone().unwrap_or_else(|| beside(&args.file, "-recovered", "mcap"));
    let (bar, from) = progress::open(&args.file)?;
    let to = create(&out)?;
    let recovered = recording::recover(from, to)
        .map_err(|e| trouble(&args.file, crate::fault::Chain(&e)))
        .and_then(|(found, to)| {
            let file = to.into_inner().map_err(|e| trouble(&out, e.error()))?;
            file.sync_all().map_err(|e| trouble(&out, e))?;
            Ok(found)
        });
    bar.finish_and_clear();
    let found = recovered.inspect_err(|_| {
        // Half a file is no recovery.
        let _ = std::fs::remove_file(&out);
    })?;
    let seconds = found.span.map_or(0.0, |(a, b)| (b - a) as f64 * 1e-9);
    println!(
        "{}: {} messages over {seconds:.3} s{}{}",
        out.display(),
        found.messages,
        if found.cut { ", the end was cut off" } else { "" },
        if found.skipped > 0 {
            format!(", {} damaged piece(s) left out", found.skipped)
        } else {
            String::new()
        },
    );
    if let Some(stopped) = found.stopped {
        log::warn!("{}: nothing could be read beyond: {stopped}", args.file.display());
    }
    if found.messages == 0 {
        return Err(Failure::new(
            Exit::Config,
            &FileError {
                path: args.file.display().to_string(),
                problem: "holds no whole message".to_owned(),
            },
        ));
    }
    Ok(())
}
