#!/usr/bin/env python3
"""Permissive photographs -> OUT/pictures.npz: backgrounds, person crops with the teacher's keypoints, whole pictures with boxes.

  prep_photos.py DATA OUT [PANORAMAS] [--photos FOLDER ...]

DATA/photos holds the pictures and LIST.csv, DATA/models the teachers (teacher.py); --photos names folders to be used instead of DATA/photos (which may be one of them). Everything is stored
as JPEG. Every scene is drawn equally often, however many frames there are of it; a picture with n labelled people counts sqrt(n) times for the keypoints.
"""
import argparse
import csv
import os
import re
import zlib

import cv2
import numpy as np

import teacher

R = np.random.default_rng(3)
HELD_OUT = re.compile(r"test_couple|test_tada|yogi_squat|img_side_lunge_right|_walk\.mkv|test_t_pose|Pilots")
# Pictures of many places (PHOTOS.md): each is a scene.
OWN_NAME = re.compile(r"(18f|aws|azure|carpentries|clothing|coco|librarycarpentry|oipc|openimages|peacecorps|swcarpentry|turingway|usgov|vagov)_")
NOBODY = re.compile(r"clothing_")  # the teacher takes clothes for people
AW, AH = 288, 384     # person crops
PW, PH = 480, 384     # whole pictures, letterboxed at the top left


def held_out(name, scene):
    """The first list's twelve persons as ever; of scenes known by their own name one in twelve."""
    return bool(HELD_OUT.search(name)) or (OWN_NAME.match(name) is not None and zlib.crc32(scene.encode()) % 12 == 0)


def group(name):
    """Frames of one recording, and one photographer's series in one room, count as one scene."""
    if name.startswith("yogait") and not re.search(r"test_t\.|test_t_pose|tada", name):
        return "yogait"
    return re.sub(r"(_f\d+)?\.(jpg|png)$", "", re.sub(r"asl_gestures_\w+\.mkv", "asl", name))


def jpeg(img, q=70):
    return np.frombuffer(cv2.imencode(".jpg", img, [cv2.IMWRITE_JPEG_QUALITY, q])[1].tobytes(), np.uint8)


def pack(out, name, blobs):
    out[name] = np.concatenate(blobs)
    out[name + "_off"] = np.cumsum([0] + [len(b) for b in blobs])


def iou(a, b):
    x = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return x / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - x + 1e-9)


