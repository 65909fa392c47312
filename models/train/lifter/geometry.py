"""INPUT.md's slots and tensors, batched in torch (the specification is window.py; test_lifter.py compares them)."""

import torch

from window import ANCHOR_SHIFT, ANCHOR_SIZE, CLIP, EPS_T, LOOKAHEAD_UNIT, MAX_GAP_S, MIN_CONFIDENCE, MIN_DEPTH, MIN_KEYPOINTS, SNAP_S


def unit(v):
    return v / v.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def compact(times, count, rays, conf):
    """Removes what is not an observation (too few keypoints): moved behind the last valid one. Newest first. Also returns the order."""
    m = times.shape[1]
    enough = ((conf >= MIN_CONFIDENCE).sum(-1) >= MIN_KEYPOINTS) & (torch.arange(m, device=times.device)[None] < count[:, None])
    order = torch.argsort((~enough).to(torch.int8), dim=1, stable=True)
    take = lambda x: x.gather(1, order.reshape(*order.shape, *[1] * (x.dim() - 2)).expand_as(x))  # noqa: E731
    return take(times), enough.sum(1), take(rays), take(conf), order


def resample(times, count, rays, conf, tau):
    """times [B,M] newest first; count [B] valid observations; rays [B,M,17,3]; conf [B,M,17]; tau [B,T] slot times."""
    b, m = times.shape
    slots = tau.shape[1]
    valid = torch.arange(m, device=times.device)[None] < count[:, None]
    fall = torch.where(valid, times, torch.full_like(times, -1e9))
    # Number of observations that are not before the slot: a search in the rising sequence of -times.
    later = torch.searchsorted((-fall).contiguous(), (-(tau - EPS_T)).contiguous(), right=True)
    last = (count[:, None] - 1).clamp_min(0)
    ib = torch.minimum((later - 1).clamp_min(0), last)
    tb = times.gather(1, ib)
    ia = torch.where(tb <= tau + EPS_T, ib, torch.minimum(ib + 1, last))
    oldest = times.gather(1, last)
    ia = torch.where(tau <= oldest + EPS_T, last.expand_as(ia), ia)
    ib = torch.where(tau <= oldest + EPS_T, last.expand_as(ib), ib)
    ta, tb = times.gather(1, ia), times.gather(1, ib)
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


def project(rays, conf, rot):
    """rays [B,T,17,3], conf [B,T,17], rot [B,3,3] -> plane coordinates [B,T,17,2], confidence [B,T,17]."""
    p = torch.einsum("bij,btkj->btki", rot, rays)
    front = (conf >= MIN_CONFIDENCE) & (p[..., 2] >= MIN_DEPTH)
    xy = torch.where(front[..., None], p[..., :2] / p[..., 2:].clamp_min(MIN_DEPTH), torch.zeros_like(p[..., :2]))
    return xy, torch.where(front, conf, torch.zeros_like(conf))


def own_camera(rays, conf):
    """rays [B,17,3], conf [B,17] of one observation each -> rotation [B,3,3], size [B], usable [B]."""
    w = torch.where(conf >= MIN_CONFIDENCE, conf, torch.zeros_like(conf))
    usable = (w > 0).sum(-1) >= MIN_KEYPOINTS
    ahead = torch.zeros_like(rays[:, 0])
    ahead[:, 2] = 1.0
    rot = look_at(torch.where(usable[:, None], (w[..., None] * rays).sum(1), ahead))
    xy, c = project(rays[:, None], conf[:, None], rot)
    size = ((c * xy.square().sum(-1)).sum((1, 2)) / c.sum((1, 2)).clamp_min(1e-9)).sqrt().clamp_min(1e-3)
    return rot, size, usable


def keep_anchor(rot, size, own_rot, own_size):
    d = torch.einsum("bij,bj->bi", rot, own_rot[:, 2])
    near = (d[:, 2] >= MIN_DEPTH) & (d[:, :2].norm(dim=-1) <= ANCHOR_SHIFT * size * d[:, 2])
    return near & (own_size >= ANCHOR_SIZE[0] * size) & (own_size <= ANCHOR_SIZE[1] * size)


def random_anchor(own_rot, own_size, share=0.7):
    """An anchor that keep_anchor would keep: what a person's anchor may be by the time that this observation comes."""
    b, dev = own_size.shape[0], own_size.device
    moved = (torch.rand(b, device=dev) < share).to(own_size.dtype)
    lo, hi = (torch.log(torch.tensor(v, device=dev)) for v in ANCHOR_SIZE)
    size = own_size / torch.exp(moved * (lo + (hi - lo) * torch.rand(b, device=dev)))
    angle = 2 * torch.pi * torch.rand(b, device=dev)
    shift = moved * ANCHOR_SHIFT * size * torch.rand(b, device=dev)
    o = torch.stack([shift * torch.cos(angle), shift * torch.sin(angle), torch.ones_like(shift)], -1)
    rot = look_at(torch.einsum("bji,bj->bi", own_rot, o))
    still = (moved == 0)[:, None, None]
    return torch.where(still, own_rot, rot), size


def tensors(rays, conf, rot, size, gravity, known, lookahead=None):
    """rays [B,T,17,3], conf [B,T,17], anchor (rot [B,3,3], size [B]), gravity [B,3] in the real camera, known [B] 0/1.

    Returns window [B,T,17,3], context [B,6]."""
    xy, c = project(rays, conf, rot)
    window = torch.cat([(xy / size[:, None, None, None]).clamp(-CLIP, CLIP), c[..., None]], -1)
    g = torch.einsum("bij,bj->bi", rot, unit(gravity)) * known[:, None]
    k = torch.zeros_like(size) if lookahead is None else lookahead.to(size.dtype) / LOOKAHEAD_UNIT
    return window, torch.cat([size[:, None], g, known[:, None], k[:, None]], -1)
