//! Where the feet and the pelvis are while the figure walks.
//!
//! A walk is a row of footfalls, laid out in advance on the path: a planted foot stays where it
//! is, and the legs follow by inverse kinematics, so that nothing slides. Phase `u` counts steps:
//! foot `k` (1..=n) strikes the floor at `u = k`, and the two feet share the ground until
//! `u = k + DOUBLE_SUPPORT`. The first and the last step are half steps, from and to feet side by
//! side. Timing and foot angles follow normal gait (J. Perry, *Gait Analysis*: stance 62 % of the
//! stride, heel off in mid-stance, 60 degrees of knee flexion in swing).

use super::body::Body;
use super::vec3::{Axes, V3, add, scale, smooth};

/// Share of a step in which both feet carry.
pub const DOUBLE_SUPPORT: f64 = 0.22;
/// Seconds per step.
pub const STEP_SECS: f64 = 0.56;
/// Half the distance between the feet's lines while walking, metres.
const WALK_HALF_WIDTH: f64 = 0.062;
/// The same while standing.
const STAND_HALF_WIDTH: f64 = 0.105;
/// Pitch of the foot when the heel strikes (toes up), radians.
const STRIKE: f64 = 0.36;
/// Pitch when the toes leave (heel up).
const LIFT: f64 = -0.95;
/// Phase from a strike to the foot lying flat.
const FLATTEN: f64 = 0.2;
/// Phase from a strike to the heel's rise.
const HEEL_RISE: f64 = 0.62;

/// The closed path on the floor: an ellipse in front of the camera.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// Distance of its centre from the camera along z, metres.
    pub depth: f64,
    /// Half width along x, metres.
    pub half_width: f64,
    /// Half depth along z, metres.
    pub half_depth: f64,
    /// The floor's y in the camera frame: the camera's height, metres.
    pub floor: f64,
}

impl Path {
    /// The floor point at path angle `a` (radians; increasing angles are walked).
    pub fn point(&self, a: f64) -> V3 {
        [self.half_width * a.cos(), self.floor, self.depth + self.half_depth * a.sin()]
    }

    /// Upright axes facing along the path.
    pub fn axes(&self, a: f64) -> Axes {
        Axes::upright(-self.half_width * a.sin(), self.half_depth * a.cos())
    }

    /// Metres per radian.
    pub fn speed(&self, a: f64) -> f64 {
        (self.half_width * a.sin()).hypot(self.half_depth * a.cos())
    }
}

/// A walk from standing at path angle `from` to standing at `to`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Walk {
    /// Path angle at the start.
    pub from: f64,
    /// Path angle at the end.
    pub to: f64,
    /// Footfalls, at least 3.
    pub steps: u32,
    /// +1 if the left foot goes first, -1 if the right.
    pub first: f64,
}

/// The pelvis's state, and the phase-dependent signals that the upper body follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stride {
    /// Path angle below the pelvis.
    pub angle: f64,
    /// 0 standing .. 1 walking steadily.
    pub intensity: f64,
    /// +1 when the left foot strikes, -1 when the right one does.
    pub reach: f64,
    /// +1 in the middle of left stance, -1 of right stance.
    pub stance: f64,
    /// -1 in double support .. +1 in the middle of single support.
    pub rise: f64,
    /// Local step length, metres.
    pub step: f64,
}

/// One foot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Foot {
    /// Ankle joint, metres.
    pub ankle: V3,
    /// The foot's axes: forward along the sole.
    pub axes: Axes,
    /// The toes' axes: in front of the ball they stay flat while the heel is up.
    pub toes: Axes,
    /// Pitch, radians: toes up is positive.
    pub pitch: f64,
    /// True while it carries.
    pub planted: bool,
    /// The point under the sole that touches the floor (or would, without the swing's lift).
    pub pivot: V3,
}

impl Walk {
    /// Radians of path per full step.
    fn stride(&self) -> f64 {
        (self.to - self.from) / f64::from(self.steps - 1)
    }

