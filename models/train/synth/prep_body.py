#!/usr/bin/env python3
"""Mesh, shapes and poses for the renderer -> OUT/body.npz.

  prep_body.py DATA OUT [--shapes 384] [--poses 14000]

DATA holds `makehuman/` (MakeHuman's CC0 assets) and `mocap/mocap_50hz.npz.xz` (22 joint positions per frame); OUT may hold wardrobe.npz
(prep_wardrobe.py).
"""
import argparse
import glob
import gzip
import io
import json
import lzma
import os

import numpy as np

import layout

R = np.random.default_rng(7)
MOUTH = 0.661  # height of the lips on the base mesh, metres


# ---- mesh -----------------------------------------------------------------------------------------------------------------------------

class Base:
    def __init__(self, folder):
        self.v, self.vt, self.faces, self.face_uv, group = [], [], {}, {}, None
        for line in open(os.path.join(folder, "base.obj")):
            t = line.split()
            if not t:
                continue
            if t[0] == "v":
                self.v.append([float(c) for c in t[1:4]])
            elif t[0] == "vt":
                self.vt.append([float(c) for c in t[1:3]])
            elif t[0] == "g":
                group = t[1]
            elif t[0] == "f":
                self.faces.setdefault(group, []).append([int(c.split("/")[0]) - 1 for c in t[1:]])
                self.face_uv.setdefault(group, []).append([int(c.split("/")[1]) - 1 if "/" in c else 0 for c in t[1:]])
        self.v, self.vt = np.array(self.v) * 0.1, np.array(self.vt or [[0, 0]])
        groups = json.load(open(os.path.join(folder, "basemesh_vertex_groups.json")))
        self.groups = {k: np.concatenate([np.arange(a, b + 1) for a, b in v]) for k, v in groups.items()}
        rig = json.load(open(os.path.join(folder, "rig.cmu_mb.json")))
        self.bones = self.order(rig)
        self.parent = [self.bones.index(rig[b]["parent"]) if rig[b]["parent"] else -1 for b in self.bones]
        self.heads = [self.at(rig[b]["head"]) for b in self.bones]
        self.weights = json.load(gzip.open(os.path.join(folder, "weights.cmu_mb.json.gz")))["weights"]
        self.targets = {}
        for f in glob.glob(os.path.join(folder, "targets", "**", "*.target.gz"), recursive=True):
            rows = [line.split() for line in gzip.open(f, "rt") if line.strip() and line[0] != "#"]
            if rows:
                self.targets[os.path.basename(f)[:-10]] = (np.array([int(r[0]) for r in rows]), np.array([[float(c) for c in r[1:4]] for r in rows]) * 0.1)

    def order(self, rig):
        out = [b for b in rig if not rig[b]["parent"]]
        while len(out) < len(rig):
            out += [b for b in rig if b not in out and rig[b]["parent"] in out]
        return out

    def at(self, end):
        return self.groups[end["cube_name"]] if "cube_name" in end else np.array(end["vertex_indices"])

    def cube(self, v, name):
        return v[self.groups["joint-" + name]].mean(0)


def shape(base):
    """One random body: MakeHuman's macro targets blended the way macro.json describes."""
    g = np.clip(R.choice([R.normal(0.08, 0.1), R.normal(0.92, 0.1)]), 0, 1)
    sex = {"female": 1 - g, "male": g}
    a = R.choice(3, p=[0.16, 0.68, 0.16])
    u = R.random()
    age = [{"child": 1 - 0.7 * u, "young": 0.7 * u}, {"young": 1.0 - 0.4 * u, "old": 0.4 * u}, {"old": 1 - 0.5 * u, "young": 0.5 * u}][a]
    race = dict(zip(("african", "asian", "caucasian"), R.dirichlet([0.5] * 3)))

    def split(x, low, mid, high):
        return {low: max(0, 1 - 2 * x), mid: 1 - abs(2 * x - 1), high: max(0, 2 * x - 1)}

    muscle = split(R.beta(2.2, 2.2), "minmuscle", "averagemuscle", "maxmuscle")
    weight = split(R.beta(2.0, 2.0), "minweight", "averageweight", "maxweight")
    h, pr = R.normal(0, 0.4), R.normal(0, 0.5)
    v = base.v.copy()

    def put(name, w):
        if w > 1e-3 and name in base.targets:
            i, d = base.targets[name]
            v[i] += w * d

    for s, ws in sex.items():
        for ag, wa in age.items():
            for r, wr in race.items():
                put(f"{r}-{s}-{ag}", ws * wa * wr)
            for m, wm in muscle.items():
                for w, ww in weight.items():
                    put(f"universal-{s}-{ag}-{m}-{w}", ws * wa * wm * ww)
            put(f"{s}-{ag}-averagemuscle-averageweight-{'max' if h > 0 else 'min'}height", ws * wa * min(abs(h), 1))
            put(f"{s}-{ag}-averagemuscle-averageweight-{'ideal' if pr > 0 else 'uncommon'}proportions", ws * wa * min(abs(pr), 1))
    return v


