//! Solids around the bones: what the camera sees of the figure.
//!
//! Every solid is a round cone (two spheres and the cone that touches both), some of them pressed
//! flat across their axis; a sphere, and so an ellipsoid, is the case of no length. A linear map
//! takes rays into the solid's own frame, where the cone is round and lies along z; ray parameters
//! survive it, so depths of different solids compare.

use arrayvec::ArrayVec;

use crate::skeleton::h36m;

use super::vec3::{Axes, V3, add, cross, dot, mix, norm, scale, sub, unit};
use super::{Figure, Pose};

/// The most solids that a figure has.
pub const MAX_SOLIDS: usize = 64;

/// What a solid is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stuff {
    /// Bare skin.
    Skin,
    /// The front of the head: skin with eyes, brows and mouth.
    Face,
    /// Hair.
    Hair,
    /// The shirt.
    Shirt,
    /// The trousers.
    Trousers,
    /// Upper leather.
    Shoe,
    /// The rim of the sole.
    Sole,
}

/// One solid, ready for rays.
#[derive(Clone, Copy, Debug)]
pub struct Solid {
    /// What it is made of.
    pub stuff: Stuff,
    /// Ends of the axis, metres, camera frame.
    pub ends: [[f32; 3]; 2],
    /// Radii of bounding spheres at the ends.
    pub reach: [f32; 2],
    /// Rows that take camera-frame differences to the solid's own frame.
    rows: [[f32; 3]; 3],
    radii: [f32; 2],
    length: f32,
    sin: f32,
    cos: f32,
}

/// Where a ray meets a solid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Ray parameter: the point is origin + t × direction.
    pub t: f32,
    /// Outward unit normal, camera frame.
    pub normal: [f32; 3],
}

fn single(v: V3) -> [f32; 3] {
    v.map(|x| x as f32)
}

fn dot32(a: [f32; 3], b: [f32; 3]) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

impl Solid {
    /// A round cone from `a` (radius `ra`) to `b` (radius `rb`), its extent along `flat` pressed
    /// to the share `ratio`.
    fn cone(stuff: Stuff, (a, ra): (V3, f64), (b, rb): (V3, f64), flat: V3, ratio: f64) -> Self {
        let axis = sub(b, a);
        let length = norm(axis).max(1e-6);
        let z = scale(axis, 1.0 / length);
        let x = unit(sub(flat, scale(z, dot(flat, z))));
        let rows = [scale(x, 1.0 / ratio), cross(z, x), z];
        // A cone that ends inside its larger sphere is that sphere; stay just short of it.
        let sin = ((ra - rb) / length).clamp(-0.999, 0.999);
        Self {
            stuff,
            ends: [single(a), single(b)],
            reach: [(ra * ratio.max(1.0)) as f32, (rb * ratio.max(1.0)) as f32],
            rows: rows.map(single),
            radii: [ra as f32, rb as f32],
            length: length as f32,
            sin: sin as f32,
            cos: (1.0 - sin * sin).sqrt() as f32,
        }
    }

    /// An ellipsoid with half axes along `axes` (forward, left, up).
    fn ellipsoid(stuff: Stuff, centre: V3, axes: &Axes, half: V3) -> Self {
        let rows = [
            scale(axes.forward, 1.0 / half[0]),
            scale(axes.left, 1.0 / half[1]),
            scale(axes.up, 1.0 / half[2]),
        ];
        let most = half[0].max(half[1]).max(half[2]) as f32;
        Self {
            stuff,
            ends: [single(centre); 2],
            reach: [most; 2],
            rows: rows.map(single),
            radii: [1.0; 2],
            length: 0.0,
            sin: 0.0,
            cos: 1.0,
        }
    }

    /// The solid's own coordinates of a camera-frame direction.
    #[inline]
    pub fn local(&self, v: [f32; 3]) -> [f32; 3] {
        [dot32(self.rows[0], v), dot32(self.rows[1], v), dot32(self.rows[2], v)]
    }

