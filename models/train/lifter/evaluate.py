"""Streams held-out subjects through lifters, as the runtime would, and reports errors.

    python evaluate.py --data mocap_50hz.npz.xz --model ../../pstmo_s_27_live.onnx --out run/eval.json

Held-out sequences (subjects 17, 91, 135, U09) are cut into clips of at most --seconds. Each clip gets one fixed random camera and one detector
noise process over its whole length, observed --fps times a second; every observation from the first on is lifted from what had been seen by then,
with the anchor's hysteresis as in INPUT.md. Truth: the mocap joints in the real camera's frame, at the time that the lookahead describes.
"known height": truth scaled to the training bodies' chain length (1.60 m), i.e. the user has stated the height. Otherwise the network's
average adult is compared with the person as recorded.
Conditions: clean or simulated 2D; gravity known (with a 2.5 degree error where simulated) or not. All errors in mm; velocity in mm per
observation, acceleration in mm per observation squared, jitter = mean |third difference| * fps^3 in m/s^3 (truth has its own, printed beside it).
`train.py` runs the same on the training device for every run that it ends.
"""

import argparse
import json
import math
import os

import numpy as np
import torch

import geometry
import metrics
from data import Engine
from mocap import CHAIN_REF_M, HZ, load
from skeleton import BONES17, H36M17
from window import EPS_T, LOOKAHEAD_UNIT

RATE = 25.0
CONDITIONS = [("sim", True, False), ("clean", False, False), ("sim_gravity", True, True), ("clean_gravity", False, True)]
UI = {
    "m01": "deep squat", "m02": "hurdle step", "m03": "inline lunge", "m04": "side lunge", "m05": "sit to stand", "m06": "leg raise",
    "m07": "shoulder abduction", "m08": "shoulder extension", "m09": "shoulder rotation", "m10": "shoulder scaption",
}


def action(name):
    """Held-out sequences by kind: UI-PRMD's ten exercises, CMU by subject."""
    for k, v in UI.items():
        if f"_{k}_" in name:
            return v
    return {"cmu_135": "martial arts (135)", "cmu_17": "styled walk, boxing (17)", "cmu_91": "walking, jumping (91)"}.get("_".join(name.split("_")[:2]), "other")


def clips(mocap, step, ui_share, fps, seconds):
    """[(first 50 Hz frame, number of observations, from UI-PRMD, action)], every `step`-th clip; 1.2 s to `seconds` long."""
    out = []
    for name, _, source, split, a, b in mocap.sequences:
        if split != "heldout":
            continue
        for s in range(a, b - 60, round(seconds * HZ)):
            n = min(round(seconds * fps), int((b - 1 - s) / HZ * fps) + 1)
            out.append((s, n, source.startswith("UI-PRMD"), action(name)))
    cmu = [c for c in out if not c[2]]
    ui = [c for c in out if c[2]]
    keep_ui = ui[:: max(1, round(1 / ui_share))] if ui_share > 0 else []
    return (cmu + keep_ui)[::step]


