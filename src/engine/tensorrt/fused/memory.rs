//! The network as it lies in the kernels' memory: rooms for what is computed, and constants.

use half::f16;

use super::super::super::pstmo::{Dense, Layer, Norm, STRIDE, Weights};
use super::plan::{COLUMNS, DEEP, Split, product};

/// Most values of a row that is normalised.
const NORMED: usize = 256;
/// Second halves are this much larger than what is missing.
const REST: f32 = 2048.0;

/// Lays memory out. A place is bytes from its start; 0 is none.
pub(super) struct Memory {
    pub(super) len: usize,
    pub(super) constants_at: usize,
    pub(super) constants: Vec<u8>,
}

/// Where every piece begins: what any load of the kernels wants.
pub(super) const ALIGNED: usize = 256;

impl Memory {
    fn place(at: usize) -> Result<u32, String> {
        // Offsets are computed in 32 bits.
        i32::try_from(at).map(i32::cast_unsigned).map_err(|_| "it is too large".to_owned())
    }

    pub(super) fn room(&mut self, bytes: usize) -> Result<u32, String> {
        let at = self.len;
        self.len = (at + bytes).next_multiple_of(ALIGNED);
        Self::place(at)
    }

    fn bytes(&mut self, bytes: impl IntoIterator<Item = u8>) -> Result<u32, String> {
        let at = self.constants_at + self.constants.len();
        self.constants.extend(bytes);
        self.constants.resize(self.constants.len().next_multiple_of(ALIGNED), 0);
        Self::place(at)
    }

    pub(super) fn floats(&mut self, values: &[f32]) -> Result<u32, String> {
        self.bytes(values.iter().flat_map(|v| v.to_le_bytes()))
    }

    /// Room for halves, and for second ones.
    pub(super) fn halves(&mut self, values: usize) -> Result<Halves, String> {
        Ok(Halves { high: self.room(2 * values)?, low: self.room(2 * values)? })
    }

    /// Room for tokens.
    pub(super) fn tokens(&mut self, rows: usize, d: usize) -> Result<Tokens, String> {
        Ok(Tokens {
            floats: self.room(4 * rows * d)?,
            halves: self.halves(rows * d)?,
            stats: self.room(8 * rows * d.div_ceil(COLUMNS))?,
        })
    }
}

/// Numbers in halves, or in two.
#[derive(Clone, Copy, Default)]
pub(super) struct Halves {
    pub(super) high: u32,
    pub(super) low: u32,
}

impl Halves {
    /// As a reader wants them that takes two, or one.
    pub(super) const fn read(self, split: bool) -> Self {
        Self { high: self.high, low: if split { self.low } else { 0 } }
    }
}

/// Tokens as they are added to, multiplied and normalised.
#[derive(Clone, Copy, Default)]
pub(super) struct Tokens {
    pub(super) floats: u32,
    pub(super) halves: Halves,
    pub(super) stats: u32,
}

impl Tokens {
    /// Written for a product that takes two halves, or one.
    pub(super) const fn read(self, split: bool) -> Self {
        Self { halves: self.halves.read(split), ..self }
    }

    pub(super) const fn words(self) -> [u32; 4] {
        [self.floats, self.halves.high, self.halves.low, self.stats]
    }

    pub(super) const fn only(halves: Halves) -> Self {
        Self { floats: 0, halves, stats: 0 }
    }
}

/// A matrix in memory.
#[derive(Clone, Copy)]
pub(super) struct Factor {
    /// Second halves are none if products are not split.
    pub(super) weights: Halves,
    pub(super) bias: u32,
    /// Of weights, over k, if rows are normalised.
    pub(super) sums: u32,
    pub(super) k: usize,
    pub(super) n: usize,
}

impl Factor {
    pub(super) const fn split(&self) -> bool {
        self.weights.low != 0
    }

    pub(super) fn plain(memory: &mut Memory, dense: &Dense, split: bool) -> Result<Self, String> {
        Self::new(memory, dense, None, split, |_| 1.0)
    }

    /// `dense` behind `norm`, whose gain and shift go into it, as does a scale of each column.
    pub(super) fn new(
        memory: &mut Memory,
        dense: &Dense,
        norm: Option<&Norm>,
        split: bool,
        scale: impl Fn(usize) -> f32,
    ) -> Result<Self, String> {
        let (k, n) = (dense.weights.rows(), dense.weights.columns());
        if !k.is_multiple_of(DEEP)
            || !n.is_multiple_of(COLUMNS)
            || product(k).is_none()
            || (norm.is_some() && k > NORMED)
        {
            return Err(format!("a matrix of {k} x {n} is none of theirs"));
        }
        let gain = |r: usize| norm.map_or(1.0, |norm| norm.gain[r]);
        let at = |r: usize, c: usize| dense.weights.at(r, c) * gain(r) * scale(c);
        let bias: Vec<f32> = (0..n)
            .map(|c| {
                let shift = |norm: &Norm| -> f64 {
                    let part = |r| f64::from(norm.shift[r]) * f64::from(dense.weights.at(r, c));
                    (0..k).map(part).sum()
                };
                let bias = f64::from(dense.bias[c]) + norm.map_or(0.0, shift);
                (bias * f64::from(scale(c))) as f32
            })
            .collect();
        let (mut high, mut low) = (Vec::with_capacity(2 * k * n), Vec::new());
        // Of weights as they are in halves: what is not in a product may not be taken from it.
        let mut sums = vec![0.0_f64; n];
        // As the lanes of a warp want them: PTX's mma.m16n8k16, right factor.
        for column in (0..n).step_by(COLUMNS) {
            for row in (0..k).step_by(DEEP) {
                for lane in 0..32 {
                    for eighth in 0..COLUMNS / 8 {
                        let c = column + eighth * 8 + lane / 4;
                        for r in [0, 1, 8, 9].map(|r| row + lane % 4 * 2 + r) {
                            let value = at(r, c);
                            let half = f16::from_f32(value);
                            if !half.is_finite() {
                                return Err(format!("a weight of {value} fits no half"));
                            }
                            high.extend(half.to_le_bytes());
                            sums[c] += f64::from(half);
                            if split {
                                let rest = f16::from_f32((value - half.to_f32()) * REST);
                                low.extend(rest.to_le_bytes());
                                sums[c] += f64::from(rest) / f64::from(REST);
                            }
                        }
                    }
                }
            }
        }
        let sums: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
        let high = memory.bytes(high)?;
        let low = if split { memory.bytes(low)? } else { 0 };
        Ok(Self {
            weights: Halves { high, low },
            bias: memory.floats(&bias)?,
            sums: if norm.is_some() { memory.floats(&sums)? } else { 0 },
            k,
            n,
        })
    }
}

