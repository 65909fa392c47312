#!/usr/bin/env python3
"""Compares the CPU backend with ONNX Runtime on the same files and the same tensors.

  cargo build --release --example run_model
  tests/parity_onnxruntime.py MODELS_DIR [NAME...]          (default: every model of the directory that loads)

Optional: prints "skipped" and succeeds where onnxruntime is absent. Fails if any value differs by more than 1e-3, relative to the
larger of 1 and the tensor's largest magnitude.
"""
import json
import os
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import onnx
    import onnxruntime
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(0)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
RUN = os.path.join(TARGET, "release", "examples", "run_model")
KNOWN = ["rtmdet_nano_HW140701", "rtmdetnp_morgan322", "tinypose_256_192"]
TOLERANCE = 1e-3


def onnxruntime_outputs(path, inputs, wanted):
    model = onnx.load(path)
    there = {o.name for o in model.graph.output}
    for name in wanted:
        if name not in there:  # a tensor inside of the graph, which the manifest cuts at
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(wanted, inputs)


def compare(directory, name):
    done = subprocess.run([RUN, directory, name, "--signature"], capture_output=True, text=True)
    if done.returncode:
        return f"{name}: {done.stderr.strip()}"
    signature = json.loads(done.stdout)
    rng = np.random.default_rng(1)
    # Smooth noise in the range of normalised pixels: white noise excites no network as pictures do.
    inputs = {}
    for t in signature["inputs"]:
        x = rng.normal(size=t["shape"]).astype(np.float32)
        if len(t["shape"]) == 4:
            x = sum(np.roll(x, k, -1) for k in range(6)) / 2.5
        inputs[t["name"]] = x.astype(np.float32)
    with tempfile.TemporaryDirectory() as out:
        files = []
        for i, t in enumerate(signature["inputs"]):
            files.append(os.path.join(out, f"in{i}.f32"))
            inputs[t["name"]].astype("<f4").tofile(files[-1])
        done = subprocess.run([RUN, directory, name, out, *files], capture_output=True, text=True)
        if done.returncode:
            return f"{name}: {done.stderr.strip()}"
        expected = onnxruntime_outputs(signature["file"], inputs, [t["name"] for t in signature["outputs"]])
        for i, (t, want) in enumerate(zip(signature["outputs"], expected)):
            got = np.fromfile(os.path.join(out, f"{i}.f32"), "<f4").reshape(t["shape"])
            if got.shape != want.shape:
                return f"{name}: {t['name']}: shape {got.shape}, ONNX Runtime gives {want.shape}"
            scale = max(1.0, float(np.abs(want).max()))
            difference = float(np.abs(got - want).max()) / scale
            print(f"{name:24} {t['name']:18} {str(t['shape']):20} largest |value| {np.abs(want).max():9.4f}  difference {difference:.2e}")
            if not difference < TOLERANCE:
                return f"{name}: {t['name']} differs by {difference}"
    return None


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    directory = sys.argv[1]
    names = sys.argv[2:]
    if not names:
        import tomllib
        for f in sorted(os.listdir(directory)):
            if f.endswith(".toml"):
                names.append(tomllib.load(open(os.path.join(directory, f), "rb"))["name"])
        present = {f[:-5] for f in os.listdir(directory) if f.endswith(".onnx")}
        names += [n for n in KNOWN if n in present and n not in names]
    failures = [f for f in (compare(directory, n) for n in names) if f]
    for f in failures:
        print(f, file=sys.stderr)
    sys.exit(1 if failures else 0)


main()
