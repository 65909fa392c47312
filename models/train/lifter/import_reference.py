"""A released P-STMO checkpoint -> NAME.onnx + NAME.toml + NAME.golden.json, which posewire lifts with.

    python import_reference.py PSTMOS_no_refine_48_5137_in_the_wild.pth --input coco17 --out models/

`posewire models import --pstmo FILE.pth` runs this script. It needs torch, onnx and numpy; onnxruntime is used to check the result if
it is there. The weights descend from Human3.6M: research use only, and the manifest says so.
"""

import argparse
import datetime
import hashlib
import json
import re
import sys
from pathlib import Path

try:
    import numpy as np
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper
except ImportError as e:
    print(f"{e}; install what the conversion needs: {sys.executable} -m pip install torch onnx numpy", file=sys.stderr)
    sys.exit(3)

from reference_pstmo import BN_EPS, LN_EPS, TDS, NotReference, forward, plain, random_state, variant  # noqa: F401  (random_state: tests)

OPSET = 17
RATE_HZ = 50.0  # Human3.6M


class Graph:
    """Collects nodes and constants; every method gives the name of what it made."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, value, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype), name))
        return name

    def node(self, op, inputs, outputs=1, **attributes):
        made = [f"{op.lower()}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, made, name=made[0], **attributes))
        return made[0] if outputs == 1 else made

    def linear(self, x, w, b):
        """`w` is [in, out]."""
        return self.node("Add", [self.node("MatMul", [x, self.constant(w)]), self.constant(b)])

    def reshape(self, x, *shape):
        return self.node("Reshape", [x, self.constant(shape, np.int64)])


def export(state, v):
    """The graph of `reference_pstmo.forward`: BatchNorm folded into the matrices, 1/sqrt(d_k) into the queries, and the authors' norm
    as ONNX's. With n channels, a (x - m) / (s sqrt(n / (n - 1)) + eps) = a sqrt((n - 1) / n) (x - m) / (s + eps') exactly, and
    eps' = 1e-6 against s of order 1 is below what f32 shows; so the scale is corrected and epsilon stays out of the way."""
    w = {k: t.double().numpy() for k, t in state.items()}
    g = Graph()
    t, d = v.frames, v.width

    def folded(matrix, bias, bn):
        """A 1x1 convolution [out, in, 1] and the BatchNorm behind it -> [in, out], [out]."""
        s = w[f"{bn}.weight"] / np.sqrt(w[f"{bn}.running_var"] + BN_EPS)
        return (matrix[..., 0] * s[:, None]).T, (bias - w[f"{bn}.running_mean"]) * s + w[f"{bn}.bias"]

    def encoder(x, name, bn):
        c = f"encoder.{name}"
        return g.node("LeakyRelu", [g.linear(x, *folded(w[f"{c}.weight"], w[f"{c}.bias"], f"encoder.{bn}"))], alpha=0.2)

    def norm(x, name):
        a = w[f"{name}.a_2"] * np.sqrt((d - 1) / d)
        return g.node("LayerNormalization", [x, g.constant(a), g.constant(w[f"{name}.b_2"])], axis=-1, epsilon=1e-12)

    def every(x, first, count, stride):
        """Tokens first, first + stride, ... of which there are count."""
        where = (first, first + (count - 1) * stride + 1, 1, stride)
        return g.node("Slice", [x, *(g.constant([k], np.int64) for k in where)])

    def attention(x, name, n):
        h = v.heads
        parts = [(w[f"{name}.linears.{i}.weight"].T, w[f"{name}.linears.{i}.bias"]) for i in range(4)]
        scale = np.r_[np.full(d, (d // h) ** -0.5), np.ones(2 * d)]
        y = g.linear(x, np.concatenate([p[0] for p in parts[:3]], 1) * scale, np.concatenate([p[1] for p in parts[:3]]) * scale)
        y = g.node("Transpose", [g.reshape(y, 0, n, 3 * h, d // h)], perm=[0, 2, 1, 3])
        q, k, u = g.node("Split", [y, g.constant([h, h, h], np.int64)], 3, axis=1)
        a = g.node("Softmax", [g.node("MatMul", [q, g.node("Transpose", [k], perm=[0, 1, 3, 2])])], axis=-1)
        y = g.node("Transpose", [g.node("MatMul", [a, u])], perm=[0, 2, 1, 3])
        return g.linear(g.reshape(y, 0, n, d), *parts[3])

    x = encoder(g.reshape("window", 0, t, 34), "fc_1", "bn_1")
    y = encoder(encoder(x, "layers.0.w1", "layers.0.batch_norm1"), "layers.0.w2", "layers.0.batch_norm2")
    x = g.linear(g.node("Add", [x, y]), w["encoder.fc_2.weight"][..., 0].T, w["encoder.fc_2.bias"])
    x = g.node("Add", [x, g.constant(w["Transformer.pos_embedding"][0])])
    for i in range(v.layers):
        p = f"Transformer.model.layers.{i}"
        x = g.node("Add", [x, attention(norm(x, f"{p}.sublayer.0.norm"), f"{p}.self_attn", t)])
        y = norm(x, f"{p}.sublayer.1.norm")
        y = g.node("Relu", [g.linear(y, w[f"{p}.feed_forward.w_1.weight"].T, w[f"{p}.feed_forward.w_1.bias"])])
        x = g.node("Add", [x, g.linear(y, w[f"{p}.feed_forward.w_2.weight"].T, w[f"{p}.feed_forward.w_2.bias"])])
    n = t
    for i, stride in enumerate(v.strides):
        p = f"Transformer_reduce.model.layers.{i}"
        if i < 3:
            x = g.node("Add", [x, g.constant(w[f"Transformer_reduce.model.pos_embedding_{i + 1}"][0, :n])])
        x = g.node("Add", [x, attention(norm(x, f"{p}.sublayer.0.norm"), f"{p}.self_attn", n)])
        y = norm(x, f"{p}.sublayer.1.norm")
        y = g.node("Relu", [g.linear(y, w[f"{p}.feed_forward.w_1.weight"][..., 0].T, w[f"{p}.feed_forward.w_1.bias"])])
        # The strided convolution of three taps as three slices and one matrix: tract 0.23 fails to plan a 1D Conv with a batch of 1.
        m = (n - 1) // stride + 1
        y = g.node("Pad", [y, g.constant([0, 1, 0, 0, 1, 0], np.int64)])
        y = g.node("Concat", [every(y, k, m, stride) for k in range(3)], axis=2)
        taps = w[f"{p}.feed_forward.w_2.weight"]  # [out, in, 3]
        y = g.linear(y, taps.transpose(2, 1, 0).reshape(-1, d), w[f"{p}.feed_forward.w_2.bias"])
        # MaxPool1d(1, stride) of the reference takes tokens 0, stride, 2 stride, ...
        x, n = g.node("Add", [every(x, 0, m, stride), y]), m
    s = w["fcn.0.weight"] / np.sqrt(w["fcn.0.running_var"] + BN_EPS)
    head = w["fcn.1.weight"][..., 0]
    y = g.linear(g.reshape(x, 0, d), (head * s).T, head @ (w["fcn.0.bias"] - w["fcn.0.running_mean"] * s) + w["fcn.1.bias"])
    g.reshape(y, 0, 17, 3)
    g.nodes[-1].output[0] = "joints"

    def info(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])

    graph = helper.make_graph(g.nodes, "pstmo", [info("window", t, 17, 2)], [info("joints", 17, 3)], g.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="posewire models/train/lifter/import_reference.py")
    model.ir_version = 9
    onnx.checker.check_model(model, full_check=True)
    return model


def windows(v, cases=2, seed=3):
    """Smooth tracks in screen coordinates: what a walk through the picture looks like to the network."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(-0.3, 0.3, (cases, 1, 17, 2))
    phase, speed = rng.uniform(0, 6.3, (cases, 1, 17, 2)), rng.uniform(0.05, 0.4, (cases, 1, 17, 2))
    steps = np.arange(v.frames)[None, :, None, None]
    drift = np.array([0.3, 0.02]) * np.sin(steps / v.frames * 2 + np.arange(cases)[:, None, None, None])
    return np.round(body + 0.06 * np.sin(phase + speed * steps) + drift, 5).astype(np.float32)


def answers(state, v, window):
    """In f64, so that the golden file owes nothing to anybody's rounding."""
    with torch.no_grad():
        return forward({k: t.double() if t.is_floating_point() else t for k, t in state.items()}, v, torch.from_numpy(window).double()).numpy()


def multiply_adds(v):
    def attend(n):
        return 4 * n * v.width**2 + 2 * n * n * v.width

    t, n = v.frames, v.frames
    sem = t * (34 * v.hidden + 2 * v.hidden**2 + v.hidden * v.width)
    tem = v.layers * (attend(t) + 2 * t * v.width * v.feed_forward)
    mofa = 0
    for s in v.strides:
        m = (n - 1) // s + 1
        mofa += attend(n) + n * v.width * v.feed_forward + 3 * m * v.width * v.feed_forward
        n = m
    return sem + tem + mofa + 51 * v.width


def skeleton_of(path, stated):
    """Which joints go in: both sorts are 17, so only the file's name or the user can tell."""
    if stated:
        return stated
    name = path.name.lower()
    if "3dhp" in name:
        raise NotReference("this checkpoint speaks MPI-INF-3DHP's joints, in another order than COCO and Human3.6M; posewire has no use for it")
    if "wild" in name or "coco" in name:
        return "coco17"
    if "h36m" in name or "cpn" in name:
        return "h36m17"
    raise NotReference("whether it takes COCO-17 or Human3.6M-17 keypoints is not in the file; state --input coco17 (the in-the-wild checkpoint) or --input h36m17")


def write(out, name, state, v, skeleton, tds, source, data="Human3.6M (research use only)", licence="LicenseRef-Human3.6M-research-only (code: MIT)", how=None, commercial=False):
    """Writes the three files and gives the worst difference of ONNX Runtime from the reference, metres (None if it is not installed)."""
    out.mkdir(parents=True, exist_ok=True)
    model = export(state, v).SerializeToString()
    window = windows(v)
    joints = answers(state, v, window)
    worst = None
    try:
        import onnxruntime as ort
    except ImportError:
        ort = None
    if ort:
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        worst = float(np.abs(session.run(None, {"window": window})[0] - joints).max())
        if not worst <= 1e-4:
            raise NotReference(f"the exported graph differs from the reference by {worst:.2e} m in ONNX Runtime; 1e-4 is allowed. Please report it")
    quote = lambda text: json.dumps(text, ensure_ascii=False)  # noqa: E731  (a JSON string is a TOML string)
    how = how or f"by the authors of P-STMO; converted {datetime.date.today().isoformat()} from {source}"
    manifest = f"""name = {quote(name)}
kind = "lifter"
file = {quote(name + ".onnx")}
sha256 = "{hashlib.sha256(model).hexdigest()}"
golden = {quote(name + ".golden.json")}
licence = {quote(licence)}
commercial = {str(commercial).lower()}
training_data = {quote(data)}
trained = {quote(how)}
card = "P-STMO reference checkpoint: screen coordinates of a whole window -> the CENTRE frame's joints, {(v.frames - 1) / 2 / RATE_HZ * tds:.2f} s late. For comparison and research; not for live use."

[input]
window = [{v.frames}, 17, 2]
rate_hz = {RATE_HZ / tds:.6g}
lookahead = {(v.frames - 1) // 2}
order = "oldest-first"
skeleton = "{skeleton}"
normalisation = "screen"

[output]
skeleton = "h36m17"
units = "m"

[cost]
macs = {multiply_adds(v)}
parameters = {sum(t.numel() for k, t in state.items() if t.is_floating_point())}
"""
    golden = {"source": source, "cases": [{"window": w.astype(float).round(5).tolist(), "joints": j.round(6).tolist()} for w, j in zip(window, joints)]}
    # The manifest last: a directory with it is a directory that can be used.
    (out / f"{name}.onnx").write_bytes(model)
    (out / f"{name}.golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    (out / f"{name}.toml").write_text(manifest)
    return worst


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("checkpoint", type=Path)
    a.add_argument("--out", type=Path, default=Path("."), help="directory of models")
    a.add_argument("--name", help="of the model; the file's by default")
    a.add_argument("--input", choices=["coco17", "h36m17"], help="the keypoints that the checkpoint was trained on")
    a.add_argument("--tds", type=int, help="temporal downsampling: every which frame of 50 fps (243 frames: 2, 81: 3, 27: 9)")
    a.add_argument("--strides", help="of the many-to-one layers, such as 3,3,3; known for 9, 27, 81, 243 and 351 frames")
    a = a.parse_args()
    try:
        try:
            checkpoint = torch.load(a.checkpoint, map_location="cpu", weights_only=True)
        except Exception as e:  # torch says many things; the first line is enough
            raise NotReference(f"cannot be read as a PyTorch checkpoint of plain tensors: {str(e).splitlines()[0]}") from e
        state = plain(checkpoint)
        v = variant(state, [int(s) for s in a.strides.split(",")] if a.strides else None)
        tds = a.tds or TDS.get(v.frames, 1)
        if tds < 1 or tds > 50:
            raise NotReference(f"--tds {tds} is outside 1..50")
        name = a.name or re.sub(r"[^A-Za-z0-9_.-]+", "_", a.checkpoint.stem)
        skeleton = skeleton_of(a.checkpoint, a.input)
        worst = write(a.out, name, state, v, skeleton, tds, a.checkpoint.name)
    except NotReference as e:
        print(f"{a.checkpoint}: {e}", file=sys.stderr)
        sys.exit(1)
    except OSError as e:
        print(e, file=sys.stderr)
        sys.exit(1)
    said = "not checked in ONNX Runtime (not installed)" if worst is None else f"{worst * 1e3:.4f} mm from the reference in ONNX Runtime"
    print(f"{name}: {v.frames} frames at {RATE_HZ / tds:g} Hz ({'stated' if a.tds else 'assumed'} tds {tds}), {v.layers} + {len(v.strides)} layers of {v.width}, {skeleton} in, {said}")


if __name__ == "__main__":
    main()
