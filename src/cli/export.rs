//! `posewire export`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::recover::{beside, create, trouble};
use super::{Failure, progress};
use crate::config::Config;
use crate::export::{Track, bvh, c3d, collect, csv, trc};
use crate::fault::Chain;
use crate::rotations::Upright;

#[derive(Args)]
pub(super) struct Export {
    /// The recording
    file: PathBuf,
    /// Format
    #[arg(long, value_name = "FORMAT")]
    to: Format,
    /// Where it goes; with several persons, their numbers go before the extension [default: beside
    /// the recording]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Only the person of this number
    #[arg(long, value_name = "N")]
    person: Option<u32>,
    /// Frames per second of TRC, C3D and BVH [default: the recording's]
    #[arg(long, value_name = "FPS")]
    rate: Option<f64>,
    /// Persons with fewer poses are left out
    #[arg(long, value_name = "N", default_value_t = 10)]
    least: usize,
}

/// What a recording is turned into.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Format {
    /// Markers for OpenSim: millimetres, y up
    Trc,
    /// Markers for biomechanics: millimetres, y up
    C3d,
    /// Everything as it was sent: a row for each person in each frame
    Csv,
    /// Bone rotations for animation: centimetres, y up, T-pose at rest
    Bvh,
}

impl Format {
    const fn extension(self) -> &'static str {
        match self {
            Self::Trc => "trc",
            Self::C3d => "c3d",
            Self::Csv => "csv",
            Self::Bvh => "bvh",
        }
    }
}

pub(super) fn export(args: &Export) -> Result<(), Failure> {
    if let Some(rate) = args.rate.filter(|rate| !(0.1..=1000.0).contains(rate)) {
        return Err(trouble(Path::new("--rate"), format!("{rate} must be 0.1 to 1000")));
    }
    let extension = args.to.extension();
    let out = args.out.clone().unwrap_or_else(|| beside(&args.file, "", extension));
    let read = |e| trouble(&args.file, Chain(&e));
    let (bar, recording) = progress::open(&args.file)?;
    if args.to == Format::Csv {
        let mut file = create(&out)?;
        let mut rows = 0;
        csv::header(&mut file).map_err(|e| trouble(&out, e))?;
        let collected = collect(recording, |frame| {
            let mut frame = frame.clone();
            frame.persons.retain(|p| args.person.is_none_or(|n| n == p.track));
            rows += frame.persons.len();
            csv::rows(&mut file, &frame)
        });
        bar.finish_and_clear();
        collected.map_err(read).inspect_err(|_| {
            // It would only be in the way of the next attempt.
            let _ = std::fs::remove_file(&out);
        })?;
        finish(&out, file)?;
        println!("{}: {rows} rows", out.display());
        return Ok(());
    }
    let collected = collect(recording, |_| Ok(()));
    bar.finish_and_clear();
    let (about, mut people) = collected.map_err(read)?;
    people.retain(|(_, track), samples| match args.person {
        Some(n) => *track == n,
        None => samples.len() >= args.least,
    });
    if people.is_empty() {
        let who = match args.person {
            Some(n) => format!("no pose of person {n}"),
            None => format!("nobody with at least {} poses (--least)", args.least),
        };
        return Err(trouble(&args.file, format!("holds {who}")));
    }
    let mount = about
        .and_then(|about| Config::from_toml(&about.config).ok())
        .and_then(|config| config.camera.mount);
    if mount.is_none() {
        log::warn!("the camera's pitch was not known (--pitch): it is taken to be level");
    }
    let upright = Upright::new(mount.map(|m| m.gravity()));
    let several = people.len() > 1;
    let cameras =
        people.keys().map(|(camera, _)| camera).collect::<std::collections::BTreeSet<_>>();
    let many_cameras = cameras.len() > 1;
    for ((camera, person), samples) in &people {
        let name = match (many_cameras, several) {
            (true, _) => beside(&out, &format!("-{camera}-{person}"), extension),
            (false, true) => beside(&out, &format!("-{person}"), extension),
            (false, false) => out.clone(),
        };
        let track = match Track::of(samples, args.rate, &upright) {
            Ok(track) => track,
            Err(error) => {
                log::warn!("person {person} is left out: {error}");
                continue;
            }
        };
        let mut file = create(&name)?;
        write(args.to, &name, &track, &mut file).map_err(|e| trouble(&name, e))?;
        finish(&name, file)?;
        let place = if track.placed { "" } else { ", place not known: the pelvis is the origin" };
        println!(
            "{}: person {person}, {} frames at {} per second{place}",
            name.display(),
            track.frames.len(),
            (track.rate * 1e3).round() / 1e3,
        );
    }
    Ok(())
}

fn write(format: Format, path: &Path, track: &Track, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Trc => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            trc::write(out, &name, track)
        }
        Format::C3d => c3d::write(out, track),
        Format::Bvh => bvh::write(out, track),
        // Written elsewhere, without a track.
        Format::Csv => Ok(()),
    }
}

fn finish(path: &Path, file: BufWriter<File>) -> Result<(), Failure> {
    file.into_inner().map(drop).map_err(|e| trouble(path, e.error()))
}
