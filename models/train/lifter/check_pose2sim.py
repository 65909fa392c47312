"""Detector and lifter together against a triangulated markerless 3D recording (Pose2Sim's demo: one person balancing, 60 fps).

    python check_pose2sim.py --folder clips/pose2sim --person rtmdet_nano.onnx --keypoints tinypose_256_192.onnx --model ../../pstmo_s_27_live.onnx

The reference's own 2D reprojection error is 6..21 px: a sanity bound, not exact truth. Compared on the 12 limb joints that both skeletons
have, relative to mid-hip. Reports the error in the camera's frame, after one similarity per sequence, and after one per frame.
"""

import argparse
import os
import tomllib

import cv2
import numpy as np
import onnxruntime as ort
import torch

import metrics
import window as spec
from try_clip import keypoints, lift, live_windows, person_box

TRC = ["RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "LShoulder", "LElbow", "LWrist", "RShoulder", "RElbow", "RWrist"]
H36 = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16]


def read_trc(path):
    lines = open(path).read().splitlines()
    names = [n for n in lines[3].split("\t")[2:] if n]
    v = np.array([[float(x) for x in line.split("\t")[2:] if x] for line in lines[5:] if line.strip()]).reshape(-1, len(names), 3)
    return v[:, [names.index(n) for n in TRC]][..., [2, 0, 1]]  # y up (Pose2Sim's TRC) -> the calibration's z-up world


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for k in ("folder", "person", "keypoints", "model"):
        a.add_argument("--" + k, required=True)
    a.add_argument("--lookahead", type=int, default=0)
    a.add_argument("--cache", help="folder for the 2D keypoints")
    a = a.parse_args()
    truth = read_trc(f"{a.folder}/Balancing_filt_butterworth.trc")
    calib = tomllib.load(open(f"{a.folder}/Calib_qualisys.toml", "rb"))
    s = ort.InferenceSession(a.model)
    slots = s.get_inputs()[0].shape[1]
    for cam in ("01", "03"):
        c = calib[f"cam_{cam}"]
        k, rot = np.array(c["matrix"]), cv2.Rodrigues(np.array(c["rotation"]))[0]
        cache = f"{a.cache}/cam{cam}.npz" if a.cache else ""
        if cache and os.path.exists(cache):
            kp = np.load(cache)["kp"]
        else:
            cap, sp, sk, box, kp = cv2.VideoCapture(f"{a.folder}/pose2sim_single_cam{cam}.mp4"), ort.InferenceSession(a.person), ort.InferenceSession(a.keypoints), None, []
            while (got := cap.read())[0]:
                box = person_box(sp, got[1], box)
                kp.append(keypoints(sk, got[1], box))
            kp = np.array(kp)
            if cache:
                np.savez(cache, kp=kp)
        cam_truth = truth @ rot.T
        world = cam_truth + np.array(c["translation"])
        px = world[..., :2] / world[..., 2:] * [k[0, 0], k[1, 1]] + [k[0, 2], k[1, 2]]
        coco = [12, 14, 16, 11, 13, 15, 5, 7, 9, 6, 8, 10]
        n = min(len(kp), len(px))
        print(f"cam {cam}: detector against the reprojected reference: median {np.median(np.linalg.norm(kp[:n, coco, :2] - px[:n], axis=-1)):.1f} px")
        rays = spec.unit_rays(kp[..., :2], k[0, 0], k[1, 1], k[0, 2], k[1, 2])
        t = np.arange(len(kp)) / 60
        for label, g in (("gravity unknown", None), ("gravity known", rot @ [0, 0, -1.0])):
            live = live_windows(t, rays[:n], kp[:n, :, 2], slots, g, a.lookahead)
            live = [x for x in live if x is not None and x[4] >= 0]
            # The reference at the instants that the lookahead describes.
            at = np.array([x[4] for x in live]) * 60
            lo = np.clip(np.floor(at).astype(int), 0, n - 2)
            q = cam_truth[lo] + (at - lo)[:, None, None] * (cam_truth[lo + 1] - cam_truth[lo])
            p = lift(s, live)[:, H36]
            p, q = p - p[:, [0, 3]].mean(1, keepdims=True), q - q[:, [0, 3]].mean(1, keepdims=True)
            scale = (p * q).sum() / (p * p).sum()
            tp, tq = torch.from_numpy(p), torch.from_numpy(q)
            seq = metrics.procrustes(tp.reshape(1, -1, 3), tq.reshape(1, -1, 3)).reshape(p.shape)
            e = metrics.mpjpe(seq, tq)
            print(
                f"  {label}: MPJPE {metrics.mpjpe(tp * scale, tq).mean():.1f} mm (scale {scale:.2f} given), similarity per sequence {e.mean():.1f}, "
                f"per frame {metrics.p_mpjpe(tp, tq).mean():.1f}; velocity {metrics.mpjpe(tp[1:] * scale - tp[:-1] * scale, tq[1:] - tq[:-1]).mean():.1f} mm/frame"
            )
            print("   per joint: " + " ".join(f"{j} {v:.0f}" for j, v in zip(TRC, e.mean(0).tolist())))


if __name__ == "__main__":
    main()
