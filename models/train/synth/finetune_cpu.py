#!/usr/bin/env python3
"""Fine-tune a trained network on a CPU: batch norm folded (a third of the memory traffic), augmentation by OpenCV, pictures drawn from a
pool rendered beforehand and from the teacher-labelled photographs.

  finetune_cpu.py pool FOLDER --data DATA --crops 3000 --scenes 1200      render the pool (resumes)
  finetune_cpu.py keypoints|finder FOLDER --data DATA --resume CKPT --out CKPT --minutes 30 [--real 0.5] [--lr 3e-4]
"""
import argparse
import copy
import glob
import math
import os
import time

import cv2
import numpy as np
import torch

import nets
from publish import MEAN, STD
from synth import FLIP, Synth
from train import finder_loss, keypoint_loss

cv2.setNumThreads(1)


def pool(a):
    os.makedirs(a.folder, exist_ok=True)
    s = Synth(a.data, "cpu", seed=os.getpid(), ss=1, work="/tmp/posewire_render_pool")
    have = len(glob.glob(os.path.join(a.folder, "crops_*.npz")))
    for k in range(have, a.crops // 50):
        # ss=1 at one and a half times the size, reduced by area: cheaper than ss=2 and nearly as smooth.
        rgb, kp, w = s.crops(50, W=288, H=384)
        np.savez(os.path.join(a.folder, f"crops_{k:04d}.npz"), x=(rgb.clamp(-1, 2) * 100 + 100).byte().permute(0, 2, 3, 1).numpy(), kp=kp.numpy() * [192 / 288, 256 / 384, 1], w=w.numpy())
    have = len(glob.glob(os.path.join(a.folder, "scenes_*.npz")))
    for k in range(have, a.scenes // 50):
        rgb, b, st = s.scenes(50)
        np.savez(os.path.join(a.folder, f"scenes_{k:04d}.npz"), x=(rgb.clamp(-1, 2) * 100 + 100).byte().permute(0, 2, 3, 1).numpy(), b=b.numpy(), st=st.numpy())


def colours(R, x, strength=1.0):
    """x: float HWC 0..1."""
    x = x * np.exp(R.normal(0, 0.22 * strength)) * np.exp(R.normal(0, 0.06 * strength, 3))
    g = x.mean(2, keepdims=True)
    x = g + (x - g) * (0.0 if R.random() < 0.05 else R.uniform(0.6, 1.3))
    x = np.clip((x - 0.45) * R.uniform(0.75, 1.25) + 0.45, 0, 1) ** np.exp(R.normal(0, 0.15 * strength))
    u = R.random()
    if u < 0.3:
        x = cv2.GaussianBlur(x.astype(np.float32), (0, 0), R.uniform(0.3, 1.6))
    elif u < 0.4:
        h, w = x.shape[:2]
        f = R.uniform(0.3, 0.8)
        x = cv2.resize(cv2.resize(x.astype(np.float32), (int(w * f), int(h * f)), interpolation=cv2.INTER_AREA), (w, h))
    if R.random() < 0.4:
        x = x + R.normal(0, R.uniform(0, 0.05), x.shape)
    x = np.clip(x, 0, 1) * 255
    if R.random() < 0.35:
        x = cv2.imdecode(cv2.imencode(".jpg", x.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(R.uniform(25, 85))])[1], 1)
    return x.astype(np.float32)


class Crops:
    def __init__(self, a):
        self.R = np.random.default_rng(11)
        f = sorted(glob.glob(os.path.join(a.folder, "crops_*.npz")))
        z = [np.load(p) for p in f]
        self.x, self.kp, self.w = (np.concatenate([q[k] for q in z]) for k in ("x", "kp", "w"))
        ok = self.w.sum(1) > 0
        self.x, self.kp, self.w = self.x[ok], self.kp[ok], self.w[ok]
        z = np.load(os.path.join(a.data, "pictures.npz"))
        blob, off = z["crops"], z["crops_off"]
        self.rx = [cv2.imdecode(blob[i:j], 1)[..., ::-1] for i, j in zip(off[:-1], off[1:])]
        self.rkp, self.rbox, self.rw, self.rt = z["crop_kp"], z["crop_box"], z["crop_w"], z["crop_train"]
        self.p = self.rt / self.rt.sum()
        self.real = a.real

    def one(self):
        R = self.R
        if R.random() < self.real:
            synthetic = False
            k = R.choice(len(self.p), p=self.p)
            img, s0 = self.rx[k], np.array([288.0, 384.0])
            kp, w, b = self.rkp[k] * [288, 384, 1], self.rw[k].copy(), self.rbox[k].reshape(2, 2) * s0
            kp[:, 2] = np.where(kp[:, 2] > 0.5, 2, np.where(kp[:, 2] < 0, 0, 1))
            c, ext = b.mean(0), (b[1] - b[0]) * 1.25
            if R.random() < 0.2:
                part = R.uniform(0.45, 0.9)
                c[1] -= ext[1] * (1 - part) / 2
                ext[1] *= part
            size = np.maximum(ext, ext[::-1] * [0.75, 1 / 0.75])
            c = c + R.normal(0, 0.04, 2) * size
            scale, ang = 192 / (size[0] * np.clip(np.exp(R.normal(0, 0.12)), 0.7, 1.4)), (R.normal(0, 0.3) if R.random() < 0.5 else 0.0)
        else:
            synthetic = True
            k = R.integers(len(self.x))
            img = self.x[k]
            kp, w = self.kp[k] * [1.5, 1.5, 1], self.w[k].copy()
            c, scale, ang = np.array([144.0, 192.0]) + R.normal(0, 6, 2), np.exp(R.normal(0, 0.06)) / 1.5, R.normal(0, 0.12)
        co, si = math.cos(ang) * scale, math.sin(ang) * scale
        M = np.array([[co, -si, 96 - co * c[0] + si * c[1]], [si, co, 128 - si * c[0] - co * c[1]]])
        Mc = M.copy()
        Mc[:, 2] += M[:, :2] @ [0.5, 0.5] - 0.5
        if synthetic:
            f = img.astype(np.float32) / 100 - 1
            void = f[..., 0] < -0.2
            f = np.clip(f, 0, 2)
            f *= np.exp(R.normal(0, 0.15)) * np.clip(0.42 / max(f[~void].mean(), 0.03), 0.3, 3) ** 0.5
            f = cv2.warpAffine(f, Mc, (192, 256), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
            void = cv2.warpAffine(void.astype(np.uint8), Mc, (192, 256), flags=cv2.INTER_NEAREST, borderValue=1) > 0
            x = colours(R, f)
            x[void] = 114
        else:
            x = colours(R, cv2.warpAffine(img, Mc, (192, 256), borderValue=(114,) * 3).astype(np.float32) / 255)
        if R.random() < 0.25:
            u, v, ww, hh = R.uniform(0, 192), R.uniform(0, 256), R.uniform(8, 60), R.uniform(8, 60)
            x[int(max(v - hh, 0)):int(v + hh), int(max(u - ww / 2, 0)):int(u + ww / 2)] = R.uniform(0, 255, 3)
        kp = kp.copy()
        kp[:, :2] = kp[:, :2] @ M[:, :2].T + M[:, 2]
        kp[:, 2] *= (kp[:, 0] > 0) & (kp[:, 0] < 192) & (kp[:, 1] > 0) & (kp[:, 1] < 256)
        if R.random() < 0.5:
            x, kp, w = x[:, ::-1], kp[FLIP].copy(), w[FLIP]
            kp[:, 0] = 192 - kp[:, 0]
        return x, kp, w

    def batch(self, n):
        x, kp, w = zip(*[self.one() for _ in range(n)])
        t = lambda q: torch.from_numpy(np.ascontiguousarray(np.stack(q), np.float32))
        return t(x), t(kp), t(w)


class Scenes:
    def __init__(self, a):
        self.R = np.random.default_rng(12)
        z = [np.load(p) for p in sorted(glob.glob(os.path.join(a.folder, "scenes_*.npz")))]
        self.x, self.b, self.st = (np.concatenate([q[k] for q in z]) for k in ("x", "b", "st"))
        z = np.load(os.path.join(a.data, "pictures.npz"))
        blob, off = z["photos"], z["photos_off"]
        self.rx = [cv2.imdecode(blob[i:j], 1)[..., ::-1] for i, j in zip(off[:-1], off[1:])]
        self.rb, self.rst, t = z["photo_box"], z["photo_w"], z["photo_train"]
        self.p, self.real = t / t.sum(), a.real

    def one(self):
        R = self.R
        if R.random() < self.real:
            k = R.choice(len(self.p), p=self.p)
            img, b, st = self.rx[k], self.rb[k] * [320, 256, 320, 256], self.rst[k].copy()
            s = np.clip(np.exp(R.normal(0.0, 0.35)), 0.35, 2.2)
            sy = s * np.exp(R.normal(0, 0.06))
            t = np.array([(1 - s) * 160 + R.uniform(-0.5, 0.5) * (abs(s - 1) + 0.2) * 320, (1 - sy) * 128 + R.uniform(-0.5, 0.5) * (abs(s - 1) + 0.2) * 256])
            M = np.array([[s * 320 / 480, 0, t[0]], [0, sy * 256 / 384, t[1]]])
            x = colours(R, cv2.warpAffine(img, M, (320, 256), flags=cv2.INTER_AREA, borderValue=(114,) * 3).astype(np.float32) / 255)
            full = b * [s, sy, s, sy] + np.concatenate([t, t])
            clip = np.clip(full, 0, [320, 256, 320, 256])
            area = lambda q: np.maximum(q[:, 2] - q[:, 0], 0) * np.maximum(q[:, 3] - q[:, 1], 0)
            st = np.where((st == 1) & (area(clip) < 0.25 * area(full)), 2, st)
            st = np.where(area(clip) < 60, np.where(st > 0, 2, 0), st)
            b = clip
        else:
            k = R.integers(len(self.x))
            f = self.x[k].astype(np.float32) / 100 - 1
            void = f[..., 0] < -0.2
            f = np.clip(f, 0, 2)
            f *= np.exp(R.normal(0, 0.15)) * np.clip(0.42 / max(f[~void].mean(), 0.03), 0.3, 3) ** 0.5
            b, st = self.b[k].astype(np.float64), self.st[k].copy()
            if R.random() < 0.6:  # a pool of a thousand scenes is small: zoom and shift it
                z = np.exp(R.normal(0.1, 0.25))
                t = np.array([(1 - z) * R.uniform(0, 320), (1 - z) * R.uniform(0, 256)])
                M = np.array([[z, 0, t[0]], [0, z, t[1]]])
                f = cv2.warpAffine(f.astype(np.float32), M, (320, 256), flags=cv2.INTER_LINEAR)
                void = cv2.warpAffine(void.astype(np.uint8), M, (320, 256), flags=cv2.INTER_NEAREST, borderValue=1) > 0
                full = b * z + np.concatenate([t, t])
                b = np.clip(full, 0, [320, 256, 320, 256])
                area = lambda q: np.maximum(q[:, 2] - q[:, 0], 0) * np.maximum(q[:, 3] - q[:, 1], 0)
                st = np.where((st == 1) & ((area(b) < 0.25 * area(full)) | (np.maximum(b[:, 2] - b[:, 0], b[:, 3] - b[:, 1]) < 14)), 2, st)
                st = np.where(area(b) <= 1, 0, st)
            x = colours(R, f)
            x[void] = 114
        if R.random() < 0.5:
            x = x[:, ::-1]
            b = np.stack([320 - b[:, 2], b[:, 1], 320 - b[:, 0], b[:, 3]], 1)
        return x, b, st

    def batch(self, n):
        x, b, st = zip(*[self.one() for _ in range(n)])
        t = lambda q: torch.from_numpy(np.ascontiguousarray(np.stack(q), np.float32))
        return t(x), t(b), t(st)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("what", choices=["pool", "keypoints", "finder"])
    a.add_argument("folder")
    a.add_argument("--data", required=True)
    a.add_argument("--crops", type=int, default=3000)
    a.add_argument("--scenes", type=int, default=1200)
    a.add_argument("--resume")
    a.add_argument("--out")
    a.add_argument("--minutes", type=float, default=30)
    a.add_argument("--real", type=float, default=0.5)
    a.add_argument("--lr", type=float, default=4e-4)
    a.add_argument("--batch", type=int, default=16)
    a.add_argument("--threads", type=int, default=1)
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    if a.what == "pool":
        return pool(a)
    kp = a.what == "keypoints"
    net = nets.Keypoints() if kp else nets.Finder()
    state = torch.load(a.resume, map_location="cpu", weights_only=True)
    sd = {k: v.float() if v.is_floating_point() else v for k, v in state["ema"].items()}
    if state.get("folded"):
        net = nets.folded(net)
        net.load_state_dict(sd)
    else:
        net.load_state_dict(sd)
        net = nets.folded(net)
    net = net.to(memory_format=torch.channels_last)
    for p in net.parameters():
        p.requires_grad_(True)
    ema = copy.deepcopy(net)
    data = Crops(a) if kp else Scenes(a)
    print("pool", len(data.x), "photographs", len(data.rx), flush=True)
    opt = torch.optim.AdamW(net.parameters(), lr=a.lr, weight_decay=0.005)
    t0, step, run, shown = time.time(), 0, None, time.time()
    while (f := (time.time() - t0) / (a.minutes * 60)) < 1:
        for g in opt.param_groups:
            g["lr"] = a.lr * min(1, (step + 1) / 30) * (0.5 + 0.5 * math.cos(math.pi * f))
        batch = data.batch(a.batch)
        x = ((batch[0].permute(0, 3, 1, 2) - MEAN) / STD).contiguous(memory_format=torch.channels_last)
        out = net(x)
        loss = keypoint_loss(out, *batch[1:]) if kp else finder_loss(*out, *batch[1:])[0]
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), max(0.01, 1 / (step + 2)))
        step += 1
        run = float(loss) if run is None else run + 0.02 * (float(loss) - run)
        if time.time() - shown > 60:
            shown = time.time()
            print(f"step {step} minutes {(time.time() - t0) / 60:.1f} pictures/s {step * a.batch / (time.time() - t0):.1f} loss {run:.4f}", flush=True)
            torch.save({"ema": {k: v.half() for k, v in ema.state_dict().items()}, "folded": True}, a.out)
    torch.save({"ema": {k: v.half() for k, v in ema.state_dict().items()}, "folded": True}, a.out)
    print("done", step, "steps")


if __name__ == "__main__":
    main()
