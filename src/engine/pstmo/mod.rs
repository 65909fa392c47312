//! P-STMO on the CPU, slot by slot.
//!
//! An evaluator of our own for the lifters that `models/train/lifter/graph.py` exports. It reads
//! the whole-window ONNX graph, checks that it is the network that it knows, and computes the same
//! function with everything kept that stays valid while a slot travels through the window
//! (`models/train/lifter/INPUT.md`, section 4):
//!
//! - `encode`: a slot's keypoints → `x` (the spatial encoder's token) and `u = W·diag(a)·(x - mean x)`
//!   (its share of the first layer's query, key and value);
//! - `lift`: the window's slots → joints. The first layer's projections are
//!   `(u + v) / sqrt(var + eps) + b` with `v` the position's and the context's share: additions
//!   instead of products. Behind it nothing can be kept: every token mixes with every other.
//!
//! `dense` holds the matrix products, `vector` normalisation and softmax, `graph` reads the
//! file. Nothing is allocated after loading.

mod dense;
mod graph;
mod vector;

use fearless_simd::Level;
use tract_onnx::pb::GraphProto;

use super::streaming::{FEATURES, check_slots, check_windows, pack};
use super::{EngineError, ModelSpec, StreamingLifter};
use crate::skeleton::JOINTS;
use dense::{Finish, PANEL, Panels, Product};
pub(super) use graph::weights;
use vector::{FirstLayer, LayerNorm, Softmax};

/// Values in the context: size, gravity and whether it is known, lookahead.
pub(super) const CONTEXT: usize = 6;
/// `context[5]` is the lookahead in slots divided by this.
pub(super) const LOOKAHEAD_UNIT: f32 = 10.0;
/// MOFA's stride.
pub(super) const STRIDE: usize = 3;
/// Slots that are encoded at once, windows that are lifted at once: more persons share the reading
/// of the weights, up to what the working memory's place in the cache is worth.
const SLOTS_AT_ONCE: usize = 32;
const WINDOWS_AT_ONCE: usize = 4;

/// A matrix and its bias.
pub(super) struct Dense {
    pub(super) weights: Panels,
    pub(super) bias: Vec<f32>,
}

/// `LayerNormalization`'s constants.
pub(super) struct Norm {
    pub(super) gain: Vec<f32>,
    pub(super) shift: Vec<f32>,
}

/// What a layer of TEM or MOFA consists of.
pub(super) struct Layer {
    /// Added to the tokens first, `[n][d]`; MOFA's first layers have one.
    pub(super) position: Option<Vec<f32>>,
    pub(super) norm1: Norm,
    /// Query (scaled), key, value.
    pub(super) qkv: Dense,
    pub(super) proj: Dense,
    pub(super) norm2: Norm,
    pub(super) widen: Dense,
    pub(super) narrow: Dense,
}

/// The network.
pub(super) struct Weights {
    pub(super) frames: usize,
    pub(super) d: usize,
    pub(super) heads: usize,
    pub(super) epsilon: f32,
    pub(super) slope: f32,
    /// Encoder: in, two in the residual block, out.
    pub(super) sem: [Dense; 4],
    pub(super) position: Vec<f32>,
    /// `[T][3 d]`: the positions' share of the first layer's projections.
    pub(super) position_share: Vec<f32>,
    /// `diag(gain) · W` of the first layer, and `shift · W + b`.
    pub(super) share: Panels,
    pub(super) share_bias: Vec<f32>,
    pub(super) context: [Dense; 2],
    pub(super) tem: Vec<Layer>,
    pub(super) mofa: Vec<Layer>,
    pub(super) head: Dense,
    /// Answers for the asked slot's token; the head corrects it.
    pub(super) skip: Option<Dense>,
    /// Where `skip` reads when the model has one lookahead only.
    pub(super) only_lookahead: Option<usize>,
}

/// Working memory.
#[derive(Default)]
struct Buffers {
    features: Vec<f32>,
    wide: [Vec<f32>; 2],
    tokens: Vec<f32>,
    normed: Vec<f32>,
    projected: Vec<f32>,
    mixed: Vec<f32>,
    hidden: Vec<f32>,
    narrowed: Vec<f32>,
    asked: Vec<f32>,
    context: Vec<f32>,
    context_share: Vec<f32>,
    scores: Vec<f32>,
    keys: Panels,
    values: Panels,
}

/// See the module's page.
pub struct Pstmo {
    level: Level,
    name: String,
    weights: Weights,
    buffers: Buffers,
}

