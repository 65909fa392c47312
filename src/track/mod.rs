//! Who is who, from frame to frame.
//!
//! A [`Tracker`] matches each frame's detections to the people it follows (least total cost over
//! keypoint similarity, box overlap and predicted place), opens a track when a stranger was seen
//! often enough and closes it when somebody was not seen for too long. No I/O, no clock: time
//! comes with the detections.

mod assignment;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::pose::{BoundingBox, Keypoints2d, TrackId};
use crate::time::Timestamp;

use assignment::{FORBIDDEN, assign};

/// The most people that are followed at once, those out of sight included.
pub const MAX_TRACKS: usize = assignment::MAX;

/// Keypoints with less confidence say nothing about who somebody is.
const LEAST_CONFIDENCE: f32 = 0.2;
/// Affinity below this is no match: about what two people who stand apart by their own height
/// have.
const GATE: f32 = 0.12;
/// A detection this similar to one that was matched is the same person found twice.
const DUPLICATE_SIMILARITY: f32 = 0.7;
/// Velocity is smoothed over about three frames.
const VELOCITY_GAIN: f32 = 0.4;

/// What the user may say about tracking.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrackSettings {
    /// Frames in a row that a stranger must be seen in to become a track.
    pub birth_frames: u32,
    /// Detections below this score do not open tracks (they may continue them).
    pub birth_score: f32,
    /// Somebody not seen for this long is gone; who comes back later is a new person.
    pub lost_seconds: f64,
    /// Somebody not seen is still published, marked as predicted, for this long.
    pub coast_seconds: f64,
}

impl Default for TrackSettings {
    fn default() -> Self {
        Self { birth_frames: 2, birth_score: 0.3, lost_seconds: 1.0, coast_seconds: 0.2 }
    }
}

/// One followed person in the present frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tracked {
    /// Identity over time.
    pub id: TrackId,
    /// As detected, or where it is believed to be.
    pub keypoints: Keypoints2d,
    /// True if nothing was detected in this frame.
    pub predicted: bool,
    /// False for strangers who are not published yet (their windows fill already).
    pub confirmed: bool,
}

struct Track {
    id: TrackId,
    keypoints: Keypoints2d,
    /// Pixels per second.
    velocity: [f32; 2],
    seen: Timestamp,
    hits: u32,
    confirmed: bool,
}

/// Follows people.
pub struct Tracker {
    settings: TrackSettings,
    tracks: ArrayVec<Track, MAX_TRACKS>,
    last_id: u32,
}

impl Tracker {
    /// Nobody is followed yet.
    pub fn new(settings: TrackSettings) -> Self {
        Self { settings, tracks: ArrayVec::new(), last_id: 0 }
    }

    /// Is this person still followed, seen or not?
    pub fn is_alive(&self, id: TrackId) -> bool {
        self.tracks.iter().any(|t| t.id == id)
    }

    /// Matches the detections of the frame at `time` and replaces `present` by everybody who is
    /// in it: seen, or out of sight for no longer than `coast_seconds`.
    pub fn update(
        &mut self,
        time: Timestamp,
        detections: &[Keypoints2d],
        present: &mut ArrayVec<Tracked, MAX_TRACKS>,
    ) {
        present.clear();
        let detections = &detections[..detections.len().min(assignment::MAX)];
        // Who was last seen in the future belongs to a past that a clock or a recording left.
        let lost = 0.0..=self.settings.lost_seconds;
        self.tracks.retain(|t| lost.contains(&time.secs_since(t.seen)));

        let matches = assign(self.tracks.len(), detections.len(), |t, d| {
            self.tracks[t].cost(&detections[d], time)
        });
        let mut taken = [false; assignment::MAX];
        for (track, matched) in self.tracks.iter_mut().zip(&matches) {
            if let Some(d) = *matched {
                taken[d] = true;
                track.see(&detections[d], time, self.settings.birth_frames);
            }
        }
        // A stranger who is missed even once was noise.
        self.tracks.retain(|t| t.confirmed || t.seen == time);

        for (d, detection) in detections.iter().enumerate() {
            if taken[d] || detection.score < self.settings.birth_score || self.tracks.is_full() {
                continue;
            }
            let doubled = self.tracks.iter().any(|t| {
                let scale = area(&t.keypoints);
                t.seen == time
                    && t.keypoints.similarity(detection, scale, LEAST_CONFIDENCE)
                        > DUPLICATE_SIMILARITY
            });
            if doubled {
                continue;
            }
            self.last_id = self.last_id.wrapping_add(1).max(1);
            self.tracks.push(Track {
                id: TrackId(self.last_id),
                keypoints: *detection,
                velocity: [0.0; 2],
                seen: time,
                hits: 1,
                confirmed: self.settings.birth_frames <= 1,
            });
        }

        for track in &self.tracks {
            let unseen = time.secs_since(track.seen);
            let predicted = track.seen != time;
            if !predicted || unseen <= self.settings.coast_seconds {
                let keypoints = if predicted { track.predict(time) } else { track.keypoints };
                let (id, confirmed) = (track.id, track.confirmed);
                present.push(Tracked { id, keypoints, predicted, confirmed });
            }
        }
    }
}

