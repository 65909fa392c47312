"""Runs a real clip through a person detector, a 2D keypoint detector and an exported lifter, and draws what comes out.

    python try_clip.py --video squats.mp4 --person rtmdet_nano.onnx --keypoints tinypose_256_192.onnx --model ../../pstmo_s_27_live.onnx --png out.png

A sanity check on footage nobody simulated: knee angles, torso tilt, feet below hips. The 2D models are any RTMDet with NMS inside and any
17-heatmap top-down model with ImageNet normalisation (PP-TinyPose). The lens is unknown, so a field of view is assumed (--fov).
"""

import argparse
import json

import cv2
import numpy as np
import onnxruntime as ort

import window as spec
from skeleton import BONES17

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
COCO_BONES = [(0, 1), (0, 2), (1, 3), (2, 4), (5, 7), (7, 9), (6, 8), (8, 10), (5, 6), (11, 12), (5, 11), (6, 12), (11, 13), (13, 15), (12, 14), (14, 16)]


def person_box(session, frame, previous):
    """The box nearest to the previous one, or the largest."""
    h, w = frame.shape[:2]
    s = 320 / max(h, w)
    pad = np.full((320, 320, 3), 114, np.uint8)
    small = cv2.resize(frame, (round(w * s), round(h * s)))
    pad[: small.shape[0], : small.shape[1]] = small
    x = ((pad.astype(np.float32) - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]).transpose(2, 0, 1)[None].astype(np.float32)
    dets, labels = session.run(None, {session.get_inputs()[0].name: x})[:2]
    keep = (dets[0, :, 4] > 0.35) & (labels[0] == 0)
    b = dets[0, keep, :4] / s
    if len(b) == 0:
        return previous
    if previous is not None:
        c = (b[:, :2] + b[:, 2:]) / 2
        p = (previous[:2] + previous[2:]) / 2
        near = np.linalg.norm(c - p, axis=1)
        if near.min() < 0.5 * np.linalg.norm(previous[2:] - previous[:2]):
            return b[near.argmin()]
    return b[((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])).argmax()]


def keypoints(session, frame, box):
    c, wh = (box[:2] + box[2:]) / 2, (box[2:] - box[:2])
    w = max(wh[0], wh[1] * 0.75) * 1.25
    h = w / 0.75
    m = np.array([[192 / w, 0, 96 - c[0] * 192 / w], [0, 256 / h, 128 - c[1] * 256 / h]])
    crop = cv2.warpAffine(frame, m, (192, 256), flags=cv2.INTER_LINEAR)[..., ::-1]
    x = ((crop / 255.0 - MEAN) / STD).transpose(2, 0, 1)[None].astype(np.float32)
    heat = session.run(None, {session.get_inputs()[0].name: x})[0][0]
    out = np.zeros((17, 3))
    for j in range(17):
        a = cv2.GaussianBlur(heat[j], (3, 3), 0)
        y0, x0 = np.unravel_index(heat[j].argmax(), heat[j].shape)
        px, py = float(x0), float(y0)
        if 1 <= x0 < heat.shape[2] - 1 and 1 <= y0 < heat.shape[1] - 1:
            q = np.log(np.maximum(a, 1e-6))
            dx, dy = (q[y0, x0 + 1] - q[y0, x0 - 1]) / 2, (q[y0 + 1, x0] - q[y0 - 1, x0]) / 2
            dxx = q[y0, x0 + 1] - 2 * q[y0, x0] + q[y0, x0 - 1]
            dyy = q[y0 + 1, x0] - 2 * q[y0, x0] + q[y0 - 1, x0]
            if dxx < 0 and dyy < 0:
                px, py = px + np.clip(-dx / dxx, -0.5, 0.5), py + np.clip(-dy / dyy, -0.5, 0.5)
        out[j] = [(px * 4 - m[0, 2]) / m[0, 0], (py * 4 - m[1, 2]) / m[1, 1], min(max(float(heat[j].max()), 0), 1)]
    return out


def live_windows(times, rays, confidence, slots, gravity=None, lookahead=0):
    """What spec.Person gives after every frame (None where nobody was seen)."""
    person, out = spec.Person(slots, 25.0), []
    for t, r, c in zip(times, rays, confidence):
        seen = person.push(t, r, c)
        old = len(person.times) - int((slots / 25.0 + 0.5) / max(np.median(np.diff(times)), 1e-3)) - 2
        if old > 0 and person.times[-1] - person.times[old] > slots / 25.0 + spec.MAX_GAP_S:  # what no slot reaches
            person.times, person.rays, person.confidence = person.times[old:], person.rays[old:], person.confidence[old:]
        out.append(person.window(gravity, lookahead) if seen else None)
    return out


def lift(session, live):
    """Windows -> joints in the real camera's frame [N,17,3]."""
    feed = {"window": np.stack([w[0] for w in live]), "fresh": np.array([[w[1]] for w in live], np.float32), "context": np.stack([w[2] for w in live])}
    joints = session.run(None, feed)[0].astype(float)
    return np.stack([spec.to_camera(j, w[3]) for j, w in zip(joints, live)])