impl Pstmo {
    /// Takes the weights out of a lifter's whole-window graph.
    ///
    /// # Errors
    /// Says in which respect it is not a network that this evaluator computes.
    pub(super) fn of(model: &ModelSpec, graph: &GraphProto) -> Result<Self, EngineError> {
        let unknown =
            |problem| model.problem(format!("no graph of our own evaluator's: {problem}"));
        let weights = graph::weights(graph).map_err(unknown)?;
        let frames = model.lifter()?.frames;
        if weights.frames != frames {
            let problem = format!("its window has {} slots, not {frames}", weights.frames);
            return Err(unknown(problem));
        }
        let buffers = Buffers::new(&weights);
        Ok(Self { level: Level::new(), name: model.name.clone(), weights, buffers })
    }

    /// Slots in a window.
    pub fn frames(&self) -> usize {
        self.weights.frames
    }

    /// Multiply-adds: of a slot's encoding, of a window's lifting.
    pub fn macs(&self) -> (usize, usize) {
        let w = &self.weights;
        let slot = w.sem.iter().map(|s| s.weights.macs()).sum::<usize>() + w.share.macs();
        let rest = |l: &Layer| l.proj.weights.macs() + l.widen.weights.macs();
        let attention = |n: usize| 2 * n * n * w.d;
        let mut window = w.context.iter().map(|c| c.weights.macs()).sum::<usize>()
            + w.share.macs()
            + w.head.weights.macs()
            + w.skip.as_ref().map_or(0, |s| s.weights.macs());
        for (i, l) in w.tem.iter().enumerate() {
            let qkv = if i == 0 { 0 } else { l.qkv.weights.macs() };
            window += w.frames * (qkv + rest(l) + l.narrow.weights.macs()) + attention(w.frames);
        }
        let mut n = w.frames;
        for l in &w.mofa {
            window += n * (l.qkv.weights.macs() + rest(l)) + attention(n);
            n /= STRIDE;
            window += n * l.narrow.weights.macs();
        }
        (slot, window)
    }

    /// Bytes of the weights that are read for each window.
    pub fn window_weight_bytes(&self) -> usize {
        let w = &self.weights;
        let layers = w.tem.iter().chain(&w.mofa);
        let matrices: usize = layers
            .map(|l| {
                [&l.qkv, &l.proj, &l.widen, &l.narrow]
                    .map(|m| m.weights.macs())
                    .iter()
                    .sum::<usize>()
            })
            .sum();
        4 * (matrices - w.tem[0].qkv.weights.macs() + w.share.macs() + w.position_share.len())
    }

    /// `out = finish(left · dense + bias)` for rows without gaps.
    fn dense(level: Level, dense: &Dense, left: &[f32], out: &mut [f32], finish: Finish) {
        let (k, n) = (dense.weights.rows(), dense.weights.columns());
        Product {
            left,
            left_stride: k,
            m: left.len() / k,
            right: &dense.weights,
            bias: Some(&dense.bias),
            out,
            out_stride: n,
            finish,
        }
        .on(level);
    }

    fn encode_some(&mut self, keypoints: &[f32], fresh: &[f32], slots: &mut [f32]) {
        let (level, w, b) = (self.level, &self.weights, &mut self.buffers);
        let (m, d) = (fresh.len(), w.d);
        let features = &mut b.features[..m * FEATURES];
        pack(keypoints, fresh, features);
        let width = w.sem[0].weights.columns();
        let [x, y] = &mut b.wide;
        let (x, y) = (&mut x[..m * width], &mut y[..m * width]);
        let hidden = &mut b.hidden[..m * width];
        let leaky = Finish::Leaky(w.slope);
        Self::dense(level, &w.sem[0], features, x, leaky);
        Self::dense(level, &w.sem[1], x, y, leaky);
        Self::dense(level, &w.sem[2], y, hidden, leaky);
        x.iter_mut().zip(&*hidden).for_each(|(x, y)| *x += y);
        let tokens = &mut b.tokens[..m * d];
        Self::dense(level, &w.sem[3], x, tokens, Finish::Write);
        let centred = &mut b.normed[..m * d];
        for (slot, (x, c)) in slots
            .chunks_exact_mut(4 * d)
            .zip(tokens.chunks_exact(d).zip(centred.chunks_exact_mut(d)))
        {
            slot[..d].copy_from_slice(x);
            centre(x, c);
        }
        Product {
            left: centred,
            left_stride: d,
            m,
            right: &w.share,
            bias: None,
            out: &mut slots[d..],
            out_stride: 4 * d,
            finish: Finish::Write,
        }
        .on(level);
    }

