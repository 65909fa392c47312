#!/bin/bash
# run.sh HEADERS LIBRARIES: the shim's builder half under AddressSanitizer and UndefinedBehaviorSanitizer,
# with TensorRT for RTX's headers and libraries (folders); needs no GPU.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../..")
[ $# = 2 ] && [ -e "$1/NvInferVersion.h" ] && [ -d "$2" ] || { echo "usage: run.sh HEADERS LIBRARIES" >&2; exit 2; }
shim=$root/src/engine/tensorrt/shim
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
# As build.rs does it, and what watches; `vptr` wants the run-time types that the shim is built without.
flags=(-std=c++17 -g -O1 -fPIC -Wall -Wextra -Wno-unused-parameter -Wno-deprecated-declarations -fno-omit-frame-pointer
    "-fsanitize=address,undefined" -fno-sanitize=vptr -fno-sanitize-recover=undefined -DPW_API=pw_api_rtx
    -I"$shim" -isystem "$1")
"${CXX:-c++}" "${flags[@]}" -fno-exceptions -fno-rtti -DPW_FAMILY=1 -c "$shim/shim.cpp" -o "$made/shim.o"
"${CXX:-c++}" "${flags[@]}" "$here/builder.cpp" "$made/shim.o" -ldl -o "$made/builder"
# What TensorRT keeps for as long as a program runs, and the loggers that we give it for ever, are no leaks.
printf 'leak:libtensorrt\nleak:newLog\n' > "$made/known"
cd "$root"
ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 LSAN_OPTIONS=suppressions=$made/known:print_suppressions=0 \
    "$made/builder" "$2/libtensorrt_rtx.so.1" "$2/libtensorrt_onnxparser_rtx.so.1" \
    models/pstmo_s_27_live.frame.onnx models/pstmo_s_27_live.window.onnx models/posewire-keypoints-small.onnx
