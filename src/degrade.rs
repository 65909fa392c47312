//! Degradation on purpose: what is left out, and when, while the machine cannot keep up.
//!
//! A machine that is too slow or too hot loses frames in any case. Left to itself it loses them
//! unevenly and late; a [`Governor`] leaves work out in an order that costs least: first the
//! person finder runs more rarely (people that are followed are seen as before, newcomers later),
//! then every second, third, fourth frame is left out. It climbs back with hysteresis: only when
//! the step up would leave room, only after a while, and after longer each time it was in vain.
//!
//! Pure: it is told times and temperatures and says what to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// `[degrade]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DegradeSettings {
    /// Leave work out on purpose when a live source cannot be kept up with.
    pub enabled: bool,
    /// From this on it is too hot, degrees Celsius: boards throttle a little above.
    pub max_celsius: f64,
    /// No step goes below so many frames per second.
    pub min_fps: f64,
}

impl Default for DegradeSettings {
    fn default() -> Self {
        Self { enabled: true, max_celsius: 92.0, min_fps: 5.0 }
    }
}

/// What is done of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// The person finder's interval is so many times the configured one.
    pub search_stride: u32,
    /// One of so many frames is looked at.
    pub frame_stride: u32,
}

impl Effort {
    /// Everything.
    pub const FULL: Self = Self { search_stride: 1, frame_stride: 1 };
}

/// From full effort to the least.
const LEVELS: [Effort; 5] = [
    Effort::FULL,
    Effort { search_stride: 3, frame_stride: 1 },
    Effort { search_stride: 3, frame_stride: 2 },
    Effort { search_stride: 3, frame_stride: 3 },
    Effort { search_stride: 3, frame_stride: 4 },
];

/// Above this share of the time, perception cannot keep up: displacements begin, and the finder is
/// cut.
const OVERLOAD: f64 = 0.95;
/// Above this one frames are left out. Between the two, the mailbox drops the few that are too
/// many: every second one would be a worse loss.
const OVERLOAD_BY_FAR: f64 = 1.25;
/// Below this expected share of the time, a step up leaves room.
const ROOM: f64 = 0.75;
/// Time constant of the running mean of the load.
const MEMORY_S: f64 = 1.0;
/// How long it must be too much before a step down.
const DOWN_AFTER_S: f64 = 2.0;
/// How long there must be room before a step up, at first.
const UP_AFTER_S: f64 = 10.0;
/// A step up that is taken back within this was in vain: the next waits twice as long.
const VAIN_WITHIN_S: f64 = 30.0;
/// The longest wait.
const UP_AFTER_MOST_S: f64 = 300.0;
/// It must be cooler than the limit by this before a step up.
const COOLER_BY: f64 = 4.0;

/// Why less than the whole is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cause {
    /// Perception takes so much of the time between frames: 1.2 is a fifth more than there is.
    Load(f64),
    /// So hot, degrees Celsius.
    Heat(f64),
}

/// What a governor is told after each frame.
#[derive(Clone, Copy, Debug)]
pub struct Observation {
    /// When the frame was captured.
    pub captured: Timestamp,
    /// The source's number of it.
    pub sequence: u64,
    /// How long perception took.
    pub busy: Duration,
    /// The hottest sensor.
    pub celsius: Option<f64>,
}

/// Decides how much is done.
#[derive(Debug)]
pub struct Governor {
    settings: DegradeSettings,
    level: usize,
    cause: Option<Cause>,
    /// The frame before, and the source's seconds per frame.
    before: Option<(Timestamp, u64)>,
    interval_s: Option<f64>,
    load: f64,
    too_much_since: Option<Timestamp>,
    room_since: Option<Timestamp>,
    stepped_up: Option<Timestamp>,
    up_after_s: f64,
    /// When the temperature was last read, and what it was.
    celsius: Option<(Timestamp, Option<f64>)>,
}

impl Governor {
    /// At full effort.
    pub fn new(settings: DegradeSettings) -> Self {
        Self {
            settings,
            level: 0,
            cause: None,
            before: None,
            interval_s: None,
            load: 0.0,
            too_much_since: None,
            room_since: None,
            stepped_up: None,
            up_after_s: UP_AFTER_S,
            celsius: None,
        }
    }

    /// The temperature, read at most once a second: sensors are slow to answer.
    pub fn celsius(&mut self, now: Timestamp, read: impl FnOnce() -> Option<f64>) -> Option<f64> {
        match self.celsius {
            Some((at, known)) if (0.0..1.0).contains(&now.secs_since(at)) => known,
            _ => self.celsius.insert((now, read())).1,
        }
    }

