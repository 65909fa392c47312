//! A procedural human and its truth: who walks through `demo:`, and what a perfect sensor would
//! say about him.
//!
//! [`Figure::at`] is a pure function of time. It gives every joint in metres in the camera frame
//! (x right, y down, z forward, level camera), from a gait of our own: nothing is recorded and
//! nothing is third-party data. Start with [`act`] (what he does), then [`gait`] (feet and
//! pelvis), [`body`] (measures, knees, arms); [`flesh`] puts solids around the bones, which
//! `capture::demo` draws; [`truth`] projects him and says what the camera can see.

pub mod act;
pub mod body;
pub mod flesh;
pub mod gait;
pub mod random;
pub mod truth;
pub mod vec3;

use crate::skeleton::{JOINTS, coco, h36m};
use crate::time::Timestamp;

use act::{Act, Gesture, PROGRAMME, Scene};
use body::{Arm, ArmAngles, Body};
use gait::{Foot, Path, Stride};
use vec3::{Axes, V3, add, mix, scale, sub};

/// How long the figure takes to be back where it began: after that, everything repeats.
pub const PERIOD_NANOS: i64 = {
    let mut sum = 0;
    let mut i = 0;
    while i < PROGRAMME.len() {
        sum += PROGRAMME[i].nanos;
        i += 1;
    }
    sum
};

/// The figure and its surroundings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The body's measures.
    pub body: Body,
    /// Where it walks.
    pub path: Path,
}

impl Default for Figure {
    /// 1.75 m tall, 2.7 to 4.8 m from a camera that stands level, 1 m above the floor.
    fn default() -> Self {
        Self {
            body: Body::of_height(1.75),
            path: Path { depth: 3.75, half_width: 1.22, half_depth: 1.1, floor: 1.0 },
        }
    }
}

/// The figure at one moment. Metres, camera frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Human3.6M-17 joints (see [`h36m`]); 0 is the pelvis, between the hips. "Neck" is the top of
    /// the neck at the skull's base, "head" the upper skull, 3 % of the height below the vertex.
    pub joints: [V3; JOINTS],
    /// The points that COCO-17 keypoints mark, COCO's order: nose tip, eyes and ears on the skin,
    /// joint centres below.
    pub keypoints: [V3; JOINTS],
    /// Axes of the pelvis.
    pub pelvis: Axes,
    /// Axes of the chest.
    pub chest: Axes,
    /// Axes of the head.
    pub head: Axes,
    /// Left and right arm.
    pub arms: [Arm; 2],
    /// Left and right foot.
    pub feet: [Foot; 2],
    /// Where each knee points, unit length: its hinge is `front × along the leg`.
    pub knee_fronts: [V3; 2],
    /// The smaller of both legs' slack, metres: how much shorter hip to ankle is than a straight
    /// leg. Never negative unless the measures do not fit the path.
    pub slack: f64,
}

impl Pose {
    /// The joints relative to the pelvis: what a lifter gives.
    pub fn root_relative(&self) -> [V3; JOINTS] {
        self.joints.map(|j| sub(j, self.joints[h36m::PELVIS]))
    }
}

/// How far the hips sink in a squat, as a share of the leg.
const SQUAT_DEPTH: f64 = 0.46;

/// What the upper body follows.
struct Motion {
    stride: Stride,
    feet: [Foot; 2],
    gesture: Gesture,
}

impl Figure {
    /// The pose at `t`, which may be any time: the motion repeats every [`PERIOD_NANOS`].
    pub fn at(&self, t: Timestamp) -> Pose {
        let within = t.nanos().rem_euclid(PERIOD_NANOS);
        let motion = self.motion(within);
        self.pose(&motion, within as f64 / PERIOD_NANOS as f64)
    }

