#!/usr/bin/env python3
"""P-STMO-S in PyTorch on a GPU: the whole window, eager, in a CUDA graph, and compiled in a CUDA graph, f32 and f16.

    python3 benches/peers/pstmo_torch.py [--frames 81] [--calls 2000] [--compile] [--reference DIR]

Needs torch and an NVIDIA GPU. DIR: a checkout of the paper's own code (github.com/paTRICK-swk/P-STMO), for its network beside ours.

The peer of examples/tensorrt_bench.rs: the same network (models/train/lifter/model.py) with random weights, which its time does
not depend on. One line of JSON for each: microseconds of a call with its input copied to the GPU and its joints back.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy as np
import torch

OURS = str(pathlib.Path(__file__).resolve().parents[2] / "models/train/lifter")
sys.path.insert(0, OURS)
import model  # noqa: E402
from model import Config, Pstmo  # noqa: E402


def timed(call, calls):
    for _ in range(calls // 10):
        call()
    took = []
    for _ in range(calls):
        begin = time.perf_counter()
        call()
        took.append(1e6 * (time.perf_counter() - begin))
    return {"p50": round(float(np.percentile(took, 50)), 1), "p99": round(float(np.percentile(took, 99)), 1)}


def captured(work):
    """`work` as one CUDA graph: a call of it that waits for the result."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()

    def replay():
        graph.replay()
        torch.cuda.synchronize()

    return replay


def reference(folder, frames):
    """The paper's network, and the shape of its input for one person."""
    # Both are called `model`.
    del sys.modules["model"]
    sys.path.remove(OURS)
    sys.path.insert(0, str(folder))
    from model.stmo import Model

    strides = [3] * round(np.log(frames) / np.log(3))
    args = argparse.Namespace(layers=3, channel=256, d_hid=512, frames=frames, stride_num=strides, n_joints=17, out_joints=17)
    return Model(args), [(2, frames, 17, 1)]


def measure(a, net, inputs_of, joints_of, name):
    """A line for each type and number of persons."""
    for dtype in (torch.float32, torch.float16):
        net = net.eval().cuda().to(dtype)
        for persons in a.persons:
            hosts = [h.to(dtype).pin_memory() for h in inputs_of(persons)]
            inputs = [h.cuda() for h in hosts]
            out = torch.empty((persons, 17, 3), dtype=dtype).pin_memory()
            with torch.inference_mode():

                def work(net=net):
                    for d, h in zip(inputs, hosts):
                        d.copy_(h, non_blocking=True)
                    out.copy_(joints_of(net(*inputs)), non_blocking=True)

                def eager():
                    work()
                    torch.cuda.synchronize()

                line = {"peer": "PyTorch " + torch.__version__, "network": name, "gpu": torch.cuda.get_device_name(), "frames": a.frames,
                        "precision": str(dtype), "persons": persons, "eager_us": timed(eager, a.calls // 4)}
                line["graph_us"] = timed(captured(work), a.calls)
                if a.compile:
                    compiled = torch.compile(net, dynamic=False)
                    line["compiled_graph_us"] = timed(captured(lambda: work(compiled)), a.calls)
                print(json.dumps(line), flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--frames", type=int, default=81)
    a.add_argument("--persons", type=int, nargs="*", default=[1, 8])
    a.add_argument("--calls", type=int, default=2000)
    a.add_argument("--compile", action="store_true", help="torch.compile as well, in its default mode (half a minute for each row)")
    a.add_argument("--reference", type=pathlib.Path, metavar="DIR", help="the paper's own code")
    a = a.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    narrow = a.frames == 27
    config = Config(frames=a.frames, d=128 if narrow else 256, sem=256 if narrow else 512, ff=256 if narrow else 512,
                    lookaheads=(0, 1, 2, 3, 5, 8, 13, 20, 40) if a.frames == 81 else (0, 1, 2, 3, 5, 8, 13))
    # Training keeps the first and the last products in f32; here all is in one type, PyTorch's fastest.
    model.exact = lambda linear, x: linear(x)

    def inputs(persons):
        window, fresh, context = (torch.rand(persons, *s) for s in [(a.frames, 17, 3), (1,), (6,)])
        context[:, 5] = 0
        return [window, fresh, context]

    measure(a, Pstmo(config), inputs, lambda joints: joints, "ours")
    if a.reference:
        net, shapes = reference(a.reference, a.frames)
        a.compile = False
        # The target's joints, [N, 3, 1, 17, 1].
        measure(a, net, lambda n: [torch.rand(n, *s) for s in shapes], lambda both: both[0][:, :, 0, :, 0].transpose(1, 2), "the paper's")


if __name__ == "__main__":
    main()
