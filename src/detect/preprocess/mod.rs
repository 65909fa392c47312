//! From the camera's pixels straight to a network's input tensor.
//!
//! No picture is converted or resized as a whole: for each row of the tensor, the source rows
//! under it are blended as raw bytes, whatever they mean; then the columns under each tensor
//! pixel, per component; then luma and chroma become the tensor's channels. All three are linear,
//! so that the order does not matter but for clamping, which comes last. Where a tensor pixel's
//! centre lies outside of the picture, it is padding.
//!
//! An engine may do the same where it computes: [`Preprocessor::plan`] works out a crop's tables,
//! which [`Preprocessor::fill`] follows here, and [`Preprocessor::with_sampling`] hands on.
//!
//! - `axis`: which source pixels make a tensor pixel;
//! - `blend`: the sums over rows and over columns;
//! - `color`: components to channels.

mod axis;
mod blend;
mod color;
#[cfg(test)]
mod tests;

use std::ops::Range;

use arrayvec::ArrayVec;

use super::{Crop, DetectError};
use crate::engine::sampling::{Part, Sampling};
use crate::engine::spec::ImageInput;
use crate::frame::{ImageView, PixelFormat};
use axis::Axis;
use blend::{blend_columns, blend_rows};
use color::Mixer;

/// What is sampled straight from a camera's bytes, here and by the GPU's kernel.
pub const FORMATS: [PixelFormat; 11] = [
    PixelFormat::Gray8,
    PixelFormat::Gray16,
    PixelFormat::Rgb8,
    PixelFormat::Bgr8,
    PixelFormat::Yuyv,
    PixelFormat::Uyvy,
    PixelFormat::Nv12,
    PixelFormat::Nv21,
    PixelFormat::I420,
    PixelFormat::I422,
    PixelFormat::I444,
];

/// Components of a picture: red, green, blue, or luma and two chromas, or luma alone.
const COMPONENTS: usize = 3;

/// Fixed-point sums hold this many source pixels per tensor pixel, along either axis, and then
/// some. No picture of a person is so large.
const MAX_SHRINK: f32 = 256.0;

/// Components that lie side by side in one plane: columns are found once for all of them.
struct Group {
    plane: usize,
    /// Bytes from one of its pixels to the next.
    step: usize,
    /// (component, byte within the pixel).
    members: &'static [(usize, usize)],
    /// Picture pixels per pixel of the plane, to the right and downwards.
    sub: (usize, usize),
}

const fn group(
    plane: usize,
    step: usize,
    members: &'static [(usize, usize)],
    sub: (usize, usize),
) -> Group {
    Group { plane, step, members, sub }
}

