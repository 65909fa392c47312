#!/usr/bin/env python3
"""A lifter's streaming step against its whole-window graph in ONNX Runtime, one thread, in the same run.

    cargo build --release --example streaming_step
    python3 benches/streaming_onnxruntime.py [--models DIR] [NAME...]        # needs onnxruntime and numpy

Our side is `examples/streaming_step.rs`: two slots encoded and the window lifted from what is kept ("network"), and the same with
everything around it ("step"). Rounds of both sides alternate, so that a busy machine disturbs both; the least of each counts.
Prints the ratio network / ONNX Runtime; docs/performance.md says what it should be.
"""

import argparse
import json
import os
import pathlib
import subprocess
import time

os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np
import onnxruntime as ort

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def ours(models, names):
    command = [str(TARGET / "release/examples/streaming_step"), "--models", str(models), *names]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {r["model"]: r for r in map(json.loads, out.splitlines())}


def session(path):
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def theirs(net, rounds=120):
    rng = np.random.default_rng(1)
    shape = lambda dims: [d if isinstance(d, int) else 1 for d in dims]  # noqa: E731
    feed = {i.name: rng.uniform(-1, 1, shape(i.shape)).astype(np.float32) for i in net.get_inputs()}
    for _ in range(10):
        net.run(None, feed)
    took = []
    for _ in range(rounds):
        begin = time.perf_counter()
        net.run(None, feed)
        took.append(1e3 * (time.perf_counter() - begin))
    return min(took), float(np.median(took))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--models", type=pathlib.Path, default=ROOT / "models")
    a.add_argument("--rounds", type=int, default=4)
    a.add_argument("names", nargs="*")
    a = a.parse_args()
    print(f"ONNX Runtime {ort.__version__}, one thread; {a.rounds} rounds, the least of each, ms")
    best = {}
    for _ in range(a.rounds):
        for name, r in ours(a.models, a.names).items():
            b = best.setdefault(name, {"net": session(a.models / f"{name}.onnx"), "by": r["by"]})
            for key in ("network", "step", "whole_tract"):
                b[key] = min(b.get(key, 1e9), r[key]["min_ms"])
        for b in best.values():
            b["ort"] = min(b.get("ort", 1e9), theirs(b["net"])[0])
    for name, b in best.items():
        print(
            f"{name}: streaming {b['network']:.3f}, with everything around it {b['step']:.3f} ({b['by']}); whole window: ONNX Runtime "
            f"{b['ort']:.3f}, tract {b['whole_tract']:.3f}; ratio to ONNX Runtime {b['network'] / b['ort']:.2f}, to tract "
            f"{b['network'] / b['whole_tract']:.2f}"
        )


if __name__ == "__main__":
    main()
