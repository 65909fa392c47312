//! All unknowns at once: the lens and the board's pose in every view, least squares of the
//! distance between the corners as found and as predicted.

use nalgebra::{DMatrix, DVector, Rotation3, SMatrix, SVector, Vector3};

use super::homography::homography;
use super::lm::{self, Problem};
use super::start::{self, Pose};
use super::{Fit, View};
use crate::camera::Intrinsics;

/// fx, fy, cx, cy, k1, k2, p1, p2, k3.
pub(super) const LENS: usize = 9;
/// Rotation vector and translation.
const POSE: usize = 6;

const ITERATIONS: usize = 100;

/// How many standard deviations of improvement k3 must bring to be used: without, it is 0. An
/// ill-determined k3 bends the picture's borders, where no corner ever was.
const K3_SIGNIFICANCE: f64 = 4.0;

/// The lens and the board's poses.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub lens: [f64; LENS],
    pub poses: Vec<Pose>,
}

/// What came out.
#[derive(Clone, Debug)]
pub(super) struct Bundle {
    pub intrinsics: Intrinsics,
    pub poses: Vec<Pose>,
    /// Covariance of the lens's parameters for corners of one pixel's deviation; those that were
    /// not estimated have zeros.
    pub unit_covariance: SMatrix<f64, LENS, LENS>,
    /// Standard deviation of a corner's coordinate, from the residuals.
    pub deviation: f64,
}

/// The sum of squares.
pub(super) struct Reprojection<'a> {
    pub points: &'a [[f64; 2]],
    pub views: &'a [&'a View],
    /// Which parameters of the lens are unknown.
    pub free: [bool; LENS],
}

/// Everything about one corner: residual, and its derivatives by lens and pose.
type Row = SMatrix<f64, 2, { LENS + POSE }>;

/// The predicted pixel, and its derivatives if asked for. `None` behind the camera.
fn project(
    lens: &[f64; LENS],
    pose: &Pose,
    point: [f64; 2],
    derivatives: Option<&mut Row>,
) -> Option<[f64; 2]> {
    let &[fx, fy, cx, cy, k1, k2, p1, p2, k3] = lens;
    let turned = pose.rotation * Vector3::new(point[0], point[1], 0.0);
    let p = turned + pose.translation;
    if p.z <= 1e-6 {
        return None;
    }
    let (u, v) = (p.x / p.z, p.y / p.z);
    let r2 = u * u + v * v;
    let radial = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3));
    let x = u * radial + 2.0 * p1 * u * v + p2 * (r2 + 2.0 * u * u);
    let y = v * radial + p1 * (r2 + 2.0 * v * v) + 2.0 * p2 * u * v;
    if let Some(d) = derivatives {
        let (r4, r6) = (r2 * r2, r2 * r2 * r2);
        // By r2: of the radial factor.
        let slope = k1 + 2.0 * k2 * r2 + 3.0 * k3 * r4;
        let xu = radial + 2.0 * u * u * slope + 2.0 * p1 * v + 6.0 * p2 * u;
        let xv = 2.0 * u * v * slope + 2.0 * p1 * u + 2.0 * p2 * v;
        let yu = 2.0 * u * v * slope + 2.0 * p1 * u + 2.0 * p2 * v;
        let yv = radial + 2.0 * v * v * slope + 6.0 * p1 * v + 2.0 * p2 * u;
        let by_lens = [
            [x, 0.0],
            [0.0, y],
            [1.0, 0.0],
            [0.0, 1.0],
            [fx * u * r2, fy * v * r2],
            [fx * u * r4, fy * v * r4],
            [fx * 2.0 * u * v, fy * (r2 + 2.0 * v * v)],
            [fx * (r2 + 2.0 * u * u), fy * 2.0 * u * v],
            [fx * u * r6, fy * v * r6],
        ];
        for (i, [dx, dy]) in by_lens.into_iter().enumerate() {
            d[(0, i)] = dx;
            d[(1, i)] = dy;
        }
        let iz = 1.0 / p.z;
        let by_point = |du: f64, dv: f64, f: f64| {
            Vector3::new(f * du * iz, f * dv * iz, -f * (du * u + dv * v) * iz)
        };
        for (row, by) in [by_point(xu, xv, fx), by_point(yu, yv, fy)].into_iter().enumerate() {
            // A small rotation w before the pose's own moves the point by w x turned.
            let by_rotation = turned.cross(&by);
            for i in 0..3 {
                d[(row, LENS + i)] = by_rotation[i];
                d[(row, LENS + 3 + i)] = by[i];
            }
        }
    }
    Some([fx * x + cx, fy * y + cy])
}

