//! Matrix products with constant weights, in `f32`, on whatever vector unit the machine has.
//!
//! The weights are packed once into panels of [`PANEL`] columns, each contiguous from its first
//! row to its last: a panel stays in the first-level cache while all rows of the left matrix go
//! past it, six at a time, with their sums in registers. `fearless_simd` chooses the instruction
//! set when the program runs, without `unsafe` here; what it compiles once for each set is marked
//! `#[inline(always)]`, as it asks for.

use fearless_simd::{Level, Simd, dispatch, prelude::*};

/// Columns of a panel: one register of AVX-512, two of AVX2, four of NEON.
pub(super) const PANEL: usize = 16;

/// A matrix in panels; columns beyond its last are zero.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Panels {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl Panels {
    /// Of a row-major matrix.
    pub(super) fn new(matrix: &[f32], rows: usize, columns: usize) -> Self {
        let mut packed = Self::with_capacity(rows, columns);
        packed.set(rows, columns, |r, c| matrix[r * columns + c]);
        packed
    }

    /// Empty, with room for a matrix of that size.
    pub(super) fn with_capacity(rows: usize, columns: usize) -> Self {
        let values = vec![0.0; rows * columns.next_multiple_of(PANEL)];
        Self { rows: 0, columns: 0, values }
    }

    /// Replaces the content; the size must fit the room.
    pub(super) fn set(&mut self, rows: usize, columns: usize, at: impl Fn(usize, usize) -> f32) {
        (self.rows, self.columns) = (rows, columns);
        for (p, panel) in self.values.chunks_exact_mut(rows * PANEL).enumerate() {
            let width = columns.saturating_sub(p * PANEL).min(PANEL);
            for (r, row) in panel.chunks_exact_mut(PANEL).enumerate() {
                for (c, value) in row.iter_mut().enumerate() {
                    *value = if c < width { at(r, p * PANEL + c) } else { 0.0 };
                }
            }
        }
    }

    /// The value of a row and a column.
    pub(in super::super) fn at(&self, row: usize, column: usize) -> f32 {
        self.values[(column / PANEL * self.rows + row) * PANEL + column % PANEL]
    }

    pub(in super::super) const fn rows(&self) -> usize {
        self.rows
    }

    pub(in super::super) const fn columns(&self) -> usize {
        self.columns
    }

    /// Multiply-adds for each row of the left matrix.
    pub(super) const fn macs(&self) -> usize {
        self.rows * self.columns
    }
}

/// What is done with a sum before it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Finish {
    /// `out = sum + bias`
    Write,
    /// `out = max(sum + bias, 0)`
    Relu,
    /// `out = leaky(sum + bias)`, slope below zero
    Leaky(f32),
    /// `out += sum + bias`
    Accumulate,
}

/// `out = finish(left · right + bias)`, `m` rows; `left` and `out` have rows of these strides.
pub(super) struct Product<'a> {
    pub(super) left: &'a [f32],
    pub(super) left_stride: usize,
    pub(super) m: usize,
    pub(super) right: &'a Panels,
    /// One for each column; none: zero.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) out: &'a mut [f32],
    pub(super) out_stride: usize,
    pub(super) finish: Finish,
}

