//! The figure in the room, as a webcam would deliver it.
//!
//! The room is drawn and developed once. Each frame then touches the rectangle that the figure
//! and its shadow fill: solids are ray-cast pixel by pixel inside their own boxes (nearest wins,
//! normals of one stuff melt together where solids meet), shaded with a shadow map, blurred and
//! developed over the empty room; noise goes over the whole picture.

use crate::camera::Intrinsics;
use crate::figure::flesh::{Solid, Stuff, solids};
use crate::figure::{Figure, Pose};
use crate::skeleton::h36m;

use super::looks::Looks;
use super::room::{self, Rgb};
use super::sensor::{self, Sensor};
use super::shadow::Shadow;

/// Depth over which the normals of neighbouring solids melt, metres.
const MELT: f32 = 0.022;

/// What the ray through one pixel has met so far.
#[derive(Clone, Copy)]
struct Sample {
    /// Depth z of the nearest hit; infinite for none.
    z: f32,
    /// Sum of weighed normals.
    normal: [f32; 3],
    stuff: Stuff,
}

const NOTHING: Sample = Sample { z: f32::INFINITY, normal: [0.0; 3], stuff: Stuff::Skin };

/// A rectangle of pixels, ends excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    x0: usize,
    y0: usize,
    x1: usize,
    y1: usize,
}

/// Draws the figure. All memory is taken at the start.
pub struct Renderer {
    figure: Figure,
    camera: Intrinsics,
    sensor: Sensor,
    shadow: Shadow,
    /// The empty room, linear and unblurred.
    room: Vec<Rgb>,
    /// The empty room as YUYV without noise.
    empty: Vec<u8>,
    samples: Vec<Sample>,
    sharp: Vec<Rgb>,
    soft: Vec<Rgb>,
    /// For each line the columns, ends excluded, that differ from the empty room.
    touched: Vec<(usize, usize)>,
}

impl Renderer {
    /// For pictures of `camera`, whose width must be even and whose distortion is ignored.
    pub fn new(figure: Figure, camera: Intrinsics) -> Self {
        let room = room::draw(&camera, figure.path.floor);
        let (width, height) = (camera.width as usize, camera.height as usize);
        let sensor = Sensor::new(&camera);
        let mut soft = vec![[0.0; 3]; width * height];
        sensor::blur(&room, width, &mut soft);
        let mut empty = vec![0; 2 * width * height];
        for (y, (row, out)) in
            soft.chunks_exact(width).zip(empty.chunks_exact_mut(2 * width)).enumerate()
        {
            sensor.encode(row, 0, y, out);
        }
        let samples = vec![NOTHING; width * height];
        let sharp = soft.clone();
        Self {
            figure,
            camera,
            sensor,
            shadow: Shadow::default(),
            room,
            empty,
            samples,
            sharp,
            soft,
            touched: vec![(0, 0); height],
        }
    }

    /// Bytes of a picture.
    pub fn byte_len(&self) -> usize {
        self.empty.len()
    }

    /// The room without the figure and without noise, packed YUYV.
    pub fn empty_room(&self) -> &[u8] {
        &self.empty
    }

    /// Draws `pose` as frame `sequence` into `out`, packed YUYV, [`byte_len`](Self::byte_len)
    /// bytes. The same arguments give the same bytes.
    pub fn draw(&mut self, pose: &Pose, sequence: u64, out: &mut [u8]) {
        out.copy_from_slice(&self.empty);
        let flesh = solids(&self.figure, pose);
        let middle = pose.joints[h36m::PELVIS].map(|x| x as f32);
        self.shadow.cast(&flesh, middle);
        let Some((body, all)) = self.areas(&flesh) else {
            self.sensor.add_noise(sequence, out);
            return;
        };
        let width = self.camera.width as usize;
        for y in body.y0..body.y1 {
            self.samples[y * width + body.x0..y * width + body.x1].fill(NOTHING);
        }
        for solid in &flesh {
            self.cast(solid);
        }
        self.compose(pose, body, all);
        let across = all.x1 - all.x0;
        let pixels = across * (all.y1 - all.y0);
        sensor::blur(&self.sharp[..pixels], across, &mut self.soft);
        // The blur carries each line's change one pixel further, also up and down; the outermost
        // ring of the rectangle lacks neighbours and is left as it was.
        for y in all.y0 + 1..all.y1 - 1 {
            let span = |y: usize| self.touched[y];
            let near = [span(y - 1), span(y), span(y + 1)].into_iter().filter(|(a, b)| a < b);
            let (from, to) =
                near.fold((usize::MAX, 0), |(a, b), (c, d)| (a.min(c - 1), b.max(d + 1)));
            let from = (from & !1).max(all.x0 + 2);
            let to = to.next_multiple_of(2).min(all.x1 - 2);
            if from >= to {
                continue;
            }
            let line = (y - all.y0) * across;
            let row = &self.soft[line + from - all.x0..line + to - all.x0];
            let at = 2 * (y * width + from);
            self.sensor.encode(row, from, y, &mut out[at..at + 2 * row.len()]);
        }
        self.sensor.add_noise(sequence, out);
    }

