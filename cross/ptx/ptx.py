#!/usr/bin/env python3
"""Makes the PTX of our own kernels of the .cu files beside it, with NVIDIA's run-time compiler.

    ptx.py                  writes it
    ptx.py --check          says whether it is what the sources give
    ptx.py --assemble       has NVIDIA's assembler make machine code of it, for the GPUs that each is for

Libraries come from PyPI (into a folder of the user's cache, or --cache FOLDER) and need no GPU.
"""

import argparse
import ctypes
import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROOM = ROOT / "src/engine/tensorrt"

# (source, what is made of it, the oldest GPUs that it is for, PTX's version, options): the driver makes
# machine code of it for whatever newer GPU is there.
#
# Pictures are sampled from Pascal on, as TensorRT 8.5, and must round as the processor does: no sum and
# product in one step. Halves are multiplied 16 x 8 x 16 at a time from Ampere on; from Hopper on kernels
# begin before the one ahead of them has ended.
#
# The compiler writes `.version 7.8`, which JetPack 5's driver (CUDA 11.4: up to 7.4) refuses for its number
# alone. The number states which instructions may come: ld.global.nc came with 3.1, mma.m16n8k16 with 7.0,
# griddepcontrol with 7.8, which every driver of those GPUs has. --assemble holds that against NVIDIA's
# assembler, which refuses what is newer than the number says.
KERNELS = [
    (ROOM / "sampling/sample.cu", "sample.ptx", 60, "7.0", ["--fmad=false"]),
    (ROOM / "fused/fused.cu", "fused.ptx", 80, "7.0", []),
    (ROOM / "fused/fused.cu", "fused_early.ptx", 90, "7.8", ["-DPW_EARLY"]),
]
# The compiler of CUDA 11.8: the last that knows compute_60, and the nearest to JetPack 5's CUDA 11.4.
COMPILER = "nvidia-cuda-nvrtc-cu11==11.8.89"
# (package, GPUs): Xavier, Orin, Hopper by CUDA 11's assembler, Thor and newer Hopper by CUDA 13's.
ASSEMBLERS = [
    ("nvidia-cuda-nvcc-cu11==11.8.89", [60, 72, 87, 90]),
    ("nvidia-cuda-nvcc==13.5.37", [75, 87, 90, 110, 120]),
]


def package(name: str, cache: pathlib.Path) -> pathlib.Path:
    """A wheel from PyPI, unpacked."""
    folder = cache / name.replace("==", "-")
    if not (folder / "whole").exists():
        folder.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "-q", "download", name, "--no-deps", "--only-binary=:all:"]
        # Its files are for no version of Python; the machine's own could be too new for its tag.
        if subprocess.run([*pip, "-d", str(folder)]).returncode:
            print(f"SKIPPED: {name} cannot be downloaded here")
            sys.exit(77)
        for wheel in folder.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(folder)
            wheel.unlink()
        (folder / "whole").touch()
    return folder


def compile_source(path: pathlib.Path, oldest: int, version: str, options: list, cache: pathlib.Path) -> str:
    folder = package(COMPILER, cache)
    for builtins in folder.rglob("libnvrtc-builtins.so*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    (library,) = (f for f in folder.rglob("libnvrtc.so*"))
    nvrtc = ctypes.CDLL(str(library))
    source = path.read_bytes()
    program = ctypes.c_void_p()
    # No path in the text: it must be the same wherever it is made.
    status = nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, path.name.encode(), 0, None, None)
    if status:
        sys.exit(f"{COMPILER}: nvrtcCreateProgram: error {status}")
    options = [f"--gpu-architecture=compute_{oldest}", "--std=c++14", *options]
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    status = nvrtc.nvrtcCompileProgram(program, len(options), array)

    def text(what: str) -> str:
        size = ctypes.c_size_t()
        getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(nvrtc, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()

    if status:
        sys.exit(text("ProgramLog"))
    lines = [line.rstrip() for line in text("PTX").splitlines()]
    # What the compiler tells about itself.
    body = [line for line in lines if not line.startswith("//")]
    body = [f".version {version}" if line.startswith(".version ") else line for line in body]
    head = [
        f"// Made of {path.name} by cross/ptx/ptx.py ({COMPILER}); do not edit.",
        f"// SHA-256 of the source: {hashlib.sha256(source).hexdigest()}",
    ]
    return "\n".join([*head, *body]).rstrip("\n") + "\n"


def assemble(cache: pathlib.Path) -> None:
    for name, gpus in ASSEMBLERS:
        (ptxas,) = package(name, cache).rglob("ptxas")
        ptxas.chmod(0o755)
        for path, ptx, oldest, _, _ in KERNELS:
            for gpu in (f"sm_{gpu}" for gpu in gpus if gpu >= oldest):
                made = str(path.with_name(ptx))
                subprocess.run([str(ptxas), "--gpu-name", gpu, made, "-o", os.devnull], check=True)
                print(f"{ptx}: {name}: {gpu}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--assemble", action="store_true")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path(home, "posewire", "ptx"))
    asked = parser.parse_args()
    for path, ptx, *how in KERNELS if asked.check or not asked.assemble else []:
        made, ptx = compile_source(path, *how, asked.cache), path.with_name(ptx)
        if not asked.check:
            ptx.write_text(made)
            print(f"{ptx.relative_to(ROOT)}: {len(made)} bytes")
        elif ptx.read_text() != made:
            sys.exit(f"{ptx.name} is not what {path.name} gives: cross/ptx/ptx.py, and commit")
        else:
            print(f"{ptx.name} is what {path.name} gives")
    if asked.assemble:
        assemble(asked.cache)


if __name__ == "__main__":
    main()
