//! Pictures of a chessboard, drawn through a known lens: 16 rays a pixel, blur, noise.

use std::io::BufWriter;
use std::path::Path;

use posewire::calibration::Grey;
use posewire::calibration::board::Board;
use posewire::camera::Intrinsics;

/// A small generator of our own (xorshift), so that a failure can be repeated.
pub struct Random(pub u64);

impl Random {
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// From -1 to 1.
    pub fn signed(&mut self) -> f64 {
        2.0 * self.uniform() - 1.0
    }

    /// A sum of twelve: as good as normal for noise.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Where the board is: its middle in the camera's frame, metres, and its turn: about x, then y,
/// then z, radians.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    pub middle: [f64; 3],
    pub turn: [f64; 3],
}

/// How the picture is taken.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Standard deviation of the blur, pixels.
    pub blur: f64,
    /// Standard deviation of the noise, grey levels of 255.
    pub noise: f64,
}

/// Draws through one lens; the rays are computed once.
pub struct Painter {
    lens: Intrinsics,
    /// Rays at the pixels' corners, (width + 1) x (height + 1).
    rays: Vec<[f64; 2]>,
}

impl Held {
    /// Rows of the rotation from the board's to the camera's frame.
    fn rotation(&self) -> [[f64; 3]; 3] {
        let [a, b, c] = self.turn;
        let ((sa, ca), (sb, cb), (sc, cc)) = (a.sin_cos(), b.sin_cos(), c.sin_cos());
        [
            [cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa],
            [sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa],
            [-sb, cb * sa, cb * ca],
        ]
    }

    /// A point of the board's frame in the camera's.
    fn place(&self, board: &Board, p: [f64; 2]) -> [f64; 3] {
        let r = self.rotation();
        let (cx, cy) = middle(board);
        let q = [p[0] - cx, p[1] - cy];
        std::array::from_fn(|i| r[i][0] * q[0] + r[i][1] * q[1] + self.middle[i])
    }
}

fn middle(board: &Board) -> (f64, f64) {
    let half = |n: usize| (n - 1) as f64 * board.square / 2.0;
    (half(board.columns), half(board.rows))
}

impl Painter {
    pub fn new(lens: Intrinsics) -> Self {
        let (w, h) = (lens.width as usize, lens.height as usize);
        let rays = (0..=h)
            .flat_map(|y| (0..=w).map(move |x| (x as f64 - 0.5, y as f64 - 0.5)))
            .map(|(x, y)| lens.unproject(x, y))
            .collect();
        Self { lens, rays }
    }

    /// The true corners; `None` if the board with its margin is not wholly in the picture.
    pub fn corners(&self, board: &Board, held: &Held) -> Option<Vec<[f64; 2]>> {
        let s = board.square;
        let (w, h) = ((board.columns - 1) as f64 * s, (board.rows - 1) as f64 * s);
        let visible = |p: [f64; 2]| {
            let q = held.place(board, p);
            let [x, y] = self.lens.project(q)?;
            let [u, v] = self.lens.unproject(x, y);
            // The model folds over far outside of the picture; a lens does not.
            let true_ray = (u - q[0] / q[2]).hypot(v - q[1] / q[2]) < 1e-6;
            let inside = |v: f64, size: u32| v > 1.0 && v < f64::from(size) - 2.0;
            (true_ray && inside(x, self.lens.width) && inside(y, self.lens.height))
                .then_some([x, y])
        };
        for p in [[-s, -s], [w + s, -s], [-s, h + s], [w + s, h + s]] {
            visible(p)?;
        }
        board.points().into_iter().map(visible).collect()
    }

