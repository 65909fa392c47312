//! Checkpoints of the reference P-STMO: screen coordinates of a whole window, oldest first, to
//! the pose in its middle.
//!
//! For comparison, not for live use: the middle of the released windows is almost five seconds
//! ago. What differs from [`Lifter`](super::Lifter): pixels become x / w * 2 - 1 and
//! y / w * 2 - h / w (the reference's, aspect kept, lens distortion left in), there is no
//! confidence and no missing keypoint, and the answer is in the real camera's axes with
//! joint 0 as the root by definition.

use arrayvec::ArrayVec;
use ringbuf::LocalRb;
use ringbuf::storage::Heap;
use serde::Deserialize;

use super::followed::Followed;
use super::person::confidence;
use super::window::{MAX_GAP_S, MIN_CONFIDENCE, Ray, Rays};
use super::{Lift, LiftError, LiftSettings, Lifted, h36m_input};
use crate::camera::Intrinsics;
use crate::engine::spec::{LifterSpec, ModelSpec, Normalisation};
use crate::engine::{Backend, Engine, EngineError, Precision, TensorMut, TensorRef};
use crate::pose::{Keypoint, Keypoints2d, MAX_PERSONS, Pose3d, TrackId};
use crate::skeleton::{JOINTS, Skeleton};
use crate::time::Timestamp;

use super::smooth::{SmoothSettings, Smoother};

/// Observations are thinned to this rate, so that a fast camera cannot outgrow the ring.
const MAX_RATE_HZ: f64 = 120.0;
/// How far an answer may be from the golden one, metres.
const TOLERANCE_M: f32 = 5e-4;

/// A keypoint in screen coordinates; confidence 0 = missing.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    at: [f32; 2],
    confidence: f32,
}

#[derive(Clone, Copy)]
struct Seen {
    time: Timestamp,
    points: [Point; JOINTS],
}

/// What is kept of one person.
///
/// The ring's full case: it is sized for the window's span at [`MAX_RATE_HZ`], to which
/// observations are thinned, so what is displaced is older than the window.
struct Past {
    seen: LocalRb<Heap<Seen>>,
    smoother: Smoother,
}

impl Past {
    fn new(spec: &LifterSpec) -> Self {
        let span = spec.frames.saturating_sub(1) as f64 / spec.rate_hz + MAX_GAP_S;
        let seen = LocalRb::new((span * MAX_RATE_HZ).ceil() as usize + 4);
        Self { seen, smoother: Smoother::default() }
    }

    fn clear(&mut self) {
        self.seen.clear();
        self.smoother.reset();
    }
}

/// Lifts with a reference checkpoint (`posewire models import --pstmo`).
pub struct ReferenceLifter {
    name: String,
    spec: LifterSpec,
    given: Skeleton,
    engine: Box<dyn Engine>,
    smooth: SmoothSettings,
    followed: Followed<Past>,
    window_shape: [usize; 4],
    window: Vec<f32>,
    joints: Vec<f32>,
}

impl ReferenceLifter {
    /// Loads the network on `backend`, for keypoints of the skeleton `given`: the model's own, or
    /// COCO-17 where it wants Human3.6M-17 (see [`h36m_input`]).
    ///
    /// # Errors
    /// If the model is no such lifter, or cannot be loaded, or answers otherwise than its golden
    /// file says.
    pub fn new(
        backend: &dyn Backend,
        model: &ModelSpec,
        precision: Precision,
        settings: &LiftSettings,
        given: Skeleton,
    ) -> Result<Self, LiftError> {
        let spec = model.lifter()?;
        if spec.normalisation != Normalisation::Screen
            || spec.features != 2
            || spec.context != 0
            || spec.output_skeleton != Skeleton::Human36m17
        {
            return Err(model
                .problem(
                    "it is no reference lifter: those take screen coordinates, without context, \
                     to h36m17",
                )
                .into());
        }
        let derived = given == Skeleton::Coco17 && spec.input_skeleton == Skeleton::Human36m17;
        if given != spec.input_skeleton && !derived {
            let wanted = spec.input_skeleton;
            return Err(model
                .problem(format!("it wants {wanted} keypoints, which cannot be made of {given}"))
                .into());
        }
        let mut engine = backend.load(model, precision, 1)?;
        let cases = verify(model, spec, engine.as_mut())?;
        log::debug!("lifter {}: {cases} golden windows reproduced", model.name);
        Ok(Self {
            name: model.name.clone(),
            given,
            engine,
            smooth: settings.smooth,
            followed: Followed::new(|| Past::new(spec)),
            window_shape: [1, spec.frames, JOINTS, 2],
            window: vec![0.0; spec.frames * JOINTS * 2],
            joints: vec![0.0; JOINTS * 3],
            spec: spec.clone(),
        })
    }
}