def angle(p, a, b, c):
    u, v = p[a] - p[b], p[c] - p[b]
    return np.degrees(np.arccos(np.clip(u @ v / np.linalg.norm(u) / np.linalg.norm(v), -1, 1)))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for k in ("video", "person", "keypoints", "model", "png"):
        a.add_argument("--" + k, required=True)
    a.add_argument("--fov", type=float, default=60, help="horizontal, degrees")
    a.add_argument("--level", action="store_true", help="say that the camera is level (gravity known)")
    a.add_argument("--cache", help="file for the 2D keypoints (.npz), so that several lifters see the same")
    a.add_argument("--json", help="write angles per frame")
    a.add_argument("--columns", type=int, default=12)
    a = a.parse_args()
    cap = cv2.VideoCapture(a.video)
    fps = cap.get(cv2.CAP_PROP_FPS)
    frames = []
    while True:
        ok, f = cap.read()
        if not ok:
            break
        frames.append(f)
    h, w = frames[0].shape[:2]
    try:
        kp = np.load(a.cache)["kp"]
    except Exception:
        sp, sk = ort.InferenceSession(a.person), ort.InferenceSession(a.keypoints)
        box, kp = None, []
        for f in frames:
            box = person_box(sp, f, box)
            kp.append(keypoints(sk, f, box) if box is not None else np.zeros((17, 3)))
        kp = np.array(kp)
        if a.cache:
            np.savez(a.cache, kp=kp)
    s = ort.InferenceSession(a.model)
    slots = s.get_inputs()[0].shape[1]
    fx = w / 2 / np.tan(np.radians(a.fov) / 2)
    times = np.arange(len(frames)) / fps
    rays = spec.unit_rays(kp[..., :2], fx, fx, w / 2, h / 2)
    gravity = (0, 1, 0) if a.level else None
    poses = np.full((len(frames), 17, 3), np.nan)
    for i, live in enumerate(live_windows(times, rays, kp[..., 2], slots, gravity)):
        if live is not None:
            poses[i] = lift(s, [live])[0]
    knee = np.array([[angle(p, 1, 2, 3), angle(p, 4, 5, 6)] for p in poses])
    torso = np.array([np.degrees(np.arccos(np.clip(-p[8, 1] / np.linalg.norm(p[8]), -1, 1))) for p in poses])
    feet = np.array([min(p[3, 1], p[6, 1]) for p in poses])
    print(f"{a.video}: {len(frames)} frames at {fps:.1f} fps, mean keypoint confidence {kp[..., 2].mean():.2f}")
    print(f"knee angle min {np.nanmin(knee.mean(1)):.0f} max {np.nanmax(knee.mean(1)):.0f} deg; torso tilt median {np.nanmedian(torso):.0f}, max {np.nanmax(torso):.0f} deg;")
    print(f"feet below hips in {100 * np.nanmean(feet > 0):.0f} % of frames (y > 0); lowest {np.nanmin(feet):.2f} m")
    d3 = poses[3:] - 3 * poses[2:-1] + 3 * poses[1:-2] - poses[:-3]
    print(f"jitter {np.nanmean(np.linalg.norm(d3, axis=-1)) * fps**3:.0f} m/s^3; mean |third difference| {1e3 * np.nanmean(np.linalg.norm(d3, axis=-1)):.1f} mm; knees per frame: " + " ".join(f"{v:.0f}" for v in knee.mean(1)[:: max(1, len(frames) // 70)]))
    if a.json:
        json.dump({"knee": knee.round(1).tolist(), "torso": torso.round(1).tolist()}, open(a.json, "w"))

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    pick = np.linspace(0, len(frames) - 1, a.columns).astype(int)
    fig, ax = plt.subplots(3, a.columns, figsize=(1.9 * a.columns, 6.6))
    for c, i in enumerate(pick):
        ax[0, c].imshow(frames[i][..., ::-1])
        for p, q in COCO_BONES:
            if kp[i, p, 2] > 0.1 and kp[i, q, 2] > 0.1:
                ax[0, c].plot(kp[i, [p, q], 0], kp[i, [p, q], 1], c="r" if p % 2 == 0 and q % 2 == 0 else "c", lw=1)
        ax[0, c].set_title(f"{times[i]:.1f} s knee {knee[i].mean():.0f}", fontsize=8)
        ax[0, c].axis("off")
        for r, (u, v) in ((1, (0, 1)), (2, (2, 1))):
            for p, q in BONES17:
                ax[r, c].plot(poses[i][[p, q], u], poses[i][[p, q], v], c="r" if q in (1, 2, 3, 14, 15, 16) else "b", lw=1.5)
            ax[r, c].set_xlim(-1, 1)
            ax[r, c].set_ylim(1, -1)
            ax[r, c].set_aspect("equal")
            ax[r, c].tick_params(labelsize=5)
    ax[1, 0].set_ylabel("front (x, y)")
    ax[2, 0].set_ylabel("side (z, y)")
    plt.tight_layout()
    plt.savefig(a.png, dpi=60)


if __name__ == "__main__":
    main()
