"""Do detectors that were trained on real people see the drawn one, and where the truth says?

    cargo run --release --example demo_frames -- FOLDER
    python tests/demo_detectors.py FOLDER        # POSEWIRE_DATA or ../shared/data holds models/

RTMDet-nano must find exactly one person in at least 95 % of the frames; PP-TinyPose on its box must lie
within 6 % of the torso (median over visible keypoints). Exit code 1 if not; skipped (0) without onnxruntime,
OpenCV or the model files, which are not part of the project.
"""

import json
import os
import pathlib
import sys

try:
    import cv2
    import numpy as np
    import onnxruntime as ort
except ImportError as missing:
    sys.exit(print(f"skipped: {missing}"))

WIDTH, HEIGHT, FOCAL = 640, 480, 502.3
folder = pathlib.Path(sys.argv[1])
data = pathlib.Path(os.environ.get("POSEWIRE_DATA", pathlib.Path(__file__).resolve().parents[2] / "shared/data"))
files = [data / "models" / f for f in ("rtmdet_nano_HW140701.onnx", "tinypose_256_192.onnx")]
if not all(f.exists() for f in files):
    sys.exit(print(f"skipped: no detector files in {data / 'models'}"))
finder, keypoints = (ort.InferenceSession(str(f), providers=["CPUExecutionProvider"]) for f in files)

FINDER_MEAN, FINDER_STD = np.float32([103.53, 116.28, 123.675]), np.float32([57.375, 57.12, 58.395])
POSE_MEAN, POSE_STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def run(session, image, mean, std):
    tensor = ((image.astype(np.float32) - mean) / std).transpose(2, 0, 1)[None]
    return session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(tensor, np.float32)})


def boxes(bgr):
    scale = 320 / max(bgr.shape[:2])
    small = cv2.resize(bgr, None, fx=scale, fy=scale)
    padded = np.full((320, 320, 3), 114, np.uint8)
    padded[: small.shape[0], : small.shape[1]] = small
    found, labels = run(finder, padded, FINDER_MEAN, FINDER_STD)[:2]
    keep = (labels[0] == 0) & (found[0][:, 4] > 0.4)
    return found[0][keep, :4] / scale, found[0][keep, 4]


def pose(bgr, box):
    """COCO-17 in pixels; a heatmap's cell (i, j) is the crop's (4 i, 4 j), PaddleDetection's convention."""
    cx, cy, w, h = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, box[2] - box[0], box[3] - box[1]
    w, h = 1.25 * max(w, 0.75 * h), 1.25 * max(h, w / 0.75)
    affine = np.array([[192 / w, 0, 96 - cx * 192 / w], [0, 256 / h, 128 - cy * 256 / h]])
    crop = cv2.warpAffine(bgr, affine, (192, 256))[:, :, ::-1] / np.float32(255)
    out = []
    for heat in run(keypoints, crop, POSE_MEAN, POSE_STD)[0][0]:
        smooth = np.log(np.maximum(cv2.GaussianBlur(heat, (3, 3), 0), 1e-10))
        y, x = divmod(int(smooth.argmax()), heat.shape[1])
        dx = dy = 0.0
        if 0 < x < heat.shape[1] - 1 and 0 < y < heat.shape[0] - 1:
            dxx = smooth[y, x + 1] - 2 * smooth[y, x] + smooth[y, x - 1]
            dyy = smooth[y + 1, x] - 2 * smooth[y, x] + smooth[y - 1, x]
            dx = np.clip(-0.5 * (smooth[y, x + 1] - smooth[y, x - 1]) / dxx, -0.5, 0.5) if dxx < -1e-6 else 0
            dy = np.clip(-0.5 * (smooth[y + 1, x] - smooth[y - 1, x]) / dyy, -0.5, 0.5) if dyy < -1e-6 else 0
        px, py = (x + dx) * 192 / heat.shape[1], (y + dy) * 256 / heat.shape[0]
        out.append(((px - affine[0, 2]) / affine[0, 0], (py - affine[1, 2]) / affine[1, 1]))
    return np.array(out)


pictures = np.fromfile(folder / "frames.yuyv", np.uint8).reshape(-1, HEIGHT, WIDTH, 2)
truth = [json.loads(line) for line in open(folder / "truth.jsonl")]
single, errors, visible = 0, [], []
for picture, line in zip(pictures, truth, strict=True):
    bgr = cv2.cvtColor(picture, cv2.COLOR_YUV2BGR_YUYV)
    found, scores = boxes(bgr)
    single += len(found) == 1
    if len(found) == 0:
        continue
    joints = np.array(line["joints"])
    torso = np.linalg.norm(joints[8] - joints[0]) * FOCAL / joints[0][2]
    errors.append(np.linalg.norm(pose(bgr, found[scores.argmax()]) - np.array(line["points"]), axis=1) / torso)
    visible.append(np.array(line["visibility"]) > 0.5)
errors, visible = np.array(errors), np.array(visible)
share, median = single / len(pictures), float(np.median(errors[visible]))
print(f"{len(pictures)} frames: exactly one person in {100 * share:.1f} %")
print(f"error in shares of the torso: visible median {median:.3f}, p90 {np.quantile(errors[visible], 0.9):.3f},"
      f" hidden median {np.median(errors[~visible]):.3f}")
sys.exit(0 if share >= 0.95 and median <= 0.06 else 1)
