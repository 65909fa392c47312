#!/usr/bin/env python3
"""Compares the CPU backend with ONNX Runtime on the same files and the same tensors.

  cargo build --release --example run_model
  tests/parity_onnxruntime.py MODELS_DIR [NAME...]          (default: every model of the directory that loads)

Each model is given smooth noise and, where they can be had, real tensors: letterboxes and crops of frames of
$POSEWIRE_DATA/clips/pose_squats.mp4 (default ../shared/data; through ffmpeg) for finders and keypoint networks, and the windows of
models/*.golden.json for the lifter. What is not there is skipped with a word; without onnxruntime, everything is.

Fails if any value differs by more than 1e-3, relative to the larger of 1 and the tensor's largest magnitude.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib

try:
    import numpy as np
    import onnx
    import onnxruntime
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(0)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TARGET = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
RUN = os.path.join(TARGET, "release", "examples", "run_model")
CLIP = os.path.join(os.environ.get("POSEWIRE_DATA", os.path.join(ROOT, "..", "shared", "data")), "clips", "pose_squats.mp4")
KNOWN = ["rtmdet_nano_HW140701", "rtmdetnp_morgan322", "tinypose_256_192"]
TOLERANCE = 1e-3
EVERY = 8  # frames of the clip: standing, squatting and between


def clip_frames():
    """Frames of the clip, [height, width, 3] RGB."""
    if not os.path.exists(CLIP):
        print(f"skipped: real pictures ({CLIP} is not there: set POSEWIRE_DATA)")
        return []
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        print("skipped: real pictures (no ffmpeg)")
        return []
    probe = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height", "-of", "csv=p=0", CLIP]
    width, height = map(int, subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip().split(",")[:2])
    raw = subprocess.run(["ffmpeg", "-v", "error", "-i", CLIP, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True).stdout
    return list(np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)[::EVERY])


def sample(picture, left, top, scale, spec):
    """The rectangle of `picture` at (left, top), `scale` picture pixels to a tensor pixel, as `spec` (a manifest's [input]) wants it: each
    value the bilinear one at the middle of its pixel, of the picture averaged over whole pixels first where that shrinks it."""
    fill = spec.get("pad", 0)
    step = max(1, int(scale))
    h, w = (picture.shape[0] // step) * step, (picture.shape[1] // step) * step
    small = picture[:h, :w].astype(np.float32).reshape(h // step, step, w // step, step, 3).mean((1, 3))
    x = (left + (np.arange(spec["width"]) + 0.5) * scale) / step - 0.5
    y = (top + (np.arange(spec["height"]) + 0.5) * scale) / step - 0.5
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[None, :, None], (y - y0)[:, None, None]
    at = lambda r, c: small[np.clip(r, 0, small.shape[0] - 1)[:, None], np.clip(c, 0, small.shape[1] - 1)[None, :]]
    rows = lambda r: at(r, x0) * (1 - fx) + at(r, x0 + 1) * fx
    out = rows(y0) * (1 - fy) + rows(y0 + 1) * fy
    out[(y < -0.5) | (y > small.shape[0] - 0.5), :] = fill
    out[:, (x < -0.5) | (x > small.shape[1] - 0.5)] = fill
    if spec["channels"] == "bgr":
        out = out[..., ::-1]
    out = (out - np.float32(spec["mean"])) / np.float32(spec["std"])
    return np.ascontiguousarray(out.transpose(2, 0, 1)[None], np.float32)


def letterbox(picture, spec):
    return sample(picture, 0, 0, max(picture.shape[1] / spec["width"], picture.shape[0] / spec["height"]), spec)


def crop(picture, spec):
    """The middle of the picture, where the clip's person is, from head to foot."""
    h, w = picture.shape[:2]
    scale = 0.9 * h / spec["height"]
    return sample(picture, w / 2 - scale * spec["width"] / 2, 0.05 * h, scale, spec)


def noise(signature):
    # Smooth, in the range of normalised pixels: white noise excites no network as pictures do.
    rng = np.random.default_rng(1)
    tensors = []
    for t in signature["inputs"]:
        x = rng.normal(size=t["shape"]).astype(np.float32)
        if len(t["shape"]) == 4:
            x = sum(np.roll(x, k, -1) for k in range(6)) / 2.5
        tensors.append(x.astype(np.float32))
    return tensors


def manifest(directory, name):
    for place in (directory, os.path.join(ROOT, "models"), os.path.join(ROOT, "models", "known")):
        for f in sorted(os.listdir(place)):
            if f.endswith(".toml"):
                with open(os.path.join(place, f), "rb") as file:
                    found = tomllib.load(file)
                if found["name"] == name:
                    return found
    return None


def cases(directory, name, signature, frames):
    """(what, tensors in the signature's order), the noise first."""
    yield "noise", noise(signature)
    found = manifest(directory, name)
    kind = found and found["kind"]
    if kind in ("finder", "keypoints"):
        for i, picture in enumerate(frames):
            cut = letterbox if kind == "finder" else crop
            yield f"clip frame {i * EVERY}", [cut(picture, found["input"])]
    elif kind == "lifter":
        golden = os.path.join(ROOT, "models", f"{name}.golden.json")
        if not os.path.exists(golden):
            print(f"skipped: {name}: real windows ({golden} is not there)")
            return
        with open(golden) as file:
            for i, case in enumerate(json.load(file)["cases"]):
                by_size = {np.size(case[k]): np.float32(case[k]) for k in ("window", "context")}
                yield f"golden window {i}", [by_size[int(np.prod(t["shape"]))].reshape(t["shape"]) for t in signature["inputs"]]


def session(path, wanted):
    model = onnx.load(path)
    there = {o.name for o in model.graph.output}
    for name in wanted:
        if name not in there:  # a tensor inside of the graph, which the manifest cuts at
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def compare(directory, name, frames):
    done = subprocess.run([RUN, directory, name, "--signature"], capture_output=True, text=True)
    if done.returncode:
        return f"{name}: {done.stderr.strip()}"
    signature = json.loads(done.stdout)
    outputs = [t["name"] for t in signature["outputs"]]
    # An embedded model's weights are no file of the directory.
    path = signature["file"]
    if not os.path.exists(path):
        path = os.path.join(ROOT, "models", os.path.basename(path))
    if not os.path.exists(path):
        return f"{name}: {signature['file']} is no file"
    reference = session(path, outputs)
    worst = {}  # of "noise" and of real tensors: absolute and relative, each with where
    counts = {"noise": 0, "real": 0}
    for what, tensors in cases(directory, name, signature, frames):
        group = "noise" if what == "noise" else "real"
        counts[group] += 1
        with tempfile.TemporaryDirectory() as out:
            files = []
            for i, x in enumerate(tensors):
                files.append(os.path.join(out, f"in{i}.f32"))
                x.astype("<f4").tofile(files[-1])
            done = subprocess.run([RUN, directory, name, out, *files], capture_output=True, text=True)
            if done.returncode:
                return f"{name}: {done.stderr.strip()}"
            expected = reference.run(outputs, {t["name"]: x for t, x in zip(signature["inputs"], tensors)})
            for i, (t, want) in enumerate(zip(signature["outputs"], expected)):
                got = np.fromfile(os.path.join(out, f"{i}.f32"), "<f4").reshape(t["shape"])
                if got.shape != want.shape:
                    return f"{name}: {t['name']}: shape {got.shape}, ONNX Runtime gives {want.shape}"
                difference = float(np.abs(got - want).max())
                largest = float(np.abs(want).max())
                relative = difference / max(1.0, largest)
                where = f"{t['name']} up to {largest:.3g}, {what}"
                rows = ((difference, where), (relative, where))
                worst[group] = [max(pair) for pair in zip(worst.get(group, rows), rows)]
                if not relative <= TOLERANCE:
                    return f"{name}: {what}: {t['name']} differs by {difference} (largest value {largest})"
    for group, ((absolute, a_where), (relative, r_where)) in worst.items():
        print(f"{name:22} {counts[group]:3} x {group:5}  worst absolute {absolute:.2e} ({a_where}), relative {relative:.2e} ({r_where})")
    return None


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    directory = sys.argv[1]
    names = sys.argv[2:]
    if not names:
        for f in sorted(os.listdir(directory)):
            if f.endswith(".toml"):
                with open(os.path.join(directory, f), "rb") as file:
                    names.append(tomllib.load(file)["name"])
        present = {f[:-5] for f in os.listdir(directory) if f.endswith(".onnx")}
        names += [n for n in KNOWN if n in present and n not in names]
    frames = clip_frames()
    failures = [f for f in (compare(directory, n, frames) for n in names) if f]
    for f in failures:
        print(f, file=sys.stderr)
    sys.exit(1 if failures else 0)


main()
