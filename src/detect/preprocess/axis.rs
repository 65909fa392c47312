//! Which source pixels make a tensor pixel, along one axis: tables that rows and columns share.

use std::ops::Range;

use crate::engine::sampling::Taps;

/// For each tensor pixel of a range: the first source pixel and the weights of it and of those
/// after it. All have the same number of taps, so that loops are plain.
#[derive(Debug, Default)]
pub(super) struct Axis {
    pub first: Vec<u32>,
    /// `taps` per tensor pixel, in 1/65536; they sum to 65536 but for rounding.
    pub weights: Vec<u16>,
    pub taps: usize,
}

/// Shrinking by more than this reads every source pixel under a tensor pixel, not two.
const AREA_FROM: f32 = 2.0;

impl Axis {
    /// Fills the tables for the tensor pixels of `range`. Tensor pixel `i`'s centre is at the
    /// picture coordinate `start + (i + 0.5) * scale`; the plane has `size` pixels and holds one
    /// value per `sub` picture pixels, in their middle.
    ///
    /// Up to a shrinking of 2: linear interpolation between two neighbours, clamped at the
    /// borders. Beyond: the mean over the tensor pixel's extent, which does not alias.
    pub fn fill(&mut self, start: f32, scale: f32, range: Range<usize>, size: usize, sub: usize) {
        let sub = sub as f32;
        let scale = scale / sub;
        // In the plane's own coordinates, with pixel j spanning j .. j + 1.
        let origin = (start + 0.5) / sub;
        let area = scale > AREA_FROM;
        // A span of length s touches at most ceil(s) + 1 pixels.
        self.taps = (if area { scale.ceil() as usize + 1 } else { 2 }).min(size);
        self.first.clear();
        self.weights.clear();
        for i in range {
            let centre = origin + (i as f32 + 0.5) * scale;
            let (low, high) = if area {
                (centre - scale / 2.0, centre + scale / 2.0)
            } else {
                // Linear interpolation is the mean over one source pixel's length.
                (centre - 0.5, centre + 0.5)
            };
            self.push(low, high, size);
        }
    }

    /// One tensor pixel: the mean over `low..high`, where the plane's first and last pixels
    /// reach on beyond its borders.
    fn push(&mut self, low: f32, high: f32, size: usize) {
        let last = size - self.taps;
        let first = (low.max(0.0) as usize).min(last);
        self.first.push(first as u32);
        let per_length = 65536.0 / (high - low);
        for j in first..first + self.taps {
            let left = if j == 0 { f32::NEG_INFINITY } else { j as f32 };
            let right = if j == size - 1 { f32::INFINITY } else { (j + 1) as f32 };
            let covered = (high.min(right) - low.max(left)).max(0.0);
            self.weights.push((covered * per_length + 0.5).min(65535.0) as u16);
        }
    }

    /// The first source pixel and the weights of the `n`-th pixel of the range.
    pub fn of(&self, n: usize) -> (usize, &[u16]) {
        (self.first[n] as usize, &self.weights[n * self.taps..(n + 1) * self.taps])
    }

    /// The tables, for whoever samples elsewhere.
    pub fn tables(&self) -> Taps<'_> {
        Taps { first: &self.first, weights: &self.weights, taps: self.taps }
    }

    /// The source pixels that are read, from the first to one beyond the last.
    pub fn ends(&self) -> (usize, usize) {
        let (Some(first), Some(last)) = (self.first.first(), self.first.last()) else {
            return (0, 0);
        };
        (*first as usize, *last as usize + self.taps)
    }

    /// Makes room for any range of at most `tensor` pixels over a plane of `size`, so that
    /// filling never allocates.
    pub fn reserve(&mut self, tensor: usize, size: usize) {
        // A range's spans cover the plane once, plus two pixels at the ends of each.
        let weights = size + 4 * tensor;
        self.first.reserve(tensor.saturating_sub(self.first.len()));
        self.weights.reserve(weights.saturating_sub(self.weights.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_whatever_the_scale_and_the_border() {
        let mut axis = Axis::default();
        for size in [1, 2, 3, 7, 640] {
            for scale in [0.1, 0.5, 1.0, 1.9, 2.1, 3.7, 40.0] {
                for sub in [1, 2] {
                    let last = ((size * sub) as f32 / scale) as usize;
                    axis.fill(-0.5, scale, 0..last.max(1), size, sub);
                    for n in 0..axis.first.len() {
                        let (first, weights) = axis.of(n);
                        assert!(first + weights.len() <= size);
                        let sum: u32 = weights.iter().map(|w| u32::from(*w)).sum();
                        assert!(sum.abs_diff(65536) <= 24, "{size} {scale} {sub} {n}: {sum}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_reserved_room_is_enough_for_every_scale() {
        for size in [1, 5, 640, 1280] {
            for scale in [0.2, 1.0, 2.01, 2.5, 3.99, 6.7, 100.0] {
                let mut axis = Axis::default();
                axis.reserve(192, size);
                let (a, b) = (axis.first.capacity(), axis.weights.capacity());
                let inside = ((size as f32 / scale) as usize).clamp(1, 192);
                axis.fill(-0.5, scale, 0..inside, size, 1);
                assert_eq!((a, b), (axis.first.capacity(), axis.weights.capacity()));
            }
        }
    }
}
