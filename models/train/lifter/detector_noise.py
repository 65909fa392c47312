"""2D keypoints as a real top-down detector gives them, from exact projections. All tensors are batched: [B, M observations, 17].

Constants are judgement, not measurement, apart from COCO's per-keypoint annotator spread; every one is randomised per window so that
the lifter does not rely on one detector's habits.
"""

import math

import torch

from skeleton import COCO_K

L_ARM, R_ARM, L_LEG, R_LEG = [7, 9], [8, 10], [13, 15], [14, 16]
PARTS = [  # groups that go missing together
    [13, 14, 15, 16], [11, 12, 13, 14, 15, 16], [15, 16], L_ARM, R_ARM, [13, 15], [14, 16], [0, 1, 2, 3, 4], [5, 7, 9], [6, 8, 10],
]
SWAPS = [  # exchanges that detectors make
    [(13, 14), (15, 16)], [(11, 12), (13, 14), (15, 16)], [(7, 8), (9, 10)], [(15, 16)],
    [(1, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16)],
]


def rand(*shape, device, lo=0.0, hi=1.0):
    return lo + (hi - lo) * torch.rand(*shape, device=device)


def interval(b, times, device, whole=0.5, mean_s=0.4):
    """[B,M] true inside one random time interval per window (the whole window with probability `whole`)."""
    span = -times.min(1, keepdim=True).values
    centre = -span * torch.rand(b, 1, device=device)
    half = -0.5 * mean_s * torch.log(torch.rand(b, 1, device=device).clamp_min(1e-4))
    inside = (times - centre).abs() <= half
    return inside | (torch.rand(b, 1, device=device) < whole)


def smooth_noise(times, joints, device, waves=4):
    """Unit-variance noise [B,M,joints,2] that is correlated in time: a sum of random waves of 0.2 to 5 Hz."""
    b = times.shape[0]
    nu = 0.2 * 25.0 ** torch.rand(b, 1, joints, 2, waves, device=device)
    ph = rand(b, 1, joints, 2, waves, device=device, hi=2 * math.pi)
    amp = torch.randn(b, 1, joints, 2, waves, device=device)
    return (amp * torch.sin(2 * math.pi * nu * times[:, :, None, None, None] + ph)).sum(-1) * math.sqrt(2.0 / waves)


def segment_distance(p, a, b):
    """Distance of 2D points p from segment ab and the position 0..1 along it."""
    ab = b - a
    k = ((p - a) * ab).sum(-1) / ab.square().sum(-1).clamp_min(1e-8)
    k = k.clamp(0, 1)
    return (p - a - k[..., None] * ab).norm(dim=-1), k


def self_occlusion(uv, z):
    """[B,M,17] 0/1: hidden behind the own torso or the other leg (capsules in the picture, compared in depth)."""
    metre = 1.0 / z.mean(-1, keepdim=True)  # one metre at the person, in the picture
    hid = torch.zeros_like(z)
    ms, mh = uv[:, :, 5:7].mean(2), uv[:, :, 11:13].mean(2)
    zs, zh = z[:, :, 5:7].mean(2), z[:, :, 11:13].mean(2)
    body = list(range(5, 17))
    d, k = segment_distance(uv[:, :, body], ms[:, :, None], mh[:, :, None])
    depth = zs[..., None] * (1 - k) + zh[..., None] * k
    hid[:, :, body] = ((d < 0.13 * metre) & (z[:, :, body] > depth + 0.10)).float()
    for leg, other in (((13, 15), (12, 14, 16)), ((14, 16), (11, 13, 15))):
        for u, v in zip(other[:-1], other[1:]):
            d, k = segment_distance(uv[:, :, leg], uv[:, :, None, u], uv[:, :, None, v])
            depth = z[:, :, None, u] * (1 - k) + z[:, :, None, v] * k
            hid[:, :, leg] = torch.maximum(hid[:, :, leg], ((d < 0.07 * metre) & (z[:, :, leg] > depth + 0.06)).float())
    return hid


