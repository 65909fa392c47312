//! The room that the figure walks in: floor, wall and a few things on it, drawn once.

use crate::camera::Intrinsics;

/// Linear RGB, 0..1 and a little above.
pub type Rgb = [f32; 3];

/// Where the wall stands, metres from the camera.
const WALL: f64 = 6.4;
/// Width of a floor board, metres.
const BOARD: f64 = 0.14;

/// The empty room in the picture of `camera`, row by row. `floor` is the camera's height above
/// the floor, metres.
pub fn draw(camera: &Intrinsics, floor: f64) -> Vec<Rgb> {
    let mut out = Vec::with_capacity(camera.width as usize * camera.height as usize);
    for y in 0..camera.height {
        for x in 0..camera.width {
            let [u, v] = camera.unproject(f64::from(x), f64::from(y));
            // Whichever the ray meets first.
            let to_floor = if v > 1e-6 { floor / v } else { f64::INFINITY };
            out.push(if to_floor < WALL {
                planks(u * to_floor, to_floor)
            } else {
                wall(u * WALL, floor - v * WALL)
            });
        }
    }
    out
}

fn planks(x: f64, z: f64) -> Rgb {
    let row = (x / BOARD).floor();
    let shift = noise(row * 7.3, 0.0) * 3.0;
    let piece = ((z + shift) / 1.1).floor();
    let tone = 0.82 + 0.30 * noise(row * 3.1 + 0.5, piece * 5.7 + 0.5);
    let grain = 1.0 + 0.10 * (fractal(x * 55.0, z * 2.2) - 0.5);
    let across = (x / BOARD - row - 0.5).abs();
    let along = ((z + shift) / 1.1 - piece - 0.5).abs();
    let joint = if across > 0.485 || along > 0.4985 { 0.62 } else { 1.0 };
    // The window's light falls off to the right and towards the camera.
    let light = 0.80 + 0.05 * z - 0.035 * x;
    let k = (tone * grain * joint * light) as f32;
    [0.30 * k, 0.195 * k, 0.115 * k]
}

fn wall(x: f64, height: f64) -> Rgb {
    let light = (0.92 - 0.05 * x + 0.035 * height) as f32;
    let plaster = 1.0 + 0.035 * (fractal(x * 9.0, height * 9.0) as f32 - 0.5);
    let paint = |c: Rgb, k: f32| c.map(|v| v * k * light * plaster);
    let within =
        |x0: f64, x1: f64, y0: f64, y1: f64| (x0..x1).contains(&x) && (y0..y1).contains(&height);
    if height < 0.09 {
        return paint([0.62, 0.61, 0.58], 0.95);
    }
    // A window on the left, its panes brighter towards the sky.
    if within(-3.5, -2.1, 0.95, 2.35) {
        let (px, py) = ((x + 3.5) / 1.4, (height - 0.95) / 1.4);
        let frame = px.min(1.0 - px).min((px - 0.5).abs()).min(py.min(1.0 - py)) < 0.035;
        let sky = 0.72 + 0.25 * py as f32;
        return if frame { [0.66, 0.65, 0.62] } else { [0.80 * sky, 0.90 * sky, sky] };
    }
    // A picture of hills, and a low shelf with books on the right.
    if within(-0.75, 0.35, 1.35, 2.1) {
        let (px, py) = (x + 0.75, height - 1.35);
        if px.min(1.10 - px).min(py).min(0.75 - py) < 0.035 {
            return paint([0.10, 0.07, 0.05], 1.0);
        }
        let hill = 0.30 + 0.10 * (5.0 * px).sin() + 0.05 * (13.0 * px + 1.0).sin();
        let c = if py < hill { [0.10, 0.22, 0.09] } else { [0.42, 0.55, 0.66] };
        return paint(c, 0.85 + 0.3 * noise(px * 20.0, py * 20.0) as f32);
    }
    if within(1.5, 3.3, 0.0, 0.95) {
        let board = (height * 3.3).fract();
        if board < 0.12 || !(1.55..=3.25).contains(&x) {
            return paint([0.36, 0.25, 0.15], 0.9);
        }
        let book = (x * 21.0 + noise(height.floor(), 2.0)).floor();
        let shelf = (height * 3.3).floor();
        let tall = 0.55 + 0.4 * noise(book * 1.7, shelf * 3.3);
        if board - 0.12 > 0.88 * tall {
            return [0.05, 0.04, 0.035];
        }
        let tint = |n: f64| 0.08 + 0.30 * noise(book * 2.3 + n, shelf * 4.1 + n) as f32;
        return paint([tint(0.0), tint(9.0), tint(17.0)], 0.8);
    }
    paint([0.56, 0.545, 0.50], 1.0)
}

/// Smooth value noise in 0..1 on the integer lattice.
pub fn noise(x: f64, y: f64) -> f64 {
    let (i, j) = (x.floor(), y.floor());
    let (fx, fy) = (x - i, y - j);
    let (sx, sy) = (fx * fx * (3.0 - 2.0 * fx), fy * fy * (3.0 - 2.0 * fy));
    let at = |di: i64, dj: i64| {
        let seed =
            (i as i64 + di).wrapping_mul(0x9E37_79B1) ^ (j as i64 + dj).wrapping_mul(0x85EB_CA77);
        let mut h = seed as u64;
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D_2C1B_3C6D);
        h = (h ^ (h >> 31)).wrapping_mul(0x297A_2D39_297A_2D39);
        (h >> 40) as f64 / (1u64 << 24) as f64
    };
    let low = at(0, 0) * (1.0 - sx) + at(1, 0) * sx;
    let high = at(0, 1) * (1.0 - sx) + at(1, 1) * sx;
    low * (1.0 - sy) + high * sy
}

fn fractal(x: f64, y: f64) -> f64 {
    (noise(x, y) + 0.5 * noise(2.0 * x + 5.2, 2.0 * y + 1.3) + 0.25 * noise(4.0 * x, 4.0 * y))
        / 1.75
}
