// What TensorRT's headers want of CUDA's: two names. The program needs no CUDA to be built.
#pragma once

typedef struct CUstream_st* cudaStream_t;
typedef struct CUevent_st* cudaEvent_t;
