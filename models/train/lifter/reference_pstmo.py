"""The reference P-STMO (Shan et al., ECCV 2022, arXiv 2203.07628) as one function of its released weights.

Written anew from the paper and from reading the authors' code; it reads their checkpoints by the names that these have
(`encoder.fc_1.weight`, `Transformer.pos_embedding`, ...). Our own network is `model.py`; this one differs from it on purpose, see
its doc string. Inference only: dropout is absent and batch norms use their running statistics.
"""

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F

LN_EPS = 1e-6
BN_EPS = 1e-5
# Strides of the many-to-one layers by window length, as the authors' options have them. They are not in the weights.
STRIDES = {9: [1, 3, 3], 27: [3] * 3, 81: [3] * 4, 243: [3] * 5, 351: [3, 9, 13]}
# Every tdsth frame of 50 fps: what each window length was trained on (paper, table 1; the released files are all of 243 frames).
TDS = {27: 9, 81: 3, 243: 2}


class NotReference(ValueError):
    """The file is not a checkpoint that this module reads; the text says what it is instead, and what to do."""


@dataclass
class Variant:
    """What the shapes of the weights say."""

    frames: int
    width: int
    hidden: int  # of the per-frame encoder
    feed_forward: int
    layers: int
    strides: list
    heads: int = 8  # not in the weights; the authors never used another number


