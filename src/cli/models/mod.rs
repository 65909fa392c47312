//! `posewire models`: which networks there are, what is known of them, and how more come in.

mod import_pstmo;
mod pull;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Failure;
use crate::engine::catalog::Catalog;
use crate::engine::import::{self, Family, Import};
use crate::engine::spec::{Asset, hex};
use crate::engine::tract::Tract;
use crate::engine::{
    Backend, EngineError, ModelKind, ModelSpec, Precision, TensorMut, TensorRef, offer,
};
use crate::lift::{LiftSettings, Lifter};

#[derive(Args)]
pub(super) struct Models {
    #[command(subcommand)]
    action: Option<Action>,
    /// Directory of models beside the embedded ones
    #[arg(short, long, value_name = "DIR", global = true)]
    models: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// What is known here (the default)
    List,
    /// Everything that one model's manifest says
    Info {
        /// As `list` shows it
        name: String,
    },
    /// Load models, compare their files with their digests and let them compute once
    Verify {
        /// One of them; all, if none is named
        name: Option<String>,
    },
    /// Write a manifest for an ONNX file of a known family, or convert a checkpoint of P-STMO's
    Import(Box<ImportArgs>),
    /// Fetch a public model from its publisher into the directory of --models
    Pull(pull::Pull),
}

#[derive(Args)]
struct ImportArgs {
    /// The ONNX file
    #[arg(required_unless_present = "pstmo", requires = "family", conflicts_with = "pstmo")]
    file: Option<PathBuf>,
    /// How it is fed and read
    #[arg(long = "as", id = "family", value_name = "FAMILY", requires = "file")]
    family: Option<Family>,
    #[command(flatten)]
    pstmo: import_pstmo::ImportPstmo,
    /// Width and height of the input, where the file leaves them open
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(usize, usize)>,
    /// Its publisher's licence, for the manifest
    #[arg(long)]
    licence: Option<String>,
    /// Its licence and training data allow commercial use
    #[arg(long)]
    commercial: bool,
    /// Replace a manifest that is there
    #[arg(long)]
    force: bool,
}

fn size(text: &str) -> Result<(usize, usize), String> {
    text.split_once('x')
        .and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)))
        .ok_or_else(|| "write it as 192x256".to_owned())
}

pub(super) fn models(args: &Models) -> Result<(), Failure> {
    match &args.action {
        None | Some(Action::List) => list(args),
        Some(Action::Info { name }) => info(&named(&catalog(args)?, name)?),
        Some(Action::Verify { name: Some(name) }) => verify(&named(&catalog(args)?, name)?),
        Some(Action::Verify { name: None }) => catalog(args)?.models().try_for_each(verify),
        Some(Action::Import(what)) => match (&what.file, what.family) {
            (Some(file), Some(family)) => bring(file, family, what),
            _ => import_pstmo::import(&what.pstmo, args.models.as_deref()),
        },
        Some(Action::Pull(what)) => what.run(args.models.as_deref()),
    }
}

fn catalog(args: &Models) -> Result<Catalog, Failure> {
    match &args.models {
        Some(dir) => Catalog::with_dir(dir),
        None => Catalog::embedded(),
    }
    .map_err(|e| Failure::config(&e))
}

fn named(catalog: &Catalog, name: &str) -> Result<ModelSpec, Failure> {
    catalog.models().find(|m| m.name == name).cloned().ok_or_else(|| {
        let names: Vec<_> = catalog.models().map(|m| m.name.as_str()).collect();
        Failure::config(&EngineError::Model {
            model: name.to_owned(),
            problem: format!("there is none of this name; there are: {}", names.join(", ")),
        })
    })
}

fn list(args: &Models) -> Result<(), Failure> {
    for model in catalog(args)?.models() {
        let commercial = if model.commercial { "" } else { " (no commercial use)" };
        println!("{}  {}  {}{commercial}", model.name, model.kind(), model.licence);
        println!("    trained on: {}", model.training_data);
    }
    let offers = offer::offers().map_err(|e| Failure::config(&e))?;
    let names: Vec<_> = offers.iter().map(|o| o.spec.name.as_str()).collect();
    println!("to be fetched with `posewire models pull NAME --models DIR`: {}", names.join(", "));
    Ok(())
}

