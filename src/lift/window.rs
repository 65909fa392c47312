//! One person's recent past, placed by time.
//!
//! A lifter was trained on a fixed rate; cameras have rates of their own, drop frames and lose
//! people. So what is seen is interpolated to slots: slot 0 is the newest observation itself, the
//! others lie on an absolute time grid at the model's rate. A grid slot is final as soon as the
//! first observation behind it has come, so it is filled once and then only travels. The whole
//! window is looked at by one [`VirtualCamera`], which is held while it serves. The rules are
//! those that the training data went through (`models/train/lifter/INPUT.md`, sections 0 to 2).

use super::virtual_camera::VirtualCamera;
use crate::camera::Intrinsics;
use crate::pose::Keypoints2d;
use crate::skeleton::JOINTS;
use crate::time::Timestamp;

/// A keypoint with less confidence is missing.
pub const MIN_CONFIDENCE: f32 = 0.1;
/// Observations further apart than this are not bridged: the slots between them are missing.
pub const MAX_GAP_S: f64 = 0.25;
/// Fewer keypoints than this are no observation.
pub const MIN_KEYPOINTS: usize = 4;
/// Within an unbridged gap, a slot this near to an observation takes it as it is.
const SNAP_S: f64 = 0.02;
/// Times closer than this are the same time.
const EPSILON_NANOS: i64 = 100_000;
const EPSILON_S: f64 = 1e-9 * EPSILON_NANOS as f64;

/// A direction in the camera frame with the belief in it; confidence 0 = missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ray {
    /// Unit vector, x right, y down, z forward.
    pub direction: [f32; 3],
    /// 0 (missing) to 1.
    pub confidence: f32,
}

impl Ray {
    /// Was the keypoint seen?
    pub fn is_present(&self) -> bool {
        self.confidence >= MIN_CONFIDENCE
    }
}

/// One person's keypoints as rays.
pub type Rays = [Ray; JOINTS];

/// The absolute time grid of a rate: all multiples of its period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Grid {
    /// Slots in 1000 seconds: exact where the rate has no more than three decimals.
    per_kilosecond: i128,
}

const KILOSECOND: i128 = 1_000_000_000_000;

impl Grid {
    fn new(rate_hz: f64) -> Self {
        Self { per_kilosecond: ((rate_hz * 1e3).round() as i128).max(1) }
    }

    /// The number of the last grid time before `t`.
    fn before(self, t: Timestamp) -> i128 {
        let early = i128::from(t.nanos()) - i128::from(EPSILON_NANOS);
        let scaled = early * self.per_kilosecond;
        // The ceiling, less one.
        scaled.div_euclid(KILOSECOND) - i128::from(scaled.rem_euclid(KILOSECOND) == 0)
    }

    fn time(self, number: i128) -> Timestamp {
        let nanos = number * KILOSECOND + self.per_kilosecond / 2;
        Timestamp::from_nanos(nanos.div_euclid(self.per_kilosecond) as i64)
    }
}

#[derive(Clone, Copy)]
struct Observation {
    time: Timestamp,
    rays: Rays,
}

/// What an observation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it was none, or not newer than the last.
    None,
    /// So many grid slots came in behind slot 0.
    Slots(usize),
    /// Another virtual camera looks at the window: everything that is computed of its slots.
    Camera,
    /// Everything: a new person, or a new past.
    All,
}

/// One person's window.
pub struct Window {
    grid: Grid,
    rate_hz: f64,
    newest: Option<Observation>,
    camera: Option<VirtualCamera>,
    /// Is the camera held? Otherwise it is each newest observation's own.
    anchored: bool,
    /// Grid number of slot 1.
    number: i128,
    /// Slots 1.., newest first from `head` on, around the end.
    grid_slots: Vec<Rays>,
    head: usize,
    /// How many grid slots are not older than the first observation.
    filled: usize,
}

impl Window {
    /// For windows of `slots` (at least 2) at `rate_hz`; `anchored`: the virtual camera is held.
    pub fn new(slots: usize, rate_hz: f64, anchored: bool) -> Self {
        Self {
            grid: Grid::new(rate_hz),
            rate_hz,
            newest: None,
            camera: None,
            anchored,
            number: 0,
            grid_slots: vec![[Ray::default(); JOINTS]; slots.saturating_sub(1)],
            head: 0,
            filled: 0,
        }
    }

    /// Forgets everything: the window belongs to another person now.
    pub fn clear(&mut self) {
        self.newest = None;
        self.camera = None;
    }

