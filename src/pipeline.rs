//! What happens to a frame: pixels in, poses out. No threads, no I/O.

use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::camera::Intrinsics;
use crate::decode::{DecodeError, FrameDecoder};
use crate::detect::{DetectError, Detector};
use crate::fault::{Fault, Severity};
use crate::frame::{Frame, Timebase};
use crate::lift::{Lift, LiftError, Lifted};
use crate::pose::{Keypoints2d, MAX_PERSONS, Person, PoseFrame, StageStamps, TrackId};
use crate::skeleton::Skeleton;
use crate::time::{Clock, Timestamp};
use crate::track::{MAX_TRACKS, Tracked, Tracker};

/// What is known of the camera's geometry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Geometry {
    /// Measured. Frames of another size are taken to be scaled.
    Calibrated(Intrinsics),
    /// No calibration: a lens without distortion whose picture spans this angle along its longer
    /// side, in degrees.
    AssumedFov(f64),
}

impl Geometry {
    fn at(&self, width: u32, height: u32) -> Intrinsics {
        match self {
            Self::Calibrated(intrinsics) => {
                let (w, h) = (intrinsics.width, intrinsics.height);
                let sides = u64::from(width) * u64::from(h);
                // A row or column more is a codec's rounding.
                if sides.abs_diff(u64::from(height) * u64::from(w)) > u64::from(w.max(h)) {
                    log::warn!(
                        "the camera is calibrated for {w}x{h}, but its pictures are \
                         {width}x{height}: another shape is another part of the sensor, and poses \
                         will be wrong; calibrate at this size"
                    );
                } else if (width, height) != (w, h) {
                    log::info!(
                        "the camera is calibrated for {w}x{h}; its pictures of {width}x{height} \
                         are taken to be the same, scaled"
                    );
                }
                intrinsics.resized(width, height)
            }
            Self::AssumedFov(degrees) => Intrinsics::from_fov(width, height, *degrees),
        }
    }
}

/// Why a frame gave no poses.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Its picture cannot be decoded.
    #[error("frame {sequence}: {source}")]
    Decode {
        /// The source's number of the frame.
        sequence: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// The detector failed on it.
    #[error("frame {sequence}: {source}")]
    Detect {
        /// The source's number of the frame.
        sequence: u64,
        /// What happened.
        source: DetectError,
    },
    /// The lifter failed on it.
    #[error("frame {sequence}: {source}")]
    Lift {
        /// The source's number of the frame.
        sequence: u64,
        /// What happened.
        source: LiftError,
    },
}

impl Fault for StepError {
    fn severity(&self) -> Severity {
        match self {
            Self::Decode { .. } => Severity::Skip,
            Self::Detect { source, .. } => source.severity(),
            Self::Lift { source, .. } => source.severity(),
        }
    }
}

/// A detector and a lifter that do not speak of the same joints.
#[derive(Debug, thiserror::Error)]
#[error(
    "the detector ({detector}) gives the skeleton {given}, but the lifter {lifter} wants {wanted}: \
     choose models that match"
)]
pub struct SkeletonMismatch {
    detector: String,
    given: Skeleton,
    lifter: String,
    wanted: Skeleton,
}

/// Everything between a frame and its poses.
pub struct Pipeline {
    decoder: FrameDecoder,
    detector: Box<dyn Detector>,
    tracker: Tracker,
    lifter: Box<dyn Lift>,
    geometry: Geometry,
    clock: Arc<dyn Clock>,
    model: u32,
    camera: Option<Intrinsics>,
    last: Option<Timestamp>,
    found: Vec<Keypoints2d>,
    present: ArrayVec<Tracked, MAX_TRACKS>,
    lifted: ArrayVec<Lifted, MAX_PERSONS>,
}

