//! `posewire snapshot`: one picture of what the camera sees and what posewire makes of it.

mod draw;

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::Failure;
use super::single::Single;
use super::start;
use crate::capture::{self, FrameSource, Next};
use crate::config::CameraPlan;
use crate::decode::FrameDecoder;
use crate::fault::{Chain, Exit, Fault, Severity};
use crate::frame::Frame;
use crate::lift::Mount;
use crate::pipeline::Pipeline;
use crate::pose::PoseFrame;
use crate::time::Timestamp;

/// A live source that has given nothing for so long will not.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long one wait for a frame is.
const TURN: Duration = Duration::from_millis(100);
/// Nobody waits longer than this for one picture.
const MOST_SECONDS: f64 = 3_600.0;

#[derive(Args)]
pub(super) struct Snapshot {
    #[command(flatten)]
    single: Single,
    /// Which moment: seconds after the first frame. All frames before it are looked at, too: a
    /// lifter knows people by their past
    #[arg(long, value_name = "S", default_value_t = 1.5)]
    at: f64,
    /// The picture (PNG)
    #[arg(short, long, value_name = "FILE.png")]
    out: PathBuf,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error("--at {0}: give a number of seconds from 0 to {MOST_SECONDS}")]
    At(f64),
    #[error("{path}: {problem}")]
    File { path: String, problem: String },
    #[error("{uri}: no frame {0:.0} s long: is it the right source? (posewire devices, posewire check)", PATIENCE.as_secs_f64())]
    Silent { uri: String },
    #[error("{uri}: there is no usable frame in it")]
    Empty { uri: String },
    #[error("the picture cannot be drawn: {0}")]
    Picture(String),
}

impl SnapshotError {
    fn failure(&self) -> Failure {
        Failure::config(self)
    }
}

pub(super) fn snapshot(args: &Snapshot) -> Result<(), Failure> {
    if !(0.0..=MOST_SECONDS).contains(&args.at) {
        return Err(SnapshotError::At(args.at).failure());
    }
    let mut config = args.single.config()?;
    // A recording is looked through as fast as may be.
    config.source.realtime = false;
    config.source.repeat = false;
    let plan = config.check().map_err(|e| Failure::config(&e))?;
    let prepared =
        start::prepare(&plan, |catalog, backend| start::detector(&plan, catalog, backend))?;
    let pipelines = prepared.pipelines.into_iter();
    let Some((camera, mut pipeline)) = plan.cameras.iter().zip(pipelines).next() else {
        return Err(SnapshotError::Empty { uri: String::new() }.failure());
    };
    let mut source =
        capture::open(&camera.source, &camera.options).map_err(|e| Failure::config(&e))?;
    let (frame, poses) = look(source.as_mut(), &mut pipeline, camera, args.at)?;
    let picture = picture(&frame, &poses, camera)?;
    let failed = |problem: String| {
        SnapshotError::File { path: args.out.display().to_string(), problem }.failure()
    };
    let file = File::create(&args.out).map_err(|e| failed(e.to_string()))?;
    picture.write_png(BufWriter::new(file)).map_err(|e| failed(e.to_string()))?;
    let (persons, posed) =
        (poses.persons.len(), poses.persons.iter().filter(|p| p.pose.is_some()).count());
    if persons == 0 {
        log::warn!(
            "nobody was found in this frame: the picture is the camera's alone (--at S: another moment)"
        );
    }
    println!(
        "{}: frame {}, {persons} persons, {posed} of them in 3D",
        args.out.display(),
        poses.sequence
    );
    Ok(())
}

/// The frame at the moment `at`, in seconds after the first; of a recording that ends before, the
/// last one.
fn look(
    source: &mut dyn FrameSource,
    pipeline: &mut Pipeline,
    camera: &CameraPlan,
    at: f64,
) -> Result<(Frame, PoseFrame), Failure> {
    let uri = || camera.source.clone();
    let mut newest = None;
    let mut first: Option<Timestamp> = None;
    let mut heard = Instant::now();
    loop {
        let frame = match source.next(TURN) {
            Ok(Next::Frame(frame)) => frame,
            Ok(Next::Idle) if heard.elapsed() > PATIENCE => {
                return Err(SnapshotError::Silent { uri: uri() }.failure());
            }
            Ok(Next::Idle) => continue,
            Ok(Next::End) => break,
            Err(error) if error.severity() == Severity::Skip => {
                log::warn!("{}", Chain(&error));
                continue;
            }
            Err(error) => return Err(Failure::config(&error)),
        };
        heard = Instant::now();
        let began = *first.get_or_insert(frame.captured);
        match pipeline.step(&frame) {
            Ok(poses) => {
                let there = poses.captured.secs_since(began) >= at;
                // The one before goes back to the source: it has few buffers.
                newest = Some((frame, poses));
                if there {
                    break;
                }
            }
            Err(error) if error.severity() == Severity::Skip => log::warn!("{}", Chain(&error)),
            Err(error) => return Err(Failure::new(Exit::Config, &error)),
        }
    }
    newest.ok_or_else(|| SnapshotError::Empty { uri: uri() }.failure())
}

fn picture(
    frame: &Frame,
    poses: &PoseFrame,
    camera: &CameraPlan,
) -> Result<crate::canvas::Canvas, Failure> {
    let mut decoder = FrameDecoder::new();
    let image = decoder
        .decode(frame.image())
        .map_err(|e| SnapshotError::Picture(e.to_string()).failure())?;
    let gravity = camera.lift.mount.map(Mount::gravity);
    draw::draw(&image, poses, gravity)
        .map_err(|e| SnapshotError::Picture(Chain(&e).to_string()).failure())
}