    /// The pelvis at phase `u`.
    pub fn stride_at(&self, path: &Path, u: f64) -> Stride {
        let n = f64::from(self.steps);
        let u = u.clamp(0.0, n);
        // Position in steps and its derivative: level speed 1 between the first and the last
        // footfall, quartic starts and stops of half a step that join it in the second derivative.
        let ramp = |x: f64| (x * x * x - 0.5 * x.powi(4), smooth(x));
        let (position, intensity) = if u < 1.0 {
            ramp(u)
        } else if u > n - 1.0 {
            let (p, v) = ramp(n - u);
            (n - 1.0 - p, v)
        } else {
            (u - 0.5, 1.0)
        };
        let angle = self.from + position * self.stride();
        let half = std::f64::consts::PI * u;
        Stride {
            angle,
            intensity,
            reach: -self.first * half.cos(),
            stance: -self.first * half.sin(),
            rise: -(2.0 * half - 0.3).cos(),
            step: path.speed(angle) * self.stride().abs(),
        }
    }

    /// Path angle and half width of footfall `k`; 0 is where the walk begins.
    fn footfall(&self, k: i64) -> (f64, f64) {
        let last = i64::from(self.steps) - 1;
        let k = k.clamp(0, last);
        let width = if k == 0 || k == last { STAND_HALF_WIDTH } else { WALK_HALF_WIDTH };
        (self.from + k as f64 * self.stride(), width)
    }

    /// The foot of `side` (+1 left) at phase `u`.
    pub fn foot(&self, body: &Body, path: &Path, side: f64, u: f64) -> Foot {
        let n = i64::from(self.steps);
        // This side's footfalls are odd if it goes first, even otherwise.
        let odd = i64::from(side * self.first > 0.0);
        // The footfall that it is on, or on its way from: the latest one whose successor has not
        // struck.
        let mut k = if odd == 1 { -1 } else { 0 };
        while k + 2 <= n && u >= (k + 2) as f64 {
            k += 2;
        }
        let next = k + 2;
        let here = place(path, self.footfall(k), side);
        if next > n {
            let pitch = self.strike_pitch(k) * (1.0 - smooth((u - k as f64) / FLATTEN));
            return stand(body, here, pitch, true);
        }
        let struck = k as f64;
        let lift_phase = next as f64 - 1.0 + DOUBLE_SUPPORT;
        let (rise_from, lift) = match (k, next) {
            // The very first step leaves from standing: a shallow lift.
            (-1, _) => (0.0, LIFT * 0.45),
            // The last one only comes alongside.
            (_, e) if e == n => (struck + HEEL_RISE, LIFT * 0.6),
            (0, _) => (HEEL_RISE, LIFT * 0.8),
            _ => (struck + HEEL_RISE, LIFT),
        };
        let span = lift_phase - rise_from;
        if u <= lift_phase {
            let down = if k > 0 { self.strike_pitch(k) } else { 0.0 };
            let flat = down * (1.0 - smooth((u - struck) / FLATTEN));
            // The heel leaves slowly and fast towards the end.
            let x = ((u - rise_from) / span).max(0.0);
            return stand(body, here, flat + lift * x * x, true);
        }
        let there = place(path, self.footfall(next), side);
        let land = next as f64;
        let x = (u - lift_phase) / (land - lift_phase);
        // Pitch: a cubic that goes on turning at the speed of the toe-off and ends level.
        let slope = 2.0 * lift / span * (land - lift_phase);
        let strike = self.strike_pitch(next);
        let (x2, x3) = (x * x, x * x * x);
        let pitch = lift * (2.0 * x3 - 3.0 * x2 + 1.0)
            + slope * (x3 - 2.0 * x2 + x)
            + strike * (3.0 * x2 - 2.0 * x3);
        // The foot hurries late: it must not be in front before the hip has come along.
        let way = match next {
            1 => hurry(x, 4.0),
            e if e == n => hurry(x, 2.0),
            _ => hurry(x, 2.8),
        };
        let ground = Placement {
            point: super::vec3::mix(here.point, there.point, way),
            heading: here.heading + turn(here.heading, there.heading) * way,
        };
        // In the air the foot rolls over from its ball to its heel, and the toes straighten.
        // The last foot has no heel strike: it stays on its ball until it lies flat.
        let roll = if next == n { 0.0 } else { smooth((x - 0.45) / 0.5) };
        let flat = Axes::upright(ground.heading.sin(), ground.heading.cos());
        let toes = flat.pitched(-pitch * smooth(x / 0.8));
        let ball = stand(body, ground, pitch, true);
        let (on_ball, on_heel) =
            (rolled(body, ground, pitch, body.ball), rolled(body, ground, pitch, -body.heel));
        let clear = 16.0 * x2 * (1.0 - x) * (1.0 - x) * 0.046;
        let lifted = [0.0, -clear, 0.0];
        Foot {
            ankle: add(super::vec3::mix(on_ball, on_heel, roll), lifted),
            planted: false,
            toes,
            ..ball
        }
    }