    fn motion(&self, mut nanos: i64) -> Motion {
        let (mut timed, mut rest) = (&PROGRAMME[0], PROGRAMME.as_slice());
        while let [first, others @ ..] = rest {
            timed = first;
            if nanos < timed.nanos || others.is_empty() {
                break;
            }
            nanos -= timed.nanos;
            rest = others;
        }
        let (t, length) = (nanos as f64 * 1e-9, timed.nanos as f64 * 1e-9);
        match timed.scene {
            Scene::Walk(walk) => {
                let u = t / length * f64::from(walk.steps);
                let foot = |side| walk.foot(&self.body, &self.path, side, u);
                Motion {
                    stride: walk.stride_at(&self.path, u),
                    feet: [foot(1.0), foot(-1.0)],
                    gesture: Gesture::default(),
                }
            }
            Scene::Stop { angle, act } => {
                let foot = |side| gait::standing_foot(&self.body, &self.path, angle, side);
                let stride =
                    Stride { angle, intensity: 0.0, reach: 0.0, stance: 0.0, rise: 0.0, step: 0.0 };
                Motion {
                    stride,
                    feet: [foot(1.0), foot(-1.0)],
                    gesture: Act::gesture(act, t, length),
                }
            }
        }
    }

    /// Height of the hips above the floor.
    fn hip_height(&self, s: &Stride, squat: f64) -> f64 {
        let b = &self.body;
        let standing = b.ankle + 0.9955 * b.leg();
        // In double support each leg spans half a step, less what the foot's roll and the
        // pelvis's turn give; the ankle has risen a little on the struck heel.
        let span = (0.5 * s.step - 0.035).max(0.0);
        let low = b.ankle + 0.012 + ((0.986 * b.leg()).powi(2) - span * span).max(0.0).sqrt();
        let high = b.ankle + 0.986 * b.leg();
        let walking = low + (high - low) * (0.5 + 0.5 * s.rise);
        standing + (walking - standing) * s.intensity - squat * SQUAT_DEPTH * b.leg()
    }