impl Pipeline {
    /// Puts the stages together. `model` identifies the lifter's weights in packets
    /// (`PoseFrame::model`).
    ///
    /// # Errors
    /// If the detector's keypoints are not those that the lifter was trained on.
    pub fn new(
        detector: Box<dyn Detector>,
        tracker: Tracker,
        lifter: impl Lift + 'static,
        geometry: Geometry,
        clock: Arc<dyn Clock>,
        model: u32,
    ) -> Result<Self, SkeletonMismatch> {
        if detector.skeleton() != lifter.input_skeleton() {
            return Err(SkeletonMismatch {
                detector: detector.describe(),
                given: detector.skeleton(),
                lifter: lifter.name().to_owned(),
                wanted: lifter.input_skeleton(),
            });
        }
        Ok(Self {
            decoder: FrameDecoder::new(),
            detector,
            tracker,
            lifter: Box::new(lifter),
            geometry,
            clock,
            model,
            camera: None,
            last: None,
            found: Vec::with_capacity(4 * MAX_PERSONS),
            present: ArrayVec::new(),
            lifted: ArrayVec::new(),
        })
    }

    /// Which models, on what: one line.
    pub fn describe(&self) -> String {
        format!("{}; lifter {}", self.detector.describe(), self.lifter.name())
    }

    /// See [`Detector::set_search_stride`].
    pub fn set_search_stride(&mut self, stride: u32) {
        self.detector.set_search_stride(stride);
    }

    /// Turns one frame into poses.
    ///
    /// # Errors
    /// Skippable ones cost this frame only; the next call goes on as if it had not been there.
    pub fn step(&mut self, frame: &Frame) -> Result<PoseFrame, StepError> {
        // Between two frames: each is computed by the same engines throughout, unless one fails.
        self.detector.exchange();
        self.lifter.exchange();

        let sequence = frame.sequence;
        let decoded = self.decoder.decode(frame.image());
        let image = decoded.map_err(|source| StepError::Decode { sequence, source })?;
        let image_size = (image.width, image.height);
        let decoded = self.clock.now();

        self.found.clear();
        self.detector
            .detect(frame, &image, &mut self.found)
            .map_err(|source| StepError::Detect { sequence, source })?;
        let detected = self.clock.now();
        // It may borrow the decoder's pixels, which are not needed any more.
        drop(image);

        // A recording that starts again, or a clock that was set back: the past is another one.
        if self.last.is_some_and(|last| frame.captured < last) {
            self.lifter.retain(&|_| false);
        }
        self.last = Some(frame.captured);
        let (width, height) = image_size;
        let camera = match self.camera {
            Some(c) if (c.width, c.height) == (width, height) => c,
            _ => *self.camera.insert(self.geometry.at(width, height)),
        };

        self.tracker.update(frame.captured, &self.found, &mut self.present);
        let persons = self
            .lift(frame.captured, &camera)
            .map_err(|source| StepError::Lift { sequence, source })?;

        Ok(PoseFrame {
            camera: frame.camera,
            sequence,
            captured: frame.captured,
            media_time: frame.timebase == Timebase::Media,
            stamps: StageStamps {
                dequeued: frame.dequeued,
                decoded,
                detected,
                lifted: self.clock.now(),
            },
            image_size,
            persons,
            model: self.model,
            computed: self.lifter.computed(),
        })
    }

    fn lift(
        &mut self,
        at: Timestamp,
        camera: &Intrinsics,
    ) -> Result<ArrayVec<Person, MAX_PERSONS>, LiftError> {
        let tracker = &self.tracker;
        self.lifter.retain(&|id| tracker.is_alive(id));
        // Where not all can be published, those with the best scores are.
        self.present.sort_unstable_by(|a, b| {
            (b.confirmed, b.keypoints.score)
                .partial_cmp(&(a.confirmed, a.keypoints.score))
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        for who in self.present.iter().filter(|who| !who.predicted) {
            self.lifter.observe(who.id, at, &who.keypoints, camera)?;
        }
        let published = || self.present.iter().filter(|who| who.confirmed).take(MAX_PERSONS);
        let tracks: ArrayVec<TrackId, MAX_PERSONS> = published().map(|who| who.id).collect();
        self.lifter.lift_all(&tracks, at, &mut self.lifted)?;
        let mut persons: ArrayVec<Person, MAX_PERSONS> = published()
            .zip(&self.lifted)
            .map(|(who, lifted)| Person {
                track: who.id,
                keypoints: who.keypoints,
                predicted: who.predicted,
                pose: lifted.pose,
                revision: lifted.revision,
            })
            .collect();
        persons.sort_unstable_by_key(|p: &Person| p.track);
        Ok(persons)
    }
}
