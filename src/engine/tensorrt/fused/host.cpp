// Runs fused.cu on the processor. From standard input: how many bytes of memory, values given, values
// asked for (in what is given, from its end) and kernels there are; memory; what is given; the kernels.
// To standard output: what was asked for. Memory that is written before it is read is not-a-number at
// first. tests.rs compiles and runs it.
#include "kernels.h"

struct pw_run {
    unsigned kernel, grid[3], threads, words[32];
};

int main() {
    unsigned sizes[4];
    if (fread(sizes, 4, 4, stdin) != 4) return 1;
    pw_memory = static_cast<char*>(aligned_alloc(256, (sizes[0] + 255) / 256 * 256));
    pw_outside = static_cast<float*>(malloc(4 * size_t(sizes[1])));
    if (!pw_memory || !pw_outside || fread(pw_memory, 1, sizes[0], stdin) != sizes[0]) return 1;
    if (fread(pw_outside, 4, sizes[1], stdin) != sizes[1]) return 1;
    for (unsigned i = 0; i < sizes[3]; i++) {
        pw_run run;
        if (fread(&run, sizeof run, 1, stdin) != 1 || run.kernel >= sizeof pw_kernels / sizeof *pw_kernels) return 1;
        pw_launch({run.grid[0], run.grid[1], run.grid[2]}, run.threads, pw_kernels[run.kernel].call, run.words);
    }
    return fwrite(pw_outside + sizes[1] - sizes[2], 4, sizes[2], stdout) != sizes[2];
}
