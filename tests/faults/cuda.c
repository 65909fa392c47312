/* A double of CUDA's driver with one GPU that has no memory left: the call named FAILS answers
 * CUDA_ERROR_OUT_OF_MEMORY, as every one may on a GPU that other programs fill. What posewire may
 * not reach then ends the process. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OUT_OF_MEMORY = 2 };

int cuInit(unsigned flags) { return (int)flags; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int index) { *device = index; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    snprintf(name, (size_t)length, "a GPU's double");
    return 0;
}
int cuDeviceGetAttribute(int *value, int which, int device) {
    (void)which, (void)device;
    *value = 0;
    return 0;
}
int cuGetErrorName(int status, const char **name) {
    *name = status == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_UNKNOWN";
    return 0;
}

#define STRING(name) #name
#define NAME(name) STRING(name)
#define NOT_REACHED(name)                                             \
    int name(void) {                                                  \
        if (strcmp(#name, NAME(FAILS)) == 0) return OUT_OF_MEMORY;    \
        fprintf(stderr, "the double of CUDA was asked for " #name "\n"); \
        abort();                                                      \
    }
NOT_REACHED(cuDevicePrimaryCtxRetain)
NOT_REACHED(cuCtxSetCurrent)
NOT_REACHED(cuMemAlloc_v2)
NOT_REACHED(cuMemFree_v2)
NOT_REACHED(cuMemHostAlloc)
NOT_REACHED(cuMemFreeHost)
NOT_REACHED(cuMemHostGetDevicePointer_v2)
NOT_REACHED(cuMemcpyHtoDAsync_v2)
NOT_REACHED(cuMemcpyDtoHAsync_v2)
NOT_REACHED(cuStreamCreate)
NOT_REACHED(cuStreamDestroy_v2)
NOT_REACHED(cuStreamQuery)
NOT_REACHED(cuStreamBeginCapture_v2)
NOT_REACHED(cuStreamEndCapture)
NOT_REACHED(cuGraphInstantiateWithFlags)
NOT_REACHED(cuGraphLaunch)
NOT_REACHED(cuGraphDestroy)
NOT_REACHED(cuGraphExecDestroy)
NOT_REACHED(cuModuleLoadData)
NOT_REACHED(cuModuleGetFunction)
NOT_REACHED(cuLaunchKernel)
