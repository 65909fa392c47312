// Augmentation in four passes over a batch of pictures [n,3,H,W] (float, 0..1, -1 outside the camera's picture). Built like render.cu:
// CUDA kernels with nvcc, loops with g++. One row of AUG floats per picture, written by augment.py.
#include <cmath>
#include <cstdint>
#include <cstring>
#include "layout.h"

#ifdef __CUDACC__
#define DEV __device__ __forceinline__
#define KERNEL(name, ...) __global__ void name(long n_, __VA_ARGS__)
#define EACH(i) long i = (long)blockIdx.x * blockDim.x + threadIdx.x; if (i >= n_) return;
#define LAUNCH(name, n, ...) do { long n__ = (n); if (n__ > 0) name<<<(unsigned)((n__ + 127) / 128), 128, 0, (cudaStream_t)stream>>>(n__, __VA_ARGS__); } while (0)
#define END_EACH
#else
#define DEV static inline
#define KERNEL(name, ...) static void name(long n_, __VA_ARGS__)
#define EACH(i) for (long i = 0; i < n_; i++) {
#define END_EACH }
#define LAUNCH(name, n, ...) name((n), __VA_ARGS__)
#endif

DEV float clampf(float x, float a, float b) { return x < a ? a : x > b ? b : x; }
DEV float hash(unsigned a, unsigned b, unsigned c) {
    unsigned h = a * 374761393u + b * 668265263u + c * 2246822519u;
    h = (h ^ (h >> 13)) * 1274126177u;
    h ^= h >> 16;
    h *= 2246822519u;
    return (float)((h ^ (h >> 15)) & 0xffffff) * (1.0f / 16777216.0f);
}
// Roughly normal: the sum of four uniforms.
DEV float gauss(unsigned a, unsigned b, unsigned c) { return (hash(a, b, c) + hash(b, c + 17, a) + hash(c + 5, a, b + 9) + hash(a + 3, c, b + 101) - 2) * 1.73f; }

struct Size { int H, W; };

// Gains, saturation, contrast, gamma, soft highlights.
KERNEL(k_colour, const float* src, const float* par, float* dst, Size z) {
    EACH(t)
    long plane = (long)z.H * z.W, i = t / plane, p = t % plane, o = i * 3 * plane + p;
    const float* a = par + i * AUG;
    float c[3] = {src[o], src[o + plane], src[o + 2 * plane]};
    if (c[0] > -0.2f) {
        for (int k = 0; k < 3; k++) c[k] = clampf(c[k], 0, 4) * a[G_GAINR + k];
        float g = (c[0] + c[1] + c[2]) / 3;
        for (int k = 0; k < 3; k++) {
            float v = g + (c[k] - g) * a[G_SAT];
            v = clampf((v - 0.45f) * a[G_CONTRAST] + 0.45f, 1e-3f, 1.6f);
            v = powf(v, a[G_GAMMA]);
            c[k] = v > 0.8f ? 0.8f + 0.2f * tanhf((v - 0.8f) * 5) : v;
        }
    } else c[0] = c[1] = c[2] = -1;
    for (int k = 0; k < 3; k++) dst[o + k * plane] = c[k];
    END_EACH
}

