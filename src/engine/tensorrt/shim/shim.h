// TensorRT's C++ interface behind a C one, a table of functions for each family of versions.
//
// The families' classes are laid out differently, so that shim.cpp is compiled once for each, against
// that family's headers and in namespaces of its own. Nothing here links to TensorRT or to CUDA: the
// factories come from libraries that Rust has opened. The Rust twin of this file is ../sys/shim.rs.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Rises with every change of this file or of what shim.cpp builds: plans of another shim are built anew.
#define PW_SHIM_VERSION 4
#define PW_MAX_RANK 8

// severity: 0 internal error, 1 error, 2 warning, 3 info, 4 verbose.
typedef void (*pw_log)(void* context, int32_t severity, const char* text);
// Returns 0 to cancel. `steps` is 0 where a phase has ended.
typedef int32_t (*pw_progress)(void* context, const char* phase, int32_t step, int32_t steps);
typedef void (*pw_take)(void* context, const void* bytes, size_t length);

enum pw_status {
    PW_OK = 0,
    // A factory gave nothing.
    PW_NO_OBJECT = 1,
    // The file is no ONNX network that this version reads; the reasons were logged.
    PW_PARSE = 2,
    // An input has an unknown size beside its batch.
    PW_SHAPE = 3,
    // The builder gave up; the reasons were logged.
    PW_BUILD = 4,
    // The times that were given are none, or of another library or GPU; the reasons were logged.
    PW_TIMES = 5,
};

struct pw_build {
    // createInferBuilder_INTERNAL, createNvOnnxParser_INTERNAL
    void* create_builder;
    void* create_parser;
    const void* onnx;
    size_t onnx_length;
    // Persons in one call; the same three times: the engine serves that number only, and is faster.
    int32_t min_batch, opt_batch, max_batch;
    // Allowed besides f32; TensorRT 8 only, newer ones do what the file's types say.
    int32_t f16, i8;
    int32_t tf32;
    // Of the builder's effort, 0 to 5; negative: its default.
    int32_t level;
    // Bytes; 0: its default.
    size_t workspace;
    // Measured times of an earlier build, or none.
    const void* timing;
    size_t timing_length;
    // For `log`; used as long as the program runs.
    void* log_context;
    pw_log log;
    // For the functions below.
    void* context;
    pw_progress progress;
    pw_take plan;
    pw_take new_timing;
};

struct pw_tensor {
    const char* name;
    int32_t is_input;
    // nvinfer1::DataType: 0 f32, 1 f16, ...
    int32_t type;
    int32_t rank;
    // -1: the batch.
    int64_t dims[PW_MAX_RANK];
};

struct pw_engine;

struct pw_api {
    int32_t shim_version;
    // NV_TENSORRT_VERSION of the headers.
    int32_t header_version;
    int32_t (*build)(const struct pw_build*);
    // `create_runtime` is createInferRuntime_INTERNAL; `context` and `log` are used as long as the program
    // runs. Null, with reasons logged, if the plan is refused.
    struct pw_engine* (*load)(void* create_runtime, const void* plan, size_t length, void* context, pw_log log);
    void (*unload)(struct pw_engine*);
    int32_t (*tensors)(const struct pw_engine*);
    int32_t (*tensor)(const struct pw_engine*, int32_t index, struct pw_tensor* out);
    // All three return 0 if they are refused.
    int32_t (*set_shape)(struct pw_engine*, const char* name, int32_t rank, const int64_t* dims);
    int32_t (*bind)(struct pw_engine*, const char* name, void* address);
    int32_t (*enqueue)(struct pw_engine*, void* stream);
};

#ifdef __cplusplus
}
#endif
