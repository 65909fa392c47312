// From a camera's pixels to a network's input tensor: what src/detect/preprocess does on the CPU, in
// the same fixed-point numbers and the same order of roundings, so that both give the same bits.
//
// One source for the GPU and for the CPU: cross/ptx/ptx.py makes sample.ptx of it, and host.cpp has it
// run by a plain C++ compiler, under its sanitizers. A job is what mod.rs writes: this header, then
// tables, then the pixels that are read. Nothing else is read, and every value of the tensor is written.

#ifdef __CUDACC__
#define PW_HERE static __device__ __forceinline__
// With the rounding named: neither this compiler nor the driver's may make one step of two.
#define PW_ADD(a, b) __fadd_rn(a, b)
#define PW_MUL(a, b) __fmul_rn(a, b)
#else
#define PW_HERE static inline
#define PW_ADD(a, b) ((a) + (b))
#define PW_MUL(a, b) ((a) * (b))
#endif

// Where a component's bytes are. `at` tables hold, for each tensor column or row that lies on the
// picture, where its first byte is (columns from the row's start, rows from the job's); `weights` are
// in 1/65536, `taps` for each of them. All that is called a table here is an offset from the job's start.
struct pw_component {
    // Of the component within its pixel, and to the next pixel and row.
    unsigned offset, step, stride;
    unsigned column_at, column_weights, column_taps;
    unsigned row_at, row_weights, row_taps;
};

struct pw_job {
    // The tensor, [channels, height, width].
    unsigned width, height, channels;
    // 1, or 3: luma and chromas, or colours.
    unsigned components;
    // Tensor pixels that lie on the picture: left up to but without right, top up to but without bottom.
    unsigned left, right, top, bottom;
    // 1: the tensor is written from right to left.
    unsigned mirrored;
    // Sums are cut off at 0 and at this.
    float limit;
    // channel = (cut(offset + sum of factor * component) - mean) * per_std; components are in 1/256.
    float factor[3][3], offset[3], mean[3], per_std[3];
    // What lies outside of the picture.
    float padding[3];
    struct pw_component component[3];
};

// A byte in 1/256, times a weight: rounded down twice, as the CPU does it.
PW_HERE unsigned pw_part(unsigned byte, unsigned weight) {
    return byte * (weight >> 8) + ((byte * (weight & 255)) >> 8);
}

// One component of the tensor pixel `x`, `y`, counted from the first one on the picture.
PW_HERE float pw_gather(const unsigned char* job, const struct pw_component* c, unsigned x, unsigned y) {
    const unsigned short* across = (const unsigned short*)(job + c->column_weights) + x * c->column_taps;
    const unsigned short* down = (const unsigned short*)(job + c->row_weights) + y * c->row_taps;
    const unsigned char* first = job + ((const unsigned*)(job + c->row_at))[y]
        + ((const unsigned*)(job + c->column_at))[x] + c->offset;
    unsigned sum = 0;
    for (unsigned i = 0; i < c->column_taps; i++) {
        unsigned blended = 0;
        for (unsigned j = 0; j < c->row_taps; j++)
            blended += pw_part(first[i * c->step + j * c->stride], down[j]);
        sum += (blended & 65535) * across[i];
    }
    return (float)(sum >> 16);
}

// One pixel of the tensor.
PW_HERE void pw_pixel(const unsigned char* job, float* tensor, unsigned x, unsigned y) {
    const struct pw_job* s = (const struct pw_job*)job;
    if (x >= s->width || y >= s->height) return;
    const int seen = x >= s->left && x < s->right && y >= s->top && y < s->bottom;
    float value[3] = {0.0f, 0.0f, 0.0f};
    if (seen)
        for (unsigned i = 0; i < 3; i++)
            if (i < s->components) value[i] = pw_gather(job, &s->component[i], x - s->left, y - s->top);
    const unsigned plane = s->width * s->height;
    float* out = tensor + y * s->width + (s->mirrored ? s->width - 1 - x : x);
    for (unsigned c = 0; c < s->channels; c++) {
        const float* f = s->factor[c];
        float sum = PW_ADD(PW_MUL(f[0], value[0]), PW_MUL(f[1], value[1]));
        sum = PW_ADD(s->offset[c], PW_ADD(sum, PW_MUL(f[2], value[2])));
        sum = sum < 0.0f ? 0.0f : sum > s->limit ? s->limit : sum;
        const float normal = PW_MUL(PW_ADD(sum, -s->mean[c]), s->per_std[c]);
        out[c * plane] = seen ? normal : s->padding[c];
    }
}

#ifdef __CUDACC__
// A thread for each pixel of the tensor.
extern "C" __global__ void pw_sample(const unsigned char* __restrict__ job, float* __restrict__ tensor) {
    pw_pixel(job, tensor, blockIdx.x * blockDim.x + threadIdx.x, blockIdx.y * blockDim.y + threadIdx.y);
}
#endif
