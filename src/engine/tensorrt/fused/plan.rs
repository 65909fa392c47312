//! Which kernels compute a step, and what they are given.

use super::super::super::pstmo::{CONTEXT, LOOKAHEAD_UNIT, STRIDE, Weights};
use super::super::super::streaming::FEATURES;
use super::memory::{ALIGNED, Constants, Factor, Factors, Halves, Memory, Tokens};
use crate::skeleton::JOINTS;

/// Entries, in `kernels.h`'s order; behind one of those that have two, that with split numbers.
pub(in super::super) const KERNELS: [&str; 10] = [
    "pw_enter",
    "pw_product_2",
    "pw_product_2_split",
    "pw_product_6",
    "pw_product_6_split",
    "pw_attention_16",
    "pw_attention_16_split",
    "pw_attention_32",
    "pw_attention_32_split",
    "pw_leave",
];
const ENTER: usize = 0;
/// (sixteens of `k` that a warp takes, entry)
const PRODUCTS: [(usize, usize); 2] = [(2, 1), (6, 3)];
const ATTENTION_16: usize = 5;
const ATTENTION_32: usize = 7;
const LEAVE: usize = 9;

/// Values of a pose.
const POSE: usize = 3 * JOINTS;
/// 32-bit words of any kernel's arguments.
pub(in super::super) const WORDS: usize = 32;
/// Rows and columns of a block's part of a product, and rows of weights that are multiplied at a time.
const ROWS: usize = 16;
pub(super) const COLUMNS: usize = 32;
pub(super) const DEEP: usize = 16;
/// Most warps of a block, and threads that end a product.
const WARPS: usize = 16;
const ENDING: usize = 256;
/// Attention has a warp for each, or two where there are more keys than this.
const HEADS: usize = 8;
const KEYS: usize = 48;

/// Which products take numbers as two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// All: as good as 32 bits.
    All,
    /// Where one half costs too much: what is encoded of single frames, the first layer's attention
    /// (its scores are differences of thousands), and the tokens that are asked for.
    Needed,
}

/// One kernel of a step.
#[derive(Clone, Debug)]
pub(in super::super) struct Launch {
    /// Of [`KERNELS`].
    pub(in super::super) kernel: usize,
    pub(in super::super) grid: [u32; 3],
    pub(in super::super) threads: u32,
    pub(in super::super) words: [u32; WORDS],
}

/// Where what comes and goes lies, in values: keypoints, freshness, contexts, joints.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Outside {
    pub(in super::super) fresh: usize,
    pub(in super::super) context: usize,
    pub(in super::super) joints: usize,
    pub(in super::super) len: usize,
}

/// A lifter for so many windows at most.
pub(in super::super) struct Plan {
    pub(in super::super) frames: usize,
    pub(in super::super) outside: Outside,
    /// Bytes of memory: room for what is computed, then constants.
    pub(in super::super) len: usize,
    pub(in super::super) constants_at: usize,
    pub(in super::super) constants: Vec<u8>,
    /// (windows, kernels one behind the other), the fewest windows first.
    pub(in super::super) steps: Vec<(usize, Vec<Launch>)>,
}

#[derive(Clone, Copy)]
struct Rooms {
    tokens: [Tokens; 2],
    wide: [Halves; 2],
    /// The encoder's, for what is added to it.
    entered: u32,
    queries: Halves,
    asked: u32,
    window: u32,
    slots: u32,
}

/// The entry for products over `k`, and its warps that multiply.
pub(super) fn product(k: usize) -> Option<(usize, usize)> {
    let steps = k / DEEP;
    let fit = |(each, _): &&(usize, usize)| steps.is_multiple_of(*each) && steps / each <= WARPS;
    PRODUCTS.iter().find(fit).map(|(each, entry)| (*entry, steps / each))
}

/// What is done with a product, beside its bias.
#[derive(Clone, Copy)]
struct Finish {
    slope: f32,
    /// Rows that are added, and values from one to the next.
    carried: (u32, usize),
    /// Tables that are added: of slots, of windows; with the number of rows of the first.
    table: u32,
    window: u32,
    period: usize,
    raw: u32,
    to: Tokens,
    /// Where the result goes as queries and keys, and as values.
    queries: Halves,
    values: Halves,
}

impl Finish {
    const fn to(to: Tokens) -> Self {
        let none = Halves { high: 0, low: 0 };
        Self {
            slope: 1.0,
            carried: (0, 0),
            table: 0,
            window: 0,
            period: 1,
            raw: 0,
            to,
            queries: none,
            values: none,
        }
    }
}

