//! From keypoints over time to joints in space.
//!
//! A [`Lifter`] keeps a [`window::Window`] per tracked person, looks at it with a
//! [`virtual_camera::VirtualCamera`] and runs the network on all persons at once. What the network
//! computes for a slot is kept while the slot travels through the window. Its output frame is the
//! camera's: x right, y down, z forward, metres, relative to the pelvis; where the pelvis is,
//! [`root`] finds out. `docs/lifting.md` tells all of it in words.
//!
//! [`open`] chooses: checkpoints of the reference P-STMO, which see whole windows in screen
//! coordinates, are run by [`reference::ReferenceLifter`]. [`Lift`] is what both do.

pub mod bones;
mod exchange;
mod followed;
mod golden;
pub mod h36m_input;
mod matrix;
mod open;
mod person;
pub mod plausibility;
pub mod reference;
mod refine;
pub mod root;
pub mod root_filter;
mod settings;
pub mod smooth;
pub mod virtual_camera;
pub mod window;

pub use open::{Lift, open};
pub use settings::{LiftSettings, LifterSettings, Mount, SubjectSettings};

use arrayvec::ArrayVec;

use crate::camera::Intrinsics;
use crate::engine::gate;
use crate::engine::spec::LifterSpec;
use crate::engine::{Backend, EngineError, ModelSpec, Precision, StreamingLifter};
use crate::fault::{Fault, Severity};
use crate::pose::{Keypoints2d, MAX_PERSONS, Pose3d, TrackId};
use crate::skeleton::{JOINTS, Skeleton};
use crate::time::Timestamp;

use followed::{Followed, MAX_WINDOWS};
use person::Past;
use settings::Settings;

/// Persons that are likely in view at once: backends with fixed batches load for so many.
/// How many persons a call of a lifter is prepared for, beside one.
pub const LIKELY_PERSONS: usize = 4;
/// Slots that are encoded in one call; windows that are lifted in one.
const SLOTS_AT_ONCE: usize = 64;
const WINDOWS_AT_ONCE: usize = 4;
/// Values of a slot's keypoints, of a pose.
const POINTS: usize = 3 * JOINTS;

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

/// What is known of a person after a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lifted {
    /// The pose; `None` while nothing of the person has been observed.
    pub pose: Option<Pose3d>,
    /// A better pose of an earlier moment, where refining is asked for.
    pub revision: Option<Pose3d>,
}

/// Lifts everybody who is tracked.
pub struct Lifter {
    name: String,
    spec: LifterSpec,
    settings: Settings,
    network: Box<dyn StreamingLifter>,
    slot_len: usize,
    followed: Followed<Past>,
    staging: Staging,
    evaluation: Evaluation,
}

/// Slots on their way into the caches.
struct Staging {
    /// Person (an index into the followed) and row of its cache.
    targets: ArrayVec<(usize, usize), SLOTS_AT_ONCE>,
    keypoints: Vec<f32>,
    fresh: Vec<f32>,
    slots: Vec<f32>,
}

/// Windows on their way through the network.
struct Evaluation {
    slots: Vec<f32>,
    contexts: Vec<f32>,
    joints: Vec<f32>,
    /// Tasks of this frame whose answers have become poses.
    done: usize,
}

