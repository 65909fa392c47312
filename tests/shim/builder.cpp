// The shim's builder half under AddressSanitizer and UndefinedBehaviorSanitizer: whole networks, broken
// ones, cancelled builds, plans that no GPU takes.
//
//   builder CORE PARSER NETWORK.onnx...      paths of TensorRT's libraries
//
// What must hold: each answer is the right one, bytes that are handed over are whole, nothing is touched
// that is not ours. Built and run by run.sh.
#include "shim.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" pw_api const PW_API;

namespace {

int failures = 0;

void expect(bool holds, std::string const& what)
{
    if (!holds)
    {
        std::fprintf(stderr, "FAILED: %s\n", what.c_str());
        ++failures;
    }
}

// What the callbacks heard. On the heap, and freed after each build: a late use would be seen.
struct Heard
{
    std::vector<unsigned char> plan;
    std::string log;
    int steps{0};
    int cancel_at{-1};
};

// Loggers are used as long as the program runs: theirs is never freed.
Heard quiet;

void onLog(void* context, int32_t severity, char const* text)
{
    if (severity <= 1)
    {
        static_cast<Heard*>(context)->log += std::string(text) + "\n";
    }
}

int32_t onProgress(void* context, char const* phase, int32_t step, int32_t steps)
{
    auto* heard = static_cast<Heard*>(context);
    // Read whole: it must be a text that ends.
    expect(std::strlen(phase) < 4096 && step >= 0 && steps >= 0, "progress makes sense");
    ++heard->steps;
    // Whoever cancels keeps to it: not every phase asks.
    return heard->cancel_at < 0 || heard->steps < heard->cancel_at;
}

void onPlan(void* context, void const* bytes, size_t length)
{
    auto const* from = static_cast<unsigned char const*>(bytes);
    static_cast<Heard*>(context)->plan.assign(from, from + length);
}

void onTiming(void*, void const*, size_t) {}

void* factory(void* library, char const* name)
{
    void* found = dlsym(library, name);
    if (!found)
    {
        std::fprintf(stderr, "%s: %s\n", name, dlerror());
        std::exit(2);
    }
    return found;
}

struct Answer
{
    int32_t status;
    std::vector<unsigned char> plan;
    int steps;
    std::string log;
};

struct Libraries
{
    void* builder;
    void* parser;
    void* runtime;

    // `onnx` is copied into a block of just its size, so that a read beyond its end is seen.
    Answer build(std::vector<char> const& onnx, int32_t least, int32_t most, int cancel_at = -1) const
    {
        auto* heard = new Heard;
        heard->cancel_at = cancel_at;
        quiet.log.clear();
        char* exact = static_cast<char*>(std::malloc(onnx.size() ? onnx.size() : 1));
        std::copy(onnx.begin(), onnx.end(), exact);
        pw_build b{};
        b.create_builder = builder;
        b.create_parser = parser;
        b.onnx = exact;
        b.onnx_length = onnx.size();
        b.min_batch = least;
        b.opt_batch = least;
        b.max_batch = most;
        b.level = -1;
        b.workspace = 256U << 20U;
        b.log_context = &quiet;
        b.log = onLog;
        b.context = heard;
        b.progress = onProgress;
        b.plan = onPlan;
        b.new_timing = onTiming;
        int32_t const status = PW_API.build(&b);
        std::free(exact);
        Answer answer{status, heard->plan, heard->steps, quiet.log};
        delete heard;
        return answer;
    }

