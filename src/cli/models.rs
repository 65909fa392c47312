//! `posewire models`.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::engine::catalog::Catalog;

#[derive(Args)]
pub(super) struct Models {
    /// Directory of models beside the embedded ones
    #[arg(short, long, value_name = "DIR")]
    models: Option<PathBuf>,
}

pub(super) fn models(args: &Models) -> Result<(), Failure> {
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
