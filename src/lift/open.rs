//! Which kind of lifter a model needs.

use super::reference::ReferenceLifter;
use arrayvec::ArrayVec;

use super::{LiftError, LiftSettings, Lifted, Lifter};
use crate::camera::Intrinsics;
use crate::engine::spec::Normalisation;
use crate::engine::{Backend, ModelSpec, Precision};
use crate::pose::{Computed, Keypoints2d, MAX_PERSONS, Pose3d, TrackId};
use crate::skeleton::Skeleton;
use crate::time::Timestamp;

/// Lifts everybody who is tracked: what the pipeline needs of a lifter, whatever its windows.
pub trait Lift: Send {
    /// The skeleton that its keypoints must have.
    fn input_skeleton(&self) -> Skeleton;

    /// The model's name.
    fn name(&self) -> &str;

    /// Adds what was seen of a person. Times must grow: what is not newer is ignored.
    ///
    /// # Errors
    /// If no window is free for a new person.
    fn observe(
        &mut self,
        track: TrackId,
        time: Timestamp,
        keypoints: &Keypoints2d,
        camera: &Intrinsics,
    ) -> Result<(), LiftError>;

    /// Forgets everybody for whom `is_alive` is false.
    fn retain(&mut self, is_alive: &dyn Fn(TrackId) -> bool);

    /// The poses of `tracks`, in their order, at `at`, the time of the present frame.
    ///
    /// # Errors
    /// If the network fails.
    fn lift_all(
        &mut self,
        tracks: &[TrackId],
        at: Timestamp,
        lifted: &mut ArrayVec<Lifted, MAX_PERSONS>,
    ) -> Result<(), LiftError>;

    /// Lets another engine compute from here on, if one is waiting: between two frames. True if
    /// it does.
    fn exchange(&mut self) -> bool {
        false
    }

    /// What computes it at the moment, where that may change.
    fn computed(&self) -> Option<Computed> {
        None
    }

    /// The pose of one person at `at`; `None` if nothing of the person lies in the window.
    ///
    /// # Errors
    /// If the network fails.
    fn lift(&mut self, track: TrackId, at: Timestamp) -> Result<Option<Pose3d>, LiftError> {
        let mut lifted = ArrayVec::new();
        self.lift_all(&[track], at, &mut lifted)?;
        Ok(lifted.first().and_then(|l| l.pose))
    }
}

/// Loads the lifter `model` on `backend`. `given` is the skeleton of the keypoints that there
/// are: a lifter of Human3.6M keypoints takes COCO's, too, and makes its own of them.
///
/// # Errors
/// If the model is not a lifter that this version knows, or cannot be loaded.
pub fn open(
    backend: &dyn Backend,
    model: &ModelSpec,
    precision: Precision,
    settings: &LiftSettings,
    given: Skeleton,
) -> Result<Box<dyn Lift>, LiftError> {
    match model.lifter()?.normalisation {
        Normalisation::Screen => {
            Ok(Box::new(ReferenceLifter::new(backend, model, precision, settings, given)?))
        }
        _ => Ok(Box::new(Lifter::new(backend, model, precision, settings)?)),
    }
}

impl Lift for Lifter {
    fn input_skeleton(&self) -> Skeleton {
        Lifter::input_skeleton(self)
    }

    fn name(&self) -> &str {
        Lifter::name(self)
    }

    fn observe(
        &mut self,
        track: TrackId,
        time: Timestamp,
        keypoints: &Keypoints2d,
        camera: &Intrinsics,
    ) -> Result<(), LiftError> {
        Lifter::observe(self, track, time, keypoints, camera)
    }

    fn retain(&mut self, is_alive: &dyn Fn(TrackId) -> bool) {
        Lifter::retain(self, is_alive);
    }

    fn lift_all(
        &mut self,
        tracks: &[TrackId],
        _at: Timestamp,
        lifted: &mut ArrayVec<Lifted, MAX_PERSONS>,
    ) -> Result<(), LiftError> {
        Lifter::lift(self, tracks, lifted)
    }

    fn exchange(&mut self) -> bool {
        Lifter::exchange(self)
    }

    fn computed(&self) -> Option<Computed> {
        Lifter::computed(self)
    }
}

impl Lift for Box<dyn Lift> {
    fn input_skeleton(&self) -> Skeleton {
        (**self).input_skeleton()
    }

    fn name(&self) -> &str {
        (**self).name()
    }

    fn observe(
        &mut self,
        track: TrackId,
        time: Timestamp,
        keypoints: &Keypoints2d,
        camera: &Intrinsics,
    ) -> Result<(), LiftError> {
        (**self).observe(track, time, keypoints, camera)
    }

    fn retain(&mut self, is_alive: &dyn Fn(TrackId) -> bool) {
        (**self).retain(is_alive);
    }

    fn lift_all(
        &mut self,
        tracks: &[TrackId],
        at: Timestamp,
        lifted: &mut ArrayVec<Lifted, MAX_PERSONS>,
    ) -> Result<(), LiftError> {
        (**self).lift_all(tracks, at, lifted)
    }

    fn exchange(&mut self) -> bool {
        (**self).exchange()
    }

    fn computed(&self) -> Option<Computed> {
        (**self).computed()
    }
}
