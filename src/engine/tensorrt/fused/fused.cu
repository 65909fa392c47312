// P-STMO whole windows at a time, in few kernels: what src/engine/pstmo computes on the processor.
//
// Products are done by the tensor cores in halves, with sums in 32 bits. A number is taken as one half,
// or as two ("split"): the nearest half, and 2048 times what is missing. Three products of halves are
// then one of about 22 bits, which is as good as 32-bit floats for this network. All else (tokens,
// normalisation, softmax, sums) is in 32 bits.
//
// One source for the GPU and for the processor: cross/ptx/ptx.py makes fused.ptx and fused_early.ptx of it;
// kernels.h has it compiled by a plain C++ compiler, with threads that emulate.h makes. All memory is one piece, in which
// places are given in bytes from its start; memory.rs lays it out, plan.rs writes the arguments. 0 is no place.

#ifdef __CUDACC__
#define PW_HERE static __device__ __forceinline__
// For blocks of so many threads at most: a compiler may give each so many registers.
#define PW_KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#else
#include "emulate.h"
#define PW_HERE static inline
#define PW_KERNEL(threads) static void
#endif

typedef unsigned int u32;

// ---- Halves and tensor cores -------------------------------------------------------------------------

#ifdef __CUDACC__
// Two floats as halves, the first in the lower 16 bits.
PW_HERE u32 pw_pack(float first, float second) {
    u32 packed;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(second), "f"(first));
    return packed;
}

PW_HERE float pw_first(u32 packed) {
    float value;
    asm("{ .reg .f16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, a; }" : "=f"(value) : "r"(packed));
    return value;
}

PW_HERE float pw_second(u32 packed) {
    float value;
    asm("{ .reg .f16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, b; }" : "=f"(value) : "r"(packed));
    return value;
}

// sum[16 x 8] += a[16 x 16] b[16 x 8], spread over the lanes of a warp as PTX's manual draws it.
PW_HERE void pw_mma(float* sum, const u32* a, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

PW_HERE float pw_across(float value, u32 mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }
#endif

// From Hopper on a kernel may begin before the one ahead of it has ended: PW_GO lets the next one do so,
// and nothing that another kernel has written may be touched before PW_WAIT.
#if defined(__CUDACC__) && defined(PW_EARLY)
#define PW_GO() asm volatile("griddepcontrol.launch_dependents;" ::: "memory")
#define PW_WAIT() asm volatile("griddepcontrol.wait;" ::: "memory")
#else
#define PW_GO() ((void)0)
#define PW_WAIT() ((void)0)
#endif

// What a half cannot hold is cut off, which the second half makes up for; not-a-number stays that.
PW_HERE float pw_cut(float x) { return x > 65504.f ? 65504.f : x < -65504.f ? -65504.f : x; }

// Scale of second halves: they would lose bits where a half is near zero.
#define PW_REST 2048.f

struct pw_halves {
    u32 high, low;
};

PW_HERE pw_halves pw_take(float first, float second, bool split) {
    pw_halves taken;
    taken.high = pw_pack(pw_cut(first), pw_cut(second));
    taken.low = 0;
    if (split)
        taken.low = pw_pack((first - pw_first(taken.high)) * PW_REST, (second - pw_second(taken.high)) * PW_REST);
    return taken;
}

// ---- Results -------------------------------------------------------------------------------------------

// Rows and columns of a block's part of a result, and most warps that add to it.
#define PW_ROWS 16
#define PW_COLUMNS 32
#define PW_WARPS 16
// Most parts of a row of tokens.
#define PW_BLOCKS 8

// What a warp adds; neighbouring columns lie in pairs.
struct pw_addend {
    float2 pairs[PW_ROWS][PW_COLUMNS / 2 + 1];
};

PW_HERE float2 pw_pair(float x, float y) {
    const float2 pair = {x, y};
    return pair;
}

PW_HERE void pw_keep(pw_addend& part, const float (*sum)[4], const float (*rest)[4], bool split) {
    const u32 g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (u32 i = 0; i < 8; i++) {
        const float *s = sum[i / 2] + i % 2 * 2, *r = rest[i / 2] + i % 2 * 2;
        float2 pair = {s[0], s[1]};
        if (split) pair.x += r[0] * (1.f / PW_REST), pair.y += r[1] * (1.f / PW_REST);
        part.pairs[g + i % 2 * 8][i / 2 * 4 + t] = pair;
    }
}

PW_HERE float2 pw_gather(const pw_addend* part, u32 parts, u32 row, u32 pair) {
    // Four at a time, of which there are always some.
    float2 sum = {0, 0};
    for (u32 w = 0; w < parts; w += 4) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const float2 theirs = part[w + i].pairs[row][pair];
            sum.x += theirs.x, sum.y += theirs.y;
        }
    }
    return sum;
}

