// See shim.h. Compiled with -DPW_FAMILY=8|10|11|1 (1: TensorRT for RTX) and -DPW_API=the table's name,
// without exceptions, run-time types or the C++ standard library.
#include "shim.h"

#include <NvInfer.h>

#include <exception>
#include <new>
#include <stdlib.h>

// The parser's header of 10.1 and newer catches exceptions, in functions that nobody calls here; where
// there are none, the words must mean something else.
#define try if (true)
#define catch(declaration) for (declaration = *static_cast<std::exception*>(nullptr); false;)
#include <NvOnnxParser.h>
#undef catch
#undef try

namespace {

using namespace nvinfer1;

class Log final : public ILogger {
public:
    Log(void* context, pw_log write) noexcept : mContext(context), mWrite(write) {}

    void log(Severity severity, char const* text) noexcept override
    {
        mWrite(mContext, static_cast<int32_t>(severity), text);
    }

private:
    void* mContext;
    pw_log mWrite;
};

// Never freed: TensorRT keeps the first logger that it is given for all of the process, and speaks to it
// when what it was given for is gone.
Log* newLog(void* context, pw_log write) noexcept
{
    void* memory = malloc(sizeof(Log));
    return memory ? new (memory) Log(context, write) : nullptr;
}

// Of TensorRT's objects, which are deleted since 8.0.
template <typename T>
class Owned {
public:
    explicit Owned(T* object) noexcept : mObject(object) {}
    Owned(Owned const&) = delete;
    Owned& operator=(Owned const&) = delete;
    ~Owned() { delete mObject; }
    T* operator->() const noexcept { return mObject; }
    T& operator*() const noexcept { return *mObject; }
    T* get() const noexcept { return mObject; }
    explicit operator bool() const noexcept { return mObject != nullptr; }

private:
    T* mObject;
};

#if PW_FAMILY != 8
class Progress final : public IProgressMonitor {
public:
    explicit Progress(pw_build const& build) noexcept : mBuild(build) {}

    void phaseStart(char const* phase, char const*, int32_t steps) noexcept override
    {
        // Phases lie within each other: only the outermost one's steps are counted.
        if (mDepth++ == 0)
        {
            mSteps = steps;
            tell(phase, 0);
        }
    }

    bool stepComplete(char const* phase, int32_t step) noexcept override
    {
        // Asked at every depth: a cancelled build should end soon.
        return mBuild.progress(mBuild.context, mDepth == 1 ? phase : "", step + 1, mSteps) != 0;
    }

    void phaseFinish(char const* phase) noexcept override
    {
        if (--mDepth == 0)
        {
            mSteps = 0;
            tell(phase, 0);
        }
    }

private:
    void tell(char const* phase, int32_t step) noexcept
    {
        mBuild.progress(mBuild.context, phase, step, mSteps);
    }

    pw_build const& mBuild;
    int32_t mDepth{0};
    int32_t mSteps{0};
};
#endif

uint32_t networkFlags() noexcept
{
#if PW_FAMILY == 8
    return 1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
#elif PW_FAMILY == 10
    return 1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#else
    // Strongly typed, always.
    return 0;
#endif
}

// The batch may be anything from min_batch to max_batch, or is fixed; nothing else may be unknown.
int32_t addProfile(pw_build const& b, IBuilder& builder, INetworkDefinition& network, IBuilderConfig& config) noexcept
{
    IOptimizationProfile* profile = nullptr;
    for (int32_t i = 0; i < network.getNbInputs(); ++i)
    {
        ITensor* input = network.getInput(i);
        Dims dims = input->getDimensions();
        for (int32_t d = 1; d < dims.nbDims; ++d)
        {
            if (dims.d[d] < 0)
            {
                return PW_SHAPE;
            }
        }
        if (dims.nbDims == 0 || dims.d[0] >= 0)
        {
            continue;
        }
        if (b.min_batch == b.max_batch)
        {
            dims.d[0] = b.min_batch;
            input->setDimensions(dims);
            continue;
        }
        profile = profile ? profile : builder.createOptimizationProfile();
        auto set = [&](OptProfileSelector which, int32_t batch) {
            dims.d[0] = batch;
            return profile->setDimensions(input->getName(), which, dims);
        };
        if (!profile || !set(OptProfileSelector::kMIN, b.min_batch) || !set(OptProfileSelector::kOPT, b.opt_batch)
            || !set(OptProfileSelector::kMAX, b.max_batch))
        {
            return PW_SHAPE;
        }
    }
    return !profile || config.addOptimizationProfile(profile) >= 0 ? PW_OK : PW_SHAPE;
}

void setFlags(pw_build const& b, IBuilderConfig& config) noexcept
{
    if (!b.tf32)
    {
        // On by default, and worth 1e-3 of relative error.
        config.clearFlag(BuilderFlag::kTF32);
    }
#if PW_FAMILY == 8
    if (b.f16)
    {
        config.setFlag(BuilderFlag::kFP16);
    }
    if (b.i8)
    {
        config.setFlag(BuilderFlag::kINT8);
    }
#else
    if (b.level >= 0)
    {
        config.setBuilderOptimizationLevel(b.level);
    }
#endif
    if (b.workspace > 0)
    {
        config.setMemoryPoolLimit(MemoryPoolType::kWORKSPACE, b.workspace);
    }
}

int32_t build(pw_build const* given) noexcept
{
    pw_build const& b = *given;
    ILogger* logger = newLog(b.log_context, b.log);
    if (!logger)
    {
        return PW_NO_OBJECT;
    }
    auto* newBuilder = reinterpret_cast<void* (*) (void*, int32_t) noexcept>(b.create_builder);
    auto* newParser = reinterpret_cast<void* (*) (void*, void*, int32_t) noexcept>(b.create_parser);
    Owned<IBuilder> builder(static_cast<IBuilder*>(newBuilder(logger, NV_TENSORRT_VERSION)));
    if (!builder)
    {
        return PW_NO_OBJECT;
    }
    Owned<INetworkDefinition> network(builder->createNetworkV2(networkFlags()));
    Owned<IBuilderConfig> config(builder->createBuilderConfig());
    if (!network || !config)
    {
        return PW_NO_OBJECT;
    }
    using nvonnxparser::IParser;
    Owned<IParser> parser(static_cast<IParser*>(newParser(network.get(), logger, NV_ONNX_PARSER_VERSION)));
    if (!parser)
    {
        return PW_NO_OBJECT;
    }
    if (!parser->parse(b.onnx, b.onnx_length))
    {
        for (int32_t i = 0; i < parser->getNbErrors(); ++i)
        {
            b.log(b.log_context, 1, parser->getError(i)->desc());
        }
        return PW_PARSE;
    }
    int32_t const status = addProfile(b, *builder, *network, *config);
    if (status != PW_OK)
    {
        return status;
    }
    setFlags(b, *config);
#if PW_FAMILY == 1
    // Kernels are chosen when the plan is loaded: there is nothing to time.
#else
    Owned<ITimingCache> timing(config->createTimingCache(b.timing, b.timing_length));
    // What was measured elsewhere would choose kernels that are slow here: not taken, though it could be.
    bool const timed = timing && config->setTimingCache(*timing, false);
    if (!timed && b.timing_length > 0)
    {
        return PW_TIMES;
    }
#endif
#if PW_FAMILY != 8
    Progress progress(b);
    config->setProgressMonitor(&progress);
#endif
    Owned<IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
    if (!plan)
    {
        return PW_BUILD;
    }
    b.plan(b.context, plan->data(), plan->size());
#if PW_FAMILY != 1
    if (timed)
    {
        Owned<IHostMemory> times(timing->serialize());
        if (times)
        {
            b.new_timing(b.context, times->data(), times->size());
        }
    }
#endif
    return PW_OK;
}

} // namespace

