"""P-STMO as its authors have it (models/train/lifter/reference_pstmo.py), in PyTorch on the CPU, behind posewire's detector in ONNX Runtime.

243 frames and width 256, as the released files are; the weights are drawn at random, because a time does not depend on them. The
authors lift whole windows, so that is what is done for each frame: the newest 243, the first repeated where there are fewer.
"""

import harness

FRAMES = 243


def start(threads, clip):
    import numpy as np
    import onnxruntime as ort
    import torch

    import models
    import reference_pstmo as reference

    torch.set_num_threads(threads)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Two pools of threads on the same cores: the one that waits must not spin.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    names = ["posewire-finder", "posewire-keypoints"]
    session = {n: ort.InferenceSession(str(models.MODELS / f"{n}.onnx"), options, providers=["CPUExecutionProvider"]) for n in names}
    detector = models.Detector(lambda name, feed: session[name].run(None, feed))
    shape = reference.Variant(frames=FRAMES, width=256, hidden=1024, feed_forward=512, layers=3, strides=reference.STRIDES[FRAMES])
    weights = reference.plain(reference.random_state(shape, seed=1))
    past = []

    @torch.inference_mode()
    def step(bgr, _time):
        points = detector.look(bgr)
        if points is None:
            return None
        # The authors' screen coordinates: the width is -1 to 1.
        past.append((points[:, :2] / clip.width * 2 - [1, clip.height / clip.width]).astype(np.float32))
        del past[:-FRAMES]
        window = np.stack([past[0]] * (FRAMES - len(past)) + past)
        return reference.forward(weights, shape, torch.from_numpy(window)[None])[0].numpy()

    return step


if __name__ == "__main__":
    harness.main("PyTorch, P-STMO of 243 frames", start)
