#!/usr/bin/env python3
"""Score the finder and the keypoint network on the small COCO set (evaluation only).

  POSEWIRE_DATA=... eval_coco.py [--models FOLDER] [--flip] [--pictures OUT.jpg]

Runs score.py beside the set twice: with the annotated boxes, and with boxes of our own finder.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import cv2
import numpy as np

import infer
from paths import MODELS

EDGES = [(5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16), (5, 6), (11, 12), (5, 11), (6, 12), (0, 1), (0, 2), (1, 3), (2, 4)]


def draw(img, p, colour=(0, 255, 0), limit=0.2):
    for a, b in EDGES:
        if min(p[a, 2], p[b, 2]) > limit:
            cv2.line(img, tuple(int(v) for v in p[a, :2]), tuple(int(v) for v in p[b, :2]), colour, 2)
    for x, y, v in p:
        if v > limit:
            cv2.circle(img, (int(x), int(y)), 3, (0, 0, 255), -1)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--models", default=MODELS)
    a.add_argument("--keypoints", default="posewire-keypoints")
    a.add_argument("--flip", action="store_true", help="average with the mirrored crop (twice the time)")
    a.add_argument("--threshold", type=float)
    a.add_argument("--pictures")
    a.add_argument("--given-only", action="store_true")
    a = a.parse_args()
    root = os.path.join(os.environ["POSEWIRE_DATA"], "coco_eval")
    truth = json.load(open(os.path.join(root, "person_keypoints.json")))
    find = infer.Finder(os.path.join(a.models, "posewire-finder.toml"), 2)
    kps = infer.Keypoints(os.path.join(a.models, a.keypoints + ".toml"), 2, a.flip)
    given, own, sheet, hits, wanted = [], [], [], 0, 0
    for im in truth["images"]:
        bgr = cv2.imread(os.path.join(root, "images", im["file_name"]))
        show = bgr.copy()
        anns = [x for x in truth["annotations"] if x["image_id"] == im["id"]]
        boxes = [] if a.given_only else find(bgr, a.threshold)
        for x in anns:
            b = x["bbox"]
            if not x.get("iscrowd") and x["num_keypoints"] >= 10:
                p = kps(bgr, [b[0], b[1], b[0] + b[2], b[1] + b[3]])
                given.append({"image_id": im["id"], "annotation_id": x["id"], "keypoints": p.ravel().tolist(), "score": 1.0})
                if a.given_only:
                    draw(show, p, (255, 160, 0))
                if b[3] > 100:
                    wanted += 1
                    hits += any(iou(o, [b[0], b[1], b[0] + b[2], b[1] + b[3]]) > 0.5 for o in boxes)
        for o in boxes:
            p = kps(bgr, o[:4])
            own.append({"image_id": im["id"], "keypoints": p.ravel().tolist(), "score": float(o[4] * p[:, 2].mean())})
            draw(show, p)
            cv2.rectangle(show, (int(o[0]), int(o[1])), (int(o[2]), int(o[3])), (0, 200, 255), 1)
        s = 240 / max(show.shape[:2])
        t = np.zeros((240, 240, 3), np.uint8)
        r = cv2.resize(show, None, fx=s, fy=s, interpolation=cv2.INTER_AREA)
        t[:r.shape[0], :r.shape[1]] = r[:240, :240]
        sheet.append(t)
    for name, preds in (("given boxes", given), ("own finder", own)):
        if not preds:
            print(name, "nothing")
            continue
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            json.dump(preds, f)
            f.flush()
            r = subprocess.run([sys.executable, os.path.join(root, "score.py"), f.name] + (["--given-boxes"] if name == "given boxes" else []), capture_output=True, text=True)
        print(f"{name}: {r.stdout.strip()}{r.stderr.strip()}")
    if not a.given_only:
        print(f"finder: {hits}/{wanted} persons with a box of IoU > 0.5; {len(own)} boxes")
    if a.pictures:
        cv2.imwrite(a.pictures, np.concatenate([np.concatenate((sheet + [sheet[0] * 0] * 10)[i:i + 10], 1) for i in range(0, len(sheet), 10)]), [cv2.IMWRITE_JPEG_QUALITY, 85])


def iou(a, b):
    x = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return x / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - x + 1e-9)


if __name__ == "__main__":
    main()