// Low resolution (box shrink by G_LOW, bilinear or nearest growth); copies where G_LOW is 1 or less.
KERNEL(k_low, const float* src, const float* par, float* dst, Size z) {
    EACH(t)
    long plane = (long)z.H * z.W, i = t / plane;
    int y = (int)(t % plane / z.W), x = (int)(t % z.W);
    const float* a = par + i * AUG;
    float f = a[G_LOW];
    long o = i * 3 * plane + (long)y * z.W + x;
    if (f <= 1.01f || src[o] < -0.2f) {
        for (int k = 0; k < 3; k++) dst[o + k * plane] = src[o + k * plane];
    } else {
        bool nearest = a[G_NEAREST] > 0.5f;
        float u = (x + 0.5f) / f - (nearest ? 0 : 0.5f), v = (y + 0.5f) / f - (nearest ? 0 : 0.5f);
        int u0 = (int)floorf(u), v0 = (int)floorf(v);
        float sum[3] = {0, 0, 0}, wsum = 0;
        for (int c = 0; c < (nearest ? 1 : 4); c++) {
            int cu = u0 + (c & 1), cv = v0 + (c >> 1);
            float w = nearest ? 1 : (c & 1 ? u - u0 : 1 - u + u0) * (c >> 1 ? v - v0 : 1 - v + v0);
            int xa = (int)clampf(cu * f, 0, z.W - 1.0f), xb = (int)clampf((cu + 1) * f, xa + 1.0f, (float)z.W);
            int ya = (int)clampf(cv * f, 0, z.H - 1.0f), yb = (int)clampf((cv + 1) * f, ya + 1.0f, (float)z.H);
            float s[3] = {0, 0, 0}, m = 0;
            for (int yy = ya; yy < yb; yy++) for (int xx = xa; xx < xb; xx++) {
                long q = i * 3 * plane + (long)yy * z.W + xx;
                if (src[q] < -0.2f) continue;
                for (int k = 0; k < 3; k++) s[k] += src[q + k * plane];
                m += 1;
            }
            if (m > 0) { for (int k = 0; k < 3; k++) sum[k] += w * s[k] / m; wsum += w; }
        }
        for (int k = 0; k < 3; k++) dst[o + k * plane] = wsum > 0 ? sum[k] / wsum : src[o + k * plane];
    }
    END_EACH
}

// Blur or sharpen with the picture's own 9x9 kernel, mix in a random 3x3 colour filter, add noise, punch holes.
KERNEL(k_filter, const float* src, const float* par, const float* kern, const float* rnd, float* dst, Size z) {
    EACH(t)
    long plane = (long)z.H * z.W, i = t / plane, base = i * 3 * plane;
    int y = (int)(t % plane / z.W), x = (int)(t % z.W);
    const float* a = par + i * AUG;
    long o = base + (long)y * z.W + x;
    float c[3] = {src[o], src[o + plane], src[o + 2 * plane]};
    if (c[0] > -0.2f) {
        float mid[3] = {c[0], c[1], c[2]};
        int r = (int)a[G_RADIUS];
        if (r > 0) {
            float s[3] = {0, 0, 0};
            for (int dy = -r; dy <= r; dy++) for (int dx = -r; dx <= r; dx++) {
                float w = kern[i * 81 + (dy + 4) * 9 + dx + 4];
                int yy = y + dy < 0 ? 0 : y + dy >= z.H ? z.H - 1 : y + dy, xx = x + dx < 0 ? 0 : x + dx >= z.W ? z.W - 1 : x + dx;
                long q = base + (long)yy * z.W + xx;
                bool out = src[q] < -0.2f;
                for (int k = 0; k < 3; k++) s[k] += w * (out ? mid[k] : src[q + k * plane]);
            }
            for (int k = 0; k < 3; k++) c[k] = s[k];
        }
        float m = a[G_RANDMIX];
        if (m > 0) {
            float s[3] = {0.5f, 0.5f, 0.5f};
            for (int dy = -1; dy <= 1; dy++) for (int dx = -1; dx <= 1; dx++) {
                int yy = y + dy < 0 ? 0 : y + dy >= z.H ? z.H - 1 : y + dy, xx = x + dx < 0 ? 0 : x + dx >= z.W ? z.W - 1 : x + dx;
                long q = base + (long)yy * z.W + xx;
                if (src[q] < -0.2f) q = o;
                for (int j = 0; j < 3; j++) { float v = src[q + j * plane] - 0.5f; for (int k = 0; k < 3; k++) s[k] += rnd[i * 81 + (k * 3 + j) * 9 + (dy + 1) * 3 + dx + 1] * v; }
            }
            for (int k = 0; k < 3; k++) c[k] = c[k] * (1 - m) + clampf(s[k], 0, 1) * m;
        }
        unsigned seed = (unsigned)a[G_SEED];
        float sd = a[G_NOISE] * (0.5f + clampf(c[1], 0, 1));
        if (sd > 0.002f) {
            float grain = 0.9f * gauss(x / 2, y / 2, seed + 77);
            for (int k = 0; k < 3; k++) c[k] += sd * (0.7f * gauss(x, y, seed + k) + grain);
        }
        for (int h = 0; h < 2; h++) {
            const float* b = a + G_HOLE0X + 4 * h;
            if (fabsf(x - b[0]) < b[2] && fabsf(y - b[1]) < b[3])
                for (int k = 0; k < 3; k++) c[k] = hash(seed, h, k) + 0.15f * a[G_HOLENOISE] * gauss(x, y, seed + 40 + k);
        }
        for (int k = 0; k < 3; k++) c[k] = clampf(c[k], 0, 1);
    }
    for (int k = 0; k < 3; k++) dst[o + k * plane] = c[k];
    END_EACH
}

