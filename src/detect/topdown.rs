//! Top-down detection: a finder says where persons are, a keypoint network looks at each of them.
//!
//! The finder is the dear part and a person is seldom far from where it was a frame ago. So each
//! person that was seen is followed: its crop is taken about its last keypoints, moved on with
//! their velocity; of somebody who hardly moves it stays. The finder runs every so often, and at the rate of an empty room while somebody
//! fades, and for a second after somebody came or was lost.
//!
//! With somebody followed, a frame costs at most one run of a network more than they do: the
//! finder, or a look into one of the boxes that it proposed last (and a second look, if somebody
//! seems to be there). Half of those hold nobody, and to look into all of them at once would make
//! the finder's frames several times as late as the others.

use arrayvec::ArrayVec;

use super::finder::{Finder, MOST_BOXES, clip};
use super::keypoints::{KeypointNetwork, SecondLook};
use super::settings::DetectorSettings;
use super::{DetectError, Detector};
use crate::engine::{Backend, Engine, ModelSpec, Precision};
use crate::frame::{Frame, ImageView};
use crate::pose::{BoundingBox, Keypoints2d, MAX_PERSONS};
use crate::skeleton::Skeleton;
use crate::time::Timestamp;

/// Keypoints that a box is drawn around.
const SEEN: f32 = 0.2;
/// A person's box is its keypoints' box enlarged by this: keypoints end at eyes and ankles,
/// persons at hair and soles.
const BODY_MARGIN: f32 = 1.15;
/// A finder's box that overlaps a followed person's by this much is that person.
const SAME_BOX_IOU: f32 = 0.4;
/// For so long after somebody came or was lost, the finder runs as often as in an empty room.
const RESTLESS_SECONDS: f64 = 1.0;
/// A crop stays where it is while all edges of its person are within this share of the person's size:
/// a network's answer trembles with the crop that it is shown, and most with one that follows its own
/// trembling.
const STEADY: f32 = 0.05;
/// Motion in a frame that is less than this share of the person's size is none, as far as crops go.
const STILL: f32 = 0.01;
/// A person whose score falls below this share of its running mean is fading.
const FADING: f32 = 0.75;

/// Somebody who was seen in the last frame.
#[derive(Clone, Copy, Debug)]
struct Followed {
    keypoints: Keypoints2d,
    /// Where to look: the keypoints' box, or the finder's if keypoints were lost.
    area: BoundingBox,
    /// Pixels per second.
    velocity: (f32, f32),
    /// Running mean of the score.
    usual: f32,
}

/// Finds persons, follows them and reads their keypoints. See the module's introduction.
pub struct TopDown {
    settings: DetectorSettings,
    finder: Finder,
    keypoints: KeypointNetwork,
    followed: ArrayVec<Followed, MAX_PERSONS>,
    /// Where the finder's last run saw somebody who is not followed, least likely first: still to
    /// be looked into.
    proposed: ArrayVec<BoundingBox, MOST_BOXES>,
    last_frame: Option<Timestamp>,
    last_search: Option<Timestamp>,
    /// When somebody came or was lost last: another may come with them, or they come back.
    restless: Option<Timestamp>,
    frames_since_search: u32,
    search_stride: u32,
    searches: u64,
}

impl TopDown {
    /// Loads a finder and a keypoint network into `backend`.
    ///
    /// # Errors
    /// If a model is of another kind, does not load, or a setting is out of range.
    pub fn new(
        backend: &dyn Backend,
        finder: &ModelSpec,
        keypoints: &ModelSpec,
        precision: Precision,
        settings: DetectorSettings,
    ) -> Result<Self, DetectError> {
        // A mistaken setting should not have to wait for the networks.
        settings.check()?;
        let engines = (backend.load(finder, precision, 1)?, backend.load(keypoints, precision, 1)?);
        Self::with_engines((finder, engines.0), (keypoints, engines.1), settings)
    }

    /// From a finder and a keypoint network, each with the engine that it was loaded into at
    /// batch 1.
    ///
    /// # Errors
    /// If a model is of another kind, an engine has other tensors than its manifest, or a setting
    /// is out of range.
    pub fn with_engines(
        finder: (&ModelSpec, Box<dyn Engine>),
        keypoints: (&ModelSpec, Box<dyn Engine>),
        settings: DetectorSettings,
    ) -> Result<Self, DetectError> {
        settings.check()?;
        let finder = Finder::new(finder.0, finder.1)?;
        let mirrored = settings.flip || settings.flip_newcomers;
        let keypoints = KeypointNetwork::new(keypoints.0, keypoints.1, mirrored)?;
        Ok(Self {
            settings,
            finder,
            keypoints,
            followed: ArrayVec::new(),
            proposed: ArrayVec::new(),
            last_frame: None,
            last_search: None,
            restless: None,
            frames_since_search: 0,
            search_stride: 1,
            searches: 0,
        })
    }

    /// How often the finder has run.
    pub fn searches(&self) -> u64 {
        self.searches
    }

