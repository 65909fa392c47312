//! `posewire engines`: TensorRT's engines on this machine.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Subcommand};

use super::{Failure, progress};
use crate::config::{Config, Plan};
use crate::engine::ladder::RUNGS;
use crate::engine::tensorrt::cache::{Cache, Entry, What};
use crate::engine::tensorrt::{Machine, TensorRt};
use crate::engine::{Backend, Catalog, ModelKind, ModelSpec, Precision};
use crate::fault::Exit;
use crate::lift::LIKELY_PERSONS;

#[derive(Args)]
pub(super) struct Engines {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// What has been built, and whether it can be used here (the default)
    List,
    /// Delete engines, times of builds and choices that this machine cannot use
    Prune {
        /// Those that it can use, too
        #[arg(long)]
        all: bool,
    },
    /// Build what a configuration needs, so that `run` need not
    Build {
        /// The configuration; without one, what posewire would run by default
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

fn failed(problem: impl Into<String>) -> Failure {
    Failure::new(Exit::Config, &Wrong(problem.into()))
}

pub(super) fn engines(args: &Engines) -> Result<(), Failure> {
    let cache = Cache::usual().map_err(failed)?;
    match &args.action {
        None | Some(Action::List) => list(&cache),
        Some(Action::Prune { all }) => prune(&cache, *all),
        Some(Action::Build { config }) => build(&cache, config.as_deref()),
    }
}

/// Why a file is of no use on this machine.
fn useless(entry: &Entry, machine: &Machine) -> Option<String> {
    match &entry.key {
        Err(problem) => Some(problem.clone()),
        Ok(key) => machine.unfit(key),
    }
}

fn list(cache: &Cache) -> Result<(), Failure> {
    let machine = Machine::get();
    println!("{}", machine.describe());
    let entries = cache.entries().map_err(failed)?;
    if entries.is_empty() {
        println!("no engines in {}", cache.folder().display());
    }
    for entry in &entries {
        let name = entry.path.file_name().unwrap_or_default().to_string_lossy();
        let state = useless(entry, machine).unwrap_or_else(|| "usable".into());
        println!("{name}  {:.1} MB  {state}", entry.bytes as f64 / 1e6);
        if let Ok(key) = &entry.key {
            let what = match &key.what {
                What::Engine { batch, .. } => format!("{} person(s) in a call", batch[2]),
                What::Times => "times that builds measured, so that the next ones need not".into(),
                What::Choice { posewire, .. } => {
                    format!("the precision that posewire {posewire} found to be the fastest")
                }
            };
            println!("    {} on {}, {what}", key.place.library, key.place.gpu);
        }
    }
    Ok(())
}

fn prune(cache: &Cache, all: bool) -> Result<(), Failure> {
    let machine = Machine::get();
    for entry in cache.entries().map_err(failed)? {
        if let Some(why) = useless(&entry, machine).or(all.then(|| "as asked".into())) {
            std::fs::remove_file(&entry.path)
                .map_err(|e| failed(format!("cannot delete {}: {e}", entry.path.display())))?;
            println!("deleted {} ({why})", entry.path.display());
        }
    }
    Ok(())
}

/// The networks that a plan runs, each with the number of persons in a call.
fn wanted(plan: &Plan) -> Result<Vec<(ModelSpec, usize)>, Failure> {
    let catalog = match &plan.models.dir {
        Some(dir) => Catalog::with_dir(dir),
        None => Catalog::embedded(),
    };
    let catalog = catalog.map_err(|e| Failure::config(&e))?;
    let detector = catalog.detector(plan.models.detector()).map_err(|e| Failure::config(&e))?;
    let lifter = catalog
        .pick(ModelKind::Lifter, plan.models.lifter.as_deref())
        .map_err(|e| Failure::config(&e))?;
    let mut wanted: Vec<_> = detector.all().map(|model| (model.clone(), 1)).collect();
    // A lifter as whole windows: TensorRt::load_lifter.
    wanted.extend([(lifter.clone(), 1), (lifter, LIKELY_PERSONS)]);
    Ok(wanted)
}

fn build(cache: &Cache, config: Option<&Path>) -> Result<(), Failure> {
    let config = match config {
        Some(path) => Config::from_file(path).map_err(|e| Failure::config(&e))?,
        None => Config::default(),
    };
    let plan = config.check().map_err(|e| Failure::config(&e))?;
    TensorRt::default().check().map_err(|e| Failure::config(&e))?;
    let machine = Machine::get();
    let precisions = if plan.fastest_precision { &RUNGS[..] } else { &[plan.precision] };
    for precision in precisions {
        for (model, persons) in wanted(&plan)? {
            if model.lifter().is_ok() && machine.fused(&model, *precision, persons).is_ok() {
                let precision = precision.name();
                println!(
                    "{} {precision} for {persons}: by our own kernels, nothing to build",
                    model.name
                );
                continue;
            }
            match one(cache, machine, &model, *precision, persons) {
                // Another one will be chosen.
                Err(e) if plan.fastest_precision => println!("passed over: {}", e.message),
                done => done?,
            }
        }
    }
    Ok(())
}

fn one(
    cache: &Cache,
    machine: &Machine,
    model: &ModelSpec,
    precision: Precision,
    persons: usize,
) -> Result<(), Failure> {
    let computed = TensorRt::default().precision(model, precision);
    let title = format!("{} {} for {persons}", model.name, computed.name());
    let bar = progress::steps();
    bar.set_prefix(title.clone());
    let begun = Instant::now();
    let made =
        machine.plan(model, precision, persons, Ok(cache), None, &mut |phase, step, steps| {
            if !phase.is_empty() {
                bar.set_message(phase.to_owned());
                bar.set_length(steps.into());
                bar.set_position(step.into());
            }
            true
        });
    bar.finish_and_clear();
    match made.map_err(|e| Failure::config(&e))?.kept {
        None => println!("{title}: there already"),
        Some(kept) => {
            let path = kept.map_err(failed)?;
            println!("{title}: {:.1} s, {}", begun.elapsed().as_secs_f64(), path.display());
        }
    }
    Ok(())
}
