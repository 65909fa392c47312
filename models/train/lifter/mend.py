"""Mends shipped files whose checkpoint is gone.

    python mend.py --name pstmo_s_81_live --heads 0=16 7=16 2=4 4=2
    python mend.py --name pstmo_s_27_live

Softmax over logits of tens of thousands is a choice of one slot, and their rounding (0.004 at 80,000) decides between slots that are nearly
alike; in f16 they overflow. With --heads the first layer's queries of those heads are divided. What it changes in the poses is to be measured
(`evaluate.py`): RUNS.md has the numbers.

The first layer's shares in the per-frame and the per-window graph are then made of the matrix as the whole-window graph stores it (f16), and
stored as f32, as `graph.py` now does: rounded by themselves they put the cached answer 1e-4 m beside the whole window's.
The golden file and the manifest's sums are written anew.
"""

import argparse
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import window as spec
from export import golden_cases, run_ort, tensors
from model import Config

def constants(model):
    """{name without the number and "_f16": tensor}"""
    return {re.sub(r"(_f16)?_\d+$", "", t.name): t for t in model.graph.initializer}


def array(tensor):
    return numpy_helper.to_array(tensor).astype(np.float64)


def put(tensor, value, dtype=None):
    dtype = dtype or numpy_helper.to_array(tensor).dtype
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value.astype(dtype)), tensor.name))


def temper(whole, heads, by):
    for name in ("tem0_qkv_w", "tem0_qkv_b"):
        tensor = constants(whole)[name]
        value = array(tensor)
        width = value.shape[-1] // 3 // heads
        for head, factor in by.items():
            value[..., head * width : (head + 1) * width] /= factor
        put(tensor, value)


def share(whole, part):
    """The first layer's constants of a per-frame or per-window graph, made of the whole one's."""
    c = constants(whole)
    w, gain, shift, pos = (array(c[n]) for n in ("tem0_qkv_w", "tem0_n1_g", "tem0_n1_b", "pos"))
    mine = constants(part)
    matrix = mine["tem0_qkv_w"]
    stored = matrix.name
    put(matrix, gain[:, None] * w, np.float32)
    for node in [n for n in part.graph.node if n.op_type == "Cast" and n.input[0] == stored]:
        matrix.name = node.output[0]  # no longer f16: the Cast goes
        part.graph.node.remove(node)
    if "pos_share" in mine:
        put(mine["pos_share"], (pos - pos.mean(-1, keepdims=True)) @ (gain[:, None] * w))
        put(mine["tem0_qkv_b"], array(c["tem0_qkv_b"]) + shift @ w)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--name", required=True)
    a.add_argument("--out", type=Path, default=Path("../.."))
    a.add_argument("--heads", nargs="*", default=[], metavar="HEAD=DIVISOR", help="powers of two, which are exact in f16")
    a = a.parse_args()
    by = {int(h): float(f) for h, f in (x.split("=") for x in a.heads)}
    if any(np.log2(f) % 1 for f in by.values()):
        raise SystemExit("divisors are powers of two, so that nothing is rounded")
    manifest = a.out / f"{a.name}.toml"
    text = manifest.read_text()
    number = lambda key: int(re.search(rf"^{key} = (\d+)", text, re.M)[1])  # noqa: E731
    paths = [a.out / f"{a.name}{part}.onnx" for part in ("", ".frame", ".window")]
    whole, *parts = models = [onnx.load(p) for p in paths]
    temper(whole, number("heads"), by)
    for part in parts:
        share(whole, part)
    for path, model, key in zip(paths, models, ("sha256", "frame_sha256", "window_sha256")):
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
        text = re.sub(rf'^{key} = ".*"', f'{key} = "{hashlib.sha256(path.read_bytes()).hexdigest()}"', text, flags=re.M)

    golden = json.loads((a.out / f"{a.name}.golden.json").read_text())
    lookaheads = json.loads(re.search(r"^lookaheads = (\[.*\])", text, re.M)[1])
    c = Config(frames=golden["slots"], lookaheads=lookaheads, rate_hz=golden["rate_hz"])
    made = [tensors(case, c) for case in golden_cases(c.lookaheads)]
    window, fresh, context = (np.stack([m[i] for m in made]) for i in range(3))
    joints = run_ort(paths[0], window=window, fresh=fresh, context=context)
    every = np.zeros((len(made), c.frames, 1), np.float32)
    every[:, 0] = fresh
    slots = run_ort(paths[1], keypoints=window.reshape(-1, 17, 3), fresh=every.reshape(-1, 1)).reshape(len(made), c.frames, -1)
    apart = np.abs(run_ort(paths[2], slots=slots, context=context) - joints).max()
    moved = max(np.abs(np.array(case["joints_virtual"]) - j).max() for case, j in zip(golden["cases"], joints))
    print(f"golden cases: cached against whole {apart:.1e} m, moved by at most {moved:.1e} m")
    assert apart < 1e-5
    for case, m, j in zip(golden["cases"], made, joints.astype(np.float64)):
        case["joints_virtual"] = np.round(j, 6).tolist()
        case["joints_camera"] = np.round(spec.to_camera(j, m[3]), 6).tolist()
    (a.out / f"{a.name}.golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    if a.heads:
        text = re.sub(r'^(trained = ".*)"$', rf'\1; then mend.py --heads {" ".join(a.heads)}"', text, flags=re.M)
    manifest.write_text(text)


if __name__ == "__main__":
    main()
