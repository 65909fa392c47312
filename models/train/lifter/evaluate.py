"""Streams held-out subjects through an exported lifter, as the runtime would, and reports errors.

    python evaluate.py --data mocap_50hz.npz.xz --model ../../pstmo_s_27_live.onnx --out run/eval.json

Held-out sequences (subjects 17, 91, 135, U09) are cut into clips of at most 5 s. Each clip gets one fixed random camera and one detector
noise process over its whole length, observed --fps times a second; every observation from the first on is lifted from what had been seen by then.
Truth: the mocap joints in the real camera's frame. Bodies keep their recorded proportions.
"known height": truth scaled to the training bodies' chain length (1.60 m), i.e. the user has stated the height. Otherwise the network's
average adult is compared with the person as recorded.
Conditions: clean or simulated 2D; gravity known (with a 2.5 degree error) or not. All errors in mm; velocity in mm per observation,
acceleration in mm per observation squared, jitter = mean |third difference| * fps^3 in m/s^3 (truth has its own, printed beside it).
"""

import argparse
import json
import math

import numpy as np
import onnxruntime as ort
import torch

import geometry
import metrics
from data import Engine
from detector_noise import detect
from mocap import CHAIN_REF_M, HZ, load
from skeleton import BONES17, H36M17

CLIP_S = 5


def clips(mocap, step, ui_share, fps):
    """[(first 50 Hz frame, number of observations, from UI-PRMD)], every `step`-th clip; at least 1.2 s long."""
    out = []
    for _, _, source, split, a, b in mocap.sequences:
        if split != "heldout":
            continue
        for s in range(a, b - 60, round(CLIP_S * HZ)):
            n = min(round(CLIP_S * fps), int((b - 1 - s) / HZ * fps) + 1)
            out.append((s, n, source.startswith("UI-PRMD")))
    cmu = [c for c in out if not c[2]]
    ui = [c for c in out if c[2]]
    keep_ui = ui[:: max(1, round(1 / ui_share))] if ui_share > 0 else []
    return (cmu + keep_ui)[::step]