impl Track {
    /// Where the person is believed to be at `time`: moved on with a velocity that dies away,
    /// since nobody walks on for long unseen.
    fn predict(&self, time: Timestamp) -> Keypoints2d {
        let dt = time.secs_since(self.seen).max(0.0) as f32;
        let reach = 0.4 * (1.0 - (-dt / 0.4).exp());
        let fade = (-dt / 0.3).exp();
        let mut moved = self.keypoints;
        for p in &mut moved.points {
            p.x += self.velocity[0] * reach;
            p.y += self.velocity[1] * reach;
            p.confidence *= fade;
        }
        moved.score *= fade;
        moved
    }

    fn see(&mut self, detection: &Keypoints2d, time: Timestamp, birth_frames: u32) {
        let dt = time.secs_since(self.seen) as f32;
        if let (Some(old), Some(new), true) = (
            self.keypoints.bounding_box(LEAST_CONFIDENCE),
            detection.bounding_box(LEAST_CONFIDENCE),
            dt > 1e-3,
        ) {
            let ((x0, y0), (x1, y1)) = (old.centre(), new.centre());
            for (v, moved) in self.velocity.iter_mut().zip([x1 - x0, y1 - y0]) {
                *v += VELOCITY_GAIN * (moved / dt - *v);
            }
        }
        self.keypoints = *detection;
        self.seen = time;
        self.hits = self.hits.saturating_add(1);
        self.confirmed |= self.hits >= birth_frames;
    }

    /// 0 (certainly the same) to 1, or [`FORBIDDEN`].
    fn cost(&self, detection: &Keypoints2d, time: Timestamp) -> f32 {
        let predicted = self.predict(time);
        // Confidences fade with the prediction, but who it is does not.
        let shape = |mut k: Keypoints2d| {
            for (p, seen) in k.points.iter_mut().zip(&self.keypoints.points) {
                p.confidence = seen.confidence;
            }
            k
        };
        let predicted = shape(predicted);
        let (Some(a), Some(b)) =
            (predicted.bounding_box(LEAST_CONFIDENCE), detection.bounding_box(LEAST_CONFIDENCE))
        else {
            return FORBIDDEN;
        };
        let (ha, hb) = (size(&a), size(&b));
        if (ha / hb).ln().abs() > 0.9 {
            return FORBIDDEN;
        }
        let dt = time.secs_since(self.seen).max(0.0) as f32;
        let similarity = predicted.similarity(detection, a.area().max(b.area()), LEAST_CONFIDENCE);
        let ((ax, ay), (bx, by)) = (a.centre(), b.centre());
        // How far off the prediction may be, in sizes of the person: more the longer unseen.
        let reach = (0.2 + 0.6 * dt.min(1.0)) * ha;
        let near = (-((ax - bx).powi(2) + (ay - by).powi(2)) / (reach * reach)).exp();
        let affinity = 0.4 * similarity + 0.3 * a.iou(&b) + 0.3 * near;
        if affinity < GATE {
            return FORBIDDEN;
        }
        // Between equals: who is known before a stranger, who was just seen before who was lost.
        let doubt = if self.confirmed { 0.0 } else { 0.05 } + 0.05 * dt.min(1.0);
        (1.0 - affinity + doubt).min(1.0)
    }
}

fn area(keypoints: &Keypoints2d) -> f32 {
    keypoints.bounding_box(LEAST_CONFIDENCE).as_ref().map_or(0.0, BoundingBox::area)
}

/// A length that a person keeps when turning: the box's longer side.
fn size(b: &BoundingBox) -> f32 {
    b.width.max(b.height).max(1.0)
}

#[cfg(test)]
mod tests;