impl Lift for ReferenceLifter {
    fn input_skeleton(&self) -> Skeleton {
        self.given
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn observe(
        &mut self,
        track: TrackId,
        time: Timestamp,
        keypoints: &Keypoints2d,
        camera: &Intrinsics,
    ) -> Result<(), LiftError> {
        let index = self.followed.enter(track, Past::clear)?;
        let own = if self.given == self.spec.input_skeleton {
            keypoints.points
        } else {
            h36m_input::from_coco(&keypoints.points, MIN_CONFIDENCE)
        };
        let points = own.map(|k| on_screen(k, camera));
        if points.iter().any(|p| p.confidence > 0.0) {
            push(&mut self.followed[index].seen, Seen { time, points });
        }
        Ok(())
    }

    fn retain(&mut self, is_alive: &dyn Fn(TrackId) -> bool) {
        self.followed.retain(is_alive);
    }

    fn lift_all(
        &mut self,
        tracks: &[TrackId],
        at: Timestamp,
        lifted: &mut ArrayVec<Lifted, MAX_PERSONS>,
    ) -> Result<(), LiftError> {
        lifted.clear();
        for track in tracks.iter().take(MAX_PERSONS) {
            lifted.push(Lifted { pose: self.lift(*track, at)?, revision: None });
        }
        Ok(())
    }

    fn lift(&mut self, track: TrackId, at: Timestamp) -> Result<Option<Pose3d>, LiftError> {
        let Some(person) = self.followed.position(track) else { return Ok(None) };
        let past = &mut self.followed[person];
        let Some(target) = fill(&mut past.seen, at, &self.spec, &mut self.window) else {
            return Ok(None);
        };
        let input = TensorRef { shape: &self.window_shape, data: &self.window };
        let output = TensorMut { shape: &[1, JOINTS, 3], data: &mut self.joints };
        self.engine.run(&[input], &mut [output])?;
        if !self.joints.iter().all(|v| v.is_finite()) {
            return Err(LiftError::NotFinite { model: self.name.clone() });
        }
        let lookahead_nanos =
            (f64::from(self.spec.lookahead) / self.spec.rate_hz * 1e9).round() as u32;
        let describes =
            Timestamp::from_nanos(at.nanos().saturating_sub(i64::from(lookahead_nanos)));
        // As the reference does: whatever the network says of the root, it is 0, and the others
        // are relative to it as they are.
        let mut joints: [[f64; 3]; JOINTS] = std::array::from_fn(|j| match j {
            0 => [0.0; 3],
            _ => std::array::from_fn(|k| f64::from(self.joints[3 * j + k])),
        });
        if self.smooth.enabled {
            joints = past.smoother.smooth(&self.smooth, describes, joints);
        }
        let confidence = match self.spec.input_skeleton {
            Skeleton::Human36m17 => target.map(|r| r.confidence),
            Skeleton::Coco17 => confidence(&target),
        };
        Ok(Some(Pose3d {
            joints: joints.map(|j| j.map(|v| v as f32)),
            confidence,
            root: None,
            root_covariance: None,
            plausibility: None,
            describes,
            lookahead_nanos,
        }))
    }
}

/// The reference's `normalize_screen_coordinates`: -1..1 across the width, the same scale down.
fn on_screen(k: Keypoint, camera: &Intrinsics) -> Point {
    // NaN compares false: it is missing, too.
    if !(k.confidence >= MIN_CONFIDENCE && k.x.is_finite() && k.y.is_finite()) {
        return Point::default();
    }
    let (w, h) = (camera.width as f32, camera.height as f32);
    Point { at: [k.x / w * 2.0 - 1.0, k.y / w * 2.0 - h / w], confidence: k.confidence.min(1.0) }
}

/// Appends an observation; one that is not newer than the last is ignored. The newest is always
/// kept: where they come too fast, it replaces the one before.
fn push(ring: &mut LocalRb<Heap<Seen>>, seen: Seen) {
    let (old, new) = ring.as_slices();
    let mut times = new.iter().rev().chain(old.iter().rev()).map(|s| s.time);
    let (last, before) = (times.next(), times.next());
    if last.is_some_and(|last| seen.time <= last) {
        return;
    }
    let crowded = match (last, before) {
        (Some(last), Some(before)) => last.secs_since(before) < 1.0 / MAX_RATE_HZ - 1e-4,
        _ => false,
    };
    match (crowded, ring.as_mut_slices()) {
        (true, (_, [.., last]) | ([.., last], [])) => *last = seen,
        _ => {
            ring.push_overwrite(seen);
        }
    }
}

/// Fills `window` `[frames, 17, 2]`, oldest slot first, the newest at `at`. Each keypoint is
/// interpolated in time between the sightings of it around the slot; before the first and after
/// the last the nearest is repeated, as the reference does at a sequence's ends. A keypoint that
/// was never seen stands in the middle of those that were. Gives how sure the keypoints of the
/// target slot are, or `None` if nothing was seen.
fn fill(
    ring: &mut LocalRb<Heap<Seen>>,
    at: Timestamp,
    spec: &LifterSpec,
    window: &mut [f32],
) -> Option<Rays> {
    let (old, new) = ring.as_slices();
    let n = old.len() + new.len();
    if n == 0 {
        return None;
    }
    let get = |i: usize| if i < old.len() { &old[i] } else { &new[i - old.len()] };
    let target = spec.frames.saturating_sub(1 + spec.lookahead as usize);
    let mut sure = [Ray::default(); JOINTS];
    let mut never = [false; JOINTS];
    for joint in 0..JOINTS {
        let next_from = |i: usize| (i..n).find(|&i| get(i).points[joint].confidence > 0.0);
        let Some(first) = next_from(0) else {
            never[joint] = true;
            continue;
        };
        // The sightings around the slot: before or at it, and after it.
        let (mut before, mut after) = (first, next_from(first + 1));
        for slot in 0..spec.frames {
            let age = (spec.frames - 1 - slot) as f64 / spec.rate_hz;
            // Positive: the sighting is later than the slot.
            let offset = |i: usize| get(i).time.secs_since(at) + age;
            while let Some(next) = after.filter(|&i| offset(i) <= 0.0) {
                (before, after) = (next, next_from(next + 1));
            }
            let a = get(before).points[joint];
            let (point, near) = match after {
                Some(next) if offset(before) < 0.0 => {
                    let (from_a, to_b) = (-offset(before), offset(next));
                    let b = get(next).points[joint];
                    let w = (from_a / (from_a + to_b)) as f32;
                    let mixed = std::array::from_fn(|k| a.at[k] + w * (b.at[k] - a.at[k]));
                    let confidence = a.confidence + w * (b.confidence - a.confidence);
                    (Point { at: mixed, confidence }, from_a.min(to_b))
                }
                _ => (a, offset(before).abs()),
            };
            let place = (slot * JOINTS + joint) * 2;
            window[place..place + 2].copy_from_slice(&point.at);
            if slot == target && near <= MAX_GAP_S {
                sure[joint].confidence = point.confidence;
            }
        }
    }
    let there = never.iter().filter(|n| !**n).count();
    if there == 0 {
        return None;
    }
    if there < JOINTS {
        for slot in window.chunks_exact_mut(JOINTS * 2) {
            for k in 0..2 {
                let seen = (0..JOINTS).filter(|j| !never[*j]);
                let middle = seen.map(|j| slot[2 * j + k]).sum::<f32>() / there as f32;
                for j in (0..JOINTS).filter(|j| never[*j]) {
                    slot[2 * j + k] = middle;
                }
            }
        }
    }
    Some(sure)
}

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

/// A window, and what the reference architecture answers.
#[derive(Deserialize)]
struct Case {
    window: Vec<[[f32; 2]; JOINTS]>,
    joints: [[f32; 3]; JOINTS],
}

/// Runs the golden cases of `model`, if its manifest names any. Gives how many there were.
fn verify(
    model: &ModelSpec,
    spec: &LifterSpec,
    engine: &mut dyn Engine,
) -> Result<usize, EngineError> {
    let Some(bytes) = model.golden_bytes()? else { return Ok(0) };
    let golden: Golden = serde_json::from_slice(&bytes)
        .map_err(|e| model.problem(format!("its golden file cannot be read: {e}")))?;
    let mut joints = vec![0.0; 3 * JOINTS];
    for (n, case) in golden.cases.iter().enumerate() {
        let window = case.window.as_flattened().as_flattened();
        let input = TensorRef { shape: &[1, spec.frames, JOINTS, 2], data: window };
        let output = TensorMut { shape: &[1, JOINTS, 3], data: &mut joints };
        engine.run(&[input], &mut [output])?;
        let wanted = case.joints.as_flattened();
        // Not `f32::max`, which drops a NaN.
        let off = |(a, b): (&f32, &f32)| (a - b).abs();
        let wrong = joints.iter().zip(wanted).map(off).find(|d| d.is_nan() || *d > TOLERANCE_M);
        if let Some(wrong) = wrong {
            return Err(model.problem(format!(
                "golden case {n}: the loaded network's answer is {:.2} mm from the reference's, \
                 {:.2} mm are allowed; choose another backend or precision, or import the \
                 checkpoint again",
                wrong * 1e3,
                TOLERANCE_M * 1e3,
            )));
        }
    }
    Ok(golden.cases.len())
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