def leaves(pictures, n, size=256):
    """Dead-leaves pictures: overlapping shapes of all sizes, filled with flat colour, gradients, noise or pieces of the photographs.
    Cheap pictures with the statistics of natural scenes; they are backgrounds, prints on clothes and faces of props."""
    out = []
    yy, xx = np.mgrid[0:size, 0:size].astype(np.float32)
    for _ in range(n):
        img = np.empty((size, size, 3), np.float32)
        img[:] = R.uniform(0, 255, 3)
        lo = R.choice([6, 12, 25])
        hsv_h, spread = R.uniform(0, 180), R.choice([8, 25, 90])
        for _ in range(int(R.choice([25, 60, 150, 350]))):
            r = min(lo / max(R.random(), 1e-3) ** R.uniform(0.4, 0.8), 160)
            c = R.uniform(-20, size + 20, 2)
            a, asp = R.uniform(0, np.pi) * (R.random() < 0.5), np.exp(R.normal(0, 0.6))
            u, v = (xx - c[0]) * np.cos(a) + (yy - c[1]) * np.sin(a), (yy - c[1]) * np.cos(a) - (xx - c[0]) * np.sin(a)
            kind = R.integers(4)
            if kind == 0:
                m = (u / r) ** 2 + (v / r / asp) ** 2 < 1
            elif kind == 1:
                m = (np.abs(u) < r) & (np.abs(v) < r * asp)
            elif kind == 2:
                m = (np.abs(v) < max(1.0, r * 0.06)) & (np.abs(u) < r * 3)
            else:
                m = (v > -r) & (v + np.abs(u) * R.uniform(0.5, 2.5) < r)
            if not m.any():
                continue
            col = cv2.cvtColor(np.uint8([[[(hsv_h + R.normal(0, spread)) % 180, min(255, abs(R.normal(60, 60))), R.uniform(10, 255)]]]), cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)
            fill = R.random()
            if fill < 0.45:
                img[m] = col
            elif fill < 0.7:
                g = (u / r * R.normal(0, 0.25) + v / r * R.normal(0, 0.25))[m]
                img[m] = col * (1 + np.clip(g, -0.7, 0.7))[:, None]
            elif fill < 0.85:
                nz = cv2.resize(R.normal(0, 1, (size // 4, size // 4)).astype(np.float32), (size, size), interpolation=R.choice([cv2.INTER_LINEAR, cv2.INTER_NEAREST]))
                img[m] = col * (1 + 0.25 * nz[m])[:, None]
            else:
                p = pictures[R.integers(len(pictures))]
                p = np.roll(p, tuple(R.integers(0, size, 2)), (0, 1))[:, :, R.permutation(3)].astype(np.float32)
                img[m] = np.clip(p[m] * R.uniform(0.5, 1.4) + R.normal(0, 15, 3), 0, 255)
        if R.random() < 0.5:
            img = cv2.GaussianBlur(img, (0, 0), R.uniform(0.4, 2.0))
        out.append(jpeg(np.clip(img, 0, 255).astype(np.uint8), 80))
    return out


def panoramas(folder, per):
    """Views into equirectangular HDR panoramas (`*.exr`, or npm's @pmndrs/assets `hdri/*.exr.js`: Poly Haven, CC0): real rooms and outdoors."""
    import base64
    import glob
    import tempfile

    import OpenEXR
    size, out = 256, []
    for path in sorted(glob.glob(os.path.join(folder, "*.exr*"))):
        if path.endswith(".d.ts"):
            continue
        data = open(path, "rb").read()
        if path.endswith(".js"):
            data = base64.b64decode(data.split(b"base64,")[1].split(b"'")[0])
        with tempfile.NamedTemporaryFile(suffix=".exr") as t:
            t.write(data)
            t.flush()
            with OpenEXR.File(t.name) as f:
                ch = f.channels()
                p = ch["RGB"].pixels if "RGB" in ch else ch["RGBA"].pixels[..., :3] if "RGBA" in ch else np.stack([ch[c].pixels for c in "RGB"], -1)
        p = np.clip(np.nan_to_num(np.asarray(p, np.float32), posinf=50), 0, 50)[..., ::-1]
        h, w = p.shape[:2]
        for _ in range(per):
            yaw, pitch, fov = R.uniform(0, 2 * np.pi), R.normal(-0.05, 0.2), R.uniform(45, 95)
            f = size / 2 / np.tan(np.radians(fov) / 2)
            x, y = np.meshgrid(np.arange(size) + 0.5 - size / 2, np.arange(size) + 0.5 - size / 2)
            d = np.stack([x, y, np.full_like(x, f)], -1)
            d /= np.linalg.norm(d, axis=-1, keepdims=True)
            c, s = np.cos(pitch), np.sin(pitch)
            down, along = d[..., 1] * c - d[..., 2] * s, d[..., 1] * s + d[..., 2] * c
            u = ((np.arctan2(d[..., 0], along) + yaw) / (2 * np.pi) + 0.5) % 1 * w
            v = (np.arcsin(np.clip(down, -1, 1)) / np.pi + 0.5) * h
            o = cv2.remap(np.ascontiguousarray(p), u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
            o = o * (R.uniform(0.2, 0.5) / max(float(np.median(o)), 1e-3) ** 0.9)
            out.append(jpeg(np.clip((o / (1 + 0.4 * o)) ** (1 / 2.2) * 255, 0, 255).astype(np.uint8), 84))
    return out


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("data")
    a.add_argument("out")
    a.add_argument("panoramas", nargs="?")
    a.add_argument("--photos", nargs="+", help="folders with pictures and LIST.csv")
    a.add_argument("--sheets", default="/tmp", help="folder for contact sheets to be looked at")
    a = a.parse_args()
    data, folder, hdri = a.data, a.out, a.panoramas
    tp, det = teacher.TinyPose(os.path.join(data, "models")), teacher.RtmDet(os.path.join(data, "models"))
    rows = [(f, r["local"]) for f in a.photos or [os.path.join(data, "photos")] for r in csv.DictReader(open(os.path.join(f, "LIST.csv"))) if r["local"]]
    size = {}
    for _, n in rows:
        size[group(n)] = size.get(group(n), 0) + 1
    crops, ckp, cbox, cw, cin, ctrain, photos, pbox, pw, pin, ptrain, back, sheet = ([] for _ in range(13))
    made = {}
    for where, name in rows:
        img = cv2.imread(os.path.join(where, name))
        if img is None:
            print("unreadable", name)
            continue
        g = group(name)
        train = 0.0 if held_out(name, g) else 1.0 / size[g]
        d = det(img)
        d = d[d[:, 4] > (9 if NOBODY.match(name) else 0.15)]
        boxes, state = np.zeros((12, 4), np.float32), np.zeros(12, np.float32)
        s = min(PW / img.shape[1], PH / img.shape[0])
        sure = []
        for k, b in enumerate(d[:12]):
            p = tp(img, b[:4])
            good = p[p[:, 2] > 0.35, 2]
            boxes[k] = b[:4] * s / [PW, PH, PW, PH]
            state[k] = 1 if b[4] > 0.5 and len(good) >= 4 else 2
            ok = state[k] == 1 and len(good) >= 5 and good.mean() > 0.55
            # Only persons whose box is not mostly another one's.
            if ok and max([iou(b, o) for j, o in enumerate(d) if j != k and o[4] > 0.4] or [0]) < 0.45 and b[3] - b[1] > 70:
                sure.append((b, p))
        canvas = np.full((PH, PW, 3), 114, np.uint8)
        r = cv2.resize(img, (round(img.shape[1] * s), round(img.shape[0] * s)), interpolation=cv2.INTER_AREA if s < 1 else cv2.INTER_LINEAR)
        canvas[:r.shape[0], :r.shape[1]] = r
        photos.append(jpeg(canvas))
        pbox.append(boxes)
        pw.append(state)
        pin.append([r.shape[1] / PW, r.shape[0] / PH])
        ptrain.append(train)
        for b, p in sure:
            c, ext = teacher.crop_box(b[:4])
            ext = ext * 1.4
            t = teacher.crop(img, c, ext, AW, AH)
            o = c - ext / 2
            q = p.copy()
            q[:, :2] = (p[:, :2] - o) / ext
            crops.append(jpeg(t))
            ckp.append(q)
            cbox.append((np.array(b[:4]).reshape(2, 2) - o) / ext)
            # Trust joints the teacher is sure of; where it sees nothing at all the target is "absent", elsewhere nothing is asked.
            w = np.clip((p[:, 2] - 0.25) / 0.3, 0, 1)
            # What the teacher guesses beyond the picture's border is absent (score -1).
            gone = (p[:, 0] < -1) | (p[:, 1] < -1) | (p[:, 0] > img.shape[1]) | (p[:, 1] > img.shape[0])
            q[gone, 2], w[gone] = -1, 1
            cw.append(w)
            cin.append((np.array([[0, 0], img.shape[1::-1]]) - o) / ext)
            ctrain.append(train / len(sure) ** 0.5)
            if made.get("s" + g, 0) < 2:
                made["s" + g] = made.get("s" + g, 0) + 1
                for x, y, v in q:
                    if v > 0.3:
                        cv2.circle(t, (int(x * AW), int(y * AH)), 3, (0, 0, 255), -1)
                sheet.append(cv2.resize(t, (144, 192)))
        # Backgrounds: squares without people; or the picture with its people painted over.
        h, w = img.shape[:2]
        most = 1 if OWN_NAME.match(name) else 6
        for attempt in range(30):
            if made.get(g, 0) >= most and attempt > 0:
                break
            side = int(R.uniform(0.3, 0.95) * min(h, w))
            x, y = R.integers(0, w - side + 1), R.integers(0, h - side + 1)
            over = max([max(0, min(b[2], x + side) - max(b[0], x)) * max(0, min(b[3], y + side) - max(b[1], y)) / side ** 2 for b in d] or [0])
            if over < 0.01 and side > 90 and made.get(g, 0) < most:
                back.append(jpeg(cv2.resize(img[y:y + side, x:x + side], (256, 256), interpolation=cv2.INTER_AREA)))
                made[g] = made.get(g, 0) + 1
        if made.get("p" + g, 0) < 1:
            made["p" + g] = 1
            small = cv2.resize(img, (256, 256), interpolation=cv2.INTER_AREA)
            mask = np.zeros((256, 256), np.uint8)
            for b in d:
                x0, y0, x1, y1 = (np.array(b[:4]) * [256 / w, 256 / h, 256 / w, 256 / h] + [-6, -6, 6, 6]).astype(int)
                cv2.rectangle(mask, (max(x0, 0), max(y0, 0)), (x1, y1), 255, -1)
            if (mask > 0).mean() < 0.65:
                back.append(jpeg(cv2.inpaint(small, mask, 6, cv2.INPAINT_TELEA)))
    scenes = [cv2.imdecode(b, 1) for b in back]
    shown = list(back)
    views = panoramas(hdri, 14) if hdri else []
    scenes_n = len(back) + len(views)
    back = back + views + leaves(scenes, 110)
    shown += views[::7]
    out = {}
    pack(out, "backgrounds", back)
    pack(out, "crops", crops)
    pack(out, "photos", photos)
    f = lambda a: np.array(a, np.float32)
    out.update(crop_kp=f(ckp), crop_box=f(cbox).reshape(-1, 4), crop_w=f(cw), crop_in=f(cin).reshape(-1, 4), crop_train=f(ctrain), photo_box=f(pbox), photo_w=f(pw), photo_in=f(pin), photo_train=f(ptrain), scenes=scenes_n)
    np.savez(os.path.join(folder, "pictures.npz"), **out)
    print("backgrounds", len(back), "crops", len(crops), "held out", int((f(ctrain) == 0).sum()), "photos", len(photos), "scenes", len(size), os.path.getsize(os.path.join(folder, "pictures.npz")))
    cv2.imwrite(os.path.join(a.sheets, "teacher.png"), np.concatenate([np.concatenate((sheet + [sheet[0] * 0] * 20)[i:i + 16], 1) for i in range(0, len(sheet), 16)]))
    bk = [cv2.resize(cv2.imdecode(b, 1), (96, 96)) for b in shown + back[-60:]]
    bk += [bk[0] * 0] * 20
    cv2.imwrite(os.path.join(a.sheets, "back.png"), np.concatenate([np.concatenate(bk[i:i + 20], 1) for i in range(0, len(bk) - 20, 20)]))


if __name__ == "__main__":
    main()
