"""The executable specification of the lifter's input, version 2 (INPUT.md), for one person, in NumPy and f64.

The runtime implements the same thing in Rust, with caches; `export.py` writes golden files from this module; `geometry.py` has the same
maths batched in torch, and `test_lifter.py` checks that the two agree. Everything here is recomputed for every observation: that the
results of grid slots never change once they exist is a property (tested), not an assumption.
"""

import math

import numpy as np

MIN_CONFIDENCE = 0.1  # a keypoint below this is missing
MAX_GAP_S = 0.25  # two observations further apart are not interpolated
SNAP_S = 0.02  # ... but a slot this close to one of them takes it (half a slot at 25 Hz)
MIN_KEYPOINTS = 4  # fewer present keypoints than this: not an observation
MIN_DEPTH = 0.05  # a ray that points further away than about 87 degrees from the virtual axis is missing
CLIP = 8.0  # bound on |x|, |y| after scaling
EPS_T = 1e-4  # two times closer than this are the same time
ANCHOR_SHIFT = 1.0  # the anchor is kept while the person is within this many s of its axis ...
ANCHOR_SIZE = (0.75, 1.33)  # ... and its own size is within these multiples of s
LOOKAHEAD_UNIT = 10.0  # context[5] = lookahead / this


def unit_rays(pixels, fx, fy, cx, cy):
    """Pixels [.., 2] of an undistorted picture -> unit rays [.., 3] (x right, y down, z forward)."""
    r = np.stack([(pixels[..., 0] - cx) / fx, (pixels[..., 1] - cy) / fy, np.ones(pixels.shape[:-1])], -1)
    return r / np.linalg.norm(r, axis=-1, keepdims=True)


def is_observation(confidence):
    return int((confidence >= MIN_CONFIDENCE).sum()) >= MIN_KEYPOINTS


def slot_times(newest, slots, rate_hz):
    """Slot 0 is the newest observation; slots 1.. lie on multiples of 1/rate_hz, the first one strictly before it. -> tau [T], fresh."""
    k = math.ceil((newest - EPS_T) * rate_hz) - 1
    tau = np.concatenate([[newest], (k - np.arange(slots - 1)) / rate_hz])
    return tau, float(np.clip((newest - tau[1]) * rate_hz - 1.0, -1.0, 0.0))


def resample(times, rays, confidence, tau):
    """Observations (oldest first: times [M], rays [M,17,3], confidence [M,17]) -> one slot per time in tau.

    Returns rays [T,17,3] and confidence [T,17]; missing keypoints are all zeros."""
    out_r, out_c = np.zeros((len(tau), 17, 3)), np.zeros((len(tau), 17))
    for i, t in enumerate(tau):
        if t <= times[0] + EPS_T:
            a = b = 0  # before the first observation: it is repeated
        else:
            b = int(np.argmax(times >= t - EPS_T))  # the oldest observation that is not before the slot
            a = b if times[b] <= t + EPS_T else b - 1
        gap = times[b] - times[a]
        da, db = t - times[a], times[b] - t
        near, dn = (a, da) if da < db else (b, db)
        if a != b and gap > MAX_GAP_S + EPS_T:
            if dn > SNAP_S + EPS_T:
                continue
            a = b = near
        for j in range(17):
            va, vb = confidence[a, j] >= MIN_CONFIDENCE, confidence[b, j] >= MIN_CONFIDENCE
            if va and vb:
                w = 0.0 if a == b else da / gap
                r = (1 - w) * rays[a, j] + w * rays[b, j]
                out_r[i, j] = r / np.linalg.norm(r)
                out_c[i, j] = (1 - w) * confidence[a, j] + w * confidence[b, j]
            elif va or vb:
                k = a if va else b
                if k == near:  # only the nearer observation may speak alone
                    out_r[i, j], out_c[i, j] = rays[k, j], confidence[k, j]
    return out_r, out_c