    fn pose(&self, m: &Motion, period: f64) -> Pose {
        let (b, s, g) = (&self.body, &m.stride, &m.gesture);
        let walking = s.intensity;
        let ground = self.path.axes(s.angle);
        // Standing is never still: the weight wanders, breathing lifts the chest.
        let wander = |cycles: f64| (std::f64::consts::TAU * cycles * period).sin();
        let sway = 0.006 * wander(9.0) * (1.0 - walking) + 0.02 * walking * s.stance;
        let back = -0.19 * g.squat + 0.004 * wander(13.0) * (1.0 - walking);
        let height = self.hip_height(s, g.squat);
        let pelvis_at = ground.point(self.path.point(s.angle), back, sway, height);

        let pelvis = ground
            .yawed(-0.09 * s.reach * walking)
            .rolled(0.06 * s.stance * walking)
            .pitched(0.03 * walking + 0.45 * g.squat);
        let chest = ground
            .yawed(0.10 * s.reach * walking)
            .rolled(-0.02 * s.stance * walking)
            .pitched(0.06 * walking + 0.62 * g.squat + 0.008 * wander(11.0));
        let spine = pelvis.point(pelvis_at, -0.012, 0.0, b.spine);
        let thorax = chest.point(spine, -0.006, 0.0, b.thorax);
        let shoulder = |side: f64| chest.point(thorax, 0.0, side * b.shoulder, b.shoulder_rise);

        // The head looks ahead, upright; at a gesture to the camera as far as the neck allows.
        let to_camera = scale(thorax, -1.0);
        let forward = vec3::dot(to_camera, ground.forward);
        let aside = vec3::dot(to_camera, ground.left);
        let turn = 0.9 * (aside.atan2(forward) / 0.9).tanh();
        let look = turn * g.gaze + 0.05 * wander(5.0);
        let head = ground.yawed(look).pitched(0.04 + 0.2 * g.squat + 0.02 * wander(7.0));
        let neck = mix(chest.up, head.up, 0.5);
        let neck = vec3::unit(add(neck, scale(chest.forward, 0.20)));
        let skull = add(thorax, scale(neck, b.neck));
        let face =
            |f: f64, l: f64, u: f64| head.point(skull, f * b.height, l * b.height, u * b.height);

        let arms = [1.0, -1.0].map(|side| {
            let swing = -side * s.reach * walking;
            let hanging = ArmAngles {
                flexion: 0.02 + 0.04 * walking + 0.34 * swing,
                abduction: 0.14,
                rotation: -0.25,
                elbow: 0.22 + 0.12 * walking + 0.16 * swing,
            };
            let (other, weight) = g.arms[usize::from(side < 0.0)];
            body::arm(b, &chest, shoulder(side), side, &hanging.mix(other, weight))
        });

        let hip = |side: f64| pelvis.point(pelvis_at, 0.0, side * b.hip, 0.0);
        let hips = [hip(1.0), hip(-1.0)];
        let knee_fronts = [0, 1].map(|i| {
            // Knees follow the toes more than the hips, and open a little in a squat.
            let out = if i == 0 { 1.0 } else { -1.0 };
            let toes = Axes::upright(m.feet[i].axes.forward[0], m.feet[i].axes.forward[2]);
            let front = mix(ground.forward, toes.forward, 0.6);
            vec3::unit(add(front, scale(ground.left, out * 0.15 * g.squat)))
        });
        let knee = |i: usize| body::knee(b, hips[i], m.feet[i].ankle, knee_fronts[i]);
        let knees = [knee(0), knee(1)];
        let slack =
            (0..2).map(|i| body::reach(b, hips[i], m.feet[i].ankle)).fold(f64::INFINITY, f64::min);

        let mut joints = [[0.0; 3]; JOINTS];
        joints[h36m::PELVIS] = pelvis_at;
        joints[h36m::LEFT_HIP] = hips[0];
        joints[h36m::LEFT_KNEE] = knees[0];
        joints[h36m::LEFT_ANKLE] = m.feet[0].ankle;
        joints[h36m::RIGHT_HIP] = hips[1];
        joints[h36m::RIGHT_KNEE] = knees[1];
        joints[h36m::RIGHT_ANKLE] = m.feet[1].ankle;
        joints[h36m::SPINE] = spine;
        joints[h36m::THORAX] = thorax;
        joints[h36m::NECK] = skull;
        joints[h36m::HEAD] = head.point(skull, 0.005, 0.0, b.head);
        joints[h36m::LEFT_SHOULDER] = shoulder(1.0);
        joints[h36m::LEFT_ELBOW] = arms[0].elbow;
        joints[h36m::LEFT_WRIST] = arms[0].wrist;
        joints[h36m::RIGHT_SHOULDER] = shoulder(-1.0);
        joints[h36m::RIGHT_ELBOW] = arms[1].elbow;
        joints[h36m::RIGHT_WRIST] = arms[1].wrist;

        let mut keypoints = [[0.0; 3]; JOINTS];
        for (to, from) in COCO_FROM_H36M {
            keypoints[to] = joints[from];
        }
        keypoints[coco::NOSE] = face(0.067, 0.0, 0.016);
        keypoints[coco::LEFT_EYE] = face(0.050, 0.018, 0.037);
        keypoints[coco::RIGHT_EYE] = face(0.050, -0.018, 0.037);
        keypoints[coco::LEFT_EAR] = face(0.002, 0.043, 0.026);
        keypoints[coco::RIGHT_EAR] = face(0.002, -0.043, 0.026);

        Pose { joints, keypoints, pelvis, chest, head, arms, feet: m.feet, knee_fronts, slack }
    }
}

/// COCO's body points that are Human3.6M joints: (COCO index, Human3.6M index).
const COCO_FROM_H36M: [(usize, usize); 12] = [
    (coco::LEFT_SHOULDER, h36m::LEFT_SHOULDER),
    (coco::RIGHT_SHOULDER, h36m::RIGHT_SHOULDER),
    (coco::LEFT_ELBOW, h36m::LEFT_ELBOW),
    (coco::RIGHT_ELBOW, h36m::RIGHT_ELBOW),
    (coco::LEFT_WRIST, h36m::LEFT_WRIST),
    (coco::RIGHT_WRIST, h36m::RIGHT_WRIST),
    (coco::LEFT_HIP, h36m::LEFT_HIP),
    (coco::RIGHT_HIP, h36m::RIGHT_HIP),
    (coco::LEFT_KNEE, h36m::LEFT_KNEE),
    (coco::RIGHT_KNEE, h36m::RIGHT_KNEE),
    (coco::LEFT_ANKLE, h36m::LEFT_ANKLE),
    (coco::RIGHT_ANKLE, h36m::RIGHT_ANKLE),
];

#[cfg(test)]
mod tests;