/// Where a format keeps its components; `None` if it must be decoded first.
fn groups(format: PixelFormat) -> Option<&'static [Group]> {
    static GRAY: [Group; 1] = [group(0, 1, &[(0, 0)], (1, 1))];
    static GRAY16: [Group; 1] = [group(0, 2, &[(0, 1)], (1, 1))];
    static RGB: [Group; 1] = [group(0, 3, &[(0, 0), (1, 1), (2, 2)], (1, 1))];
    static BGR: [Group; 1] = [group(0, 3, &[(2, 0), (1, 1), (0, 2)], (1, 1))];
    static YUYV: [Group; 2] =
        [group(0, 2, &[(0, 0)], (1, 1)), group(0, 4, &[(1, 1), (2, 3)], (2, 1))];
    static UYVY: [Group; 2] =
        [group(0, 2, &[(0, 1)], (1, 1)), group(0, 4, &[(1, 0), (2, 2)], (2, 1))];
    static NV12: [Group; 2] =
        [group(0, 1, &[(0, 0)], (1, 1)), group(1, 2, &[(1, 0), (2, 1)], (2, 2))];
    static NV21: [Group; 2] =
        [group(0, 1, &[(0, 0)], (1, 1)), group(1, 2, &[(2, 0), (1, 1)], (2, 2))];
    static I420: [Group; 3] = [
        group(0, 1, &[(0, 0)], (1, 1)),
        group(1, 1, &[(1, 0)], (2, 2)),
        group(2, 1, &[(2, 0)], (2, 2)),
    ];
    static I422: [Group; 3] = [
        group(0, 1, &[(0, 0)], (1, 1)),
        group(1, 1, &[(1, 0)], (2, 1)),
        group(2, 1, &[(2, 0)], (2, 1)),
    ];
    static I444: [Group; 3] = [
        group(0, 1, &[(0, 0)], (1, 1)),
        group(1, 1, &[(1, 0)], (1, 1)),
        group(2, 1, &[(2, 0)], (1, 1)),
    ];
    Some(match format {
        PixelFormat::Gray8 => &GRAY,
        PixelFormat::Gray16 => &GRAY16,
        PixelFormat::Rgb8 => &RGB,
        PixelFormat::Bgr8 => &BGR,
        PixelFormat::Yuyv => &YUYV,
        PixelFormat::Uyvy => &UYVY,
        PixelFormat::Nv12 => &NV12,
        PixelFormat::Nv21 => &NV21,
        PixelFormat::I420 => &I420,
        PixelFormat::I422 => &I422,
        PixelFormat::I444 => &I444,
        PixelFormat::Jpeg | PixelFormat::Bayer { .. } => return None,
    })
}

/// What is to be done to make a tensor of a crop, but for the tables.
pub struct Plan {
    groups: &'static [Group],
    mixer: Mixer,
    columns: Range<usize>,
    rows: Range<usize>,
}

/// Fills input tensors of one network. Keeps its tables between calls; allocates only when a
/// larger picture comes than any before.
pub struct Preprocessor {
    input: ImageInput,
    /// Per group.
    columns: [Axis; COMPONENTS],
    rows: [Axis; COMPONENTS],
    /// One blended source row, as bytes in 8.8 fixed point.
    blended: Vec<u16>,
    /// One row of the tensor per component, 8.8 fixed point.
    components: [Vec<u16>; COMPONENTS],
}

impl Preprocessor {
    /// For a network's input.
    pub fn new(input: &ImageInput) -> Self {
        Self {
            input: input.clone(),
            columns: Default::default(),
            rows: Default::default(),
            blended: Vec::new(),
            components: std::array::from_fn(|_| vec![0; input.width]),
        }
    }

    /// How many values [`sample`](Self::sample) writes: channels x height x width.
    pub fn tensor_len(&self) -> usize {
        self.input.channels.count() * self.input.height * self.input.width
    }

    /// Stretches `crop` of the picture over `tensor`, `[channels, height, width]`, as
    /// `(pixel - mean) / std`.
    ///
    /// # Errors
    /// If the picture is compressed, empty, or smaller in memory than it says; or if `crop` is
    /// not finite or shrinks by more than 256.
    pub fn sample(
        &mut self,
        image: &ImageView<'_>,
        crop: &Crop,
        tensor: &mut [f32],
    ) -> Result<(), DetectError> {
        let plan = self.plan(image, crop)?;
        self.fill(&plan, image, tensor)
    }

    /// Works out what `crop` of a picture asks for. The plan holds until the next one is made.
    ///
    /// # Errors
    /// As [`sample`](Self::sample).
    pub fn plan(&mut self, image: &ImageView<'_>, crop: &Crop) -> Result<Plan, DetectError> {
        let groups = check(image)?;
        let usable = |s: f32| s > 0.0 && s <= MAX_SHRINK;
        let placed = crop.left.is_finite() && crop.top.is_finite();
        if !placed || !usable(crop.scale_x) || !usable(crop.scale_y) {
            return Err(DetectError::Picture(format!("{crop:?} cannot be sampled")));
        }
        let ImageInput { width, height, .. } = self.input;
        let mixer = Mixer::new(image.format, image.color, &self.input);
        // Grey tensors need no chroma.
        let groups = if mixer.needs_chroma() { groups } else { &groups[..1] };
        let columns = inside(crop.left, crop.scale_x, width, image.width as usize);
        let rows = inside(crop.top, crop.scale_y, height, image.height as usize);
        self.tables(image, crop, groups, &columns, &rows);
        Ok(Plan { groups, mixer, columns, rows })
    }