def look_at(d):
    """Rotation whose rows are the axes of the virtual camera that looks along d, without roll about the image's x axis."""
    z = d / np.linalg.norm(d)
    x = np.array([z[2], 0.0, -z[0]])
    x = x / np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def project(rays, confidence, rot):
    """Unit rays -> coordinates on the virtual camera's plane [..,17,2] and confidence, both 0 where missing."""
    p = rays @ rot.T
    front = (confidence >= MIN_CONFIDENCE) & (p[..., 2] >= MIN_DEPTH)
    xy = np.where(front[..., None], p[..., :2] / np.maximum(p[..., 2:], MIN_DEPTH), 0.0)
    return xy, np.where(front, confidence, 0.0)


def own_camera(rays, confidence):
    """The virtual camera that one observation would choose for itself: rotation [3,3], size."""
    w = np.where(confidence >= MIN_CONFIDENCE, confidence, 0.0)
    rot = look_at((w[:, None] * rays).sum(0))
    xy, c = project(rays, confidence, rot)
    return rot, max(math.sqrt((c * (xy**2).sum(-1)).sum() / max(c.sum(), 1e-9)), 1e-3)


def keep_anchor(anchor, own):
    """Whether the anchor (rotation, size) still serves an observation whose own virtual camera is `own`."""
    (rot, size), (own_rot, own_size) = anchor, own
    d = rot @ own_rot[2]
    near = d[2] >= MIN_DEPTH and math.hypot(d[0], d[1]) <= ANCHOR_SHIFT * size * d[2]
    return near and ANCHOR_SIZE[0] * size <= own_size <= ANCHOR_SIZE[1] * size


def tensors(rays, confidence, anchor, gravity=None, lookahead=0):
    """Slots -> (window [T,17,3], context [6]) in the anchor's frame.

    `gravity` is the direction in which things fall, in the real camera's frame (level camera: (0, 1, 0)), or None."""
    rot, size = anchor
    xy, c = project(rays, confidence, rot)
    window = np.concatenate([np.clip(xy / size, -CLIP, CLIP), c[..., None]], -1)
    context = np.zeros(6)
    context[0], context[5] = size, lookahead / LOOKAHEAD_UNIT
    if gravity is not None:
        context[1:4], context[4] = rot @ (np.asarray(gravity, float) / np.linalg.norm(gravity)), 1.0
    return window.astype(np.float32), context.astype(np.float32)


class Person:
    """One tracked person: push observations, take windows."""

    def __init__(self, slots, rate_hz):
        self.slots, self.rate = slots, rate_hz
        self.times, self.rays, self.confidence, self.anchor = [], [], [], None

    def push(self, t, rays, confidence):
        """-> False if this was not an observation (too few keypoints, or not newer than the last)."""
        if not is_observation(confidence) or (self.times and t <= self.times[-1] + EPS_T):
            return False
        if self.times and t - self.times[-1] > self.slots / self.rate:
            self.__init__(self.slots, self.rate)  # nothing of the past is in the window any more: as a new person
        self.times.append(t)
        self.rays.append(rays)
        self.confidence.append(confidence)
        own = own_camera(rays, confidence)
        if self.anchor is None or not keep_anchor(self.anchor, own):
            self.anchor = own
        return True

    def window(self, gravity=None, lookahead=0):
        """-> window [T,17,3], fresh, context [6], rotation [3,3], the time that the joints describe."""
        tau, fresh = slot_times(self.times[-1], self.slots, self.rate)
        rays, conf = resample(np.array(self.times), np.array(self.rays), np.array(self.confidence), tau)
        window, context = tensors(rays, conf, self.anchor, gravity, lookahead)
        return window, np.float32(fresh), context, self.anchor[0], tau[lookahead]


def to_camera(joints, rotation):
    """Network output [17,3] in the virtual camera's frame -> the real camera's frame (root-relative metres)."""
    return joints @ rotation  # row vectors: rotation^T applied to each joint