def chain(v, points):
    """Coordinate along a polyline of joints: 0 at the first, 0.5 at the second, 1 at the third, beyond in arm lengths."""
    a, b, c = points
    t1 = ((v - a) @ (b - a)) / ((b - a) @ (b - a))
    t2 = ((v - b) @ (c - b)) / ((c - b) @ (c - b))
    d1 = np.linalg.norm(v - a - np.clip(t1, 0, 1)[:, None] * (b - a), axis=1)
    d2 = np.linalg.norm(v - b - np.clip(t2, 0, 1)[:, None] * (c - b), axis=1)
    return np.where(d1 < d2, 0.5 * np.clip(t1, -1, 1), 0.5 + 0.5 * np.maximum(t2, 0))


LANDMARK_BONES = ["Head"] * 5 + ["LeftArm", "RightArm", "LeftForeArm", "RightForeArm", "LeftHand", "RightHand",
                                 "LeftUpLeg", "RightUpLeg", "LeftLeg", "RightLeg", "LeftFoot", "RightFoot"]
EAR = 12038  # outermost vertex of the left ear
# Where COCO's annotators click, against the joint's centre or the mesh's feature (metres: body left, up, forward; mirrored on the right).
# Measured: median offset of PP-TinyPose's answers from the geometric points on 110 plain renders, in torso lengths, less the mean over all
# joints (hips 0.07 inwards, shoulders 0.03 up, ankles 0.03 up, ears 0.03 down).
CLICK = {"nose": (0, 0.010, 0), "eye": (0, 0.005, 0), "ear": (0, -0.013, 0), "shoulder": (0.0, 0.022, 0.0), "hip": (-0.018, 0.005, 0.0), "ankle": (0.0, 0.018, 0.0)}


def landmarks(base, v, ear_r):
    nose, eye, ear = (np.array(CLICK[k]) for k in ("nose", "eye", "ear"))
    out = [v[297] + nose, base.cube(v, "l-eye") + [0, 0, 0.012] + eye, base.cube(v, "r-eye") + [0, 0, 0.012] + eye,
           v[EAR] - [0.012, 0, 0] + ear, v[ear_r] + [0.012, 0, 0] + ear]
    for joint, name in (("shoulder", "shoulder"), ("elbow", "elbow"), ("hand", "wrist"), ("upper-leg", "hip"), ("knee", "knee"), ("ankle", "ankle")):
        d = np.array(CLICK.get(name, (0, 0, 0)))
        out += [base.cube(v, "l-" + joint) + d, base.cube(v, "r-" + joint) + d * [-1, 1, 1]]
    return np.array(out)


def corners(faces):
    """Quads (or triangles) of indices -> triangles [T,3]."""
    return np.array([t for f in faces for t in ([(f[0], f[1], f[2]), (f[0], f[2], f[3])] if len(f) == 4 else [tuple(f[:3])])])


def normals(v, tris):
    n = np.zeros_like(v)
    fn = np.cross(v[tris[:, 1]] - v[tris[:, 0]], v[tris[:, 2]] - v[tris[:, 0]])
    for k in range(3):
        np.add.at(n, tris[:, k], fn)
    return n / (np.linalg.norm(n, axis=1, keepdims=True) + 1e-12)