/// A layer's matrices, and where its values are: rows of sixteens of tokens, of which those behind
/// the last one stay zero.
pub(super) struct Factors {
    pub(super) qkv: Factor,
    pub(super) values: Halves,
    pub(super) proj: Factor,
    pub(super) widen: Factor,
    pub(super) narrow: Factor,
}

impl Factors {
    /// `split`: of attention, of the rest; `values`: how many there are.
    pub(super) fn new(
        memory: &mut Memory,
        layer: &Layer,
        split: [bool; 2],
        values: usize,
    ) -> Result<Self, String> {
        let [attention, rest] = split;
        // Softmax takes powers of 2.
        let queries = layer.qkv.weights.columns() / 3;
        let scale = |c| if c < queries { std::f32::consts::LOG2_E } else { 1.0 };
        let mut zeroes = |there: bool| match there {
            true => memory.bytes(std::iter::repeat_n(0, 2 * values)),
            false => Ok(0),
        };
        let values = Halves { high: zeroes(true)?, low: zeroes(attention)? };
        Ok(Self {
            qkv: Factor::new(memory, &layer.qkv, Some(&layer.norm1), attention, scale)?,
            values,
            proj: Factor::plain(memory, &layer.proj, attention)?,
            widen: Factor::new(memory, &layer.widen, Some(&layer.norm2), rest, |_| 1.0)?,
            narrow: Factor::plain(memory, &layer.narrow, rest)?,
        })
    }
}

/// All constants.
pub(super) struct Constants {
    pub(super) enter: [u32; 6],
    pub(super) sem: Vec<Factor>,
    pub(super) position: u32,
    pub(super) tem: Vec<Factors>,
    pub(super) mofa: Vec<(Factors, u32)>,
    pub(super) leave: [u32; 4],
}

impl Constants {
    /// For `windows` at most.
    pub(super) fn new(
        memory: &mut Memory,
        w: &Weights,
        split: Split,
        windows: usize,
    ) -> Result<Self, String> {
        let all = split == Split::All;
        let mut dense = |dense: &Dense, transposed: bool| -> Result<[u32; 2], String> {
            let (rows, columns) = (dense.weights.rows(), dense.weights.columns());
            let at = |i: usize| match transposed {
                true => dense.weights.at(i % rows, i / rows),
                false => dense.weights.at(i / columns, i % columns),
            };
            let values: Vec<f32> = (0..rows * columns).map(at).collect();
            Ok([memory.floats(&values)?, memory.floats(&dense.bias)?])
        };
        let enter = [&w.sem[0], &w.context[0], &w.context[1]];
        let [[weights, bias], [weights1, bias1], [weights2, bias2]] =
            [dense(enter[0], false)?, dense(enter[1], false)?, dense(enter[2], false)?];
        let [head, head_bias] = dense(&w.head, true)?;
        let [skip, skip_bias] = w.skip.as_ref().map_or(Ok([0; 2]), |skip| dense(skip, true))?;
        let sem = w.sem[1..].iter().map(|d| Factor::plain(memory, d, true));
        let sem = sem.collect::<Result<_, _>>()?;
        let values = |tokens: usize| windows * w.d * tokens.next_multiple_of(DEEP);
        let last = w.tem.len() - 1;
        let tem = w.tem.iter().enumerate().map(|(i, layer)| {
            let asked = i == last && w.skip.is_some();
            Factors::new(memory, layer, [all || i == 0, all || asked], values(w.frames))
        });
        let tem = tem.collect::<Result<_, _>>()?;
        let mut tokens = w.frames;
        let mofa = w.mofa.iter().map(|layer| {
            let position = layer.position.as_ref().map_or(Ok(0), |p| memory.floats(p))?;
            let factors = Factors::new(memory, layer, [all; 2], values(tokens))?;
            tokens /= STRIDE;
            Ok((factors, position))
        });
        let mofa = mofa.collect::<Result<_, String>>()?;
        Ok(Self {
            enter: [weights, bias, weights1, bias1, weights2, bias2],
            sem,
            position: memory.floats(&w.position)?,
            tem,
            mofa,
            leave: [head, head_bias, skip, skip_bias],
        })
    }
}
