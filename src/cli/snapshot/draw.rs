//! The two halves of a snapshot.

use crate::canvas::{Canvas, Colour, LETTER};
use crate::detect::preprocess::Preprocessor;
use crate::detect::{Crop, DetectError};
use crate::engine::spec::{Channels, ImageInput};
use crate::frame::ImageView;
use crate::pose::{Person, PoseFrame};
use crate::skeleton::Skeleton;

/// Pictures are drawn at most so high; larger ones are reduced.
const MOST_HEIGHT: usize = 720;
/// And at least so high: letters need room.
const LEAST_HEIGHT: usize = 360;
const GROUND: Colour = [24, 27, 33];
const GRID: Colour = [74, 82, 96];
const WORDS: Colour = [226, 230, 236];
/// Whose right is to be told from whose left.
const LEFT: Colour = [255, 150, 60];
const RIGHT: Colour = [70, 165, 255];
const MIDDLE: Colour = [225, 228, 232];
/// The distance of the floor's lines, metres.
const CELL: f64 = 0.5;
/// It has at most so many in each direction: who is farther away stands beside it.
const MOST_LINES: f64 = 40.0;
/// Where the 3D scene is seen from: turned to the side and from above, in radians.
const YAW: f64 = 0.6;
const PITCH: f64 = 0.25;
/// How far away the eye is, metres.
const EYE: f64 = 5.0;
/// Where a person stands whose place is not known, metres.
const UNPLACED: [f64; 3] = [0.0, 0.0, 3.0];

/// The camera's picture with 2D skeletons on the left, the poses in 3D on the right. `gravity`:
/// down in the camera's axes, where it is known; else its y axis.
///
/// # Errors
/// If the picture's pixels cannot be used.
pub(super) fn draw(
    image: &ImageView<'_>,
    poses: &PoseFrame,
    gravity: Option<[f64; 3]>,
) -> Result<Canvas, DetectError> {
    let (mut left, scale) = camera(image)?;
    for person in &poses.persons {
        flat(&mut left, person, scale);
    }
    let (width, height) = left.size();
    let mut right = Canvas::new(height.max(width * 3 / 4), height, GROUND);
    scene(&mut right, poses, gravity.unwrap_or([0.0, 1.0, 0.0]));
    let mut whole = Canvas::new(width + right.size().0, height, GROUND);
    whole.place(&left, 0, 0);
    whole.place(&right, width, 0);
    Ok(whole)
}

/// The picture in RGB, and how many of its pixels one of the canvas is.
fn camera(image: &ImageView<'_>) -> Result<(Canvas, f32), DetectError> {
    let height = (image.height as usize).clamp(LEAST_HEIGHT, MOST_HEIGHT);
    let scale = image.height as f32 / height as f32;
    let width = ((image.width as f32 / scale).round() as usize).max(1);
    // The detector's own way from any camera's pixels to colours.
    let input = ImageInput {
        name: String::new(),
        width,
        height,
        channels: Channels::Rgb,
        mean: [0.0; 3],
        std: [1.0; 3],
        pad: 0.0,
    };
    let mut sampler = Preprocessor::new(&input);
    let mut planes = vec![0.0; sampler.tensor_len()];
    let crop =
        Crop { left: -0.5, top: -0.5, scale_x: image.width as f32 / width as f32, scale_y: scale };
    sampler.sample(image, &crop, &mut planes)?;
    let mut canvas = Canvas::new(width, height, GROUND);
    let plane = width * height;
    for (n, (x, y)) in (0..plane).map(|n| (n, (n % width, n / width))) {
        let colour = std::array::from_fn(|c| planes[c * plane + n].round().clamp(0.0, 255.0) as u8);
        canvas.blend(x, y, colour, 1.0);
    }
    Ok((canvas, scale))
}

fn colour_of(a: &str, b: &str) -> Colour {
    match (
        a.starts_with("left"),
        b.starts_with("left"),
        a.starts_with("right"),
        b.starts_with("right"),
    ) {
        // A bone from the one side to the other belongs to none.
        (true, _, _, true) | (_, true, true, _) => MIDDLE,
        (true, ..) | (_, true, ..) => LEFT,
        (_, _, true, _) | (.., true) => RIGHT,
        _ => MIDDLE,
    }
}

