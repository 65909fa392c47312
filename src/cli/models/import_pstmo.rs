//! `posewire models import --pstmo FILE.pth`: a checkpoint of the P-STMO authors'.
//!
//! A `.pth` file is PyTorch's; PyTorch reads it. The exporter (`models/train/lifter/`) is in the
//! binary and is run by the user's Python, which needs torch, onnx and numpy. What it writes is
//! loaded before it is called done.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{Args, ValueEnum};

use super::super::Failure;
use crate::engine::catalog::Catalog;
use crate::engine::tract::Tract;
use crate::engine::{EngineError, ModelKind, Precision};
use crate::lift::reference::ReferenceLifter;
use crate::lift::{LiftError, LiftSettings};

/// The exporter's files, written anew for each import.
const SCRIPTS: [(&str, &str); 2] = [
    ("import_reference.py", include_str!("../../../models/train/lifter/import_reference.py")),
    ("reference_pstmo.py", include_str!("../../../models/train/lifter/reference_pstmo.py")),
];
/// How the exporter says that a package is missing.
const PACKAGE_MISSING: i32 = 3;

#[derive(Args)]
pub(super) struct ImportPstmo {
    /// Checkpoint of the reference P-STMO (PSTMOS_no_refine_….pth, from its authors)
    #[arg(long, value_name = "FILE.pth", required = true)]
    pstmo: Option<PathBuf>,
    /// Which keypoints it was trained on; told by the file's name, where that says it
    #[arg(long, value_enum)]
    input: Option<Input>,
    /// Its temporal downsampling: every which frame of 50 per second (243 frames: 2, 81: 3, 27: 9)
    #[arg(long, value_name = "N")]
    tds: Option<u32>,
    /// Its name among the models; the file's by default
    #[arg(long)]
    name: Option<String>,
    /// The Python that has torch, onnx and numpy
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: PathBuf,
}

#[derive(ValueEnum, Clone, Copy)]
enum Input {
    Coco17,
    H36m17,
}

/// Why there is no new model.
#[derive(Debug, thiserror::Error)]
enum ImportError {
    #[error("say where the model is to go: --models DIR")]
    NoDirectory,
    #[error("no checkpoint is named: --pstmo FILE.pth")]
    NoFile,
    #[error("{path}: {problem}")]
    File { path: String, problem: String },
    #[error(
        "{python} cannot be run ({problem}): the conversion needs Python 3 with torch, onnx and \
         numpy; install it, or name it with --python"
    )]
    NoPython { python: String, problem: String },
    #[error("{0}")]
    PackageMissing(String),
    #[error("the checkpoint is not imported: {0}")]
    Refused(String),
    #[error("the imported model cannot be used")]
    Unusable(#[from] LiftError),
    #[error("the imported model cannot be found")]
    Lost(#[from] EngineError),
}

pub(super) fn import(args: &ImportPstmo, models: Option<&Path>) -> Result<(), Failure> {
    run(args, models).map_err(|e| Failure::config(&e))
}

fn run(args: &ImportPstmo, models: Option<&Path>) -> Result<(), ImportError> {
    let directory = models.ok_or(ImportError::NoDirectory)?;
    let checkpoint = args.pstmo.as_deref().ok_or(ImportError::NoFile)?;
    let file = |path: &Path, e: std::io::Error| ImportError::File {
        path: path.display().to_string(),
        problem: e.to_string(),
    };
    let checkpoint = checkpoint.canonicalize().map_err(|e| file(checkpoint, e))?;
    // Everything is made in a folder of its own and moved when it is known to be good, so that a
    // failed import leaves the models as they were.
    std::fs::create_dir_all(directory).map_err(|e| file(directory, e))?;
    let workshop = Workshop::new(directory).map_err(|e| file(directory, e))?;
    for (name, text) in SCRIPTS {
        let path = workshop.0.join(name);
        std::fs::write(&path, text).map_err(|e| file(&path, e))?;
    }
    let made = workshop.0.join("made");
    let mut command = Command::new(&args.python);
    // -B: no compiled copies beside the scripts.
    command.arg("-B").arg(workshop.0.join(SCRIPTS[0].0)).arg(&checkpoint).arg("--out").arg(&made);
    if let Some(input) = args.input {
        command.args(["--input", if matches!(input, Input::Coco17) { "coco17" } else { "h36m17" }]);
    }
    if let Some(tds) = args.tds {
        command.args(["--tds", &tds.to_string()]);
    }
    if let Some(name) = &args.name {
        command.args(["--name", name]);
    }
    let output = command.output().map_err(|e| ImportError::NoPython {
        python: args.python.display().to_string(),
        problem: e.to_string(),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        // Of a traceback the last line says what happened.
        let last = said.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("it said nothing");
        return Err(match output.status.code() {
            Some(PACKAGE_MISSING) => ImportError::PackageMissing(last.to_owned()),
            _ => ImportError::Refused(last.to_owned()),
        });
    }
    let catalog = Catalog::with_dir(&made)?;
    let listed = catalog.models().find(|m| m.manifest.starts_with(&*made.to_string_lossy()));
    let name = listed.map(|m| m.name.clone()).unwrap_or_default();
    let model = catalog.pick(ModelKind::Lifter, Some(&name))?;
    let given = model.lifter()?.input_skeleton;
    // Its golden windows are run, too.
    ReferenceLifter::new(&Tract, &model, Precision::F32, &LiftSettings::default(), given)?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(&made)
        .and_then(|all| all.map(|entry| entry.map(|e| e.path())).collect())
        .map_err(|e| file(&made, e))?;
    // The manifest last: a directory with it is a directory that can be used.
    files.sort_by_key(|f| f.extension().is_some_and(|e| e == "toml"));
    for from in files {
        let to = directory.join(from.file_name().unwrap_or_default());
        std::fs::rename(&from, &to).map_err(|e| file(&to, e))?;
    }
    print!("{}", String::from_utf8_lossy(&output.stdout));
    println!("in {}: posewire run --models {0} with `lifter = \"{name}\"`", directory.display());
    Ok(())
}

/// A hidden folder beside the models, on the same file system; gone when dropped.
struct Workshop(PathBuf);

impl Workshop {
    fn new(directory: &Path) -> std::io::Result<Self> {
        let path = directory.join(format!(".import-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.0) {
            log::warn!("{} cannot be removed: {e}", self.0.display());
        }
    }
}
