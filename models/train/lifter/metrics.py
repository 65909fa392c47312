"""Pose errors in millimetres. All take [N,17,3] (or [.., 17, 3]) in metres, root-relative."""

import torch


def mpjpe(p, q):
    return 1e3 * (p - q).norm(dim=-1)


def procrustes(p, q):
    """Similarity-align p to q per frame; returns the aligned p."""
    mp, mq = p.mean(-2, keepdim=True), q.mean(-2, keepdim=True)
    a, b = p - mp, q - mq
    u, s, vt = torch.linalg.svd(a.transpose(-1, -2) @ b)
    d = torch.det(u @ vt)
    s = torch.cat([s[..., :2], (s[..., 2] * d)[..., None]], -1)
    u = torch.cat([u[..., :2], u[..., 2:] * d[..., None, None]], -1)
    scale = s.sum(-1) / a.square().sum((-1, -2)).clamp_min(1e-12)
    return scale[..., None, None] * (a @ (u @ vt)) + mq


def p_mpjpe(p, q):
    return mpjpe(procrustes(p.double(), q.double()), q.double()).float()


def n_mpjpe(p, q):
    """After the best scale alone."""
    s = (p * q).sum((-1, -2)) / p.square().sum((-1, -2)).clamp_min(1e-12)
    return mpjpe(p * s[..., None, None], q)
