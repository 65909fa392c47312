//! Skin, hair and clothes: colours, and how light falls on them.

use crate::figure::Pose;
use crate::figure::flesh::Stuff;
use crate::figure::vec3::V3;
use crate::skeleton::h36m;

use super::room::Rgb;

const SKIN: Rgb = [0.56, 0.33, 0.235];
const HAIR: Rgb = [0.045, 0.028, 0.018];
const SHIRT: Rgb = [0.40, 0.075, 0.065];
const TROUSERS: Rgb = [0.040, 0.055, 0.105];
const SHOE: Rgb = [0.055, 0.050, 0.048];
const SOLE: Rgb = [0.62, 0.60, 0.56];

/// Light of the key lamp, and of the room from above and from below (the floor's bounce).
const KEY: Rgb = [1.05, 0.98, 0.88];
const SKY: Rgb = [0.42, 0.45, 0.50];
const BOUNCE: Rgb = [0.24, 0.19, 0.145];

/// Axes of a body part, for the marks on it: origin, then forward, left, up.
#[derive(Clone, Copy)]
struct Place([[f32; 3]; 4]);

impl Place {
    fn new(origin: V3, axes: &crate::figure::vec3::Axes) -> Self {
        Self([origin, axes.forward, axes.left, axes.up].map(|v| v.map(|x| x as f32)))
    }

    fn local(&self, p: [f32; 3]) -> [f32; 3] {
        let d: [f32; 3] = std::array::from_fn(|i| p[i] - self.0[0][i]);
        std::array::from_fn(|i| {
            let a = self.0[i + 1];
            a[0] * d[0] + a[1] * d[1] + a[2] * d[2]
        })
    }
}

/// What shading needs to know of a pose.
pub struct Looks {
    head: Place,
    chest: Place,
    pelvis: Place,
    /// Metres per metre of a 1.75 m body.
    scale: f32,
    light: [f32; 3],
    floor: f32,
}

impl Looks {
    /// For one frame. `light` is the unit direction towards the key light.
    pub fn new(pose: &Pose, scale: f64, floor: f64, light: [f32; 3]) -> Self {
        Self {
            head: Place::new(pose.joints[h36m::NECK], &pose.head),
            chest: Place::new(pose.joints[h36m::THORAX], &pose.chest),
            pelvis: Place::new(pose.joints[h36m::PELVIS], &pose.pelvis),
            scale: scale as f32,
            light,
            floor: floor as f32,
        }
    }

    /// Linear light from a point with an outward normal; `key` is the share of the key light that
    /// reaches it.
    pub fn shade(&self, stuff: Stuff, p: [f32; 3], normal: [f32; 3], key: f32) -> Rgb {
        let (albedo, gloss) = match stuff {
            Stuff::Skin => (SKIN, 0.10),
            Stuff::Face => (self.face(p), 0.10),
            Stuff::Hair => (self.hair(p), 0.06),
            Stuff::Shirt => (self.shirt(p), 0.0),
            Stuff::Trousers => (self.trousers(p), 0.0),
            Stuff::Shoe => (SHOE, 0.12),
            Stuff::Sole => (SOLE, 0.02),
        };
        let n = match stuff {
            Stuff::Shirt | Stuff::Trousers => self.folds(p, normal),
            _ => normal,
        };
        let facing = n[0] * self.light[0] + n[1] * self.light[1] + n[2] * self.light[2];
        // Skin and cloth scatter: light wraps a little around the terminator.
        let wrapped = ((facing + 0.12) / 1.12).max(0.0) * key;
        let up = 0.5 - 0.5 * n[1];
        // Near the floor less of the room is seen, and the bounce is stronger.
        let height = ((self.floor - p[1]) * 1.6).clamp(0.0, 1.0);
        // Towards the camera a surface sees the open room, away from it it turns into its own rim.
        let reach = (p[0] * p[0] + p[1] * p[1] + p[2] * p[2]).sqrt();
        let seen = -(n[0] * p[0] + n[1] * p[1] + n[2] * p[2]) / reach;
        let open = (0.70 + 0.30 * height) * (0.72 + 0.28 * seen.clamp(0.0, 1.0));
        let shine = if gloss > 0.0 {
            // Half-vector highlight, broad as on skin.
            let h: [f32; 3] = std::array::from_fn(|i| self.light[i] - p[i] / reach);
            let len = (h[0] * h[0] + h[1] * h[1] + h[2] * h[2]).sqrt();
            let s = ((n[0] * h[0] + n[1] * h[1] + n[2] * h[2]) / len).max(0.0);
            let s4 = s * s * s * s;
            gloss * s4 * s4 * s4 * key
        } else {
            0.0
        };
        std::array::from_fn(|i| {
            let ambient = (BOUNCE[i] + (SKY[i] - BOUNCE[i]) * up) * open;
            albedo[i] * (ambient + 0.85 * KEY[i] * wrapped) + shine * KEY[i]
        })
    }

