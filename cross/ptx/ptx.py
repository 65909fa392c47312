#!/usr/bin/env python3
"""Makes src/engine/tensorrt/sampling/sample.ptx of sample.cu beside it, with NVIDIA's run-time compiler.

    ptx.py                  writes it
    ptx.py --check          says whether it is what the source gives
    ptx.py --assemble       has NVIDIA's assembler make machine code of it, for GPUs from JetPack 5's on

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
SOURCE = ROOT / "src/engine/tensorrt/sampling/sample.cu"
PTX = SOURCE.with_suffix(".ptx")

# The compiler of CUDA 11.8: the last that knows compute_60, and the nearest to JetPack 5's CUDA 11.4.
COMPILER = "nvidia-cuda-nvrtc-cu11==11.8.89"
# From Pascal on, as TensorRT 8.5. The driver makes machine code of it for whatever newer GPU is there.
TARGET = "compute_60"
# It writes `.version 7.8`, which JetPack 5's driver (CUDA 11.4: up to 7.4) refuses for its number
# alone. The number states which instructions may come; the newest of ours, ld.global.nc, came with 3.1.
# --assemble holds that against NVIDIA's assembler, which refuses what is newer than the number says.
VERSION = "7.0"
# (package, GPUs): Xavier, Orin, Hopper by CUDA 11's assembler, Thor and newer Hopper by CUDA 13's.
ASSEMBLERS = [
    ("nvidia-cuda-nvcc-cu11==11.8.89", ["sm_60", "sm_72", "sm_87", "sm_90"]),
    ("nvidia-cuda-nvcc==13.5.37", ["sm_75", "sm_87", "sm_90", "sm_110", "sm_120"]),
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


def compile_source(cache: pathlib.Path) -> str:
    folder = package(COMPILER, cache)
    for builtins in folder.rglob("libnvrtc-builtins.so*"):
        ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
    (library,) = (f for f in folder.rglob("libnvrtc.so*"))
    nvrtc = ctypes.CDLL(str(library))
    source = SOURCE.read_bytes()
    program = ctypes.c_void_p()
    # No path in the text: it must be the same wherever it is made.
    status = nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"sample.cu", 0, None, None)
    if status:
        sys.exit(f"{COMPILER}: nvrtcCreateProgram: error {status}")
    options = [f"--gpu-architecture={TARGET}", "--std=c++14", "--fmad=false"]
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
    body = [f".version {VERSION}" if line.startswith(".version ") else line for line in body]
    head = [
        f"// Made of sample.cu by cross/ptx/ptx.py ({COMPILER}); do not edit.",
        f"// SHA-256 of the source: {hashlib.sha256(source).hexdigest()}",
    ]
    return "\n".join([*head, *body]).rstrip("\n") + "\n"


def assemble(cache: pathlib.Path) -> None:
    for name, gpus in ASSEMBLERS:
        (ptxas,) = package(name, cache).rglob("ptxas")
        ptxas.chmod(0o755)
        for gpu in gpus:
            subprocess.run([str(ptxas), "--gpu-name", gpu, str(PTX), "-o", os.devnull], check=True)
            print(f"{name}: {gpu}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--assemble", action="store_true")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path(home, "posewire", "ptx"))
    asked = parser.parse_args()
    if asked.check or not asked.assemble:
        made = compile_source(asked.cache)
        if not asked.check:
            PTX.write_text(made)
            print(f"{PTX.relative_to(ROOT)}: {len(made)} bytes")
        elif PTX.read_text() != made:
            sys.exit("sample.ptx is not what sample.cu gives: cross/ptx/ptx.py, and commit")
        else:
            print("sample.ptx is what sample.cu gives")
    if asked.assemble:
        assemble(asked.cache)


if __name__ == "__main__":
    main()