    /// The picture.
    pub fn draw(&self, board: &Board, held: &Held, taken: Taken, random: &mut Random) -> Grey {
        let (w, h) = (self.lens.width as usize, self.lens.height as usize);
        let r = held.rotation();
        let (cx, cy) = middle(board);
        // The board's frame as seen along a ray: solve R^T (t ray - middle) with z = 0.
        let normal = [r[0][2], r[1][2], r[2][2]];
        let m = held.middle;
        let depth = normal[0] * m[0] + normal[1] * m[1] + normal[2] * m[2];
        let colour = |u: f64, v: f64| {
            let t = depth / (normal[0] * u + normal[1] * v + normal[2]);
            // A wall with soft spots, so that there is something to be mistaken.
            let wall = 110.0 + 35.0 * (9.0 * u).sin() * (7.0 * v).sin();
            if t <= 0.0 {
                return wall;
            }
            let d = [t * u - m[0], t * v - m[1], t - m[2]];
            let on = |i: usize| r[0][i] * d[0] + r[1][i] * d[1] + r[2][i] * d[2];
            let x = (on(0) + cx) / board.square + 1.0;
            let y = (on(1) + cy) / board.square + 1.0;
            let (columns, rows) = ((board.columns + 1) as f64, (board.rows + 1) as f64);
            if x < -1.0 || y < -1.0 || x > columns + 1.0 || y > rows + 1.0 {
                return wall;
            }
            // Light falls off to one side.
            let light = 1.0 - 0.25 * (x / columns);
            let on_board = x >= 0.0 && y >= 0.0 && x < columns && y < rows;
            let black = on_board && (x.floor() as i64 + y.floor() as i64) % 2 == 0;
            light * if black { 35.0 } else { 215.0 }
        };
        const SUB: usize = 4;
        // Colours at the pixels' corners: where they agree nothing happens in between.
        let rough: Vec<f64> = self.rays.iter().map(|ray| colour(ray[0], ray[1])).collect();
        let mut values = vec![0.0; w * h];
        for y in 0..h {
            for x in 0..w {
                let at = |dx: usize, dy: usize| self.rays[(y + dy) * (w + 1) + x + dx];
                let (a, b, c, d) = (at(0, 0), at(1, 0), at(0, 1), at(1, 1));
                let four = [0, 1, w + 1, w + 2].map(|d| rough[y * (w + 1) + x + d]);
                let mean = four.iter().sum::<f64>() / 4.0;
                if four.iter().all(|v| (v - mean).abs() < 1.0) {
                    values[y * w + x] = mean;
                    continue;
                }
                let mut sum = 0.0;
                for j in 0..SUB {
                    for i in 0..SUB {
                        let fx = (i as f64 + 0.5) / SUB as f64;
                        let fy = (j as f64 + 0.5) / SUB as f64;
                        let ray = |k: usize| {
                            (a[k] * (1.0 - fx) + b[k] * fx) * (1.0 - fy)
                                + (c[k] * (1.0 - fx) + d[k] * fx) * fy
                        };
                        sum += colour(ray(0), ray(1));
                    }
                }
                values[y * w + x] = sum / (SUB * SUB) as f64;
            }
        }
        let values = blurred(&values, w, h, taken.blur);
        let pixels = values
            .into_iter()
            .map(|v| (v + taken.noise * random.normal()).round().clamp(0.0, 255.0) as u8)
            .collect();
        Grey { width: w, height: h, pixels }
    }
}

fn blurred(values: &[f64], w: usize, h: usize, sigma: f64) -> Vec<f64> {
    if sigma <= 0.0 {
        return values.to_vec();
    }
    let radius = (3.0 * sigma).ceil() as i64;
    let weights: Vec<f64> =
        (-radius..=radius).map(|i| (-((i * i) as f64) / (2.0 * sigma * sigma)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let pass = |from: &[f64], dx: i64, dy: i64| -> Vec<f64> {
        (0..w * h)
            .map(|n| {
                let (x, y) = ((n % w) as i64, (n / w) as i64);
                let sum: f64 = (-radius..=radius)
                    .zip(&weights)
                    .map(|(i, weight)| {
                        let x = (x + i * dx).clamp(0, w as i64 - 1) as usize;
                        let y = (y + i * dy).clamp(0, h as i64 - 1) as usize;
                        weight * from[y * w + x]
                    })
                    .sum();
                sum / total
            })
            .collect()
    };
    pass(&pass(values, 1, 0), 0, 1)
}

/// Boards held as somebody would who follows the advice: everywhere in the picture, tilted.
pub fn held(painter: &Painter, board: &Board, count: usize, random: &mut Random) -> Vec<Held> {
    let lens = &painter.lens;
    let span = f64::from(lens.width) / lens.fx;
    let length = (board.columns + 1) as f64 * board.square;
    let mut all = Vec::new();
    while all.len() < count {
        // The board fills from a third of the picture's width to nearly all of it.
        let z = length / span * (1.1 + 1.6 * random.uniform());
        let held = Held {
            middle: [0.5 * span * z * random.signed(), 0.4 * span * z * random.signed(), z],
            turn: [0.65 * random.signed(), 0.65 * random.signed(), 0.5 * random.signed()],
        };
        if painter.corners(board, &held).is_some() {
            all.push(held);
        }
    }
    all
}

/// Writes a grey PNG.
pub fn write_png(path: &Path, picture: &Grey) {
    let file = BufWriter::new(std::fs::File::create(path).unwrap());
    let mut encoder = png::Encoder::new(file, picture.width as u32, picture.height as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(&picture.pixels).unwrap();
}