def simulate(engine, group, noisy, fps):
    """One camera per clip -> observations (oldest first) and truth in the real camera's frame."""
    b = len(group)
    first = torch.tensor([c[0] for c in group])
    n = round(CLIP_S * fps)
    t = torch.arange(n).float() / fps
    times = t[None].expand(b, -1)
    p = engine.reshape_body(engine.poses(first, times, torch.ones(b)), first, 0.0)
    count = torch.tensor([c[1] for c in group])
    mid = (count // 2).clamp_max(n - 1)
    rot, centre, border = engine.cameras(p[torch.arange(b), mid, 0], times * 0, 0.0)
    k, fwd, lat = engine.coco_points(p, 0.0)
    cam = torch.einsum("bnij,bnkj->bnki", rot, k - centre[:, :, None])
    z = cam[..., 2].clamp_min(0.1)
    uv = cam[..., :2] / z[..., None]
    to_cam = geometry.unit(centre - k[:, :, 0])
    strength = torch.full((b,), 1.0 if noisy else 0.0)
    # detect() wants times that fall from 0; the noise process is the same either way round.
    duv, conf = detect(uv, cam[..., 2], -times, (fwd * to_cam).sum(-1), (lat * to_cam).sum(-1), border, strength)
    rays = geometry.unit(torch.cat([duv, torch.ones_like(duv[..., :1])], -1))
    g = -rot[:, 0, :, 1] + math.radians(2.5) * torch.randn(b, 3) * (1.0 if noisy else 0.0)
    truth = torch.einsum("bnij,bnkj->bnki", rot, p[:, :, :17] - p[:, :, :1])
    near = cam[..., 2].amin((1, 2)) > 0.25
    scale = CHAIN_REF_M / engine.m.chain[first]
    return times, rays, conf, g, truth, count, near, scale


def windows(times, rays, conf, clip, i, m):
    """The last m observations up to index i of each given clip, newest first."""
    idx = (i[:, None] - torch.arange(m)[None]).clamp_min(0)
    t = times[clip].gather(1, idx)
    r = rays[clip].gather(1, idx[..., None, None].expand(-1, -1, 17, 3))
    c = conf[clip].gather(1, idx[..., None].expand(-1, -1, 17))
    return t - t[:, :1], (i + 1).clamp_max(m), r, c


def run(session, engine, group, noisy, known, slots, lookahead, seed, fps=25.0):
    torch.manual_seed(seed)
    times, rays, conf, g, truth, count, near, scale = simulate(engine, group, noisy, fps)
    names = [i.name for i in session.get_inputs()]
    pred = torch.full_like(truth, float("nan"))
    valid = torch.zeros(truth.shape[:2], dtype=torch.bool)
    b, n = truth.shape[:2]
    for c0 in range(0, b, 16):
        clip = torch.arange(c0, min(c0 + 16, b)).repeat_interleave(n)
        i = torch.arange(n).repeat(len(clip) // n)
        t, cnt, r, c = windows(times, rays, conf, clip, i, int((slots - 1) / 25.0 * fps) + 3)
        sr, sc = geometry.resample(t, cnt, r, c, slots, 25.0)
        kn = torch.full((len(clip),), 1.0 if known else 0.0)
        w, ctx, rot, ok = geometry.normalise(sr, sc, g[clip], kn)
        feed = {"window": w.numpy(), "context": ctx.numpy()}
        y = torch.from_numpy(session.run(None, {k: feed[k] for k in names})[0])
        y = torch.einsum("bij,bki->bkj", rot, y)
        j = i - round(lookahead * fps / 25.0)
        good = (j >= 0) & ok & near[clip] & (i < count[clip])
        # A frame with fewer than 4 keypoints in the newest slot is not lifted by the runtime either.
        good &= (sc[:, 0] > 0).sum(-1) >= 4
        pred[clip[good], j[good]] = y[good]
        valid[clip[good], j[good]] = True
    return pred, truth, valid, scale


def third(x):
    return x[:, 3:] - 3 * x[:, 2:-1] + 3 * x[:, 1:-2] - x[:, :-3]


def summary(pred, truth, valid, scale, fps=25.0):
    p, q = pred[valid], truth[valid]
    raw = 1 / scale[:, None].expand(valid.shape)[valid]
    e = metrics.mpjpe(p, q)
    out = {
        "frames": int(valid.sum()), "mpjpe_known_height": e.mean().item(),
        "mpjpe": metrics.mpjpe(p, q * raw[:, None, None]).mean().item(),
        "p_mpjpe": metrics.p_mpjpe(p, q).mean().item(), "n_mpjpe": metrics.n_mpjpe(p, q).mean().item(),
        "pck150": 100 * (e[:, 1:] < 150).float().mean().item(),
    }
    d = lambda x: x[:, 1:] - x[:, :-1]  # noqa: E731
    v1 = valid[:, 1:] & valid[:, :-1]
    v2 = v1[:, 1:] & v1[:, :-1]
    v3 = v2[:, 1:] & v2[:, :-1]
    out["mpjve"] = metrics.mpjpe(d(pred), d(truth))[v1].mean().item()
    out["accel"] = metrics.mpjpe(d(d(pred)), d(d(truth)))[v2].mean().item()
    out["jitter"] = third(pred)[v3].norm(dim=-1).mean().item() * fps**3
    out["jitter_truth"] = third(truth)[v3].norm(dim=-1).mean().item() * fps**3
    pa, pb = [a for a, _ in BONES17], [b for _, b in BONES17]
    lengths = (pred[:, :, pa] - pred[:, :, pb]).norm(dim=-1)
    std = [lengths[i][valid[i]].std(0).mean().item() for i in range(len(valid)) if valid[i].sum() > 10]
    out["bone_std"] = 1e3 * float(np.mean(std))
    # Knee angle: what rehabilitation and robots read off.
    def knee(x, h, k, a):
        u, v = x[..., h, :] - x[..., k, :], x[..., a, :] - x[..., k, :]
        return torch.rad2deg(torch.acos((geometry.unit(u) * geometry.unit(v)).sum(-1).clamp(-1, 1)))
    out["knee_angle_deg"] = float(np.mean([(knee(p, *j) - knee(q, *j)).abs().mean().item() for j in ((1, 2, 3), (4, 5, 6))]))
    up = geometry.unit(p[:, 8]), geometry.unit(q[:, 8])
    out["torso_tilt_deg"] = torch.rad2deg(torch.acos((up[0] * up[1]).sum(-1).clamp(-1, 1))).mean().item()
    per = e.mean(0)
    return {k: round(v, 2) if isinstance(v, float) else v for k, v in out.items()} | {"per_joint": {n: round(per[i].item(), 1) for i, n in enumerate(H36M17)}}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--data", required=True)
    a.add_argument("--model", required=True)
    a.add_argument("--out")
    a.add_argument("--step", type=int, default=1, help="use every n-th clip")
    a.add_argument("--ui-share", type=float, default=0.25)
    a.add_argument("--seed", type=int, default=5)
    a.add_argument("--fps", type=float, default=25.0)
    a.add_argument("--lookahead", type=int, default=0)
    a = a.parse_args()
    mocap = load(a.data)
    so = ort.SessionOptions()
    so.intra_op_num_threads = 2
    session = ort.InferenceSession(a.model, so, providers=["CPUExecutionProvider"])
    slots = session.get_inputs()[0].shape[1]
    engine = Engine(mocap, slots, 25.0)
    group = clips(mocap, a.step, a.ui_share, a.fps)
    print(f"{len(group)} clips", flush=True)
    result = {}
    for noisy in (False, True):
        for known in (False, True):
            key = ("sim" if noisy else "clean") + ("_gravity" if known else "")
            result[key] = summary(*run(session, engine, group, noisy, known, slots, a.lookahead, a.seed, a.fps), a.fps)
            r = result[key]
            print(f"{key:14s} " + " ".join(f"{k} {v}" for k, v in r.items() if k != "per_joint"), flush=True)
    print("per joint (sim):", json.dumps(result["sim"]["per_joint"]))
    flat = {f"{c}_{m}": result[c][m] for c in result for m in ("mpjpe", "mpjpe_known_height", "p_mpjpe", "mpjve", "accel")}
    note = f"mm, streamed held-out subjects 17, 91, 135, U09 at {a.fps:g} Hz, one camera per 5 s clip (models/train/lifter/evaluate.py)"
    result["manifest"] = {"note": note, "frames": result["sim"]["frames"]} | flat
    if a.out:
        json.dump(result, open(a.out, "w"), indent=1)


if __name__ == "__main__":
    main()