    /// The solid's own coordinates of the camera: origin of rays for [`hit`](Self::hit).
    pub fn camera(&self) -> [f32; 3] {
        self.local(self.ends[0].map(|x| -x))
    }

    /// First hit of the ray o + t d, both in the solid's own coordinates, from outside of it.
    #[inline]
    pub fn hit(&self, o: [f32; 3], d: [f32; 3]) -> Option<Hit> {
        let mut best = f32::INFINITY;
        let mut normal = [0.0; 3];
        if self.length > 0.0 {
            // The cone through both tangent circles: distance from the axis = (r - z sin) / cos.
            let (k, w) = (self.sin / self.cos, self.radii[0] / self.cos);
            let wo = w - k * o[2];
            let a = d[0] * d[0] + d[1] * d[1] - k * k * d[2] * d[2];
            let b = o[0] * d[0] + o[1] * d[1] + k * d[2] * wo;
            let c = o[0] * o[0] + o[1] * o[1] - wo * wo;
            let h = b * b - a * c;
            if h < 0.0 && a > 0.0 {
                // It misses even the infinite cone, and both spheres lie inside that.
                return None;
            }
            if h >= 0.0 && a.abs() > 1e-12 {
                let t = (-b - h.sqrt()) / a;
                let z = o[2] + t * d[2];
                let low = self.radii[0] * self.sin;
                let high = self.length + self.radii[1] * self.sin;
                if t > 0.0 && z >= low && z <= high {
                    best = t;
                    let (x, y) = (o[0] + t * d[0], o[1] + t * d[1]);
                    let over = self.cos / (x * x + y * y).sqrt().max(1e-9);
                    normal = [x * over, y * over, self.sin];
                }
            }
        }
        let dd = dot32(d, d);
        for (z, r) in [(0.0, self.radii[0]), (self.length, self.radii[1])] {
            let p = [o[0], o[1], o[2] - z];
            let b = dot32(p, d);
            let h = b * b - dd * (dot32(p, p) - r * r);
            if h >= 0.0 {
                let t = (-b - h.sqrt()) / dd;
                if t > 0.0 && t < best {
                    best = t;
                    normal = [p[0] + t * d[0], p[1] + t * d[1], p[2] + t * d[2]];
                }
            }
            if self.length == 0.0 {
                break;
            }
        }
        if best == f32::INFINITY {
            return None;
        }
        // Normals go back by the transpose.
        let r = &self.rows;
        let n: [f32; 3] = std::array::from_fn(|i| {
            r[0][i] * normal[0] + r[1][i] * normal[1] + r[2][i] * normal[2]
        });
        let over = 1.0 / dot32(n, n).sqrt().max(1e-12);
        Some(Hit { t: best, normal: n.map(|x| x * over) })
    }
}

/// The figure's solids in a pose.
pub fn solids(figure: &Figure, pose: &Pose) -> ArrayVec<Solid, MAX_SOLIDS> {
    let mut out = ArrayVec::new();
    // Measures below are those of a body of 1.75 m.
    let k = figure.body.height / 1.75;
    head(pose, k, &mut out);
    trunk(pose, k, &mut out);
    for side in 0..2 {
        arm(pose, side, k, &mut out);
        leg(pose, side, k, &mut out);
    }
    out
}

type Solids = ArrayVec<Solid, MAX_SOLIDS>;