def mesh(base, garments):
    """One mesh for everybody: all vertices of the base (helpers without triangles), then the garments' (prep_wardrobe.py), then 17 landmarks."""
    groups = [("body", None), ("helper-l-eye", "eye"), ("helper-r-eye", "eye"), ("helper-skirt", "skirt"), ("helper-hair", "hair")]
    v, N = base.v, len(base.v)
    W = np.zeros((N, len(base.bones)))
    for b, rows in base.weights.items():
        for i, w in rows:
            W[i, base.bones.index(b)] += w
    part = lambda *names: W[:, [k for k, b in enumerate(base.bones) if any(n in b for n in names)]].sum(1)
    arms = part("Arm", "Hand", "Thumb", "Finger")
    legs = part("UpLeg", "Leg", "Foot", "Toe")
    head = part("Head", "Neck1")
    code = layout.CLASSES.index
    cls = np.full(N, code("none"), np.uint8)
    used = lambda g: np.unique([i for f in base.faces[g] for i in f])
    body = used("body")
    kind = np.full(N, code("torso"), np.uint8)
    kind[legs > 0.5] = code("leg")
    kind[arms > 0.5] = code("arm")
    kind[(head > 0.5) & (v[:, 1] > 0.60)] = code("head")
    cls[body] = kind[body]
    for g, c in groups[1:]:
        cls[used(g)] = code(c)
    tris = np.concatenate([corners(base.faces[g]) for g, _ in groups])
    uv = np.concatenate([base.vt[corners(base.face_uv[g])] for g, _ in groups])
    n = normals(v, tris)
    c = lambda name: base.cube(base.v, name)
    left = v[:, 0] >= 0
    mirror = np.where(left[:, None], v, v * [-1, 1, 1])
    arm = chain(mirror, [c("l-shoulder"), c("l-elbow"), c("l-hand")])
    shoulder = np.linalg.norm(mirror - c("l-shoulder"), axis=1)
    arm = np.where(cls == code("arm"), np.maximum(arm, -0.12), -np.clip(shoulder - 0.05, 0, 1) / 0.55)
    hip = c("l-upper-leg")
    leg = np.where(cls == code("leg"), chain(mirror, [hip, c("l-knee"), c("l-ankle")]), -(v[:, 1] - hip[1]) / 0.9)
    low = v[:, 1] < c("l-ankle")[1]
    leg = np.where(low & (cls == code("leg")), 1 + np.abs(v[:, 1] - c("l-ankle")[1]) + 0.0 * leg, leg)
    # The skirt's and the hair's coordinate: rest height below the hip in leg lengths; see worn() in render.cu.
    leg = np.where(cls == code("skirt"), (hip[1] - v[:, 1]) / (hip[1] - c("l-ankle")[1]), leg)
    crotch = hip[1] - 0.06
    tor = (v[:, 1] - crotch) / (c("neck")[1] - crotch)
    attr = np.column_stack([v, arm, leg, tor, np.zeros(N)])
    ear_r = int(np.argmin(np.linalg.norm(base.v[:13380] - base.v[EAR] * [-1, 1, 1], axis=1)))
    extra = {}
    if garments:
        # Garments hang on the base's vertices: weights and rest positions follow from them.
        g = garments
        Wg = (W[g["ref"]] * g["w"][..., None]).sum(1)
        gv = bound(v, g)
        tris = np.concatenate([tris, g["tri"] + N])
        uv = np.concatenate([uv, g["uv"]])
        n = np.concatenate([n, normals(gv, g["tri"])])
        ga = np.column_stack([gv, np.zeros(len(gv)), (hip[1] + 0.05 - gv[:, 1]), np.zeros(len(gv)), g["part"]])
        attr, W = np.concatenate([attr, ga]), np.concatenate([W, Wg])
        cls = np.concatenate([cls, np.full(len(gv), code("worn"), np.uint8)])
        extra = {"g_" + k: g[k] for k in ("ref", "w", "d", "part", "scale")}
        extra["hide"] = np.concatenate([g["hide"], np.zeros(len(gv) + 17, np.uint32)])
    else:
        extra["hide"] = np.zeros(N + 17, np.uint32)
    # Landmarks ride along as vertices without triangles.
    L = np.zeros((17, len(base.bones)))
    for k, b in enumerate(LANDMARK_BONES):
        L[k, base.bones.index(b)] = 1
    W = np.concatenate([W, L])
    idx = np.argsort(-W, axis=1)[:, :4]
    wt = np.take_along_axis(W, idx, 1)
    wt /= wt.sum(1, keepdims=True) + 1e-9
    attr = np.concatenate([attr, np.zeros((17, len(layout.ATTR)))]).astype(np.float32)
    cls = np.concatenate([cls, np.full(17, code("eye"), np.uint8)])
    n = np.concatenate([n, np.zeros((17, 3))])
    face = np.array([c("l-eye")[0], c("l-eye")[1], c("l-eye")[2], MOUTH, base.v[EAR][2], 0.849 - c("l-eye")[1], 0.13], np.float32)
    return ear_r, dict(attr=attr, normal=n.astype(np.float32), bone=idx.astype(np.int32), weight=wt.astype(np.float32), cls=cls, tri=tris.astype(np.int32),
                       uv=uv.astype(np.float32), parent=np.array(base.parent, np.int32), face=face, bounds=body.astype(np.int32), **extra)


