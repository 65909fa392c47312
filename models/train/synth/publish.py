#!/usr/bin/env python3
"""Write the shipped files from checkpoints: models/posewire-{finder,keypoints}.onnx and their manifests (.toml).

  publish.py [--finder CKPT|-] [--keypoints CKPT|-] [--small CKPT|-] [--errors errors.json] [--command "..."]

`-` exports an untrained network (interface only; the manifest says so). errors.json: {"finder": {name: number}, "keypoints": {...}} goes
into [error] as is; eval_coco.py and eval_clips.py print the numbers.
"""
import argparse
import datetime
import hashlib
import json
import os

import torch

import nets
from paths import MODELS

DATA = ("synthetic people rendered from MakeHuman's base mesh, clothes, hair and skins (CC0) in poses from CMU mocap (mocap.cs.cmu.edu) and "
        "UI-PRMD (ODC-PDDL), before Poly Haven panoramas (CC0); "
        "874 permissively licensed pictures (CC BY, CC0, Apache-2.0, MIT, public domain; 78 of them from COCO's training set, CC BY 2.0) labelled by "
        "Apache-2.0 teachers (PP-TinyPose, RTMDet-nano); see the model card and models/train/synth/PHOTOS.md for attributions")
# Pixels are 0..255; one mean and deviation for all channels, so that grey pictures need no special case.
MEAN, STD = 118.0, 60.0

FINDER = """name = "posewire-finder"
kind = "finder"
file = "posewire-finder.onnx"
sha256 = "{sha}"
licence = "Apache-2.0 OR MIT"
commercial = true
training_data = "{data}"
trained = {{ date = "{date}", command = "{command}", weights = "{state}" }}

# Letterbox: scale the picture by s = min(320 / W, 256 / H), paste at the top left, fill the rest with `pad`.
[input]
name = "image"
width = 320
height = 256
channels = "rgb"
mean = [{mean}, {mean}, {mean}]
std = [{std}, {std}, {std}]
layout = "nchw"
letterbox = "top-left"
pad = 114

# Cell (i, j) of `scores` [1,1,32,40] is centred on input pixel ((i + 0.5) * 8, (j + 0.5) * 8), pixels counted from the picture's left and
# top edges. `boxes` [1,4,32,40] holds the distances from that centre to the box's left, top, right, bottom sides in units of `stride`.
# Scores are probabilities (the sigmoid is in the graph). Divide by s to come back to the picture.
[decoder]
type = "anchor-free"
strides = [8]
scores = "scores"
boxes = "boxes"
distances = "strides"
activation = "none"
score_threshold = {threshold}
nms_iou = 0.5

[error]
{errors}"""

KEYPOINTS = """name = "{name}"
kind = "keypoints"
file = "{name}.onnx"
sha256 = "{sha}"
licence = "Apache-2.0 OR MIT"
commercial = true
training_data = "{data}"
trained = {{ date = "{date}", command = "{command}", weights = "{state}" }}
skeleton = "coco17"
# The crop: the person's box enlarged by crop_scale about its centre, then widened or heightened to the input's aspect (3:4).
crop_scale = 1.25

[input]
name = "image"
width = 192
height = 256
channels = "rgb"
mean = [{mean}, {mean}, {mean}]
std = [{std}, {std}, {std}]
layout = "nchw"
pad = 114

# Cell (i, j) of a heatmap is centred on crop pixel ((i + 0.5) * 4, (j + 0.5) * 4), pixels counted from the crop's left and top edges.
# The peak's value is the confidence (about 1 for a clearly seen joint; clamp to 0..1). `sigma`: of the Gaussian in training, in cells.
[decoder]
type = "heatmap"
heatmaps = "heatmaps"
stride = 4
refine = "dark"
sigma = {sigma}
activation = "none"
score_threshold = {threshold}

[error]
{errors}"""


def load(net, path):
    if path != "-":
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state.get("folded"):
            net = nets.folded(net)
        state = state.get("ema", state)
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return net


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--finder")
    a.add_argument("--keypoints")
    a.add_argument("--small")
    a.add_argument("--finder-threshold", type=float, default=0.25)
    a.add_argument("--keypoints-threshold", type=float, default=0.4)
    a.add_argument("--errors")
    a.add_argument("--command", default="see models/train/synth/README.md")
    a.add_argument("--out", default=MODELS)
    a = a.parse_args()
    errors = json.load(open(a.errors)) if a.errors else {}
    for kind, net, ckpt, text, threshold in (("finder", nets.Finder(), a.finder, FINDER, a.finder_threshold), ("keypoints", nets.Keypoints(), a.keypoints, KEYPOINTS, a.keypoints_threshold),
                                             ("keypoints-small", nets.Keypoints(**nets.SMALL), a.small, KEYPOINTS, a.keypoints_threshold)):
        if not ckpt:
            continue
        name = f"posewire-{kind}"
        onnx = os.path.join(a.out, name + ".onnx")
        nets.export(load(net, ckpt), onnx, half=True)
        sha = hashlib.sha256(open(onnx, "rb").read()).hexdigest()
        lines = "".join(f"{k} = {json.dumps(v)}\n" for k, v in errors.get(kind, {}).items()) or "# not measured\n"
        open(os.path.join(a.out, name + ".toml"), "w").write(text.format(
            name=name, threshold=threshold, sha=sha, data=DATA if ckpt != "-" else "none: untrained", date=datetime.date.today().isoformat(), command=a.command,
            state="trained" if ckpt != "-" else "random", mean=MEAN, std=STD, sigma=nets.SIGMA, errors=lines))
        print(name, os.path.getsize(onnx), sha)


if __name__ == "__main__":
    main()
