//! From keypoints over time to joints in space.
//!
//! A [`Lifter`] keeps a [`window::Window`] per tracked person, aims a
//! [`virtual_camera::VirtualCamera`] at it and runs the network. Its output frame is the camera's:
//! x right, y down, z forward, metres, relative to the pelvis.
//!
//! [`open`] chooses: checkpoints of the reference P-STMO, which see whole windows in screen
//! coordinates, are run by [`reference::ReferenceLifter`]. [`Lift`] is what both do.

mod golden;
pub mod h36m_input;
mod open;
pub mod reference;
pub mod smooth;
pub mod virtual_camera;
pub mod window;

pub use open::{Lift, open};

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::camera::Intrinsics;
use crate::engine::spec::{LifterSpec, ModelSpec};
use crate::engine::{Backend, Engine, EngineError, Precision, TensorMut, TensorRef};
use crate::fault::{Fault, Severity};
use crate::pose::{Keypoints2d, MAX_PERSONS, Pose3d, TrackId};
use crate::skeleton::{JOINTS, Skeleton, coco};
use crate::time::Timestamp;

use smooth::{SmoothSettings, Smoother};
use virtual_camera::VirtualCamera;
use window::{Rays, Window};

/// More persons than are published may be tracked while some of them are out of sight.
const MAX_WINDOWS: usize = 2 * MAX_PERSONS;

/// What the user may say about lifting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LiftSettings {
    /// How the camera is held: lets the lifter tell a leaning body from a leaning camera.
    /// Unknown if absent.
    pub mount: Option<Mount>,
    /// Smoothing over time.
    pub smooth: SmoothSettings,
}

/// The camera's attitude relative to gravity, to a few degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Degrees that the camera looks up.
    #[serde(default)]
    pub pitch_degrees: f64,
    /// Degrees that the camera is turned clockwise about its own viewing direction.
    #[serde(default)]
    pub roll_degrees: f64,
}

impl Mount {
    /// The direction in which things fall, in the camera frame; a unit vector.
    pub fn gravity(self) -> [f64; 3] {
        let (p, q) = (self.pitch_degrees.to_radians(), self.roll_degrees.to_radians());
        [q.sin() * p.cos(), q.cos() * p.cos(), -p.sin()]
    }
}

/// Why there is no 3D pose.
#[derive(Debug, thiserror::Error)]
pub enum LiftError {
    /// The network cannot be used, or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The network's answer is not a pose.
    #[error("the lifter {model} answered with a number that is not finite")]
    NotFinite {
        /// The lifter's name.
        model: String,
    },
    /// More people than windows.
    #[error("no window is free for person {0}: {MAX_WINDOWS} people are being followed")]
    TooMany(u32),
}

impl Fault for LiftError {
    fn severity(&self) -> Severity {
        match self {
            Self::Engine(e) => e.severity(),
            Self::NotFinite { .. } | Self::TooMany(_) => Severity::Skip,
        }
    }
}

/// What is kept of one person.
struct Past {
    window: Window,
    smoother: Smoother,
}

impl Past {
    fn new(spec: &LifterSpec) -> Self {
        Self { window: Window::new(spec.frames, spec.rate_hz), smoother: Smoother::default() }
    }

    fn clear(&mut self) {
        self.window.clear();
        self.smoother.reset();
    }
}

/// Lifts everybody who is tracked.
pub struct Lifter {
    name: String,
    spec: LifterSpec,
    engine: Box<dyn Engine>,
    gravity: Option<[f64; 3]>,
    smooth: SmoothSettings,
    followed: ArrayVec<(TrackId, Past), MAX_WINDOWS>,
    spare: Vec<Past>,
    slots: Vec<Rays>,
    window_shape: [usize; 4],
    window: Vec<f32>,
    joints: Vec<f32>,
}

impl Lifter {
    /// Loads the network on `backend`.
    ///
    /// # Errors
    /// If the model is not a lifter of COCO-17 windows to Human3.6M-17, or cannot be loaded.
    pub fn new(
        backend: &dyn Backend,
        model: &ModelSpec,
        precision: Precision,
        settings: &LiftSettings,
    ) -> Result<Self, LiftError> {
        let spec = model.lifter()?;
        if spec.output_skeleton != Skeleton::Human36m17 {
            let found = spec.output_skeleton;
            return Err(model
                .problem(format!("it gives the skeleton {found}, packets carry h36m17"))
                .into());
        }
        if spec.features != 3 || !matches!(spec.context, 0 | 5) || spec.frames == 0 {
            let (f, c) = (spec.features, spec.context);
            return Err(model
                .problem(format!(
                    "windows of {f} values per joint with a context of {c} are not known to this \
                     version, which makes 3 and 5 (or no context)"
                ))
                .into());
        }
        let mut engine = backend.load(model, precision, 1)?;
        let cases = golden::verify(model, engine.as_mut())?;
        log::debug!("lifter {}: {cases} golden windows reproduced", model.name);
        Ok(Self {
            name: model.name.clone(),
            engine,
            gravity: settings.mount.map(Mount::gravity),
            smooth: settings.smooth,
            followed: ArrayVec::new(),
            spare: (0..MAX_WINDOWS).map(|_| Past::new(spec)).collect(),
            slots: vec![Rays::default(); spec.frames],
            window_shape: [1, spec.frames, JOINTS, 3],
            window: vec![0.0; spec.frames * JOINTS * 3],
            joints: vec![0.0; JOINTS * 3],
            spec: spec.clone(),
        })
    }