def bound(v, g):
    """Rest positions [G,3] of the garments on a body `v` [N,3]: three weighted vertices and an offset that scales with the body."""
    s = g["scale"][g["part"] - 1]  # [G,3,3]: two vertices and their distance on the base, per axis
    a, b = s[..., 0].astype(int), s[..., 1].astype(int)
    k = np.stack([np.abs(v[a[:, x], x] - v[b[:, x], x]) / s[:, x, 2] for x in range(3)], 1)
    return (v[g["ref"]] * g["w"][..., None]).sum(1) + g["d"] * k


# ---- poses ----------------------------------------------------------------------------------------------------------------------------

def unit(a):
    return a / (np.linalg.norm(a, axis=-1, keepdims=True) + 1e-9)


def frame(x, y, first="x"):
    """Rotation whose columns are (x, y, x cross y), orthonormalised keeping `first`."""
    if first == "x":
        x = unit(x)
        y = unit(y - (x * y).sum(-1, keepdims=True) * x)
    else:
        y = unit(y)
        x = unit(x - (x * y).sum(-1, keepdims=True) * y)
    return np.stack([x, y, np.cross(x, y)], -1)


def axis_angle(axis, angle):
    """[N,3] unit axes, [N] radians -> [N,3,3]."""
    x, y, z = axis[:, 0], axis[:, 1], axis[:, 2]
    c, s = np.cos(angle), np.sin(angle)
    C = 1 - c
    return np.stack([np.stack([c + x * x * C, x * y * C - z * s, x * z * C + y * s], -1), np.stack([y * x * C + z * s, c + y * y * C, y * z * C - x * s], -1),
                     np.stack([z * x * C - y * s, z * y * C + x * s, c + z * z * C], -1)], -2)


def wobble(n, degrees):
    return axis_angle(unit(R.normal(size=(n, 3))), np.radians(degrees) * np.abs(R.normal(size=n)))


def quat(m):
    """Rotation matrices to quaternions (w, x, y, z)."""
    from scipy.spatial.transform import Rotation
    q = Rotation.from_matrix(m.reshape(-1, 3, 3)).as_quat()
    return q[:, [3, 0, 1, 2]].reshape(*m.shape[:-2], 4)


def slerp(a, b, t):
    """Between rotations, by t."""
    from scipy.spatial.transform import Rotation
    d = Rotation.from_matrix(np.swapaxes(a, -1, -2) @ b).as_rotvec() * t
    return a @ Rotation.from_rotvec(d).as_matrix()


def hinge(prev, cur, fallback):
    """Axis of a hinge between two segments: their cross product where bent, `fallback` where straight."""
    n = np.cross(prev, cur)
    s = np.linalg.norm(n, axis=-1, keepdims=True)
    w = np.clip((s - 0.15) / 0.35, 0, 1)
    f = unit(fallback - (fallback * cur).sum(-1, keepdims=True) * cur)
    n = unit(n)
    return unit(w * n + (1 - w) * f + 1e-6)