    /// Makes the tensor as the latest plan, which is that of `image`, says.
    ///
    /// # Errors
    /// If the tensor is of another size.
    pub fn fill(
        &mut self,
        plan: &Plan,
        image: &ImageView<'_>,
        tensor: &mut [f32],
    ) -> Result<(), DetectError> {
        let ImageInput { width, height, channels, .. } = self.input;
        if tensor.len() != self.tensor_len() {
            return Err(DetectError::Picture(format!(
                "the tensor has {} values, {} are needed",
                tensor.len(),
                self.tensor_len()
            )));
        }
        let Plan { groups, mixer, columns, rows } = plan;
        let plane = width * height;
        for c in 0..channels.count() {
            let pad = mixer.normalised(c, self.input.pad);
            let channel = &mut tensor[c * plane..(c + 1) * plane];
            channel[..rows.start * width].fill(pad);
            channel[rows.end * width..].fill(pad);
            if columns.len() < width {
                for row in channel[rows.start * width..rows.end * width].chunks_exact_mut(width) {
                    row[..columns.start].fill(pad);
                    row[columns.end..].fill(pad);
                }
            }
        }
        if columns.is_empty() {
            return Ok(());
        }
        for (n, row) in rows.clone().enumerate() {
            self.gather(image, groups, n, columns.len());
            let at = row * width + columns.start;
            let [a, b, c] = &self.components;
            let n = columns.len();
            mixer.mix([&a[..n], &b[..n], &c[..n]], tensor, at, plane);
        }
        Ok(())
    }

