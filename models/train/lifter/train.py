"""Trains one or several lifters on one shared stream of simulated windows.

    python train.py --data mocap_50hz.npz.xz --out run --runs runs/main81.json --batch 512 --pairs 128 --reuse 3 --compile --seconds 600

`runs.json` is a list of {"name", "kind": "pstmo"|"tcn"|"mlp", "config": {...}, "lr", "stage1": share of the run spent on masked pose
modelling, "vte", "velocity", "bones", "pair": loss weights, "newest": share of the windows that ask for slot 0 where several lookaheads are
trained, "init": checkpoint to start from,
"save": false for controls that are only evaluated}. All runs see the same batches (a shorter window is the newer part of a longer one), so that
they differ only by what their entry says. `--steps` fixes the length; `--seconds` makes the schedule follow the clock instead (start-up and
evaluation included), whatever else runs on the machine. `--resume` continues from the full checkpoints in --out (weights, averaged weights,
optimizer, step; the data stream is reseeded by step). `--after PID` compiles while another training ends and starts when that process is gone;
`--until` (seconds since the epoch) then ends it in time.
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

import evaluate
from data import Engine
from mocap import load
from model import Config, MaskedPoseModel, build, macs
from skeleton import BONES17

PA, PB = [a for a, _ in BONES17], [b for _, b in BONES17]
PART = 12 << 20  # checkpoints are written in files of at most this many bytes


def mean_over(x, ok):
    """Mean of x [B,...] over the windows that count."""
    w = ok.reshape(-1, *[1] * (x.dim() - 1))
    return (x * w).sum() / (w.sum() * (x.numel() // x.shape[0])).clamp_min(1)


def length(d):
    return d.square().sum(-1).add(1e-8).sqrt()


class Run:
    def __init__(self, spec, batch, pairs, shapes, device, compile_):
        self.spec, self.device, self.name, self.pairs = spec, device, spec["name"], pairs
        self.c = Config(**spec.get("config", {}))
        torch.manual_seed(spec.get("seed", 1))
        self.net = build(spec.get("kind", "pstmo"), self.c).to(device)
        for m in self.net.modules():
            if isinstance(m, torch.nn.BatchNorm1d):
                m.momentum = 0.02
        if spec.get("init"):
            ck = read_checkpoint(spec["init"])
            self.net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in ck["ema"].items()})
        self.ema = copy.deepcopy(self.net).eval()
        self.mpm = MaskedPoseModel(self.net).to(device) if spec.get("stage1") else None
        self.fwd = torch.compile(self.net, dynamic=False) if compile_ else self.net
        # A run with a shorter window takes the newer slots.
        self.static = {k: torch.zeros(batch, *((self.c.frames, *s[1:]) if len(s) == 3 else s), device=device) for k, s in shapes.items()}
        self.slot = torch.zeros(batch, dtype=torch.long, device=device)
        share = spec.get("newest", 0.3)
        n = len(self.c.lookaheads)
        self.ahead = torch.tensor(self.c.lookaheads, device=device)
        self.odds = torch.tensor([1.0] if n == 1 else [share] + [(1 - share) / (n - 1)] * (n - 1), device=device)
        self.loss = torch.zeros(4, device=device)
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

    def inputs(self):
        s = self.static
        window, context = s["window"], s["context"].clone()
        context[:, 5] = self.slot / 10.0
        if self.c.screen:
            window = torch.cat([s["screen"], window[..., 2:]], -1)
        return window, s["fresh"], context

    def objective(self):
        s = self.static
        ok = s["ok"]
        window, fresh, context = self.inputs()
        with torch.autocast("cuda" if self.device != "cpu" else "cpu", torch.bfloat16, enabled=self.device != "cpu"):
            if self.phase == 1:
                b, t = window.shape[:2]
                # Masked slots (80 %) are empty slots; in the others, two keypoints are masked.
                keep = (torch.rand(b, t, 1, 1, device=window.device) >= 0.8) & (torch.rand(b, t, 17, 1, device=window.device) >= 2 / 17)
                pred = self.mpm(window * keep, fresh, context)
                err = F.smooth_l1_loss(pred.float(), s["clean"], reduction="none", beta=0.05)
                loss = mean_over(err, ok)
                return loss, [loss.detach()] * 4
            joints, every = self.fwd(window, fresh, context, True)
        joints = joints.float()
        truth = s["joints"]
        if self.c.screen:  # the reference's target: the real camera's frame
            truth = torch.einsum("bji,btkj->btki", s["rotation"], truth)
        target = truth.gather(1, self.slot[:, None, None, None].expand(-1, 1, 17, 3))[:, 0]
        a = mean_over(length(joints - target), ok)
        loss, v, p = a, a, torch.zeros_like(a)
        if every is not None:
            every = every.float()
            v = mean_over(length(every - truth), ok)
            loss = loss + self.spec.get("vte", 1.0) * v
            k = self.spec.get("velocity", 0.5)
            if k:
                d = (every[:, 1:] - every[:, :-1]) - (truth[:, 1:] - truth[:, :-1])
                loss = loss + k * mean_over(length(d), ok)
        k = self.spec.get("bones", 0.1)
        if k:
            bone = lambda j: length(j.index_select(1, self.pa) - j.index_select(1, self.pb))  # noqa: E731
            loss = loss + k * mean_over((bone(joints) - bone(target)).abs(), ok)
        k, n = self.spec.get("pair", 1.0), self.pairs
        if n:
            # What the live output really jumps by from one observation to the next.
            d = (joints[:n] - joints[-n:]) - (target[:n] - target[-n:])
            p = mean_over(length(d), ok[:n] * ok[-n:])
            loss = loss + k * p
        return loss, [x.detach() for x in (loss, a, v, p)]

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
            v.copy_(batch[k][:, : v.shape[1]] if v.dim() > 3 else batch[k], non_blocking=True)
        b = len(self.slot)
        k = self.ahead[torch.multinomial(self.odds, b, True)]
        if self.pairs:
            k[-self.pairs :] = k[: self.pairs]
        self.slot.copy_(k)
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

    def warm_up(self, batch):
        """Compiles and captures on one batch at learning rate 0, then forgets what the batch did (BatchNorm, AdamW's moments)."""
        saved = [copy.deepcopy(m.state_dict()) for m in (self.net, self.ema)]
        for _ in range(3):
            self.train_on(batch, 0.0)
        self.net.load_state_dict(saved[0])
        self.ema.load_state_dict(saved[1])
        for st in self.opt.state.values():
            for v in st.values():
                if torch.is_tensor(v):
                    v.zero_()
        self.step = 0
        self.loss.zero_()
        self.seen.zero_()

    def restart_average(self):
        """The average must not remember the first, bad weights: early in a run it is set to the current ones now and then."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.ema.parameters()), list(self.net.parameters()))

    def predict(self, window, fresh, context, screen=None):
        """What evaluate.py asks for: joints in the virtual camera's frame (or, for a screen model, the real one's)."""
        if self.c.screen:
            window = torch.cat([screen, window[..., 2:]], -1)
        return self.ema(window, fresh, context).float()

    def slim(self):
        half = {k: v.half() if v.is_floating_point() and v.dim() == 2 else v for k, v in self.ema.state_dict().items()}  # matrices only
        return {"config": self.c.dict(), "kind": self.spec.get("kind", "pstmo"), "spec": self.spec, "step": self.step, "ema": {k: v.cpu() for k, v in half.items()}}

    def full(self):
        return self.slim() | {"model": self.net.state_dict(), "ema": self.ema.state_dict(), "opt": self.opt.state_dict(), "phase": self.phase}


def write_checkpoint(obj, path):
    """Atomic; a large one becomes path, path.1, path.2, ..."""
    torch.save(obj, path + ".tmp")
    raw = open(path + ".tmp", "rb").read()
    if len(raw) <= PART:
        os.replace(path + ".tmp", path)
        return
    for i in range(0, len(raw), PART):
        name = path if i == 0 else f"{path}.{i // PART}"
        with open(name + ".part", "wb") as f:
            f.write(raw[i : i + PART])
        os.replace(name + ".part", name)
    os.remove(path + ".tmp")


def read_checkpoint(path):
    import io

    raw, i = open(path, "rb").read(), 1
    while os.path.exists(f"{path}.{i}"):
        raw, i = raw + open(f"{path}.{i}", "rb").read(), i + 1
    return torch.load(io.BytesIO(raw), map_location="cpu", weights_only=False)


def stream(engine, a, keys, first, device):
    """Batches from step `first` on. The seed depends on the step alone, so that a resumed run sees fresh windows. With --reuse R a pool of
    windows is handed out R times, mixed with later ones: simulating costs about as much as a third of a training step."""
    old, rng, step = [], torch.Generator().manual_seed(a.seed), first
    n, p = a.batch * a.pool, a.pairs * a.pool
    while True:
        torch.manual_seed(a.seed * 1_000_003 + step // a.pool)
        b = engine.sample(n, pairs=p)
        b = {k: getattr(b, k) for k in keys}
        if a.reuse > 1:
            old.append([b, a.reuse - 1])
        for turn in range(a.reuse):
            if turn > 0:
                if len(old) < a.keep:  # too few to choose from: come back later
                    continue
                i = int(torch.randint(len(old), (1,), generator=rng))
                b = old[i][0]
                old[i][1] -= 1
                if old[i][1] == 0:
                    old.pop(i)
            # Pairs stay together: [first halves | single windows | second halves] in every batch.
            o1, o2 = torch.randperm(p, device=device), p + torch.randperm(n - 2 * p, device=device)
            s = a.batch - 2 * a.pairs
            for i in range(a.pool):
                q = o1[i * a.pairs : (i + 1) * a.pairs]
                index = torch.cat([q, o2[i * s : (i + 1) * s], q + n - p])
                yield {k: v.index_select(0, index) for k, v in b.items()}
        step += a.pool


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--data", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--runs", required=True, help="JSON file, or the JSON itself")
    a.add_argument("--batch", type=int, default=512)
    a.add_argument("--pairs", type=int, default=128, help="windows of a batch that come with the one of an observation earlier")
    a.add_argument("--pool", type=int, default=8, help="batches simulated at a time")
    a.add_argument("--reuse", type=int, default=1, help="times that a simulated window is used")
    a.add_argument("--keep", type=int, default=24, help="pools among which reused ones are chosen")
    a.add_argument("--steps", type=int, default=0)
    a.add_argument("--seconds", type=float, default=0)
    a.add_argument("--reserve", type=float, default=20, help="seconds of --seconds that are kept for evaluation and saving")
    a.add_argument("--after", type=int, default=0, help="process that has to end first; --seconds count from then")
    a.add_argument("--until", type=float, default=0, help="seconds since the epoch at which everything has to be written")
    a.add_argument("--save-every", type=float, default=45)
    a.add_argument("--compile", action="store_true")
    a.add_argument("--full", action="store_true", help="write full checkpoints (resumable) too")
    a.add_argument("--resume", action="store_true")
    a.add_argument("--eval-step", type=int, default=1, help="evaluate on every n-th held-out clip; 0: not")
    a.add_argument("--clip-seconds", type=float, default=10, help="length of the held-out clips")
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--only", help="comma-separated names of the runs to train")
    a = a.parse_args()
    began = time.time()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.set_float32_matmul_precision("high")
    os.makedirs(a.out, exist_ok=True)
    log = open(f"{a.out}/log.txt", "a")

    def say(text):
        text = f"{time.time() - began:6.1f} {text}"
        print(text, flush=True)
        log.write(text + "\n")
        log.flush()

    specs = json.loads(open(a.runs).read() if os.path.exists(a.runs) else a.runs)
    if a.only:
        specs = [s for s in specs if s["name"] in a.only.split(",")]
    lengths = [s.get("config", {}).get("frames", 27) for s in specs]
    frames = max(lengths)
    mocap = load(a.data)
    engine = Engine(mocap, frames, 25.0, device)
    shapes = {"window": (frames, 17, 3), "fresh": (1,), "context": (6,), "joints": (frames, 17, 3), "ok": ()}
    if any(s.get("stage1") for s in specs):
        shapes["clean"] = (frames, 17, 2)
    if any(s.get("config", {}).get("screen") for s in specs):
        shapes |= {"screen": (frames, 17, 2), "rotation": (3, 3)}
    runs = [Run(s, a.batch, a.pairs, shapes, device, a.compile) for s in specs]
    for r in runs:
        n = sum(p.numel() for p in r.net.parameters())
        say(f"{r.name} {json.dumps(r.c.dict())} {n / 1e6:.2f} M parameters" + (f", {macs(r.c) / 1e6:.1f} M MACs" if r.spec.get("kind", "pstmo") == "pstmo" else ""))
    first = 0
    if a.resume:
        for r in runs:
            path = f"{a.out}/{r.name}.full.pt"
            if os.path.exists(path):
                ck = read_checkpoint(path)
                r.net.load_state_dict(ck["model"])
                r.ema.load_state_dict(ck["ema"])
                r.enter(ck["phase"])
                r.opt.load_state_dict(ck["opt"])
                for g in r.opt.param_groups:
                    g["lr"] = r.lr
                r.step = first = ck["step"]
    if device == "cuda" and not first:
        b = engine.sample(a.batch, pairs=a.pairs)
        b = {k: getattr(b, k) for k in shapes}
        for r in list(runs):
            try:
                prepare(r, b, device, say)
            except Exception as problem:  # the other runs of this process go on
                say(f"  {r.name} left out: {type(problem).__name__}: {str(problem)[:2000]}")
                runs.remove(r)
        for _ in range(2):
            t1 = time.time()
            engine.sample(a.batch * a.pool, pairs=a.pairs * a.pool)
            sync(device)
        say(f"  simulating {a.pool} batches: {1e3 * (time.time() - t1):.1f} ms; {torch.cuda.max_memory_allocated() >> 20} MiB")
    starts = began
    if a.after:
        while os.path.exists(f"/proc/{a.after}"):
            time.sleep(0.5)
        starts = time.time()
    t0 = time.time()
    end = starts + a.seconds - a.reserve
    if a.until:
        end = min(end, a.until - a.reserve)
    src = stream(engine, a, shapes, first, device)
    last, shown, tick = time.time(), time.time(), 0

    def save():
        for r in runs:
            if not r.spec.get("save", True):
                continue
            write_checkpoint(r.slim(), f"{a.out}/{r.name}.pt")
            if a.full:
                torch.save(r.full(), f"{a.out}/{r.name}.full.pt")

    say(f"# batch {a.batch} pairs {a.pairs} reuse {a.reuse} seed {a.seed} device {device} " + json.dumps(specs))
    step = first
    while True:
        if step % 16 == 0 or not a.seconds:
            if device == "cuda":
                torch.cuda.current_stream().synchronize()  # the clock is the GPU's, not the queue's
            done = (time.time() - t0) / max(end - t0, 1e-3) if a.seconds else step / a.steps
        if done >= 1:
            break
        b = next(src)
        for r in runs:
            s1 = r.spec.get("stage1", 0)
            r.enter(1 if done < s1 else 2)
            lo, hi = (0, s1) if done < s1 else (s1, 1)
            x, warm = (done - lo) / (hi - lo), min(1.0, (r.step + 1) / r.spec.get("warmup", 300))
            r.train_on(b, r.spec.get("lr", 1e-3) * warm * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * x))))
        if done < 0.6 and step % 200 == 0:
            for r in runs:
                r.restart_average()
        step += 1
        if step == 50:
            say("step 50 " + " ".join(f"{r.name} " + "/".join(f"{1e3 * v / max(r.seen.item(), 1):.1f}" for v in r.loss.tolist()) for r in runs))
        if step % 16 == 0 and time.time() - shown > 15:
            shown = time.time()
            text = " ".join(f"{r.name} " + "/".join(f"{1e3 * v / max(r.seen.item(), 1):.1f}" for v in r.loss.tolist()) for r in runs)
            for r in runs:
                r.loss.zero_()
                r.seen.zero_()
            say(f"step {step} done {done:.3f} {text}")
        if time.time() - last > a.save_every:
            save()
            last = time.time()
    save()
    say(f"{step} steps in {time.time() - t0:.1f} s, {1e3 * (time.time() - t0) / max(step - first, 1):.2f} ms each")
    if a.eval_step:
        evaluate.after_training(runs, mocap, a.eval_step, a.clip_seconds, device, f"{a.out}/eval.json", say)
    say("done")


def prepare(run, batch, device, say):
    """Compiles and captures every stage of a run."""
    for phase in (1, 2) if run.spec.get("stage1") else (2,):
        run.enter(phase)
        t0 = time.time()
        run.warm_up(batch)
        sync(device)
        t1 = time.time()
        for _ in range(8):
            run.graph.replay()
        sync(device)
        took = (time.time() - t1) / 8
        run.phase = None  # the moments of these 8 steps at learning rate 0 go
        say(f"  {run.name} stage {phase}: {1e3 * took:.2f} ms per step, {t1 - t0:.1f} s to compile and capture")


def sync(device):
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
