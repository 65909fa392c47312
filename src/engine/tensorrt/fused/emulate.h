// CUDA's threads on a processor, for host.cpp: each is a context of its own, and they take turns in one
// thread of the system. Where one waits for others (a barrier, a shuffle, a product of tensor cores) the
// next goes on. Threads that wait for one that has ended are found, which a GPU would answer by hanging.
#pragma once
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

struct float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct pw_index { unsigned x, y, z; };

static pw_index threadIdx, blockIdx, blockDim, gridDim;
#define __shared__ static

enum { PW_MOST = 512, PW_STACK = 64 << 10 };

struct pw_operand {
    float value, *sum;
    const unsigned* a;
    unsigned b0, b1, mask;
};
struct pw_meeting { unsigned came, round; };

// Threads begin with a context of the system, and take turns by jumps, which cost no call of it.
static ucontext_t pw_thread[PW_MOST];
static jmp_buf pw_turns, pw_waiting[PW_MOST];
static char* pw_stacks;
static bool pw_begun[PW_MOST], pw_ended[PW_MOST];
static pw_meeting pw_block_meeting, pw_warp_meeting[PW_MOST / 32];
static pw_operand pw_given[PW_MOST];
static unsigned pw_moved;

// Waits until `all` are here; the last to come does `act`.
template <class Act> static void pw_meet(pw_meeting& here, unsigned all, Act act) {
    const unsigned me = threadIdx.x, round = here.round;
    pw_moved++;
    if (++here.came == all) {
        act();
        here.came = 0;
        here.round++;
        return;
    }
    while (here.round == round) {
        if (!_setjmp(pw_waiting[me])) _longjmp(pw_turns, 1);
        threadIdx.x = me;
    }
}

static void __syncthreads() { pw_meet(pw_block_meeting, blockDim.x, [] {}); }

static inline float pw_across(float value, unsigned mask) {
    const unsigned me = threadIdx.x;
    static float seen[PW_MOST];
    pw_given[me].value = value;
    pw_meet(pw_warp_meeting[me / 32], 32, [me, mask] {
        for (unsigned lane = 0; lane < 32; lane++)
            seen[me / 32 * 32 + lane] = pw_given[me / 32 * 32 + (lane ^ mask)].value;
    });
    return seen[me];
}

static inline float pw_power(float x) { return exp2f(x); }

// Halves, by their bits.
static inline float pw_of_half(unsigned bits) {
    const unsigned sign = bits >> 15 & 1, exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float size = exponent == 31 ? (fraction ? NAN : INFINITY)
        : exponent ? ldexpf(float(fraction + 1024), int(exponent) - 25) : ldexpf(float(fraction), -24);
    return sign ? -size : size;
}

static inline unsigned pw_to_half(float x) {
    const unsigned sign = signbit(x) ? 0x8000 : 0;
    const float size = fabsf(x);
    if (isnan(x)) return 0x7fff;
    if (size >= 65520.f) return sign | 0x7c00;
    int exponent = 0;
    frexpf(size, &exponent);
    // What is too small for its exponent, and zero.
    if (size < 6.103515625e-5f) exponent = -13;
    // To the nearest, to even where two are; a carry goes into the exponent by itself.
    const unsigned fraction = unsigned(nearbyintf(ldexpf(size, 11 - exponent)));
    return sign | (unsigned(exponent + 13) * 1024 + fraction);
}

static inline unsigned pw_pack(float first, float second) { return pw_to_half(first) | pw_to_half(second) << 16; }
static inline float pw_first(unsigned packed) { return pw_of_half(packed & 0xffff); }
static inline float pw_second(unsigned packed) { return pw_of_half(packed >> 16); }

// PTX's mma.m16n8k16: which lane has what of the three matrices.
static inline void pw_mma(float* sum, const unsigned* a, unsigned b0, unsigned b1) {
    const unsigned me = threadIdx.x;
    pw_given[me].sum = sum;
    pw_given[me].a = a;
    pw_given[me].b0 = b0;
    pw_given[me].b1 = b1;
    pw_meet(pw_warp_meeting[me / 32], 32, [me] {
        const pw_operand* lanes = pw_given + me / 32 * 32;
        float left[16][16], right[16][8];
        for (unsigned lane = 0; lane < 32; lane++) {
            const unsigned g = lane / 4, t = lane % 4;
            for (unsigned i = 0; i < 4; i++) {
                left[g + i % 2 * 8][t * 2 + i / 2 * 8] = pw_first(lanes[lane].a[i]);
                left[g + i % 2 * 8][t * 2 + i / 2 * 8 + 1] = pw_second(lanes[lane].a[i]);
            }
            right[t * 2][g] = pw_first(lanes[lane].b0);
            right[t * 2 + 1][g] = pw_second(lanes[lane].b0);
            right[t * 2 + 8][g] = pw_first(lanes[lane].b1);
            right[t * 2 + 9][g] = pw_second(lanes[lane].b1);
        }
        for (unsigned lane = 0; lane < 32; lane++)
            for (unsigned c = 0; c < 4; c++) {
                float s = lanes[lane].sum[c];
                for (unsigned k = 0; k < 16; k++)
                    s += left[lane / 4 + c / 2 * 8][k] * right[k][lane % 4 * 2 + c % 2];
                lanes[lane].sum[c] = s;
            }
    });
}

static void (*pw_body)(void*);
static void* pw_argument;

static void pw_start() {
    const unsigned me = threadIdx.x;
    pw_body(pw_argument);
    pw_moved++;
    pw_ended[me] = true;
    _longjmp(pw_turns, 1);
}

static void pw_turn(unsigned i) {
    threadIdx = {i, 0, 0};
    if (_setjmp(pw_turns)) return;
    if (pw_begun[i]) _longjmp(pw_waiting[i], 1);
    pw_begun[i] = true;
    setcontext(&pw_thread[i]);
}

// All blocks of a grid, one after the other.
static void pw_launch(pw_index grid, unsigned threads, void (*body)(void*), void* argument) {
    if (threads > PW_MOST || threads % 32) { fprintf(stderr, "%u threads\n", threads); exit(1); }
    if (!pw_stacks) pw_stacks = static_cast<char*>(malloc(size_t(PW_MOST) * PW_STACK));
    pw_body = body;
    pw_argument = argument;
    blockDim = {threads, 1, 1};
    gridDim = grid;
    for (blockIdx.z = 0; blockIdx.z < grid.z; blockIdx.z++)
        for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
            for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++) {
                for (unsigned i = 0; i < threads; i++) {
                    getcontext(&pw_thread[i]);
                    pw_thread[i].uc_stack.ss_sp = pw_stacks + size_t(i) * PW_STACK;
                    pw_thread[i].uc_stack.ss_size = PW_STACK;
                    pw_thread[i].uc_link = nullptr;
                    makecontext(&pw_thread[i], pw_start, 0);
                    pw_begun[i] = pw_ended[i] = false;
                }
                pw_block_meeting = {0, 0};
                memset(pw_warp_meeting, 0, sizeof pw_warp_meeting);
                for (unsigned running = threads; running;) {
                    pw_moved = running = 0;
                    for (unsigned i = 0; i < threads; i++)
                        if (!pw_ended[i]) {
                            pw_turn(i);
                            running++;
                        }
                    if (running && !pw_moved) { fprintf(stderr, "threads wait for ever\n"); exit(1); }
                }
            }
}
