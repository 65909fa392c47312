//! How a network's input is made of a camera's pixels, in numbers.
//!
//! Whoever looks at pictures (`detect::preprocess`) works it out for every crop and hands it to the
//! engine, which may make its input from it where it computes
//! ([`Engine::run_sampled`](super::Engine::run_sampled)). Rows are blended, then columns, both in
//! fixed point, then components become channels:
//!
//! 1. a byte of each of `rows.taps` rows times its weight, `b * (w >> 8) + (b * (w & 255) >> 8)`,
//!    summed;
//! 2. `columns.taps` of these times their weights, summed, `>> 16`: a component in 1/256;
//! 3. `clamp(offset + ((factor[0] * a + factor[1] * b) + factor[2] * c), 0, limit)`, minus `mean`,
//!    times `per_std`, each step rounded to `f32`.
//!
//! An engine that follows this to the letter makes the tensor that the CPU makes, bit by bit.

use std::ops::Range;

use crate::frame::Plane;

/// What makes one input tensor, `[channels, height, width]`.
#[derive(Clone, Copy, Debug)]
pub struct Sampling<'a> {
    /// The tensor's pixels in a row.
    pub width: usize,
    /// Its rows.
    pub height: usize,
    /// 1 or 3.
    pub channels: usize,
    /// Tensor columns whose centres lie on the picture; the others are padding.
    pub columns: (usize, usize),
    /// Tensor rows whose centres lie on the picture.
    pub rows: (usize, usize),
    /// The tensor is written from right to left: the crop in a mirror.
    pub mirrored: bool,
    /// The picture.
    pub planes: &'a [Plane<'a>],
    /// Where its components are: 1 or 3 of them in all, each once.
    pub parts: &'a [Part<'a>],
    /// Components to channels.
    pub mixing: Mixing,
}

/// Components that lie side by side in one plane.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Which plane.
    pub plane: usize,
    /// Bytes from one of its pixels to the next.
    pub step: usize,
    /// (component, byte within the pixel).
    pub members: &'a [(usize, usize)],
    /// Which of the plane's pixels make which tensor column.
    pub columns: Taps<'a>,
    /// Which of the plane's rows make which tensor row.
    pub rows: Taps<'a>,
}

/// Which source pixels make a tensor pixel, along one axis, for the tensor pixels on the picture.
#[derive(Clone, Copy, Debug)]
pub struct Taps<'a> {
    /// The first source pixel of each.
    pub first: &'a [u32],
    /// `taps` weights of each, in 1/65536.
    pub weights: &'a [u16],
    /// How many source pixels make a tensor pixel.
    pub taps: usize,
}

/// How components, in 1/256, become channels. See the module's introduction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mixing {
    /// Of each channel, for each component.
    pub factor: [[f32; 3]; 3],
    /// Of each channel.
    pub offset: [f32; 3],
    /// Sums are cut off at 0 and here.
    pub limit: f32,
    /// Of each channel.
    pub mean: [f32; 3],
    /// Of each channel.
    pub per_std: [f32; 3],
    /// What each channel has where no picture is.
    pub padding: [f32; 3],
}

impl Taps<'_> {
    /// The source pixels that are read, if the tables are those of `count` tensor pixels.
    pub fn span(&self, count: usize) -> Option<Range<usize>> {
        let whole = self.first.len() == count && self.weights.len() == count * self.taps;
        let first = self.first.iter().min().map_or(0, |first| *first as usize);
        let end = self.first.iter().max().map_or(0, |first| *first as usize + self.taps);
        whole.then_some(first..end)
    }
}

impl Sampling<'_> {
    /// How many values the tensor has.
    pub fn tensor_len(&self) -> usize {
        self.channels * self.height * self.width
    }
}