fn info(model: &ModelSpec) -> Result<(), Failure> {
    let place = match &model.weights {
        Asset::Embedded(bytes) => format!("in the program, {} bytes", bytes.len()),
        Asset::File(path) => path.display().to_string(),
        Asset::Made(bytes) => format!("in memory, {} bytes", bytes.len()),
    };
    println!("name           {}", model.name);
    println!("kind           {}", model.kind());
    println!("file           {place}");
    println!("manifest       {}", model.manifest);
    println!("SHA-256        {}", hex(&model.sha256));
    println!("licence        {}", model.licence);
    println!("commercial use {}", if model.commercial { "yes" } else { "no" });
    println!("training data  {}", model.training_data);
    println!("trained        {}", model.trained);
    for (what, tensors) in [("input", model.inputs(1)), ("output", model.outputs(1))] {
        for tensor in tensors {
            println!("{what:<14} {} {:?}", tensor.name, tensor.shape);
        }
    }
    for (key, value) in &model.measured {
        println!("{key:<14} {value}");
    }
    if let Some(card) = &model.card {
        println!("\n{card}");
    }
    Ok(())
}

/// Loads a model and lets it compute. What it computes is compared where its manifest names a
/// golden file (lifters); other outputs need only be numbers.
fn verify(model: &ModelSpec) -> Result<(), Failure> {
    let what = verified(model).map_err(|e| Failure::config(&*e))?;
    println!("{}: ok ({what})", model.name);
    Ok(())
}

fn verified(model: &ModelSpec) -> Result<&'static str, Box<dyn std::error::Error>> {
    if model.kind() == ModelKind::Lifter {
        Lifter::new(&Tract, model, Precision::F32, &LiftSettings::default())?;
        let golden = "digest, shapes, and its golden windows";
        return Ok(if model.golden.is_some() { golden } else { "digest and shapes" });
    }
    let mut engine = Tract.load(model, Precision::F32, 1)?;
    let (inputs, outputs) = (model.inputs(1), model.outputs(1));
    let zeros: Vec<Vec<f32>> = inputs.iter().map(|t| vec![0.0; t.shape.iter().product()]).collect();
    let mut answers: Vec<Vec<f32>> =
        outputs.iter().map(|t| vec![f32::NAN; t.shape.iter().product()]).collect();
    let feed: Vec<_> =
        inputs.iter().zip(&zeros).map(|(t, data)| TensorRef { shape: &t.shape, data }).collect();
    let mut read: Vec<_> = outputs
        .iter()
        .zip(&mut answers)
        .map(|(t, data)| TensorMut { shape: &t.shape, data })
        .collect();
    engine.run(&feed, &mut read)?;
    if let Some((tensor, _)) =
        outputs.iter().zip(&answers).find(|(_, a)| !a.iter().all(|v| v.is_finite()))
    {
        let problem = format!("output {:?} holds values that are no numbers", tensor.name);
        return Err(model.problem(problem).into());
    }
    Ok("digest, shapes, and one computation")
}

fn bring(file: &Path, family: Family, what: &ImportArgs) -> Result<(), Failure> {
    let how = Import {
        family,
        name: what.pstmo.name.as_deref(),
        size: what.size,
        licence: what.licence.as_deref(),
        commercial: what.commercial,
    };
    let import::Imported { manifest, spec, converted } =
        import::describe(file, &how).map_err(|e| Failure::config(&e))?;
    verified(&spec).map_err(|e| Failure::config(&*e))?;
    let path = file.with_extension("toml");
    let network = converted.as_ref().map(|(path, bytes)| (path.as_path(), bytes.as_slice()));
    // The manifest last: it is what makes the network known.
    let files: Vec<_> =
        network.into_iter().chain([(path.as_path(), manifest.as_bytes())]).collect();
    for (path, _) in &files {
        if path.exists() && !what.force {
            return Err(disk(path, "is there already; --force replaces it".to_owned()));
        }
    }
    for (path, bytes) in files {
        std::fs::write(path, bytes).map_err(|e| disk(path, format!("cannot be written: {e}")))?;
    }
    if let Some((path, _)) = &converted {
        println!("{} written: the network, fed with planes of floats", path.display());
    }
    println!("{} written: a {} model called {:?}", path.display(), spec.kind(), spec.name);
    if let Some(note) = family.note().filter(|_| what.licence.is_none()) {
        println!("licence: {note}");
    }
    let dir = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    println!("use it with --models {}", dir.display());
    Ok(())
}

/// Something about a file.
fn disk(path: &Path, problem: String) -> Failure {
    Failure::config(&EngineError::Manifest { file: path.display().to_string(), problem })
}
