//! `posewire replay`: a recording's frames through the present pipeline.
//!
//! On one thread, frame after frame: so that equal frames, models and settings give equal packets.

mod compare;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use sha2::{Digest, Sha256};

use super::recover::{create, trouble};
use super::{Failure, start};
use crate::capture::replay::{Replay as ReplaySource, about};
use crate::capture::{FrameSource, Next, SourceOptions};
use crate::config::{Config, PublishConfig, SourceConfig};
use crate::detect::Detector;
use crate::detect::truth::TruthDetector;
use crate::engine::spec::hex;
use crate::fault::{Chain, Exit, Fault, Severity};
use crate::figure::truth::FRAME_RATE;
use crate::pose::{PoseFrame, StageStamps};
use crate::recording::About;
use crate::service::Signals;
use crate::wire::{Header, MAX_MESSAGE, PoseMessage, PoseOptions, Split};

use compare::Comparison;

#[derive(Args)]
pub(super) struct Replay {
    /// The recording
    file: PathBuf,
    /// Say how the poses differ from those that were recorded
    #[arg(long)]
    compare: bool,
    /// Write the packets to this file, one after the other, without stamps of this run: equal
    /// frames, models and settings give equal files
    #[arg(long, value_name = "FILE")]
    packets: Option<PathBuf>,
    /// Configuration file, instead of what the recording says
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of models, instead of the one that the recording names
    #[arg(short, long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Where poses go as well; may be given several times
    #[arg(short, long, value_name = "URI")]
    publish: Vec<String>,
    /// What computes: auto, tract (CPU) or tensorrt (GPU)
    #[arg(long, value_name = "NAME")]
    backend: Option<String>,
}

pub(super) fn replay(args: &Replay) -> Result<(), Failure> {
    let made = about(&args.file).map_err(|e| trouble(&args.file, Chain(&e)))?;
    let made = made.unwrap_or_else(|| {
        log::warn!("{}: it does not say how it was made", args.file.display());
        About::default()
    });
    let plan = config(args, &made)?.check().map_err(|e| Failure::config(&e))?;
    let mut prepared = start::prepare(&plan, |catalog, backend| match made.stand_in {
        Some(seed) => {
            let detector: Box<dyn Detector> = Box::new(TruthDetector::new(FRAME_RATE, seed));
            Ok(detector)
        }
        None => start::detector(&plan, catalog, backend),
    })?;
    tell_differences(&made, &prepared.about);

    let options = SourceOptions::default();
    let uri = args.file.display().to_string();
    let mut source =
        ReplaySource::open(&uri, &args.file, &options).map_err(|e| Failure::config(&e))?;
    log::info!("source: {}", source.describe().summary);
    let mut packets = Packets::new(prepared.options);
    let mut file = args.packets.as_deref().map(create).transpose()?;
    let mut comparison =
        args.compare.then(|| Comparison::open(&args.file, prepared.options)).transpose()?;
    let signals = Signals::install().map_err(|e| Failure::new(Exit::Internal, &e))?;
    let mut counts = Counts::default();

    while !signals.stop().is_raised() {
        let frame = match source.next(Duration::from_secs(1)) {
            Ok(Next::Frame(frame)) => frame,
            Ok(Next::Idle) => continue,
            Ok(Next::End) => break,
            Err(error) if error.severity() == Severity::Skip => {
                log::warn!("{}", Chain(&error));
                counts.bad += 1;
                continue;
            }
            Err(error) => return Err(Failure::config(&error)),
        };
        // Of a configuration with fewer cameras than the recording has, the last is taken.
        let last = prepared.pipelines.len().saturating_sub(1);
        let camera = usize::from(frame.camera).min(last);
        let Some(pipeline) = prepared.pipelines.get_mut(camera) else { break };
        let poses = match pipeline.step(&frame) {
            Ok(poses) => poses,
            Err(error) if error.severity() == Severity::Skip => {
                log::warn!("{}", Chain(&error));
                counts.bad += 1;
                continue;
            }
            Err(error) => return Err(Failure::config(&error)),
        };
        counts.frames += 1;
        counts.persons += poses.persons.len();
        for target in &mut prepared.targets {
            if let Err(error) = target.publisher.publish(&poses) {
                log::warn!("{}", Chain(&error));
            }
        }
        let message = packets.add(&poses, |datagram| match &mut file {
            Some(file) => file.write_all(datagram),
            None => Ok(()),
        });
        let message = message.map_err(|e| {
            trouble(args.packets.as_deref().unwrap_or(&args.file), format!("not written: {e}"))
        })?;
        if let Some(comparison) = &mut comparison {
            comparison.add(&message)?;
        }
    }
    for target in &mut prepared.targets {
        if let Err(error) = target.publisher.finish() {
            log::warn!("{}", Chain(&error));
        }
    }
    if let (Some(file), Some(path)) = (file, &args.packets) {
        file.into_inner().map_err(|e| trouble(path, e.error()))?;
    }
    println!(
        "replayed {} frames ({} bad), {} persons in all; SHA-256 of the packets {}",
        counts.frames,
        counts.bad,
        counts.persons,
        packets.digest(),
    );
    if let Some(mut comparison) = comparison {
        comparison.finish()?;
        comparison.tell();
    }
    Ok(())
}