struct pw_engine {
    IRuntime* runtime{nullptr};
    ICudaEngine* engine{nullptr};
    IExecutionContext* context{nullptr};
};

namespace {

void unload(pw_engine* e) noexcept
{
    // In this order: each lives in the one after it.
    delete e->context;
    delete e->engine;
    delete e->runtime;
    free(e);
}

IExecutionContext* newContext(ICudaEngine& engine) noexcept
{
#if PW_FAMILY == 1
    // Kernels for the very shapes are made before the first call: by default they come later, in the
    // background, and a CUDA graph would keep the slow ones that serve until then.
    Owned<IRuntimeConfig> config(engine.createRuntimeConfig());
    if (config)
    {
        config->setDynamicShapesKernelSpecializationStrategy(DynamicShapesKernelSpecializationStrategy::kEAGER);
        return engine.createExecutionContext(config.get());
    }
#endif
    return engine.createExecutionContext();
}

pw_engine* load(void* create, void const* plan, size_t length, void* context, pw_log write) noexcept
{
    ILogger* logger = newLog(context, write);
    void* memory = malloc(sizeof(pw_engine));
    if (!logger || !memory)
    {
        free(memory);
        return nullptr;
    }
    auto* e = new (memory) pw_engine;
    auto* newRuntime = reinterpret_cast<void* (*) (void*, int32_t) noexcept>(create);
    e->runtime = static_cast<IRuntime*>(newRuntime(logger, NV_TENSORRT_VERSION));
    e->engine = e->runtime ? e->runtime->deserializeCudaEngine(plan, length) : nullptr;
    e->context = e->engine ? newContext(*e->engine) : nullptr;
    if (!e->context)
    {
        unload(e);
        return nullptr;
    }
    return e;
}

int32_t tensors(pw_engine const* e) noexcept
{
    return e->engine->getNbIOTensors();
}

int32_t tensor(pw_engine const* e, int32_t index, pw_tensor* out) noexcept
{
    char const* name = e->engine->getIOTensorName(index);
    if (!name)
    {
        return 0;
    }
    Dims const dims = e->engine->getTensorShape(name);
    if (dims.nbDims < 0 || dims.nbDims > PW_MAX_RANK)
    {
        return 0;
    }
    out->name = name;
    out->is_input = e->engine->getTensorIOMode(name) == TensorIOMode::kINPUT;
    out->type = static_cast<int32_t>(e->engine->getTensorDataType(name));
    out->rank = dims.nbDims;
    for (int32_t d = 0; d < dims.nbDims; ++d)
    {
        out->dims[d] = dims.d[d];
    }
    return 1;
}

int32_t setShape(pw_engine* e, char const* name, int32_t rank, int64_t const* from) noexcept
{
    Dims dims{};
    if (rank < 0 || rank > PW_MAX_RANK)
    {
        return 0;
    }
    dims.nbDims = rank;
    for (int32_t d = 0; d < rank; ++d)
    {
        // 32 bits in TensorRT 8, 64 later.
        dims.d[d] = static_cast<decltype(dims.d[0] + 0)>(from[d]);
    }
    return e->context->setInputShape(name, dims);
}

int32_t bind(pw_engine* e, char const* name, void* address) noexcept
{
    return e->context->setTensorAddress(name, address);
}

int32_t enqueue(pw_engine* e, void* stream) noexcept
{
    return e->context->enqueueV3(static_cast<cudaStream_t>(stream));
}

} // namespace

extern "C" __attribute__((visibility("default"))) pw_api const PW_API = {
    PW_SHIM_VERSION,
    NV_TENSORRT_VERSION,
    build,
    load,
    unload,
    tensors,
    tensor,
    setShape,
    bind,
    enqueue,
};
