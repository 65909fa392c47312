"""Removes the initial weights from an exponential average that never forgot them (as Adam corrects its moments).

    python unbias_average.py run/d128w.pt out.pt --steps 1452 --decay 0.999 --seed 1 --data mocap_50hz.npz.xz

An average that starts at the initial weights w0 is (1-f) * (true average) + f * w0 with f = decay^steps. w0 is known from the seed. The
first short runs (RUNS.md, 2026-11-23) need this; `train.py` has since learnt to restart its average early in a run. BatchNorm's statistics
are then measured anew on simulated training windows.
"""

import argparse

import torch

from data import Engine
from mocap import load
from model import Config, build


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("checkpoint")
    a.add_argument("out")
    a.add_argument("--steps", type=int, required=True)
    a.add_argument("--decay", type=float, required=True)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--data", required=True)
    a = a.parse_args()
    ck = torch.load(a.checkpoint, map_location="cpu", weights_only=False)
    c = Config(**ck["config"])
    torch.manual_seed(a.seed)
    net = build(ck.get("kind", "pstmo"), c)
    w0 = {k: v.detach().clone() for k, v in net.named_parameters()}
    f = a.decay**a.steps
    mean = {k: v.float() if v.is_floating_point() else v for k, v in ck["ema"].items()}
    net.load_state_dict({k: (v - f * w0[k]) / (1 - f) if k in w0 else v for k, v in mean.items()})
    torch.manual_seed(3)
    b = Engine(load(a.data), c.frames, c.rate_hz).sample(1024)
    net.train()
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm1d):
            m.reset_running_stats()
            m.momentum = None  # cumulative mean
    with torch.no_grad():
        for i in range(4):
            s = slice(256 * i, 256 * i + 256)
            net(b.window[s], b.context[s])
    torch.save(ck | {"ema": net.state_dict(), "step": a.steps}, a.out)


if __name__ == "__main__":
    main()
