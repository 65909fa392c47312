#!/usr/bin/env python3
"""Average a checkpoint with its fine-tuned version, both batch-norm-folded (arXiv:2109.01903): average.py keypoints|finder A.pt B.pt OUT.pt [share of B]"""
import sys

import torch

import nets
from publish import load

kind, a, b, out = sys.argv[1:5]
t = float(sys.argv[5]) if len(sys.argv) > 5 else 0.5


def state(path):
    net = nets.Keypoints() if kind == "keypoints" else nets.Finder()
    return nets.folded(load(net, path)).state_dict()


A, B = state(a), state(b)
torch.save({"ema": {k: (A[k] * (1 - t) + B[k] * t).half() for k in A}, "folded": True}, out)
