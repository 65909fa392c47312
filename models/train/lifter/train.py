"""Trains one or several lifters on one shared stream of simulated windows.

    python train.py --data mocap_50hz.npz.xz --out run --runs runs.json --seconds 240

`runs.json` is a list of {"name", "kind": "pstmo"|"mlp", "config": {...}, "lr", "stage1": share of the steps spent on masked pose modelling,
"vte", "velocity", "bones": loss weights, "init": checkpoint to start from}. All runs see the same batches, so that they differ only by what
their entry says. `--steps` fixes the length; `--seconds` measures the speed first and derives the steps (both are in the log).
`--resume` continues from the full checkpoints in --out (weights, averaged weights, optimizer, step; the data stream is reseeded by step).
On a GPU each run's step (forward, backward, AdamW, weight averaging) is one CUDA graph; on a CPU the same code runs without.
"""

import argparse
import copy
import json
import math
import os
import time

import torch
import torch.nn.functional as F

import attention
import metrics
from data import Engine
from mocap import load
from model import Config, MaskedPoseModel, build, macs
from skeleton import BONES17

PA, PB = [a for a, _ in BONES17], [b for _, b in BONES17]


def mean_over(x, ok):
    """Mean of x [B,...] over the windows that count."""
    w = ok.reshape(-1, *[1] * (x.dim() - 1))
    return (x * w).sum() / (w.sum() * (x.numel() // x.shape[0])).clamp_min(1)


class Run:
    def __init__(self, spec, batch, obs_shapes, device, compile_):
        self.spec, self.device, self.name = spec, device, spec["name"]
        self.c = Config(**spec.get("config", {}))
        torch.manual_seed(spec.get("seed", 1))
        self.net = build(spec.get("kind", "pstmo"), self.c).to(device)
        for m in self.net.modules():
            if isinstance(m, torch.nn.BatchNorm1d):
                m.momentum = 0.02
        if spec.get("init"):
            ck = torch.load(spec["init"], map_location="cpu", weights_only=False)
            self.net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in ck["ema"].items()})
        self.ema = copy.deepcopy(self.net).eval()
        self.mpm = MaskedPoseModel(self.net).to(device) if spec.get("stage1") else None
        self.fwd = torch.compile(self.net) if compile_ else self.net
        self.static = {k: torch.zeros(batch, *s, device=device) for k, s in obs_shapes.items()}
        self.loss = torch.zeros(3, device=device)
        self.seen = torch.zeros((), device=device)
        self.pa, self.pb = torch.tensor(PA, device=device), torch.tensor(PB, device=device)
        self.graph, self.phase, self.step = None, None, 0
        self.lr = torch.tensor(0.0, device=device) if device != "cpu" else 0.0
        self.opt = None

    def enter(self, phase):
        """Stage 1 (masked pose modelling) or 2 (lifting): new optimizer, new graph."""
        if self.phase == phase:
            return
        self.phase, self.graph = phase, None
        params = list((self.mpm if phase == 1 else self.net).parameters())
        if phase == 1:
            params = [p for n, p in self.mpm.named_parameters() if not n.startswith(("net.mofa", "net.head", "net.vte"))]
        self.params = params
        decay = [p for p in params if p.dim() > 1]
        plain = [p for p in params if p.dim() <= 1]
        groups = [{"params": decay, "weight_decay": self.spec.get("wd", 0.02)}, {"params": plain, "weight_decay": 0.0}]
        gpu = self.device != "cpu"
        self.opt = torch.optim.AdamW(groups, lr=torch.tensor(0.0, device=self.device) if gpu else 0.0, betas=(0.9, 0.98), fused=gpu, capturable=gpu)
        for g in self.opt.param_groups:
            g["lr"] = self.lr if gpu else 0.0

    def objective(self):
        s = self.static
        ok = s["ok"]
        with torch.autocast("cuda" if self.device != "cpu" else "cpu", torch.bfloat16, enabled=self.device != "cpu"):
            if self.phase == 1:
                w = s["window"]
                b, t = w.shape[:2]
                # Masked slots (80 %) are empty slots; in the others, two keypoints are masked.
                keep = (torch.rand(b, t, 1, 1, device=w.device) >= 0.8) & (torch.rand(b, t, 17, 1, device=w.device) >= 2 / 17)
                pred = self.mpm(w * keep, s["context"])
                err = F.smooth_l1_loss(pred.float(), s["clean"], reduction="none", beta=0.05)
                loss = mean_over(err, ok)
                return loss, (loss.detach(), loss.detach(), loss.detach())
            joints, every = self.fwd(s["window"], s["context"], True)
        joints = joints.float()
        truth = s["joints"]
        target = truth[:, self.c.lookahead]
        a = mean_over((joints - target).square().sum(-1).add(1e-8).sqrt(), ok)
        loss, v = a, a
        if every is not None:
            every = every.float()
            v = mean_over((every - truth).square().sum(-1).add(1e-8).sqrt(), ok)
            loss = loss + self.spec.get("vte", 1.0) * v
            k = self.spec.get("velocity", 0.5)
            if k:
                d = (every[:, 1:] - every[:, :-1]) - (truth[:, 1:] - truth[:, :-1])
                loss = loss + k * mean_over(d.square().sum(-1).add(1e-8).sqrt(), ok)
        k = self.spec.get("bones", 0.1)
        if k:
            length = lambda j: (j.index_select(1, self.pa) - j.index_select(1, self.pb)).square().sum(-1).add(1e-8).sqrt()  # noqa: E731
            loss = loss + k * mean_over((length(joints) - length(target)).abs(), ok)
        return loss, (loss.detach(), a.detach(), v.detach())

    def update(self):
        self.opt.zero_grad(set_to_none=False)
        loss, parts = self.objective()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.params, 1.0, foreach=True)
        self.opt.step()
        self.loss.add_(torch.stack([p.float() for p in parts]))
        self.seen.add_(1)
        with torch.no_grad():
            src, dst = list(self.net.parameters()), list(self.ema.parameters())
            torch._foreach_lerp_(dst, src, 1 - self.spec.get("ema", 0.9995))
            for x, y in zip(self.ema.buffers(), self.net.buffers()):
                x.copy_(y)

    def train_on(self, batch, lr):
        for k, v in self.static.items():
            v.copy_(batch[k], non_blocking=True)
        if self.device == "cpu":
            for g in self.opt.param_groups:
                g["lr"] = lr
            self.net.train()
            self.update()
        else:
            self.lr.fill_(lr)
            if self.graph is None:
                self.capture()
            else:
                self.graph.replay()
        self.step += 1

    def capture(self):
        self.net.train()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # warm-up steps are real steps on this batch
            for _ in range(3):
                self.update()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.update()

    def restart_average(self):
        """The average must not remember the first, bad weights: early in a run it is set to the current ones now and then."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.ema.parameters()), list(self.net.parameters()))

    def slim(self):
        half = {k: v.half() if v.is_floating_point() else v for k, v in self.ema.state_dict().items()}
        return {"config": self.c.dict(), "kind": self.spec.get("kind", "pstmo"), "spec": self.spec, "step": self.step, "ema": {k: v.cpu() for k, v in half.items()}}

    def full(self):
        return self.slim() | {"model": self.net.state_dict(), "ema": self.ema.state_dict(), "opt": self.opt.state_dict(), "phase": self.phase}


@torch.no_grad()
def quick_eval(run, engine, batches):
    out = {}
    for name, parts in batches.items():
        e, p = [], []
        for b in parts:
            j = run.ema(b.window, b.context).float()
            t, ok = b.joints[:, run.c.lookahead], b.ok > 0
            e.append(metrics.mpjpe(j[ok], t[ok]))
            p.append(metrics.p_mpjpe(j[ok], t[ok]))
        e, p = torch.cat(e), torch.cat(p)
        out[name] = {"mpjpe": round(e.mean().item(), 2), "p_mpjpe": round(p.mean().item(), 2)}
    return out


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--data", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--runs", required=True, help="JSON file, or the JSON itself")
    a.add_argument("--batch", type=int, default=1024)
    a.add_argument("--pool", type=int, default=16, help="batches simulated at a time")
    a.add_argument("--reuse", type=int, default=1, help="times that a simulated window is used")
    a.add_argument("--steps", type=int, default=0)
    a.add_argument("--seconds", type=float, default=0)
    a.add_argument("--save-every", type=float, default=60)
    a.add_argument("--compile", action="store_true")
    a.add_argument("--full", action="store_true", help="write full checkpoints (resumable) too")
    a.add_argument("--resume", action="store_true")
    a.add_argument("--eval-batches", type=int, default=6)
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--only", help="comma-separated names of the runs to train")
    a = a.parse_args()
    began = time.time()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    os.makedirs(a.out, exist_ok=True)
    if device == "cuda":
        try:
            worst = attention.self_test()
            attention.USE_FUSED = worst < 0.02
            print(f"fused attention against the stock path: relative difference {worst:.4f}", flush=True)
        except Exception as e:  # a missing compiler, say: the stock path is slower, not worse
            attention.USE_FUSED = False
            print("fused attention not used:", repr(e)[:300], flush=True)
    specs = json.loads(open(a.runs).read() if os.path.exists(a.runs) else a.runs)
    if a.only:
        specs = [s for s in specs if s["name"] in a.only.split(",")]
    frames = max(s.get("config", {}).get("frames", 27) for s in specs)
    assert all(s.get("config", {}).get("frames", 27) == frames for s in specs), "runs of one process share the window length"
    mocap = load(a.data)
    held = torch.zeros_like(mocap.weight)
    for *_, split, s, e in mocap.sequences:
        if split == "heldout":
            held[s:e] = 1
    engine = Engine(mocap, frames, 25.0, 0, device)
    judge = copy.copy(engine)
    judge.cum = torch.cumsum(held.double().to(device), 0)
    shapes = {"window": (frames, 17, 3), "context": (5,), "joints": (frames, 17, 3), "ok": ()}
    if any(s.get("stage1") for s in specs):
        shapes["clean"] = (frames, 17, 2)
    n = 1024 if device == "cuda" else 128
    torch.manual_seed(12345)
    batches = {}
    for name, strength, known in (("sim_nog", 1.0, 0.0), ("sim_g", 1.0, 1.0), ("clean_nog", 0.0, 0.0), ("clean_g", 0.0, 1.0)):
        full = lambda v: torch.full((n,), v, device=device)  # noqa: E731
        batches[name] = [judge.sample(n, full(strength), full(known), vary=0.0) for _ in range(a.eval_batches)]
    runs = [Run(s, a.batch, shapes, device, a.compile) for s in specs]
    for r in runs:
        print(r.name, json.dumps(r.c.dict()), f"{macs(r.c) / 1e6:.1f} M MACs" if r.spec.get("kind", "pstmo") == "pstmo" else "", flush=True)
    first = 0
    if a.resume:
        for r in runs:
            path = f"{a.out}/{r.name}.full.pt"
            if os.path.exists(path):
                ck = torch.load(path, map_location=device, weights_only=False)
                r.net.load_state_dict(ck["model"])
                r.ema.load_state_dict(ck["ema"])
                r.enter(ck["phase"])
                r.opt.load_state_dict(ck["opt"])
                for g in r.opt.param_groups:
                    g["lr"] = r.lr
                r.step = first = ck["step"]

    def stream(step):
        """Batches from `step` on. The seed depends on the step alone, so that a resumed run sees fresh windows. With --reuse R a pool of
        windows is handed out R times, mixed with later ones: simulating costs about as much as a third of a training step."""
        old, rng = [], torch.Generator().manual_seed(a.seed)
        while True:
            torch.manual_seed(a.seed * 1_000_003 + step // a.pool)
            b = engine.sample(a.batch * a.pool)
            b = {k: getattr(b, k) for k in shapes}
            if a.reuse > 1:
                old.append((b, a.reuse - 1))
            for turn in range(a.reuse):
                if turn > 0:
                    if len(old) < 24:  # too few to choose from: come back later
                        continue
                    i = int(torch.randint(len(old), (1,), generator=rng))
                    b, left = old[i]
                    order = torch.randperm(a.batch * a.pool, device=device)
                    b = {k: v[order] for k, v in b.items()}
                    if left > 1:
                        old[i] = (old[i][0], left - 1)
                    else:
                        old.pop(i)
                for i in range(a.pool):
                    s = slice(i * a.batch, (i + 1) * a.batch)
                    yield {k: v[s] for k, v in b.items()}
            step += a.pool

    src = stream(first)
    steps = a.steps
    if not steps:
        warm = 6 if device == "cpu" else 48
        for r in runs:
            r.enter(2)
            saved = copy.deepcopy(r.net.state_dict())
            r.saved = saved
        for _ in range(2 if device == "cpu" else 16):
            b = next(src)
            for r in runs:
                r.train_on(b, 0.0)
        sync(device)
        t0 = time.time()
        for _ in range(warm):
            b = next(src)
            for r in runs:
                r.train_on(b, 0.0)
        sync(device)
        per = (time.time() - t0) / warm
        for r in runs:  # where the time goes
            t0 = time.time()
            for _ in range(8):
                r.train_on(b, 0.0)
            sync(device)
            print(f"  {r.name}: {(time.time() - t0) / 8 * 1e3:.2f} ms")
        t0 = time.time()
        engine.sample(a.batch * a.pool)
        sync(device)
        print(f"  simulating {a.pool} batches: {(time.time() - t0) * 1e3:.1f} ms", flush=True)
        for r in runs:  # the timing steps changed nothing but BatchNorm's statistics and AdamW's moments
            r.net.load_state_dict(r.saved)
            r.ema.load_state_dict(r.saved)
            for st in r.opt.state.values():
                for v in st.values():
                    if torch.is_tensor(v):
                        v.zero_()
            r.step = 0
            r.loss.zero_()
            r.seen.zero_()
        left = a.seconds - (time.time() - began) - 8
        steps = max(int(left / per), 10)
        print(f"{per * 1e3:.2f} ms per step of all runs; {steps} steps of batch {a.batch}", flush=True)
        src = stream(first)
    last, shown = time.time(), time.time()

    def save(final=False):
        for r in runs:
            torch.save(r.slim(), f"{a.out}/{r.name}.pt.tmp")
            os.replace(f"{a.out}/{r.name}.pt.tmp", f"{a.out}/{r.name}.pt")
            if a.full:
                torch.save(r.full(), f"{a.out}/{r.name}.full.pt")

    log = open(f"{a.out}/log.txt", "a")

    def say(text):
        print(text, flush=True)
        log.write(text + "\n")
        log.flush()

    say(f"# steps {steps} batch {a.batch} seed {a.seed} device {device} " + json.dumps(specs))
    for step in range(first, steps):
        b = next(src)
        for r in runs:
            s1 = int(r.spec.get("stage1", 0) * steps)
            r.enter(1 if step < s1 else 2)
            lo, hi = (0, s1) if step < s1 else (s1, steps)
            x, warm = (step - lo) / max(hi - lo, 1), min(1.0, (step - lo + 1) / r.spec.get("warmup", 300))
            floor = 0.01
            r.train_on(b, r.spec.get("lr", 1e-3) * warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * x))))
        if step < 0.6 * steps and step % 200 == 0:
            for r in runs:
                r.restart_average()
        if time.time() - shown > 15 or step == steps - 1:
            sync(device)
            shown = time.time()
            text = " ".join(f"{r.name} " + "/".join(f"{1e3 * v / max(r.seen.item(), 1):.1f}" for v in r.loss.tolist()) for r in runs)
            for r in runs:
                r.loss.zero_()
                r.seen.zero_()
            say(f"{time.time() - began:.0f}s step {step} {text}")
        if time.time() - last > a.save_every:
            last = time.time()
            save()
        if a.seconds and time.time() - began > a.seconds + 20:
            say("out of time")
            break
    save()
    result = {}
    for r in runs:
        r.ema.eval()
        result[r.name] = quick_eval(r, judge, batches)
        say(r.name + " " + json.dumps(result[r.name]))
    json.dump(result, open(f"{a.out}/quick.json", "w"), indent=1)
    say(f"done in {time.time() - began:.0f} s")


def sync(device):
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