impl Problem for Reprojection<'_> {
    type State = State;

    fn unknowns(&self) -> usize {
        LENS + POSE * self.views.len()
    }

    fn cost(&self, at: &State) -> f64 {
        let mut sum = 0.0;
        for (view, pose) in self.views.iter().zip(&at.poses) {
            for (&point, corner) in self.points.iter().zip(&view.corners) {
                let Some([x, y]) = project(&at.lens, pose, point, None) else {
                    return f64::INFINITY;
                };
                sum += (x - corner[0]).powi(2) + (y - corner[1]).powi(2);
            }
        }
        if sum.is_finite() { sum / 2.0 } else { f64::INFINITY }
    }

    fn linearise(&self, at: &State, jtj: &mut DMatrix<f64>, jtr: &mut DVector<f64>) {
        for (n, (view, pose)) in self.views.iter().zip(&at.poses).enumerate() {
            let mut square = SMatrix::<f64, { LENS + POSE }, { LENS + POSE }>::zeros();
            let mut slope = SVector::<f64, { LENS + POSE }>::zeros();
            for (&point, corner) in self.points.iter().zip(&view.corners) {
                let mut row = Row::zeros();
                let Some([x, y]) = project(&at.lens, pose, point, Some(&mut row)) else {
                    continue;
                };
                for (i, free) in self.free.iter().enumerate() {
                    if !free {
                        row.column_mut(i).fill(0.0);
                    }
                }
                let residual = SVector::<f64, 2>::new(x - corner[0], y - corner[1]);
                square += row.transpose() * row;
                slope += row.transpose() * residual;
            }
            let place = |i: usize| if i < LENS { i } else { POSE * n + i };
            for i in 0..LENS + POSE {
                jtr[place(i)] += slope[i];
                for j in 0..LENS + POSE {
                    jtj[(place(i), place(j))] += square[(i, j)];
                }
            }
        }
    }

    fn moved(&self, at: &State, step: &DVector<f64>) -> State {
        let mut next = at.clone();
        for (i, value) in next.lens.iter_mut().enumerate().filter(|(i, _)| self.free[*i]) {
            *value += step[i];
        }
        for (n, pose) in next.poses.iter_mut().enumerate() {
            let part = |i: usize| {
                let at = LENS + POSE * n + i;
                Vector3::new(step[at], step[at + 1], step[at + 2])
            };
            pose.rotation = Rotation3::new(part(0)) * pose.rotation;
            // Thousands of small products would bend it.
            pose.rotation.renormalize();
            pose.translation += part(3);
        }
        next
    }
}

fn to_intrinsics(lens: &[f64; LENS], width: u32, height: u32) -> Intrinsics {
    let &[fx, fy, cx, cy, k1, k2, p1, p2, k3] = lens;
    Intrinsics { width, height, fx, fy, cx, cy, distortion: [k1, k2, p1, p2, k3] }
}

pub(super) fn from_intrinsics(lens: &Intrinsics) -> [f64; LENS] {
    let [k1, k2, p1, p2, k3] = lens.distortion;
    [lens.fx, lens.fy, lens.cx, lens.cy, k1, k2, p1, p2, k3]
}

