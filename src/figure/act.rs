//! What the figure does over its period: walks between stops, and at each stop one act.

use super::body::ArmAngles;
use super::gait::{STEP_SECS, Walk};
use super::vec3::smooth;

/// What happens at a stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Act {
    /// Waves the arm of one side (+1 left, -1 right), looking into the camera.
    Wave(f64),
    /// That many squats, arms held forward.
    Squat(u32),
    /// One squat, then both arms stretched overhead.
    Stretch,
}

/// One stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scene {
    /// Walking.
    Walk(Walk),
    /// Standing at a path angle.
    Stop {
        /// Where.
        angle: f64,
        /// Doing what.
        act: Act,
    },
}

/// A scene and its length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// What happens.
    pub scene: Scene,
    /// For how long, nanoseconds.
    pub nanos: i64,
}

use std::f64::consts::PI;

const fn stop(angle: f64, act: Act, millis: i64) -> Timed {
    Timed { scene: Scene::Stop { angle, act }, nanos: millis * 1_000_000 }
}

const fn walk(from: f64, to: f64, steps: u32, first: f64) -> Timed {
    let nanos = (STEP_SECS * 1e9) as i64 * steps as i64;
    Timed { scene: Scene::Walk(Walk { from, to, steps, first }), nanos }
}

/// The programme: two rounds of the path. The stops face the camera, pass it sideways, and turn
/// their back; steps are 0.48 to 0.6 m long.
pub const PROGRAMME: [Timed; 8] = [
    stop(PI, Act::Wave(-1.0), 3_600),
    walk(PI, 4.41, 4, 1.0),
    stop(4.41, Act::Squat(2), 5_400),
    walk(4.41, 7.07, 7, -1.0),
    stop(7.07, Act::Wave(1.0), 3_400),
    walk(7.07, 10.3, 8, 1.0),
    stop(10.3, Act::Stretch, 5_600),
    walk(10.3, 5.0 * PI, 13, -1.0),
];

/// What an act adds to standing still.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gesture {
    /// Left and right arm, and how much of them replaces the arm of standing.
    pub arms: [(ArmAngles, f64); 2],
    /// 0 standing .. 1 in the depth of a squat.
    pub squat: f64,
    /// How much the head turns to the camera, 0..1.
    pub gaze: f64,
}

impl Act {
    /// The gesture at `t` of `length` seconds. It begins and ends with nothing, level.
    pub fn gesture(self, t: f64, length: f64) -> Gesture {
        let during = smooth(t / 0.8) * smooth((length - t) / 0.8);
        let mut g = Gesture::default();
        match self {
            Self::Wave(side) => {
                let swing = (std::f64::consts::TAU * 1.7 * t).sin();
                let angles = ArmAngles {
                    flexion: 0.25,
                    abduction: 1.35,
                    rotation: 1.35,
                    elbow: 1.35 + 0.5 * swing,
                };
                g.arms[usize::from(side < 0.0)] = (angles, during);
                g.gaze = during;
            }
            Self::Squat(times) => g.squat(f64::from(times) * t / length),
            Self::Stretch => {
                let (dip, rest) = (2.8, length - 2.8);
                if t < dip {
                    g.squat(t / dip);
                } else {
                    let up = smooth((t - dip) / 1.1) * smooth((length - t) / 1.1);
                    let sway = 0.12 * (std::f64::consts::TAU * (t - dip) / rest).sin();
                    let angles = |lean: f64| ArmAngles {
                        flexion: 0.15,
                        abduction: 2.55 + lean,
                        rotation: 0.9,
                        elbow: 0.35,
                    };
                    g.arms = [(angles(sway), up), (angles(-sway), up)];
                }
            }
        }
        g
    }
}

impl Gesture {
    /// `turns`: 0..1 is one squat down and up.
    fn squat(&mut self, turns: f64) {
        self.squat = 0.5 - 0.5 * (std::f64::consts::TAU * turns).cos();
        let forward = ArmAngles { flexion: 1.45, abduction: 0.05, rotation: 0.0, elbow: 0.2 };
        self.arms = [(forward, self.squat); 2];
    }
}