/// A number that a kernel is given.
fn word(number: usize) -> u32 {
    // Sizes of networks; those that are larger have failed in `Memory::place`.
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn words<const N: usize>(given: [u32; N]) -> [u32; WORDS] {
    let mut words = [0; WORDS];
    words[..N].copy_from_slice(&given);
    words
}

impl Plan {
    /// For calls of each of these numbers of `windows`.
    ///
    /// # Errors
    /// Why the kernels do not compute this network.
    pub(super) fn new(w: &Weights, windows: &[usize], split: Split) -> Result<Self, String> {
        let (t, d, width) = (w.frames, w.d, w.sem[0].weights.columns());
        let head = d / HEADS;
        let known = [16, 32].contains(&head) && w.heads == HEADS && head * HEADS == d;
        let enters = width.is_multiple_of(32) && (d..=32 * WARPS).contains(&width);
        if !known || !enters || w.context[0].weights.columns() != 64 {
            let heads = w.heads;
            return Err(format!(
                "{heads} heads, {d} and {width} values a token are none of theirs"
            ));
        }
        let most = windows.iter().copied().max().unwrap_or(1);
        let rows = most * t;
        let layers = || w.tem.iter().chain(&w.mofa);
        let wide = layers().map(|l| l.widen.weights.columns()).max().unwrap_or(0).max(width);
        let mut memory = Memory { len: ALIGNED, constants_at: 0, constants: Vec::new() };
        let rooms = Rooms {
            tokens: [memory.tokens(rows, d)?, memory.tokens(rows, d)?],
            wide: [memory.halves(rows * wide)?, memory.halves(rows * wide)?],
            entered: memory.room(4 * rows * width)?,
            queries: memory.halves(rows * 2 * d)?,
            asked: memory.room(4 * rows * d)?,
            window: memory.room(4 * most * d)?,
            slots: memory.room(4 * most)?,
        };
        memory.constants_at = memory.len;
        let constants = Constants::new(&mut memory, w, split, most)?;
        let fresh = most * t * POSE;
        let (context, joints) = (fresh + most, fresh + most * (1 + CONTEXT));
        let outside = Outside { fresh, context, joints, len: joints + most * POSE };
        let mut steps: Vec<_> = windows
            .iter()
            .map(|n| {
                let mut step = Steps { weights: w, rooms, launches: Vec::new() };
                step.lift(*n, &constants, &outside);
                (*n, step.launches)
            })
            .collect();
        steps.sort_by_key(|(n, _)| *n);
        Ok(Self {
            frames: t,
            outside,
            len: memory.constants_at + memory.constants.len(),
            constants_at: memory.constants_at,
            constants: memory.constants,
            steps,
        })
    }
}

/// The kernels of a step.
struct Steps<'a> {
    weights: &'a Weights,
    rooms: Rooms,
    launches: Vec<Launch>,
}

