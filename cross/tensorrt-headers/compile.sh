#!/bin/bash
# compile.sh FOLDER: the TensorRT shim against every set of headers below FOLDER (a folder with
# NvInferVersion.h and NvOnnxParser.h each). Prints a line for each; fails if one does not compile, or
# if its object needs anything of TensorRT, CUDA or the C++ library when it is linked.
set -euo pipefail
shim=$(dirname "$(readlink -f "$0")")/../../src/engine/tensorrt/shim
object=$(mktemp)
trap 'rm -f "$object"' EXIT
[ $# = 1 ] && [ -d "$1" ] || { echo "usage: compile.sh FOLDER" >&2; exit 2; }

# number FILE NAME...: the first of these macros.
number() {
    local file=$1 name value
    shift
    for name in "$@"; do
        value=$(sed -nE "s/^#define $name ([0-9]+).*/\1/p" "$file" | head -n 1)
        [ -z "$value" ] || { echo "$value"; return; }
    done
    echo 0
}

found=0 bad=0
while IFS= read -r version; do
    folder=$(dirname "$version")
    [ -e "$folder/NvOnnxParser.h" ] || continue
    major=$(number "$version" NV_TENSORRT_MAJOR TRT_MAJOR_RTX TRT_MAJOR_ENTERPRISE)
    minor=$(number "$version" NV_TENSORRT_MINOR TRT_MINOR_RTX TRT_MINOR_ENTERPRISE)
    kind=TensorRT family=$major
    if grep -q TRT_MAJOR_RTX "$version"; then
        kind="TensorRT for RTX" family=1
        [ "$minor" -ge 5 ] || { echo "$kind $major.$minor: not served"; continue; }
    elif [ "$major" -lt 8 ] || { [ "$major" = 8 ] && [ "$minor" -lt 5 ]; }; then
        echo "$kind $major.$minor: not served"
        continue
    fi
    found=$((found + 1))
    if "${CXX:-c++}" -std=c++17 -O2 -fPIC -Wall -Wextra -Werror -Wno-deprecated-declarations \
        -Wno-unused-parameter -fno-exceptions -fno-rtti -fvisibility=hidden -DPW_FAMILY="$family" \
        -DPW_API=pw_api_test -Dnvinfer1=nvinfer1_test -Dnvonnxparser=nvonnxparser_test \
        -I"$shim" -isystem "$folder" -c "$shim/shim.cpp" -o "$object"; then
        # Ours are in support.cpp.
        needs=$(nm -u -C "$object" | sed 's/^ *U //' \
            | grep -vE '^(abort|free|malloc|__cxa_pure_virtual|operator delete\(.*\)|_GLOBAL_OFFSET_TABLE_|memset|memcpy)$' || true)
        [ -z "$needs" ] && echo "$kind $major.$minor: compiles" && continue
        echo "$kind $major.$minor: needs $needs"
    else
        echo "$kind $major.$minor: does not compile"
    fi
    bad=$((bad + 1))
done < <(find "$1" -name NvInferVersion.h | sort)
echo "$found sets of headers, $bad bad"
[ "$found" -gt 0 ] && [ "$bad" = 0 ]
