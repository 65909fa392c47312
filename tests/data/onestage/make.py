#!/usr/bin/env python3
"""Writes networks with the interfaces of public one-stage models and of MoveNet, for tests/onestage.rs.

Each sees one person: where the picture is red. Centre of mass x, y; 40 by 100 pixels; keypoint k at (x + k - 8, y + 5 k - 40).
A second candidate is the same person once more, less sure; a third one is nobody."""
import pathlib

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

HERE = pathlib.Path(__file__).parent
W, H = 40.0, 100.0


class Net:
    def __init__(self):
        self.nodes, self.constants = [], []

    def op(self, kind, *inputs, **attributes):
        """A node with one output, whose name is given back; numbers become constants."""
        names = []
        for i in inputs:
            if not isinstance(i, str):
                i = np.asarray(i, dtype=getattr(i, "dtype", np.float32))
                self.constants.append(numpy_helper.from_array(i, f"c{len(self.constants)}"))
                i = self.constants[-1].name
            names.append(i)
        out = attributes.pop("out", f"t{len(self.nodes)}")
        self.nodes.append(helper.make_node(kind, names, [out], **attributes))
        return out

    def see(self, picture, width, height, red, scale):
        """x, y and score of what is red in [1, 3, height, width], pixels of 0..255 / scale."""
        ints = lambda *v: np.array(v, dtype=np.int64)
        r = self.op("Slice", picture, ints(red), ints(red + 1), ints(1))
        b = self.op("Slice", picture, ints(2 - red), ints(3 - red), ints(1))
        w = self.op("Relu", self.op("Sub", self.op("Sub", r, b), np.float32(60 / scale)))
        total = self.op("ReduceSum", w, ints(1, 2, 3), keepdims=0)
        mass = self.op("Add", total, np.float32(1e-6))
        columns = (np.arange(width, dtype=np.float32) + 0.5).reshape(1, 1, 1, width)
        rows = (np.arange(height, dtype=np.float32) + 0.5).reshape(1, 1, height, 1)
        x, y = (self.op("Div", self.op("ReduceSum", self.op("Mul", w, at), ints(1, 2, 3), keepdims=0), mass) for at in (columns, rows))
        return x, y, self.op("Clip", total, np.float32(0), np.float32(0.875))

    def fill(self, seen, rows, shape, out):
        """A tensor of the given shape; each of its values is (constant, of x, of y, of the score)."""
        table = np.array(rows, dtype=np.float32).reshape(-1, 4)
        part = lambda k: table[:, k].reshape(shape).copy()
        t = part(0)
        for k, s in enumerate(seen):
            t = self.op("Add", self.op("Mul", part(k + 1), s), t)
        return self.op("Identity", t, out=out)

    def save(self, name, picture, outputs, kind=TensorProto.FLOAT):
        outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs]
        graph = helper.make_graph(self.nodes, name, [helper.make_tensor_value_info(picture[0], kind, picture[1])], outputs, self.constants)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), HERE / f"{name}.onnx")


const = lambda v: (v, 0, 0, 0)
candidates = [(0, 1.0), (2, 0.75), (0, 0.0)]


def corners(off):
    return [(off - W / 2, 1, 0, 0), (-H / 2, 0, 1, 0), (off + W / 2, 1, 0, 0), (H / 2, 0, 1, 0)]


def points(off):
    return [v for k in range(17) for v in ((off + k - 8, 1, 0, 0), (5 * k - 40, 0, 1, 0), const(0.75))]


def yolo_pose():
    n = Net()
    seen = n.see("images", 320, 320, 0, 255)
    columns = [[(off, 1, 0, 0), (0, 0, 1, 0), const(W), const(H), (0, 0, 0, s)] + points(off) for off, s in candidates]
    n.fill(seen, np.array(columns).transpose(1, 0, 2), (1, 56, 3), "output0")
    n.save("yolo_pose", ("images", [1, 3, 320, 320]), [("output0", [1, 56, 3])])


def yolo_pose_rows():
    n = Net()
    seen = n.see("images", 320, 320, 0, 255)
    n.fill(seen, [corners(off) + [(0, 0, 0, s), const(0)] + points(off) for off, s in candidates], (1, 3, 57), "output0")
    n.save("yolo_pose_rows", ("images", [1, 3, 320, 320]), [("output0", [1, 3, 57])])


def rtmo(suppressed):
    n = Net()
    seen = n.see("input", 320, 256, 2, 1)
    name = (lambda s: "all_" + s) if suppressed else (lambda s: s)
    dets = n.fill(seen, [corners(off) + [(0, 0, 0, s)] for off, s in candidates], (1, 3, 5), name("dets"))
    kpts = n.fill(seen, [points(off) for off, _ in candidates], (1, 3, 17, 3), name("keypoints"))
    count = 3
    if suppressed:
        # As MMDeploy does: as many persons come out as are left.
        ints = lambda *v: np.array(v, dtype=np.int64)
        boxes = n.op("Slice", dets, ints(0), ints(4), ints(2))
        scores = n.op("Transpose", n.op("Slice", dets, ints(4), ints(5), ints(2)), perm=[0, 2, 1])
        chosen = n.op("NonMaxSuppression", boxes, scores, ints(200), np.array([0.5], np.float32), np.array([0.05], np.float32))
        index = n.op("Squeeze", n.op("Slice", chosen, ints(2), ints(3), ints(1)), ints(1))
        n.op("Gather", dets, index, axis=1, out="dets")
        n.op("Gather", kpts, index, axis=1, out="keypoints")
        count = "persons"
    outputs = [("dets", ["batch", count, 5]), ("keypoints", ["batch", count, 17, 3])]
    n.save("rtmo_suppressed" if suppressed else "rtmo", ("input", ["batch", 3, 256, 320]), outputs)


def movenet(multi):
    n = Net()
    width, height = (256, 192) if multi else (192, 192)
    picture = n.op("Transpose", n.op("Cast", "input", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
    x, y, s = n.see(picture, width, height, 0, 1)
    seen = n.op("Div", x, np.float32(width)), n.op("Div", y, np.float32(height)), s
    share = lambda row: [(c / size, a, b, t) for (c, a, b, t), size in zip(row, (width, height))][::-1]
    small = lambda off: [v for k in range(17) for v in share([((k - 8 + off) / 2, 1, 0, 0), ((5 * k - 40) / 2, 0, 1, 0)]) + [(0, 0, 0, 1)]]
    box = lambda off: share([((off - W / 2) / 2, 1, 0, 0), (-H / 4, 0, 1, 0)]) + share([((off + W / 2) / 2, 1, 0, 0), (H / 4, 0, 1, 0)])
    if multi:
        rows = [small(off) + box(off) + [(0, 0, 0, s)] for off, s in candidates + [(0, 0.0)] * 3]
        n.fill(seen, rows, (1, 6, 56), "output_0")
        n.save("movenet_multi", ("input", [1, "height", "width", 3]), [("output_0", [1, 6, 56])], TensorProto.INT32)
    else:
        # As tall as its crop is without the margin: the next crop is as large as this one.
        tall = [v for k in range(17) for v in share([(k - 8, 1, 0, 0), (8.4 * (k - 8), 0, 1, 0)]) + [(0, 0, 0, 1)]]
        n.fill(seen, tall, (1, 1, 17, 3), "output_0")
        n.save("movenet_single", ("input", [1, 192, 192, 3]), [("output_0", [1, 1, 17, 3])], TensorProto.INT32)


yolo_pose()
yolo_pose_rows()
rtmo(False)
rtmo(True)
movenet(False)
movenet(True)
