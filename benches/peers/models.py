"""posewire's own networks as a Python program would use them: finder, keypoints, and the window of models/train/lifter/window.py."""

import pathlib
import sys
import tomllib

import cv2
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
sys.path.insert(0, str(ROOT / "models/train/lifter"))
import window as spec  # noqa: E402

SEARCH_EVERY = 15  # as posewire's detector.search_every
FOV_DEGREES = 65.0  # along the longer side, as posewire assumes


def manifest(name):
    with open(MODELS / f"{name}.toml", "rb") as f:
        return tomllib.load(f)


def tensor(picture, m):
    rgb = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.float32)
    rgb = (rgb - np.float32(m["input"]["mean"])) / np.float32(m["input"]["std"])
    return np.ascontiguousarray(rgb.transpose(2, 0, 1)[None])


class Detector:
    """One person: found by the finder, followed by the keypoints. `run(name, feed)` computes a network."""

    def __init__(self, run):
        self.run, self.finder, self.keys = run, manifest("posewire-finder"), manifest("posewire-keypoints")
        self.box, self.since = None, 0

    def find(self, bgr):
        w, h = self.finder["input"]["width"], self.finder["input"]["height"]
        s = min(w / bgr.shape[1], h / bgr.shape[0])
        canvas = np.full((h, w, 3), self.finder["input"]["pad"], np.uint8)
        small = cv2.resize(bgr, (round(bgr.shape[1] * s), round(bgr.shape[0] * s)), interpolation=cv2.INTER_AREA)
        canvas[: small.shape[0], : small.shape[1]] = small
        scores, boxes = self.run("posewire-finder", {"image": tensor(canvas, self.finder)})
        best = np.unravel_index(scores[0, 0].argmax(), scores.shape[2:])
        if scores[0, 0][best] < self.finder["decoder"]["score_threshold"]:
            return None
        stride = self.finder["decoder"]["strides"][0]
        x, y = (best[1] + 0.5) * stride, (best[0] + 0.5) * stride
        left, top, right, bottom = boxes[0, :, best[0], best[1]] * stride
        return np.array([x - left, y - top, x + right, y + bottom]) / s

    def look(self, bgr):
        """-> keypoints [17, 3] in pixels with confidence, or None."""
        if self.box is None or self.since >= SEARCH_EVERY:
            found = self.find(bgr)
            self.since = 0
            # Who is followed already keeps the box that follows; the search is for others, and costs the same.
            self.box = found if self.box is None else self.box
        self.since += 1
        if self.box is None:
            return None
        w, h, factor = self.keys["input"]["width"], self.keys["input"]["height"], self.keys["crop_scale"]
        centre, size = (self.box[:2] + self.box[2:]) / 2, self.box[2:] - self.box[:2]
        scale = factor * max(size[0] / w, size[1] / h)
        m = np.array([[1 / scale, 0, w / 2 - centre[0] / scale], [0, 1 / scale, h / 2 - centre[1] / scale]])
        pad = (self.keys["input"]["pad"],) * 3
        crop = cv2.warpAffine(bgr, m, (w, h), flags=cv2.INTER_LINEAR, borderValue=pad)
        (heat,) = self.run("posewire-keypoints", {"image": tensor(crop, self.keys)})
        points = peaks(heat[0], self.keys["decoder"]["stride"])
        points[:, :2] = (points[:, :2] - [w / 2, h / 2]) * scale + centre
        seen = points[points[:, 2] > 0.3]
        if points[:, 2].mean() < 0.3 or len(seen) < 4:
            self.box = None
            return None
        self.box = np.concatenate([seen[:, :2].min(0), seen[:, :2].max(0)])
        return points


def peaks(heat, stride):
    """Peaks with a quarter-cell step towards the higher neighbour; posewire's DARK costs a few microseconds more."""
    joints, rows, columns = heat.shape
    best = heat.reshape(joints, -1).argmax(1)
    y, x = best // columns, best % columns
    n = np.arange(joints)
    at = lambda dy, dx: heat[n, np.clip(y + dy, 0, rows - 1), np.clip(x + dx, 0, columns - 1)]  # noqa: E731
    fx = x + 0.25 * np.sign(at(0, 1) - at(0, -1))
    fy = y + 0.25 * np.sign(at(1, 0) - at(-1, 0))
    return np.stack([(fx + 0.5) * stride, (fy + 0.5) * stride, np.clip(at(0, 0), 0, 1)], 1)


