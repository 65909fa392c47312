// Stands in for CUDA's driver (libcuda.so.1) as far as our own kernels and calls of engines go: memory is the
// processor's, and what is put into a stream happens when it is asked about for the second time, so
// that memory which is used again too early is seen in the answers. tests/gpu_sampling.rs compiles it,
// and src/engine/tensorrt/sys/tests.rs.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <vector>

#include "fused/kernels.h"
#include "sampling/sample.cu"

namespace {
using Acts = std::vector<std::function<void()>>;
// Of the one stream.
Acts queue;
bool capturing = false;
Acts captured;
std::set<void*> memory;
bool asked = false;
int must_be_ours;

// A mistake of the caller's; a driver would go on somehow.
void must(bool right, const char* what) {
    if (right) return;
    std::fprintf(stderr, "the driver is called wrongly: %s\n", what);
    std::abort();
}

void put(std::function<void()> act) { (capturing ? captured : queue).push_back(std::move(act)); }

void run(Acts& acts) {
    for (const auto& act : acts) act();
    acts.clear();
}

// As many allocations are allowed as the environment says.
int allocate(void** to, size_t bytes) {
    static const char* most = std::getenv("ALLOCATIONS");
    static int left = most ? std::atoi(most) : 1000;
    if (left-- <= 0) return 2;
    *to = std::malloc(bytes);
    // Not-a-number: what is read before it is written.
    std::memset(*to, 0xff, bytes);
    memory.insert(*to);
    return 0;
}

// One of a lifter's kernels.
int lift(const pw_kernel* kernel, pw_index grid, unsigned threads, void** given) {
    auto* in = *static_cast<char**>(given[0]);
    auto* outside = *static_cast<float**>(given[1]);
    std::vector<unsigned> words(static_cast<unsigned*>(given[2]), static_cast<unsigned*>(given[2]) + 32);
    put([=]() mutable {
        pw_memory = in;
        pw_outside = outside;
        pw_launch(grid, threads, kernel->call, words.data());
    });
    return 0;
}

int give_back(void* what) {
    must(queue.empty(), "memory is freed that is still used");
    must(memory.erase(what) == 1, "memory is freed that is none");
    std::free(what);
    return 0;
}
}  // namespace

extern "C" {
int cuInit(unsigned) { return 0; }
int cuDriverGetVersion(int* to) { return *to = 11040, 0; }
int cuDeviceGetCount(int* to) { return *to = 1, 0; }
int cuDeviceGet(int* to, int) { return *to = 0, 0; }
int cuDeviceGetName(char* to, int length, int) { return std::snprintf(to, length, "a stand-in"), 0; }
int cuDeviceGetAttribute(int* to, int, int) { return *to = 0, 0; }
int cuDevicePrimaryCtxRetain(void** to, int) { return *to = &queue, 0; }
int cuCtxSetCurrent(void* context) { return context == &queue ? 0 : 201; }
int cuMemAlloc_v2(uint64_t* to, size_t bytes) { return allocate(reinterpret_cast<void**>(to), bytes); }
int cuMemFree_v2(uint64_t what) { return give_back(reinterpret_cast<void*>(what)); }
int cuMemHostAlloc(void** to, size_t bytes, unsigned) { return allocate(to, bytes); }
int cuMemFreeHost(void* what) { return give_back(what); }
int cuMemHostGetDevicePointer_v2(uint64_t* to, void* host, unsigned) {
    return *to = reinterpret_cast<uint64_t>(host), 0;
}
int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
    put([=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
    return 0;
}
int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
    put([=] { std::memcpy(to, reinterpret_cast<const void*>(from), bytes); });
    // To memory that is not page-locked: done when it returns.
    if (!memory.count(to)) run(queue);
    return 0;
}
int cuStreamCreate(void** to, unsigned) { return *to = &asked, 0; }
int cuStreamDestroy_v2(void*) { return 0; }
int cuStreamQuery(void* stream) {
    must(stream == &asked, "another stream");
    asked = !asked && !queue.empty();
    if (asked) return 600;
    run(queue);
    return 0;
}
int cuStreamBeginCapture_v2(void*, int) {
    must(queue.empty(), "something is under way");
    return capturing = true, 0;
}
int cuStreamEndCapture(void*, void** to) {
    capturing = false;
    return *to = new Acts(std::move(captured)), captured.clear(), 0;
}
int cuGraphInstantiateWithFlags(void** to, void* graph, uint64_t) {
    return *to = new Acts(*static_cast<Acts*>(graph)), 0;
}
int cuGraphLaunch(void* graph, void*) {
    for (const auto& act : *static_cast<Acts*>(graph)) put(act);
    return 0;
}
int cuGraphDestroy(void* graph) { return delete static_cast<Acts*>(graph), 0; }
int cuGraphExecDestroy(void* graph) { return delete static_cast<Acts*>(graph), 0; }
int cuModuleLoadData(void** to, const void* text) {
    const char* words = static_cast<const char*>(text);
    must(std::strstr(words, ".visible .entry pw_sample(") || std::strstr(words, ".visible .entry pw_enter("), "another kernel");
    return *to = &memory, 0;
}
int cuModuleGetFunction(void** to, void* module, const char* name) {
    must(module == &memory, "another module");
    for (const pw_kernel& kernel : pw_kernels)
        if (!std::strcmp(name, kernel.name)) return *to = const_cast<pw_kernel*>(&kernel), 0;
    must(!std::strcmp(name, "pw_sample"), "another function");
    return *to = &must_be_ours, 0;
}
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** given, void** extra) {
    must(stream == &asked && !shared && !extra, "another launch");
    if (function != &must_be_ours) {
        must(by == 1 && bz == 1, "threads in rows");
        return lift(static_cast<pw_kernel*>(function), {gx, gy, gz}, bx, given);
    }
    must(gz == 1 && bz == 1 && bx * by <= 1024, "blocks of this shape cannot be had");
    const auto* job = *static_cast<const unsigned char**>(given[0]);
    auto* tensor = *static_cast<float**>(given[1]);
    put([=] {
        for (unsigned y = 0; y < gy * by; y++)
            for (unsigned x = 0; x < gx * bx; x++) pw_pixel(job, tensor, x, y);
    });
    return 0;
}
struct launch_config {
    unsigned grid[3], block[3], shared;
    void* stream;
    const struct {
        unsigned which, padding;
        int allowed;
        unsigned rest[15];
    } * attributes;
    unsigned attribute_count;
};
int cuLaunchKernelEx(const launch_config* c, void* function, void** given, void** extra) {
    must(c->attribute_count == 1 && c->attributes->which == 6 && c->attributes->allowed == 1, "another attribute");
    must(sizeof *c->attributes == 72, "an attribute of another size");
    must(c->stream == &asked && !c->shared && !extra && c->block[1] * c->block[2] == 1, "another launch");
    return lift(static_cast<pw_kernel*>(function), {c->grid[0], c->grid[1], c->grid[2]}, c->block[0], given);
}
int cuGetErrorName(int error, const char** to) {
    return *to = error == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_UNKNOWN", 0;
}
}
