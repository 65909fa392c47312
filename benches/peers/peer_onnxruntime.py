"""ONNX Runtime with the same files as posewire: finder, keypoints and the lifter's whole-window graph."""

import harness


def start(threads, clip):
    import numpy as np
    import onnxruntime as ort

    import models

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    names = ["posewire-finder", "posewire-keypoints", "pstmo_s_27_live"]
    session = {n: ort.InferenceSession(str(models.MODELS / f"{n}.onnx"), options, providers=["CPUExecutionProvider"]) for n in names}
    detector = models.Detector(lambda name, feed: session[name].run(None, feed))
    window = models.Window(clip.width, clip.height, 27, 25.0)

    def step(bgr, time):
        points = detector.look(bgr)
        got = window.push(points, time) if points is not None else None
        if got is None:
            return None
        feed = {"window": got[0][None], "fresh": np.array([[got[1]]], np.float32), "context": np.float32(got[2])[None]}
        joints = session["pstmo_s_27_live"].run(["joints"], feed)[0][0]
        return models.spec.to_camera(joints, got[3])

    return step


if __name__ == "__main__":
    harness.main("ONNX Runtime, posewire's files", start)