// Sum over the 16 lanes that have a row.
PW_HERE float pw_row_sum(float x) {
    for (u32 mask = 1; mask < 16; mask *= 2) x += pw_across(x, mask);
    return x;
}

// Where a token goes: floats [rows][n], halves (low: 0 is none), and of each row's 32 columns the mean and
// the sum of squared distances from it, [rows][n / 32]. Any of them may be 0. All lanes must come.
struct pw_token_out {
    u32 floats, high, low, stats;
};

PW_HERE void pw_write_token(char* memory, const pw_token_out& o, bool there, u32 row, u32 column, u32 n, float2 x) {
    const u32 at = 4 * (row * n + column);
    if (there && o.floats) *(float2*)(memory + o.floats + at) = x;
    if (there && o.high) {
        const pw_halves taken = pw_take(x.x, x.y, o.low);
        *(u32*)(memory + o.high + at / 2) = taken.high;
        if (o.low) *(u32*)(memory + o.low + at / 2) = taken.low;
    }
    if (o.stats) {
        const float mean = pw_row_sum(x.x + x.y) * (1.f / PW_COLUMNS);
        const float apart = pw_row_sum((x.x - mean) * (x.x - mean) + (x.y - mean) * (x.y - mean));
        if (there && column % PW_COLUMNS == 0)
            ((float2*)(memory + o.stats))[(row * n + column) / PW_COLUMNS] = pw_pair(mean, apart);
    }
}

// ---- out = finish(normed(left) weights + bias) + what is added -----------------------------------------

// Right factors of a sixteen of k, as lanes want them: 8 columns times 4. They lie as
// [n / 32][k / 16][32 lanes][4 times 8 columns][4].
PW_HERE void pw_load(u32* to, const char* memory, u32 weights, u32 step) {
    const uint4* from = (const uint4*)(memory + weights) + (step * 32 + threadIdx.x % 32) * 2;
    const uint4 a = from[0], b = from[1];
    to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w;
    to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
}

// A step: sum += a b, rest += r b + a c.
PW_HERE void pw_step(float (*sum)[4], float (*rest)[4], const u32* a, const u32* r, const u32* b, const u32* c, bool split) {
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        pw_mma(sum[i], a, b[2 * i], b[2 * i + 1]);
        if (split) {
            pw_mma(rest[i], r, b[2 * i], b[2 * i + 1]);
            pw_mma(rest[i], a, c[2 * i], c[2 * i + 1]);
        }
    }
}

struct pw_product_args {
    // Halves, [rows][k].
    u32 left, left_low;
    // Of weights, and bias, [n].
    u32 high, low, bias;
    // If rows are to be brought to mean 0 and variance 1: sums over k of weights, [n], and the rows' stats.
    u32 sums, stats;
    float epsilon;
    // A sum below zero is multiplied by this: 1 for none, 0 for ReLU.
    float slope;
    // Added: a row of [rows] that lie `carried_stride` values apart; row `r % period` of a table; row
    // `r / period` of another.
    u32 carried, carried_stride, table, window, period;
    // [rows][n], without what tables add.
    u32 raw;
    pw_token_out out;
    // Not 0: the result is queries and keys, [rows][2 n / 3], and values, of each window of `period` rows
    // [n / 3][padded to 16 tokens], in halves.
    u32 queries, queries_low, values, values_low;
    u32 rows, k, n;
};

