"""Our calibration beside OpenCV's on the same pictures; by hand, for docs/calibration.md.

    POSEWIRE_RENDERED=/tmp/boards cargo test --test calibration
    python3 -m venv /tmp/cv && /tmp/cv/bin/pip install opencv-python-headless
    /tmp/cv/bin/python tests/calibrate_opencv.py /tmp/boards target/debug/posewire

Each folder of /tmp/boards holds pictures drawn through a known lens (lens.json), and the true
corners of each. Prints how far OpenCV (findChessboardCorners, cornerSubPix, calibrateCamera) and
posewire (calibrate camera) are from the truth.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import cv2
import numpy as np

COLUMNS, ROWS, SQUARE = 9, 6, 0.025


def opencv(folder, truth):
    grid = np.zeros((COLUMNS * ROWS, 3), np.float32)
    grid[:, :2] = np.mgrid[0:COLUMNS, 0:ROWS].T.reshape(-1, 2) * SQUARE
    found, errors = [], []
    pictures = sorted(folder.glob("*.png"))
    for path in pictures:
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        ok, corners = cv2.findChessboardCorners(grey, (COLUMNS, ROWS))
        if not ok:
            continue
        step = np.linalg.norm(np.diff(corners.reshape(ROWS, COLUMNS, 2), axis=1), axis=2).min()
        half = int(max(2, min(11, step / 3)))
        criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 1e-4)
        corners = cv2.cornerSubPix(grey, corners, (half, half), (-1, -1), criteria)
        found.append(corners)
        true = np.array(json.loads(path.with_suffix(".corners.json").read_text()))
        flat = corners.reshape(-1, 2)
        errors.append(min((np.linalg.norm(flat - t, axis=1) for t in (true, true[::-1])), key=np.sum))
    size = grey.shape[::-1]
    rms, k, d, *_ = cv2.calibrateCamera([grid] * len(found), found, size, None, None)
    off = np.concatenate(errors)
    report("OpenCV " + cv2.__version__, truth, [k[0, 0], k[1, 1], k[0, 2], k[1, 2]], d.ravel()[:5], rms)
    print(f"      {len(found)} of {len(pictures)} boards; corners off by {np.sqrt((off**2).mean()):.3f} px, {off.max():.3f} at most")


def ours(folder, truth, program):
    with tempfile.TemporaryDirectory() as out:
        file = Path(out) / "camera.toml"
        command = [program, "calibrate", "camera", str(folder), "--board", f"{COLUMNS}x{ROWS}"]
        command += ["--square", str(SQUARE * 1000), "--out", str(file)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        made = tomllib.loads(file.read_text())
    lens, quality = made["intrinsics"], made["quality"]
    report("posewire", truth, [lens[n] for n in ("fx", "fy", "cx", "cy")], lens["distortion"], quality["rms"])
    print(f"      {quality['views']} boards")


def report(name, truth, k, d, rms):
    (fx, fy, cx, cy), distortion = truth
    off = max(abs(k[0] / fx - 1), abs(k[1] / fy - 1))
    print(
        f"   {name}: focal length off by {100 * off:.4f} %, centre by {k[2] - cx:+.2f}, {k[3] - cy:+.2f} px, "
        f"reprojection {rms:.4f} px, distortion {np.array2string(np.array(d), precision=4)} for {distortion}"
    )


for folder in sorted(Path(sys.argv[1]).iterdir()):
    print(folder.name)
    truth = json.loads((folder / "lens.json").read_text())
    opencv(folder, truth)
    if len(sys.argv) > 2:
        ours(folder, truth, sys.argv[2])