    /// The skeleton that its keypoints must have.
    pub fn input_skeleton(&self) -> Skeleton {
        self.spec.input_skeleton
    }

    /// The model's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds what was seen of a person.
    ///
    /// # Errors
    /// If no window is free for a new person.
    pub fn observe(
        &mut self,
        track: TrackId,
        time: Timestamp,
        keypoints: &Keypoints2d,
        camera: &Intrinsics,
    ) -> Result<(), LiftError> {
        let index = match self.followed.iter().position(|(id, _)| *id == track) {
            Some(index) => index,
            None => {
                let mut past = self.spare.pop().ok_or(LiftError::TooMany(track.0))?;
                past.clear();
                self.followed.push((track, past));
                self.followed.len() - 1
            }
        };
        self.followed[index].1.window.observe(time, keypoints, camera);
        Ok(())
    }

    /// Forgets everybody for whom `is_alive` is false.
    pub fn retain(&mut self, is_alive: impl Fn(TrackId) -> bool) {
        let mut i = 0;
        while i < self.followed.len() {
            if is_alive(self.followed[i].0) {
                i += 1;
            } else {
                let (_, past) = self.followed.swap_remove(i);
                self.spare.push(past);
            }
        }
    }

    /// The pose of a person from the window that ends at `at`, the time of the present frame.
    /// `None` if nothing of the person lies in the window.
    ///
    /// # Errors
    /// If the network fails.
    pub fn lift(&mut self, track: TrackId, at: Timestamp) -> Result<Option<Pose3d>, LiftError> {
        let Some((_, past)) = self.followed.iter_mut().find(|(id, _)| *id == track) else {
            return Ok(None);
        };
        past.window.resample(at, self.spec.rate_hz, &mut self.slots);
        let Some(virtual_camera) = VirtualCamera::aim(&self.slots) else { return Ok(None) };
        virtual_camera.fill_window(&self.slots, &mut self.window);
        let context = virtual_camera.context(self.gravity);
        let inputs = [
            TensorRef { shape: &self.window_shape, data: &self.window },
            TensorRef { shape: &[1, 5], data: &context },
        ];
        let used = if self.spec.context == 0 { 1 } else { 2 };
        let mut outputs = [TensorMut { shape: &[1, JOINTS, 3], data: &mut self.joints }];
        self.engine.run(&inputs[..used], &mut outputs)?;
        if !self.joints.iter().all(|v| v.is_finite()) {
            return Err(LiftError::NotFinite { model: self.name.clone() });
        }

        let lookahead_nanos =
            (f64::from(self.spec.lookahead) / self.spec.rate_hz * 1e9).round() as u32;
        let describes =
            Timestamp::from_nanos(at.nanos().saturating_sub(i64::from(lookahead_nanos)));
        let mut joints: [[f64; 3]; JOINTS] = std::array::from_fn(|j| {
            let relative = |k: usize| f64::from(self.joints[3 * j + k] - self.joints[k]);
            virtual_camera.rotate_back(std::array::from_fn(relative))
        });
        if self.smooth.enabled {
            joints = past.smoother.smooth(&self.smooth, describes, joints);
        }
        let target = self.slots.get(self.spec.lookahead as usize).copied().unwrap_or_default();
        Ok(Some(Pose3d {
            joints: joints.map(|j| j.map(|v| v as f32)),
            confidence: confidence(&target),
            root: None,
            describes,
            lookahead_nanos,
        }))
    }
}

/// Which keypoints the belief in a Human3.6M joint rests on: itself where COCO has it, else those
/// around it.
fn confidence(target: &Rays) -> [f32; JOINTS] {
    use coco::*;
    const HIPS: &[usize] = &[LEFT_HIP, RIGHT_HIP];
    const SHOULDERS: &[usize] = &[LEFT_SHOULDER, RIGHT_SHOULDER];
    const TORSO: &[usize] = &[LEFT_HIP, RIGHT_HIP, LEFT_SHOULDER, RIGHT_SHOULDER];
    const HEAD: &[usize] = &[NOSE, LEFT_EAR, RIGHT_EAR];
    const SOURCES: [&[usize]; JOINTS] = [
        HIPS,
        &[RIGHT_HIP],
        &[RIGHT_KNEE],
        &[RIGHT_ANKLE],
        &[LEFT_HIP],
        &[LEFT_KNEE],
        &[LEFT_ANKLE],
        TORSO,
        SHOULDERS,
        SHOULDERS,
        HEAD,
        &[LEFT_SHOULDER],
        &[LEFT_ELBOW],
        &[LEFT_WRIST],
        &[RIGHT_SHOULDER],
        &[RIGHT_ELBOW],
        &[RIGHT_WRIST],
    ];
    SOURCES.map(|from| from.iter().map(|&j| target[j].confidence).sum::<f32>() / from.len() as f32)
}

#[cfg(test)]
mod tests;
