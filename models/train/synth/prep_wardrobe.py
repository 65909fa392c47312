#!/usr/bin/env python3
"""MakeHuman's CC0 clothes, shoes, hair and skins -> OUT/wardrobe.npz and OUT/textures.npz.

  prep_wardrobe.py ASSETS TEXTURES OUT

ASSETS: a clone of makehumancommunity/makehuman-assets (released as CC0 in September 2020): `.mhclo` and `.obj`. TEXTURES: a folder with the
same assets' diffuse pictures, by any route (upstream keeps them in Git LFS; half-size copies will do): *_diffuse.png and the like, looked
up by name. A garment's vertex hangs on three vertices of the base mesh (prep_body.py, `bound`).
"""
import glob
import os
import sys

import cv2
import numpy as np

SIZE = 512
SUITS = ["female_casualsuit01", "female_casualsuit02", "female_elegantsuit01", "female_sportsuit01", "male_casualsuit01", "male_casualsuit02",
         "male_casualsuit03", "male_casualsuit04", "male_casualsuit05", "male_casualsuit06", "male_elegantsuit01", "male_worksuit01"]
SHOES = ["shoes01", "shoes02", "shoes03", "shoes04", "shoes05", "shoes06"]
HAIR = ["afro01", "bob01", "bob02", "braid01", "long01", "ponytail01", "short01", "short02", "short03", "short04"]


def read_obj(path):
    v, vt, f, fu = [], [], [], []
    for line in open(path):
        t = line.split()
        if not t:
            continue
        if t[0] == "v":
            v.append([float(c) for c in t[1:4]])
        elif t[0] == "vt":
            vt.append([float(c) for c in t[1:3]])
        elif t[0] == "f":
            c = [p.split("/") for p in t[1:]]
            f.append([int(p[0]) - 1 for p in c])
            fu.append([int(p[1]) - 1 for p in c])
    return len(v), np.array(vt), f, fu


def read_mhclo(path):
    """Bindings, scales per axis, and the base vertices that the garment hides."""
    scale, ref, w, d, hide, mode = {}, [], [], [], [], None
    for line in open(path):
        t = line.split()
        if not t or t[0][0] == "#":
            continue
        if t[0] in ("x_scale", "y_scale", "z_scale"):
            scale[t[0][0]] = [float(t[1]), float(t[2]), float(t[3])]
        elif t[0] == "verts":
            mode = "verts"
        elif t[0] == "delete_verts":
            mode = "hide"
        elif mode == "verts" and (t[0].lstrip("-").isdigit()):
            if len(t) == 1:
                ref.append([int(t[0])] * 3), w.append([1, 0, 0]), d.append([0, 0, 0])
            else:
                ref.append([int(c) for c in t[:3]]), w.append([float(c) for c in t[3:6]]), d.append([float(c) for c in t[6:9]] if len(t) >= 9 else [0, 0, 0])
        elif mode == "hide":
            k = 0
            while k < len(t):
                if k + 2 < len(t) and t[k + 1] == "-":
                    hide += range(int(t[k]), int(t[k + 2]) + 1)
                    k += 3
                else:
                    hide.append(int(t[k]))
                    k += 1
    return np.array(ref), np.array(w), np.array(d), [scale.get(a, [0, 1, 1]) for a in "xyz"], hide


def texture(folder, *names):
    for n in names:
        hits = glob.glob(os.path.join(folder, "**", n), recursive=True)
        if hits:
            return cv2.imread(hits[0], cv2.IMREAD_UNCHANGED)
    raise SystemExit(f"no texture {names}")


def jpeg(a, q=85):
    return np.frombuffer(cv2.imencode(".jpg", a, [cv2.IMWRITE_JPEG_QUALITY, q])[1].tobytes(), np.uint8)


def main(assets, textures, out):
    ref, w, d, part, scale, tri, uv, rgb, alpha, base = [], [], [], [], [], [], [], [], [], 0
    hide = np.zeros(19158, np.uint32)
    for g, name in enumerate(SUITS + SHOES + HAIR):
        folder = os.path.join(assets, "base", "hair" if name in HAIR else "clothes", name)
        r, ww, dd, sc, hidden = read_mhclo(os.path.join(folder, name + ".mhclo"))
        n, vt, f, fu = read_obj(os.path.join(folder, name + ".obj"))
        assert n == len(r), (name, n, len(r))
        tris = lambda q: np.array([t for p in q for t in ([(p[0], p[1], p[2]), (p[0], p[2], p[3])] if len(p) == 4 else [tuple(p[:3])])])
        ref.append(r), w.append(ww), d.append(dd * 0.1), part.append(np.full(n, g + 1))
        scale.append([[a, b, c * 0.1] for a, b, c in sc])
        tri.append(tris(f) + base), uv.append(vt[tris(fu)])
        base += n
        if name not in HAIR:
            hide[[i for i in hidden if i < len(hide)]] |= np.uint32(1 << g)
        t = texture(textures, name + "_diffuse.png", name.replace("01", "") + "_diffuse.png")
        t = cv2.resize(t, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        a = t[..., 3] if t.shape[2] == 4 else np.full((SIZE, SIZE), 255, np.uint8)
        c = t[..., :3].astype(np.float32)
        grey = c.mean(2)
        level = np.median(grey[(a > 128) & (grey > 6)])
        if name in HAIR:  # grey, so that any colour can be given; alpha is coverage
            c = np.repeat(np.clip(grey * 110 / max(level, 8), 0, 255)[..., None], 3, 2)
        else:
            try:
                ao = cv2.resize(texture(textures, name + "_ao.png"), (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., :3].astype(np.float32) / 255
                c, grey = c * (0.3 + 0.7 * ao), grey * (0.3 + 0.7 * ao.mean(2))
                level = np.median(grey[(a > 128) & (grey > 6)])
            except SystemExit:
                pass
            a = np.clip(grey * 128 / max(level, 8), 0, 255).astype(np.uint8)  # relative brightness, for recolouring
        rgb.append(jpeg(np.clip(c, 0, 255).astype(np.uint8))), alpha.append(jpeg(a, 80))
        print(name, n, "verts", len(tri[-1]), "triangles, hides", len(hidden), "level", round(float(level), 1))
    for p in sorted(glob.glob(os.path.join(textures, "**", "*skinned*_diffuse*.png"), recursive=True)):
        t = cv2.resize(cv2.imread(p), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        rgb.append(jpeg(t, 88)), alpha.append(jpeg(np.full((SIZE, SIZE), 255, np.uint8), 50))
    cat = np.concatenate
    np.savez_compressed(os.path.join(out, "wardrobe.npz"), ref=cat(ref).astype(np.int32), w=cat(w).astype(np.float32), d=cat(d).astype(np.float32), part=cat(part).astype(np.int32),
                        scale=np.array(scale, np.float32), tri=cat(tri).astype(np.int32), uv=cat(uv).astype(np.float32), hide=hide)
    off = lambda b: np.cumsum([0] + [len(x) for x in b])
    np.savez(os.path.join(out, "textures.npz"), rgb=cat(rgb), rgb_off=off(rgb), alpha=cat(alpha), alpha_off=off(alpha), suits=len(SUITS), shoes=len(SHOES), hair=len(HAIR))
    print(len(rgb), "textures", os.path.getsize(os.path.join(out, "textures.npz")), "vertices", base)


if __name__ == "__main__":
    main(*sys.argv[1:4])