    fn lift_some(&mut self, slots: &[f32], context: &[f32], joints: &mut [f32]) {
        let (level, w, b) = (self.level, &self.weights, &mut self.buffers);
        let (t, d, n) = (w.frames, w.d, context.len() / CONTEXT);
        for (i, window) in slots.chunks_exact(t * 4 * d).enumerate() {
            let given = &context[i * CONTEXT..][..CONTEXT];
            let hidden = &mut b.hidden[..w.context[0].weights.columns()];
            Self::dense(level, &w.context[0], given, hidden, Finish::Relu);
            Self::dense(level, &w.context[1], hidden, &mut b.context, Finish::Write);
            let centred = &mut b.normed[..d];
            centre(&b.context, centred);
            Product {
                left: centred,
                left_stride: d,
                m: 1,
                right: &w.share,
                bias: None,
                out: &mut b.context_share,
                out_stride: 3 * d,
                finish: Finish::Write,
            }
            .on(level);
            FirstLayer {
                slots: window,
                positions: &w.position,
                position_shares: &w.position_share,
                context: &b.context,
                context_share: &b.context_share,
                bias: &w.share_bias,
                epsilon: w.epsilon,
                tokens: &mut b.tokens[i * t * d..][..t * d],
                projected: &mut b.projected[i * t * 3 * d..][..t * 3 * d],
            }
            .on(level);
        }
        for (i, layer) in w.tem.iter().enumerate() {
            if i > 0 {
                b.project(level, w, layer, n * t);
            }
            b.attend(level, w, layer, n, t);
            b.widen(level, w, layer, n * t);
            let wide = layer.widen.weights.columns();
            let (hidden, tokens) = (&b.hidden[..n * t * wide], &mut b.tokens[..n * t * d]);
            Self::dense(level, &layer.narrow, hidden, tokens, Finish::Accumulate);
        }
        if w.skip.is_some() {
            b.ask(w, context);
        }
        let mut tokens = t;
        for layer in &w.mofa {
            if let Some(position) = &layer.position {
                for window in b.tokens[..n * tokens * d].chunks_exact_mut(tokens * d) {
                    window.iter_mut().zip(position).for_each(|(x, p)| *x += p);
                }
            }
            b.project(level, w, layer, n * tokens);
            b.attend(level, w, layer, n, tokens);
            b.widen(level, w, layer, n * tokens);
            let wide = layer.widen.weights.columns();
            // The newest of three tokens is carried on.
            let narrowed = &mut b.narrowed[..n * tokens / STRIDE * d];
            let carried = b.tokens[..n * tokens * d].chunks_exact(STRIDE * d);
            narrowed.chunks_exact_mut(d).zip(carried).for_each(|(o, x)| o.copy_from_slice(&x[..d]));
            let hidden = &b.hidden[..n * tokens * wide];
            Self::dense(level, &layer.narrow, hidden, narrowed, Finish::Accumulate);
            std::mem::swap(&mut b.tokens, &mut b.narrowed);
            tokens /= STRIDE;
        }
        Self::dense(level, &w.head, &b.tokens[..n * d], joints, Finish::Write);
        if let Some(skip) = &w.skip {
            Self::dense(level, skip, &b.asked[..n * d], joints, Finish::Accumulate);
        }
    }
}

fn centre(x: &[f32], out: &mut [f32]) {
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    out.iter_mut().zip(x).for_each(|(o, x)| *o = x - mean);
}

impl Buffers {
    fn new(w: &Weights) -> Self {
        let (t, d, n) = (w.frames, w.d, WINDOWS_AT_ONCE);
        let rows = (n * t).max(SLOTS_AT_ONCE);
        let wide = w.sem[0].weights.columns();
        let widest = w.tem.iter().chain(&w.mofa).map(|l| l.widen.weights.columns());
        let hidden = widest.max().unwrap_or(0) * n * t;
        let hidden = hidden.max(SLOTS_AT_ONCE * wide).max(w.context[0].weights.columns());
        Self {
            features: vec![0.0; SLOTS_AT_ONCE * FEATURES],
            wide: [(); 2].map(|()| vec![0.0; SLOTS_AT_ONCE * wide]),
            tokens: vec![0.0; rows * d],
            normed: vec![0.0; rows * d],
            projected: vec![0.0; rows * 3 * d],
            mixed: vec![0.0; rows * d],
            hidden: vec![0.0; hidden],
            // It changes places with the tokens.
            narrowed: vec![0.0; rows * d],
            asked: vec![0.0; n * d],
            context: vec![0.0; d],
            context_share: vec![0.0; 3 * d],
            scores: vec![0.0; t * t.next_multiple_of(PANEL)],
            keys: Panels::with_capacity(d / w.heads, t),
            values: Panels::with_capacity(t, d / w.heads),
        }
    }

    /// Query, key and value of the first `rows` tokens.
    fn project(&mut self, level: Level, w: &Weights, layer: &Layer, rows: usize) {
        let d = w.d;
        let normed = &mut self.normed[..rows * d];
        LayerNorm {
            x: &self.tokens[..rows * d],
            gain: &layer.norm1.gain,
            shift: &layer.norm1.shift,
            epsilon: w.epsilon,
            out: normed,
        }
        .on(level);
        let projected = &mut self.projected[..rows * 3 * d];
        Pstmo::dense(level, &layer.qkv, normed, projected, Finish::Write);
    }