/// How large letters are in a picture of this height.
fn letters(height: usize) -> usize {
    (height / 240).max(2)
}

/// A person's keypoints and its number; what was not seen well is faint.
fn flat(canvas: &mut Canvas, person: &Person, scale: f32) {
    let points = &person.keypoints.points;
    let place = |n: usize| {
        // Pixel centres are at whole numbers in both.
        let at = |v: f32| (v + 0.5) / scale - 0.5;
        [at(points[n].x), at(points[n].y)]
    };
    let names = Skeleton::Coco17.joint_names();
    let thick = (canvas.size().1 as f32 / 160.0).max(2.0);
    for &(a, b) in Skeleton::Coco17.bones() {
        let alpha = points[a].confidence.min(points[b].confidence);
        canvas.line(place(a), place(b), thick, colour_of(names[a], names[b]), alpha);
    }
    for (n, point) in points.iter().enumerate() {
        canvas.disc(place(n), thick, colour_of(names[n], names[n]), point.confidence);
    }
    let top = points.iter().enumerate().filter(|(_, p)| p.confidence > 0.3);
    let top = top.map(|(n, _)| place(n)).min_by(|a, b| a[1].total_cmp(&b[1]));
    if let Some([x, y]) = top {
        let scale = letters(canvas.size().1);
        let (x, y) = (x.max(0.0) as usize, (y - 24.0 * scale as f32).max(2.0) as usize);
        let number = person.track.0.to_string();
        // Readable before a bright sky, too.
        for (dx, dy) in [(0, 1), (2, 1), (1, 0), (1, 2)] {
            canvas.text(x + dx, y + dy, scale, &number, GROUND);
        }
        canvas.text(x + 1, y + 1, scale, &number, WORDS);
    }
}

/// Looks at the scene from the side and from above.
struct Eye {
    /// Right, down, forward: unit vectors in the camera's axes.
    axes: [[f64; 3]; 3],
    /// What is in the middle.
    centre: [f64; 3],
    /// Pixels: the middle, and those of a metre at the distance of a metre.
    middle: [f64; 2],
    zoom: f64,
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|k| {
        let (i, j) = ((k + 1) % 3, (k + 2) % 3);
        a[i] * b[j] - a[j] * b[i]
    })
}

fn along(from: [f64; 3], to: [f64; 3], by: f64) -> [f64; 3] {
    std::array::from_fn(|k| from[k] + by * to[k])
}

/// Level axes of a camera in which `down` is down: right, down, forward.
fn level(down: [f64; 3]) -> [[f64; 3]; 3] {
    let unit = |v: [f64; 3]| v.map(|x| x / dot(v, v).sqrt().max(1e-9));
    let down = unit(down);
    let right = unit(along([1.0, 0.0, 0.0], down, -down[0]));
    [right, down, cross(right, down)]
}

impl Eye {
    /// In front of the eye, in pixels; `None` behind it.
    fn see(&self, p: [f64; 3]) -> Option<[f64; 2]> {
        let [x, y, z] = self.axes.map(|axis| dot(along(p, self.centre, -1.0), axis));
        let (x, z) = (x * YAW.cos() + z * YAW.sin(), z * YAW.cos() - x * YAW.sin());
        let (y, z) = (y * PITCH.cos() - z * PITCH.sin(), z * PITCH.cos() + y * PITCH.sin());
        let far = EYE + z;
        let place = |v: f64, k: usize| self.middle[k] + self.zoom * v / far;
        (far > 0.5).then(|| [place(x, 0), place(y, 1)])
    }

    fn line(&self, canvas: &mut Canvas, a: [f64; 3], b: [f64; 3], width: f32, colour: Colour) {
        if let (Some(a), Some(b)) = (self.see(a), self.see(b)) {
            canvas.line(a.map(|v| v as f32), b.map(|v| v as f32), width, colour, 1.0);
        }
    }
}