def poses(path, base, count):
    z = np.load(io.BytesIO(lzma.open(path).read()))
    pos = np.cumsum(z["pos_delta"].T.reshape(-1, 22, 3).astype(np.int64), 0)
    pos[:, 1:] += pos[:, :1]
    off, split, source = z["offsets"], z["split"], z["source"]
    length = np.diff(off)
    w = np.minimum(length, 800) * np.where(np.char.startswith(source, "UI-PRMD"), 0.12, 1.0) * (split == "train")
    seq = R.choice(len(length), size=count * 3, p=w / w.sum())
    f = off[seq] + (R.random(len(seq)) * length[seq]).astype(int)
    p = pos[f] / 1000.0
    # Thin out the commonest poses: at most three of each coarse body configuration.
    d = unit(np.stack([p[:, b] - p[:, a] for a, b in ((1, 2), (2, 3), (4, 5), (5, 6), (11, 12), (12, 13), (14, 15), (15, 16))], 1))
    F = frame(p[:, 4] - p[:, 1], p[:, 8] - p[:, 0])
    local = np.einsum("nji,nkj->nki", F, d)
    seen, keep = {}, []
    for i, key in enumerate(map(bytes, np.round(local * 1.5).astype(np.int8))):
        if seen.get(key, 0) < 3:
            seen[key] = seen.get(key, 0) + 1
            keep.append(i)
    keep = np.array(keep)[:count]
    p = p[keep]
    print("poses", len(p), "of", len(seq), "distinct cells", len(seen))
    n = len(p)
    J = {b: base.v[h].mean(0) for b, h in zip(base.bones, base.heads)}
    G = {}
    hipx = p[:, 4] - p[:, 1]
    G["Hips"] = frame(hipx, p[:, 7] - p[:, 0])
    G["Spine1"] = frame(p[:, 11] - p[:, 14], p[:, 8] - p[:, 7])
    # A little lean of one's own for the trunk.
    lean = wobble(n, 6)
    G["Spine1"] = lean @ G["Spine1"]
    G["LowerBack"] = slerp(G["Hips"], G["Spine1"], 0.33)
    G["Spine"] = slerp(G["Hips"], G["Spine1"], 0.66)
    # Head: x through the ears, forward to the nose.
    ears = p[:, 20] - p[:, 21]
    nose = p[:, 17] - 0.5 * (p[:, 20] + p[:, 21])
    rest_n = base.v[297] - np.array([0, base.v[EAR][1], base.v[EAR][2]])
    rest = frame(np.array([[1.0, 0, 0]]), np.cross(rest_n[None], np.array([[1.0, 0, 0]])))
    tgt = frame(ears, np.cross(nose, ears))
    head = tgt @ np.swapaxes(rest, -1, -2)
    turn = axis_angle(np.tile([[0.0, 1, 0]], (n, 1)), R.normal(0, 0.35, n)) @ axis_angle(np.tile([[1.0, 0, 0]], (n, 1)), R.normal(0.05, 0.22, n))
    G["Head"] = head @ np.where((R.random(n) < 0.6)[:, None, None], turn, np.eye(3))
    G["Neck"] = slerp(G["Spine1"], G["Head"], 0.4)
    G["Neck1"] = slerp(G["Spine1"], G["Head"], 0.7)
    free = R.random(n) < 0.45  # arms re-posed at random in these
    sit = R.random(n) < 0.13
    for side, (s, e, w), (h, k, a) in (("Left", (11, 12, 13), (4, 5, 6)), ("Right", (14, 15, 16), (1, 2, 3))):
        sign = 1.0 if side == "Left" else -1.0
        u0 = unit(J[side + "ForeArm"] - J[side + "Arm"])
        f0 = unit(J[side + "Hand"] - J[side + "ForeArm"])
        n0 = unit(np.cross(u0, f0))
        u, fo = unit(p[:, e] - p[:, s]), unit(p[:, w] - p[:, e])
        wob = np.where(free[:, None, None], wobble(n, 35), wobble(n, 5))
        u = np.einsum("nij,nj->ni", wob, u)
        fo = np.einsum("nij,nj->ni", np.where(free[:, None, None], wobble(n, 40), wobble(n, 5)) @ wob, fo)
        # A straight arm keeps the hinge that a swing from the chest gives.
        chest = G["Spine1"]
        cu = np.einsum("nij,j->ni", chest, u0)
        ax = np.cross(cu, u)
        sw = axis_angle(unit(ax), np.arctan2(np.linalg.norm(ax, axis=1), (cu * u).sum(1)))
        fall = np.einsum("nij,njk,k->ni", sw, chest, n0)
        hn = hinge(u, fo, fall)
        rest_u, rest_f = frame(n0[None], u0[None]), frame(n0[None], f0[None])
        G[side + "Arm"] = frame(hn, u, "y") @ np.swapaxes(rest_u, -1, -2)
        G[side + "ForeArm"] = frame(hn, fo, "y") @ np.swapaxes(rest_f, -1, -2)
        roll = axis_angle(fo, R.normal(0, 0.5, n))
        G[side + "ForeArm"] = slerp(G[side + "ForeArm"], roll @ G[side + "ForeArm"], 0.4)
        G[side + "Hand"] = wobble(n, 15) @ roll @ G[side + "ForeArm"]
        # Clavicle follows a raised arm a little.
        G[side + "Shoulder"] = slerp(chest, sw @ chest, 0.15)
        # Legs.
        t0, s0 = unit(J[side + "Leg"] - J[side + "UpLeg"]), unit(J[side + "Foot"] - J[side + "Leg"])
        th, sh = unit(p[:, k] - p[:, h]), unit(p[:, a] - p[:, k])
        # Sitting: thighs forward, shanks down, both with a lot of spread (mocap has little of it, photographs much).
        flex, spread = np.radians(R.uniform(55, 105, n)), R.normal(0.12, 0.18, n) * sign
        st = np.stack([np.sin(spread), -np.cos(flex), np.sin(flex)], -1)
        knee = np.radians(R.uniform(40, 125, n))
        ss = np.stack([0.3 * np.sin(spread) * 0 + R.normal(0, 0.15, n), -np.cos(flex - knee), np.sin(flex - knee)], -1)
        th = np.where(sit[:, None], unit(np.einsum("nij,nj->ni", G["Hips"], unit(st))), th)
        sh = np.where(sit[:, None], unit(np.einsum("nij,nj->ni", G["Hips"], unit(ss))), sh)
        wob = wobble(n, 6)
        th, sh = np.einsum("nij,nj->ni", wob, th), np.einsum("nij,nj->ni", wobble(n, 5) @ wob, sh)
        hx = G["Hips"][..., 0]
        hn = hinge(th, sh, hx)
        rx = np.array([[1.0, 0, 0]])
        G[side + "UpLeg"] = frame(hn, th, "y") @ np.swapaxes(frame(rx, t0[None], "y"), -1, -2)
        G[side + "Leg"] = frame(hn, sh, "y") @ np.swapaxes(frame(rx, s0[None], "y"), -1, -2)
        G[side + "Foot"] = G[side + "Leg"] @ axis_angle(np.tile([[1.0, 0, 0]], (n, 1)), R.normal(0.05, 0.2, n)) @ axis_angle(np.tile([[0, 1.0, 0]], (n, 1)), R.normal(0, 0.15, n))
    out = []
    for b in base.bones:
        if b not in G:
            side = "Left" if b[0] == "L" else "Right"
            G[b] = G["Hips"] if "HipJoint" in b else G[side + "Foot"] if "Toe" in b else G[side + "Hand"]
        out.append(quat(G[b]))
    q = np.stack(out, 1)
    assert np.isfinite(q).all()
    return q, sit


