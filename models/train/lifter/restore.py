"""A shipped file -> the network that it was made of, to be trained further (`train.py`'s "init" takes the result).

    python restore.py --name pstmo_s_81_live --data mocap_50hz.npz.xz --out live81.pt

The batch norms are folded into the matrices in the file. They come back with the mean and the variance that simulated windows have there, and with
weights and biases that undo them: the same function in eval mode, and about the same in training. Weights have the file's precision: f16.
"""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from data import Engine
from mocap import load
from model import Config, Pstmo, features


def manifest_config(path):
    text = path.read_text()
    number = lambda key: int(re.search(rf"^{key} = (\d+)", text, re.M)[1])  # noqa: E731
    slots = int(re.search(r"^window = \[(\d+),", text, re.M)[1])
    return Config(
        frames=slots, d=number("width"), sem=number("sem"), ff=number("feed_forward"), layers=number("layers"), heads=number("heads"),
        lookaheads=json.loads(re.search(r"^lookaheads = (\[.*\])", text, re.M)[1]), rate_hz=float(re.search(r"^rate_hz = ([\d.]+)", text, re.M)[1]),
    )


@torch.no_grad()
def restore(folder, name):
    """The whole-window graph's weights in a Pstmo in eval mode."""
    net = Pstmo(manifest_config(folder / f"{name}.toml"))
    c = net.c
    found = {re.sub(r"(_f16)?_\d+$", "", t.name): torch.from_numpy(numpy_helper.to_array(t).astype(np.float32)) for t in onnx.load(folder / f"{name}.onnx").graph.initializer}

    def linear(module, hint):
        module.weight.copy_(found[hint + "_w"].T)
        module.bias.copy_(found[hint + "_b"])

    def norm(module, hint):
        module.weight.copy_(found[hint + "_g"])
        module.bias.copy_(found[hint + "_b"])

    for module, hint in zip((net.sem.inp, *net.sem.mid, net.sem.out), ("sem_in", "sem_1", "sem_2", "sem_out")):
        linear(module, hint)
    for bn in net.sem.bn:
        bn.weight.fill_((1 + bn.eps) ** 0.5)
    linear(net.ctx1, "ctx1")
    linear(net.ctx2, "ctx2")
    net.pos[0].copy_(found["pos"])
    for kind, layers in (("tem", net.tem), ("mofa", net.mofa)):
        for i, m in enumerate(layers):
            h = f"{kind}{i}"
            norm(m.n1, h + "_n1")
            norm(m.n2, h + "_n2")
            linear(m.attn.qkv, h + "_qkv")
            m.attn.qkv.weight[: c.d] *= (c.d // c.heads) ** 0.5  # the file's queries have 1/sqrt(d_k) in them
            m.attn.qkv.bias[: c.d] *= (c.d // c.heads) ** 0.5
            linear(m.attn.proj, h + "_proj")
            linear(m.w1, h + "_w1")
            linear(m.w2, h + "_w2")
    for i, table in enumerate(net.mofa_pos):
        table[0].copy_(found[f"mofa{i}_pos"])
    linear(net.vte, "vte")
    linear(net.head, "head")
    return net.eval()


@torch.no_grad()
def settle(net, slots):
    """Gives the folded batch norms the mean and the variance that these slots [N,52] have, so that training starts from the same function."""
    sem, x = net.sem, slots
    lrelu = lambda v: torch.nn.functional.leaky_relu(v, 0.2)  # noqa: E731

    def through(bn, v):
        mean, var = v.mean(0), v.var(0, unbiased=False)
        bn.running_mean.copy_(mean)
        bn.running_var.copy_(var)
        bn.weight.copy_((var + bn.eps).sqrt())
        bn.bias.copy_(mean)
        return lrelu(v)

    x = through(sem.bn[0], sem.inp(x))
    y = through(sem.bn[1], sem.mid[0](x))
    through(sem.bn[2], sem.mid[1](y))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--name", required=True)
    a.add_argument("--models", type=Path, default=Path("../.."))
    a.add_argument("--data", required=True)
    a.add_argument("--out", required=True)
    a = a.parse_args()
    net = restore(a.models, a.name)
    c = net.c
    torch.manual_seed(0)
    batch = Engine(load(a.data), c.frames, c.rate_hz).sample(256)
    inputs = batch.window, batch.fresh, batch.context
    with torch.no_grad():
        before = net(*inputs)
        settle(net, features(*inputs[:2], c))
        apart = (net(*inputs) - before).norm(dim=-1).max().item()
        training = (net.train()(*inputs) - before).norm(dim=-1).mean().item()
    print(f"joints moved by at most {1e3 * apart:.4f} mm in eval mode, by {1e3 * training:.4f} mm in the mean in training")
    net.eval()
    torch.save({"config": net.c.dict(), "kind": "pstmo", "ema": net.state_dict()}, a.out)
    print(f"{a.out}: {sum(p.numel() for p in net.parameters()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