def detect(uv, z, times, facing, ear_side, border, strength):
    """Exact projections -> what a detector would report.

    uv [B,M,17,2] on the normalised plane, z [B,M,17] depth, times [B,M] (newest 0, falling), facing [B,M] cosine between the face's
    direction and the way to the camera, ear_side [B,M] the same for the left ear (negative: the right ear is nearer), border
    [B,4] = left, right, top, bottom of the picture on the plane, strength [B] scales every error (0: exact, everything seen).
    Returns uv, confidence."""
    b, m, _ = z.shape
    dev = uv.device
    r = lambda *s, lo=0.0, hi=1.0: rand(*s, device=dev, lo=lo, hi=hi)  # noqa: E731
    on = strength.clamp(0, 1)[:, None, None]
    clean = uv
    unit = 0.75 / z[:, :1].mean(-1)[..., None, None] * torch.tensor(COCO_K, device=dev)[None, None, :, None] / 2
    hidden = self_occlusion(uv, z) * r(b, 1, 17, lo=0.2)
    away = ((-0.1 - facing) * 4).clamp(0, 1)[..., None]
    hidden[:, :, 0:3] = torch.maximum(hidden[:, :, 0:3], away)
    side = torch.stack([(-ear_side * 2 - 0.3).clamp(0, 1), (ear_side * 2 - 0.3).clamp(0, 1)], -1)
    hidden[:, :, 3:5] = torch.maximum(hidden[:, :, 3:5], 0.6 * side)
    obj = torch.zeros(b, 17, device=dev)
    parts = torch.zeros(len(PARTS), 17, device=dev)
    for i, p in enumerate(PARTS):
        parts[i, p] = 1
    obj = parts[torch.randint(len(PARTS), (b,), device=dev)] * (r(b, 1) < 0.3)
    gone_obj = (r(b, 1, 1) < 0.6) & (obj[:, None] > 0) & interval(b, times, dev)[..., None]
    hidden = torch.maximum(hidden, obj[:, None] * interval(b, times, dev, 0.4)[..., None] * r(b, 1, 1, lo=0.4))

    quality = torch.exp(math.log(0.48) + 0.5 * torch.randn(b, 1, 1, 1, device=dev)).clamp(0.12, 2.2)
    white = r(b, 1, 1, 1, lo=0.1, hi=0.7)
    e = 0.55 * torch.randn(b, 1, 17, 2, device=dev) + 0.6 * smooth_noise(times, 17, dev) + white * torch.randn(b, m, 17, 2, device=dev)
    e = e * quality * (1 + 3.5 * hidden[..., None]) * strength[:, None, None, None]
    uv = uv + e * unit

    # Left/right exchanges during an interval.
    perm = torch.arange(17, device=dev).repeat(len(SWAPS) + 1, 1)
    for i, pairs in enumerate(SWAPS):
        for x, y in pairs:
            perm[i + 1, x], perm[i + 1, y] = y, x
    kind = torch.where(r(b) < 0.14 * on[:, 0, 0], torch.randint(1, len(SWAPS) + 1, (b,), device=dev), torch.zeros(b, dtype=torch.long, device=dev))
    act = interval(b, times, dev, 0.15, 0.25)
    idx = torch.where(act[..., None], perm[kind][:, None], perm[0])
    swapped = (idx != perm[0]).float()
    uv = uv.gather(2, idx[..., None].expand(-1, -1, -1, 2))

    # Outliers: on another keypoint, or anywhere near the person.
    rate = r(b, 1, 1, hi=0.05) * (r(b, 1, 1) < 0.5) * on
    out = r(b, m, 17) < rate
    other = uv.gather(2, torch.randint(17, (b, m, 17), device=dev)[..., None].expand(-1, -1, -1, 2))
    lo, hi = uv.amin(2, keepdim=True), uv.amax(2, keepdim=True)
    anywhere = lo + (hi - lo) * (r(b, m, 17, 2) * 1.2 - 0.1)
    uv = torch.where(out[..., None], torch.where((r(b, m, 17) < 0.6)[..., None], other, anywhere), uv)

    # Confidence: falls with the error actually made and with occlusion, on a scale that differs per detector.
    en = (e.norm(dim=-1)).clamp_max(8)
    c0 = r(b, 1, 1, lo=0.6, hi=0.98) + 0.05 * torch.randn(b, 1, 17, device=dev)
    c = c0 / (1 + 0.15 * r(b, 1, 1, lo=0.2, hi=1.5) * en.square()) * (1 - 0.55 * hidden)
    c = torch.where(out, c * r(b, m, 17, lo=0.2, hi=0.9), c) * (1 - 0.25 * swapped * r(b, 1, 1))
    c = c + r(b, 1, 1, hi=0.08) * torch.randn(b, m, 17, device=dev)

    # Picture border: mostly lost, sometimes invented at the border.
    left, right, top, bottom = (border[:, i, None, None] for i in range(4))
    outside = (uv[..., 0] < left) | (uv[..., 0] > right) | (uv[..., 1] < top) | (uv[..., 1] > bottom)
    invented = (r(b, 1, 17) < 0.25) & outside
    pinned = torch.stack([uv[..., 0].clamp(left, right), uv[..., 1].clamp(top, bottom)], -1)
    uv = torch.where(invented[..., None], pinned, uv)
    c = torch.where(invented, c * r(b, 1, 17, lo=0.15, hi=0.6), c)
    miss = (outside & ~invented) | gone_obj | (r(b, m, 17) < 0.04 * r(b, 1, 1)) | ((hidden > 0.5) & (r(b, 1, 17) < 0.3))
    c = torch.where(miss, torch.zeros_like(c), c.clamp(0.02, 0.99))
    exact = (strength <= 0)[:, None, None]
    uv = torch.where(exact[..., None], clean, uv)
    c = torch.where(exact, torch.full_like(c, 0.9), c)
    return uv, torch.where(z > 0.15, c, torch.zeros_like(c))
