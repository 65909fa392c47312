//! `posewire calibrate place`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::camera::Pictures;
use super::pictures::Input;
use super::{BoardArgs, pictures};
use crate::calibration::file::CameraFile;
use crate::calibration::pose::{BoardPlace, locate};
use crate::calibration::{Grey, View, corners};
use crate::capture;
use crate::cli::Failure;
use crate::decode::FrameDecoder;
use crate::fault::Chain;
use crate::lift::Mount;

#[derive(Args)]
pub(super) struct Place {
    /// A picture of the board (.jpg, .png), or a camera that sees it
    picture: String,
    /// The camera's calibration; the place is written into it
    #[arg(long, value_name = "FILE")]
    calibration: PathBuf,
    #[command(flatten)]
    board: BoardArgs,
    /// Where the board's origin (the corner with the arrows) is in the other frame
    #[arg(long, value_name = "X,Y,Z", default_value = "0,0,0", value_parser = three,
          allow_hyphen_values = true)]
    at: [f64; 3],
    /// How the board is turned there: roll, pitch and yaw about x, y and z; 0,0,0: it lies face
    /// up, its x along the frame's x
    #[arg(long, value_name = "R,P,Y", default_value = "0,0,0", value_parser = three,
          allow_hyphen_values = true)]
    turned: [f64; 3],
    /// Name of the other frame, whose z points up
    #[arg(long, value_name = "NAME", default_value = "world")]
    frame: String,
}

fn three(text: &str) -> Result<[f64; 3], String> {
    let numbers: Vec<f64> = text
        .split(',')
        .map(|part| part.trim().parse::<f64>().ok().filter(|v| v.is_finite()))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{text:?}: three numbers with commas between them"))?;
    numbers.try_into().map_err(|_| format!("{text:?}: three numbers with commas between them"))
}

pub(super) fn place(args: &Place) -> Result<(), Failure> {
    let board = args.board.board()?;
    let wrong = |problem: String| Failure::config(&Pictures(problem));
    let mut file = CameraFile::read(&args.calibration).map_err(|e| Failure::config(&e))?;
    let picture = one_picture(&args.picture).map_err(wrong)?;
    let (width, height) = (picture.width as u32, picture.height as u32);
    let lens = file.intrinsics;
    if u64::from(width) * u64::from(lens.height) != u64::from(height) * u64::from(lens.width) {
        return Err(wrong(format!(
            "the picture is {width}x{height}, the calibration holds for {}x{}",
            lens.width, lens.height
        )));
    }
    let corners =
        corners::find(&picture, &board).map_err(|e| wrong(format!("{}: {e}", args.picture)))?;
    let view = View { name: args.picture.clone(), corners };
    let place = BoardPlace { at: args.at, roll_pitch_yaw: args.turned };
    let lens = lens.resized(width, height);
    let (found, rms) = locate(&board, &lens, &view, &place, &args.frame).map_err(wrong)?;
    // What the lens was calibrated to is far below this; a wrong square or lens is not.
    if rms > 3.0 * f64::from(width.max(640)) / 640.0 {
        return Err(wrong(format!(
            "the corners are {rms:.1} px off any place of the board: is this the camera of {}, at \
             the same zoom?",
            args.calibration.display()
        )));
    }
    let mount = Mount::from_gravity(found.gravity());
    let [x, y, z] = found.translation;
    let [qw, qx, qy, qz] = found.rotation;
    file.extrinsics = Some(found);
    file.write(&args.calibration).map_err(|e| Failure::config(&e))?;
    println!(
        "{}: the camera is at {x:.3}, {y:.3}, {z:.3} m in {} ({rms:.2} px reprojection error)",
        args.calibration.display(),
        args.frame
    );
    println!(
        "it looks {:.1} degrees up and is turned by {:.1} degrees: this goes to the lifter",
        mount.pitch_degrees, mount.roll_degrees
    );
    println!(
        "for ROS: ros2 run tf2_ros static_transform_publisher --x {x:.4} --y {y:.4} --z {z:.4} \
         --qx {qx:.6} --qy {qy:.6} --qz {qz:.6} --qw {qw:.6} --frame-id {} --child-frame-id \
         {}_optical",
        args.frame, file.camera
    );
    Ok(())
}

/// A file's picture, or a camera's once it has settled.
fn one_picture(named: &str) -> Result<Grey, String> {
    match Input::of(&[named.to_owned()])? {
        Input::Files(paths) => pictures::read(paths.first().map_or(Path::new(named), |p| p)),
        Input::Moving(uri) => {
            let wrong = |e: capture::CaptureError| Chain(&e).to_string();
            let mut source = capture::open(&uri, &pictures::PLAIN).map_err(wrong)?;
            let settled =
                if source.describe().live { Duration::from_secs(1) } else { Duration::ZERO };
            let begun = std::time::Instant::now();
            loop {
                let frame = pictures::next(source.as_mut()).map_err(wrong)?;
                let frame = frame.ok_or_else(|| format!("{uri}: no picture came"))?;
                if begun.elapsed() >= settled {
                    return pictures::grey(&frame, &mut FrameDecoder::new());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_are_three_finite_numbers() {
        assert_eq!(three("1, -2.5,0"), Ok([1.0, -2.5, 0.0]));
        for wrong in ["", "1,2", "1,2,3,4", "1,2,x", "1,nan,2", "inf,0,0"] {
            assert!(three(wrong).is_err(), "{wrong}");
        }
    }
}
