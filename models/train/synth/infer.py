"""Reference inference of the two networks with ONNX Runtime, reading the manifests: what the Rust runtime does, in a page of NumPy."""
import os
import tomllib

import cv2
import numpy as np

import teacher


class Finder:
    def __init__(self, manifest, threads=1):
        self.m = tomllib.load(open(manifest, "rb"))
        self.s = teacher.session(os.path.join(os.path.dirname(manifest), self.m["file"]), threads)

    def __call__(self, bgr, threshold=None):
        """[n,5]: x0, y0, x1, y1, score in the picture's pixels, after NMS."""
        i, d = self.m["input"], self.m["decoder"]
        W, H, stride = i["width"], i["height"], d["strides"][0]
        h, w = bgr.shape[:2]
        s = min(W / w, H / h)
        canvas = np.full((H, W, 3), i["pad"], np.uint8)
        r = cv2.resize(bgr, (max(1, round(w * s)), max(1, round(h * s))), interpolation=cv2.INTER_AREA if s < 1 else cv2.INTER_LINEAR)
        canvas[:r.shape[0], :r.shape[1]] = r
        t = (canvas[..., ::-1].astype(np.float32) - i["mean"]) / i["std"]
        scores, boxes = self.s.run([d["scores"], d["boxes"]], {i["name"]: t.astype(np.float32).transpose(2, 0, 1)[None]})
        scores, boxes = scores[0, 0], boxes[0] * stride
        ys, xs = np.nonzero(scores > (threshold or d["score_threshold"]))
        cx, cy, b = (xs + 0.5) * stride, (ys + 0.5) * stride, boxes[:, ys, xs]
        out = np.stack([cx - b[0], cy - b[1], cx + b[2], cy + b[3], scores[ys, xs] * s], 1) / s
        out[:, [0, 2]] = out[:, [0, 2]].clip(0, w)
        out[:, [1, 3]] = out[:, [1, 3]].clip(0, h)
        return nms(out, d["nms_iou"])


def nms(b, limit):
    b = b[np.argsort(-b[:, 4])]
    keep = []
    while len(b):
        keep.append(b[0])
        x = np.minimum(b[0, 2], b[1:, 2]) - np.maximum(b[0, 0], b[1:, 0])
        y = np.minimum(b[0, 3], b[1:, 3]) - np.maximum(b[0, 1], b[1:, 1])
        inter = x.clip(0) * y.clip(0)
        area = lambda q: (q[..., 2] - q[..., 0]) * (q[..., 3] - q[..., 1])
        b = b[1:][inter / (area(b[0]) + area(b[1:]) - inter + 1e-9) < limit]
    return np.array(keep).reshape(-1, 5)


class Keypoints:
    def __init__(self, manifest, threads=1, flip=False):
        self.m = tomllib.load(open(manifest, "rb"))
        self.s = teacher.session(os.path.join(os.path.dirname(manifest), self.m["file"]), threads)
        self.flip = flip

    def __call__(self, bgr, box):
        """[17,3]: x, y in the picture's pixels (edge convention less half a pixel: pixel centres), confidence."""
        i, d = self.m["input"], self.m["decoder"]
        W, H = i["width"], i["height"]
        c, size = teacher.crop_box(box, W / H, self.m["crop_scale"])
        t = teacher.crop(bgr, c, size, W, H, i["pad"])[..., ::-1].astype(np.float32)
        t = ((t - i["mean"]) / i["std"]).astype(np.float32).transpose(2, 0, 1)[None]
        h = self.s.run([d["heatmaps"]], {i["name"]: t})[0][0]
        if self.flip:
            g = self.s.run([d["heatmaps"]], {i["name"]: np.ascontiguousarray(t[..., ::-1])})[0][0]
            h = 0.5 * (h + g[teacher.FLIP][:, :, ::-1])
        p = teacher.dark(np.ascontiguousarray(h), d["sigma"])
        p[:, :2] = (p[:, :2] + 0.5) * d["stride"] / [W, H] * size + c - size / 2 - 0.5
        return p
