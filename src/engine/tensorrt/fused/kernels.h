// fused.cu for the processor: its kernels by their names, to be launched there.
#pragma once
#include "fused.cu"

struct pw_kernel {
    const char* name;
    // With a kernel's arguments, and the two pointers below.
    void (*call)(void*);
};

static char* pw_memory;
static float* pw_outside;

template <class Args, void (*kernel)(char*, float*, Args)> static void pw_call(void* words) {
    Args args;
    memcpy(&args, words, sizeof args);
    kernel(pw_memory, pw_outside, args);
}

// In the order of plan.rs.
static const pw_kernel pw_kernels[] = {
    {"pw_enter", pw_call<pw_enter_args, pw_enter>},
    {"pw_product_2", pw_call<pw_product_args, pw_product_2>},
    {"pw_product_2_split", pw_call<pw_product_args, pw_product_2_split>},
    {"pw_product_6", pw_call<pw_product_args, pw_product_6>},
    {"pw_product_6_split", pw_call<pw_product_args, pw_product_6_split>},
    {"pw_attention_16", pw_call<pw_attention_args, pw_attention_16>},
    {"pw_attention_16_split", pw_call<pw_attention_args, pw_attention_16_split>},
    {"pw_attention_32", pw_call<pw_attention_args, pw_attention_32>},
    {"pw_attention_32_split", pw_call<pw_attention_args, pw_attention_32_split>},
    {"pw_leave", pw_call<pw_leave_args, pw_leave>}};