// JPEG by 8x8 blocks where G_JPEG > 0; rounds to bytes and paints the outside in the pad grey everywhere. In place.
KERNEL(k_jpeg, float* px, const float* par, const float* table, Size z) {
    EACH(t)
    int bw = z.W / 8, bh = z.H / 8;
    long plane = (long)z.H * z.W, i = t / (bw * bh);
    int by = (int)(t / bw % bh) * 8, bx = (int)(t % bw) * 8;
    const float* a = par + i * AUG;
    float* o = px + i * 3 * plane + (long)by * z.W + bx;
    uint64_t out = 0;
    for (int y = 0; y < 8; y++) for (int x = 0; x < 8; x++) if (o[(long)y * z.W + x] < -0.2f) out |= 1ull << (8 * y + x);
    float q = a[G_JPEG];
    if (q > 0 && out == 0) {
        const float* dct = table;       // 8x8 matrix
        const float* lum = table + 64;  // quantisation
        float rec[3][64];
        for (int c = 0; c < 3; c++) {
            float v[64], w[64];
            for (int y = 0; y < 8; y++) for (int x = 0; x < 8; x++) {
                const float* p = o + (long)y * z.W + x;
                float r = p[0] * 255, g = p[plane] * 255, b = p[2 * plane] * 255;
                v[8 * y + x] = c == 0 ? 0.299f * r + 0.587f * g + 0.114f * b : c == 1 ? -0.1687f * r - 0.3313f * g + 0.5f * b : 0.5f * r - 0.4187f * g - 0.0813f * b;
            }
            for (int y = 0; y < 8; y++) for (int k = 0; k < 8; k++) { float s = 0; for (int x = 0; x < 8; x++) s += dct[8 * k + x] * v[8 * y + x]; w[8 * y + k] = s; }
            for (int k = 0; k < 8; k++) for (int l = 0; l < 8; l++) {
                float s = 0;
                for (int y = 0; y < 8; y++) s += dct[8 * k + y] * w[8 * y + l];
                float step = lum[8 * k + l] * q * (c ? 1.8f : 1.0f);
                v[8 * k + l] = rintf(s / step) * step;
            }
            for (int k = 0; k < 8; k++) for (int x = 0; x < 8; x++) { float s = 0; for (int l = 0; l < 8; l++) s += dct[8 * l + x] * v[8 * k + l]; w[8 * k + x] = s; }
            for (int y = 0; y < 8; y++) for (int x = 0; x < 8; x++) { float s = 0; for (int k = 0; k < 8; k++) s += dct[8 * k + y] * w[8 * k + x]; rec[c][8 * y + x] = s; }
        }
        for (int y = 0; y < 8; y++) for (int x = 0; x < 8; x++) {
            float Y = rec[0][8 * y + x], B = rec[1][8 * y + x], R = rec[2][8 * y + x];
            float* p = o + (long)y * z.W + x;
            p[0] = (Y + 1.402f * R) / 255; p[plane] = (Y - 0.34414f * B - 0.71414f * R) / 255; p[2 * plane] = (Y + 1.772f * B) / 255;
        }
    }
    for (int y = 0; y < 8; y++) for (int x = 0; x < 8; x++) for (int c = 0; c < 3; c++) {
        float* p = o + c * plane + (long)y * z.W + x;
        *p = out >> (8 * y + x) & 1 ? 114.0f / 255 : rintf(clampf(*p, 0, 1) * 255) / 255;
    }
    END_EACH
}

extern "C" void pw_augment(void* stream, long n, int H, int W, float* a, float* b, const float* par, const float* kern, const float* rnd, const float* table) {
    Size z;
    z.H = H; z.W = W;
    long px = n * H * W;
    LAUNCH(k_colour, px, a, par, b, z);
    LAUNCH(k_low, px, b, par, a, z);
    LAUNCH(k_filter, px, a, par, kern, rnd, b, z);
    LAUNCH(k_jpeg, n * (H / 8) * (W / 8), b, par, table, z);
}
