//! What is not a matrix product: normalisation and softmax, written so that compilers turn the
//! loops into vector code.

use fearless_simd::{Level, dispatch};

const LANES: usize = 16;

#[inline(always)]
fn sum(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += term(*x);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|x| term(*x)).sum::<f32>()
}

/// Mean and reciprocal standard deviation of a row, as `LayerNormalization` has them.
#[inline(always)]
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = sum(row, |x| x) / n;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / n;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

/// `out = (x - mean) / sqrt(variance + epsilon) * gain + shift`, row by row.
pub(super) struct LayerNorm<'a> {
    pub(super) x: &'a [f32],
    pub(super) gain: &'a [f32],
    pub(super) shift: &'a [f32],
    pub(super) epsilon: f32,
    pub(super) out: &'a mut [f32],
}

impl LayerNorm<'_> {
    /// Computes it.
    pub(super) fn on(self, level: Level) {
        dispatch!(level, _simd => self.run());
    }

    #[inline(always)]
    fn run(self) {
        let d = self.gain.len();
        for (x, out) in self.x.chunks_exact(d).zip(self.out.chunks_exact_mut(d)) {
            let (mean, scale) = moments(x, self.epsilon);
            for (((o, x), g), b) in out.iter_mut().zip(x).zip(self.gain).zip(self.shift) {
                *o = (x - mean) * scale * g + b;
            }
        }
    }
}

/// The first layer's projections of one window from what is kept of its slots: see the module's
/// page ([`super`]).
pub(super) struct FirstLayer<'a> {
    /// `[T][4 d]`: x, then u.
    pub(super) slots: &'a [f32],
    /// `[T][d]`: position of each slot.
    pub(super) positions: &'a [f32],
    /// `[T][3 d]`: their share in the projections.
    pub(super) position_shares: &'a [f32],
    /// `[d]` and `[3 d]`: the same of the context.
    pub(super) context: &'a [f32],
    pub(super) context_share: &'a [f32],
    /// `[3 d]`.
    pub(super) bias: &'a [f32],
    pub(super) epsilon: f32,
    /// `[T][d]`: the residual stream.
    pub(super) tokens: &'a mut [f32],
    /// `[T][3 d]`.
    pub(super) projected: &'a mut [f32],
}

impl FirstLayer<'_> {
    /// Computes it.
    pub(super) fn on(self, level: Level) {
        dispatch!(level, _simd => self.run());
    }

    #[inline(always)]
    fn run(self) {
        let d = self.context.len();
        let rows = self
            .slots
            .chunks_exact(4 * d)
            .zip(self.positions.chunks_exact(d).zip(self.position_shares.chunks_exact(3 * d)))
            .zip(self.tokens.chunks_exact_mut(d).zip(self.projected.chunks_exact_mut(3 * d)));
        for ((slot, (position, share)), (token, projected)) in rows {
            let (x, u) = slot.split_at(d);
            for (((t, x), p), c) in token.iter_mut().zip(x).zip(position).zip(self.context) {
                *t = x + (p + c);
            }
            let (_, scale) = moments(token, self.epsilon);
            let terms = u.iter().zip(share).zip(self.context_share).zip(self.bias);
            for (o, (((u, v), w), b)) in projected.iter_mut().zip(terms) {
                *o = (u + (v + w)) * scale + b;
            }
        }
    }
}

/// e to the power of `x`, for `x <= 0`; relative error below 2e-7 (the polynomial of Cephes'
/// `expf`). Below -87 it is 0.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.max(-87.0);
    // Rounds to the nearest whole number: the bits below the point fall off.
    const ROUND: f32 = 12_582_912.0;
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5e-1;
    let y = p * (r * r) + r + 1.0;
    let power = f32::from_bits((((n as i32) + 127) << 23) as u32);
    y * power
}

/// Softmax of rows of `width` values that lie `stride` apart.
pub(super) struct Softmax<'a> {
    pub(super) rows: &'a mut [f32],
    pub(super) width: usize,
    pub(super) stride: usize,
}

impl Softmax<'_> {
    /// Computes it.
    pub(super) fn on(self, level: Level) {
        dispatch!(level, _simd => self.run());
    }

    #[inline(always)]
    fn run(self) {
        for row in self.rows.chunks_exact_mut(self.stride) {
            let row = &mut row[..self.width];
            let mut most = [f32::NEG_INFINITY; LANES];
            let (whole, rest) = row.as_chunks::<LANES>();
            for chunk in whole {
                for (m, x) in most.iter_mut().zip(chunk) {
                    *m = if *x > *m { *x } else { *m };
                }
            }
            let most = most.iter().chain(rest).fold(f32::NEG_INFINITY, |m, x| m.max(*x));
            for x in row.iter_mut() {
                *x = exp(*x - most);
            }
            let scale = 1.0 / sum(row, |x| x);
            for x in row.iter_mut() {
                *x *= scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_two_units_in_the_last_place() {
        for i in 0..87_000 {
            let x = -(i as f32) * 1e-3;
            let wanted = f64::from(x).exp();
            assert!((f64::from(exp(x)) / wanted - 1.0).abs() < 2.4e-7, "{x}: {}", exp(x));
        }
        assert!(exp(-1e30) < 1e-37);
        assert_eq!(exp(0.0), 1.0);
    }

    #[test]
    fn softmax_sums_to_one_and_keeps_the_order() {
        let mut rows: Vec<f32> = (0..4 * 40).map(|i| (i * 29 % 41) as f32 - 20.0).collect();
        let before = rows.clone();
        Softmax { rows: &mut rows, width: 37, stride: 40 }.on(Level::new());
        for (row, old) in rows.chunks(40).zip(before.chunks(40)) {
            assert!((row[..37].iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert_eq!(row[37..], old[37..], "padding is not touched");
            let most = old[..37].iter().copied().fold(f32::MIN, f32::max);
            let sum: f32 = old[..37].iter().map(|x| (x - most).exp()).sum();
            for (x, o) in row[..37].iter().zip(old) {
                assert!((x - (o - most).exp() / sum).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn a_normalised_row_has_mean_zero_and_deviation_one() {
        let x: Vec<f32> = (0..2 * 35).map(|i| (i * 13 % 29) as f32).collect();
        let (gain, shift) = (vec![1.0; 35], vec![0.0; 35]);
        let mut out = vec![0.0; 70];
        let norm = LayerNorm { x: &x, gain: &gain, shift: &shift, epsilon: 0.0, out: &mut out };
        norm.on(Level::new());
        for row in out.chunks(35) {
            assert!(row.iter().sum::<f32>().abs() < 1e-4);
            assert!((row.iter().map(|x| x * x).sum::<f32>() / 35.0 - 1.0).abs() < 1e-5);
        }
    }
}