    /// How much is to be done now.
    pub fn effort(&self) -> Effort {
        LEVELS[self.level]
    }

    /// Why it is less than the whole; `None` if it is the whole.
    pub fn cause(&self) -> Option<Cause> {
        self.cause.filter(|_| self.level > 0)
    }

    /// Is this frame to be left out? By its number, so that what is left stays evenly spaced.
    pub fn leaves_out(&self, sequence: u64) -> bool {
        !sequence.is_multiple_of(u64::from(self.effort().frame_stride))
    }

    /// Takes what the last frame cost; true if the effort changes by it.
    pub fn observe(&mut self, seen: &Observation) -> bool {
        if !self.settings.enabled {
            return false;
        }
        let now = seen.captured;
        let Some((before, number)) = self.before.replace((now, seen.sequence)) else {
            return false;
        };
        let passed = now.secs_since(before);
        let frames = seen.sequence.wrapping_sub(number);
        // A reopened source counts anew, a recording may jump back; a pause is no frame rate.
        if !(passed > 0.0 && passed < 5.0 && (1..=1_000).contains(&frames)) {
            self.too_much_since = None;
            self.room_since = None;
            return false;
        }
        let follow = 1.0 - (-passed / MEMORY_S).exp();
        let interval = self.interval_s.get_or_insert(passed / frames as f64);
        *interval += follow * (passed / frames as f64 - *interval);
        let due = *interval * f64::from(self.effort().frame_stride);
        self.load += follow * (seen.busy.as_secs_f64() / due - self.load);
        self.decide(now, seen.celsius)
    }

    fn decide(&mut self, now: Timestamp, celsius: Option<f64>) -> bool {
        let limit = self.settings.max_celsius;
        let hot = celsius.filter(|c| *c >= limit);
        let most = if self.level == 0 { OVERLOAD } else { OVERLOAD_BY_FAR };
        let too_much = hot.is_some() || self.load > most;
        if !too_much {
            self.too_much_since = None;
        } else if now.secs_since(*self.too_much_since.get_or_insert(now)) >= DOWN_AFTER_S {
            self.cause = Some(hot.map_or(Cause::Load(self.load), Cause::Heat));
            return self.step_down(now);
        }
        let cool = celsius.is_none_or(|c| c < limit - COOLER_BY);
        if self.level == 0 || !cool || self.load_one_up() > ROOM {
            self.room_since = None;
        } else if now.secs_since(*self.room_since.get_or_insert(now)) >= self.up_after_s {
            self.level -= 1;
            self.stepped_up = Some(now);
            self.settle();
            return true;
        }
        false
    }

    fn step_down(&mut self, now: Timestamp) -> bool {
        let next = LEVELS.get(self.level + 1);
        let enough = |e: &&Effort| {
            let fps = self.interval_s.map_or(0.0, |s| 1.0 / (s * f64::from(e.frame_stride)));
            e.frame_stride == 1 || fps >= self.settings.min_fps
        };
        if next.filter(enough).is_none() {
            return false;
        }
        self.level += 1;
        let in_vain = self.stepped_up.is_some_and(|up| now.secs_since(up) < VAIN_WITHIN_S);
        self.up_after_s =
            if in_vain { (2.0 * self.up_after_s).min(UP_AFTER_MOST_S) } else { UP_AFTER_S };
        self.stepped_up = None;
        self.settle();
        true
    }

    /// The load that one step up would bring. What the finder costs is not known here, so that
    /// step asks for more room.
    fn load_one_up(&self) -> f64 {
        let (now, up) = (LEVELS[self.level], LEVELS[self.level.saturating_sub(1)]);
        let finder = if up.search_stride < now.search_stride { 1.25 } else { 1.0 };
        self.load * finder * f64::from(now.frame_stride) / f64::from(up.frame_stride)
    }

