"""python make.py: VideoPose3D-format files whose errors are known in closed form, and the lifter that makes them so.

The lifter's answer is the keypoints themselves: screen coordinates as metres, depth 0. So in a picture of 1000 x 1000 pixels a flat
person whose joints are drawn at (500 + 500 x, 500 + 500 y) is lifted exactly, and what is drawn elsewhere is an error of just that much.
Needs numpy and onnx. What is expected is in tests/eval.rs, derived there by hand.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent
FRAMES = 20
# A flat person, metres, x right, y down, the pelvis at 0.
POSE = np.array([
    [0, 0], [-0.13, 0], [-0.14, 0.44], [-0.15, 0.88], [0.13, 0], [0.15, 0.44], [0.18, 0.87], [0, -0.24], [0.01, -0.48], [0.01, -0.6],
    [0.01, -0.72], [0.17, -0.45], [0.4, -0.36], [0.62, -0.3], [-0.15, -0.45], [-0.28, -0.2], [-0.33, 0.05],
])
KNEE = 5  # the joint that errs


def erring(action, i):
    p = POSE.copy()
    if action == "Offset 1":
        p[KNEE, 0] += 0.034
    elif action == "Half 1":
        p *= 0.5
    elif action == "Drift 1":
        p[KNEE, 0] += 0.0085 * i
    elif action == "Swing 1":
        p[KNEE, 0] += 0.017 * (-1) ** i
    elif action == "Far 1":
        p[1:, 1] += 0.16
    elif action == "Turned 1":
        c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
        p = p @ np.array([[c, s], [-s, c]])
    return p


ACTIONS = {"S9": ["Exact 1", "Offset 1", "Half 1", "Drift 1"], "S11": ["Swing 1", "Far 1", "Turned 1", "Exact 2"]}


def pixels(action):
    return np.stack([500 + 500 * erring(action, i) for i in range(FRAMES + 2)]).astype(np.float32)  # the camera runs on a little


def flat(_):
    return np.repeat(np.c_[POSE, np.full(17, 4.0)][None], FRAMES, 0).astype(np.float32)


def rotation(q):
    w, x, y, z = q
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])


# A quarter turn about x (the camera looks along the world's y) and a further turn about the vertical.
ORIENTATION = np.array([0.6 * 0.5**0.5, -0.6 * 0.5**0.5, -0.8 * 0.5**0.5, 0.8 * 0.5**0.5])
TRANSLATION = np.array([1.5, -2.0, 1.4])
KEPT = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]


def in_the_world(action):
    """The same as `flat`, as the camera of cameras.toml would have it, among Human3.6M's 32 joints (the others are nonsense)."""
    all32 = np.full((FRAMES, 32, 3), 99.0)
    all32[:, KEPT] = flat(action).astype(float) @ rotation(ORIENTATION).T + TRANSLATION
    return all32


def main():
    metadata = {"layout_name": "h36m", "num_joints": 17, "keypoints_symmetry": [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]}
    each = lambda f: {s: {a: f(a) for a in actions} for s, actions in ACTIONS.items()}  # noqa: E731
    np.savez_compressed(HERE / "data_2d_closed_form.npz", positions_2d=each(lambda a: [pixels(a)]), metadata=metadata)
    np.savez_compressed(HERE / "data_3d_closed_form.npz", positions_3d=each(flat))
    np.savez_compressed(HERE / "data_3d_world.npz", positions_3d=each(in_the_world))
    q, t = (", ".join(f"{v:.12f}" for v in x) for x in (ORIENTATION, TRANSLATION))
    (HERE / "cameras.toml").write_text(f"""# The camera of data_3d_world.npz, see make.py.
[[camera]]
name = "north"
orientation = [{q}]
translation = [{t}]
intrinsics = {{ width = 1000, height = 1000, fx = 1000.0, fy = 1000.0, cx = 500.0, cy = 500.0 }}
""")
    shape = numpy_helper.from_array(np.array([0, 17, 2], np.int64), "shape")
    matrix = numpy_helper.from_array(np.array([[1, 0, 0], [0, 1, 0]], np.float32), "matrix")
    info = lambda n, *s: helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", *s])  # noqa: E731
    nodes = [helper.make_node("Reshape", ["window", "shape"], ["flat"], "flat"), helper.make_node("MatMul", ["flat", "matrix"], ["joints"], "joints")]
    graph = helper.make_graph(nodes, "echo", [info("window", 1, 17, 2)], [info("joints", 17, 3)], [shape, matrix])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="tests/data/eval/make.py")
    model.ir_version = 9
    raw = model.SerializeToString()
    (HERE / "models/echo.onnx").write_bytes(raw)
    (HERE / "models/echo.toml").write_text(f"""name = "echo"
kind = "lifter"
file = "echo.onnx"
sha256 = "{hashlib.sha256(raw).hexdigest()}"
licence = "Apache-2.0 OR MIT"
commercial = true
training_data = "none"
trained = "never: made by make.py"

[input]
window = [1, 17, 2]
rate_hz = 50
order = "oldest-first"
skeleton = "h36m17"
normalisation = "screen"

[output]
skeleton = "h36m17"
units = "m"
""")


if __name__ == "__main__":
    main()