def main():
    a = argparse.ArgumentParser()
    a.add_argument("data")
    a.add_argument("out")
    a.add_argument("--shapes", type=int, default=384)
    a.add_argument("--poses", type=int, default=14000)
    a.add_argument("--basis", type=int, default=24)
    a = a.parse_args()
    base = Base(os.path.join(a.data, "makehuman"))
    wardrobe = os.path.join(a.out, "wardrobe.npz")
    garments = dict(np.load(wardrobe)) if os.path.exists(wardrobe) else None
    ear_r, m = mesh(base, garments)
    rest, joints = [], []
    for _ in range(a.shapes):
        v = shape(base)
        rest.append(np.concatenate([v, landmarks(base, v, ear_r)]))
        joints.append(np.array([v[h].mean(0) for h in base.heads]))
    rest, joints = np.array(rest), np.array(joints)
    tall = rest[:, m["bounds"], 1]
    h = tall.max(1) - tall.min(1)
    print("vertices", rest.shape[1], "triangles", len(m["tri"]), "heights", np.percentile(h, [0, 10, 50, 90, 100]).round(2))
    mean = rest.mean(0)
    u, s, vt = np.linalg.svd((rest - mean).reshape(len(rest), -1), full_matrices=False)
    k = a.basis
    m.update(mean=mean.astype(np.float32), basis=(vt[:k] * s[:k, None] / np.sqrt(len(rest))).astype(np.float16), coef=(u[:, :k] * np.sqrt(len(rest))).astype(np.float32))
    err = np.abs((m["coef"] @ m["basis"].astype(np.float32)).reshape(rest.shape) + mean - rest)
    print("shape basis error: mean %.2f mm, max %.2f mm" % (err.mean() * 1e3, err.max() * 1e3))
    q, sit = poses(os.path.join(a.data, "mocap", "mocap_50hz.npz.xz"), base, a.poses)
    m.update(joints=joints.astype(np.float32), poses=q.astype(np.float16), sit=sit, bones=np.array(base.bones))
    os.makedirs(a.out, exist_ok=True)
    f = os.path.join(a.out, "body.npz")
    np.savez_compressed(f, **m)
    print(f, os.path.getsize(f))


if __name__ == "__main__":
    main()