    /// After a step the load is another one: it is measured afresh.
    fn settle(&mut self) {
        self.too_much_since = None;
        self.room_since = None;
        self.load = self.load.min(OVERLOAD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source of 30 fps and a machine that needs `busy_ms` for a frame, `seconds` long.
    struct Machine {
        governor: Governor,
        frame: u64,
        celsius: Option<f64>,
        changes: usize,
        looked_at: u64,
    }

    impl Machine {
        fn new(settings: DegradeSettings) -> Self {
            let governor = Governor::new(settings);
            Self { governor, frame: 0, celsius: None, changes: 0, looked_at: 0 }
        }

        fn run(&mut self, seconds: f64, busy_ms: f64) {
            let until = self.frame + (seconds * 30.0) as u64;
            while self.frame < until {
                self.frame += 1;
                if self.governor.leaves_out(self.frame) {
                    continue;
                }
                self.looked_at += 1;
                let seen = Observation {
                    captured: Timestamp::from_secs_f64(self.frame as f64 / 30.0),
                    sequence: self.frame,
                    busy: Duration::from_secs_f64(busy_ms * 1e-3),
                    celsius: self.celsius,
                };
                self.changes += usize::from(self.governor.observe(&seen));
                // Frames that come while perception is busy are displaced.
                self.frame += ((busy_ms / 33.333) as u64).min(10);
            }
        }
    }

    #[test]
    fn a_machine_that_keeps_up_does_everything() {
        let mut m = Machine::new(DegradeSettings::default());
        m.run(60.0, 25.0);
        assert_eq!((m.governor.effort(), m.governor.cause(), m.changes), (Effort::FULL, None, 0));
    }

    #[test]
    fn the_finder_is_cut_before_the_frame_rate_and_the_cause_is_said() {
        let mut m = Machine::new(DegradeSettings::default());
        m.run(5.0, 40.0);
        assert_eq!(m.governor.effort(), LEVELS[1]);
        assert!(
            matches!(m.governor.cause(), Some(Cause::Load(l)) if l > 0.95),
            "{m:?}",
            m = m.governor
        );
        m.run(20.0, 40.0);
        assert_eq!(m.governor.effort(), LEVELS[1], "a fifth too much: the mailbox drops that");
        m.run(10.0, 45.0);
        assert_eq!(m.governor.effort(), LEVELS[2], "every second frame is enough for 45 ms");
    }

    #[test]
    fn it_climbs_back_when_there_is_room_and_not_before() {
        let mut m = Machine::new(DegradeSettings::default());
        m.run(20.0, 45.0);
        assert_eq!(m.governor.effort(), LEVELS[2]);
        m.run(8.0, 15.0);
        assert_eq!(m.governor.effort(), LEVELS[2], "not yet");
        m.run(40.0, 15.0);
        assert_eq!((m.governor.effort(), m.governor.cause()), (Effort::FULL, None));
    }

    #[test]
    fn a_load_at_the_edge_does_not_make_it_swing() {
        let mut m = Machine::new(DegradeSettings::default());
        // 26 ms fit at full rate, by less than the room that a step up wants.
        m.run(20.0, 45.0);
        let changes = m.changes;
        m.run(600.0, 26.0);
        assert_eq!(m.changes, changes, "{:?}", m.governor);
    }

    #[test]
    fn a_step_up_in_vain_is_tried_ever_more_rarely() {
        let mut m = Machine::new(DegradeSettings::default());
        let mut per_ten_minutes = Vec::new();
        for _ in 0..3 {
            let before = m.changes;
            for _ in 0..600 {
                // Cheap while little is done, too dear with everything: the finder's fault.
                let busy = if m.governor.effort() == Effort::FULL { 45.0 } else { 15.0 };
                m.run(1.0, busy);
            }
            per_ten_minutes.push(m.changes - before);
        }
        assert!(per_ten_minutes[0] > per_ten_minutes[2], "{per_ten_minutes:?}");
        assert!(per_ten_minutes[2] <= 6, "{per_ten_minutes:?}");
    }

    #[test]
    fn heat_counts_like_load_and_must_go_before_it_climbs_back() {
        let mut m = Machine::new(DegradeSettings::default());
        m.celsius = Some(95.0);
        m.run(12.0, 10.0);
        assert!(matches!(m.governor.cause(), Some(Cause::Heat(c)) if c == 95.0));
        assert_eq!(m.governor.effort(), LEVELS[4]);
        m.celsius = Some(90.0);
        m.run(60.0, 10.0);
        assert_eq!(m.governor.effort(), LEVELS[4], "90 is not yet cooler by four degrees");
        m.celsius = Some(80.0);
        m.run(60.0, 10.0);
        assert_eq!(m.governor.effort(), Effort::FULL);
    }

    #[test]
    fn it_does_not_go_below_the_least_frame_rate() {
        let mut m = Machine::new(DegradeSettings { min_fps: 12.0, ..DegradeSettings::default() });
        m.run(60.0, 300.0);
        assert_eq!(m.governor.effort().frame_stride, 2, "15 fps; the next would be 10");
    }

    #[test]
    fn switched_off_it_does_nothing() {
        let mut m = Machine::new(DegradeSettings { enabled: false, ..Default::default() });
        m.run(60.0, 100.0);
        assert_eq!(m.governor.effort(), Effort::FULL);
    }
}
