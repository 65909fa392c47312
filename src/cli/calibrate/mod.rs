//! `posewire calibrate`: what the lens does and where the camera is ([`crate::calibration`]).

mod camera;
mod collect;
mod int8;
mod pictures;
mod place;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Failure;
use super::recover::trouble;
use crate::calibration::board::{Board, Corners};
use crate::calibration::file::CameraFile;

#[derive(Args)]
pub(super) struct Calibrate {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Find a camera's lens from pictures of a printed chessboard
    Camera(camera::Camera),
    /// Draw a chessboard to be printed
    Board(DrawBoard),
    /// Find where the camera is, from a picture of the board lying at a known place
    Place(place::Place),
    /// Find the ranges of a network's activations, and write it in 8 bits
    Int8(int8::Int8),
    /// Turn a calibration of OpenCV, ROS or Kalibr into a file of ours
    Import(Import),
}

/// Which board.
#[derive(Args)]
struct BoardArgs {
    /// The board's inner corners, where four squares meet: one less than its squares each way
    #[arg(short, long, value_name = "COLUMNSxROWS", default_value = "9x6")]
    board: Corners,
    /// Side of a square, measured on the paper
    #[arg(long, value_name = "MM", default_value_t = 25.0)]
    square: f64,
}

impl BoardArgs {
    fn board(&self) -> Result<Board, Failure> {
        Board::new(self.board, self.square).map_err(|e| Failure::config(&e))
    }
}

#[derive(Args)]
struct DrawBoard {
    #[command(flatten)]
    board: BoardArgs,
    /// Where it goes (SVG, in millimetres: any browser prints it at 100 %)
    #[arg(short, long, value_name = "FILE", default_value = "board.svg")]
    out: PathBuf,
}

#[derive(Args)]
struct Import {
    /// The other program's file (.yaml)
    file: PathBuf,
    /// Name of the camera [default: what the file says]
    #[arg(short, long, value_name = "NAME")]
    camera: Option<String>,
    /// Where it goes [default: calib/CAMERA.toml]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn calibrate(args: &Calibrate) -> Result<(), Failure> {
    match &args.action {
        Action::Camera(args) => camera::camera(args),
        Action::Board(args) => draw_board(args),
        Action::Place(args) => place::place(args),
        Action::Int8(args) => int8::int8(args),
        Action::Import(args) => import(args),
    }
}

fn draw_board(args: &DrawBoard) -> Result<(), Failure> {
    let board = args.board.board()?;
    if !board.has_origin() {
        log::warn!(
            "this board looks the same upside down: it serves for the lens, not for the camera's \
             place; take an odd and an even number, as 9x6"
        );
    }
    std::fs::write(&args.out, board.svg()).map_err(|e| trouble(&args.out, e))?;
    println!(
        "{}: {}x{} squares of {} mm. Print it at 100 %, check the line with a ruler, glue it to \
         something flat.",
        args.out.display(),
        board.columns + 1,
        board.rows + 1,
        args.board.square
    );
    Ok(())
}

fn import(args: &Import) -> Result<(), Failure> {
    let mut file = CameraFile::read(&args.file).map_err(|e| Failure::config(&e))?;
    if let Some(camera) = &args.camera {
        file.camera.clone_from(camera);
    }
    let out = args.out.clone().unwrap_or_else(|| default_path(&file.camera));
    file.write(&out).map_err(|e| Failure::config(&e))?;
    println!("{}: {}", out.display(), file.origin);
    Ok(())
}

/// `calib/NAME.toml`, with what has no place in a file's name replaced.
fn default_path(camera: &str) -> PathBuf {
    let name: String = camera
        .chars()
        .map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect();
    let name = name.trim_matches(['_', '.']);
    let name = if name.is_empty() { "camera" } else { name };
    Path::new("calib").join(format!("{name}.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cameras_name_becomes_a_files_name_wherever_it_comes_from() {
        assert_eq!(default_path("front"), Path::new("calib/front.toml"));
        assert_eq!(default_path("/camera/image_raw"), Path::new("calib/camera_image_raw.toml"));
        assert_eq!(default_path("../../etc/x"), Path::new("calib/etc_x.toml"));
        assert_eq!(default_path("//"), Path::new("calib/camera.toml"));
    }
}
