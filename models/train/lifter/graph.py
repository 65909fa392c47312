"""Writes a trained Pstmo as a small, plain ONNX graph: the operators that tract, TensorRT and ONNX Runtime all take.

Written by hand instead of traced, so that the graph is known: BatchNorm folded, 1/sqrt(d_k) folded into the query weights, every
1x1 convolution a MatMul, MOFA's strided convolution a Reshape + MatMul, `LayerNormalization` (opset 17), only the batch dynamic.
Matrices are stored as f16 with a Cast in front (runtimes fold it at load time); biases, norms and positions stay f32.
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

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


def attention(g, x, m, t, d, hint):
    h, dh = m.heads, d // m.heads
    w, b = weights(m.qkv)
    scale = np.ones(3 * d)
    scale[:d] = dh**-0.5
    y = g.linear(x, w * scale, b * scale, hint + "_qkv")
    y = g.reshape(y, [0, t, 3 * h, dh], hint + "_heads")
    y = g.node("Transpose", [y], hint + "_bhtd", perm=[0, 2, 1, 3])
    split = g.const(hint + "_split", np.array([h, h, h], np.int64))
    q, k, v = g.node("Split", [y, split], hint + "_part", outputs=3, axis=1)
    k = g.node("Transpose", [k], hint + "_kt", perm=[0, 1, 3, 2])
    a = g.node("Softmax", [g.node("MatMul", [q, k], hint + "_score")], hint + "_weights", axis=-1)
    y = g.node("MatMul", [a, v], hint + "_mix")
    y = g.reshape(g.node("Transpose", [y], hint + "_bthd", perm=[0, 2, 1, 3]), [0, t, d], hint + "_cat")
    return g.linear(y, *weights(m.proj), hint + "_proj")


def slice_(g, x, start, end, axis, hint):
    c = [g.const(f"{hint}_{k}", np.array([v], np.int64)) for k, v in (("start", start), ("end", end), ("axis", axis))]
    return g.node("Slice", [x, *c], hint)


def pstmo_graph(net, f16=True, metadata=None):
    """A Pstmo in eval mode (on the CPU) -> onnx.ModelProto. Inputs `window` [N,T,17,3], `context` [N,5]; output `joints` [N,17,3]."""
    c, g = net.c, Builder(f16)
    t, d, relu = c.frames, c.d, "Relu"
    x = "window"
    w0, b0 = weights(net.sem.inp, net.sem.bn[0])
    x = g.reshape(x, [0, t, 51], "frames")
    if not c.confidence:
        raise ValueError("only models with a confidence input are exported")

    def lrelu(v, hint):
        return g.node("LeakyRelu", [v], hint, alpha=0.2)

    x = lrelu(g.linear(x, w0, b0, "sem_in"), "sem_a0")
    y = lrelu(g.linear(x, *weights(net.sem.mid[0], net.sem.bn[1]), "sem_1"), "sem_a1")
    y = lrelu(g.linear(y, *weights(net.sem.mid[1], net.sem.bn[2]), "sem_2"), "sem_a2")
    x = g.linear(g.node("Add", [x, y], "sem_res"), *weights(net.sem.out), "sem_out")
    pos = net.pos.detach().double()[0].numpy()
    x = g.node("Add", [x, g.const("pos", pos.astype(np.float32))], "tokens")
    if c.context:
        k = g.node(relu, [g.linear("context", *weights(net.ctx1), "ctx1")], "ctx_a")
        k = g.linear(k, *weights(net.ctx2), "ctx2")
        x = g.node("Add", [x, g.reshape(k, [0, 1, d], "ctx_row")], "tokens_ctx")
    for i, m in enumerate(net.tem):
        h = f"tem{i}"
        x = g.node("Add", [x, attention(g, g.norm(x, m.n1, h + "_n1"), m.attn, t, d, h)], h + "_x1")
        y = g.node(relu, [g.linear(g.norm(x, m.n2, h + "_n2"), *weights(m.w1), h + "_w1")], h + "_a")
        x = g.node("Add", [x, g.linear(y, *weights(m.w2), h + "_w2")], h + "_x2")
    n = t
    for i, m in enumerate(net.mofa):
        h = f"mofa{i}"
        if i < len(net.mofa_pos):
            p = net.mofa_pos[i].detach().float()[0].numpy()
            x = g.node("Add", [x, g.const(h + "_pos", p)], h + "_x0")
        x = g.node("Add", [x, attention(g, g.norm(x, m.n1, h + "_n1"), m.attn, n, d, h)], h + "_x1")
        y = g.node(relu, [g.linear(g.norm(x, m.n2, h + "_n2"), *weights(m.w1), h + "_w1")], h + "_a")
        y = g.linear(g.reshape(y, [0, n // 3, 3 * c.ff], h + "_taps"), *weights(m.w2), h + "_w2")
        r = slice_(g, g.reshape(x, [0, n // 3, 3 * d], h + "_res3"), 0, d, 2, h + "_res")
        x, n = g.node("Add", [r, y], h + "_x2"), n // 3
    w, b = weights(net.head)
    mask = net.root_mask.double().numpy()
    y = g.linear(g.reshape(x, [0, d], "last"), w * mask, b * mask, "head")
    y = g.reshape(y, [0, 17, 3], "joints")
    g.nodes[-1].output[0] = "joints"
    ins = [helper.make_tensor_value_info("window", TensorProto.FLOAT, ["N", t, 17, 3])]
    if c.context:
        ins.append(helper.make_tensor_value_info("context", TensorProto.FLOAT, ["N", c.context]))
    out = helper.make_tensor_value_info("joints", TensorProto.FLOAT, ["N", 17, 3])
    graph = helper.make_graph(g.nodes, "pstmo", ins, [out], g.inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="posewire models/train/lifter")
    model.ir_version = 9
    for k, v in (metadata or {}).items():
        e = model.metadata_props.add()
        e.key, e.value = k, v
    onnx.checker.check_model(model, full_check=True)
    return model
