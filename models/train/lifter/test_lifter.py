"""python -m pytest test_lifter.py   (CPU, no data needed)"""

import numpy as np
import onnxruntime as ort
import pytest
import torch

import geometry
import metrics
import window as spec
from graph import pstmo_graph
from model import Config, MaskedPoseModel, Pstmo


def stream(rng, m):
    """Irregular observations with losses: times oldest first, rays, confidences."""
    t = np.cumsum(rng.choice([0.02, 0.033, 0.04, 0.2, 0.3], m, p=[0.2, 0.3, 0.2, 0.2, 0.1]))
    px = rng.normal(0, 120, (m, 17, 2)) + [320, 240]
    c = np.where(rng.random((m, 17)) < 0.25, 0.05, rng.uniform(0.1, 1, (m, 17)))
    return t, spec.unit_rays(px, 500, 510, 320, 240), c


@pytest.mark.parametrize("seed", range(12))
def test_batched_window_equals_the_specification(seed):
    rng = np.random.default_rng(seed)
    t, rays, c = stream(rng, int(rng.integers(1, 40)))
    gravity = rng.normal(size=3)
    want_r, want_c = spec.resample(t, rays, c, 27, 25.0)
    back = lambda x: torch.from_numpy(np.ascontiguousarray(x[::-1]))[None]  # noqa: E731
    r, k = geometry.resample(back(t) - t[-1], torch.tensor([len(t)]), back(rays), back(c), 27, 25.0)
    assert np.abs(r[0].numpy() - want_r).max() < 1e-9 and np.abs(k[0].numpy() - want_c).max() < 1e-9
    want = spec.normalise(want_r, want_c, gravity)
    w, ctx, rot, ok = geometry.normalise(r, k, torch.from_numpy(gravity)[None], torch.ones(1, dtype=torch.float64))
    assert bool(ok) == (want is not None)
    if want is not None:
        for a, b in zip((w, ctx, rot), want):
            assert np.abs(a[0].numpy() - b).max() < 1e-6


def test_a_gap_is_missing_and_a_low_frame_rate_is_interpolated():
    rays = np.tile(np.array([0, 0, 1.0]), (4, 17, 1))
    c = np.full((4, 17), 0.8)
    _, k = spec.resample(np.array([0.0, 0.2, 0.4, 0.6]), rays, c, 16, 25.0)
    assert (k > 0).all()
    _, k = spec.resample(np.array([0.0, 0.1, 0.2, 0.8]), rays, c, 16, 25.0)
    assert (k[0] > 0).all() and (k[1:14] == 0).all() and (k[15] > 0).all()


def test_the_window_does_not_depend_on_lens_or_place_in_the_picture():
    rng = np.random.default_rng(3)
    p = rng.normal(0, 0.4, (17, 3)) + [0, 0, 4]
    c = rng.uniform(0.3, 1, (1, 17))

    def see(f, yaw):
        s, k = np.sin(yaw), np.cos(yaw)
        q = p @ np.array([[k, 0, s], [0, 1, 0], [-s, 0, k]]).T
        px = f * q[:, :2] / q[:, 2:] + 300
        return spec.normalise(spec.unit_rays(px, f, f, 300, 300)[None], c)

    (a, ca, _), (b, cb, _) = see(400.0, 0.0), see(900.0, 0.45)
    assert np.abs(a - b).max() < 1e-5 and np.abs(ca - cb).max() < 1e-6


def test_virtual_camera_rotation_keeps_the_horizontal():
    r = spec.look_at(np.array([0.4, -0.7, 1.1]))
    assert np.allclose(r @ r.T, np.eye(3)) and np.isclose(np.linalg.det(r), 1) and r[0, 1] == 0


@pytest.mark.parametrize("config", [{}, {"d": 128, "sem": 256, "ff": 256}, {"frames": 9, "context": 0}, {"frames": 81, "layers": 4}])
def test_exported_graph_equals_pytorch(config):
    torch.manual_seed(0)
    c = Config(**config)
    net = Pstmo(c)
    for _ in range(3):
        net(torch.randn(8, c.frames, 17, 3), torch.randn(8, 5))
    net.eval()
    w, k = torch.randn(3, c.frames, 17, 3), torch.randn(3, 5)
    feed = {"window": w.numpy(), "context": k.numpy()} if c.context else {"window": w.numpy()}
    s = ort.InferenceSession(pstmo_graph(net, f16=False).SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        want = net(w, k).numpy()
    assert np.abs(s.run(None, feed)[0] - want).max() < 1e-5
    assert np.abs(want[:, 0]).max() == 0


def test_masked_pose_model_restores_every_slot():
    c = Config(d=32, sem=32, ff=32, heads=4)
    assert MaskedPoseModel(Pstmo(c))(torch.randn(4, 27, 17, 3), torch.randn(4, 5)).shape == (4, 27, 17, 2)


def test_procrustes_removes_a_similarity_but_not_a_mirror():
    torch.manual_seed(0)
    p = torch.randn(5, 17, 3, dtype=torch.float64)
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    q = q * torch.det(q)
    moved = 1.7 * p @ q.T + torch.tensor([0.3, -1, 2], dtype=torch.float64)
    assert metrics.p_mpjpe(p, moved).max() < 1e-3
    assert metrics.p_mpjpe(p * torch.tensor([-1.0, 1, 1], dtype=torch.float64), moved).min() > 100
