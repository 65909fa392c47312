// What shim.cpp needs of the C++ standard library: the deleting destructors of the interfaces that it
// implements refer to these. Once for all families; hidden, for this program alone.
#include <stddef.h>
#include <stdlib.h>

void operator delete(void* p) noexcept { free(p); }
void operator delete(void* p, size_t) noexcept { free(p); }
extern "C" void __cxa_pure_virtual() { abort(); }