    pw_engine* load(void const* plan, size_t length) const
    {
        return PW_API.load(runtime, plan, length, &quiet, onLog);
    }
};

std::vector<char> read(char const* path)
{
    std::ifstream file(path, std::ios::binary);
    std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    if (bytes.empty())
    {
        std::fprintf(stderr, "%s cannot be read\n", path);
        std::exit(2);
    }
    return bytes;
}

// A plan is taken only by a machine with a GPU; refused or not, nothing may break.
void tryToLoad(Libraries const& libraries, std::vector<unsigned char> const& plan)
{
    if (pw_engine* engine = libraries.load(plan.data(), plan.size()))
    {
        int32_t const count = PW_API.tensors(engine);
        expect(count >= 2, "an input and an output");
        for (int32_t i = 0; i < count; ++i)
        {
            pw_tensor tensor{};
            expect(PW_API.tensor(engine, i, &tensor) && std::strlen(tensor.name) > 0, "a tensor has a name");
            int64_t const dims[PW_MAX_RANK + 1] = {};
            expect(!PW_API.set_shape(engine, tensor.name, PW_MAX_RANK + 1, dims), "too many dimensions are refused");
        }
        PW_API.unload(engine);
    }
}

void whole(Libraries const& libraries, char const* path, std::vector<char> const& onnx)
{
    std::string const name = path;
    Answer const one = libraries.build(onnx, 1, 1);
    expect(one.status == PW_OK && one.plan.size() > 1000, name + " is built:\n" + one.log);
    expect(one.steps > 0, name + ": progress is told");
    tryToLoad(libraries, one.plan);
    Answer const range = libraries.build(onnx, 1, 4);
    expect(range.status == PW_OK && range.plan.size() > 1000, name + " is built for 1 to 4:\n" + range.log);
    for (int cancel_at : {1, one.steps / 2})
    {
        Answer const cancelled = libraries.build(onnx, 1, 1, cancel_at);
        expect(cancelled.status == PW_BUILD && cancelled.plan.empty(), name + " is cancelled");
    }
    std::printf("%s: %zu bytes of plan, %d steps\n", path, one.plan.size(), one.steps);

    std::vector<unsigned char> plan = one.plan;
    for (size_t length : {size_t{0}, size_t{1}, plan.size() / 2, plan.size() - 1})
    {
        expect(!libraries.load(plan.data(), length), "a plan that was cut is refused");
    }
    plan[plan.size() / 2] ^= 0x55;
    tryToLoad(libraries, plan);
}

void broken(Libraries const& libraries, std::vector<char> const& onnx)
{
    for (size_t parts : {0, 1, 2, 5, 7})
    {
        std::vector<char> const cut(onnx.begin(), onnx.begin() + onnx.size() * parts / 8);
        Answer const answer = libraries.build(cut, 1, 1);
        expect(answer.status != PW_OK && answer.plan.empty(), "a network that was cut is refused");
    }
    // Anything may come of these but a crash: a weight may have changed, or a length.
    unsigned random = 7;
    int refused = 0;
    for (int n = 0; n < 24; ++n)
    {
        std::vector<char> changed = onnx;
        for (int k = 0; k < 4; ++k)
        {
            random = random * 1664525U + 1013904223U;
            // Names, types and lengths stand mostly at the beginning.
            changed[(random >> 8U) % (n % 2 ? 4096 : changed.size())] ^= static_cast<char>(random >> 24U | 1U);
        }
        refused += libraries.build(changed, 1, 1, 2).status == PW_PARSE;
    }
    expect(refused > 0, "some damaged network is refused when it is read");
    std::printf("damaged: %d of 24 refused when read\n", refused);
}

} // namespace

int main(int argc, char** argv)
{
    if (argc < 4)
    {
        std::fprintf(stderr, "usage: builder CORE PARSER NETWORK.onnx...\n");
        return 2;
    }
    void* core = dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
    void* onnx = core ? dlopen(argv[2], RTLD_NOW) : nullptr;
    if (!onnx)
    {
        std::fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    Libraries const libraries{factory(core, "createInferBuilder_INTERNAL"), factory(onnx, "createNvOnnxParser_INTERNAL"),
        factory(core, "createInferRuntime_INTERNAL")};
    expect(PW_API.shim_version == PW_SHIM_VERSION, "the version is this header's");
    for (int i = 3; i < argc; ++i)
    {
        std::vector<char> const bytes = read(argv[i]);
        whole(libraries, argv[i], bytes);
        if (i == 3)
        {
            broken(libraries, bytes);
        }
    }
    std::printf("%s\n", failures ? "FAILED" : "nothing of the shim was touched that should not be");
    return failures != 0;
}
