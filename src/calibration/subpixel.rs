//! Corners between pixels.

use super::Grey;

/// Bilinear, the border continued.
pub(super) fn sample(picture: &Grey, x: f64, y: f64) -> f64 {
    let x = x.clamp(0.0, picture.width as f64 - 1.0);
    let y = y.clamp(0.0, picture.height as f64 - 1.0);
    let (x0, y0) = (x.floor() as usize, y.floor() as usize);
    let (x1, y1) = ((x0 + 1).min(picture.width - 1), (y0 + 1).min(picture.height - 1));
    let (fx, fy) = (x - x0 as f64, y - y0 as f64);
    let at = |x: usize, y: usize| f64::from(picture.pixels[y * picture.width + x]);
    (at(x0, y0) * (1.0 - fx) + at(x1, y0) * fx) * (1.0 - fy)
        + (at(x0, y1) * (1.0 - fx) + at(x1, y1) * fx) * fy
}

/// Moves a corner to where all gradients around it are perpendicular to the way to them (Förstner,
/// Gülch 1987; what OpenCV's `cornerSubPix` does), within `reach` pixels.
///
/// The candidates' own refinement looks at a few pixels; this one uses the edges as far as they
/// belong to this corner alone, which halves the noise.
pub(super) fn refine(picture: &Grey, start: [f64; 2], reach: f64) -> [f64; 2] {
    let radius = reach.floor().clamp(2.0, 11.0) as i32;
    let mut at = start;
    for _ in 0..30 {
        let (mut a, mut b, mut c, mut p, mut q) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for dy in -radius..=radius {
            for dx in -radius..=radius {
                let (x, y) = (at[0] + f64::from(dx), at[1] + f64::from(dy));
                // Clamped samples would make gradients of the picture's border.
                let inside = x >= 1.0
                    && y >= 1.0
                    && x <= picture.width as f64 - 2.0
                    && y <= picture.height as f64 - 2.0;
                if !inside {
                    continue;
                }
                let gx = (sample(picture, x + 1.0, y) - sample(picture, x - 1.0, y)) / 2.0;
                let gy = (sample(picture, x, y + 1.0) - sample(picture, x, y - 1.0)) / 2.0;
                let distance = f64::from(dx * dx + dy * dy);
                let weight = (-distance / f64::from(radius * radius)).exp();
                let (xx, xy, yy) = (weight * gx * gx, weight * gx * gy, weight * gy * gy);
                a += xx;
                b += xy;
                c += yy;
                p += xx * f64::from(dx) + xy * f64::from(dy);
                q += xy * f64::from(dx) + yy * f64::from(dy);
            }
        }
        let determinant = a * c - b * b;
        if determinant <= 1e-9 * (a + c) * (a + c) {
            return start;
        }
        let step = [(c * p - b * q) / determinant, (a * q - b * p) / determinant];
        at = [at[0] + step[0], at[1] + step[1]];
        if (at[0] - start[0]).hypot(at[1] - start[1]) > f64::from(radius) {
            // Away from the corner: something else is stronger here.
            return start;
        }
        if step[0].hypot(step[1]) < 1e-4 {
            break;
        }
    }
    at
}

/// Means of 2 x 2 pixels.
pub(super) fn halved(picture: &Grey) -> Grey {
    let (width, height) = (picture.width / 2, picture.height / 2);
    let mut pixels = Vec::with_capacity(width * height);
    for y in 0..height {
        for x in 0..width {
            let at = |dx: usize, dy: usize| {
                u16::from(picture.pixels[(2 * y + dy) * picture.width + 2 * x + dx])
            };
            pixels.push(((at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1) + 2) / 4) as u8);
        }
    }
    Grey { width, height, pixels }
}