PW_HERE void pw_write_queries(char* memory, const pw_product_args& p, u32 row, u32 column, float2 x) {
    const u32 d = p.n / 3;
    const pw_halves taken = pw_take(x.x, x.y, p.queries_low);
    if (column < 2 * d) {
        const u32 at = 2 * (row * 2 * d + column);
        *(u32*)(memory + p.queries + at) = taken.high;
        if (p.queries_low) *(u32*)(memory + p.queries_low + at) = taken.low;
    } else {
        const u32 padded = (p.period + 15) / 16 * 16;
        const u32 at = 2 * ((row / p.period * d + column - 2 * d) * padded + row % p.period);
        *(unsigned short*)(memory + p.values + at) = (unsigned short)taken.high;
        *(unsigned short*)(memory + p.values + at + 2 * padded) = (unsigned short)(taken.high >> 16);
        if (!p.values_low) return;
        *(unsigned short*)(memory + p.values_low + at) = (unsigned short)taken.low;
        *(unsigned short*)(memory + p.values_low + at + 2 * padded) = (unsigned short)(taken.low >> 16);
    }
}

// What the end of a result wants of the kernels before.
PW_HERE void pw_ask(const char* memory, const pw_product_args& p, u32 row, u32 column, float2& carried, float2& window, float2* stats) {
    if (p.carried) carried = *(const float2*)(memory + p.carried + 4 * (row * p.carried_stride + column));
    if (p.window) window = *(const float2*)(memory + p.window + 4 * (row / p.period * p.n + column));
    if (!p.sums) return;
#pragma unroll
    for (u32 i = 0; i < PW_BLOCKS; i++)
        stats[i] = ((const float2*)(memory + p.stats))[row * (p.k / 32) + (i < p.k / 32 ? i : 0)];
}

// A warp takes `each` sixteens of k, all at once; 256 threads at least.
template <u32 each, bool split> PW_HERE void pw_product_of(char* memory, const pw_product_args& p) {
    __shared__ pw_addend part[PW_WARPS];
    const u32 thread = threadIdx.x, warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
    const u32 top = blockIdx.y * PW_ROWS, steps = p.k / 16, warps = steps / each;
    // What does not depend on the kernel before is asked for at once.
    u32 b[each][8], c[each][8];
    const bool works = warp < warps;
    const u32 first = blockIdx.x * steps + warp * each;
    if (works) {
#pragma unroll
        for (u32 i = 0; i < each; i++) {
            pw_load(b[i], memory, p.high, first + i);
            if (split) pw_load(c[i], memory, p.low, first + i);
        }
    }
    const u32 row = top + thread / 16, column = blockIdx.x * PW_COLUMNS + thread % 16 * 2;
    const bool ends = thread < 256, there = ends && row < p.rows;
    float2 bias = {0, 0}, sums = bias, carried = bias, added = bias, window = bias, stats[PW_BLOCKS];
    if (there) {
        bias = *(const float2*)(memory + p.bias + 4 * column);
        if (p.sums) sums = *(const float2*)(memory + p.sums + 4 * column);
        if (p.table) added = *(const float2*)(memory + p.table + 4 * (row % p.period * p.n + column));
    }
    PW_WAIT();
    PW_GO();
    const u32 row0 = top + g < p.rows ? top + g : p.rows - 1, row1 = top + g + 8 < p.rows ? top + g + 8 : p.rows - 1;
    float sum[4][4] = {}, rest[4][4] = {};
    if (works) {
        const u32 from0 = row0 * (p.k / 2) + warp * each * 8 + t, from1 = row1 * (p.k / 2) + warp * each * 8 + t;
        const u32 *high = (const u32*)(memory + p.left), *low = (const u32*)(memory + p.left_low);
        u32 a[each][4], r[each][4];
#pragma unroll
        for (u32 i = 0; i < each; i++) {
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                const u32 at = (j % 2 ? from1 : from0) + i * 8 + j / 2 * 4;
                a[i][j] = high[at];
                r[i][j] = split ? low[at] : 0;
            }
        }
        if (there) pw_ask(memory, p, row, column, carried, window, stats);
#pragma unroll
        for (u32 i = 0; i < each; i++) pw_step(sum, rest, a[i], r[i], b[i], c[i], split);
        pw_keep(part[warp], sum, rest, split);
    } else if (there) {
        pw_ask(memory, p, row, column, carried, window, stats);
    }
    __syncthreads();
    // Whole warps leave.
    if (!ends) return;

    float2 x = pw_gather(part, warps, thread / 16, thread % 16);
    if (there && p.sums) {
        // Rows become normal at the end: (x - mean) scale W = (x W - mean sums) scale.
        float mean = 0, apart = 0;
        for (u32 i = 0; i < PW_BLOCKS; i++)
            if (i < p.k / 32) mean += stats[i].x;
        mean /= float(p.k / 32);
        for (u32 i = 0; i < PW_BLOCKS; i++)
            if (i < p.k / 32) apart += stats[i].y + 32.f * (stats[i].x - mean) * (stats[i].x - mean);
        const float scale = 1.f / sqrtf(apart / float(p.k) + p.epsilon);
        x.x = (x.x - mean * sums.x) * scale;
        x.y = (x.y - mean * sums.y) * scale;
    }
    x.x += bias.x, x.y += bias.y;
    x.x = x.x < 0.f ? x.x * p.slope : x.x;
    x.y = x.y < 0.f ? x.y * p.slope : x.y;
    if (p.queries) {
        if (there) pw_write_queries(memory, p, row, column, x);
        return;
    }
    x.x += carried.x, x.y += carried.y;
    if (there && p.raw) *(float2*)(memory + p.raw + 4 * (row * p.n + column)) = x;
    x.x += added.x + window.x, x.y += added.y + window.y;
    pw_write_token(memory, p.out, there, row, column, p.n, x);
}