class Stream:
    """All clips of a group under one condition: observations (oldest first), anchors and truth, everything in the real camera's frame."""

    def __init__(self, engine, group, noisy, fps):
        seconds = math.ceil(max(c[1] for c in group) / fps)
        b, dev = len(group), engine.device
        first = torch.tensor([c[0] for c in group], device=dev)
        self.count = torch.tensor([c[1] for c in group], device=dev)
        n = round(seconds * fps)
        self.grid0 = math.floor(-1 * RATE)  # grid times start one second before the clip
        g = seconds * round(RATE) - self.grid0 + 2
        phase = torch.rand(b, 1, device=dev) / RATE  # of the observations against the grid
        self.times = phase + torch.arange(n, device=dev) / fps
        grid = ((self.grid0 + torch.arange(g, device=dev)) / RATE).expand(b, -1)
        all_t = torch.cat([self.times, grid], 1)
        p = engine.reshape_body(engine.poses(first, all_t, torch.ones(b, device=dev)), first, 0.0)
        mid = p[torch.arange(b, device=dev), (self.count // 2).clamp_max(n - 1), 0]
        strength = torch.full((b,), 1.0 if noisy else 0.0, device=dev)
        # detect() wants times that fall from 0; the noise process is the same either way round.
        self.rays, self.conf, cam, rot, self.half = engine.observe(p, -all_t, n, strength, 0.0, 0.0, mid)
        self.gravity = -rot[:, 0, :, 1] + math.radians(2.5) * torch.randn(b, 3, device=dev) * (1.0 if noisy else 0.0)
        self.body = torch.einsum("bnij,bnkj->bnki", rot, p[:, :, :17] - p[:, :, :1])
        self.seen = n
        self.near = cam[..., 2].amin((1, 2)) > 0.25
        self.scale = CHAIN_REF_M / engine.m.chain[first]
        flat = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
        own_rot, own_size, ok = geometry.own_camera(flat(self.rays), flat(self.conf))
        own_rot, own_size, self.ok = own_rot.reshape(b, n, 3, 3), own_size.reshape(b, n), ok.reshape(b, n)
        self.rot, self.size = own_rot.clone(), own_size.clone()
        alive = torch.zeros(b, dtype=torch.bool, device=dev)
        r, s = own_rot[:, 0], own_size[:, 0]
        changes = torch.zeros((), device=dev)
        for i in range(n):
            keep = alive & (geometry.keep_anchor(r, s, own_rot[:, i], own_size[:, i]) | ~self.ok[:, i])
            changes += (alive & ~keep & (i < self.count)).sum()
            r, s = torch.where(keep[:, None, None], r, own_rot[:, i]), torch.where(keep, s, own_size[:, i])
            alive = alive | self.ok[:, i]
            self.rot[:, i], self.size[:, i] = r, s
        self.replaced = changes.item() / max(self.count.sum().item(), 1)  # anchors replaced per observation
        self.off_axis = torch.rad2deg(torch.acos(self.rot[:, n // 2, 2, 2].clamp(-1, 1)))

    def windows(self, clip, i, slots, fps, known):
        """Windows of the given (clip, newest observation) pairs: window, fresh, context, screen, anchor rotation, tau, valid."""
        m = int((slots - 1) / RATE * fps) + 4
        idx = (i[:, None] - torch.arange(m, device=i.device)).clamp_min(0)
        t, c = self.times[clip].gather(1, idx), self.conf[clip].gather(1, idx[..., None].expand(-1, -1, 17))
        r = self.rays[clip].gather(1, idx[..., None, None].expand(-1, -1, 17, 3))
        count = (i + 1).clamp_max(m)
        t, count, r, c, _ = geometry.compact(t, count, r, c)
        newest = self.times[clip, i]
        k = torch.ceil((newest - EPS_T) * RATE) - 1
        tau = torch.cat([newest[:, None], (k[:, None] - torch.arange(slots - 1, device=i.device)) / RATE], 1)
        fresh = ((tau[:, :1] - tau[:, 1:2]) * RATE - 1).clamp(-1, 0)
        sr, sc = geometry.resample(t, count.clamp_min(1), r, c, tau)
        rot, size = self.rot[clip, i], self.size[clip, i]
        flag = torch.full((len(clip),), 1.0 if known else 0.0, device=i.device)
        window, context = geometry.tensors(sr, sc, rot, size, self.gravity[clip], flag)
        screen = torch.where((sc > 0)[..., None], sr[..., :2] / sr[..., 2:].clamp_min(0.05) / self.half[clip][:, None, None, None], 0.0).clamp(-8, 8)
        return window, fresh, context, screen, rot, k.long(), self.ok[clip, i] & self.near[clip] & (i < self.count[clip])

    def truth(self, clip, i, k, lookahead):
        """Joints at the time of slot `lookahead`, and whether the person had been seen by then."""
        if lookahead == 0:
            return self.body[clip, i], torch.ones_like(clip, dtype=torch.bool)
        at = k - (lookahead - 1) - self.grid0
        since = (k - (lookahead - 1)).float() / RATE >= self.times[clip, 0] - EPS_T
        return self.body[clip, self.seen + at.clamp_min(0)], since & (at >= 0)


@torch.no_grad()
def stream_errors(models, stream, known, fps, chunk=16):
    """models: have .c (Config) and .predict. -> {(name, lookahead): (pred, truth, valid)}, each [clips, observations, ...]."""
    b, n = stream.times.shape
    dev = stream.times.device
    slots = max(m.c.frames for m in models)
    out = {}
    for m in models:
        for k in m.c.lookaheads:
            nan = torch.full((b, n, 17, 3), float("nan"), device=dev)
            out[m.name, k] = (nan, nan.clone(), torch.zeros(b, n, dtype=torch.bool, device=dev))
    for c0 in range(0, b, chunk):
        clip = torch.arange(c0, min(c0 + chunk, b), device=dev).repeat_interleave(n)
        i = torch.arange(n, device=dev).repeat(len(clip) // n)
        clip, i = (x[i < stream.count[clip]] for x in (clip, i))
        window, fresh, context, screen, rot, grid, good = stream.windows(clip, i, slots, fps, known)
        for m in models:
            t = m.c.frames
            for k in m.c.lookaheads:
                ctx = context.clone()
                ctx[:, 5] = k / LOOKAHEAD_UNIT
                y = m.predict(window[:, :t].contiguous(), fresh, ctx, screen[:, :t])
                if not m.c.screen:
                    y = torch.einsum("bij,bki->bkj", rot, y)
                q, seen = stream.truth(clip, i, grid, k)
                pred, truth, valid = out[m.name, k]
                pred[clip, i], truth[clip, i], valid[clip, i] = y, q, good & seen
    return out


def third(x):
    return x[:, 3:] - 3 * x[:, 2:-1] + 3 * x[:, 1:-2] - x[:, :-3]


def common_instants(stream, k, deepest, fps):
    """[clips, observations] true where lookahead k speaks of an instant that every lookahead up to `deepest` speaks of, with as much past as future:
    what lookaheads are compared on."""
    a, d = round(k * fps / RATE), round(deepest * fps / RATE)
    j = torch.arange(stream.times.shape[1], device=stream.times.device) - a
    return (j[None] >= d) & (j[None] < stream.count[:, None] - d)


def summary(pred, truth, valid, scale, fps=25.0, actions=None, off_axis=None, common=None):
    p, q = pred[valid], truth[valid]
    raw = 1 / scale[:, None].expand(valid.shape)[valid]
    e = metrics.mpjpe(p, q)
    out = {
        "frames": int(valid.sum()), "mpjpe_known_height": e.mean().item(),
        "mpjpe": metrics.mpjpe(p, q * raw[:, None, None]).mean().item(),
        "p_mpjpe": metrics.p_mpjpe(p, q).mean().item(), "n_mpjpe": metrics.n_mpjpe(p, q).mean().item(),
        "pck150": 100 * (e[:, 1:] < 150).float().mean().item(),
        "auc": 100 * float(np.mean([(e[:, 1:] < t).float().mean().item() for t in range(0, 151, 5)])),
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
    if common is not None and (hit := valid & common).any():
        out["common_frames"] = int(hit.sum())
        out["common_mpjpe_known_height"] = metrics.mpjpe(pred[hit], truth[hit]).mean().item()
        out["common_p_mpjpe"] = metrics.p_mpjpe(pred[hit], truth[hit]).mean().item()
        v1c = v1 & common[:, 1:]
        out["common_mpjve"] = metrics.mpjpe(d(pred), d(truth))[v1c].mean().item()
    if off_axis is not None:
        for label, rows in (("centred", off_axis < 12), ("off_axis", off_axis >= 20)):
            hit = valid & rows[:, None]
            out[label + "_mpjpe_known_height"] = metrics.mpjpe(pred[hit], truth[hit]).mean().item()
            out[label + "_frames"] = int(hit.sum())
    out = {k: round(v, 2) if isinstance(v, float) else v for k, v in out.items()}
    per = e.mean(0)
    out["per_joint"] = {n: round(per[i].item(), 1) for i, n in enumerate(H36M17)}
    if actions:
        out["actions"] = {}
        for name in sorted(set(actions)):
            hit = valid & torch.tensor([x == name for x in actions], device=valid.device)[:, None]
            if hit.any():
                out["actions"][name] = [int(hit.sum()), round(metrics.mpjpe(pred[hit], truth[hit]).mean().item(), 1), round(metrics.p_mpjpe(pred[hit], truth[hit]).mean().item(), 1)]
    return out


def measure(models, mocap, step, device, fps=25.0, ui_share=0.25, seed=5, conditions=CONDITIONS, say=print, chunk=16, seconds=5, cameras=1, path=None):
    """-> {model: {lookahead: {condition: summary}}}; every clip is seen by `cameras` cameras."""
    slots = max(m.c.frames for m in models)
    engine = Engine(mocap, slots, RATE, device)
    group = clips(mocap, step, ui_share, fps, seconds) * cameras
    deepest = max(k for m in models for k in m.c.lookaheads)
    actions = [c[3] for c in group]
    result = {m.name: {k: {} for k in m.c.lookaheads} for m in models}
    for name, noisy, known in conditions:
        torch.manual_seed(seed)
        stream = Stream(engine, group, noisy, fps)
        say(f"# {name}: {len(group)} clips, anchor replaced at {100 * stream.replaced:.1f} % of the observations")
        for (model, k), (pred, truth, valid) in stream_errors(models, stream, known, fps, chunk).items():
            common = common_instants(stream, k, deepest, fps) if deepest else None
            r = summary(pred, truth, valid, stream.scale, fps, actions, stream.off_axis, common)
            result[model][k][name] = r
            say(f"{model} lookahead {k} {name}: " + " ".join(f"{x} {y}" for x, y in r.items() if not isinstance(y, dict)))
        if path:  # after every condition: what exists is whole
            with open(path + ".tmp", "w") as f:
                json.dump(result, f, indent=1)
            os.replace(path + ".tmp", path)
    return result


def after_training(runs, mocap, step, seconds, device, path, say):
    for r in runs:
        r.ema.eval()
    measure(runs, mocap, step, device, say=say, chunk=24, seconds=seconds, cameras=2, path=path)


class Onnx:
    """An exported whole-window graph."""

    def __init__(self, path, lookaheads):
        import onnxruntime as ort

        from model import Config

        so = ort.SessionOptions()
        so.intra_op_num_threads = 2
        self.s = ort.InferenceSession(str(path), so, providers=["CPUExecutionProvider"])
        self.name = str(path)
        self.c = Config(frames=self.s.get_inputs()[0].shape[1], lookaheads=lookaheads)

    def predict(self, window, fresh, context, screen=None):
        feed = {"window": window.numpy(), "fresh": fresh.numpy(), "context": context.numpy()}
        return torch.from_numpy(self.s.run(None, {i.name: feed[i.name] for i in self.s.get_inputs()})[0])


def manifest(result, fps=25.0):
    """{lookahead: {condition: summary}} -> the manifest's [error] table."""
    note = f"mm, streamed held-out subjects 17, 91, 135, U09 at {fps:g} Hz, one camera per clip (models/train/lifter/evaluate.py)"
    keys = ("mpjpe", "mpjpe_known_height", "p_mpjpe", "n_mpjpe", "mpjve", "accel", "jitter")
    out = {"note": note, "frames": result[min(result)]["sim"]["frames"]}
    out |= {f"{c}_{k}": r[k] for c, r in result[min(result)].items() for k in keys}
    table = {k: {f"{c}_{m}": r[m] for c, r in v.items() for m in ("mpjpe", "mpjpe_known_height", "p_mpjpe", "mpjve", "jitter")} for k, v in result.items()}
    return {"error": out, "lookahead": table, "actions": {c: r["actions"] for c, r in result[min(result)].items()}}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--data", required=True)
    a.add_argument("--model", required=True, nargs="+")
    a.add_argument("--out")
    a.add_argument("--step", type=int, default=1, help="use every n-th clip")
    a.add_argument("--ui-share", type=float, default=0.25)
    a.add_argument("--seed", type=int, default=5)
    a.add_argument("--fps", type=float, default=25.0)
    a.add_argument("--lookaheads", type=int, nargs="+", default=[0])
    a.add_argument("--seconds", type=float, default=5, help="length of a clip")
    a.add_argument("--cameras", type=int, default=1, help="cameras per clip")
    a.add_argument("--conditions", nargs="+", default=[c[0] for c in CONDITIONS])
    a = a.parse_args()
    models = [Onnx(m, a.lookaheads) for m in a.model]
    conditions = [c for c in CONDITIONS if c[0] in a.conditions]
    measure(models, load(a.data), a.step, "cpu", a.fps, a.ui_share, a.seed, conditions, seconds=a.seconds, cameras=a.cameras, path=a.out)


if __name__ == "__main__":
    main()