fn head(pose: &Pose, k: f64, out: &mut Solids) {
    let (h, base) = (&pose.head, pose.joints[h36m::NECK]);
    let at = |f: f64, l: f64, u: f64| h.point(base, f * k, l * k, u * k);
    let mut blob = |stuff, centre, half: V3| {
        out.push(Solid::ellipsoid(stuff, centre, h, scale(half, k)));
    };
    blob(Stuff::Face, at(0.004, 0.0, 0.083), [0.096, 0.076, 0.092]);
    blob(Stuff::Face, at(0.036, 0.0, 0.014), [0.062, 0.057, 0.068]);
    blob(Stuff::Hair, at(-0.008, 0.0, 0.100), [0.101, 0.083, 0.089]);
    blob(Stuff::Hair, at(-0.030, 0.0, 0.060), [0.083, 0.079, 0.082]);
    for s in [1.0, -1.0] {
        blob(Stuff::Skin, at(0.003, s * 0.078, 0.045), [0.018, 0.010, 0.032]);
    }
    let nose = [(at(0.088, 0.0, 0.060), 0.010 * k), (at(0.106, 0.0, 0.028), 0.014 * k)];
    out.push(Solid::cone(Stuff::Skin, nose[0], nose[1], h.forward, 1.0));
    let throat = pose.chest.point(pose.joints[h36m::THORAX], 0.0, 0.0, 0.01 * k);
    let below = (throat, 0.060 * k);
    out.push(Solid::cone(Stuff::Skin, below, (at(0.0, 0.0, 0.03), 0.054 * k), h.left, 1.0));
}

fn trunk(pose: &Pose, k: f64, out: &mut Solids) {
    let (c, p) = (&pose.chest, &pose.pelvis);
    let (thorax, spine, pelvis) =
        (pose.joints[h36m::THORAX], pose.joints[h36m::SPINE], pose.joints[h36m::PELVIS]);
    let chest = |f: f64, l: f64, u: f64| c.point(thorax, f * k, l * k, u * k);
    let hips = |f: f64, l: f64, u: f64| p.point(pelvis, f * k, l * k, u * k);
    let shirt = Stuff::Shirt;
    let mut cone = |stuff, (a, ra): (V3, f64), (b, rb): (V3, f64), flat, ratio| {
        out.push(Solid::cone(stuff, (a, ra * k), (b, rb * k), flat, ratio));
    };
    // Ribcage, widest below the armpits, then the waist, then the shirt's hem over the hips.
    let ribs = (chest(0.012, 0.0, -0.20), 0.150);
    cone(shirt, (chest(0.005, 0.0, -0.075), 0.152), ribs, c.forward, 0.70);
    let waist = (p.point(mix(spine, pelvis, 0.35), 0.018 * k, 0.0, 0.0), 0.138);
    cone(shirt, ribs, waist, c.forward, 0.72);
    cone(shirt, waist, (hips(0.004, 0.0, 0.095), 0.148), p.forward, 0.76);
    for s in [1.0, -1.0] {
        // Breast muscle, collar bone to shoulder, and the slope from the neck.
        let breast = (chest(0.052, s * 0.035, -0.10), 0.066);
        cone(shirt, breast, (chest(0.045, s * 0.085, -0.09), 0.068), c.forward, 1.0);
        let top = (chest(-0.005, s * 0.130, -0.018), 0.056);
        cone(shirt, (chest(0.0, s * 0.05, -0.022), 0.064), top, c.forward, 1.0);
        cone(shirt, (chest(-0.014, s * 0.030, 0.045), 0.042), top, c.forward, 1.0);
        // Side of the back: the armpit's rear wall.
        let blade = (chest(-0.045, s * 0.085, -0.08), 0.068);
        cone(shirt, blade, (chest(-0.035, s * 0.075, -0.20), 0.060), c.forward, 1.0);
    }
    let hem = [0.126 * k, 0.172 * k, 0.088 * k];
    out.push(Solid::ellipsoid(shirt, hips(0.0, 0.0, 0.050), p, hem));
    let seat = [0.118 * k, 0.168 * k, 0.112 * k];
    out.push(Solid::ellipsoid(Stuff::Trousers, hips(0.0, 0.0, -0.005), p, seat));
    for s in [1.0, -1.0] {
        let half = [0.084 * k, 0.084 * k, 0.098 * k];
        out.push(Solid::ellipsoid(Stuff::Trousers, hips(-0.040, s * 0.072, -0.050), p, half));
    }
}

