//! Whether the views can tell what was asked of them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::bundle::{self, Bundle};
use super::{CalibrationError, Fit, MIN_VIEWS, View};

/// Views whose corners lie within this share of the picture's width of each other, root mean
/// square, are one view taken twice.
const ALIKE: f64 = 0.02;

/// No corner is located better than this, whatever the residuals say, pixels: identical pictures
/// have identical errors, which do not show.
const CORNER_FLOOR: f64 = 0.1;

/// Deviation of the focal length, as a share of itself, that is refused.
const MAX_FOCAL_DEVIATION: f64 = 0.01;
/// The same, that is worth a word.
const GOOD_FOCAL_DEVIATION: f64 = 0.003;

/// Share of the picture's cells that should have seen a corner.
const GOOD_COVERAGE: f64 = 0.6;
/// Cells that the picture is divided into.
const CELLS: (usize, usize) = (8, 6);

/// Degrees between the board's normals in the most different views.
const GOOD_TILT: f64 = 30.0;

/// A reprojection error that is worth a word, pixels at 640 columns.
const GOOD_RMS: f64 = 0.7;

/// How well the views determine the lens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Views used.
    pub views: u32,
    /// Corners used.
    pub corners: u32,
    /// Root mean square distance between corners as found and as predicted, pixels.
    pub rms: f64,
    /// Standard deviation of the focal length, as a share of itself.
    pub focal_deviation: f64,
    /// Standard deviation of the principal point, pixels.
    pub centre_deviation: f64,
    /// Share of the picture (48 cells) in which some corner was seen.
    pub coverage: f64,
    /// Largest angle between the board's normals in two views, degrees.
    pub tilt_degrees: f64,
    /// Farthest distance of the board by its nearest.
    pub distance_ratio: f64,
}

/// What would make a calibration better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Advice {
    /// The board was held too much the same way.
    Tilt(f64),
    /// Parts of the picture never saw the board.
    Cover(f64),
    /// More pictures.
    More(u32),
    /// Corners are found badly.
    Sharpen(f64),
}

impl Advice {
    /// What a set that failed altogether needs.
    pub(super) fn all() -> Vec<Self> {
        vec![Self::Tilt(0.0), Self::Cover(0.0)]
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tilt(degrees) => {
                if *degrees > 0.0 {
                    write!(f, "The board's tilt differs by {degrees:.0} degrees at most: ")?;
                }
                f.write_str(
                    "tilt the board by 20 to 45 degrees, to the left, to the right, up and down.",
                )
            }
            Self::Cover(share) => {
                if *share > 0.0 {
                    let percent = 100.0 * share;
                    write!(f, "The board was seen in {percent:.0} % of the picture only: ")?;
                }
                f.write_str(
                    "bring it near enough to fill half of the picture, and into every corner of \
                     the picture.",
                )
            }
            Self::More(views) => {
                write!(f, "{views} pictures are few: take 10 to 20, each different.")
            }
            Self::Sharpen(rms) => write!(
                f,
                "Corners are off by {rms:.1} pixels: hold the board flat and still, and light it \
                 well."
            ),
        }
    }
}

/// Refuses sets of pictures that are all but one.
pub(super) fn refuse_alike(views: &[View], width: u32) -> Result<(), CalibrationError> {
    let limit = ALIKE * f64::from(width);
    let mut different: Vec<&View> = Vec::new();
    for view in views {
        if different.iter().all(|other| displacement(view, other) > limit) {
            different.push(view);
        }
    }
    if different.len() < MIN_VIEWS {
        let why = format!(
            "{} pictures show only {} different places of the board, at least {MIN_VIEWS} are \
             needed",
            views.len(),
            different.len()
        );
        return Err(CalibrationError::Undetermined { why, advice: Advice::all() });
    }
    Ok(())
}

/// How far apart two views of the board lie: root mean square of their corners' distances, pixels.
pub fn displacement(a: &View, b: &View) -> f64 {
    let apart: Vec<[f64; 2]> =
        a.corners.iter().zip(&b.corners).map(|(p, q)| [p[0] - q[0], p[1] - q[1]]).collect();
    bundle::rms(&apart)
}

pub(super) fn quality(solved: &Bundle, fits: &[Fit], width: u32, height: u32) -> Quality {
    let lens = &solved.intrinsics;
    let deviation = solved.deviation.max(CORNER_FLOOR);
    let of = |i: usize| deviation * solved.unit_covariance[(i, i)].max(0.0).sqrt();
    let mut seen = vec![false; CELLS.0 * CELLS.1];
    for corner in fits.iter().flat_map(|f| &f.corners) {
        let cell = |at: f64, size: u32, cells: usize| {
            ((at + 0.5) / f64::from(size) * cells as f64).clamp(0.0, cells as f64 - 1.0) as usize
        };
        let (x, y) = (cell(corner[0], width, CELLS.0), cell(corner[1], height, CELLS.1));
        seen[y * CELLS.0 + x] = true;
    }
    let normals: Vec<_> =
        solved.poses.iter().map(|p| p.rotation * nalgebra::Vector3::z()).collect();
    let mut tilt: f64 = 0.0;
    for (i, a) in normals.iter().enumerate() {
        for b in &normals[i + 1..] {
            tilt = tilt.max(a.dot(b).clamp(-1.0, 1.0).acos());
        }
    }
    let all: Vec<[f64; 2]> = fits.iter().flat_map(|f| f.residuals.iter().copied()).collect();
    let (near, far) = fits.iter().fold((f64::INFINITY, 0.0f64), |(near, far), f| {
        (near.min(f.distance), far.max(f.distance))
    });
    Quality {
        views: fits.len() as u32,
        corners: all.len() as u32,
        rms: bundle::rms(&all),
        focal_deviation: (of(0) / lens.fx).max(of(1) / lens.fy),
        centre_deviation: of(2).hypot(of(3)),
        coverage: seen.iter().filter(|s| **s).count() as f64 / seen.len() as f64,
        tilt_degrees: tilt.to_degrees(),
        distance_ratio: far / near,
    }
}

/// Refuses what is not determined; gives advice on what could be better.
pub(super) fn judge(quality: &Quality) -> Result<Vec<Advice>, CalibrationError> {
    let mut advice = Vec::new();
    let doubtful = quality.focal_deviation > GOOD_FOCAL_DEVIATION;
    if quality.tilt_degrees < GOOD_TILT {
        advice.push(Advice::Tilt(quality.tilt_degrees));
    }
    if quality.coverage < GOOD_COVERAGE {
        advice.push(Advice::Cover(quality.coverage));
    }
    if quality.views < 10 && (doubtful || quality.views < 8) {
        advice.push(Advice::More(quality.views));
    }
    if quality.rms > GOOD_RMS {
        advice.push(Advice::Sharpen(quality.rms));
    }
    if quality.focal_deviation.is_nan() || quality.focal_deviation > MAX_FOCAL_DEVIATION {
        if advice.is_empty() {
            advice = Advice::all();
        }
        let why = format!(
            "the focal length would be uncertain by {:.1} % (at most {:.0} % is accepted)",
            100.0 * quality.focal_deviation,
            100.0 * MAX_FOCAL_DEVIATION
        );
        return Err(CalibrationError::Undetermined { why, advice });
    }
    Ok(advice)
}
