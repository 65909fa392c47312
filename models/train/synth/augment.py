"""What cameras do to pictures, and more: colours, random filters, blur, low resolution, noise, JPEG, holes. Kernels in augment.cu."""
import ctypes
import math

import torch

import layout as L
from looks import Dice

PAD = 114 / 255
G = {n: k for k, n in enumerate(L.AUGMENT)}
LUMA = [16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77,
        24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99]


def table(device):
    k = torch.arange(8.0)
    m = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) * 0.5
    m[0] *= math.sqrt(0.5)
    return torch.cat([m.flatten(), torch.tensor(LUMA, dtype=torch.float32)]).to(device)


def kernels(d, n):
    """Blur (Gaussian or motion) or unsharp kernels [n,9,9] and their radii [n]; radius 0 leaves the picture alone."""
    r = torch.arange(-4.0, 5.0, device=d.d)
    yy, xx = torch.meshgrid(r, r, indexing="ij")
    kind = d.pick(n, [0.35, 0.36, 0.12, 0.17])  # none, Gaussian, motion, sharpen
    s = torch.exp(d.u(n, math.log(0.4), math.log(1.9)))
    g = torch.exp(-(xx ** 2 + yy ** 2)[None] / (2 * s.view(n, 1, 1) ** 2))
    a, l = d.u(n, 0, math.pi).view(n, 1, 1), d.u(n, 1.0, 4.0).view(n, 1, 1)
    along, across = xx * torch.cos(a) + yy * torch.sin(a), yy * torch.cos(a) - xx * torch.sin(a)
    m = (along.abs() <= l).float() * torch.exp(-across ** 2 / 0.8)
    k = torch.where((kind == 2).view(n, 1, 1), m, g)
    k = k / k.sum((1, 2), keepdim=True)
    box = ((xx.abs() <= 1) & (yy.abs() <= 1)).float() / 9
    delta = ((xx == 0) & (yy == 0)).float()
    sharp = delta + d.u(n, 0.2, 1.2).view(n, 1, 1) * (delta - box)
    k = torch.where((kind == 3).view(n, 1, 1), sharp, k)
    radius = torch.where(kind == 0, 0.0, torch.where(kind == 3, 1.0, torch.where((kind == 1) & (s < 0.7), 2.0, 4.0)))
    return k.contiguous(), radius


def augment(d: Dice, lib, x, holes=0.2, strength=1.0):
    """x: [n,3,H,W], 0..1 with -1 outside the picture (overwritten) -> 0..1 with the pad grey there."""
    n, _, H, W = x.shape
    dev = x.device
    x = x.contiguous()
    p = torch.zeros(n, L.NAUG, device=dev)
    inside = (x[:, :, ::4, ::4] > -0.2).float()
    mean = ((x[:, :, ::4, ::4].clamp(0, 2) * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1)).clamp(min=0.03)
    gain = torch.exp(d.n(n, 0.1, 0.26 * strength) - 0.5 * torch.log(mean / 0.42))
    p[:, 0:3] = gain[:, None] * torch.exp(d.n((n, 3), 0, 0.08 * strength))
    p[:, G["sat"]] = torch.where(d.chance(n, 0.06), torch.zeros(n, device=dev), d.u(n, 0.5, 1.3))
    p[:, G["contrast"]] = d.u(n, 0.7, 1.3)
    p[:, G["gamma"]] = torch.exp(d.n(n, 0, 0.2 * strength))
    p[:, G["low"]] = torch.where(d.chance(n, 0.25), d.u(n, 1.2, 3.6), torch.ones(n, device=dev))
    p[:, G["nearest"]] = d.chance(n, 0.2).float()
    kern, p[:, G["radius"]] = kernels(d, n)
    p[:, G["randmix"]] = torch.where(d.chance(n, 0.06 * strength), d.u(n, 0.1, 0.5), torch.zeros(n, device=dev))
    rnd = d.n((n, 81)) / math.sqrt(14)
    p[:, G["noise"]] = d.u(n) ** 6 * 0.08 * strength
    p[:, G["seed"]] = torch.floor(d.u(n, 1, 1e6))
    p[:, G["holenoise"]] = d.chance(n, 0.3).float()
    for h in range(2):
        o = G[f"hole{h}x"]
        on = d.chance(n, holes).float()
        p[:, o], p[:, o + 1] = d.u(n, 0, W), d.u(n, 0, H)
        p[:, o + 2], p[:, o + 3] = on * d.u(n, 0.03, 0.17) * W - 0.1, on * d.u(n, 0.03, 0.15) * H - 0.1
    p[:, G["jpeg"]] = torch.where(d.chance(n, 0.4), torch.exp(d.u(n, math.log(0.2), math.log(3.5))), torch.zeros(n, device=dev))
    y = torch.empty_like(x)
    t = table(dev)
    ptr = lambda q: ctypes.c_void_p(q.data_ptr())
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream) if x.is_cuda else None
    lib.pw_augment(stream, ctypes.c_long(n), H, W, ptr(x), ptr(y), ptr(p), ptr(kern), ptr(rnd), ptr(t))
    return y
