// A batched z-buffer rasteriser for skinned people and boxes, with procedural clothes and backgrounds.
//
// One source, two builds: nvcc makes CUDA kernels, g++ (-x c++) makes plain loops, so that everything but speed can be tested without a
// GPU. The interface is plain C (ctypes); all pointers are device pointers in the CUDA build. layout.h is written by layout.py.
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
#define return_ return
DEV void zmin(unsigned long long* p, unsigned long long v) { if (v < *p) atomicMin(p, v); }
DEV void imin(int* p, int v) { if (v < *(volatile int*)p) atomicMin(p, v); }
DEV void imax(int* p, int v) { if (v > *(volatile int*)p) atomicMax(p, v); }
DEV void iadd(int* p, int v) { atomicAdd(p, v); }
DEV float asfloat(unsigned u) { return __uint_as_float(u); }
DEV unsigned asuint(float f) { return __float_as_uint(f); }
#else
#define DEV static inline
#define KERNEL(name, ...) static void name(long n_, __VA_ARGS__)
#define EACH(i) for (long i = 0; i < n_; i++) {
#define END_EACH }
#define return_ continue
#define LAUNCH(name, n, ...) name((n), __VA_ARGS__)
DEV void zmin(unsigned long long* p, unsigned long long v) { if (v < *p) *p = v; }
DEV void imin(int* p, int v) { if (v < *p) *p = v; }
DEV void imax(int* p, int v) { if (v > *p) *p = v; }
DEV void iadd(int* p, int v) { *p += v; }
DEV float asfloat(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
DEV unsigned asuint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
#endif

struct V3 { float x, y, z; };
DEV V3 v3(float x, float y, float z) { V3 r; r.x = x; r.y = y; r.z = z; return r; }
DEV V3 add(V3 a, V3 b) { return v3(a.x + b.x, a.y + b.y, a.z + b.z); }
DEV V3 mul(V3 a, float s) { return v3(a.x * s, a.y * s, a.z * s); }
DEV V3 mix3(V3 a, V3 b, float t) { return add(mul(a, 1 - t), mul(b, t)); }
DEV float dot(V3 a, V3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
DEV V3 norm(V3 a) { return mul(a, 1.0f / sqrtf(dot(a, a) + 1e-12f)); }
DEV float clampf(float x, float a, float b) { return x < a ? a : x > b ? b : x; }
DEV float smooth(float a, float b, float x) { float t = clampf((x - a) / (b - a), 0, 1); return t * t * (3 - 2 * t); }
DEV V3 col(const float* p) { return v3(p[0], p[1], p[2]); }
DEV float fract(float x) { return x - floorf(x); }

DEV float hash3(int x, int y, int z) {
    unsigned h = (unsigned)x * 374761393u + (unsigned)y * 668265263u + (unsigned)z * 2147483647u;
    h = (h ^ (h >> 13)) * 1274126177u;
    return (float)((h ^ (h >> 16)) & 0xffffff) * (1.0f / 16777216.0f);
}
// Value noise in [0, 1].
DEV float noise(float x, float y, float z) {
    float fx = floorf(x), fy = floorf(y), fz = floorf(z);
    int ix = (int)fx, iy = (int)fy, iz = (int)fz;
    x -= fx; y -= fy; z -= fz;
    x = x * x * (3 - 2 * x); y = y * y * (3 - 2 * y); z = z * z * (3 - 2 * z);
    float r = 0;
    for (int c = 0; c < 8; c++) {
        float w = (c & 1 ? x : 1 - x) * (c & 2 ? y : 1 - y) * (c & 4 ? z : 1 - z);
        r += w * hash3(ix + (c & 1), iy + ((c >> 1) & 1), iz + (c >> 2));
    }
    return r;
}
DEV float fbm(float x, float y, float z) { return 0.65f * noise(x, y, z) + 0.35f * noise(x * 2.7f, y * 2.7f, z * 2.7f); }
// The same noise with its gradient: what a bump map needs, at the price of one evaluation.
DEV float noise_slope(float x, float y, float z, V3* g) {
    float fx = floorf(x), fy = floorf(y), fz = floorf(z);
    int ix = (int)fx, iy = (int)fy, iz = (int)fz;
    x -= fx; y -= fy; z -= fz;
    float dx = 6 * x * (1 - x), dy = 6 * y * (1 - y), dz = 6 * z * (1 - z), r = 0;
    x = x * x * (3 - 2 * x); y = y * y * (3 - 2 * y); z = z * z * (3 - 2 * z);
    *g = v3(0, 0, 0);
    for (int c = 0; c < 8; c++) {
        float h = hash3(ix + (c & 1), iy + ((c >> 1) & 1), iz + (c >> 2));
        float a = c & 1 ? x : 1 - x, b = c & 2 ? y : 1 - y, d = c & 4 ? z : 1 - z;
        r += a * b * d * h;
        g->x += (c & 1 ? dx : -dx) * b * d * h; g->y += (c & 2 ? dy : -dy) * a * d * h; g->z += (c & 4 ? dz : -dz) * a * b * h;
    }
    return r;
}

// A stack of pictures [n, h, w, 4] of bytes; mirrored outside unless edge is set.
struct Atlas { const uint8_t* px; int n, h, w; };
DEV V3 texel(const Atlas& a, int k, int x, int y) {
    const uint8_t* p = a.px + 4 * (((long)k * a.h + y) * a.w + x);
    return v3(p[0] / 255.0f, p[1] / 255.0f, p[2] / 255.0f);
}
DEV V3 sample(const Atlas& a, int k, float u, float v, bool mirror) {
    if (mirror) { u = fabsf(fract(u * 0.5f) * 2 - 1); v = fabsf(fract(v * 0.5f) * 2 - 1); }
    float x = clampf(u * a.w - 0.5f, 0, a.w - 1.001f), y = clampf(v * a.h - 0.5f, 0, a.h - 1.001f);
    int ix = (int)x, iy = (int)y;
    x -= ix; y -= iy;
    return mix3(mix3(texel(a, k, ix, iy), texel(a, k, ix + 1, iy), x), mix3(texel(a, k, ix, iy + 1), texel(a, k, ix + 1, iy + 1), x), y);
}

struct V4 { float x, y, z, a; };
DEV V4 sample4(const Atlas& t, int k, float u, float v) {
    float x = clampf(fract(u) * t.w - 0.5f, 0, t.w - 1.001f), y = clampf(fract(v) * t.h - 0.5f, 0, t.h - 1.001f);
    int ix = (int)x, iy = (int)y;
    x -= ix; y -= iy;
    float s[4] = {0, 0, 0, 0};
    for (int c = 0; c < 4; c++) {
        const uint8_t* p = t.px + 4 * (((long)k * t.h + iy + (c >> 1)) * t.w + ix + (c & 1));
        float w = (c & 1 ? x : 1 - x) * (c >> 1 ? y : 1 - y) / 255.0f;
        for (int j = 0; j < 4; j++) s[j] += w * p[j];
    }
    V4 r; r.x = s[0]; r.y = s[1]; r.z = s[2]; r.a = s[3];
    return r;
}

// Albedo of a material at surface coordinates (u, v) in metres; w selects the slice of the noise.
DEV V3 albedo(const float* m, const Atlas& tex, float u, float v, float w) {
    V3 a = col(m + M_R1), b = col(m + M_R2);
    float c = cosf(m[M_ANGLE]), s = sinf(m[M_ANGLE]), f = m[M_FREQ];
    float x = (c * u + s * v) * f, y = (c * v - s * u) * f, t = 0;
    int type = (int)m[M_TYPE];
    if (type == T_STRIPES) t = fract(y) < 0.5f;
    else if (type == T_BANDS) t = fract(x) < 0.15f + 0.5f * hash3((int)floorf(x), 7, 3);
    else if (type == T_CHECKS) t = 0.5f * (fract(x) < 0.5f) + 0.5f * (fract(y) < 0.5f);
    else if (type == T_DOTS) { float dx = fract(x) - 0.5f, dy = fract(y) - 0.5f; t = dx * dx + dy * dy < 0.08f; }
    else if (type == T_BLOTCHES) t = smooth(0.45f, 0.55f, fbm(x * 0.6f, y * 0.6f, w * 3 + m[M_TEXU]));
    else if (type == T_PLANKS) { float k = floorf(y); t = 0.7f * hash3((int)k, (int)floorf(x * 0.2f + hash3((int)k, 1, 1)), 5) + 0.3f * (fract(y) < 0.06f); }
    V3 r = mix3(a, b, t);
    if ((type == T_PICTURE || type == T_LOGO) && tex.n > 0) {
        float pu = u * m[M_TEXS] + m[M_TEXU], pv = -v * m[M_TEXS] + m[M_TEXV];
        if (type == T_PICTURE) r = mix3(sample(tex, (int)m[M_TEX], pu, pv, true), r, 0.15f);
        else if (pu > 0 && pu < 1 && pv > 0 && pv < 1) r = sample(tex, (int)m[M_TEX], pu, pv, true);
    }
    float n = fbm(u * 40 + 11, v * 40, w * 40) * 0.6f + noise(u * 7 + 3, v * 7, w * 7) * 0.4f;
    return mul(r, 1 + m[M_NOISE] * (n - 0.5f) * 2);
}

// ---- people ---------------------------------------------------------------------------------------------------------------------------

struct Face { float ex, ey, ez, my, cz, hy, hd; };  // eye x, y, z; mouth y; ear z; head height (eye to top), head depth
// Which material covers a point of the body, from its rest position and limb coordinates. -1: eyes.
DEV int cover(const float* p, const float* a, int cls, const Face& f, float* shade) {
    float x = a[A_X], y = a[A_Y], z = a[A_Z];
    *shade = 1;
    if (cls == C_EYE) return -1;
    if (cls == C_SKIRT) return p[P_SKIRT] > 1.5f ? S_TOP : S_BOTTOM;
    if (cls == C_HAIR) return S_HAIR;
    if (cls == C_HEAD) {
        float h = (y - f.ey) / f.hy, q = (z - f.cz) / f.hd, ax = fabsf(x);
        float edge = 0.08f * (noise(x * 90 + p[P_SEED], y * 90, z * 90) - 0.5f);
        float top = h - p[P_HAIRP], back = fminf(p[P_HAIRQ] - q, h + p[P_HAIRL]);
        if (fmaxf(top, back) + edge > 0) return p[P_HAT] > 0.5f ? S_SHOES : S_HAIR;
        float d = y - f.my;
        if (p[P_MASK] > 0.5f && h < -0.22f && q > 0.05f) return S_TOP;
        if (z > f.ez - 0.05f) {
            float gx = (ax - f.ex) / 0.024f, gy = (y - f.ey) / 0.018f, g2 = gx * gx + gy * gy;
            if (p[P_GLASSES] > 0.5f && (p[P_GLASSES] > 1.5f ? g2 < 1.5f : (g2 < 1.7f && g2 > 1.05f))) { *shade = 0.12f; return S_SKIN; }
            float bx = (ax - f.ex) / 0.02f, by = (y - f.ey - 0.022f + 0.006f * bx * bx) / 0.0045f;
            if (bx * bx + by * by < 1) { *shade = p[P_BROW]; return S_SKIN; }
            float lx = x / 0.025f, ly = d / 0.010f;
            if (lx * lx + ly * ly < 1) { *shade = -p[P_LIP]; return S_SKIN; }
        }
        if (p[P_BEARD] > 0.5f && d < 0.018f - 0.3f * (0.035f - ax) * (ax < 0.035f) && q > 0.0f && (d < 0.03f)) return S_HAIR;
        return S_SKIN;
    }
    float arm = a[A_ARM], leg = a[A_LEG], tor = a[A_TOR];
    if (leg > p[P_SHOE] && cls == C_LEG) return S_SHOES;
    if (arm > 1.02f && p[P_GLOVE] > 0.5f) return S_SHOES;
    bool torso = cls == C_TORSO || cls == C_LEG || cls == C_ARM;
    if (p[P_JACKET] > 0.5f && torso && (cls == C_ARM || (tor > p[P_JHEM] && tor < 1.04f)) && arm < p[P_JSLEEVE]
        && !(cls != C_ARM && z > -0.02f && fabsf(x) < p[P_JOPEN] * (0.3f + 0.7f * (tor > 0 ? tor : 0)))) return S_JACKET;
    bool bottom = leg > -p[P_WAIST] && leg < p[P_LEGS] && cls != C_ARM;
    if (bottom && p[P_TUCK] > 0.5f) return S_BOTTOM;
    float neck = p[P_NECK] - (z > 0.0f ? p[P_NECKV] * fmaxf(0.0f, 1 - fabsf(x) / 0.08f) : 0.0f);
    if (torso && arm < p[P_SLEEVE] && (cls == C_ARM || (tor > p[P_HEM] && tor < neck))) return S_TOP;
    if (bottom) return S_BOTTOM;
    if (cls == C_LEG && leg > p[P_SOCK]) { *shade = 3; return S_SHOES; }
    return S_SKIN;
}

DEV bool wears(const float* p, int part) { return part == (int)p[P_SUIT] || part == (int)p[P_FOOTWEAR] || part == (int)p[P_WIG]; }
DEV unsigned covered_by(const float* p) {
    unsigned m = 0;
    if (p[P_SUIT] > 0.5f) m |= 1u << ((int)p[P_SUIT] - 1);
    if (p[P_FOOTWEAR] > 0.5f) m |= 1u << ((int)p[P_FOOTWEAR] - 1);
    return m;
}

struct Mesh {
    const float* attr;        // [V, NA] rest position and limb coordinates
    const float* normal;      // [V, 3]
    const int* bone;          // [V, 4]
    const float* weight;      // [V, 4]
    const uint8_t* cls;       // [V]
    const int* tri;           // [T, 3]
    const float* uv;          // [T, 3, 2] of the skin's or the garment's picture
    const unsigned* hide;     // [V] bit g: garment g + 1 covers this vertex of the body
    int V, T, K;              // vertices, triangles, bones
    Face face;
};

// Bone matrices in camera space: one row per person. quats: [poses, K, 4] global rotations; joints: [shapes, K, 3] rest heads.
KERNEL(k_bones, const float* quats, const float* joints, const int* parent, const int* pose, const int* shape, const float* root, float* out, int K) {
    EACH(i)
    const float* R = root + i * 12;  // 3x3 rotation, then translation of the hips
    const float* J = joints + (long)shape[i] * K * 3;
    float* O = out + i * K * 12;
    for (int b = 0; b < K; b++) {
        const float* q = quats + ((long)pose[i] * K + b) * 4;
        float w = q[0], x = q[1], y = q[2], z = q[3], G[9], M[9];
        float n = 1.0f / sqrtf(w * w + x * x + y * y + z * z + 1e-12f);
        w *= n; x *= n; y *= n; z *= n;
        G[0] = 1 - 2 * (y * y + z * z); G[1] = 2 * (x * y - w * z); G[2] = 2 * (x * z + w * y);
        G[3] = 2 * (x * y + w * z); G[4] = 1 - 2 * (x * x + z * z); G[5] = 2 * (y * z - w * x);
        G[6] = 2 * (x * z - w * y); G[7] = 2 * (y * z + w * x); G[8] = 1 - 2 * (x * x + y * y);
        for (int r = 0; r < 3; r++) for (int c = 0; c < 3; c++) M[3 * r + c] = R[3 * r] * G[c] + R[3 * r + 1] * G[3 + c] + R[3 * r + 2] * G[6 + c];
        float head[3] = {R[9], R[10], R[11]};
        int pa = parent[b];
        if (pa >= 0) {
            const float* P = O + pa * 12;
            for (int r = 0; r < 3; r++) head[r] = P[3 * r] * J[3 * b] + P[3 * r + 1] * J[3 * b + 1] + P[3 * r + 2] * J[3 * b + 2] + P[9 + r];
        }
        for (int k = 0; k < 9; k++) O[b * 12 + k] = M[k];
        for (int r = 0; r < 3; r++) O[b * 12 + 9 + r] = head[r] - (M[3 * r] * J[3 * b] + M[3 * r + 1] * J[3 * b + 1] + M[3 * r + 2] * J[3 * b + 2]);
    }
    END_EACH
}

KERNEL(k_skin, Mesh mesh, const float* rest, const int* shape, const float* bones, const float* person, float* pos, float* nrm) {
    EACH(t)
    int i = (int)(t / mesh.V), v = (int)(t % mesh.V);
    const float* p = person + (long)i * NP;
    const float* a = mesh.attr + v * NA;
    const float* r = rest + ((long)shape[i] * mesh.V + v) * 3;
    const float* n = mesh.normal + v * 3;
    float shade, off = 0;
    int cls = mesh.cls[v];
    if (cls == C_NONE || (cls == C_WORN && !wears(p, (int)a[A_PART]))) return_;
    if (cls <= C_HEAD) {
        int m = cover(p, a, cls, mesh.face, &shade);
        if (m == S_TOP) off = p[P_OFFTOP];
        else if (m == S_BOTTOM) off = p[P_OFFBOTTOM];
        else if (m == S_JACKET) off = p[P_OFFJACKET];
        else if (m == S_HAIR && cls == C_HEAD) off = p[P_OFFHAIR];
        else if (m == S_SHOES) off = 0.012f;
        else off = p[P_OFFSKIN];
        if (m == S_TOP || m == S_BOTTOM || m == S_JACKET) {
            float f = p[P_FOLDF];
            off *= 1 + p[P_FOLD] * (fbm(a[A_X] * f + p[P_SEED], a[A_Y] * f, a[A_Z] * f) - 0.35f) * 3;
            if (cls == C_TORSO && a[A_TOR] > 0.8f) off *= 1 - 0.8f * smooth(0.8f, 1.0f, a[A_TOR]);
        }
    }
    float x = r[0] + n[0] * off, y = r[1] + n[1] * off, z = r[2] + n[2] * off, o[3] = {0, 0, 0}, q[3] = {0, 0, 0};
    for (int k = 0; k < 4; k++) {
        float w = mesh.weight[v * 4 + k];
        if (w <= 0) continue;
        const float* B = bones + ((long)i * mesh.K + mesh.bone[v * 4 + k]) * 12;
        for (int c = 0; c < 3; c++) {
            o[c] += w * (B[3 * c] * x + B[3 * c + 1] * y + B[3 * c + 2] * z + B[9 + c]);
            q[c] += w * (B[3 * c] * n[0] + B[3 * c + 1] * n[1] + B[3 * c + 2] * n[2]);
        }
    }
    for (int c = 0; c < 3; c++) { pos[t * 3 + c] = o[c]; nrm[t * 3 + c] = q[c]; }
    END_EACH
}

// ---- rasteriser -----------------------------------------------------------------------------------------------------------------------
// Key in the z-buffer: depth (positive float bits) << 32 | prop << 31 | instance within the image << 24 | triangle.

struct View { const float* proj; int W, H; };  // proj [B, 4]: px = ax X/Z + bx, py = ay Y/Z + by, in buffer pixels

DEV bool screen(const float* P, const float* pr, float* s) {
    float z = P[2];
    if (z < 0.08f) return false;
    s[0] = pr[0] * P[0] / z + pr[1]; s[1] = pr[2] * P[1] / z + pr[3]; s[2] = z;
    return true;
}

// A picture with holes (hair): pixels where its coverage is below one half are not drawn.
struct Cut { const Atlas* px; int k; const float* uv; };
DEV void fill(const float* a, const float* b, const float* c, unsigned low, unsigned long long* zb, int W, int H, int lane, int lanes, const Cut* cut = nullptr) {
    float area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
    if (fabsf(area) < 1e-9f) return;
    float x0 = fminf(a[0], fminf(b[0], c[0])), x1 = fmaxf(a[0], fmaxf(b[0], c[0])), y0 = fminf(a[1], fminf(b[1], c[1])), y1 = fmaxf(a[1], fmaxf(b[1], c[1]));
    int ix0 = (int)fmaxf(0, ceilf(x0 - 0.5f)), ix1 = (int)fminf(W - 1.0f, floorf(x1 - 0.5f)), iy0 = (int)fmaxf(0, ceilf(y0 - 0.5f)), iy1 = (int)fminf(H - 1.0f, floorf(y1 - 0.5f));
    if (ix1 < ix0 || iy1 < iy0) return;
    float inv = 1 / area, za = 1 / a[2], zb_ = 1 / b[2], zc = 1 / c[2];
    for (int y = iy0 + lane; y <= iy1; y += lanes)
        for (int x = ix0; x <= ix1; x++) {
            float px = x + 0.5f, py = y + 0.5f;
            float w0 = ((b[0] - px) * (c[1] - py) - (b[1] - py) * (c[0] - px)) * inv;
            float w1 = ((c[0] - px) * (a[1] - py) - (c[1] - py) * (a[0] - px)) * inv;
            float w2 = 1 - w0 - w1;
            if (w0 < 0 || w1 < 0 || w2 < 0) continue;
            float z = 1 / (w0 * za + w1 * zb_ + w2 * zc);
            if (cut) {
                float k0 = w0 * za * z, k1 = w1 * zb_ * z, k2 = w2 * zc * z;
                if (sample4(*cut->px, cut->k, k0 * cut->uv[0] + k1 * cut->uv[2] + k2 * cut->uv[4], 1 - (k0 * cut->uv[1] + k1 * cut->uv[3] + k2 * cut->uv[5])).a < 0.5f) continue;
            }
            zmin(zb + (long)y * W + x, ((unsigned long long)asuint(z) << 32) | low);
        }
}

// Is this triangle of the skirt or hair mesh worn? by the first vertex's rest height.
DEV bool worn(const float* p, const Mesh& m, int v) {
    int cls = m.cls[v];
    if (cls == C_SKIRT) return p[P_SKIRT] > 0.5f && m.attr[v * NA + A_LEG] < p[P_SKIRTLEN];
    if (cls == C_HAIR) return p[P_HAIRMESH] > 0.5f && m.face.ey - m.attr[v * NA + A_Y] < p[P_HAIRLEN];
    if (cls == C_WORN) return wears(p, (int)m.attr[v * NA + A_PART]);
    return !(m.hide[v] & covered_by(p));
}

KERNEL(k_people, Mesh mesh, View view, Atlas ward, int wigs, const float* pos, const float* person, const int* image, const int* local, unsigned long long* zb) {
    EACH(t)
    int i = (int)(t / mesh.T), k = (int)(t % mesh.T);
    const int* tri = mesh.tri + k * 3;
    if (worn(person + (long)i * NP, mesh, tri[0])) {
        const float* pr = view.proj + image[i] * 4;
        const float* P = pos + (long)i * mesh.V * 3;
        float s[9];
        if (screen(P + tri[0] * 3, pr, s) && screen(P + tri[1] * 3, pr, s + 3) && screen(P + tri[2] * 3, pr, s + 6))
        {
            int part = (int)mesh.attr[tri[0] * NA + A_PART];
            Cut cut = {&ward, part - 1, mesh.uv + k * 6};
            fill(s, s + 3, s + 6, (unsigned)local[i] << 24 | (unsigned)k, zb + (long)image[i] * view.W * view.H, view.W, view.H, 0, 1, part > wigs ? &cut : nullptr);
        }
    }
    END_EACH
}

// Props: instances of a few small meshes. pos [N, VP, 3] camera space (transformed by the caller), 32 lanes share a triangle.
struct Props { const float* pos; const float* unit; const int* tri; const int* image; const int* local; const int* kind; const float* mat; int VP, TP; };
KERNEL(k_props, Props p, View view, unsigned long long* zb) {
    EACH(t)
    int lane = (int)(t % 32), i = (int)(t / 32 / p.TP), k = (int)(t / 32 % p.TP);
    const int* tri = p.tri + ((long)p.kind[i] * p.TP + k) * 3;
    const float* pr = view.proj + p.image[i] * 4;
    const float* P = p.pos + (long)i * p.VP * 3;
    float s[9];
    if (tri[0] != tri[1] && screen(P + tri[0] * 3, pr, s) && screen(P + tri[1] * 3, pr, s + 3) && screen(P + tri[2] * 3, pr, s + 6))
        fill(s, s + 3, s + 6, 0x80000000u | (unsigned)p.local[i] << 24 | (unsigned)k, zb + (long)p.image[i] * view.W * view.H, view.W, view.H, lane, 32);
    END_EACH
}

// ---- shading --------------------------------------------------------------------------------------------------------------------------

DEV V3 light(const float* im, V3 n, V3 view, V3 base, float spec) {
    float up = 0.5f - 0.5f * n.y;  // camera space has y down
    V3 e = mix3(col(im + I_GNDR), col(im + I_SKYR), up), s = v3(0, 0, 0);
    for (int k = 0; k < 3; k++) {
        const float* l = im + I_L0X + 6 * k;
        V3 d = v3(l[0], l[1], l[2]);
        float c = dot(n, d);
        if (c > 0) {
            e = add(e, mul(col(l + 3), c));
            if (spec > 0) { V3 h = norm(add(d, view)); float g = fmaxf(0, dot(n, h)); g *= g; g *= g; g *= g; g *= g; s = add(s, mul(col(l + 3), spec * g)); }
        }
    }
    return add(v3(base.x * e.x, base.y * e.y, base.z * e.z), s);
}

DEV V3 backdrop(const float* im, const Atlas& tex, const Atlas& photo, float u, float v) {  // u, v in 0..1 of the picture
    if (im[I_REAL] >= 0) {
        const float* a = im + I_A0;
        float x = a[0] * u + a[1] * v + a[2], y = a[3] * u + a[4] * v + a[5];
        if (x < 0 || y < 0 || x >= 1 || y >= 1) return v3(im[I_PADR], im[I_PADG], im[I_PADB]);
        return sample(photo, (int)im[I_REAL], x, y, false);
    }
    float side = v - im[I_HORIZON] - im[I_SLOPE] * (u - 0.5f);
    const float* m = im + I_MATERIALS + (side > 0 ? NM : 0);
    float x = u * im[I_BGZOOM], y = v * im[I_BGZOOM];
    if (side > 0) { float d = 0.35f / (side + 0.25f); x = (u - 0.5f) * d * im[I_BGZOOM]; y = d * im[I_BGZOOM]; }  // a floor in perspective
    V3 c = albedo(m, tex, x, -y, im[I_SEED]);
    float g = 0.7f + 0.6f * noise(u * 2 + im[I_SEED], v * 2, im[I_SEED]);
    return mul(c, im[I_GAIN] * g);
}

struct Out { float* rgb; int* box; int* count; int W, H, SS; };  // rgb [B,3,H,W]; box [people, 4]; count [people]

KERNEL(k_shade, Mesh mesh, Props props, View view, const float* pos, const float* nrm, const float* person, const int* first, const int* pfirst,
       const float* images, const unsigned long long* zb, Atlas tex, Atlas photo, Atlas ward, int wigs, int garments, Out out) {
    EACH(t)
    int W = out.W, H = out.H, SS = out.SS;
    int b = (int)(t / (W * H)), y = (int)(t / W % H), x = (int)(t % W);
    const float* im = images + (long)b * NI;
    V3 sum = v3(0, 0, 0);
    float fu = (x + 0.5f) / W, fv = (y + 0.5f) / H;
    bool outside = fu < im[I_FX0] || fu > im[I_FX1] || fv < im[I_FY0] || fv > im[I_FY1];
    if (outside) sum = mul(v3(im[I_PADR], im[I_PADG], im[I_PADB]), (float)(SS * SS));
    else for (int k = 0; k < SS * SS; k++) {
        int sx = x * SS + k % SS, sy = y * SS + k / SS;
        unsigned long long key = zb[((long)b * view.H + sy) * view.W + sx];
        unsigned low = (unsigned)key;
        if (key >> 32 >= 0x7f000000u) { sum = add(sum, backdrop(im, tex, photo, (sx + 0.5f) / view.W, (sy + 0.5f) / view.H)); continue; }
        bool prop = low >> 31;
        int inst = (low >> 24 & 0x7f) + (prop ? pfirst[b] : first[b]), tr = low & 0xffffff;
        const int* tri = prop ? props.tri + ((long)props.kind[inst] * props.TP + tr) * 3 : mesh.tri + tr * 3;
        const float* P = prop ? props.pos + (long)inst * props.VP * 3 : pos + (long)inst * mesh.V * 3;
        const float* pr = view.proj + b * 4;
        float s[9];
        screen(P + tri[0] * 3, pr, s); screen(P + tri[1] * 3, pr, s + 3); screen(P + tri[2] * 3, pr, s + 6);
        float px = sx + 0.5f, py = sy + 0.5f, area = (s[3] - s[0]) * (s[7] - s[1]) - (s[4] - s[1]) * (s[6] - s[0]);
        float w[3];
        w[0] = ((s[3] - px) * (s[7] - py) - (s[4] - py) * (s[6] - px)) / area / s[2];
        w[1] = ((s[6] - px) * (s[1] - py) - (s[7] - py) * (s[0] - px)) / area / s[5];
        w[2] = ((s[0] - px) * (s[4] - py) - (s[1] - py) * (s[3] - px)) / area / s[8];
        float z = 1 / (w[0] + w[1] + w[2]);
        for (int j = 0; j < 3; j++) w[j] *= z;
        V3 eye = norm(v3(-(px - pr[1]) / pr[0], -(py - pr[3]) / pr[2], -1.0f));
        V3 n, base;
        float spec;
        if (prop) {
            const float *A = P + tri[0] * 3, *B = P + tri[1] * 3, *C = P + tri[2] * 3;
            float ux = B[0] - A[0], uy = B[1] - A[1], uz = B[2] - A[2], vx = C[0] - A[0], vy = C[1] - A[1], vz = C[2] - A[2];
            n = norm(v3(uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx));
            if (dot(n, eye) < 0) n = mul(n, -1);
            const float* U = props.unit + (long)props.kind[inst] * props.VP * 3;
            float c[3];
            for (int j = 0; j < 3; j++) c[j] = w[0] * U[tri[0] * 3 + j] + w[1] * U[tri[1] * 3 + j] + w[2] * U[tri[2] * 3 + j];
            const float* m = props.mat + (long)inst * NM;
            base = albedo(m, tex, c[0] + c[2] * 0.7f, c[1], c[2]);
            spec = m[M_SPEC];
        } else {
            const float* p = person + (long)inst * NP;
            float a[NA];
            for (int j = 0; j < NA; j++) a[j] = w[0] * mesh.attr[tri[0] * NA + j] + w[1] * mesh.attr[tri[1] * NA + j] + w[2] * mesh.attr[tri[2] * NA + j];
            const float* Q = nrm + (long)inst * mesh.V * 3;
            float q[3];
            for (int j = 0; j < 3; j++) q[j] = w[0] * Q[tri[0] * 3 + j] + w[1] * Q[tri[1] * 3 + j] + w[2] * Q[tri[2] * 3 + j];
            n = norm(v3(q[0], q[1], q[2]));
            int cls = mesh.cls[tri[0]];
            float shade;
            const float* tuv = mesh.uv + tr * 6;
            float tu = w[0] * tuv[0] + w[1] * tuv[2] + w[2] * tuv[4], tv = 1 - (w[0] * tuv[1] + w[1] * tuv[3] + w[2] * tuv[5]);
            int part = cls == C_WORN ? (int)mesh.attr[tri[0] * NA + A_PART] : 0;
            int slot = part > wigs ? S_HAIR : part == (int)p[P_FOOTWEAR] && part ? S_SHOES : part ? (a[A_LEG] < 0 ? S_TOP : S_BOTTOM) : cover(p, a, cls, mesh.face, &shade);
            if (part) shade = 1;
            if (slot < 0) {  // eyeball: iris by distance from the eye's axis
                float dx = fabsf(a[A_X]) - mesh.face.ex, dy = a[A_Y] - mesh.face.ey, d = sqrtf(dx * dx + dy * dy);
                base = d < 0.0028f ? v3(0.02f, 0.02f, 0.02f) : d < 0.006f ? mul(v3(0.35f, 0.25f, 0.2f), p[P_IRIS]) : v3(0.75f, 0.72f, 0.7f);
                spec = 0.3f;
            } else {
                const float* m = p + P_MATERIALS + slot * NM;
                // Folds: bend the normal by the slope of a noise field in rest space.
                float f = slot == S_SKIN ? 60.0f : slot == S_HAIR ? 120.0f : p[P_FOLDF], g = m[M_BUMP], sd = p[P_SEED];
                V3 slope, fine;
                float c0 = 0.65f * noise_slope(a[A_X] * f + sd, a[A_Y] * f, a[A_Z] * f, &slope) + 0.35f * noise_slope(a[A_X] * f * 2.7f + sd, a[A_Y] * f * 2.7f, a[A_Z] * f * 2.7f, &fine);
                float gx = 0.13f * slope.x + 0.19f * fine.x, gy = 0.13f * slope.y + 0.19f * fine.y, gz = 0.13f * slope.z + 0.19f * fine.z;
                n = norm(v3(n.x + g * gx, n.y + g * gy, n.z + g * gz));
                float v = cls == C_ARM ? -a[A_ARM] * 0.55f : a[A_Y], u = cls == C_TORSO ? a[A_X] : a[A_X] + a[A_Z];
                base = albedo(m, tex, u, v, a[A_Z]);
                if (part > wigs) { V4 t = sample4(ward, part - 1, tu, tv); base = v3(base.x * t.x * 2.2f, base.y * t.y * 2.2f, base.z * t.z * 2.2f); }
                else if (part) { V4 t = sample4(ward, part - 1, tu, tv); base = mix3(v3(t.x, t.y, t.z), mul(base, 2 * t.a), p[P_RECOLOUR]); }
                else if (slot == S_SKIN && p[P_SKINTEX] >= 0) {
                    V4 t = sample4(ward, garments + (int)p[P_SKINTEX], tu, tv);
                    V3 d = col(m + M_R1);
                    base = v3(t.x * d.x, t.y * d.y, t.z * d.z);
                    if (shade < 0) shade = 1;
                }
                if (slot == S_HAIR && !part) base = mul(base, 0.7f + 0.6f * c0);
                if (shade == 3) base = col(m + M_R2);
                else if (shade < 0) base = mix3(base, v3(0.55f, 0.12f, 0.13f), -shade);
                else base = mul(base, shade);
                spec = m[M_SPEC];
            }
            if (dot(n, eye) < 0) n = norm(add(n, mul(eye, -1.05f * dot(n, eye))));
            if (k == 0) {
                int* bx = out.box + inst * 4;
                imin(bx, x); imin(bx + 1, y); imax(bx + 2, x + 1); imax(bx + 3, y + 1);
                iadd(out.count + inst, 1);
            }
        }
        V3 c = light(im, n, eye, base, spec);
        sum = add(sum, c);
    }
    float inv = 1.0f / (SS * SS);
    long plane = (long)W * H, o = (long)b * 3 * plane + (long)y * W + x;
    out.rgb[o] = sum.x * inv; out.rgb[o + plane] = sum.y * inv; out.rgb[o + 2 * plane] = sum.z * inv;
    END_EACH
}

extern "C" {
void pw_bones(void* stream, long n, const float* quats, const float* joints, const int* parent, const int* pose, const int* shape, const float* root, float* out, int K) {
    LAUNCH(k_bones, n, quats, joints, parent, pose, shape, root, out, K);
}
void pw_skin(void* stream, long n, const Mesh* mesh, const float* rest, const int* shape, const float* bones, const float* person, float* pos, float* nrm) {
    LAUNCH(k_skin, n * mesh->V, *mesh, rest, shape, bones, person, pos, nrm);
}
void pw_raster(void* stream, long n, long nprops, const Mesh* mesh, const Props* props, const View* view, const Atlas* ward, int wigs, const float* pos, const float* person, const int* image, const int* local, unsigned long long* zb) {
    LAUNCH(k_people, n * mesh->T, *mesh, *view, *ward, wigs, pos, person, image, local, zb);
    LAUNCH(k_props, nprops * props->TP * 32, *props, *view, zb);
}
void pw_shade(void* stream, long images_n, const Mesh* mesh, const Props* props, const View* view, const float* pos, const float* nrm, const float* person, const int* first, const int* pfirst,
              const float* images, const unsigned long long* zb, const Atlas* tex, const Atlas* photo, const Atlas* ward, int wigs, int garments, const Out* out) {
    LAUNCH(k_shade, images_n * out->W * out->H, *mesh, *props, *view, pos, nrm, person, first, pfirst, images, zb, *tex, *photo, *ward, wigs, garments, *out);
}
}