    /// Forgets whom it follows: the next picture has nothing to do with the last one.
    pub fn forget(&mut self) {
        self.followed.clear();
        self.proposed.clear();
        self.last_frame = None;
        self.last_search = None;
        self.restless = None;
        self.frames_since_search = 0;
    }

    fn threshold(&self) -> f32 {
        self.settings.score_threshold.unwrap_or(self.keypoints.reader.score_threshold)
    }

    fn is_too_small(&self, area: &BoundingBox) -> bool {
        area.width.max(area.height) < self.settings.min_person_pixels
    }

    /// Looks again at everybody who was followed. True if somebody fades or was lost.
    fn follow(
        &mut self,
        image: &ImageView<'_>,
        now: Timestamp,
        seen: &mut ArrayVec<Followed, MAX_PERSONS>,
    ) -> Result<bool, DetectError> {
        // A recording that starts again, or a long gap, says nothing about motion.
        let dt = self.last_frame.map_or(0.0, |last| now.secs_since(last) as f32);
        let dt = if (0.0..0.5).contains(&dt) { dt } else { 0.0 };
        let mut fading = false;
        for was in std::mem::take(&mut self.followed) {
            let mut area = was.area;
            let size = area.width.max(area.height);
            let (x, y) = (was.velocity.0 * dt, was.velocity.1 * dt);
            if x.hypot(y) >= STILL * size {
                // Never by more than a third of the person: a wild velocity must not lose it.
                let most = (area.width / 3.0, area.height / 3.0);
                area.x += x.clamp(-most.0, most.0);
                area.y += y.clamp(-most.1, most.1);
            }
            let Some(keypoints) = self.look(image, &area, SecondLook::Never)? else {
                fading = true;
                self.restless = Some(now);
                continue;
            };
            fading |= keypoints.score < FADING * was.usual;
            let Some(moved) = area_of(&keypoints, image) else { continue };
            if area.farthest_edge(&moved) > STEADY * size {
                area = moved;
            }
            let velocity = velocity(&was.keypoints, &keypoints, dt);
            let usual = 0.9 * was.usual + 0.1 * keypoints.score;
            seen.push(Followed { keypoints, area, velocity, usual });
        }
        Ok(fading)
    }

    /// Is it time to run the finder? `alone`: nobody is seen any more. `fading`: somebody who was
    /// followed is about to be lost, or just was.
    fn search_is_due(&self, now: Timestamp, alone: bool, fading: bool) -> bool {
        let stride = self.search_stride;
        let rested = self.last_search.is_none_or(|last| {
            let passed = now.secs_since(last);
            // A clock that was set back must not blind it.
            passed < 0.0 || passed >= self.settings.search_idle_seconds * f64::from(stride)
        });
        if alone {
            return fading || rested;
        }
        // First those of the last search, or somebody who fades for long would keep all but the
        // likeliest from ever being looked at.
        let every = self.settings.search_every;
        if !self.proposed.is_empty() && self.frames_since_search < every {
            return false;
        }
        let restless = self.restless.is_some_and(|since| {
            let passed = now.secs_since(since);
            (0.0..RESTLESS_SECONDS).contains(&passed)
        });
        self.frames_since_search.saturating_add(1) >= every.saturating_mul(stride)
            || rested && (fading || restless)
    }

    /// Runs the finder, and notes where it sees somebody who is not followed.
    fn search(
        &mut self,
        image: &ImageView<'_>,
        seen: &mut ArrayVec<Followed, MAX_PERSONS>,
    ) -> Result<(), DetectError> {
        self.searches += 1;
        self.finder.find(image)?;
        self.proposed.clear();
        for area in self.finder.boxes.iter().rev().map(|found| found.area) {
            let known = seen.iter_mut().find(|s| overlap(&s.area, &area) >= SAME_BOX_IOU);
            let Some(known) = known else {
                self.proposed.push(area);
                continue;
            };
            // Keypoints place the next crop better than the finder does. But if some were lost,
            // the crop would never grow back, and the finder sees the whole person.
            if known.keypoints.points.iter().any(|p| p.confidence < SEEN) {
                known.area = area;
            }
        }
        Ok(())
    }

    /// Looks into boxes that the finder proposed, the likeliest first: into `most` of them.
    fn look_at_proposed(
        &mut self,
        now: Timestamp,
        image: &ImageView<'_>,
        most: usize,
        seen: &mut ArrayVec<Followed, MAX_PERSONS>,
    ) -> Result<(), DetectError> {
        let mut looked = 0;
        while looked < most
            && seen.len() < self.settings.max_persons
            && let Some(area) = self.proposed.pop()
        {
            if self.is_too_small(&area)
                || seen.iter().any(|s| overlap(&s.area, &area) >= SAME_BOX_IOU)
            {
                continue;
            }
            looked += 1;
            let second = match self.settings.flip_newcomers {
                true => SecondLook::From(self.threshold()),
                false => SecondLook::Never,
            };
            if let Some(keypoints) = self.look(image, &area, second)? {
                let area = area_of(&keypoints, image).unwrap_or(area);
                let usual = keypoints.score;
                self.restless = Some(now);
                seen.push(Followed { keypoints, area, velocity: (0.0, 0.0), usual });
            }
        }
        Ok(())
    }

