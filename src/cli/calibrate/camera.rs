//! `posewire calibrate camera`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::pictures::Input;
use super::{BoardArgs, collect, default_path};
use crate::calibration::file::CameraFile;
use crate::calibration::{self, report};
use crate::cli::Failure;
use crate::cli::recover::trouble;

#[derive(Args)]
pub(super) struct Camera {
    /// Pictures of the board (.jpg, .png) or a folder of them; or a camera or clip, before which
    /// the board is or was moved
    #[arg(required = true, value_name = "PICTURES")]
    pictures: Vec<String>,
    #[command(flatten)]
    board: BoardArgs,
    /// Name of the camera
    #[arg(short, long, value_name = "NAME", default_value = "camera")]
    camera: String,
    /// Where the calibration goes [default: calib/CAMERA.toml]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where the picture of the residuals goes [default: beside the calibration, .svg]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// From a camera or clip: so many different views
    #[arg(long, value_name = "N", default_value_t = 20)]
    views: usize,
    /// From a camera: no longer than this
    #[arg(long, value_name = "S", default_value_t = 180.0)]
    seconds: f64,
}

/// What is wrong with the pictures, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Pictures(pub(super) String);

pub(super) fn camera(args: &Camera) -> Result<(), Failure> {
    let board = args.board.board()?;
    let wrong = |problem: String| Failure::config(&Pictures(problem));
    let collected = match Input::of(&args.pictures).map_err(wrong)? {
        Input::Files(paths) => collect::from_files(&paths, &board),
        Input::Moving(uri) => {
            let limit = Duration::from_secs_f64(args.seconds.clamp(1.0, 1e6));
            collect::from_moving(&uri, &board, args.views.max(calibration::MIN_VIEWS), limit)
        }
    }
    .map_err(wrong)?;
    let (width, height) = collected.size;
    let found = calibration::calibrate(&board, width, height, &collected.views)
        .map_err(|e| Failure::config(&e))?;

    let out = args.out.clone().unwrap_or_else(|| default_path(&args.camera));
    let file = CameraFile {
        camera: args.camera.clone(),
        origin: format!(
            "posewire {} calibrate camera, board {}x{}, squares of {} mm",
            env!("CARGO_PKG_VERSION"),
            board.columns,
            board.rows,
            args.board.square
        ),
        intrinsics: found.intrinsics,
        quality: Some(found.quality),
        extrinsics: None,
    };
    file.write(&out).map_err(|e| Failure::config(&e))?;
    let picture = args.report.clone().unwrap_or_else(|| out.with_extension("svg"));
    std::fs::write(&picture, report::svg(&found)).map_err(|e| trouble(&picture, e))?;

    for (name, rms) in &found.left_out {
        log::warn!("{name} was left out: it is {rms:.2} px off what all others agree on");
    }
    let (lens, quality) = (&found.intrinsics, &found.quality);
    let fov = |size: u32, f: f64| 2.0 * (f64::from(size) / (2.0 * f)).atan().to_degrees();
    println!(
        "{}: {width}x{height}, {} views, {:.3} px reprojection error (root mean square)",
        out.display(),
        quality.views,
        quality.rms
    );
    println!(
        "focal length {:.1}, {:.1} px ± {:.2} % ({:.1} x {:.1} degrees without distortion), centre \
         {:.1}, {:.1} ± {:.1} px",
        lens.fx,
        lens.fy,
        100.0 * quality.focal_deviation,
        fov(width, lens.fx),
        fov(height, lens.fy),
        lens.cx,
        lens.cy,
        quality.centre_deviation
    );
    println!("distortion k1 k2 p1 p2 k3: {:.5?}", lens.distortion);
    println!(
        "seen: {:.0} % of the picture, tilts that differ by {:.0} degrees; residuals: {}",
        100.0 * quality.coverage,
        quality.tilt_degrees,
        picture.display()
    );
    for advice in &found.advice {
        println!("it would be better: {advice}");
    }
    println!("use it: calibration = \"{}\" under [camera] in the configuration", out.display());
    Ok(())
}