def resample(times, rays, confidence, tau):
    """As window.py's, which goes joint by joint to be read; this one is what a program in Python would run. check() compares them."""
    n = len(tau)
    b = np.minimum(np.searchsorted(times, tau - spec.EPS_T), len(times) - 1)
    a = np.where(times[b] <= tau + spec.EPS_T, b, b - 1)
    a, b = (np.where(tau <= times[0] + spec.EPS_T, 0, k) for k in (a, b))
    gap, da, db = times[b] - times[a], tau - times[a], times[b] - tau
    near = np.where(da < db, a, b)
    wide = (a != b) & (gap > spec.MAX_GAP_S + spec.EPS_T)
    void = wide & (np.where(da < db, da, db) > spec.SNAP_S + spec.EPS_T)
    a, b = np.where(wide, near, a), np.where(wide, near, b)
    va, vb = confidence[a] >= spec.MIN_CONFIDENCE, confidence[b] >= spec.MIN_CONFIDENCE
    w = np.where(a == b, 0.0, da / np.where(gap > 0, gap, 1.0))[:, None]
    both = (1 - w)[..., None] * rays[a] + w[..., None] * rays[b]
    both /= np.maximum(np.linalg.norm(both, axis=-1, keepdims=True), 1e-12)
    k = np.where(va, a[:, None], b[:, None])
    alone = (va != vb) & (k == near[:, None])
    joint = np.arange(confidence.shape[1])[None].repeat(n, 0)
    out_c = np.where(va & vb, (1 - w) * confidence[a] + w * confidence[b], np.where(alone, confidence[k, joint], 0.0))
    out_r = np.where((va & vb)[..., None], both, np.where(alone[..., None], rays[k, joint], 0.0))
    out_c[void], out_r[void] = 0.0, 0.0
    return out_r, out_c


def check():
    """This resample against window.py's, on observations with gaps and unseen joints."""
    rng = np.random.default_rng(1)
    for _ in range(200):
        count = rng.integers(1, 40)
        times = np.cumsum(rng.choice([0.005, 0.033, 0.04, 0.2, 0.6], count))
        rays = rng.normal(size=(count, 17, 3))
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        confidence = rng.uniform(0, 1, (count, 17))
        tau, _ = spec.slot_times(times[-1], 27, 25.0)
        for ours, theirs in zip(resample(times, rays, confidence, np.asarray(tau)), spec.resample(times, rays, confidence, tau)):
            assert np.allclose(ours, theirs, atol=1e-9), np.abs(ours - theirs).max()


class Window:
    """A person's past, as the lifter wants it."""

    def __init__(self, width, height, slots, rate):
        self.person, self.slots, self.rate = spec.Person(slots, rate), slots, rate
        self.f = max(width, height) / 2 / np.tan(np.radians(FOV_DEGREES / 2))
        self.centre = (width - 1) / 2, (height - 1) / 2

    def push(self, points, time):
        rays = spec.unit_rays(points[:, :2], self.f, self.f, *self.centre)
        if not self.person.push(time, rays, points[:, 2]):
            return None
        p = self.person
        # What no slot reaches any more.
        while len(p.times) > 2 and p.times[-1] - p.times[1] > self.slots / self.rate + spec.MAX_GAP_S:
            p.times, p.rays, p.confidence = p.times[1:], p.rays[1:], p.confidence[1:]
        tau, fresh = spec.slot_times(p.times[-1], self.slots, self.rate)
        past = (np.array(values) for values in (p.times, p.rays, p.confidence))
        rays, confidence = resample(*past, np.asarray(tau))
        tensors = spec.tensors(rays, confidence, p.anchor)
        return tensors[0], np.float32(fresh), tensors[1], p.anchor[0]


if __name__ == "__main__":
    check()
    print("resample: as window.py's")