/// Solves for everything.
///
/// # Errors
/// What makes it impossible, in words.
pub(super) fn solve(
    points: &[[f64; 2]],
    width: u32,
    height: u32,
    views: &[&View],
) -> Result<Bundle, String> {
    let homographies: Vec<_> = views
        .iter()
        .map(|view| {
            homography(points, &view.corners)
                .ok_or_else(|| format!("the corners of {} are not those of a plane", view.name))
        })
        .collect::<Result<_, _>>()?;
    // The closed form knows no distortion: a wide lens can lead it astray, so that some plain
    // guesses start beside it. The best goes on.
    let closed = start::focal_lengths(&homographies, width, height);
    let guesses =
        [40.0, 65.0, 95.0, 120.0].map(|degrees| Intrinsics::from_fov(width, height, degrees));
    // Step by step, so that coefficients of high order do not take up what the focal length has
    // not explained yet.
    let mut free = [true, true, true, true, true, false, false, false, false];
    let rough = Reprojection { points, views, free };
    let mut best: Option<lm::Solved<State>> = None;
    for first in closed.into_iter().chain(guesses) {
        let poses = homographies.iter().map(|h| start::pose(h, &first)).collect();
        let Some(poses) = poses else { continue };
        let state = State { lens: from_intrinsics(&first), poses };
        let solved = lm::minimise(&rough, state, ITERATIONS);
        if solved.cost.is_finite() && best.as_ref().is_none_or(|b| solved.cost < b.cost) {
            best = Some(solved);
        }
    }
    let state = best.ok_or("no focal length explains how the board is foreshortened")?.state;
    free = [true, true, true, true, true, true, true, true, false];
    let without = lm::minimise(&Reprojection { points, views, free }, state, ITERATIONS);
    let all = Reprojection { points, views, free: [true; LENS] };
    let with = lm::minimise(&all, without.state.clone(), ITERATIONS);

    let numbers = 2 * points.len() * views.len();
    let spare = |unknowns: usize| (numbers.saturating_sub(unknowns)).max(1) as f64;
    let variance = 2.0 * with.cost / spare(LENS + POSE * views.len());
    let gained = 2.0 * (without.cost - with.cost);
    let significant = gained > K3_SIGNIFICANCE.powi(2) * variance.max(1e-12);
    let (solved, free) = if significant { (with, [true; LENS]) } else { (without, free) };
    if !solved.cost.is_finite() || !solved.state.lens.iter().all(|v| v.is_finite()) {
        return Err("the solver found no lens".into());
    }
    let problem = Reprojection { points, views, free };
    let unknowns = free.iter().filter(|f| **f).count() + POSE * views.len();
    let unit_covariance = covariance(&problem, &solved.state)
        .ok_or("some of the lens's parameters have no influence on these pictures")?;
    Ok(Bundle {
        intrinsics: to_intrinsics(&solved.state.lens, width, height),
        poses: solved.state.poses,
        unit_covariance,
        deviation: (2.0 * solved.cost / spare(unknowns)).sqrt(),
    })
}

/// The lens's block of the inverse of JᵀJ.
fn covariance(problem: &Reprojection<'_>, state: &State) -> Option<SMatrix<f64, LENS, LENS>> {
    let n = problem.unknowns();
    let (mut jtj, mut jtr) = (DMatrix::zeros(n, n), DVector::zeros(n));
    problem.linearise(state, &mut jtj, &mut jtr);
    // Parameters of very different size: scaled to a unit diagonal before the inversion.
    let mut scale = DVector::from_element(n, 1.0);
    for i in 0..n {
        if jtj[(i, i)] > 0.0 {
            scale[i] = 1.0 / jtj[(i, i)].sqrt();
        } else {
            jtj[(i, i)] = 1.0;
        }
    }
    let scaled = DMatrix::from_fn(n, n, |i, j| jtj[(i, j)] * scale[i] * scale[j]);
    let inverse = scaled.cholesky()?.inverse();
    Some(SMatrix::from_fn(|i, j| {
        if problem.free[i] && problem.free[j] { inverse[(i, j)] * scale[i] * scale[j] } else { 0.0 }
    }))
}

