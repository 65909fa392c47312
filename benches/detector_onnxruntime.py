#!/usr/bin/env python3
"""The embedded detector against ONNX Runtime and against PP-TinyPose, one thread, all in the same run.

    cargo build --release --example run_model
    python3 benches/detector_onnxruntime.py [--rounds 8] [DIR:NAME...]      # needs onnxruntime and numpy

Rounds of all networks in both engines alternate, so that a busy machine disturbs all of them; the least and the median of all runs are
printed, ms of the thread's time on a processor (other jobs still cost caches and clock: an idle machine gives less). DIR:NAME is a model NAME of a directory of manifests and ONNX files; without any: posewire's own, and PP-TinyPose and
RTMDet-nano where $POSEWIRE_DATA/models has them. The last line is the cost of one tracked person: the keypoint network in every frame
and the finder in every 15th (`search_every`), medians.
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
OURS = ["posewire-finder", "posewire-keypoints", "posewire-keypoints-small"]
PUBLIC = ["tinypose_256_192", "rtmdet_nano_HW140701"]
SEARCH_EVERY = 15


def run_model(profile, *args):
    command = [str(TARGET / profile / "examples/run_model"), *map(str, args)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--rounds", type=int, default=8)
    a.add_argument("--runs", type=int, default=25)
    a.add_argument("--profile", default="release")
    a.add_argument("models", nargs="*")
    a = a.parse_args()
    models = [tuple(m.rsplit(":", 1)) for m in a.models]
    if not models:
        models = [(ROOT / "models", n) for n in OURS if (ROOT / "models" / f"{n}.onnx").exists()]
        public = pathlib.Path(os.environ.get("POSEWIRE_DATA", ROOT / ".." / "shared" / "data")) / "models"
        models += [(public, n) for n in PUBLIC if public.exists()]
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    rng, sessions, took = np.random.default_rng(1), {}, {}
    for folder, name in models:
        file = run_model(a.profile, folder, name, "--signature")["file"]
        path = pathlib.Path(folder) / pathlib.Path(file).name
        net = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        shapes = {t["name"]: t["shape"] for t in run_model(a.profile, folder, name, "--signature")["inputs"]}
        sessions[name] = net, {k: rng.uniform(-1, 1, s).astype(np.float32) for k, s in shapes.items()}
        took[name] = [], []
    for _ in range(a.rounds):
        for folder, name in models:
            took[name][0].extend(run_model(a.profile, folder, name, "--time", a.runs + 3)[3:])
            net, feed = sessions[name]
            for k in range(a.runs + 3):
                begin = time.thread_time()
                net.run(None, feed)
                if k >= 3:
                    took[name][1].append(1e3 * (time.thread_time() - begin))
    print(f"ONNX Runtime {ort.__version__}, one thread; {a.rounds} rounds of {a.runs} runs; load {os.getloadavg()[0]:.1f}; ms, least / median")
    print(f"{'':28}{'tract':>18}{'ONNX Runtime':>18}")
    for name, both in took.items():
        print(f"{name:28}" + "".join(f"{min(t):8.2f} /{np.median(t):8.2f}" for t in both))
    for name in OURS[1:]:
        if name in took and OURS[0] in took:
            cost = [[f(took[name][e]) + f(took[OURS[0]][e]) / SEARCH_EVERY for f in (min, np.median)] for e in (0, 1)]
            print(f"one tracked person, {name}: tract {cost[0][0]:.2f} / {cost[0][1]:.2f} ms, ONNX Runtime {cost[1][0]:.2f} / {cost[1][1]:.2f} ms")


if __name__ == "__main__":
    main()
