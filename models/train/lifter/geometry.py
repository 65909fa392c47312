"""INPUT.md's resampling and normalisation, batched in torch (the specification is window.py; test_lifter.py compares them)."""

import torch

from window import CLIP, EPS_T, MAX_GAP_S, MIN_CONFIDENCE, MIN_DEPTH, MIN_KEYPOINTS, SNAP_S


def unit(v):
    return v / v.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def resample(times, count, rays, conf, slots, rate_hz):
    """times [B,M] newest first with times[:, 0] the newest; count [B] valid observations; rays [B,M,17,3]; conf [B,M,17]."""
    b, m = times.shape
    valid = torch.arange(m, device=times.device)[None] < count[:, None]
    tau = times[:, :1] - torch.arange(slots, device=times.device, dtype=times.dtype) / rate_hz  # [B,T]
    later = ((times[:, None] >= tau[..., None] - EPS_T) & valid[:, None]).sum(-1)
    ib = (later - 1).clamp_min(0)
    tb = times.gather(1, ib)
    ia = torch.where(tb <= tau + EPS_T, ib, torch.minimum(ib + 1, count[:, None] - 1))
    ta = times.gather(1, ia)
    gap, da, db = tb - ta, tau - ta, tb - tau
    a_near = (da < db) & (ia != ib)
    wide = (ia != ib) & (gap > MAX_GAP_S + EPS_T)
    lost = wide & (torch.minimum(da, db) > SNAP_S + EPS_T)
    near = torch.where(a_near, ia, ib)
    ia, ib = torch.where(wide, near, ia), torch.where(wide, near, ib)
    w = torch.where(ia == ib, torch.zeros_like(da), da / gap.clamp_min(1e-6))

    def take(x, i):
        return x.gather(1, i.reshape(b, slots, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:]))

    ra, rb, ca, cb = take(rays, ia), take(rays, ib), take(conf, ia), take(conf, ib)
    va, vb = ca >= MIN_CONFIDENCE, cb >= MIN_CONFIDENCE
    w1 = w[..., None]
    both_r, both_c = unit((1 - w1)[..., None] * ra + w1[..., None] * rb), (1 - w1) * ca + w1 * cb
    near_a = a_near[..., None]
    one_ok = torch.where(near_a, va & ~vb, vb & ~va)
    r = torch.where((va & vb)[..., None], both_r, torch.where(near_a[..., None], ra, rb))
    c = torch.where(va & vb, both_c, torch.where(near_a, ca, cb))
    ok = ((va & vb) | one_ok) & ~lost[..., None]
    return torch.where(ok[..., None], r, torch.zeros_like(r)), torch.where(ok, c, torch.zeros_like(c))


def look_at(d):
    z = unit(d)
    x = unit(torch.stack([z[..., 2], torch.zeros_like(z[..., 0]), -z[..., 0]], -1))
    return torch.stack([x, torch.linalg.cross(z, x), z], -2)


def normalise(rays, conf, gravity, known):
    """rays [B,T,17,3], conf [B,T,17], gravity [B,3] in the real camera, known [B] 0/1.

    Returns window [B,T,17,3], context [B,5], rotation [B,3,3], usable [B]."""
    b = rays.shape[0]
    present = conf > 0
    enough = present.sum(-1) >= MIN_KEYPOINTS
    usable = enough.any(1)
    ref = enough.to(torch.int8).argmax(1)
    row = torch.arange(b, device=rays.device)
    w = conf[row, ref]
    d = (w[..., None] * rays[row, ref]).sum(1)
    fallback = torch.zeros_like(d)
    fallback[:, 2] = 1.0
    rot = look_at(torch.where(usable[:, None], d, fallback))
    p = torch.einsum("bij,btkj->btki", rot, rays)
    front = present & (p[..., 2] >= MIN_DEPTH)
    xy = torch.where(front[..., None], p[..., :2] / p[..., 2:].clamp_min(MIN_DEPTH), torch.zeros_like(p[..., :2]))
    wf = torch.where(front[row, ref], w, torch.zeros_like(w))
    size = ((wf * xy[row, ref].square().sum(-1)).sum(-1) / wf.sum(-1).clamp_min(1e-9)).sqrt().clamp_min(1e-3)
    xy = (xy / size[:, None, None, None]).clamp(-CLIP, CLIP)
    window = torch.cat([xy, torch.where(front, conf, torch.zeros_like(conf))[..., None]], -1)
    g = torch.einsum("bij,bj->bi", rot, unit(gravity)) * known[:, None]
    return window, torch.cat([size[:, None], g, known[:, None]], -1), rot, usable