impl Product<'_> {
    /// Computes it.
    pub(super) fn on(self, level: Level) {
        dispatch!(level, simd => self.with(simd));
    }

    #[inline(always)]
    fn with<S: Simd>(self, simd: S) {
        // As many sums as there are registers for.
        match S::f32s::LEN {
            16 => self.run::<S, 12, 1>(simd),
            8 => self.run::<S, 6, 2>(simd),
            4 => self.run::<S, 6, 4>(simd),
            _ => self.run::<S, 2, 16>(simd),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn run<S: Simd, const R: usize, const V: usize>(mut self, simd: S) {
        let mut panel = 0;
        while panel * PANEL < self.right.columns {
            let mut row = 0;
            while row + R <= self.m {
                self.rows::<S, R, V>(simd, row, panel);
                row += R;
            }
            while row + 3 <= self.m {
                self.rows::<S, 3, V>(simd, row, panel);
                row += 3;
            }
            while row < self.m {
                self.rows::<S, 1, V>(simd, row, panel);
                row += 1;
            }
            panel += 1;
        }
    }

    /// `R` rows of one panel.
    #[inline(always)]
    fn rows<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, row: usize, panel: usize) {
        let k = self.right.rows;
        let left: [&[f32]; R] =
            std::array::from_fn(|r| &self.left[(row + r) * self.left_stride..][..k]);
        let right = &self.right.values[panel * k * PANEL..][..k * PANEL];
        let mut sums = [[S::f32s::splat(simd, 0.0); V]; R];
        for (i, b) in right.as_chunks::<PANEL>().0.iter().enumerate() {
            let b: [S::f32s; V] = std::array::from_fn(|v| {
                S::f32s::from_slice(simd, &b[v * S::f32s::LEN..][..S::f32s::LEN])
            });
            for r in 0..R {
                let a = S::f32s::splat(simd, left[r][i]);
                for v in 0..V {
                    sums[r][v] = a.mul_add(b[v], sums[r][v]);
                }
            }
        }
        let first = panel * PANEL;
        let width = (self.right.columns - first).min(PANEL);
        let bias: [f32; PANEL] = std::array::from_fn(|c| match self.bias {
            Some(bias) if c < width => bias[first + c],
            _ => 0.0,
        });
        for (r, sums) in sums.iter().enumerate() {
            let mut line = [0.0f32; PANEL];
            for (x, part) in sums.iter().zip(line.chunks_exact_mut(S::f32s::LEN)) {
                x.store_slice(part);
            }
            for (x, b) in line.iter_mut().zip(bias) {
                *x += b;
            }
            let out = &mut self.out[(row + r) * self.out_stride + first..][..width];
            match self.finish {
                Finish::Write => out.copy_from_slice(&line[..width]),
                Finish::Relu => {
                    out.iter_mut().zip(line).for_each(|(o, x)| *o = x.max(0.0));
                }
                Finish::Leaky(slope) => {
                    let leaky = |x: f32| x.max(0.0) + slope * x.min(0.0);
                    out.iter_mut().zip(line).for_each(|(o, x)| *o = leaky(x));
                }
                Finish::Accumulate => {
                    out.iter_mut().zip(line).for_each(|(o, x)| *o += x);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_any_size_are_those_of_the_definition() {
        let number = |i: usize| (i * 37 % 23) as f32 / 8.0 - 1.0;
        for (m, k, n) in [(1, 1, 1), (2, 5, 16), (7, 9, 17), (81, 32, 81), (13, 51, 40), (5, 3, 3)]
        {
            let (stride, out_stride) = (k + 3, n + 2);
            let left: Vec<f32> = (0..m * stride).map(number).collect();
            let matrix: Vec<f32> = (0..k * n).map(|i| number(i + 5)).collect();
            let bias: Vec<f32> = (0..n).map(|i| number(i + 11)).collect();
            let right = Panels::new(&matrix, k, n);
            for finish in [Finish::Write, Finish::Relu, Finish::Leaky(0.2), Finish::Accumulate] {
                let mut out: Vec<f32> = (0..m * out_stride).map(number).collect();
                let before = out.clone();
                let product = Product {
                    left: &left,
                    left_stride: stride,
                    m,
                    right: &right,
                    bias: Some(&bias),
                    out: &mut out,
                    out_stride,
                    finish,
                };
                product.on(Level::new());
                for r in 0..m {
                    for c in 0..out_stride {
                        let at = r * out_stride + c;
                        let wanted = if c >= n {
                            before[at]
                        } else {
                            let sum: f32 =
                                (0..k).map(|i| left[r * stride + i] * matrix[i * n + c]).sum();
                            let x = sum + bias[c];
                            match finish {
                                Finish::Write => x,
                                Finish::Relu => x.max(0.0),
                                Finish::Leaky(s) => {
                                    if x > 0.0 {
                                        x
                                    } else {
                                        s * x
                                    }
                                }
                                Finish::Accumulate => before[at] + x,
                            }
                        };
                        assert!((out[at] - wanted).abs() < 1e-4, "{m} {k} {n} {finish:?}");
                    }
                }
            }
        }
    }
}
