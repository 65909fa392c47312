"""Writes a trained Pstmo as a small, plain ONNX graph: the operators that tract, TensorRT and ONNX Runtime all take.

Written by hand instead of traced, so that the graph is known: BatchNorm folded, 1/sqrt(d_k) folded into the query weights, every
1x1 convolution a MatMul, MOFA's strided convolution a Reshape + MatMul, `LayerNormalization` (opset 17), only the batch dynamic.
Matrices are stored as f16 with a Cast in front (runtimes fold it at load time); biases, norms, positions and the first layer's shares of the
cached graphs stay f32.
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from window import LOOKAHEAD_UNIT

OPSET = 17


class Builder:
    def __init__(self, f16):
        self.nodes, self.inits, self.f16, self.n = [], [], f16, 0

    def name(self, hint):
        self.n += 1
        return f"{hint}_{self.n}"

    def const(self, hint, value):
        name = self.name(hint)
        self.inits.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op, inputs, hint, outputs=1, **attrs):
        outs = [self.name(hint) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, outs, name=outs[0], **attrs))
        return outs[0] if outputs == 1 else outs

    def matrix(self, hint, w):
        if not self.f16:
            return self.const(hint, w.astype(np.float32))
        return self.node("Cast", [self.const(hint + "_f16", w.astype(np.float16))], hint, to=TensorProto.FLOAT)

    def linear(self, x, w, b, hint):
        """w is [in, out]."""
        y = self.node("MatMul", [x, self.matrix(hint + "_w", w)], hint)
        return self.node("Add", [y, self.const(hint + "_b", b.astype(np.float32))], hint + "_out")

    def norm(self, x, ln, hint):
        g, b = (self.const(f"{hint}_{k}", t.detach().float().numpy()) for k, t in (("g", ln.weight), ("b", ln.bias)))
        return self.node("LayerNormalization", [x, g, b], hint, axis=-1, epsilon=float(ln.eps))

    def reshape(self, x, shape, hint):
        return self.node("Reshape", [x, self.const(hint + "_shape", np.array(shape, np.int64))], hint)


def weights(linear, bn=None):
    """Linear (+ BatchNorm) -> ([in, out], [out]) in f64."""
    w, b = linear.weight.detach().double(), linear.bias.detach().double()
    if bn is not None:
        s = bn.weight.detach().double() / torch.sqrt(bn.running_var.double() + bn.eps)
        w, b = w * s[:, None], (b - bn.running_mean.double()) * s + bn.bias.detach().double()
    return w.T.numpy(), b.numpy()


def lrelu(g, v, hint):
    return g.node("LeakyRelu", [v], hint, alpha=0.2)


def sem(g, x, net):
    """[.., 52] -> tokens [.., d]."""
    x = lrelu(g, g.linear(x, *weights(net.sem.inp, net.sem.bn[0]), "sem_in"), "sem_a0")
    y = lrelu(g, g.linear(x, *weights(net.sem.mid[0], net.sem.bn[1]), "sem_1"), "sem_a1")
    y = lrelu(g, g.linear(y, *weights(net.sem.mid[1], net.sem.bn[2]), "sem_2"), "sem_a2")
    return g.linear(g.node("Add", [x, y], "sem_res"), *weights(net.sem.out), "sem_out")


def context_row(g, net):
    k = g.node("Relu", [g.linear("context", *weights(net.ctx1), "ctx1")], "ctx_a")
    return g.reshape(g.linear(k, *weights(net.ctx2), "ctx2"), [0, 1, net.c.d], "ctx_row")


def heads(g, y, m, t, d, hint):
    """Query, key, value [N,T,3d] -> attention's output before the projection [N,T,d]."""
    h, dh = m.heads, d // m.heads
    y = g.reshape(y, [0, t, 3 * h, dh], hint + "_heads")
    y = g.node("Transpose", [y], hint + "_bhtd", perm=[0, 2, 1, 3])
    split = g.const(hint + "_split", np.array([h, h, h], np.int64))
    q, k, v = g.node("Split", [y, split], hint + "_part", outputs=3, axis=1)
    k = g.node("Transpose", [k], hint + "_kt", perm=[0, 1, 3, 2])
    a = g.node("Softmax", [g.node("MatMul", [q, k], hint + "_score")], hint + "_weights", axis=-1)
    y = g.node("MatMul", [a, v], hint + "_mix")
    return g.reshape(g.node("Transpose", [y], hint + "_bthd", perm=[0, 2, 1, 3]), [0, t, d], hint + "_cat")