/// How each view fits.
pub(super) fn fits(points: &[[f64; 2]], solved: &Bundle, views: &[&View]) -> Vec<Fit> {
    let lens = from_intrinsics(&solved.intrinsics);
    views
        .iter()
        .zip(&solved.poses)
        .map(|(view, pose)| {
            let residuals: Vec<[f64; 2]> = points
                .iter()
                .zip(&view.corners)
                .map(|(&point, corner)| {
                    project(&lens, pose, point, None)
                        .map_or([0.0; 2], |[x, y]| [corner[0] - x, corner[1] - y])
                })
                .collect();
            Fit {
                name: view.name.clone(),
                corners: view.corners.clone(),
                rms: rms(&residuals),
                residuals,
                tilt_degrees: tilt(pose).to_degrees(),
                distance: pose.translation.norm(),
            }
        })
        .collect()
}

/// Root mean square length.
pub(super) fn rms(residuals: &[[f64; 2]]) -> f64 {
    let sum: f64 = residuals.iter().map(|r| r[0] * r[0] + r[1] * r[1]).sum();
    (sum / residuals.len().max(1) as f64).sqrt()
}

/// Angle between the board's normal and the ray to its origin.
fn tilt(pose: &Pose) -> f64 {
    let normal = pose.rotation * Vector3::z();
    let ray = pose.translation.normalize();
    normal.dot(&ray).clamp(-1.0, 1.0).abs().acos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_agree_with_differences() {
        let lens = [612.0, 598.0, 322.0, 247.0, -0.21, 0.08, 0.002, -0.003, -0.02];
        let pose = Pose {
            rotation: Rotation3::new(Vector3::new(0.4, -0.3, 0.2)),
            translation: Vector3::new(-0.1, -0.05, 0.7),
        };
        let point = [0.12, 0.07];
        let view = View { name: "one".into(), corners: vec![[0.0, 0.0]] };
        let views = [&view];
        let problem = Reprojection { points: &[point], views: &views, free: [true; LENS] };
        let state = State { lens, poses: vec![pose] };
        let mut row = Row::zeros();
        project(&lens, &pose, point, Some(&mut row)).unwrap();
        for i in 0..LENS + POSE {
            let size = if i < LENS { lens[i].abs().max(0.1) } else { 1.0 };
            let h = 1e-6 * size;
            let moved = |by: f64| {
                let mut step = DVector::zeros(LENS + POSE);
                step[i] = by;
                let s = problem.moved(&state, &step);
                project(&s.lens, &s.poses[0], point, None).unwrap()
            };
            let (plus, minus) = (moved(h), moved(-h));
            for (axis, (p, m)) in plus.iter().zip(minus).enumerate() {
                let difference = (p - m) / (2.0 * h);
                let error = (row[(axis, i)] - difference).abs();
                assert!(error < 1e-4 * (1.0 + difference.abs()), "parameter {i}, axis {axis}");
            }
        }
    }

    #[test]
    fn the_projection_is_that_of_the_camera() {
        let lens = [612.0, 598.0, 322.0, 247.0, -0.21, 0.08, 0.002, -0.003, -0.02];
        let camera = to_intrinsics(&lens, 640, 480);
        let pose = Pose {
            rotation: Rotation3::new(Vector3::new(0.4, -0.3, 0.2)),
            translation: Vector3::new(-0.1, -0.05, 0.7),
        };
        let p = pose.rotation * Vector3::new(0.12, 0.07, 0.0) + pose.translation;
        let wanted = camera.project([p.x, p.y, p.z]).unwrap();
        let got = project(&lens, &pose, [0.12, 0.07], None).unwrap();
        assert!((wanted[0] - got[0]).abs() < 1e-9 && (wanted[1] - got[1]).abs() < 1e-9);
    }
}