PW_KERNEL(512) pw_product_2(char* memory, float*, pw_product_args p) { pw_product_of<2, false>(memory, p); }
PW_KERNEL(512) pw_product_2_split(char* memory, float*, pw_product_args p) { pw_product_of<2, true>(memory, p); }
PW_KERNEL(512) pw_product_6(char* memory, float*, pw_product_args p) { pw_product_of<6, false>(memory, p); }
PW_KERNEL(512) pw_product_6_split(char* memory, float*, pw_product_args p) { pw_product_of<6, true>(memory, p); }

// ---- out += attention(queries, keys, values) weights + bias ----------------------------------------------

// Keys that a warp takes at a time, in sixteens; a warp, or two, for each head.
#define PW_PAIRS 3
#define PW_HEADS 8

struct pw_attention_args {
    // As a product writes them. Queries are scaled, for powers of 2.
    u32 queries, queries_low, values, values_low;
    // [d][d] and [d]
    u32 high, low, bias;
    // Tokens, [windows * tokens][d], in place.
    pw_token_out out;
    u32 tokens;
};

// What a second warp has made of its keys: per lane sums of values, and of two rows the largest score and
// the sum of weights.
struct pw_mixed {
    float sums[16][32], peak[2][32], total[2][32];
};

#ifdef __CUDACC__
PW_HERE float pw_power(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif

// Block: 32 columns of 16 tokens of a window. All heads' attention is computed in all blocks of the same
// tokens anew: that is sooner done than asked for by another kernel. Of two warps of a head each takes
// every other 48 keys; if numbers are split there is one.
template <u32 width, bool split> PW_HERE void pw_attend(char* memory, const pw_attention_args& p) {
    const u32 d = PW_HEADS * width, steps = d / 16;
    __shared__ pw_mixed mixed[split ? 1 : PW_HEADS];
    // Pairs of halves: what attention gives, rows four banks apart.
    __shared__ u32 taken[split ? 2 : 1][PW_ROWS][PW_HEADS * width / 2 + 4];
    __shared__ pw_addend part[PW_HEADS];
    const u32 thread = threadIdx.x, warp = thread / 32, lane = thread % 32, g = lane / 4, t = lane % 4;
    const u32 head = warp % PW_HEADS, turn = warp / PW_HEADS, turns = blockDim.x / 32 / PW_HEADS;
    // One step of the product, or two, for each of the first eight warps.
    u32 b[2][8], c[2][8];
    if (turn == 0) {
#pragma unroll
        for (u32 i = 0; i < width / 16; i++) {
            pw_load(b[i], memory, p.high, blockIdx.x * steps + warp * (width / 16) + i);
            if (split) pw_load(c[i], memory, p.low, blockIdx.x * steps + warp * (width / 16) + i);
        }
    }
    const u32 token = blockIdx.y * PW_ROWS + thread / 16, row = blockIdx.z * p.tokens + token;
    const u32 column = blockIdx.x * PW_COLUMNS + thread % 16 * 2;
    const bool ends = thread < 256, there = ends && token < p.tokens;
    float2 bias = {0, 0}, carried = bias;
    if (there) bias = *(const float2*)(memory + p.bias + 4 * column);
    PW_WAIT();
    PW_GO();
    if (there) carried = *(const float2*)(memory + p.out.floats + 4 * (row * d + column));

    const u32 last = p.tokens - 1, padded = (p.tokens + 15) / 16 * 16;
    // In pairs: queries and keys of this window and head, values of this column.
    const u32 head_at = blockIdx.z * p.tokens * d + head * width / 2 + t;
    const u32 value_at = ((blockIdx.z * PW_HEADS + head) * width + g) * padded / 2 + t;
    const u32 *queries = (const u32*)(memory + p.queries) + head_at, *queries_low = (const u32*)(memory + p.queries_low) + head_at;
    const u32 *values = (const u32*)(memory + p.values) + value_at, *values_low = (const u32*)(memory + p.values_low) + value_at;
    u32 q[2][4], m[2][4];
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
        const u32 token_of = blockIdx.y * 16 + g + i % 2 * 8, at = (token_of < last ? token_of : last) * d + i / 2 * 4;
#pragma unroll
        for (u32 k = 0; k < width / 16; k++) {
            q[k][i] = queries[at + k * 8];
            m[k][i] = split ? queries_low[at + k * 8] : 0;
        }
    }
    // Softmax as keys come: of the four values of a lane two are in row g, two in g + 8; four lanes have a row.
    float peak[2] = {-3.0e38f, -3.0e38f}, total[2] = {};
    float sum[4][4] = {}, rest[4][4] = {};
    for (u32 first = turn * 16 * PW_PAIRS; first < p.tokens; first += turns * 16 * PW_PAIRS) {
        u32 k0[PW_PAIRS][2][4], k1[PW_PAIRS][2][4], v0[PW_PAIRS][4][2], v1[PW_PAIRS][4][2];
        float scores[PW_PAIRS][2][4], high[2] = {peak[0], peak[1]};
#pragma unroll
        for (u32 i = 0; i < PW_PAIRS; i++) {
#pragma unroll
            for (u32 j = 0; j < 2; j++) {
                const u32 key = first + i * 16 + j * 8 + g, at = (key < last ? key : last) * d + d / 2;
#pragma unroll
                for (u32 k = 0; k < width / 8; k++) {
                    k0[i][j][k] = queries[at + k * 4];
                    k1[i][j][k] = split ? queries_low[at + k * 4] : 0;
                }
            }
            // Behind the last token there are zeroes, up to sixteen; behind those any value will do.
            const u32 at = first + i * 16 < padded ? first / 2 + i * 8 : 0;
#pragma unroll
            for (u32 n = 0; n < width / 8; n++) {
#pragma unroll
                for (u32 j = 0; j < 2; j++) {
                    v0[i][n][j] = values[n * 4 * padded + at + j * 4];
                    v1[i][n][j] = split ? values_low[n * 4 * padded + at + j * 4] : 0;
                }
            }
        }
#pragma unroll
        for (u32 i = 0; i < PW_PAIRS; i++) {
            if (first + i * 16 >= p.tokens) break;
#pragma unroll
            for (u32 j = 0; j < 2; j++) {
                float s[4] = {}, r[4] = {};
#pragma unroll
                for (u32 k = 0; k < width / 16; k++) {
                    pw_mma(s, q[k], k0[i][j][2 * k], k0[i][j][2 * k + 1]);
                    if (split) {
                        pw_mma(r, m[k], k0[i][j][2 * k], k0[i][j][2 * k + 1]);
                        pw_mma(r, q[k], k1[i][j][2 * k], k1[i][j][2 * k + 1]);
                    }
                }
#pragma unroll
                for (u32 n = 0; n < 4; n++) {
                    const bool is = first + i * 16 + j * 8 + t * 2 + n % 2 < p.tokens;
                    scores[i][j][n] = is ? s[n] + r[n] * (1.f / PW_REST) : -3.0e38f;
                    high[n / 2] = fmaxf(high[n / 2], scores[i][j][n]);
                }
            }
        }
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            for (u32 mask = 1; mask < 4; mask *= 2) high[h] = fmaxf(high[h], pw_across(high[h], mask));
            const float shrink = pw_power(peak[h] - high[h]);
            peak[h] = high[h];
            total[h] *= shrink;
#pragma unroll
            for (u32 n = 0; n < width / 8; n++) {
                sum[n][h * 2] *= shrink, sum[n][h * 2 + 1] *= shrink;
                rest[n][h * 2] *= shrink, rest[n][h * 2 + 1] *= shrink;
            }
        }
#pragma unroll
        for (u32 i = 0; i < PW_PAIRS; i++) {
            if (first + i * 16 >= p.tokens) break;
            // Scores lie as a left factor does.
            u32 a[4], r[4];
#pragma unroll
            for (u32 n = 0; n < 4; n++) {
                const float* s = scores[i][n / 2] + n % 2 * 2;
                const float e0 = pw_power(s[0] - peak[n % 2]), e1 = pw_power(s[1] - peak[n % 2]);
                total[n % 2] += e0 + e1;
                a[n] = pw_pack(e0, e1);
                r[n] = split ? pw_pack((e0 - pw_first(a[n])) * PW_REST, (e1 - pw_second(a[n])) * PW_REST) : 0;
            }
#pragma unroll
            for (u32 n = 0; n < width / 8; n++) {
                pw_mma(sum[n], a, v0[i][n][0], v0[i][n][1]);
                if (split) {
                    pw_mma(rest[n], r, v0[i][n][0], v0[i][n][1]);
                    pw_mma(rest[n], a, v1[i][n][0], v1[i][n][1]);
                }
            }
        }
    }