    /// Hands the latest plan, which is that of `image`, on to `make` as numbers. `mirrored`: the
    /// tensor is to be written from right to left.
    pub fn with_sampling<T>(
        &self,
        plan: &Plan,
        image: &ImageView<'_>,
        mirrored: bool,
        make: impl FnOnce(&Sampling<'_>) -> T,
    ) -> T {
        let axes = self.columns.iter().zip(&self.rows);
        let parts: ArrayVec<Part<'_>, COMPONENTS> = plan
            .groups
            .iter()
            .zip(axes)
            .map(|(group, (columns, rows))| Part {
                plane: group.plane,
                step: group.step,
                members: group.members,
                columns: columns.tables(),
                rows: rows.tables(),
            })
            .collect();
        make(&Sampling {
            width: self.input.width,
            height: self.input.height,
            channels: self.input.channels.count(),
            columns: (plan.columns.start, plan.columns.end),
            rows: (plan.rows.start, plan.rows.end),
            mirrored,
            planes: &image.planes,
            parts: &parts,
            mixing: plan.mixer.mixing(self.input.pad),
        })
    }

    /// Fills the tables for this crop; makes room first, for any crop of such a picture.
    fn tables(
        &mut self,
        image: &ImageView<'_>,
        crop: &Crop,
        groups: &[Group],
        columns: &Range<usize>,
        rows: &Range<usize>,
    ) {
        let ImageInput { width, height, .. } = self.input;
        let (w, h) = (image.width as usize, image.height as usize);
        let longest = groups.iter().map(|g| g.step * w.div_ceil(g.sub.0)).max().unwrap_or(0);
        if self.blended.len() < longest {
            self.blended.resize(longest, 0);
        }
        for (g, (column, row)) in groups.iter().zip(self.columns.iter_mut().zip(&mut self.rows)) {
            let (gw, gh) = (w.div_ceil(g.sub.0), h.div_ceil(g.sub.1));
            column.reserve(width, gw);
            row.reserve(height, gh);
            column.fill(crop.left, crop.scale_x, columns.clone(), gw, g.sub.0);
            row.fill(crop.top, crop.scale_y, rows.clone(), gh, g.sub.1);
        }
    }

    /// Brings the `n`-th row's components together: blends rows, then columns.
    fn gather(&mut self, image: &ImageView<'_>, groups: &[Group], n: usize, width: usize) {
        let mut have: Option<(usize, usize)> = None;
        for (i, g) in groups.iter().enumerate() {
            let columns = &self.columns[i];
            // Packed formats have all components in the same rows: blend them once.
            if have != Some((g.plane, g.sub.1)) {
                have = Some((g.plane, g.sub.1));
                let sharers = groups
                    .iter()
                    .zip(&self.columns)
                    .filter(|(o, _)| (o.plane, o.sub.1) == (g.plane, g.sub.1));
                let (low, high) = sharers.fold((usize::MAX, 0), |(low, high), (o, columns)| {
                    let (first, end) = columns.ends();
                    (low.min(first * o.step), high.max(end * o.step))
                });
                let plane = &image.planes[g.plane];
                let (first, weights) = self.rows[i].of(n);
                let rows = plane.data.get(first * plane.stride..).unwrap_or(&[]);
                blend_rows(rows, plane.stride, weights, low..high, &mut self.blended);
            }
            let blended = &self.blended;
            let [a, b, c] = &mut self.components;
            let mut targets = [Some(a), Some(b), Some(c)].map(|t| t.map(|t| &mut t[..width]));
            let mut take = |m: usize| {
                let (component, offset) = g.members[m];
                (targets[component].take().unwrap_or_default(), offset)
            };
            match g.members.len() {
                1 => blend_columns(blended, columns, g.step, [take(0)]),
                2 => blend_columns(blended, columns, g.step, [take(0), take(1)]),
                _ => blend_columns(blended, columns, g.step, [take(0), take(1), take(2)]),
            }
        }
    }
}

/// The tensor pixels whose centres lie on the picture, along one axis.
fn inside(start: f32, scale: f32, tensor: usize, picture: usize) -> Range<usize> {
    let on = |i: usize| {
        let x = start + (i as f32 + 0.5) * scale;
        x >= -0.5 && x <= picture as f32 - 0.5
    };
    // Casts saturate: whatever lies far outside ends at the tensor's borders.
    let mut first = (((-0.5 - start) / scale - 1.5).max(0.0) as usize).min(tensor);
    while first < tensor && !on(first) {
        // Beyond the picture already: nothing is inside.
        if start + (first as f32 + 0.5) * scale > picture as f32 {
            return 0..0;
        }
        first += 1;
    }
    let guess = ((picture as f32 - 0.5 - start) / scale + 1.5).max(0.0) as usize;
    let mut end = guess.clamp(first, tensor);
    while end > first && !on(end - 1) {
        end -= 1;
    }
    first..end
}

fn check(image: &ImageView<'_>) -> Result<&'static [Group], DetectError> {
    let Some(groups) = groups(image.format) else {
        return Err(DetectError::Picture(format!("{:?} must be decoded first", image.format)));
    };
    if image.width == 0 || image.height == 0 {
        return Err(DetectError::Picture("it has no pixels".to_owned()));
    }
    let packed = image.format.packed_planes(image.width, image.height);
    for (i, (row, rows)) in packed.into_iter().enumerate() {
        let there =
            image.planes.get(i).map_or(0, |p| if p.stride < row { 0 } else { p.data.len() });
        let needed = image.planes.get(i).map_or(1, |p| p.stride * (rows - 1) + row);
        if there < needed {
            return Err(DetectError::Picture(format!(
                "plane {i} of {:?} {} x {} has {there} usable bytes, {needed} are needed",
                image.format, image.width, image.height
            )));
        }
    }
    Ok(groups)
}