    /// `tokens += proj(attention(projected))` for `n` windows of `t` tokens.
    fn attend(&mut self, level: Level, w: &Weights, layer: &Layer, n: usize, t: usize) {
        let (d, width) = (w.d, w.d / w.heads);
        let padded = t.next_multiple_of(PANEL);
        let scores = &mut self.scores[..t * padded];
        for i in 0..n {
            let window = &self.projected[i * t * 3 * d..][..t * 3 * d];
            for h in 0..w.heads {
                let (q, k, v) = (h * width, d + h * width, 2 * d + h * width);
                self.keys.set(width, t, |r, c| window[c * 3 * d + k + r]);
                self.values.set(t, width, |r, c| window[r * 3 * d + v + c]);
                Product {
                    left: &window[q..],
                    left_stride: 3 * d,
                    m: t,
                    right: &self.keys,
                    bias: None,
                    out: scores,
                    out_stride: padded,
                    finish: Finish::Write,
                }
                .on(level);
                Softmax { rows: scores, width: t, stride: padded }.on(level);
                Product {
                    left: scores,
                    left_stride: padded,
                    m: t,
                    right: &self.values,
                    bias: None,
                    out: &mut self.mixed[i * t * d + q..],
                    out_stride: d,
                    finish: Finish::Write,
                }
                .on(level);
            }
        }
        let (mixed, tokens) = (&self.mixed[..n * t * d], &mut self.tokens[..n * t * d]);
        Pstmo::dense(level, &layer.proj, mixed, tokens, Finish::Accumulate);
    }

    /// The wide half of the feed-forward block.
    fn widen(&mut self, level: Level, w: &Weights, layer: &Layer, rows: usize) {
        let d = w.d;
        let normed = &mut self.normed[..rows * d];
        LayerNorm {
            x: &self.tokens[..rows * d],
            gain: &layer.norm2.gain,
            shift: &layer.norm2.shift,
            epsilon: w.epsilon,
            out: normed,
        }
        .on(level);
        let hidden = &mut self.hidden[..rows * layer.widen.weights.columns()];
        Pstmo::dense(level, &layer.widen, normed, hidden, Finish::Relu);
    }

    /// The tokens of the slots that are asked for, as the contexts say.
    fn ask(&mut self, w: &Weights, context: &[f32]) {
        let (t, d) = (w.frames, w.d);
        let windows = self.tokens.chunks_exact(t * d).zip(context.chunks_exact(CONTEXT));
        for (asked, (window, context)) in self.asked.chunks_exact_mut(d).zip(windows) {
            let slot = match w.only_lookahead {
                Some(slot) => slot as f32,
                None => context[5] * LOOKAHEAD_UNIT,
            };
            asked.fill(0.0);
            for (i, token) in window.chunks_exact(d).enumerate() {
                let share = (1.0 - (i as f32 - slot).abs()).max(0.0);
                if share > 0.0 {
                    asked.iter_mut().zip(token).for_each(|(a, x)| *a += share * x);
                }
            }
        }
    }
}

impl StreamingLifter for Pstmo {
    fn slot_len(&self) -> usize {
        4 * self.weights.d
    }

    fn encode(
        &mut self,
        keypoints: &[f32],
        fresh: &[f32],
        slots: &mut [f32],
    ) -> Result<(), EngineError> {
        let (points, kept) = (3 * JOINTS, self.slot_len());
        check_slots(&self.name, kept, keypoints, fresh, slots)?;
        for ((keypoints, fresh), slots) in keypoints
            .chunks(SLOTS_AT_ONCE * points)
            .zip(fresh.chunks(SLOTS_AT_ONCE))
            .zip(slots.chunks_mut(SLOTS_AT_ONCE * kept))
        {
            self.encode_some(keypoints, fresh, slots);
        }
        Ok(())
    }

    fn lift(
        &mut self,
        slots: &[f32],
        context: &[f32],
        joints: &mut [f32],
    ) -> Result<(), EngineError> {
        let window = self.weights.frames * self.slot_len();
        check_windows(&self.name, [window, CONTEXT], slots, context, joints)?;
        for ((slots, context), joints) in slots
            .chunks(WINDOWS_AT_ONCE * window)
            .zip(context.chunks(WINDOWS_AT_ONCE * CONTEXT))
            .zip(joints.chunks_mut(WINDOWS_AT_ONCE * 3 * JOINTS))
        {
            self.lift_some(slots, context, joints);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let level = format!("{:?}", self.level);
        let name = level.split('(').next().unwrap_or_default();
        format!("our own evaluator on {name}")
    }
}

#[cfg(test)]
mod tests;