    /// One picture.
    fn step(
        &mut self,
        now: Timestamp,
        image: &ImageView<'_>,
        found: &mut Vec<Keypoints2d>,
    ) -> Result<(), DetectError> {
        let mut seen = ArrayVec::new();
        let fading = self.follow(image, now, &mut seen)?;
        if self.search_is_due(now, seen.is_empty(), fading) {
            self.search(image, &mut seen)?;
            self.last_search = Some(now);
            self.frames_since_search = 0;
            // With nobody there, no pose is made late.
            if seen.is_empty() {
                self.look_at_proposed(now, image, MOST_BOXES, &mut seen)?;
            }
        } else {
            self.frames_since_search = self.frames_since_search.saturating_add(1);
            self.look_at_proposed(now, image, 1, &mut seen)?;
        }
        self.last_frame = Some(now);
        seen.sort_unstable_by(|a, b| b.keypoints.score.total_cmp(&a.keypoints.score));
        for person in seen {
            let same = |other: &Followed| {
                let (a, b) = (&person.keypoints, &other.keypoints);
                let scale = person.area.area().min(other.area.area());
                a.similarity(b, scale, SEEN) > self.settings.duplicate_similarity
            };
            if self.followed.len() < self.settings.max_persons && !self.followed.iter().any(same) {
                self.followed.push(person);
                found.push(person.keypoints);
            }
        }
        Ok(())
    }

    /// The keypoints of the person in `area`; `None` if there is nobody.
    fn look(
        &mut self,
        image: &ImageView<'_>,
        area: &BoundingBox,
        second: SecondLook,
    ) -> Result<Option<Keypoints2d>, DetectError> {
        if self.is_too_small(area) {
            return Ok(None);
        }
        let second = if self.settings.flip { SecondLook::Always } else { second };
        let keypoints = self.keypoints.read(image, area, second)?;
        Ok((keypoints.score >= self.threshold()).then_some(keypoints))
    }
}

impl Detector for TopDown {
    fn skeleton(&self) -> Skeleton {
        self.keypoints.spec.skeleton
    }

    fn detect(
        &mut self,
        frame: &Frame,
        image: &ImageView<'_>,
        found: &mut Vec<Keypoints2d>,
    ) -> Result<(), DetectError> {
        let result = self.step(frame.captured, image, found);
        if result.is_err() {
            // Nobody is followed any more: search as soon as a picture can be used again.
            self.forget();
        }
        result
    }

    fn describe(&self) -> String {
        format!(
            "finder {} ({}x{}), keypoints {} ({}x{}{})",
            self.finder.network.name(),
            self.finder.spec.input.width,
            self.finder.spec.input.height,
            self.keypoints.network.name(),
            self.keypoints.spec.input.width,
            self.keypoints.spec.input.height,
            if self.settings.flip { ", twice: flip" } else { "" }
        )
    }

    fn set_search_stride(&mut self, stride: u32) {
        self.search_stride = stride.max(1);
    }

    fn exchange(&mut self) {
        self.finder.network.exchange();
        self.keypoints.network.exchange();
    }
}

/// The person about its keypoints, within the picture.
fn area_of(keypoints: &Keypoints2d, image: &ImageView<'_>) -> Option<BoundingBox> {
    let b = keypoints.bounding_box(SEEN)?;
    let (cx, cy) = b.centre();
    // Somebody seen from the side, or lying, has a flat box: not flatter than a body is thick.
    let least = 0.25 * b.width.max(b.height);
    let (w, h) = (b.width.max(least) * BODY_MARGIN, b.height.max(least) * BODY_MARGIN);
    let area = clip(cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0, image);
    (area.area() > 0.0).then_some(area)
}

/// Intersection over union, or over the smaller box's area where that one lies almost wholly in
/// the other: the keypoints of half a person against a finder's box of all of it.
fn overlap(a: &BoundingBox, b: &BoundingBox) -> f32 {
    let iou = a.iou(b);
    let both = a.area() + b.area();
    let shared = iou * both / (1.0 + iou);
    let covered = shared / a.area().min(b.area()).max(1.0);
    if covered > 0.9 { iou.max(SAME_BOX_IOU) } else { iou }
}

/// Mean motion of the points seen in both, pixels per second.
fn velocity(before: &Keypoints2d, now: &Keypoints2d, dt: f32) -> (f32, f32) {
    let (mut x, mut y, mut n) = (0.0, 0.0, 0.0);
    for (a, b) in before.points.iter().zip(&now.points) {
        if a.confidence >= SEEN && b.confidence >= SEEN {
            x += b.x - a.x;
            y += b.y - a.y;
            n += 1.0;
        }
    }
    if n < 3.0 || dt <= 0.0 { (0.0, 0.0) } else { (x / (n * dt), y / (n * dt)) }
}

#[cfg(test)]
#[path = "topdown_tests.rs"]
mod tests;
