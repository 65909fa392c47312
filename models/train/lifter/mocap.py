"""Loads the mocap file (50 Hz, 22 points, millimetres, y up) and cleans it. See README.md for where the file comes from."""

import io
import lzma
from dataclasses import dataclass

import numpy as np
import torch

from skeleton import BONES17

HZ = 50.0
CHAIN = [(1, 2), (2, 3), (0, 7), (7, 8), (8, 9), (9, 10)]  # thigh, shin, spine, chest, neck, head
CHAIN_REF_M = 1.60  # every training body is scaled to this chain length (stature about 1.72 m): one camera cannot see scale


@dataclass
class Mocap:
    pos: torch.Tensor  # [F,22,3] metres, y up
    start: torch.Tensor  # [F] first frame of the sequence that the frame belongs to
    end: torch.Tensor  # [F] one past its last frame
    weight: torch.Tensor  # [F] sampling weight, 0 for held-out or damaged frames
    chain: torch.Tensor  # [F] chain length of the body in metres
    hips: torch.Tensor  # [F] half hip width
    shoulders: torch.Tensor  # [F] half shoulder width
    sequences: list  # (name, subject, source, split, start, end)

    def to(self, device):
        for k in ("pos", "start", "end", "weight", "chain", "hips", "shoulders"):
            setattr(self, k, getattr(self, k).to(device))
        return self


def load(path, ui_weight=0.25):
    raw = open(path, "rb").read()
    z = np.load(io.BytesIO(lzma.decompress(raw) if str(path).endswith(".xz") else raw), allow_pickle=False)
    r = np.cumsum(z["pos_delta"].T.reshape(-1, 22, 3).astype(np.int64), 0)
    r[:, 1:] += r[:, :1]
    pos = (r / 1000).astype(np.float32)
    off = z["offsets"].astype(np.int64)
    n = np.diff(off)
    frames = len(pos)
    start, end = np.repeat(off[:-1], n), np.repeat(off[1:], n)
    weight, chain = np.zeros(frames, np.float32), np.zeros(frames, np.float32)
    hips, shoulders = np.zeros(frames, np.float32), np.zeros(frames, np.float32)
    bones = np.stack([np.linalg.norm(pos[:, a] - pos[:, b], axis=-1) for a, b in BONES17], 1)
    index = {b: i for i, b in enumerate(BONES17)}
    seqs = []
    for s, (a, b) in enumerate(zip(off[:-1], off[1:])):
        med = np.median(bones[a:b], 0)
        bad = (np.abs(bones[a:b] - med) > np.maximum(0.08, 0.35 * med)).any(1)
        speed = np.linalg.norm(np.diff(pos[a:b, :17], axis=0, prepend=pos[a : a + 1, :17]), axis=-1).max(1) * HZ
        bad |= speed > 15.0  # faster than any hand in the data: a tracking jump
        # A damaged frame spoils the windows that end within the next second.
        bad_until = np.convolve(bad, np.ones(56), "full")[: b - a] > 0
        source, split = str(z["source"][s]), str(z["split"][s])
        w = ui_weight if source.startswith("UI-PRMD") else 1.0
        if w == 1.0:  # bent, sitting and lying poses are rare in CMU: twice as often
            up = pos[a:b, 8] - pos[a:b, 0]
            low = pos[a:b, 0, 1] < 0.68 * (med[1] + med[2])
            w = np.where(low | (up[:, 1] < 0.75 * np.linalg.norm(up, axis=-1)), 2.0, 1.0)
        weight[a:b] = np.where(bad_until | (split != "train"), 0.0, w)
        chain[a:b] = sum(med[index[c]] for c in CHAIN)
        hips[a:b] = 0.5 * (med[index[(0, 1)]] + med[index[(0, 4)]])
        shoulders[a:b] = 0.5 * (med[index[(8, 11)]] + med[index[(8, 14)]])
        seqs.append((str(z["names"][s]), str(z["subject"][s]), source, split, int(a), int(b)))
    t = torch.from_numpy
    return Mocap(t(pos), t(start), t(end), t(weight), t(chain), t(hips), t(shoulders), seqs)