#[derive(Default)]
struct Counts {
    frames: usize,
    bad: usize,
    persons: usize,
}

/// What the recording was made with, where the command line says nothing else.
fn config(args: &Replay, made: &About) -> Result<Config, Failure> {
    let mut config = match &args.config {
        Some(path) => Config::from_file(path).map_err(|e| Failure::config(&e))?,
        None => Config::from_toml(&made.config).map_err(|problem| {
            let advice = "give a configuration with --config";
            trouble(&args.file, format!("its settings are not understood ({problem}): {advice}"))
        })?,
    };
    let source =
        SourceConfig { uri: Some(args.file.display().to_string()), ..SourceConfig::default() };
    for camera in &mut config.cameras {
        camera.source = source.clone();
        camera.publish.clear();
    }
    if config.cameras.is_empty() {
        config.source = source;
    }
    config.record = Default::default();
    config.publish = args.publish.iter().map(|uri| PublishConfig { uri: uri.clone() }).collect();
    config.models.dir = args.models.clone().or(config.models.dir.take());
    config.engine.backend = args.backend.clone().or(config.engine.backend.take());
    Ok(config)
}

/// Says what will make a difference.
fn tell_differences(then: &About, now: &About) {
    if !then.version.is_empty() && then.version != now.version {
        log::warn!("recorded by posewire {}, this is {}", then.version, now.version);
    }
    if !then.backend.is_empty() && then.backend != now.backend {
        log::warn!("recorded with {}, replayed with {}", then.backend, now.backend);
    }
    for was in &then.models {
        let is = now.models.iter().find(|m| m.kind == was.kind);
        if then.stand_in.is_some() && was.kind != "lifter" {
            continue;
        }
        match is {
            Some(is) if is.sha256 == was.sha256 => {}
            Some(is) => log::warn!("another {}: {} then, {} now", was.kind, was.name, is.name),
            None => log::warn!("no {} now; {} then", was.kind, was.name),
        }
    }
}

/// Packets of a replay: those that would be sent, without what this run's clock says.
struct Packets {
    options: PoseOptions,
    number: u32,
    hash: Sha256,
}

impl Packets {
    fn new(options: PoseOptions) -> Self {
        Self { options: PoseOptions { keypoints: true, ..options }, number: 0, hash: Sha256::new() }
    }

    /// Gives the datagrams of one frame to `each`, and what they say.
    fn add(
        &mut self,
        poses: &PoseFrame,
        mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> std::io::Result<PoseMessage> {
        let poses = PoseFrame { stamps: StageStamps::default(), ..poses.clone() };
        let message = PoseMessage::from_frame(&poses, &self.options);
        let mut parts = Split::new(&message);
        let mut buffer = [0; MAX_MESSAGE];
        for _ in 0..parts.parts() {
            let header = Header { packet: self.number, ..Header::default() };
            self.number = self.number.wrapping_add(1);
            let part = parts.next(&header, &mut buffer).map_err(std::io::Error::other)?;
            if let Some(datagram) = part {
                self.hash.update(datagram);
                each(datagram)?;
            }
        }
        Ok(message)
    }

    fn digest(&self) -> String {
        hex(&self.hash.clone().finalize())
    }
}
