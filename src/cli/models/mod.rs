//! `posewire models`.

mod import_pstmo;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Failure;
use crate::engine::catalog::Catalog;

#[derive(Args)]
pub(super) struct Models {
    /// Directory of models beside the embedded ones
    #[arg(short, long, global = true, value_name = "DIR")]
    models: Option<PathBuf>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Add a model to the directory of models
    Import(Import),
}

/// What to import.
#[derive(Args)]
struct Import {
    #[command(flatten)]
    pstmo: import_pstmo::ImportPstmo,
}

pub(super) fn models(args: &Models) -> Result<(), Failure> {
    match &args.what {
        None => list(args),
        Some(What::Import(import)) => import_pstmo::import(&import.pstmo, args.models.as_deref()),
    }
}

fn list(args: &Models) -> Result<(), Failure> {
    let catalog = match &args.models {
        Some(dir) => Catalog::with_dir(dir).map_err(|e| Failure::config(&e))?,
        None => Catalog::embedded().map_err(|e| Failure::config(&e))?,
    };
    for model in catalog.models() {
        let commercial = if model.commercial { "" } else { " (no commercial use)" };
        println!("{}  {}  {}{commercial}", model.name, model.kind(), model.licence);
        println!("    trained on: {}", model.training_data);
    }
    Ok(())
}