def scaled_qkv(m, d):
    """The query weights with 1/sqrt(d_k) in them: [d, 3d], [3d]."""
    w, b = weights(m.qkv)
    scale = np.ones(3 * d)
    scale[:d] = (d // m.heads) ** -0.5
    return w * scale, b * scale


def attention(g, x, m, t, d, hint):
    return g.linear(heads(g, g.linear(x, *scaled_qkv(m, d), hint + "_qkv"), m, t, d, hint), *weights(m.proj), hint + "_proj")


def slice_(g, x, start, end, axis, hint):
    c = [g.const(f"{hint}_{k}", np.array([v], np.int64)) for k, v in (("start", start), ("end", end), ("axis", axis))]
    return g.node("Slice", [x, *c], hint)


def feed_forward(g, x, m, h):
    y = g.node("Relu", [g.linear(g.norm(x, m.n2, h + "_n2"), *weights(m.w1), h + "_w1")], h + "_a")
    return g.node("Add", [x, g.linear(y, *weights(m.w2), h + "_w2")], h + "_x2")


def after_first_attention(g, x, net):
    """Everything behind the first layer's attention: x [N,T,d] -> joints."""
    c = net.c
    t, d = c.frames, c.d
    for i, m in enumerate(net.tem):
        h = f"tem{i}"
        if i > 0:
            x = g.node("Add", [x, attention(g, g.norm(x, m.n1, h + "_n1"), m.attn, t, d, h)], h + "_x1")
        x = feed_forward(g, x, m, h)
    mask = net.root_mask.double().numpy()
    if c.skip:  # the asked slot's token
        if len(c.lookaheads) == 1:
            s = slice_(g, x, c.lookaheads[0], c.lookaheads[0] + 1, 1, "asked")
        else:
            k = slice_(g, "context", 5, 6, 1, "lookahead")
            k = g.node("Mul", [k, g.const("unit", np.array([[LOOKAHEAD_UNIT]], np.float32))], "asked_slot")
            far = g.node("Abs", [g.node("Sub", [g.const("slots", np.arange(t, dtype=np.float32)[None]), k], "slot_off")], "slot_far")
            hot = g.node("Relu", [g.node("Sub", [g.const("one", np.ones((1, 1), np.float32)), far], "slot_near")], "slot_hot")
            s = g.node("MatMul", [g.reshape(hot, [0, 1, t], "slot_row"), x], "asked")
        w, b = weights(net.vte)
        skip = g.linear(g.reshape(s, [0, d], "asked_token"), w * mask, b * mask, "vte")
    n = t
    for i, m in enumerate(net.mofa):
        h = f"mofa{i}"
        if i < len(net.mofa_pos):
            x = g.node("Add", [x, g.const(h + "_pos", net.mofa_pos[i].detach().float()[0].numpy())], h + "_x0")
        x = g.node("Add", [x, attention(g, g.norm(x, m.n1, h + "_n1"), m.attn, n, d, h)], h + "_x1")
        y = g.node("Relu", [g.linear(g.norm(x, m.n2, h + "_n2"), *weights(m.w1), h + "_w1")], h + "_a")
        y = g.linear(g.reshape(y, [0, n // 3, 3 * c.ff], h + "_taps"), *weights(m.w2), h + "_w2")
        r = slice_(g, g.reshape(x, [0, n // 3, 3 * d], h + "_res3"), 0, d, 2, h + "_res")
        x, n = g.node("Add", [r, y], h + "_x2"), n // 3
    w, b = weights(net.head)
    y = g.linear(g.reshape(x, [0, d], "last"), w * mask, b * mask, "head")
    if c.skip:
        y = g.node("Add", [y, skip], "sum")
    g.reshape(y, [0, 17, 3], "joints")


def finish(g, name, inputs, output, shape, metadata):
    g.nodes[-1].output[0] = output
    ins = [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, s in inputs.items()]
    out = helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)
    graph = helper.make_graph(g.nodes, name, ins, [out], g.inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="posewire models/train/lifter")
    model.ir_version = 9
    for k, v in (metadata or {}).items():
        e = model.metadata_props.add()
        e.key, e.value = k, v
    onnx.checker.check_model(model, full_check=True)
    return model


def graphs(net, f16=True, metadata=None):
    """A Pstmo in eval mode (on the CPU) -> the three graphs of INPUT.md: whole window, per frame, per window of cached slots."""
    c = net.c
    t, d = c.frames, c.d
    if not (c.confidence and c.context and not c.screen):
        raise ValueError("only models with a confidence and a context input, on virtual-camera coordinates, are exported")
    pos = net.pos.detach().double()[0].numpy()
    first = net.tem[0]
    a = first.n1.weight.detach().double().numpy()
    w, b = scaled_qkv(first.attn, d)
    if f16:  # the shares are of the matrix as the whole graph stores it, or the cached answer would be another by 1e-4 m
        w = w.astype(np.float16).astype(np.float64)
    b = b + first.n1.bias.detach().double().numpy() @ w
    wa = a[:, None] * w

    g = Builder(f16)
    only_first = np.zeros((1, t, 1), np.float32)
    only_first[0, 0] = 1
    f = g.node("Mul", [g.reshape("fresh", [0, 1, 1], "fresh1"), g.const("only_first", only_first)], "fresh_slots")
    x = sem(g, g.node("Concat", [g.reshape("window", [0, t, 51], "frames"), f], "features", axis=2), net)
    x = g.node("Add", [x, g.const("pos", pos.astype(np.float32))], "tokens")
    x = g.node("Add", [x, context_row(g, net)], "tokens_ctx")
    x = g.node("Add", [x, attention(g, g.norm(x, first.n1, "tem0_n1"), first.attn, t, d, "tem0")], "tem0_x1")
    after_first_attention(g, x, net)
    whole = finish(g, "pstmo", {"window": ["N", t, 17, 3], "fresh": ["N", 1], "context": ["N", 6]}, "joints", ["N", 17, 3], metadata)

    def centred(g, x, hint):
        return g.node("Sub", [x, g.node("ReduceMean", [x], hint + "_mean", axes=[-1], keepdims=1)], hint)

    g = Builder(f16)
    x = sem(g, g.node("Concat", [g.reshape("keypoints", [0, 51], "frames"), "fresh"], "features", axis=1), net)
    u = g.node("MatMul", [centred(g, x, "sem_c"), g.const("tem0_qkv_w", wa.astype(np.float32))], "share")
    g.node("Concat", [x, u], "slot", axis=1)
    frame = finish(g, "pstmo_frame", {"keypoints": ["M", 17, 3], "fresh": ["M", 1]}, "slot", ["M", 4 * d], metadata)

    g = Builder(f16)
    x = slice_(g, "slots", 0, d, 2, "x")
    u = slice_(g, "slots", d, 4 * d, 2, "u")
    ctx = context_row(g, net)
    pc = pos - pos.mean(-1, keepdims=True)
    x = g.node("Add", [g.node("Add", [x, g.const("pos", pos.astype(np.float32))], "tokens"), ctx], "tokens_ctx")
    u = g.node("Add", [u, g.const("pos_share", (pc @ wa).astype(np.float32))], "u_pos")
    u = g.node("Add", [u, g.node("MatMul", [centred(g, ctx, "ctx_c"), g.const("tem0_qkv_w", wa.astype(np.float32))], "ctx_share")], "u_ctx")
    xc = centred(g, x, "x_c")
    var = g.node("ReduceMean", [g.node("Mul", [xc, xc], "x_c2")], "var", axes=[-1], keepdims=1)
    eps = g.const("eps", np.array([[[first.n1.eps]]], np.float32))
    sd = g.node("Sqrt", [g.node("Add", [var, eps], "var_eps")], "sd")
    y = g.node("Add", [g.node("Div", [u, sd], "u_norm"), g.const("tem0_qkv_b", b.astype(np.float32))], "qkv")
    y = g.linear(heads(g, y, first.attn, t, d, "tem0"), *weights(first.attn.proj), "tem0_proj")
    after_first_attention(g, g.node("Add", [x, y], "tem0_x1"), net)
    window = finish(g, "pstmo_window", {"slots": ["N", t, 4 * d], "context": ["N", 6]}, "joints", ["N", 17, 3], metadata)
    return whole, frame, window