#pragma unroll
    for (u32 h = 0; h < 2; h++)
        for (u32 mask = 1; mask < 4; mask *= 2) total[h] += pw_across(total[h], mask);
#pragma unroll
    for (u32 i = 0; i < width / 2; i++)
        if (split) sum[i / 4][i % 4] += rest[i / 4][i % 4] * (1.f / PW_REST);
    if (!split && turns == 2) {
        pw_mixed& other = mixed[split ? 0 : head];
        if (turn == 1) {
#pragma unroll
            for (u32 i = 0; i < width / 2; i++) other.sums[i][lane] = sum[i / 4][i % 4];
#pragma unroll
            for (u32 h = 0; h < 2; h++) other.peak[h][lane] = peak[h], other.total[h][lane] = total[h];
        }
        __syncthreads();
        if (turn == 0) {
#pragma unroll
            for (u32 h = 0; h < 2; h++) {
                const float most = fmaxf(peak[h], other.peak[h][lane]);
                const float mine = pw_power(peak[h] - most), theirs = pw_power(other.peak[h][lane] - most);
                total[h] = total[h] * mine + other.total[h][lane] * theirs;
#pragma unroll
                for (u32 i = h * 2; i < width / 2; i += i % 2 ? 3 : 1)
                    sum[i / 4][i % 4] = sum[i / 4][i % 4] * mine + other.sums[i][lane] * theirs;
            }
        }
    }
    if (turn == 0) {
#pragma unroll
        for (u32 h = 0; h < 2; h++) {
            const float per = 1.f / total[h];
#pragma unroll
            for (u32 n = 0; n < width / 8; n++) {
                const pw_halves pairs = pw_take(sum[n][h * 2] * per, sum[n][h * 2 + 1] * per, split);
                taken[0][g + h * 8][(head * width + n * 8) / 2 + t] = pairs.high;
                if (split) taken[split][g + h * 8][(head * width + n * 8) / 2 + t] = pairs.low;
            }
        }
    }
    __syncthreads();
    if (turn == 0) {
        float out[4][4] = {}, missing[4][4] = {};
#pragma unroll
        for (u32 i = 0; i < width / 16; i++) {
            u32 a[4], r[4];
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                const u32 at = (warp * (width / 16) + i) * 8 + j / 2 * 4 + t;
                a[j] = taken[0][g + j % 2 * 8][at];
                r[j] = split ? taken[split][g + j % 2 * 8][at] : 0;
            }
            pw_step(out, missing, a, r, b[i], c[i], split);
        }
        pw_keep(part[warp], out, missing, split);
    }
    __syncthreads();
    // Whole warps leave.
    if (!ends) return;
    float2 x = pw_gather(part, PW_HEADS, thread / 16, thread % 16);
    x.x += bias.x + carried.x, x.y += bias.y + carried.y;
    pw_write_token(memory, p.out, there, row, column, d, x);
}

