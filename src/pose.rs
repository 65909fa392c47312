//! What is known about people: keypoints in the picture, joints in space, and the record of one
//! frame that publishers send.

use arrayvec::ArrayVec;

use crate::skeleton::{COCO_SIGMAS, JOINTS};
use crate::time::Timestamp;

/// The most persons that one frame carries. A frame with more keeps those with the best scores.
pub const MAX_PERSONS: usize = 16;

/// A point in the picture with the detector's belief in it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Keypoint {
    /// Pixels to the right of the top-left pixel's centre.
    pub x: f32,
    /// Pixels below the top-left pixel's centre.
    pub y: f32,
    /// 0 (not seen) to 1.
    pub confidence: f32,
}

/// An axis-aligned box in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BoundingBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width, never negative.
    pub width: f32,
    /// Height, never negative.
    pub height: f32,
}

impl BoundingBox {
    /// Its area in square pixels.
    pub fn area(&self) -> f32 {
        self.width * self.height
    }

    /// Its centre.
    pub fn centre(&self) -> (f32, f32) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// How far the edges of both are apart at most.
    #[must_use]
    pub fn farthest_edge(&self, other: &Self) -> f32 {
        let edges = |b: &Self| [b.x, b.y, b.x + b.width, b.y + b.height];
        edges(self).iter().zip(edges(other)).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
    }

    /// Intersection over union with `other`, 0..1.
    pub fn iou(&self, other: &Self) -> f32 {
        let w = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let h = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        if w <= 0.0 || h <= 0.0 {
            return 0.0;
        }
        let shared = w * h;
        shared / (self.area() + other.area() - shared).max(f32::MIN_POSITIVE)
    }
}

/// One person's keypoints in one picture, COCO-17 order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keypoints2d {
    /// The points, in pixels.
    pub points: [Keypoint; JOINTS],
    /// 0..1: the detector's belief that this is a person.
    pub score: f32,
}

impl Keypoints2d {
    /// The box around the points whose confidence is at least `least`; `None` with fewer than two.
    pub fn bounding_box(&self, least: f32) -> Option<BoundingBox> {
        let (mut x0, mut y0) = (f32::INFINITY, f32::INFINITY);
        let (mut x1, mut y1) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        let mut n = 0;
        for p in self.points.iter().filter(|p| p.confidence >= least) {
            x0 = x0.min(p.x);
            y0 = y0.min(p.y);
            x1 = x1.max(p.x);
            y1 = y1.max(p.y);
            n += 1;
        }
        (n >= 2).then_some(BoundingBox { x: x0, y: y0, width: x1 - x0, height: y1 - y0 })
    }

    /// Mean confidence over the points.
    pub fn mean_confidence(&self) -> f32 {
        self.points.iter().map(|p| p.confidence).sum::<f32>() / JOINTS as f32
    }

    /// Object keypoint similarity with `other`, 0..1, over the points that both see (confidence
    /// of at least `least`), with `scale2` the person's area in square pixels. COCO's measure,
    /// made symmetric. 0 if they share fewer than three points.
    pub fn similarity(&self, other: &Self, scale2: f32, least: f32) -> f32 {
        let mut sum = 0.0;
        let mut n = 0;
        for ((a, b), sigma) in self.points.iter().zip(&other.points).zip(COCO_SIGMAS) {
            if a.confidence >= least && b.confidence >= least {
                let d2 = (a.x - b.x).powi(2) + (a.y - b.y).powi(2);
                sum += (-d2 / (2.0 * (2.0 * sigma).powi(2) * scale2.max(1.0))).exp();
                n += 1;
            }
        }
        if n < 3 { 0.0 } else { sum / n as f32 }
    }
}

/// Which person, over time. Never reused within one run; 0 is never given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u32);

/// One person's joints in space, at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose3d {
    /// Human3.6M-17, metres, in the camera's axes (x right, y down, z forward), relative to the
    /// pelvis, which is therefore (0, 0, 0).
    pub joints: [[f32; 3]; JOINTS],
    /// Per joint, 0..1.
    pub confidence: [f32; JOINTS],
    /// Where the pelvis is in the camera frame, metres; `None` while it cannot be known.
    pub root: Option<[f32; 3]>,
    /// Covariance of `root`, square metres: xx, xy, xz, yy, yz, zz. Errors of the assumed body
    /// size and of the assumed lens are in it; `None` with an unknown root.
    pub root_covariance: Option<[f32; 6]>,
    /// How human the pose is, 0..1: lengths and symmetry of bones, limits of joints.
    pub plausibility: Option<f32>,
    /// The moment that this pose DESCRIBES: not when it was computed, and not the newest frame
    /// where the lifter was given some future.
    pub describes: Timestamp,
    /// How much future beyond `describes` the lifter had seen, in nanoseconds.
    pub lookahead_nanos: u32,
}

