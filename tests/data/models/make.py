#!/usr/bin/env python3
"""Makes the two networks beside this file: they look at nothing and always see one standing person in the middle of the picture.

    pip install numpy onnx && python3 tests/data/models/make.py

They stand in for real detectors where a test is about everything else: a few kB, plain operators, run by the real backend.
"""
import hashlib
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).parent


def constant_network(name, width, height, outputs):
    """A graph whose outputs are constants, tied to the input so that no optimiser may forget it."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[0, 1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
    ]
    initializers = [numpy_helper.from_array(np.zeros((1, 1, 1, 1), np.float32), "zero")]
    infos = []
    for key, value in outputs.items():
        initializers.append(numpy_helper.from_array(value.astype(np.float32), f"{key}_value"))
        nodes.append(helper.make_node("Add", ["nothing", f"{key}_value"], [key]))
        infos.append(helper.make_tensor_value_info(key, TensorProto.FLOAT, value.shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])
    graph = helper.make_graph(nodes, name, [image], infos, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    (HERE / f"{name}.onnx").write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def manifest(name, kind, sha256, rest):
    head = f'''# Made by make.py: a stand-in for tests that sees one person, whatever it is shown.
name = "{name}"
kind = "{kind}"
file = "{name}.onnx"
sha256 = "{sha256}"
licence = "Apache-2.0 OR MIT"
commercial = true
training_data = "none: constants"
trained = "not trained: made by tests/data/models/make.py"
'''
    (HERE / f"{name}.toml").write_text(head + rest)


# One cell of 8 x 8 is sure of a person that spans 24 x 56 of 64 x 64 pixels.
scores = np.zeros((1, 1, 8, 8))
scores[0, 0, 4, 4] = 0.9
boxes = np.zeros((1, 4, 8, 8)) + np.array([1.5, 3.5, 1.5, 3.5]).reshape(1, 4, 1, 1)
digest = constant_network("test-finder", 64, 64, {"scores": scores, "boxes": boxes})
manifest("test-finder", "finder", digest, '''
[input]
name = "image"
width = 64
height = 64
channels = "rgb"
mean = [0.0, 0.0, 0.0]
std = [255.0, 255.0, 255.0]
layout = "nchw"
letterbox = "top-left"
pad = 114

[decoder]
type = "anchor-free"
strides = [8]
scores = "scores"
boxes = "boxes"
distances = "strides"
activation = "none"
score_threshold = 0.4
nms_iou = 0.6
''')

# Peaks of a standing figure on 12 x 16 cells.
FIGURE = [(6, 3), (6, 2), (5, 2), (7, 3), (4, 3), (8, 5), (3, 5), (9, 7), (2, 7), (9, 9), (2, 9), (7, 9), (4, 9), (7, 11), (4, 11), (7, 13), (4, 13)]
maps = np.zeros((1, 17, 16, 12))
for joint, (x, y) in enumerate(FIGURE):
    maps[0, joint, y, x] = 0.9
digest = constant_network("test-keypoints", 48, 64, {"heatmaps": maps})
manifest("test-keypoints", "keypoints", digest, '''skeleton = "coco17"
crop_scale = 1.25

[input]
name = "image"
width = 48
height = 64
channels = "rgb"
mean = [0.0, 0.0, 0.0]
std = [255.0, 255.0, 255.0]
layout = "nchw"
pad = 114

[decoder]
type = "heatmap"
heatmaps = "heatmaps"
stride = 4
refine = "none"
activation = "none"
score_threshold = 0.3
''')