    /// Normalised ray coordinates of a pixel.
    fn ray(&self, x: usize, y: usize) -> [f32; 3] {
        let c = &self.camera;
        [((x as f64 - c.cx) / c.fx) as f32, ((y as f64 - c.cy) / c.fy) as f32, 1.0]
    }

    /// The pixels that a sphere can touch, as floats; `None` if it is not in front of the camera.
    fn shade_of(&self, p: [f32; 3], r: f32) -> Option<[f32; 4]> {
        let c = &self.camera;
        // Distance to the tangent: exact on the axis, enough off it with the factor below.
        let near = (p[2] * p[2] - r * r).max(0.0).sqrt();
        if p[2] <= r + 0.05 {
            return None;
        }
        let (u, v) = (p[0] / p[2], p[1] / p[2]);
        let over = r / near;
        let du = c.fx as f32 * over * (1.0 + u * u).sqrt() + 1.0;
        let dv = c.fy as f32 * over * (1.0 + v * v).sqrt() + 1.0;
        let (x, y) = (c.fx as f32 * u + c.cx as f32, c.fy as f32 * v + c.cy as f32);
        Some([x - du, y - dv, x + du, y + dv])
    }

    /// Integer pixels of a float rectangle, inside of the picture; `None` if there are none.
    fn clip(&self, r: [f32; 4]) -> Option<Area> {
        let (w, h) = (self.camera.width as usize, self.camera.height as usize);
        let x0 = r[0].max(0.0) as usize;
        let y0 = r[1].max(0.0) as usize;
        let x1 = ((r[2] + 1.0).max(0.0) as usize).min(w);
        let y1 = ((r[3] + 1.0).max(0.0) as usize).min(h);
        (x0 < x1 && y0 < y1).then_some(Area { x0, y0, x1, y1 })
    }

    fn solid_area(&self, solid: &Solid) -> Option<[f32; 4]> {
        let a = self.shade_of(solid.ends[0], solid.reach[0])?;
        let b = self.shade_of(solid.ends[1], solid.reach[1])?;
        Some(join(a, b))
    }

    /// The rectangles of the figure, and of the figure with its shadow and a margin, starting and
    /// ending on even columns.
    fn areas(&self, flesh: &[Solid]) -> Option<(Area, Area)> {
        let mut body: Option<[f32; 4]> = None;
        let mut all: Option<[f32; 4]> = None;
        let put = |to: &mut Option<[f32; 4]>, r| *to = Some(to.map_or(r, |t| join(t, r)));
        for solid in flesh {
            if let Some(r) = self.solid_area(solid) {
                put(&mut body, r);
                put(&mut all, r);
            }
            for end in 0..2 {
                let spot = self.shadow.on_floor(solid.ends[end], self.figure.path.floor as f32);
                if let Some(r) = self.shade_of(spot, solid.reach[end] + 0.1) {
                    put(&mut all, r);
                }
            }
        }
        let body = self.clip(body?)?;
        let margin = |r: [f32; 4]| [r[0] - 4.0, r[1] - 4.0, r[2] + 4.0, r[3] + 4.0];
        let mut all = self.clip(margin(all?))?;
        all.x0 &= !1;
        all.x1 &= !1;
        (all.x1 > all.x0 + 8 && all.y1 > all.y0 + 4).then_some((body, all))
    }

