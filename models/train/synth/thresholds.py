#!/usr/bin/env python3
"""Choose the two thresholds of the manifests without looking at the evaluation sets: on held-out renders and the held-out photographs.

  thresholds.py pool POOL.npz --data DATA [--scenes 160] [--crops 240]      render once (CPU: a second each)
  thresholds.py choose POOL.npz --data DATA [--models FOLDER] [--keypoints posewire-keypoints]

Finder: precision, recall and F1 of its boxes (IoU > 0.5; people marked "ignore" count neither way) over score thresholds. Keypoints: the mean
confidence of 17 (what the runtime compares with `score_threshold`) of crops with somebody, at least four of whose keypoints are seen, and with nobody.
"""
import argparse
import os

import cv2
import numpy as np

import infer
from paths import MODELS


def pool(path, data, scenes, crops):
    import torch
    from augment import augment
    from synth import Synth
    torch.set_num_threads(1)
    s = Synth(data, "cpu", seed=77, work="/tmp/posewire_render_thresholds")
    out = {"scenes": [], "boxes": [], "state": [], "crops": [], "kp": []}
    byte = lambda x: (x.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    while sum(map(len, out["scenes"])) < scenes:
        x, b, st = s.scenes(16)
        out["scenes"].append(byte(augment(s.d, s.camera_lib, x, holes=0.0))), out["boxes"].append(b.numpy()), out["state"].append(st.numpy())
        if sum(map(len, out["crops"])) < crops:
            x, kp, w = s.crops(24, nobody_share=0.4)
            out["crops"].append(byte(augment(s.d, s.camera_lib, x, holes=0.0))), out["kp"].append(np.where(w.numpy()[..., None] > 0, kp.numpy(), -1))
        np.savez_compressed(path, **{k: np.concatenate(v) for k, v in out.items()})
        print(sum(map(len, out["scenes"])), "scenes", sum(map(len, out["crops"])), "crops", flush=True)


def iou(a, b):
    x = np.minimum(a[2], b[:, 2]) - np.maximum(a[0], b[:, 0])
    y = np.minimum(a[3], b[:, 3]) - np.maximum(a[1], b[:, 1])
    i = x.clip(0) * y.clip(0)
    return i / ((a[2] - a[0]) * (a[3] - a[1]) + (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) - i + 1e-9)


def photographs(data):
    """Held-out whole pictures (BGR) with the teacher's boxes in pixels and states."""
    z = np.load(os.path.join(data, "pictures.npz"))
    off = z["photos_off"]
    for k in np.nonzero(z["photo_train"] == 0)[0]:
        img = cv2.imdecode(z["photos"][off[k]:off[k + 1]], 1)
        h, w = img.shape[:2]
        yield img, z["photo_box"][k] * [w, h, w, h], z["photo_w"][k]


def finder_curve(name, find, pictures):
    rows, persons = [], 0
    for img, boxes, state in pictures:
        persons += int((state == 1).sum())
        taken = set()
        for o in find(img, 0.05):  # best first
            q = np.where(state > 0, iou(o, boxes), 0)
            k = int(q.argmax())
            if q[k] > 0.5 and state[k] == 1 and k not in taken:
                taken.add(k)
                rows.append((o[4], 1))
            elif not (q[k] > 0.3 and state[k] == 2):
                rows.append((o[4], 0))
    rows = np.array(rows).reshape(-1, 2)
    print(name, persons, "persons")
    for t in np.arange(0.10, 0.61, 0.05):
        on = rows[rows[:, 0] >= t]
        hit, n = on[:, 1].sum(), len(on)
        p, r = hit / max(n, 1), hit / max(persons, 1)
        print(f"  {t:.2f}: precision {p:.3f} recall {r:.3f} F1 {2 * p * r / max(p + r, 1e-9):.3f}")


def choose(path, data, models, keypoints):
    z = np.load(path)
    find = infer.Finder(os.path.join(models, "posewire-finder.toml"))
    finder_curve("finder, renders:", find, zip(z["scenes"][..., ::-1], z["boxes"], z["state"]))
    finder_curve("finder, photographs:", find, photographs(data))
    net = infer.Keypoints(os.path.join(models, keypoints + ".toml"))
    i, some, none = net.m["input"], [], []
    for img, kp in zip(z["crops"], z["kp"]):
        t = ((img.astype(np.float32) - i["mean"]) / i["std"]).astype(np.float32).transpose(2, 0, 1)[None]
        c = np.clip(net.s.run(None, {i["name"]: t})[0][0].reshape(17, -1).max(1), 0, 1).mean()
        if (kp[:, 2] == 0).all():
            none.append(c)
        elif (kp[:, 2] == 2).sum() >= 4:
            some.append((c, (kp[:, 2] > 0).sum()))
    some, none = np.array(some), np.array(none)
    print("keypoints:", len(some), "crops with somebody,", len(none), "with nobody")
    for t in np.arange(0.10, 0.61, 0.05):
        print(f"  {t:.2f}: kept {(some[:, 0] >= t).mean():.3f} (10 or more in the crop: {(some[some[:, 1] >= 10, 0] >= t).mean():.3f}), nobody taken for somebody {(none >= t).mean():.3f}")


if __name__ == "__main__":
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("what", choices=["pool", "choose"])
    a.add_argument("pool")
    a.add_argument("--data", required=True)
    a.add_argument("--models", default=MODELS)
    a.add_argument("--keypoints", default="posewire-keypoints")
    a.add_argument("--scenes", type=int, default=160)
    a.add_argument("--crops", type=int, default=240)
    a = a.parse_args()
    pool(a.pool, a.data, a.scenes, a.crops) if a.what == "pool" else choose(a.pool, a.data, a.models, a.keypoints)