PW_KERNEL(512) pw_attention_16(char* memory, float*, pw_attention_args p) { pw_attend<16, false>(memory, p); }
PW_KERNEL(256) pw_attention_16_split(char* memory, float*, pw_attention_args p) { pw_attend<16, true>(memory, p); }
PW_KERNEL(512) pw_attention_32(char* memory, float*, pw_attention_args p) { pw_attend<32, false>(memory, p); }
PW_KERNEL(256) pw_attention_32_split(char* memory, float*, pw_attention_args p) { pw_attend<32, true>(memory, p); }

// ---- The first layer, and what belongs to a window -----------------------------------------------------

#define PW_POINTS 51
#define PW_FEATURES 52
#define PW_CONTEXT 6
#define PW_CONTEXT_HIDDEN 64
#define PW_ENTER_ROWS 4

struct pw_enter_args {
    // Of what is given, in values: keypoints [windows * tokens][51], freshness [windows], context [windows][6].
    u32 points, fresh, context;
    // [52][width], [width] → [windows * tokens][width]
    u32 weights, bias;
    pw_token_out out;
    float slope;
    u32 rows, tokens, width;
    // [6][64], [64], [64][d], [d] → [windows][d]; the slot that is asked for → [windows].
    u32 weights1, bias1, weights2, bias2, window, d, slot;
};