/// All persons on a floor under the lowest foot.
fn scene(canvas: &mut Canvas, poses: &PoseFrame, gravity: [f64; 3]) {
    let (width, height) = canvas.size();
    let persons: Vec<(u32, Option<f64>, Vec<[f64; 3]>)> = poses
        .persons
        .iter()
        .filter_map(|person| {
            let pose = person.pose?;
            let root = pose.root.map(|r| r.map(f64::from));
            let place = root.unwrap_or(UNPLACED);
            let joints = pose.joints.map(|j| along(place, j.map(f64::from), 1.0));
            Some((person.track.0, root.map(|r| dot(r, r).sqrt()), joints.to_vec()))
        })
        .collect();
    let size = letters(height);
    let line = (LETTER.1 + 3) * size;
    if persons.is_empty() {
        canvas.text(16, 16, size, "nobody in 3D", WORDS);
        return;
    }
    let axes = level(gravity);
    let all = || persons.iter().flat_map(|(_, _, joints)| joints.iter().copied());
    let extent = |axis: [f64; 3]| {
        let values = || all().map(|p| dot(p, axis));
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    };
    let [x, y, z] = axes.map(extent);
    let from =
        |a: f64, b: f64, c: f64| along(along(along([0.0; 3], axes[0], a), axes[1], b), axes[2], c);
    let (cx, cz) = ((x.0 + x.1) / 2.0, (z.0 + z.1) / 2.0);
    let mut eye =
        Eye { axes, centre: from(cx, (y.0 + y.1) / 2.0, cz), middle: [0.0; 2], zoom: 1.0 };
    // The persons fill the panel, but for a margin.
    let seen: Vec<[f64; 2]> = all().filter_map(|p| eye.see(p)).collect();
    let side = |k: usize| {
        let values = || seen.iter().map(|p| p[k]);
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
    };
    let (sx, sy) = (side(0), side(1));
    let fit = |panel: usize, (a, b): (f64, f64)| 0.7 * panel as f64 / (b - a).max(1e-3);
    eye.zoom = fit(width, sx).min(fit(height, sy));
    eye.middle =
        [(width, sx), (height, sy)].map(|(n, (a, b))| n as f64 / 2.0 - eye.zoom * (a + b) / 2.0);

    // Lines at whole multiples of the floor's cell, one cell beyond the outermost joints.
    let side = |(low, high): (f64, f64)| {
        let low = (low / CELL).floor() - 1.0;
        (low, ((high / CELL).ceil() + 1.0).min(low + MOST_LINES))
    };
    let lines = |(low, high): (f64, f64)| {
        (0..=(high - low) as u32).map(move |n| CELL * (low + f64::from(n)))
    };
    let (across, deep) = (side(x), side(z));
    let metres = |(low, high): (f64, f64)| (CELL * low, CELL * high);
    let (near, far) = metres(deep);
    for a in lines(across) {
        eye.line(canvas, from(a, y.1, near), from(a, y.1, far), 1.5, GRID);
    }
    let (first, last) = metres(across);
    for c in lines(deep) {
        eye.line(canvas, from(first, y.1, c), from(last, y.1, c), 1.5, GRID);
    }
    let names = Skeleton::Human36m17.joint_names();
    let thick = (height as f32 / 110.0).max(3.0);
    for (_, _, joints) in &persons {
        for &(a, b) in Skeleton::Human36m17.bones() {
            eye.line(canvas, joints[a], joints[b], thick, colour_of(names[a], names[b]));
        }
        for (joint, name) in joints.iter().zip(names) {
            eye.line(canvas, *joint, *joint, 1.6 * thick, colour_of(name, name));
        }
    }
    for (n, (track, distance, _)) in persons.iter().enumerate() {
        let words = match distance {
            Some(metres) => format!("person {track}: {metres:.2} m away"),
            None => format!("person {track}: place not known"),
        };
        canvas.text(16, 16 + n * line, size, &words, WORDS);
    }
    canvas.text(16, height.saturating_sub(16 + 2 * line), size, "left", LEFT);
    canvas.text(
        16 + 7 * size * LETTER.0,
        height.saturating_sub(16 + 2 * line),
        size,
        "right",
        RIGHT,
    );
    canvas.text(16, height.saturating_sub(16 + line), size, "grid 0.5 m", WORDS);
}
