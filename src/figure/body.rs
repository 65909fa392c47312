//! A body's measures, and the joints that follow from angles.
//!
//! Segment lengths are Winter's proportions of the body height (D. A. Winter, *Biomechanics and
//! Motor Control of Human Movement*, 4th ed., fig. 4.1, after Drillis and Contini): thigh 0.245,
//! shank 0.246, ankle height 0.039, upper arm 0.186, forearm 0.146, hand 0.108, foot length
//! 0.152. Winter's widths are outer measures; hip and shoulder *joint centres* lie nearer to the
//! middle, and the trunk's inner joints are not in his table, so these follow the means of motion
//! capture: half hip 0.057, half shoulder 0.103, spine 0.134, thorax 0.143, skull base 0.091,
//! head 0.071; the shoulder joint lies 1.5 % of the height below Winter's 0.818, the acromion.

use super::vec3::{Axes, V3, add, cross, dot, norm, scale, sub, unit};

/// Lengths in metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Body {
    /// Standing height, sole to vertex.
    pub height: f64,
    /// Hip to knee.
    pub thigh: f64,
    /// Knee to ankle.
    pub shank: f64,
    /// Ankle above the sole.
    pub ankle: f64,
    /// Pelvis to either hip.
    pub hip: f64,
    /// Pelvis to spine.
    pub spine: f64,
    /// Spine to thorax.
    pub thorax: f64,
    /// Thorax to either shoulder, sideways.
    pub shoulder: f64,
    /// Shoulders above the thorax, negative: below.
    pub shoulder_rise: f64,
    /// Thorax to skull base (Human3.6M's "neck" or "nose").
    pub neck: f64,
    /// Skull base to the Human3.6M head joint, 3 % of the height below the vertex.
    pub head: f64,
    /// Shoulder to elbow.
    pub upper_arm: f64,
    /// Elbow to wrist.
    pub forearm: f64,
    /// Wrist to fingertips.
    pub hand: f64,
    /// Ankle to the pivot under the heel, backwards.
    pub heel: f64,
    /// Ankle to the pivot under the ball of the foot, forwards.
    pub ball: f64,
    /// Ankle to the tip of the toes, forwards.
    pub toe: f64,
}

impl Body {
    /// An adult of the given height.
    pub fn of_height(height: f64) -> Self {
        let h = height;
        Self {
            height,
            thigh: 0.245 * h,
            shank: 0.246 * h,
            ankle: 0.039 * h,
            hip: 0.057 * h,
            spine: 0.134 * h,
            thorax: 0.143 * h,
            shoulder: 0.103 * h,
            shoulder_rise: -0.004 * h,
            neck: 0.091 * h,
            head: 0.071 * h,
            upper_arm: 0.186 * h,
            forearm: 0.146 * h,
            hand: 0.108 * h,
            // Foot length 0.152: a third behind the malleolus would be a duck; a quarter is usual.
            heel: 0.030 * h,
            ball: 0.076 * h,
            toe: 0.117 * h,
        }
    }

    /// Hip to ankle of a straight leg.
    pub fn leg(&self) -> f64 {
        self.thigh + self.shank
    }
}

/// Arm angles, radians. All zero: hanging straight down, palm to the thigh.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ArmAngles {
    /// Shoulder flexion: forwards is positive.
    pub flexion: f64,
    /// Shoulder abduction: away from the trunk is positive.
    pub abduction: f64,
    /// Rotation of the humerus: outwards is positive.
    pub rotation: f64,
    /// Elbow flexion; never negative.
    pub elbow: f64,
}

impl ArmAngles {
    /// From `self` (at 0) to `other` (at 1), angle by angle.
    pub fn mix(self, other: Self, w: f64) -> Self {
        let m = |a: f64, b: f64| a + (b - a) * w;
        Self {
            flexion: m(self.flexion, other.flexion),
            abduction: m(self.abduction, other.abduction),
            rotation: m(self.rotation, other.rotation),
            elbow: m(self.elbow, other.elbow),
        }
    }
}

/// Elbow, wrist and fingertips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Arm {
    /// Elbow.
    pub elbow: V3,
    /// Wrist.
    pub wrist: V3,
    /// Fingertips.
    pub fingers: V3,
    /// The elbow's hinge axis, unit length.
    pub hinge: V3,
}