def plain(checkpoint):
    """The state dict of a loaded .pth file: unwrapped, without `module.` in front of its keys, in f32."""
    state = checkpoint
    for key in ("state_dict", "model_state_dict", "model_pos", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise NotReference("the file holds no state dict (name -> tensor); give the .pth file that the P-STMO authors released")
    return {k.removeprefix("module."): v.float() if v.is_floating_point() else v for k, v in state.items()}


def layers_of(state, prefix):
    found = {int(m[1]) for m in (re.match(re.escape(prefix) + r"\.(\d+)\.", k) for k in state) if m}
    if found != set(range(len(found))):
        raise NotReference(f"{prefix} has the layers {sorted(found)}, which is not a row from 0")
    return len(found)


def variant(state, strides=None, heads=8):
    """Reads the architecture off the weights' shapes, and checks that every weight is there and no stranger is."""
    if "mask_token" in state or any(k.startswith("decoder") for k in state):
        raise NotReference("this is a checkpoint of stage I (masked pose modelling), which has no lifting head; give one of stage II (…_no_refine_….pth)")
    if any(k.startswith("post_refine") for k in state):
        raise NotReference("this is the refinement module, which reads the true depth of the root and cannot be deployed; give the …_no_refine_….pth file")
    for key in ("encoder.fc_1.weight", "Transformer.pos_embedding", "Transformer_reduce.model.pos_embedding_1", "fcn.1.weight"):
        if key not in state:
            raise NotReference(f"there is no weight {key!r}: not a P-STMO checkpoint (its keys begin with {', '.join(sorted({k.split('.')[0] for k in state})[:6])})")
    _, frames, width = state["Transformer.pos_embedding"].shape
    hidden, inputs = state["encoder.fc_1.weight"].shape[:2]
    outputs = state["fcn.1.weight"].shape[0]
    if inputs != 34 or outputs != 51:
        raise NotReference(f"it lifts {inputs / 2:g} joints to {outputs / 3:g}; posewire's are 17 to 17")
    if strides is None:
        if frames not in STRIDES:
            raise NotReference(f"the strides of a window of {frames} frames are not known; state them with --strides 3,3,3")
        strides = STRIDES[frames]
    if width % heads:
        raise NotReference(f"a width of {width} is no multiple of {heads} heads")
    v = Variant(frames, width, hidden, state["Transformer.model.layers.0.feed_forward.w_1.weight"].shape[0], layers_of(state, "Transformer.model.layers"), strides, heads)
    if layers_of(state, "Transformer_reduce.model.layers") != len(strides):
        raise NotReference(f"it has {layers_of(state, 'Transformer_reduce.model.layers')} many-to-one layers, {len(strides)} strides are stated: {strides}")
    left = frames
    for s in strides:
        left = (left - 1) // s + 1
    if left != 1:
        raise NotReference(f"strides {strides} leave {left} of {frames} frames, and one is wanted")
    wanted = set(names(v))
    given = {k for k in state if not k.endswith("num_batches_tracked")}
    if wanted - given:
        raise NotReference(f"{len(wanted - given)} weights are missing, such as {sorted(wanted - given)[0]!r}")
    if given - wanted - set(unused(v)):
        raise NotReference(f"{len(given - wanted - set(unused(v)))} weights are not known, such as {sorted(given - wanted - set(unused(v)))[0]!r}")
    return v


def names(v):
    """The weights that inference reads."""
    affine, bn = ("weight", "bias"), ("weight", "bias", "running_mean", "running_var")
    out = [f"encoder.{n}.{k}" for n in ("fc_1", "fc_2", "layers.0.w1", "layers.0.w2") for k in affine]
    out += [f"encoder.{n}.{k}" for n in ("bn_1", "layers.0.batch_norm1", "layers.0.batch_norm2") for k in bn]
    out += ["Transformer.pos_embedding"] + [f"Transformer_reduce.model.pos_embedding_{i}" for i in (1, 2, 3)]
    for part, n in (("Transformer", v.layers), ("Transformer_reduce", len(v.strides))):
        for i in range(n):
            p = f"{part}.model.layers.{i}"
            out += [f"{p}.self_attn.linears.{j}.{k}" for j in range(4) for k in affine]
            out += [f"{p}.feed_forward.{w}.{k}" for w in ("w_1", "w_2") for k in affine]
            out += [f"{p}.sublayer.{j}.norm.{k}" for j in (0, 1) for k in ("a_2", "b_2")]
    return out + [f"fcn.0.{k}" for k in bn] + [f"fcn.1.{k}" for k in affine]


def unused(v):
    """Weights that are in the files and that inference never reads: two norms that are never called, and the training head."""
    out = [f"{t}.model.norm.{k}" for t in ("Transformer", "Transformer_reduce") for k in ("a_2", "b_2")]
    out += [f"fcn_1.0.{k}" for k in ("weight", "bias", "running_mean", "running_var")]
    return out + [f"fcn_1.1.{k}" for k in ("weight", "bias")]


def random_state(v, seed, prefix="module."):
    """Weights of a variant that nobody trained, spread as trained ones are, so that every term counts."""
    g = torch.Generator().manual_seed(seed)
    shapes = {}
    for k in names(v) + unused(v):
        tail, part = k.rsplit(".", 1)[1], k.rsplit(".", 2)[-2]
        if "pos_embedding" in k:
            shapes[k] = (1, v.frames, v.width)
        elif k.startswith("fcn"):
            shapes[k] = (v.width,) if ".0." in k else (51, v.width, 1) if tail == "weight" else (51,)
        elif k.startswith("encoder"):
            out = v.width if part == "fc_2" else v.hidden
            into = 34 if part == "fc_1" else v.hidden
            conv = part in ("fc_1", "fc_2", "w1", "w2") and tail == "weight"
            shapes[k] = (out, into, 1) if conv else (out,)
        elif part == "w_1":
            conv = (1,) if "reduce" in k else ()
            shapes[k] = (v.feed_forward, v.width, *conv) if tail == "weight" else (v.feed_forward,)
        elif part == "w_2":
            conv = (3,) if "reduce" in k else ()
            shapes[k] = (v.width, v.feed_forward, *conv) if tail == "weight" else (v.width,)
        elif tail == "weight":
            shapes[k] = (v.width, v.width)
        else:
            shapes[k] = (v.width,)
    out = {}
    for k, shape in shapes.items():
        x = torch.randn(shape, generator=g)
        if k.endswith("running_var"):
            x = 0.5 + torch.rand(shape, generator=g)
        elif k.endswith("a_2") or (len(shape) == 1 and k.endswith(".weight")):
            x = 1 + 0.2 * x
        elif len(shape) >= 2 and "pos_embedding" not in k:
            x = x / (shape[1] * (shape[2] if len(shape) > 2 else 1)) ** 0.5
        elif "pos_embedding" not in k:
            x = 0.2 * x
        out[prefix + k] = x
    return out


def batch_norm(w, name, x):
    """[N, C, T]"""
    return F.batch_norm(x, w[f"{name}.running_mean"], w[f"{name}.running_var"], w[f"{name}.weight"], w[f"{name}.bias"], eps=BN_EPS)


def layer_norm(w, name, x):
    """The authors' norm: UNBIASED deviation, and eps added to the deviation and not to the variance."""
    return w[f"{name}.a_2"] * (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + LN_EPS) + w[f"{name}.b_2"]


def attention(w, name, heads, x):
    n, t, d = x.shape
    q, k, v = (F.linear(x, w[f"{name}.linears.{i}.weight"], w[f"{name}.linears.{i}.bias"]).view(n, t, heads, d // heads).transpose(1, 2) for i in range(3))
    a = torch.softmax(q @ k.transpose(-1, -2) / (d // heads) ** 0.5, -1)
    return F.linear((a @ v).transpose(1, 2).reshape(n, t, d), w[f"{name}.linears.3.weight"], w[f"{name}.linears.3.bias"])


def forward(w, v, window):
    """`window` [N, T, 17, 2], oldest frame first, screen coordinates -> joints [N, 17, 3] of the centre frame, metres, camera axes.

    Joint 0 is what the network says; the root is 0 by definition and the authors overwrite it."""
    n = window.shape[0]

    def conv(name, x):
        return F.conv1d(x, w[f"encoder.{name}.weight"], w[f"encoder.{name}.bias"])

    def block(x, c, b):
        return F.leaky_relu(batch_norm(w, f"encoder.{b}", conv(c, x)), 0.2)

    x = block(window.reshape(n, v.frames, 34).transpose(1, 2), "fc_1", "bn_1")
    x = x + block(block(x, "layers.0.w1", "layers.0.batch_norm1"), "layers.0.w2", "layers.0.batch_norm2")
    x = conv("fc_2", x).transpose(1, 2) + w["Transformer.pos_embedding"]
    for i in range(v.layers):
        p = f"Transformer.model.layers.{i}"
        x = x + attention(w, f"{p}.self_attn", v.heads, layer_norm(w, f"{p}.sublayer.0.norm", x))
        y = layer_norm(w, f"{p}.sublayer.1.norm", x)
        y = F.relu(F.linear(y, w[f"{p}.feed_forward.w_1.weight"], w[f"{p}.feed_forward.w_1.bias"]))
        x = x + F.linear(y, w[f"{p}.feed_forward.w_2.weight"], w[f"{p}.feed_forward.w_2.bias"])
    for i, stride in enumerate(v.strides):
        p = f"Transformer_reduce.model.layers.{i}"
        if i < 3:
            x = x + w[f"Transformer_reduce.model.pos_embedding_{i + 1}"][:, : x.shape[1]]
        x = x + attention(w, f"{p}.self_attn", v.heads, layer_norm(w, f"{p}.sublayer.0.norm", x))
        y = layer_norm(w, f"{p}.sublayer.1.norm", x).transpose(1, 2)
        y = F.relu(F.conv1d(y, w[f"{p}.feed_forward.w_1.weight"], w[f"{p}.feed_forward.w_1.bias"]))
        y = F.conv1d(y, w[f"{p}.feed_forward.w_2.weight"], w[f"{p}.feed_forward.w_2.bias"], stride=stride, padding=1)
        x = x[:, ::stride] + y.transpose(1, 2)
    x = F.conv1d(batch_norm(w, "fcn.0", x.transpose(1, 2)), w["fcn.1.weight"], w["fcn.1.bias"])
    return x.reshape(n, 17, 3)