    /// Toes-up pitch with which footfall `k` strikes.
    fn strike_pitch(&self, k: i64) -> f64 {
        match k {
            k if k <= 0 => 0.0,
            // The last foot comes down flat beside the other.
            k if k >= i64::from(self.steps) => 0.0,
            _ => STRIKE,
        }
    }
}

/// Both feet side by side at a path angle.
pub fn standing_foot(body: &Body, path: &Path, angle: f64, side: f64) -> Foot {
    stand(body, place(path, (angle, STAND_HALF_WIDTH), side), 0.0, true)
}

/// Where a foot is put: the floor below the ankle of a flat foot.
#[derive(Clone, Copy)]
struct Placement {
    point: V3,
    /// Angle in the floor plane, from z towards x.
    heading: f64,
}

fn place(path: &Path, (angle, width): (f64, f64), side: f64) -> Placement {
    let axes = path.axes(angle);
    let point = add(path.point(angle), scale(axes.left, side * width));
    // Feet point outwards a little: 7 degrees is usual.
    let out = axes.yawed(side * 0.12);
    Placement { point, heading: out.forward[0].atan2(out.forward[2]) }
}

/// From 0 to 1 with level ends; `late` = 2 is the symmetric cubic, more leaves later.
fn hurry(x: f64, late: f64) -> f64 {
    x.powf(late) * (late + 1.0 - late * x)
}

/// The shorter way from heading `a` to heading `b`.
fn turn(a: f64, b: f64) -> f64 {
    let d = (b - a).rem_euclid(std::f64::consts::TAU);
    if d > std::f64::consts::PI { d - std::f64::consts::TAU } else { d }
}

/// The ankle of a foot at `ground` that has rolled by `pitch` about a point of its sole `ahead` of
/// the ankle.
fn rolled(body: &Body, ground: Placement, pitch: f64, ahead: f64) -> V3 {
    let flat = Axes::upright(ground.heading.sin(), ground.heading.cos());
    let pivot = flat.point(ground.point, ahead, 0.0, 0.0);
    flat.pitched(-pitch).point(pivot, -ahead, 0.0, body.ankle)
}

/// A foot on the ground: on its heel with the toes up, on its ball with the heel up.
fn stand(body: &Body, ground: Placement, pitch: f64, planted: bool) -> Foot {
    let ahead = if pitch > 0.0 { -body.heel } else { body.ball };
    let flat = Axes::upright(ground.heading.sin(), ground.heading.cos());
    Foot {
        ankle: rolled(body, ground, pitch, ahead),
        axes: flat.pitched(-pitch),
        toes: flat.pitched(-pitch.max(0.0)),
        pitch,
        planted,
        pivot: flat.point(ground.point, ahead, 0.0, 0.0),
    }
}
