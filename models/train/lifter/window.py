"""The executable specification of the lifter's input (INPUT.md), for one person, in NumPy and f64.

The runtime implements the same thing in Rust; `export.py` writes golden files from this module; `data.py` has the same maths
batched in torch, and `test_lifter.py` checks that the two agree.
"""

import numpy as np

MIN_CONFIDENCE = 0.1  # a keypoint below this is missing
MAX_GAP_S = 0.25  # two observations further apart are not interpolated
SNAP_S = 0.02  # ... but a slot this close to one of them takes it (half a slot at 25 Hz)
MIN_KEYPOINTS = 4  # a slot needs this many keypoints to be the reference
MIN_DEPTH = 0.05  # a ray that points further away than about 87 degrees from the virtual axis is missing
CLIP = 8.0  # bound on |x|, |y| after scaling
EPS_T = 1e-4  # two times closer than this are the same time


def unit_rays(pixels, fx, fy, cx, cy):
    """Pixels [.., 2] of an undistorted picture -> unit rays [.., 3] (x right, y down, z forward)."""
    r = np.stack([(pixels[..., 0] - cx) / fx, (pixels[..., 1] - cy) / fy, np.ones(pixels.shape[:-1])], -1)
    return r / np.linalg.norm(r, axis=-1, keepdims=True)


def resample(times, rays, confidence, slots, rate_hz):
    """Observations (oldest first: times [M], rays [M,17,3], confidence [M,17]) -> slots, newest first.

    Slot i is at times[-1] - i / rate_hz. Returns rays [T,17,3] and confidence [T,17]; missing keypoints are all zeros."""
    out_r, out_c = np.zeros((slots, 17, 3)), np.zeros((slots, 17))
    for i in range(slots):
        tau = times[-1] - i / rate_hz
        if tau <= times[0] + EPS_T:
            a = b = 0  # before the first observation: the oldest is repeated
        else:
            b = int(np.argmax(times >= tau - EPS_T))  # the oldest observation that is not before the slot
            a = b if times[b] <= tau + EPS_T else b - 1
        gap = times[b] - times[a]
        da, db = tau - times[a], times[b] - tau
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


def normalise(rays, confidence, gravity=None):
    """Slots -> (window [T,17,3], context [5], rotation [3,3]) or None if no slot holds a person.

    `gravity` is the direction in which things fall, in the real camera's frame (level camera: (0, 1, 0)), or None."""
    present = confidence > 0
    usable = np.flatnonzero(present.sum(1) >= MIN_KEYPOINTS)
    if len(usable) == 0:
        return None
    ref = usable[0]
    w = confidence[ref]
    rot = look_at((w[:, None] * rays[ref]).sum(0))
    p = rays @ rot.T
    front = present & (p[..., 2] >= MIN_DEPTH)
    xy = np.where(front[..., None], p[..., :2] / np.maximum(p[..., 2:], MIN_DEPTH), 0.0)
    wf = np.where(front[ref], w, 0.0)
    size = max(np.sqrt((wf * (xy[ref] ** 2).sum(-1)).sum() / max(wf.sum(), 1e-9)), 1e-3)
    xy = np.clip(xy / size, -CLIP, CLIP)
    window = np.concatenate([xy, np.where(front, confidence, 0.0)[..., None]], -1)
    context = np.zeros(5)
    context[0] = size
    if gravity is not None:
        g = rot @ (np.asarray(gravity, float) / np.linalg.norm(gravity))
        context[1:4], context[4] = g, 1.0
    return window.astype(np.float32), context.astype(np.float32), rot


def to_camera(joints, rotation):
    """Network output [17,3] in the virtual camera's frame -> the real camera's frame (root-relative metres)."""
    return joints @ rotation  # row vectors: rotation^T applied to each joint
