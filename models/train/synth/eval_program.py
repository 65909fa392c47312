#!/usr/bin/env python3
"""The detector in the program itself on the clips: found rate, PCK against PP-TinyPose, jitter, false persons.

  POSEWIRE_DATA=... eval_program.py frames CACHE            # clips -> CACHE/<clip>/NNNNN.jpg (at most 1280 pixels) and the teachers' answers
  cargo build --release --example detect_pictures
  eval_program.py score CACHE BINARY MODELS [--keypoints NAME]       # BINARY: .../examples/detect_pictures

The frames go through the program's own following (finder every 15th frame, or when somebody fades), as a recording. "found": a person whose
keypoints' box overlaps the main person's box (RTMDet-nano) by IoU > 0.3. PCK@0.2 of the torso over joints of which the teacher is sure (> 0.4),
missing persons counted as misses. Jitter: median second difference of the keypoints, ours / the teacher's, where found three times in a row. "false": persons
that overlap no box of RTMDet-nano (score > 0.3) by IoU > 0.3.
"""
import argparse
import glob
import json
import os
import subprocess
import tempfile

import cv2
import numpy as np

import teacher
from eval_coco import iou


def frames(cache):
    data = os.environ["POSEWIRE_DATA"]
    det, tp = teacher.RtmDet(os.path.join(data, "models")), teacher.TinyPose(os.path.join(data, "models"))
    for clip in sorted(glob.glob(os.path.join(data, "clips", "*.mp4")) + glob.glob(os.path.join(data, "clips", "pose2sim", "*.mp4"))):
        folder = os.path.join(cache, os.path.basename(clip)[:-4])
        os.makedirs(folder, exist_ok=True)
        cap, n, ref, out = cv2.VideoCapture(clip), 0, None, []
        while True:
            ok, img = cap.read()
            if not ok:
                break
            s = min(1, 1280 / max(img.shape[:2]))
            img = cv2.resize(img, None, fx=s, fy=s, interpolation=cv2.INTER_AREA) if s < 1 else img
            cv2.imwrite(os.path.join(folder, f"{n:05d}.jpg"), img, [cv2.IMWRITE_JPEG_QUALITY, 95])
            d = det(img)
            sure = d[d[:, 4] > 0.4]
            row = {"boxes": d[d[:, 4] > 0.3].tolist(), "ref": None, "keypoints": None}
            if len(sure):
                area = (sure[:, 2] - sure[:, 0]) * (sure[:, 3] - sure[:, 1])
                ref = sure[area.argmax()] if ref is None else max(sure, key=lambda b: iou(b, ref))
                row["ref"], row["keypoints"] = ref.tolist(), tp(img, ref[:4]).tolist()
            out.append(row)
            n += 1
        json.dump(out, open(os.path.join(folder, "teacher.json"), "w"))
        print(clip, n, flush=True)


def box_of(p):
    q = p[p[:, 2] > 0.2]
    q = p if len(q) < 3 else q
    lo, hi = q[:, :2].min(0), q[:, :2].max(0)
    m = (hi - lo) * 0.075
    return np.concatenate([lo - m, hi + m])


def score(cache, binary, models, keypoints):
    for folder in sorted(glob.glob(os.path.join(cache, "*/"))):
        want = json.load(open(os.path.join(folder, "teacher.json")))
        with tempfile.TemporaryDirectory() as out:
            files = sorted(glob.glob(os.path.join(folder, "*.jpg")))
            text = subprocess.run([binary, models, out] + (["--keypoints", keypoints] if keypoints else []) + files, check=True, capture_output=True, text=True).stdout
            got = json.load(open(os.path.join(out, "predictions.json")))
        by = {}
        for g in got:
            by.setdefault(int(g["image"]), []).append(np.array(g["keypoints"]).reshape(17, 3))
        n = found = false = false_frames = 0
        hits, ours, theirs = [], {}, {}
        for k, w in enumerate(want):
            mine = by.get(k, [])
            f = sum(max([iou(box_of(p), b) for b in w["boxes"]], default=0) < 0.3 for p in mine)
            false, false_frames = false + f, false_frames + (f > 0)
            if w["ref"] is None:
                continue
            n += 1
            t = np.array(w["keypoints"])
            sure, torso = t[:, 2] > 0.4, np.linalg.norm(t[[5, 6], :2].mean(0) - t[[11, 12], :2].mean(0))
            p = max(mine, key=lambda p: iou(box_of(p), w["ref"]), default=None)
            good = p is not None and iou(box_of(p), w["ref"]) > 0.3
            found += good
            hits += (np.linalg.norm(p[:, :2] - t[:, :2], axis=1)[sure] < 0.2 * torso).tolist() if good else [False] * int(sure.sum())
            if good:
                ours[k], theirs[k] = p[:, :2], t[:, :2]
        runs = [k for k in ours if k + 1 in ours and k + 2 in ours]
        jit = [np.median([np.linalg.norm(v[k] - 2 * v[k + 1] + v[k + 2], axis=1) for k in runs]) if runs else np.nan for v in (ours, theirs)]
        print(f"{os.path.basename(folder[:-1])}: frames {n} found {found / n:.3f} PCK@0.2 {np.mean(hits):.3f} jitter ratio {jit[0] / jit[1]:.2f} false persons {false} in {false_frames} frames; {text.splitlines()[-1]}", flush=True)


if __name__ == "__main__":
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("what", choices=["frames", "score"])
    a.add_argument("cache")
    a.add_argument("binary", nargs="?")
    a.add_argument("models", nargs="?")
    a.add_argument("--keypoints")
    a = a.parse_args()
    frames(a.cache) if a.what == "frames" else score(a.cache, a.binary, a.models, a.keypoints)