/// The arm that hangs from `shoulder` of a chest with the given axes; `side` is +1 for the left.
pub fn arm(body: &Body, chest: &Axes, shoulder: V3, side: f64, angles: &ArmAngles) -> Arm {
    // Each turn is about the axes that the turns before it left behind. With the arm hanging,
    // outward rotation of the left humerus is a turn to the left.
    let upper = chest
        .pitched(-angles.flexion)
        .rolled(side * angles.abduction)
        .yawed(side * angles.rotation);
    let fore = upper.pitched(-angles.elbow);
    let elbow = add(shoulder, scale(upper.up, -body.upper_arm));
    let wrist = add(elbow, scale(fore.up, -body.forearm));
    // A relaxed hand is bent a little towards the palm.
    let hand = fore.pitched(-0.15);
    Arm { elbow, wrist, fingers: add(wrist, scale(hand.up, -body.hand)), hinge: upper.left }
}

/// The knee of a leg from `hip` to `ankle`, bending towards `front`. The lengths are kept exactly
/// only if the ankle is within reach; [`reach`] says by how much it is.
pub fn knee(body: &Body, hip: V3, ankle: V3, front: V3) -> V3 {
    let (a, b) = (body.thigh, body.shank);
    let line = sub(ankle, hip);
    let d = norm(line).clamp((a - b).abs() + 1e-9, a + b - 1e-9);
    let along = unit(line);
    // Knee in the triangle of the three lengths: law of cosines.
    let x = (a * a - b * b + d * d) / (2.0 * d);
    let y = (a * a - x * x).max(0.0).sqrt();
    let aside = unit(sub(front, scale(along, dot(front, along))));
    add(hip, add(scale(along, x), scale(aside, y)))
}

/// How much shorter hip to ankle is than the straight leg, metres; negative is out of reach.
pub fn reach(body: &Body, hip: V3, ankle: V3) -> f64 {
    body.leg() - norm(sub(ankle, hip))
}

/// Flexion in radians of the joint `b` between segments a-b and b-c: 0 is straight. Positive if it
/// bends about `hinge` by the right-hand rule, negative against it.
pub fn flexion(a: V3, b: V3, c: V3, hinge: V3) -> f64 {
    let (u, v) = (sub(b, a), sub(c, b));
    let turn = cross(u, v);
    norm(turn).atan2(dot(u, v)) * dot(turn, hinge).signum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::vec3::distance;

    #[test]
    fn winters_shares_add_up_to_the_standing_height() {
        let b = Body::of_height(1.0);
        let hip = b.ankle + b.leg();
        assert!((hip - 0.530).abs() < 1e-9, "hip joint at 0.530 of the height (Winter)");
        let shoulder = hip + b.spine + b.thorax + b.shoulder_rise;
        assert!((0.795..0.815).contains(&shoulder), "joint below the acromion's 0.818");
        let top = hip + b.spine + b.thorax + b.neck + b.head;
        assert!((0.96..0.98).contains(&top), "head joint just below the vertex: {top}");
    }

    #[test]
    fn the_knee_keeps_both_lengths_and_lies_in_front() {
        let b = Body::of_height(1.75);
        let hip = [0.1, 0.2, 3.0];
        for ankle in [[0.1, 0.95, 3.0], [0.1, 0.9, 2.7], [0.3, 0.6, 3.1]] {
            let k = knee(&b, hip, ankle, [0.0, 0.0, -1.0]);
            assert!((distance(hip, k) - b.thigh).abs() < 1e-9);
            assert!((distance(k, ankle) - b.shank).abs() < 1e-9);
            let middle = scale(add(hip, ankle), 0.5);
            assert!(k[2] < middle[2] + 0.1);
        }
    }

    #[test]
    fn arm_angles_move_the_hand_where_their_names_say() {
        let b = Body::of_height(1.75);
        let chest = Axes::upright(0.0, 1.0);
        let at = |side: f64, f: f64, a: f64, r: f64, e: f64| {
            let angles = ArmAngles { flexion: f, abduction: a, rotation: r, elbow: e };
            arm(&b, &chest, [0.0; 3], side, &angles).wrist
        };
        let q = std::f64::consts::FRAC_PI_2;
        assert!(at(1.0, 0.0, 0.0, 0.0, 0.0)[1] > 0.5, "hangs down");
        assert!(at(1.0, q, 0.0, 0.0, 0.0)[2] > 0.5, "flexion is forwards");
        assert!(at(1.0, 0.0, q, 0.0, 0.0)[0] < -0.5, "left abduction is to the left");
        assert!(at(-1.0, 0.0, q, 0.0, 0.0)[0] > 0.5, "right abduction is to the right");
        assert!(at(1.0, 0.0, 0.0, 0.0, q)[2] > 0.2, "the elbow bends forwards");
        for side in [1.0, -1.0] {
            let waving = at(side, 0.0, q, q, q);
            assert!(waving[1] < -0.2, "rotated outwards, the bent forearm points up: {waving:?}");
        }
    }
}