    /// Skin with eyes, brows and a mouth, in metres of a 1.75 m body from the skull's base.
    fn face(&self, p: [f32; 3]) -> Rgb {
        let [f, l, u] = self.head.local(p).map(|x| x / self.scale);
        let mut c = SKIN;
        if f < 0.02 {
            return c;
        }
        let mut paint = |to: Rgb, w: f32| {
            let w = w.clamp(0.0, 1.0);
            for i in 0..3 {
                c[i] += (to[i] - c[i]) * w;
            }
        };
        let side = l.abs();
        let ring = |dx: f32, dy: f32, rx: f32, ry: f32| {
            let (x, y) = (dx / rx, dy / ry);
            1.0 - (x * x + y * y)
        };
        // Cheeks and sockets first, then what lies on them.
        paint([0.58, 0.25, 0.18], 0.5 * ring(side - 0.040, u - 0.022, 0.024, 0.020));
        paint([0.27, 0.15, 0.105], 0.9 * ring(side - 0.031, u - 0.067, 0.026, 0.018));
        let open = ring(side - 0.0315, u - 0.065, 0.0155, 0.0075);
        paint([0.62, 0.60, 0.57], 6.0 * open);
        if open > 0.0 {
            paint([0.03, 0.02, 0.015], 5.0 * ring(side - 0.0315, u - 0.066, 0.0065, 0.0065));
        }
        paint([0.06, 0.03, 0.02], 3.0 * ring(side - 0.0315, u - 0.0735, 0.017, 0.0028));
        paint(
            HAIR,
            3.0 * ring(side - 0.032, u - 0.088 + 0.25 * (side - 0.03).max(0.0), 0.022, 0.0055),
        );
        paint([0.16, 0.07, 0.05], 2.0 * ring(side - 0.008, u - 0.014, 0.006, 0.004));
        paint([0.36, 0.10, 0.085], 2.5 * ring(l, u + 0.010, 0.026, 0.0095));
        paint([0.10, 0.03, 0.025], 3.0 * ring(l, u + 0.010, 0.023, 0.0022));
        c
    }

    fn hair(&self, p: [f32; 3]) -> Rgb {
        let [f, l, u] = self.head.local(p);
        let strand = 0.8 + 0.4 * (160.0 * l + 30.0 * f + 9.0 * (40.0 * u).sin()).sin().abs();
        HAIR.map(|c| c * strand)
    }

    fn shirt(&self, p: [f32; 3]) -> Rgb {
        let [f, l, u] = self.chest.local(p).map(|x| x / self.scale);
        // A round collar, and a stripe across the chest.
        let collar = f * f + l * l < 0.0072 && u > 0.012;
        let k = if collar { 0.55 } else { 1.0 };
        if (-0.175..-0.125).contains(&u) && l.abs() < 0.20 {
            return [0.50 * k, 0.48 * k, 0.44 * k];
        }
        SHIRT.map(|c| c * k)
    }

    fn trousers(&self, p: [f32; 3]) -> Rgb {
        let [f, l, u] = self.pelvis.local(p).map(|x| x / self.scale);
        // The fly and the pockets' seams.
        let seam = (l.abs() < 0.004 && f > 0.0 && u > -0.08)
            || ((l.abs() - 0.125 - 0.25 * u).abs() < 0.004 && u > -0.07);
        TROUSERS.map(|c| if seam { 0.5 * c } else { c })
    }

    /// Wrinkles: a normal tilted by a few sine waves that ride on the body.
    fn folds(&self, p: [f32; 3], n: [f32; 3]) -> [f32; 3] {
        let [f, l, u] = self.pelvis.local(p);
        let a = (38.0 * u + 21.0 * l + 2.2 * (17.0 * f).sin()).sin();
        let b = (27.0 * u - 33.0 * f + 1.7 * (23.0 * l).sin()).sin();
        let tilted = [n[0] + 0.05 * b, n[1] + 0.09 * a, n[2] + 0.04 * (a - b)];
        let len = tilted.iter().map(|x| x * x).sum::<f32>().sqrt();
        tilted.map(|x| x / len)
    }
}