// A block of `width` threads for four rows, and behind them for a window.
PW_KERNEL(512) pw_enter(char* memory, float* outside, pw_enter_args p) {
    __shared__ float4 features[PW_FEATURES];
    __shared__ float hidden[PW_CONTEXT_HIDDEN];
    const u32 column = threadIdx.x, groups = (p.rows + PW_ENTER_ROWS - 1) / PW_ENTER_ROWS;
    PW_WAIT();
    PW_GO();
    if (blockIdx.x < groups) {
        const u32 top = blockIdx.x * PW_ENTER_ROWS;
        for (u32 i = column; i < PW_ENTER_ROWS * PW_FEATURES; i += blockDim.x) {
            const u32 at = top + i / PW_FEATURES, k = i % PW_FEATURES, row = at < p.rows ? at : p.rows - 1;
            float value = 0;
            if (k < PW_POINTS) value = outside[p.points + row * PW_POINTS + k];
            else if (row % p.tokens == 0) value = outside[p.fresh + row / p.tokens];
            ((float*)(features + k))[i / PW_FEATURES] = value;
        }
        // Asked for while what is given comes.
        const float* weights = (const float*)(memory + p.weights) + column;
        const float bias = ((const float*)(memory + p.bias))[column];
        float w[PW_FEATURES];
#pragma unroll
        for (u32 k = 0; k < PW_FEATURES; k++) w[k] = weights[k * p.width];
        __syncthreads();
        float sum[PW_ENTER_ROWS] = {bias, bias, bias, bias};
#pragma unroll
        for (u32 k = 0; k < PW_FEATURES; k++) {
            const float4 f = features[k];
            sum[0] += f.x * w[k], sum[1] += f.y * w[k], sum[2] += f.z * w[k], sum[3] += f.w * w[k];
        }
#pragma unroll
        for (u32 r = 0; r < PW_ENTER_ROWS; r++) {
            const float mine = sum[r] < 0.f ? sum[r] * p.slope : sum[r], other = pw_across(mine, 1);
            const bool there = column % 2 == 0 && top + r < p.rows;
            pw_write_token(memory, p.out, there, top + r, column, p.width, pw_pair(mine, other));
        }
    } else {
        const u32 n = blockIdx.x - groups;
        const float* context = outside + p.context + n * PW_CONTEXT;
        if (column < PW_CONTEXT_HIDDEN) {
            float sum = ((const float*)(memory + p.bias1))[column];
            for (u32 k = 0; k < PW_CONTEXT; k++)
                sum += context[k] * ((const float*)(memory + p.weights1))[k * PW_CONTEXT_HIDDEN + column];
            hidden[column] = sum < 0.f ? 0.f : sum;
        }
        if (column == 0) ((float*)(memory + p.slot))[n] = context[PW_CONTEXT - 1] * 10.f;
        __syncthreads();
        if (column >= p.d) return;
        float sum = ((const float*)(memory + p.bias2))[column];
#pragma unroll 16
        for (u32 k = 0; k < PW_CONTEXT_HIDDEN; k++)
            sum += hidden[k] * ((const float*)(memory + p.weights2))[k * p.d + column];
        ((float*)(memory + p.window))[n * p.d + column] = sum;
    }
}