/// One tracked person in one frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Person {
    /// Identity over time.
    pub track: TrackId,
    /// What the detector saw; when `predicted`, where the tracker believes it is.
    pub keypoints: Keypoints2d,
    /// True if no detection supports this frame and the pose is carried by the window alone.
    pub predicted: bool,
    /// The lifted pose; `None` until the window holds an observation.
    pub pose: Option<Pose3d>,
    /// A better pose of an earlier moment: the instant that an earlier frame's `pose` described,
    /// with more future seen. Only where refining is asked for. Who ignores it loses nothing:
    /// `pose` is complete without it.
    pub revision: Option<Pose3d>,
}

/// When each stage was done with a frame; monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageStamps {
    /// The frame left the driver or file and was in our hands.
    pub dequeued: Timestamp,
    /// Compressed pictures were decoded (equal to the start of detection otherwise).
    pub decoded: Timestamp,
    /// 2D keypoints were known.
    pub detected: Timestamp,
    /// 3D joints were known.
    pub lifted: Timestamp,
}

/// What computed the joints of a frame, by the names of configurations, packets and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Computed {
    /// The backend: `tract`, `tensorrt`.
    pub backend: &'static str,
    /// The arithmetic: `f32`, `f16`, `int8`.
    pub precision: &'static str,
}

impl std::fmt::Display for Computed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.backend, self.precision)
    }
}

/// Everything that one frame said about people: what publishers send. Fixed size, so that a
/// ring of these never allocates.
#[derive(Clone, Debug, PartialEq)]
pub struct PoseFrame {
    /// Which camera.
    pub camera: u8,
    /// The source's own frame number: a gap means frames that never became poses.
    pub sequence: u64,
    /// When the light fell on the sensor, on the source's timeline.
    pub captured: Timestamp,
    /// True if `captured` is a recording's own clock and not this machine's monotonic clock.
    pub media_time: bool,
    /// Stage stamps, monotonic.
    pub stamps: StageStamps,
    /// Picture size in pixels.
    pub image_size: (u32, u32),
    /// The persons, at most [`MAX_PERSONS`].
    pub persons: ArrayVec<Person, MAX_PERSONS>,
    /// Which lifter made these poses: the first four bytes, big-endian, of its weights' SHA-256.
    pub model: u32,
    /// What its network ran on, where that may change under way; `None`: what the sender was
    /// configured for.
    pub computed: Option<Computed>,
}

impl PoseFrame {
    /// The person with a pose who has been followed longest, for targets that can take only one.
    pub fn longest_followed(&self) -> Option<(&Person, &Pose3d)> {
        let posed = self.persons.iter().filter_map(|p| Some((p, p.pose.as_ref()?)));
        // Numbers are given out in the order of arrival.
        posed.min_by_key(|(p, _)| p.track)
    }

    /// From exposure to lifted joints where the clocks allow it, else from dequeue.
    pub fn begin(&self) -> Timestamp {
        if self.media_time { self.stamps.dequeued } else { self.captured }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person_at(x: f32, y: f32) -> Keypoints2d {
        let mut k = Keypoints2d { points: [Keypoint::default(); JOINTS], score: 1.0 };
        for (i, p) in k.points.iter_mut().enumerate() {
            *p = Keypoint { x: x + (i % 4) as f32 * 10.0, y: y + i as f32 * 8.0, confidence: 0.9 };
        }
        k
    }

    #[test]
    fn similarity_is_one_for_itself_and_falls_with_distance() {
        let a = person_at(100.0, 50.0);
        let area = a.bounding_box(0.3).unwrap().area();
        assert!((a.similarity(&a, area, 0.3) - 1.0).abs() < 1e-6);
        let near = a.similarity(&person_at(103.0, 50.0), area, 0.3);
        let far = a.similarity(&person_at(160.0, 50.0), area, 0.3);
        assert!(near > 0.6 && far < 0.2 && near > far, "{near} {far}");
    }

    #[test]
    fn unseen_points_count_neither_in_the_box_nor_in_the_similarity() {
        let mut a = person_at(0.0, 0.0);
        a.points[16] = Keypoint { x: 9e3, y: 9e3, confidence: 0.05 };
        assert!(a.bounding_box(0.3).unwrap().height < 130.0);
        let blind = Keypoints2d { points: [Keypoint::default(); JOINTS], score: 0.0 };
        assert_eq!(blind.bounding_box(0.3), None);
        assert_eq!(a.similarity(&blind, 100.0, 0.3), 0.0);
    }

    #[test]
    fn iou_of_disjoint_boxes_is_zero_and_of_equal_boxes_one() {
        let b = BoundingBox { x: 1.0, y: 2.0, width: 3.0, height: 4.0 };
        assert!((b.iou(&b) - 1.0).abs() < 1e-6);
        assert_eq!(b.iou(&BoundingBox { x: 10.0, ..b }), 0.0);
    }
}