/// A window to be lifted.
#[derive(Clone, Copy)]
struct Task {
    /// Index into the followed.
    person: usize,
    /// Index into the answer.
    answer: usize,
    slot: u32,
    revises: bool,
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
        if spec.features != 3 || spec.frames < 2 {
            let (f, t) = (spec.features, spec.frames);
            return Err(model
                .problem(format!(
                    "windows of {t} slots with {f} values per joint are not known to this version, \
                     which makes 3 values and 2 slots or more"
                ))
                .into());
        }
        let settings = settings.check(model)?;
        let (network, verdict) = gate::load_lifter(backend, model, precision, LIKELY_PERSONS)?;
        let cases = golden::accept(model, verdict)?;
        log::debug!("lifter {}: {cases} golden windows reproduced", model.name);
        log::info!("lifter {}: {}", model.name, network.describe());
        Ok(Self::with_network(&model.name, spec.clone(), settings, network))
    }

    fn with_network(
        name: &str,
        spec: LifterSpec,
        settings: Settings,
        network: Box<dyn StreamingLifter>,
    ) -> Self {
        let slot_len = network.slot_len();
        let windows = WINDOWS_AT_ONCE;
        Self {
            name: name.to_owned(),
            followed: Followed::new(|| Past::new(&spec, &settings, slot_len)),
            staging: Staging {
                targets: ArrayVec::new(),
                keypoints: vec![0.0; SLOTS_AT_ONCE * POINTS],
                fresh: vec![0.0; SLOTS_AT_ONCE],
                slots: vec![0.0; SLOTS_AT_ONCE * slot_len],
            },
            evaluation: Evaluation {
                slots: vec![0.0; windows * spec.frames * slot_len],
                contexts: vec![0.0; windows * spec.context],
                joints: vec![0.0; windows * POINTS],
                done: 0,
            },
            spec,
            settings,
            network,
            slot_len,
        }
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
        let index = self.followed.enter(track, Past::clear)?;
        let past = &mut self.followed[index];
        let change = past.window.observe(time, keypoints, camera);
        past.note(change);
        Ok(())
    }

    /// Forgets everybody for whom `is_alive` is false.
    pub fn retain(&mut self, is_alive: impl Fn(TrackId) -> bool) {
        self.followed.retain(is_alive);
    }

    /// The poses of `tracks`, in their order, as of each one's newest observation: who has not
    /// been observed since the last call has the same pose again.
    ///
    /// # Errors
    /// If the network fails.
    pub fn lift(
        &mut self,
        tracks: &[TrackId],
        lifted: &mut ArrayVec<Lifted, MAX_PERSONS>,
    ) -> Result<(), LiftError> {
        lifted.clear();
        let mut tasks = ArrayVec::<Task, { 2 * MAX_PERSONS }>::new();
        for (answer, track) in tracks.iter().take(MAX_PERSONS).enumerate() {
            let mut known = Lifted::default();
            if let Some(person) = self.followed.position(*track) {
                let past = &self.followed[person];
                let newest = past.window.newest();
                known.pose = past.lifted.map(|(_, pose)| pose);
                if newest.is_some() && newest != past.lifted.map(|(at, _)| at) {
                    let task =
                        Task { person, answer, slot: self.settings.lookahead, revises: false };
                    tasks.push(task);
                    if let Some(slot) = self.settings.refine {
                        tasks.push(Task { slot, revises: true, ..task });
                    }
                }
            }
            lifted.push(known);
        }
        self.evaluation.done = 0;
        let mut done = self.attempt(&tasks, lifted);
        if done.is_err() && self.exchange() {
            // What has taken the failed engine's place does what is left of the frame.
            done = self.attempt(&tasks, lifted);
        }
        if done.is_err() {
            // What was half computed must not leak into the next frame.
            for task in &tasks {
                self.followed[task.person].cache.stale = true;
            }
        }
        done
    }

    fn attempt(
        &mut self,
        tasks: &[Task],
        lifted: &mut ArrayVec<Lifted, MAX_PERSONS>,
    ) -> Result<(), LiftError> {
        self.encode(tasks)?;
        self.evaluate(tasks, lifted)
    }

    /// Brings the caches of the tasks' persons up to date.
    fn encode(&mut self, tasks: &[Task]) -> Result<(), LiftError> {
        let last = self.spec.frames - 1;
        for task in tasks.iter().filter(|t| !t.revises) {
            let (distinct, new, stale) = {
                let past = &self.followed[task.person];
                let stale = past.cache.stale || past.cache.new > last;
                (past.window.distinct(), past.cache.new, stale)
            };
            let slots = if stale { distinct } else { 1 + new };
            for slot in 0..slots {
                self.stage(task.person, slot)?;
            }
            if stale && distinct <= last {
                // Behind them all are alike.
                self.flush()?;
                let past = &mut self.followed[task.person];
                let n = self.slot_len;
                let from = past.window.row(distinct - 1) * n;
                for slot in distinct..=last {
                    let to = past.window.row(slot) * n;
                    past.cache.values.copy_within(from..from + n, to);
                }
            }
            let cache = &mut self.followed[task.person].cache;
            (cache.new, cache.stale) = (0, false);
        }
        self.flush()
    }

    fn stage(&mut self, person: usize, slot: usize) -> Result<(), LiftError> {
        if self.staging.targets.is_full() {
            self.flush()?;
        }
        let (staging, window) = (&mut self.staging, &self.followed[person].window);
        let n = staging.targets.len();
        if let Some(camera) = window.camera() {
            let keypoints = &mut staging.keypoints[n * POINTS..][..POINTS];
            camera.fill_slot(&window.slot(slot), keypoints);
            staging.fresh[n] = if slot == 0 { window.fresh() } else { 0.0 };
            staging.targets.push((person, window.row(slot)));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LiftError> {
        let Staging { targets, keypoints, fresh, slots } = &mut self.staging;
        let (n, len) = (targets.len(), self.slot_len);
        let encoded = &mut slots[..n * len];
        let done = if n > 0 {
            self.network.encode(&keypoints[..n * POINTS], &fresh[..n], encoded)
        } else {
            Ok(())
        };
        for ((person, row), slot) in targets.drain(..).zip(encoded.chunks_exact(len)) {
            self.followed[person].cache.values[row * len..][..len].copy_from_slice(slot);
        }
        Ok(done?)
    }

    /// Runs the tasks' windows, those that are not done yet, and makes poses of the answers.
    fn evaluate(
        &mut self,
        tasks: &[Task],
        lifted: &mut ArrayVec<Lifted, MAX_PERSONS>,
    ) -> Result<(), LiftError> {
        let (frames, context) = (self.spec.frames, self.spec.context);
        let window = frames * self.slot_len;
        for tasks in tasks[self.evaluation.done..].chunks(WINDOWS_AT_ONCE) {
            let Evaluation { slots, contexts, joints, done } = &mut self.evaluation;
            for (i, task) in tasks.iter().enumerate() {
                let past = &self.followed[task.person];
                let slots = &mut slots[i * window..][..window];
                past.gather(self.slot_len, slots);
                if let Some(camera) = past.window.camera() {
                    let given = camera.context(self.settings.gravity, task.slot);
                    contexts[i * context..][..context].copy_from_slice(&given[..context]);
                }
            }
            let n = tasks.len();
            let joints = &mut joints[..n * POINTS];
            self.network.lift(&slots[..n * window], &contexts[..n * context], joints)?;
            if !joints.iter().all(|v| v.is_finite()) {
                return Err(LiftError::NotFinite { model: self.name.clone() });
            }
            *done += n;
            for (task, joints) in tasks.iter().zip(joints.chunks_exact(POINTS)) {
                let past = &mut self.followed[task.person];
                let answer = &mut lifted[task.answer];
                match (task.revises, answer.pose) {
                    (false, _) => answer.pose = Some(past.pose(joints, &self.settings)),
                    (true, Some(pose)) => {
                        answer.revision = past.revision(&pose, joints, task.slot, &self.settings);
                    }
                    (true, None) => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod equality_tests;
#[cfg(test)]
mod tests;