// ---- The heads -----------------------------------------------------------------------------------------

struct pw_leave_args {
    // [windows][d]: the last token; [windows * tokens][d]: those of which one is asked for, if there is `skip`.
    u32 left, asked;
    // [51][d] and [51], twice: of the head, and of what it corrects.
    u32 head, head_bias, skip, skip_bias;
    // The slots that are asked for, [windows]; or, if it is less than `tokens`, always this one.
    u32 slots, slot;
    // Of what is given: where joints go, [windows][51].
    u32 joints;
    u32 tokens, d;
};

// A warp for each value.
PW_KERNEL(256) pw_leave(char* memory, float* outside, pw_leave_args p) {
    const u32 value = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x % 32, n = blockIdx.y;
    PW_WAIT();
    PW_GO();
    // Whole warps leave.
    if (value >= PW_POINTS) return;
    const float* left = (const float*)(memory + p.left) + n * p.d;
    const float* head = (const float*)(memory + p.head) + value * p.d;
    float sum = 0;
    for (u32 k = lane; k < p.d; k += 32) sum += left[k] * head[k];
    float bias = ((const float*)(memory + p.head_bias))[value];
    if (p.skip) {
        const float slot = p.slot < p.tokens ? float(p.slot) : ((const float*)(memory + p.slots))[n];
        const float* skip = (const float*)(memory + p.skip) + value * p.d;
        const float* asked = (const float*)(memory + p.asked) + n * p.tokens * p.d;
        bias += ((const float*)(memory + p.skip_bias))[value];
        // Between two slots a share of both; nothing of what is beside the window.
        const float below = floorf(slot);
        for (u32 i = 0; i < 2; i++) {
            const float at = below + float(i), share = 1.f - fabsf(at - slot);
            if (!(share > 0.f) || !(at >= 0.f) || !(at < float(p.tokens))) continue;
            const float* token = asked + u32(at) * p.d;
            for (u32 k = lane; k < p.d; k += 32) sum += share * token[k] * skip[k];
        }
    }
    for (u32 mask = 1; mask < 32; mask *= 2) sum += pw_across(sum, mask);
    if (lane == 0) outside[p.joints + n * PW_POINTS + value] = sum + bias;
}
