// Runs sample.cu on the processor: jobs from standard input, each after its length (4 bytes), tensors to
// standard output. Every job and tensor lies in memory of its very size, so that a sanitizer sees what is
// read or written beside it. tests/gpu_sampling.rs compiles and runs it.
#include <cstdio>
#include <cstdlib>

#include "sample.cu"

int main() {
    unsigned length = 0;
    while (fread(&length, 4, 1, stdin) == 1) {
        unsigned char* job = static_cast<unsigned char*>(malloc(length));
        if (!job || length < sizeof(pw_job) || fread(job, 1, length, stdin) != length) return 1;
        const pw_job* s = reinterpret_cast<const pw_job*>(job);
        const size_t values = size_t(s->channels) * s->height * s->width;
        float* tensor = static_cast<float*>(malloc(values * sizeof(float)));
        if (!tensor) return 1;
        // As the kernel's threads, of which some are beside the tensor.
        for (unsigned y = 0; y < (s->height + 7) / 8 * 8; y++)
            for (unsigned x = 0; x < (s->width + 31) / 32 * 32; x++) pw_pixel(job, tensor, x, y);
        if (fwrite(tensor, sizeof(float), values, stdout) != values) return 1;
        free(tensor);
        free(job);
    }
    return 0;
}
