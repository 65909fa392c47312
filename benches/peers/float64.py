#!/usr/bin/env python3
"""How far answers of examples/tensorrt_bench.rs are from the same network in double precision.

    python3 benches/peers/float64.py models DUMP_DIR        # needs torch (a CPU does) and onnx

Each network is evaluated node by node in float64, its weights as they are stored. A row for each answer: of lifters the mean and the
largest distance of joints in mm, of finder and keypoints the mean and the largest difference of the first output, relative to the
largest value in it.
"""

import pathlib
import sys

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper


def pairs(v):
    return tuple(int(x) for x in v)


def evaluate(path, feed):
    """The first output of an ONNX file's graph in float64."""
    graph = onnx.load(path).graph
    value = dict(feed)
    for t in graph.initializer:
        a = torch.from_numpy(numpy_helper.to_array(t).copy())
        value[t.name] = a.double() if a.is_floating_point() else a
    for n in graph.node:
        x = [value[i] if i else None for i in n.input]
        a = {k.name: helper.get_attribute_value(k) for k in n.attribute}
        op = n.op_type
        if op == "Constant":
            y = torch.from_numpy(numpy_helper.to_array(a["value"]).copy())
        elif op == "Cast":
            y = x[0]
        elif op == "Conv":
            top, left, bottom, right = a["pads"]
            y = F.conv2d(F.pad(x[0], (left, right, top, bottom)), x[1], x[2] if len(x) > 2 else None, pairs(a["strides"]), 0, pairs(a["dilations"]), a["group"])
        elif op == "MatMul":
            y = x[0] @ x[1]
        elif op in ("Add", "Sub", "Mul"):
            y = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul}[op](x[0], x[1])
        elif op in ("Relu", "Abs", "Sigmoid"):
            y = {"Relu": torch.relu, "Abs": torch.abs, "Sigmoid": torch.sigmoid}[op](x[0])
        elif op == "LeakyRelu":
            y = F.leaky_relu(x[0], a["alpha"])
        elif op == "Softmax":
            y = torch.softmax(x[0], a["axis"])
        elif op == "LayerNormalization":
            y = F.layer_norm(x[0], x[0].shape[-1:], x[1], x[2], a["epsilon"])
        elif op == "Concat":
            y = torch.cat(x, a["axis"])
        elif op == "Transpose":
            y = x[0].permute(a["perm"])
        elif op == "Reshape":
            y = x[0].reshape([x[0].shape[i] if s == 0 else s for i, s in enumerate(x[1].tolist())])
        elif op == "Split":
            y = torch.split(x[0], x[1].tolist(), a["axis"])
        elif op == "Slice":
            (start,), (end,), (axis,) = (v.tolist() for v in x[1:4])
            y = x[0].narrow(axis, start, min(end, x[0].shape[axis]) - start)
        elif op == "Resize" and a["mode"] == b"nearest":
            scales = x[2].tolist()
            y = F.interpolate(x[0], scale_factor=tuple(scales[2:]), mode="nearest")
        elif op == "DepthToSpace" and a.get("mode", b"DCR") == b"CRD":
            y = F.pixel_shuffle(x[0], a["blocksize"])
        elif op == "DepthToSpace":
            b, c, h, w = x[0].shape
            s = a["blocksize"]
            y = x[0].reshape(b, s, s, c // s**2, h, w).permute(0, 3, 4, 1, 5, 2).reshape(b, c // s**2, h * s, w * s)
        else:
            raise SystemExit(f"{path}: {op} {a} is not evaluated here")
        for name, v in zip(n.output, y if isinstance(y, tuple) else (y,)):
            value[name] = v
    return value[graph.output[0].name]


def main():
    models, dump = (pathlib.Path(p) for p in sys.argv[1:3])
    for inputs in sorted(dump.glob("*.inputs")):
        name, batch, _ = inputs.name.split(".")
        path = models / f"{name}.onnx"
        given, at, feed = np.fromfile(inputs, "<f4"), 0, {}
        for t in onnx.load(path).graph.input:
            shape = [d.dim_value or int(batch) for d in t.type.tensor_type.shape.dim]
            feed[t.name] = torch.from_numpy(given[at : at + np.prod(shape)].reshape(shape)).double()
            at += np.prod(shape)
        exact = evaluate(path, feed).numpy()
        for answer in sorted(dump.glob(f"{name}.{batch}.*")):
            if answer == inputs:
                continue
            d = np.fromfile(answer, "<f4").reshape(exact.shape) - exact
            if exact.shape[1:] == (17, 3):
                d, unit = 1e3 * np.linalg.norm(d, axis=-1), "mm"
            else:
                d, unit = np.abs(d) / np.abs(exact).max(), "of the largest"
            print(f"{name} | {batch} | {answer.name.split('.')[2]} | mean {d.mean():.2g}, max {d.max():.2g} {unit}")


if __name__ == "__main__":
    main()