fn arm(pose: &Pose, side: usize, k: f64, out: &mut Solids) {
    let joint = [h36m::LEFT_SHOULDER, h36m::RIGHT_SHOULDER][side];
    let (shoulder, arm) = (pose.joints[joint], &pose.arms[side]);
    let s = if side == 0 { 1.0 } else { -1.0 };
    let hinge = arm.hinge;
    let mut cone = |stuff, (a, ra): (V3, f64), (b, rb): (V3, f64), ratio| {
        out.push(Solid::cone(stuff, (a, ra * k), (b, rb * k), hinge, ratio));
    };
    let inner = pose.chest.point(shoulder, 0.0, -s * 0.03 * k, -0.005 * k);
    cone(Stuff::Shirt, (inner, 0.059), (mix(shoulder, arm.elbow, 0.16), 0.061), 1.0);
    let hem = mix(shoulder, arm.elbow, 0.55);
    cone(Stuff::Shirt, (mix(shoulder, arm.elbow, 0.05), 0.060), (hem, 0.057), 1.0);
    cone(Stuff::Skin, (mix(shoulder, arm.elbow, 0.4), 0.049), (arm.elbow, 0.040), 1.0);
    let bulge = (mix(arm.elbow, arm.wrist, 0.24), 0.042);
    cone(Stuff::Skin, (arm.elbow, 0.040), bulge, 1.0);
    cone(Stuff::Skin, bulge, (arm.wrist, 0.027), 1.0);
    // The palm lies across the hinge; knuckles halfway to the fingertips.
    let knuckles = mix(arm.wrist, arm.fingers, 0.48);
    cone(Stuff::Skin, (mix(arm.wrist, arm.fingers, 0.06), 0.029), (knuckles, 0.041), 0.42);
    let tip = mix(arm.wrist, arm.fingers, 0.93);
    cone(Stuff::Skin, (knuckles, 0.039), (tip, 0.022), 0.36);
    // The thumb points forward of the hanging hand.
    let along = unit(sub(arm.fingers, arm.wrist));
    let ahead = unit(cross(along, hinge));
    let ahead = if dot(ahead, pose.chest.forward) < 0.0 { scale(ahead, -1.0) } else { ahead };
    let root = add(mix(arm.wrist, arm.fingers, 0.15), scale(ahead, 0.022 * k));
    let end = add(mix(arm.wrist, arm.fingers, 0.48), scale(ahead, 0.052 * k));
    cone(Stuff::Skin, (root, 0.015), (end, 0.010), 1.0);
}