impl Steps<'_> {
    /// `left` in halves; `stats`: of its rows, where they are normalised.
    fn product(&mut self, left: Halves, stats: u32, rows: usize, by: &Factor, finish: Finish) {
        // `Factor::new` has refused what none is for.
        let (entry, warps) = product(by.k).unwrap_or_default();
        let [floats, high, low, new_stats] = finish.to.words();
        self.launches.push(Launch {
            kernel: entry + usize::from(by.split()),
            grid: [word(by.n / COLUMNS), word(rows.div_ceil(ROWS)), 1],
            threads: word((32 * warps).max(ENDING)),
            words: words([
                left.high,
                left.low,
                by.weights.high,
                by.weights.low,
                by.bias,
                by.sums,
                stats,
                self.weights.epsilon.to_bits(),
                finish.slope.to_bits(),
                finish.carried.0,
                word(finish.carried.1),
                finish.table,
                finish.window,
                word(finish.period),
                finish.raw,
                floats,
                high,
                low,
                new_stats,
                finish.queries.high,
                finish.queries.low,
                finish.values.high,
                finish.values.low,
                word(rows),
                word(by.k),
                word(by.n),
            ]),
        });
    }

    /// Attention of `layer`, added to tokens `x`, and the wide half of the feed-forward block.
    fn attend(&mut self, layer: &Factors, x: Tokens, windows: usize, tokens: usize) {
        let (r, rows) = (self.rooms, windows * tokens);
        let split = layer.qkv.split();
        let queries = r.queries.read(split);
        let finish = Finish {
            queries,
            values: layer.values,
            period: tokens,
            ..Finish::to(Tokens::default())
        };
        self.product(x.halves, x.stats, rows, &layer.qkv, finish);
        let entry = if self.weights.d / HEADS == 16 { ATTENTION_16 } else { ATTENTION_32 };
        let turns = if tokens > KEYS && !split { 2 } else { 1 };
        let by = &layer.proj;
        let [floats, high, low, stats] = x.read(layer.widen.split()).words();
        self.launches.push(Launch {
            kernel: entry + usize::from(split),
            grid: [word(by.n / COLUMNS), word(tokens.div_ceil(ROWS)), word(windows)],
            threads: word(32 * HEADS * turns),
            words: words([
                queries.high,
                queries.low,
                layer.values.high,
                layer.values.low,
                by.weights.high,
                by.weights.low,
                by.bias,
                floats,
                high,
                low,
                stats,
                word(tokens),
            ]),
        });
        let hidden = r.wide[0].read(layer.narrow.split());
        let finish = Finish { slope: 0.0, ..Finish::to(Tokens::only(hidden)) };
        self.product(x.halves, x.stats, rows, &layer.widen, finish);
    }

    /// All of a call for `n` windows.
    fn lift(&mut self, n: usize, c: &Constants, outside: &Outside) {
        let (w, r) = (self.weights, self.rooms);
        let (t, d, rows, width) = (w.frames, w.d, n * w.frames, w.sem[0].weights.columns());
        let [weights, bias, weights1, bias1, weights2, bias2] = c.enter;
        self.launches.push(Launch {
            kernel: ENTER,
            grid: [word(rows.div_ceil(4) + n), 1, 1],
            threads: word(width),
            words: words([
                0,
                word(outside.fresh),
                word(outside.context),
                weights,
                bias,
                r.entered,
                r.wide[0].high,
                r.wide[0].low,
                0,
                w.slope.to_bits(),
                word(rows),
                word(t),
                word(width),
                weights1,
                bias1,
                weights2,
                bias2,
                r.window,
                word(d),
                r.slots,
            ]),
        });
        let [x, y] = r.wide;
        let leaky = |to| Finish { slope: w.slope, ..Finish::to(Tokens::only(to)) };
        self.product(x, 0, rows, &c.sem[0], leaky(y));
        // What is carried is added behind the slope.
        self.product(y, 0, rows, &c.sem[1], Finish { carried: (r.entered, width), ..leaky(x) });
        let [mut from, mut to] = r.tokens;
        let read = |layer: Option<&Factors>| layer.is_some_and(|layer| layer.qkv.split());
        let placed = Finish {
            table: c.position,
            window: r.window,
            period: t,
            ..Finish::to(from.read(read(c.tem.first())))
        };
        self.product(x, 0, rows, &c.sem[2], placed);
        let mofa = |i: usize| c.mofa.get(i).map(|(layer, _)| layer);
        let position = |i: usize| c.mofa.get(i).map_or(0, |(_, position)| *position);
        for (i, layer) in c.tem.iter().enumerate() {
            self.attend(layer, from, n, t);
            let next = c.tem.get(i + 1).or(mofa(0));
            let carried = (from.floats, d);
            let mut finish = Finish { carried, ..Finish::to(from.read(read(next))) };
            if i + 1 == c.tem.len() {
                // MOFA's first positions are added at once, and what is asked for is kept without them.
                finish = Finish { table: position(0), period: t, raw: r.asked, ..finish };
            }
            self.product(x.read(layer.narrow.split()), 0, rows, &layer.narrow, finish);
        }
        let mut tokens = t;
        for (i, (layer, _)) in c.mofa.iter().enumerate() {
            self.attend(layer, from, n, tokens);
            tokens /= STRIDE;
            let finish = Finish {
                // The newest of three tokens is carried on.
                carried: (from.floats, STRIDE * d),
                table: position(i + 1),
                period: tokens,
                ..Finish::to(to.read(read(mofa(i + 1))))
            };
            let hidden = x.read(layer.narrow.split());
            self.product(hidden, 0, n * tokens, &layer.narrow, finish);
            (from, to) = (to, from);
        }
        let [head, head_bias, skip, skip_bias] = c.leave;
        self.launches.push(Launch {
            kernel: LEAVE,
            grid: [word(POSE.div_ceil(8)), word(n), 1],
            threads: 256,
            words: words([
                from.floats,
                r.asked,
                head,
                head_bias,
                skip,
                skip_bias,
                r.slots,
                w.only_lookahead.map_or(u32::MAX, word),
                word(outside.joints),
                word(t),
                word(d),
            ]),
        });
    }
}

// Written into the kernels as well.
const _: () = assert!(FEATURES == 52 && CONTEXT == 6 && LOOKAHEAD_UNIT == 10.0 && POSE == 51);
