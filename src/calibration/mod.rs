//! What a camera's lens does, from pictures of a chessboard.
//!
//! Start with [`calibrate`]: corners of some views in, [`Intrinsics`] and how well they fit out.
//!
//! - [`board`]: the board, and how to print one;
//! - [`corners`]: the board's inner corners in a grey picture;
//! - `subpixel`: a corner between pixels;
//! - `homography`, `start`: closed forms that the solver starts from (Zhang 2000);
//! - `bundle`, [`lm`]: all parameters at once, least squares of the reprojection error;
//! - `verdict`: whether the views can tell what was asked of them, and what to do if not;
//! - [`pose`]: where the camera is, from one view of a board at a known place;
//! - [`mod@file`], [`import`]: our own file, and those of OpenCV, ROS and Kalibr;
//! - [`report`]: a picture of the residuals.
//!
//! Pixels: x right, y down, the centre of the top-left pixel is (0, 0). Board frame: x along the
//! columns of corners, y along the rows, z into the board; its origin is the first inner corner;
//! metres. The lens model is that of [`crate::camera`], which is OpenCV's.

pub mod board;
mod bundle;
pub mod corners;
pub mod file;
mod homography;
pub mod import;
pub mod lm;
pub mod pose;
pub mod report;
mod start;
mod subpixel;
#[cfg(test)]
mod tests;
mod verdict;

use crate::camera::Intrinsics;
use board::Board;

pub use verdict::{Advice, Quality, displacement};

/// A grey picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grey {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Row by row, no padding.
    pub pixels: Vec<u8>,
}

/// The corners of the board in one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Which picture, for words.
    pub name: String,
    /// In the order of [`Board::points`], pixels.
    pub corners: Vec<[f64; 2]>,
}

/// A calibration and what it rests on.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// The lens.
    pub intrinsics: Intrinsics,
    /// How well the views determine it.
    pub quality: Quality,
    /// The views that it rests on.
    pub views: Vec<Fit>,
    /// Names of views that contradict all others, with their error in pixels, and were left out.
    pub left_out: Vec<(String, f64)>,
    /// What would make it better.
    pub advice: Vec<Advice>,
}

/// How one view fits.
#[derive(Clone, Debug)]
pub struct Fit {
    /// Which picture.
    pub name: String,
    /// Corners as found, pixels.
    pub corners: Vec<[f64; 2]>,
    /// Found minus predicted, pixels.
    pub residuals: Vec<[f64; 2]>,
    /// Root mean square of the residuals' lengths, pixels.
    pub rms: f64,
    /// Angle between the board's normal and the viewing direction, degrees.
    pub tilt_degrees: f64,
    /// Distance of the board's origin, metres.
    pub distance: f64,
}

/// Why there is no calibration.
#[derive(Debug, thiserror::Error)]
pub enum CalibrationError {
    /// Fewer than [`MIN_VIEWS`] views.
    #[error(
        "{found} pictures show the whole board, at least {MIN_VIEWS} are needed (10 to 20 are \
         better)"
    )]
    TooFew {
        /// How many there are.
        found: usize,
    },
    /// A view does not have the board's number of corners.
    #[error("{name} has {found} corners, the board has {wanted}")]
    Corners {
        /// Which view.
        name: String,
        /// Its corners.
        found: usize,
        /// The board's.
        wanted: usize,
    },
    /// The views do not determine the lens.
    #[error("these pictures do not determine the lens: {why}. {}", advise(.advice))]
    Undetermined {
        /// What was seen.
        why: String,
        /// What to do.
        advice: Vec<Advice>,
    },
    /// No lens of this model explains the corners.
    #[error(
        "no lens of this model explains the corners ({rms:.1} px root mean square): is the board \
         flat, are all pictures from one camera at one zoom and focus, and is it no fisheye lens \
         (more than some 120 degrees)?"
    )]
    Misfit {
        /// Reprojection error, pixels.
        rms: f64,
    },
}

fn advise(advice: &[Advice]) -> String {
    let words: Vec<_> = advice.iter().map(ToString::to_string).collect();
    words.join(" ")
}

/// Views below this number are refused.
pub const MIN_VIEWS: usize = 5;

/// A reprojection error above this is no calibration, pixels at 640 columns; larger pictures may
/// have proportionally more.
const MAX_RMS: f64 = 2.0;

/// Finds the lens of a camera with pictures of `width` x `height` pixels.
///
/// # Errors
/// If the views do not determine it ([`CalibrationError::Undetermined`] says what to do), or if no
/// lens explains them.
pub fn calibrate(
    board: &Board,
    width: u32,
    height: u32,
    views: &[View],
) -> Result<Calibration, CalibrationError> {
    if views.len() < MIN_VIEWS {
        return Err(CalibrationError::TooFew { found: views.len() });
    }
    let points = board.points();
    for view in views {
        if view.corners.len() != points.len() {
            return Err(CalibrationError::Corners {
                name: view.name.clone(),
                found: view.corners.len(),
                wanted: points.len(),
            });
        }
    }
    verdict::refuse_alike(views, width)?;

    let mut used: Vec<&View> = views.iter().collect();
    let mut left_out = Vec::new();
    let (solved, fits) = loop {
        let solved = bundle::solve(&points, width, height, &used)
            .map_err(|why| CalibrationError::Undetermined { why, advice: Advice::all() })?;
        let fits = bundle::fits(&points, &solved, &used);
        // A picture that was blurred or whose corners were mistaken has many times the error of
        // the others. Never more than a fifth of them: otherwise the others may be wrong.
        let mut errors: Vec<f64> = fits.iter().map(|f| f.rms).collect();
        errors.sort_unstable_by(f64::total_cmp);
        let limit = (4.0 * errors[errors.len() / 2]).max(0.3);
        let worst = (0..fits.len()).max_by(|&a, &b| fits[a].rms.total_cmp(&fits[b].rms));
        match worst {
            Some(i)
                if fits[i].rms > limit
                    && used.len() > MIN_VIEWS
                    && (left_out.len() + 1) * 5 <= views.len() =>
            {
                left_out.push((used.remove(i).name.clone(), fits[i].rms));
            }
            _ => break (solved, fits),
        }
    };

    let quality = verdict::quality(&solved, &fits, width, height);
    if quality.rms > MAX_RMS * (f64::from(width.max(height)) / 640.0).max(1.0) {
        return Err(CalibrationError::Misfit { rms: quality.rms });
    }
    let advice = verdict::judge(&quality)?;
    Ok(Calibration { intrinsics: solved.intrinsics, quality, views: fits, left_out, advice })
}