    /// Ray-casts one solid into the samples.
    fn cast(&mut self, solid: &Solid) {
        let Some(area) = self.solid_area(solid).and_then(|r| self.clip(r)) else { return };
        let width = self.camera.width as usize;
        let origin = solid.camera();
        let step = solid.local([(1.0 / self.camera.fx) as f32, 0.0, 0.0]);
        for y in area.y0..area.y1 {
            let mut d = solid.local(self.ray(area.x0, y));
            let row = &mut self.samples[y * width + area.x0..y * width + area.x1];
            for sample in row {
                if let Some(hit) = solid.hit(origin, d) {
                    // The ray's z is 1, so its parameter is the depth.
                    merge(sample, hit.t, hit.normal, solid.stuff);
                }
                d = [d[0] + step[0], d[1] + step[1], d[2] + step[2]];
            }
        }
    }

    /// Shades the samples over the room, with the shadow on the floor, into `sharp`.
    fn compose(&mut self, pose: &Pose, body: Area, all: Area) {
        let width = self.camera.width as usize;
        let floor = self.figure.path.floor;
        let scale = self.figure.body.height / 1.75;
        let looks = Looks::new(pose, scale, floor, self.shadow.towards_light());
        let feet = pose.feet.map(|f| f.ankle.map(|x| x as f32));
        let across = all.x1 - all.x0;
        for y in all.y0..all.y1 {
            let (mut from, mut to) = (usize::MAX, 0);
            // Light changes slowly: a pixel on an odd column takes its left neighbour's if both lie
            // on the figure at about the same depth, or both behind it.
            let (mut held, mut held_z) = (1.0, f32::NAN);
            for x in all.x0..all.x1 {
                let at = y * width + x;
                let ray = self.ray(x, y);
                let inside = (body.y0..body.y1).contains(&y) && (body.x0..body.x1).contains(&x);
                let sample = if inside { self.samples[at] } else { NOTHING };
                let mut same = false;
                let odd = x % 2 == 1;
                let rgb = if sample.z < f32::INFINITY {
                    let p = ray.map(|r| r * sample.z);
                    let n = sample.normal;
                    let over = 1.0 / (n[0] * n[0] + n[1] * n[1] + n[2] * n[2]).sqrt().max(1e-9);
                    if !(odd && (sample.z - held_z).abs() < 0.01) {
                        held = self.shadow.light(p, 0.045, 0.8);
                    }
                    looks.shade(sample.stuff, p, n.map(|v| v * over), held)
                } else {
                    if !(odd && held_z == f32::INFINITY) {
                        held = self.floor_light(ray, floor as f32, &feet);
                    }
                    same = held > 0.999;
                    self.room[at].map(|v| v * held)
                };
                held_z = sample.z;
                if !same {
                    (from, to) = (from.min(x), x + 1);
                }
                self.sharp[(y - all.y0) * across + x - all.x0] = rgb;
            }
            self.touched[y] = if from < to { (from.max(1), to) } else { (0, 0) };
        }
    }

    /// How bright the room is behind a ray, as a share of the empty room.
    fn floor_light(&self, ray: [f32; 3], floor: f32, feet: &[[f32; 3]; 2]) -> f32 {
        if ray[1] <= 0.01 {
            return 1.0;
        }
        let t = floor / ray[1];
        if t > 6.3 {
            return 1.0;
        }
        let p = ray.map(|r| r * t);
        let mut lit = 0.55 + 0.45 * self.shadow.light(p, 0.01, 1.6);
        for foot in feet {
            // Under and around a shoe the floor sees little of the room; less so when it lifts.
            let d2 = (p[0] - foot[0]).powi(2) + (p[2] - foot[2]).powi(2);
            if d2 < 0.1 {
                let high = (floor - foot[1]).max(0.05);
                lit *= 1.0 - 0.55 * (0.07 / high).min(1.0) * (-d2 / 0.012).exp();
            }
        }
        lit
    }
}

fn join(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
    [a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]
}

/// Adds a hit to what the pixel has. Hits of one stuff within [`MELT`] of the nearest share the
/// normal, less the deeper they lie: no crease where two solids run into each other.
#[inline]
fn merge(sample: &mut Sample, z: f32, normal: [f32; 3], stuff: Stuff) {
    let share = 1.0 - (z - sample.z).abs() / MELT;
    if stuff != sample.stuff || share <= 0.0 {
        if z < sample.z {
            *sample = Sample { z, normal, stuff };
        }
        return;
    }
    let (old, new) = if z < sample.z { (share, 1.0) } else { (1.0, share) };
    for (sum, n) in sample.normal.iter_mut().zip(normal) {
        *sum = *sum * old + n * new;
    }
    sample.z = sample.z.min(z);
}