fn leg(pose: &Pose, side: usize, k: f64, out: &mut Solids) {
    let [hip, knee, ankle] = [
        [h36m::LEFT_HIP, h36m::LEFT_KNEE, h36m::LEFT_ANKLE],
        [h36m::RIGHT_HIP, h36m::RIGHT_KNEE, h36m::RIGHT_ANKLE],
    ][side]
        .map(|j| pose.joints[j]);
    let s = if side == 0 { 1.0 } else { -1.0 };
    let (foot, toes) = (&pose.feet[side].axes, &pose.feet[side].toes);
    let mut cone = |stuff, (a, ra): (V3, f64), (b, rb): (V3, f64), flat, ratio| {
        out.push(Solid::cone(stuff, (a, ra * k), (b, rb * k), flat, ratio));
    };
    let outer = pose.pelvis.point(hip, 0.0, -s * 0.006 * k, -0.02 * k);
    cone(Stuff::Trousers, (outer, 0.090), (knee, 0.059), foot.left, 1.0);
    let calf = pose.knee_fronts[side];
    let belly = add(mix(knee, ankle, 0.28), scale(calf, -0.010 * k));
    cone(Stuff::Trousers, (knee, 0.059), (belly, 0.060), foot.left, 1.0);
    cone(Stuff::Trousers, (belly, 0.060), (mix(knee, ankle, 0.94), 0.050), foot.left, 1.0);
    cone(Stuff::Skin, (mix(knee, ankle, 0.9), 0.036), (ankle, 0.036), foot.left, 1.0);
    // Sole 7 cm below the ankle: shoes are round cones a little above it, and a flat sole.
    let at = |f: f64, l: f64, u: f64| foot.point(ankle, f * k, l * k, u * k);
    // In front of the ball, 13 cm from the ankle, the toes have their own direction.
    let ball = foot.point(ankle, 0.133 * k, 0.0, -0.068 * k);
    let tip = |f: f64, l: f64, u: f64| toes.point(ball, f * k, s * l * k, u * k);
    let shoe = Stuff::Shoe;
    cone(shoe, (at(-0.022, 0.0, -0.030), 0.036), (at(0.11, 0.0, -0.036), 0.040), foot.up, 0.84);
    cone(shoe, (at(0.0, 0.0, -0.005), 0.040), (at(0.085, 0.0, -0.032), 0.036), foot.left, 0.95);
    let root = (tip(-0.015, 0.0, 0.032), 0.041);
    cone(shoe, root, (tip(0.040, -0.008, 0.025), 0.034), toes.up, 0.74);
    let ball = (tip(-0.003, 0.0, 0.008), 0.045);
    cone(Stuff::Sole, (at(-0.024, 0.0, -0.060), 0.037), ball, foot.up, 0.22);
    cone(Stuff::Sole, ball, (tip(0.038, -0.008, 0.009), 0.037), toes.up, 0.22);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(solid: &Solid, from: [f32; 3], towards: [f32; 3]) -> Option<Hit> {
        let o = solid.local(std::array::from_fn(|i| from[i] - solid.ends[0][i]));
        solid.hit(o, solid.local(towards))
    }

    #[test]
    fn a_ray_meets_a_sphere_an_ellipsoid_and_a_cone_where_geometry_says() {
        let axes = Axes::upright(0.0, 1.0);
        let egg = Solid::ellipsoid(Stuff::Skin, [0.0, 0.0, 3.0], &axes, [0.5, 0.2, 0.3]);
        let hit = probe(&egg, [0.0; 3], [0.0, 0.0, 1.0]).unwrap();
        assert!((hit.t - 2.5).abs() < 1e-5 && (hit.normal[2] + 1.0).abs() < 1e-5, "{hit:?}");
        assert!(probe(&egg, [0.21, 0.0, 0.0], [0.0, 0.0, 1.0]).is_none());
        // A round cone from radius 0.3 down to 0.1 along x, one metre long.
        let (a, b) = (([0.0, 0.0, 3.0], 0.3), ([1.0, 0.0, 3.0], 0.1));
        let cone = Solid::cone(Stuff::Skin, a, b, [0.0, 1.0, 0.0], 1.0);
        // On the lateral surface at x: (r1 - x sin) / cos off the axis.
        let (sin, cos) = (0.2f32, 0.96f32.sqrt());
        let hit = probe(&cone, [0.5, 0.0, 0.0], [0.0, 0.0, 1.0]).unwrap();
        assert!((hit.t - (3.0 - (0.3 - 0.5 * sin) / cos)).abs() < 1e-5, "{hit:?}");
        assert!((hit.normal[0] - sin).abs() < 1e-5, "the slope shows in the normal: {hit:?}");
        let cap = probe(&cone, [-2.0, 0.0, 3.0], [1.0, 0.0, 0.0]).unwrap();
        assert!((cap.t - 1.7).abs() < 1e-5, "{cap:?}");
        let far = probe(&cone, [3.0, 0.0, 3.0], [-1.0, 0.0, 0.0]).unwrap();
        assert!((far.t - 1.9).abs() < 1e-5, "{far:?}");
    }

    #[test]
    fn a_pressed_cone_is_thin_along_its_flat_direction_only() {
        let (a, b) = (([0.0, -0.5, 3.0], 0.2), ([0.0, 0.5, 3.0], 0.2));
        let plate = Solid::cone(Stuff::Skin, a, b, [0.0, 0.0, 1.0], 0.5);
        let front = probe(&plate, [0.0; 3], [0.0, 0.0, 1.0]).unwrap();
        assert!((front.t - 2.9).abs() < 1e-5, "{front:?}");
        let side = probe(&plate, [-1.0, 0.0, 3.0], [1.0, 0.0, 0.0]).unwrap();
        assert!((side.t - 0.8).abs() < 1e-5, "{side:?}");
    }
}
