#!/usr/bin/env python3
"""The embedded detector on real clips against PP-TinyPose (tests only; never trained on).

  POSEWIRE_DATA=... eval_clips.py [--models FOLDER] [--every N] [--pictures OUT.jpg]

Per clip: share of frames in which the main person is found (a box of IoU > 0.3 with the reference's), PCK@0.2 of the torso's length over
joints of which the teacher is sure (> 0.4), and the jitter ratio (mean second difference, ours / the teacher's). "tracked": as the runtime
works, the finder only starts the track and the next crop follows the keypoints; "own boxes": the finder on every frame; "reference boxes":
RTMDet-nano's boxes for both.
"""
import argparse
import glob
import os

import cv2
import numpy as np

import infer
import teacher
from eval_coco import draw, iou
from paths import MODELS


def from_keypoints(p, limit=0.25):
    """Box around the confident keypoints, a little enlarged; None when too few."""
    q = p[p[:, 2] > limit]
    if len(q) < 5:
        return None
    lo, hi = q[:, :2].min(0), q[:, :2].max(0)
    m = 0.08 * (hi - lo).max()
    return np.concatenate([lo - m, hi + m])


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--models", default=MODELS)
    a.add_argument("--keypoints", default="posewire-keypoints")
    a.add_argument("--every", type=int, default=2)
    a.add_argument("--pictures")
    a = a.parse_args()
    data = os.environ["POSEWIRE_DATA"]
    find = infer.Finder(os.path.join(a.models, "posewire-finder.toml"))
    kps = infer.Keypoints(os.path.join(a.models, a.keypoints + ".toml"))
    det, tp = teacher.RtmDet(os.path.join(data, "models")), teacher.TinyPose(os.path.join(data, "models"))
    sheet = []
    for clip in sorted(glob.glob(os.path.join(data, "clips", "*.mp4")) + glob.glob(os.path.join(data, "clips", "pose2sim", "*.mp4"))):
        cap, n, ref_box, track = cv2.VideoCapture(clip), 0, None, None
        frames = found = 0
        hit = {"reference boxes": [], "own boxes": [], "tracked": []}
        path = {"teacher": [], "reference boxes": []}
        while True:
            ok, img = cap.read()
            if not ok:
                break
            n += 1
            if n % a.every:
                continue
            if max(img.shape[:2]) > 1280:
                s = 1280 / max(img.shape[:2])
                img = cv2.resize(img, None, fx=s, fy=s, interpolation=cv2.INTER_AREA)
            d = det(img)
            d = d[d[:, 4] > 0.4]
            if not len(d):
                continue
            area = (d[:, 2] - d[:, 0]) * (d[:, 3] - d[:, 1])
            ref = d[area.argmax()] if ref_box is None else max(d, key=lambda b: iou(b, ref_box))
            ref_box = ref
            frames += 1
            want = tp(img, ref[:4])
            torso = np.linalg.norm(want[[5, 6], :2].mean(0) - want[[11, 12], :2].mean(0))
            sure = want[:, 2] > 0.4

            def score(p):
                return (np.linalg.norm(p[:, :2] - want[:, :2], axis=1)[sure] < 0.2 * torso).tolist() if p is not None else [False] * int(sure.sum())

            given = kps(img, ref[:4])
            hit["reference boxes"] += score(given)
            path["teacher"].append(want[:, :2])
            path["reference boxes"].append(given[:, :2])
            boxes = find(img)
            mine = max(boxes, key=lambda b: iou(b, ref), default=None)
            good = mine is not None and iou(mine, ref) > 0.3
            found += good
            p = kps(img, mine[:4]) if good else None
            hit["own boxes"] += score(p)
            if track is None and good:
                track = mine[:4]
            t = kps(img, track) if track is not None else None
            hit["tracked"] += score(t)
            track = from_keypoints(t) if t is not None else None
            if len(sheet) < 60 and frames % max(1, 60 // a.every) == 1:
                show = img.copy()
                draw(show, given, (255, 160, 0))
                if p is not None:
                    draw(show, p)
                for b in boxes:
                    cv2.rectangle(show, (int(b[0]), int(b[1])), (int(b[2]), int(b[3])), (0, 200, 255), 2)
                f = 320 / max(show.shape[:2])
                c = np.zeros((320, 320, 3), np.uint8)
                r = cv2.resize(show, None, fx=f, fy=f, interpolation=cv2.INTER_AREA)
                c[:r.shape[0], :r.shape[1]] = r[:320, :320]
                sheet.append(c)
        if not frames:
            continue
        jit = {k: np.median(np.linalg.norm(np.diff(np.array(v), 2, axis=0), axis=2)) if len(v) > 3 else np.nan for k, v in path.items()}
        print(f"{os.path.basename(clip)}: frames {frames} found {found / frames:.3f}  PCK@0.2 " + "  ".join(f"{k} {np.mean(v):.3f}" for k, v in hit.items())
              + f"  jitter ratio {jit['reference boxes'] / jit['teacher']:.2f}", flush=True)
    if a.pictures and sheet:
        sheet += [sheet[0] * 0] * (-len(sheet) % 6)
        cv2.imwrite(a.pictures, np.concatenate([np.concatenate(sheet[i:i + 6], 1) for i in range(0, len(sheet), 6)]))


if __name__ == "__main__":
    main()
