//! `posewire models pull`.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::{Failure, disk, verified};
use crate::cli::progress;
use crate::download::{self, Limits};
use crate::engine::EngineError;
use crate::engine::offer::{self, Offer};
use crate::engine::spec::{hex, sha256};
use crate::fault::Exit;

#[derive(Args)]
pub(super) struct Pull {
    /// One of those that `models list` shows
    name: String,
    /// I have read the licence that is shown and keep to it
    #[arg(long)]
    accept_licence: bool,
    /// Fetch from here instead of the publisher: a mirror; its file must have the same digest
    #[arg(long)]
    url: Option<String>,
    /// Refuse files larger than this
    #[arg(long, value_name = "MB", default_value_t = 256)]
    limit: u64,
    /// Give up on a server that says nothing for this long
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    timeout: f64,
}

impl Pull {
    pub(super) fn run(&self, dir: Option<&Path>) -> Result<(), Failure> {
        let offer = self.offer()?;
        let spec = &offer.spec;
        let about = |problem: String| Failure::config(&spec.problem(problem));
        let Some(dir) = dir else {
            return Err(about("say with --models DIR where it is to go".to_owned()));
        };
        let timeout = Duration::try_from_secs_f64(self.timeout)
            .ok()
            .filter(|t| !t.is_zero())
            .ok_or_else(|| about(format!("--timeout {} is no time", self.timeout)))?;
        println!("{}: {}", spec.name, spec.licence);
        println!("    trained on: {}", spec.training_data);
        if !spec.commercial && !self.accept_licence {
            return Err(about(
                "it is not for every use: read the licence above and say --accept-licence"
                    .to_owned(),
            ));
        }
        fs::create_dir_all(dir).map_err(|e| disk(dir, format!("cannot be made: {e}")))?;
        let model = dir.join(format!("{}.onnx", spec.name));
        let manifest = dir.join(format!("{}.toml", spec.name));
        // What was fetched once is what is wanted for ever.
        let recorded = if manifest.exists() {
            Some(offer::read_manifest(&manifest).map_err(|e| Failure::config(&e))?)
        } else {
            None
        };
        if let Some(there) = recorded.as_ref().filter(|_| model.exists()) {
            there.bytes().map_err(|e| Failure::config(&e))?;
            println!("{} is there already", model.display());
            return Ok(());
        }
        let wanted = match &recorded {
            Some(there) => Some(there.sha256),
            None => offer.pinned.then_some(spec.sha256),
        };
        let fetched = dir.join(format!("{}.fetched", spec.name));
        let url = self.url.as_deref().unwrap_or(&offer.source.url);
        let limits = Limits { bytes: self.limit.saturating_mul(1_000_000), silence: timeout };
        fetch(url, &fetched, limits)?;
        let unpacked = match &offer.source.member {
            Some(member) => unpack(&fetched, member, limits.bytes),
            None => fs::read(&fetched).map_err(|e| format!("cannot be read: {e}")),
        };
        let bytes = unpacked.map_err(|problem| {
            // Nothing to resume: it is whole, and wrong.
            let _ = fs::remove_file(&fetched);
            about(format!("what {url} gave is not it: {problem}"))
        })?;
        let digest = sha256(&bytes);
        let _ = fs::remove_file(&fetched);
        if let Some(wanted) = wanted.filter(|w| *w != digest) {
            let whose = if recorded.is_some() {
                manifest.display().to_string()
            } else {
                "its manifest".to_owned()
            };
            return Err(about(format!(
                "what {url} gave is another file: its SHA-256 is {}, {whose} says {}. Nothing was \
                 kept. If the publisher replaced it and you trust the new one, remove the old \
                 manifest",
                hex(&digest),
                hex(&wanted)
            )));
        }
        let part = dir.join(format!("{}.onnx.new", spec.name));
        fs::write(&part, &bytes)
            .and_then(|()| fs::rename(&part, &model))
            .map_err(|e| disk(&model, format!("cannot be written: {e}")))?;
        if recorded.is_none() {
            fs::write(&manifest, offer.manifest(&digest))
                .map_err(|e| disk(&manifest, format!("cannot be written: {e}")))?;
        }
        let there = offer::read_manifest(&manifest).map_err(|e| Failure::config(&e))?;
        if let Err(e) = verified(&there) {
            let _ = fs::remove_file(&model);
            if recorded.is_none() {
                let _ = fs::remove_file(&manifest);
            }
            return Err(Failure::config(&*e));
        }
        let origin = if wanted.is_some() {
            "as expected"
        } else {
            "recorded in its manifest, and enforced from now on"
        };
        println!("{}: {} bytes, SHA-256 {} ({origin})", model.display(), bytes.len(), hex(&digest));
        println!("use it with --models {}", dir.display());
        Ok(())
    }

    fn offer(&self) -> Result<Offer, Failure> {
        let offers = offer::offers().map_err(|e| Failure::config(&e))?;
        let names: Vec<_> = offers.iter().map(|o| o.spec.name.clone()).collect();
        offers.into_iter().find(|o| o.spec.name == self.name).ok_or_else(|| {
            Failure::config(&EngineError::Model {
                model: self.name.clone(),
                problem: format!(
                    "it is not known where to fetch it; there are: {}. For another file: fetch it \
                     yourself and use `posewire models import`",
                    names.join(", ")
                ),
            })
        })
    }
}

/// Fetches with a bar where somebody watches.
fn fetch(url: &str, to: &Path, limits: Limits) -> Result<(), Failure> {
    let bar = progress::bytes();
    let mut began = None;
    let done = download::fetch(url, to, limits, &mut |have, of| {
        if began.is_none() {
            began = Some(have);
            if have > 0 {
                log::info!("going on after {have} bytes");
            }
            // Without the bytes of an earlier attempt, which took no time now.
            bar.reset_eta();
        }
        if let Some(of) = of {
            bar.set_length(of);
        }
        bar.set_position(have);
    });
    bar.finish_and_clear();
    // Networks recover: starting again may help.
    done.map_err(|e| Failure::new(Exit::Internal, &e))
}

/// The file of an archive whose path ends in `member`.
fn unpack(archive: &Path, member: &str, limit: u64) -> Result<Vec<u8>, String> {
    let file = File::open(archive).map_err(|e| format!("cannot be read: {e}"))?;
    let mut zip = zip::ZipArchive::new(file).map_err(|e| format!("no ZIP archive: {e}"))?;
    let names: Vec<String> = zip
        .file_names()
        .flatten()
        .filter(|n| n.ends_with(member))
        .map(|n| n.into_owned())
        .collect();
    let [name] = names.as_slice() else {
        return Err(format!("it holds {} files called {member}", names.len()));
    };
    let mut entry = zip.by_name(name).map_err(|e| format!("{name}: {e}"))?;
    let mut bytes = Vec::new();
    // What an archive says of its sizes need not be true.
    let n = entry
        .by_ref()
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("{name}: {e}"))?;
    if n as u64 > limit {
        return Err(format!("{name} is larger than {limit} bytes"));
    }
    Ok(bytes)
}