    /// The time of the newest observation.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest.as_ref().map(|o| o.time)
    }

    /// The camera that looks at the window; `None` before the first observation.
    pub fn camera(&self) -> Option<&VirtualCamera> {
        self.camera.as_ref()
    }

    /// How much younger than a period slot 0 is, -1..0: an input of the network's.
    pub fn fresh(&self) -> f32 {
        let Some(newest) = &self.newest else { return 0.0 };
        let delta = newest.time.secs_since(self.grid.time(self.number));
        (delta * self.rate_hz - 1.0).clamp(-1.0, 0.0) as f32
    }

    /// Slots, newest first, that differ from each other: those behind repeat the last of them.
    pub fn distinct(&self) -> usize {
        1 + (self.filled + 1).min(self.grid_slots.len())
    }

    /// What was seen in slot `i`, newest first; nothing before the first observation.
    pub fn slot(&self, i: usize) -> Rays {
        let Some(newest) = &self.newest else { return [Ray::default(); JOINTS] };
        match i.checked_sub(1) {
            None => newest.rays,
            Some(i) => {
                let n = self.grid_slots.len();
                self.grid_slots.get((self.head + i) % n.max(1)).copied().unwrap_or_default()
            }
        }
    }

    /// In which row a cache keeps what belongs to slot `i`: 0 for slot 0; a grid slot keeps its
    /// row from coming in until it falls out.
    pub fn row(&self, i: usize) -> usize {
        match i.checked_sub(1) {
            None => 0,
            Some(i) => 1 + (self.head + i) % self.grid_slots.len().max(1),
        }
    }

    /// When slot `i` is.
    pub fn slot_time(&self, i: usize) -> Timestamp {
        match (i.checked_sub(1), &self.newest) {
            (None, Some(newest)) => newest.time,
            (None, None) => Timestamp::ZERO,
            (Some(i), _) => self.grid.time(self.number - i as i128),
        }
    }

    /// Takes in what was seen at `time`.
    pub fn observe(
        &mut self,
        time: Timestamp,
        keypoints: &Keypoints2d,
        camera: &Intrinsics,
    ) -> Change {
        let rays = keypoints.points.map(|p| {
            // NaN compares false: it is missing, too.
            if !(p.confidence >= MIN_CONFIDENCE && p.x.is_finite() && p.y.is_finite()) {
                return Ray::default();
            }
            let [u, v] = camera.unproject(f64::from(p.x), f64::from(p.y));
            let norm = (u * u + v * v + 1.0).sqrt();
            let direction = [(u / norm) as f32, (v / norm) as f32, (1.0 / norm) as f32];
            Ray { direction, confidence: p.confidence.min(1.0) }
        });
        self.observe_rays(time, rays)
    }

    fn observe_rays(&mut self, time: Timestamp, rays: Rays) -> Change {
        if rays.iter().filter(|r| r.is_present()).count() < MIN_KEYPOINTS {
            return Change::None;
        }
        let Some(own) = VirtualCamera::aim(&rays) else { return Change::None };
        let seen = Observation { time, rays };
        let span = (self.grid_slots.len() + 1) as f64 / self.rate_hz;
        let last = match self.newest {
            Some(last) if time.nanos().saturating_sub(EPSILON_NANOS) <= last.time.nanos() => {
                return Change::None;
            }
            // Of an older past nothing is in the window any more.
            Some(last) if time.secs_since(last.time) <= span => last,
            _ => {
                self.grid_slots.fill(rays);
                self.number = self.grid.before(time);
                (self.filled, self.newest, self.camera) = (0, Some(seen), Some(own));
                return Change::All;
            }
        };
        let number = self.grid.before(time);
        let new = (number - self.number).max(0) as usize;
        for k in (0..new).rev() {
            let tau = self.grid.time(number - k as i128);
            self.push(between(&last, &seen, tau));
        }
        self.number = number;
        self.newest = Some(seen);
        if self.anchored && self.camera.is_some_and(|c| c.serves(&own)) {
            Change::Slots(new)
        } else {
            self.camera = Some(own);
            Change::Camera
        }
    }

    fn push(&mut self, rays: Rays) {
        let n = self.grid_slots.len();
        if n > 0 {
            self.head = (self.head + n - 1) % n;
            self.grid_slots[self.head] = rays;
            self.filled = (self.filled + 1).min(n);
        }
    }
}

/// What was seen at `tau`, between two observations one after the other.
fn between(a: &Observation, b: &Observation, tau: Timestamp) -> Rays {
    let (from_a, to_b) = (tau.secs_since(a.time), b.time.secs_since(tau));
    if from_a <= EPSILON_S {
        return a.rays;
    }
    if to_b <= EPSILON_S {
        return b.rays;
    }
    let gap = from_a + to_b;
    let nearer_is_a = from_a < to_b;
    let nearer = if nearer_is_a { a } else { b };
    if gap > MAX_GAP_S + EPSILON_S {
        let near = from_a.min(to_b) <= SNAP_S + EPSILON_S;
        return if near { nearer.rays } else { [Ray::default(); JOINTS] };
    }
    let w = (from_a / gap) as f32;
    std::array::from_fn(|j| {
        let (p, q) = (a.rays[j], b.rays[j]);
        match (p.is_present(), q.is_present()) {
            (true, true) => {
                let mixed: [f32; 3] =
                    std::array::from_fn(|k| (1.0 - w) * p.direction[k] + w * q.direction[k]);
                let norm = mixed.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
                Ray {
                    direction: mixed.map(|v| v / norm),
                    confidence: (1.0 - w) * p.confidence + w * q.confidence,
                }
            }
            (true, false) if nearer_is_a => p,
            (false, true) if !nearer_is_a => q,
            _ => Ray::default(),
        }
    })
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
