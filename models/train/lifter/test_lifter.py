"""python -m pytest test_lifter.py   (CPU, no data needed)"""

import numpy as np
import onnxruntime as ort
import pytest
import torch

import geometry
import metrics
import window as spec
from graph import graphs
from model import Config, MaskedPoseModel, Pstmo
from streaming_model import Stream, StreamingPstmo


RATE = 25.0


def observations(rng, m):
    """Irregular observations with losses: times oldest first, rays, confidences."""
    t = rng.uniform(0, 1000) + np.cumsum(rng.choice([0.02, 0.033, 0.04, 0.2, 0.3], m, p=[0.2, 0.3, 0.2, 0.2, 0.1]))
    px = rng.normal(0, 120, (m, 17, 2)) + np.cumsum(rng.normal(0, 25, (m, 1, 2)), 0) + [320, 240]
    c = np.where(rng.random((m, 17)) < 0.25, 0.05, rng.uniform(0.1, 1, (m, 17)))
    c[rng.random(m) < 0.1] = 0.05  # frames in which nobody is seen
    return t, spec.unit_rays(px, 500, 510, 320, 240), c


@pytest.mark.parametrize("seed", range(16))
def test_batched_window_equals_the_specification(seed):
    rng = np.random.default_rng(seed)
    t, rays, c = observations(rng, int(rng.integers(2, 60)))
    c[-1] = np.maximum(c[-1], 0.3)
    gravity = rng.normal(size=3)
    person = spec.Person(27, RATE)
    for x in zip(t, rays, c):
        person.push(*x)
    window, fresh, context, rot, _ = person.window(gravity, 3)
    back = lambda x: torch.from_numpy(np.ascontiguousarray(x[::-1]))[None]  # noqa: E731
    times, count, r, k, _ = geometry.compact(back(t) - t[-1], torch.tensor([len(t)]), back(rays), back(c))
    assert count.item() == len(person.times)
    tau, f = spec.slot_times(t[-1], 27, RATE)
    sr, sc = geometry.resample(times, count, r, k, torch.from_numpy(tau - t[-1])[None])
    w, ctx = geometry.tensors(sr, sc, torch.from_numpy(rot)[None], torch.tensor([person.anchor[1]], dtype=torch.float64), torch.from_numpy(gravity)[None], torch.ones(1), torch.tensor([3]))
    assert np.abs(w[0].numpy() - window).max() < 1e-6 and np.abs(ctx[0].numpy() - context).max() < 1e-6 and f == pytest.approx(float(fresh), abs=1e-6)
    own = geometry.own_camera(r[:, 0], k[:, 0])
    want = spec.own_camera(rays[-1], c[-1])
    assert np.abs(own[0][0].numpy() - want[0]).max() < 1e-9 and abs(own[1].item() - want[1]) < 1e-9 and bool(own[2])
    kept = geometry.keep_anchor(torch.from_numpy(rot)[None], torch.tensor([person.anchor[1]]), own[0], own[1])
    assert bool(kept) == spec.keep_anchor(person.anchor, want)


@pytest.mark.parametrize("seed", range(8))
def test_grid_slots_are_final(seed):
    """What a grid slot holds is the same in every window that shows it: the ground of all caching."""
    rng = np.random.default_rng(100 + seed)
    person, seen = spec.Person(27, RATE), {}
    for x in zip(*observations(rng, 60)):
        if not person.push(*x):
            continue
        tau, fresh = spec.slot_times(person.times[-1], 27, RATE)
        assert 0 < tau[0] - tau[1] <= 1 / RATE + spec.EPS_T and -1 <= fresh <= 0
        r, c = spec.resample(np.array(person.times), np.array(person.rays), np.array(person.confidence), tau)
        for i in range(1, 27):
            key = round(tau[i] * RATE)
            assert abs(key - tau[i] * RATE) < 1e-6
            if key in seen:
                assert np.array_equal(seen[key][0], r[i]) and np.array_equal(seen[key][1], c[i])
            seen[key] = (r[i], c[i])


def test_random_anchors_are_ones_that_would_be_kept():
    torch.manual_seed(0)
    rot = geometry.look_at(torch.randn(500, 3) + torch.tensor([0.0, 0.0, 3.0]))
    size = torch.rand(500) * 0.5 + 0.05
    r, s = geometry.random_anchor(rot, size * 1.0)
    # A hair of tolerance for f32 at the very rim.
    assert geometry.keep_anchor(r, s * 1.0001, rot, size).float().mean() > 0.995
    assert (r - rot).abs().amax((1, 2)).gt(0).float().mean() > 0.5


def test_pairs_are_the_same_person_one_observation_earlier():
    pytest.importorskip("torch")
    from data import Engine

    engine = Engine(toy_mocap(), 9, RATE)
    torch.manual_seed(1)
    b = engine.sample(64, strength=torch.zeros(40), pairs=24, vary=0.0)
    first, second = b.joints[:24, 0], b.joints[40:, 0]
    ok = (b.ok[:24] * b.ok[40:]) > 0
    assert ok.sum() > 12
    assert torch.equal(b.rotation[:24], b.rotation[40:]) and torch.equal(b.context[:24, 0], b.context[40:, 0])
    # Slot 1 of the earlier window is slot 1 or an older one of the later window.
    d = (b.window[40:, None, 1] - b.window[:24, 1:]).abs().amax((2, 3)).amin(1)
    assert (d[ok] < 1e-5).float().mean() > 0.9
    moved = (first - second).norm(dim=-1).amax(1)[ok]
    assert (moved > 0).all() and moved.max() < 0.5


def toy_mocap():
    """A figure that swings, 4 s at 50 Hz, in the mocap file's own terms."""
    from mocap import CHAIN_REF_M, Mocap

    t = torch.arange(200) / 50
    rest = torch.tensor([
        [0, 0.9, 0], [-0.1, 0.9, 0], [-0.1, 0.5, 0], [-0.1, 0.1, 0], [0.1, 0.9, 0], [0.1, 0.5, 0], [0.1, 0.1, 0], [0, 1.1, 0], [0, 1.4, 0], [0, 1.5, 0],
        [0, 1.7, 0], [0.18, 1.38, 0], [0.2, 1.1, 0], [0.2, 0.85, 0], [-0.18, 1.38, 0], [-0.2, 1.1, 0], [-0.2, 0.85, 0], [0, 1.58, 0.1], [0.03, 1.61, 0.09],
        [-0.03, 1.61, 0.09], [0.07, 1.58, 0], [-0.07, 1.58, 0],
    ])
    p = rest[None] + 0.1 * torch.sin(3 * t)[:, None, None] * (1.4 - rest[None, :, 1:2]) * torch.tensor([1.0, 0.0, 0.7])
    one = torch.ones(200)
    return Mocap(p, torch.zeros(200, dtype=torch.long), torch.full((200,), 200), one, one * CHAIN_REF_M, one * 0.1, one * 0.18, [])


def test_a_gap_is_missing_and_a_low_frame_rate_is_interpolated():
    rays = np.tile(np.array([0, 0, 1.0]), (4, 17, 1))
    c = np.full((4, 17), 0.8)
    tau = 0.6 - np.arange(16) / RATE
    _, k = spec.resample(np.array([0.0, 0.2, 0.4, 0.6]), rays, c, tau)
    assert (k > 0).all()
    _, k = spec.resample(np.array([0.0, 0.1, 0.2, 0.8]), rays, c, tau + 0.2)
    assert (k[0] > 0).all() and (k[1:14] == 0).all() and (k[15] > 0).all()


def test_the_window_does_not_depend_on_lens_or_place_in_the_picture():
    rng = np.random.default_rng(3)
    p = rng.normal(0, 0.4, (17, 3)) + [0, 0, 4]
    c = rng.uniform(0.3, 1, (1, 17))

    def see(f, yaw):
        s, k = np.sin(yaw), np.cos(yaw)
        q = p @ np.array([[k, 0, s], [0, 1, 0], [-s, 0, k]]).T
        px = f * q[:, :2] / q[:, 2:] + 300
        person = spec.Person(27, RATE)
        person.push(1.0, spec.unit_rays(px, f, f, 300, 300), c[0])
        return person.window()

    (a, _, ca, _, _), (b, _, cb, _, _) = see(400.0, 0.0), see(900.0, 0.45)
    assert np.abs(a - b).max() < 1e-5 and np.abs(ca - cb).max() < 1e-6


def test_virtual_camera_rotation_keeps_the_horizontal():
    r = spec.look_at(np.array([0.4, -0.7, 1.1]))
    assert np.allclose(r @ r.T, np.eye(3)) and np.isclose(np.linalg.det(r), 1) and r[0, 1] == 0


@pytest.mark.parametrize("config", [{}, {"d": 128, "sem": 256, "ff": 256, "lookaheads": (0, 2, 5)}, {"frames": 9, "lookaheads": (4,)}, {"frames": 81, "layers": 4, "lookaheads": (0, 40)}])
def test_exported_graphs_equal_pytorch(config):
    torch.manual_seed(0)
    c = Config(**config)
    net = Pstmo(c)
    t = c.frames
    for _ in range(3):
        net(torch.randn(8, t, 17, 3), torch.rand(8, 1) - 1, torch.randn(8, 6))
    net.eval()
    w, f, k = torch.randn(3, t, 17, 3), torch.rand(3, 1) - 1, torch.randn(3, 6)
    k[:, 5] = torch.tensor([c.lookaheads[0], c.lookaheads[-1], c.lookaheads[0]]) / spec.LOOKAHEAD_UNIT
    with torch.no_grad():
        want = net(w, f, k).numpy()
    run = lambda g, **feed: ort.InferenceSession(g.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)[0]  # noqa: E731
    whole, frame, rest = graphs(net, f16=False)
    assert np.abs(run(whole, window=w.numpy(), fresh=f.numpy(), context=k.numpy()) - want).max() < 1e-5
    fresh = np.zeros((3, t, 1), np.float32)
    fresh[:, 0] = f.numpy()
    slots = run(frame, keypoints=w.reshape(-1, 17, 3).numpy(), fresh=fresh.reshape(-1, 1)).reshape(3, t, 4 * c.d)
    assert np.abs(run(rest, slots=slots, context=k.numpy()) - want).max() < 1e-5
    assert np.abs(want[:, 0]).max() == 0


def test_graphs_stored_as_halves_are_the_same_network_with_and_without_a_cache():
    torch.manual_seed(1)
    net = Pstmo(Config(frames=9, d=64, sem=64, ff=64, lookaheads=(0, 3))).eval()
    w, k = np.float32(np.random.default_rng(0).normal(size=(4, 9, 17, 3))), np.zeros((4, 6), np.float32)
    run = lambda g, **feed: ort.InferenceSession(g.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)[0]  # noqa: E731
    whole, frame, rest = graphs(net, f16=True)
    slots = run(frame, keypoints=w.reshape(-1, 17, 3), fresh=np.zeros((36, 1), np.float32)).reshape(4, 9, -1)
    joints = run(whole, window=w, fresh=np.zeros((4, 1), np.float32), context=k)
    assert np.abs(run(rest, slots=slots, context=k) - joints).max() < 2e-6 * max(1, np.abs(joints).max())


def test_masked_pose_model_restores_every_slot():
    c = Config(d=32, sem=32, ff=32, heads=4)
    assert MaskedPoseModel(Pstmo(c))(torch.randn(4, 27, 17, 3), torch.zeros(4, 1), torch.randn(4, 6)).shape == (4, 27, 17, 2)


def test_procrustes_removes_a_similarity_but_not_a_mirror():
    torch.manual_seed(0)
    p = torch.randn(5, 17, 3, dtype=torch.float64)
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    q = q * torch.det(q)
    moved = 1.7 * p @ q.T + torch.tensor([0.3, -1, 2], dtype=torch.float64)
    assert metrics.p_mpjpe(p, moved).max() < 1e-3
    assert metrics.p_mpjpe(p * torch.tensor([-1.0, 1, 1], dtype=torch.float64), moved).min() > 100


def test_the_streaming_model_equals_its_window_form():
    torch.manual_seed(0)
    c = Config(frames=81, d=32, sem=32, ff=32, heads=4, lookaheads=(0, 3, 8))
    net = StreamingPstmo(c)
    for layer in net.layers:
        torch.nn.init.normal_(layer.bias)
    for _ in range(3):
        net(torch.randn(8, 81, 17, 3), torch.rand(8, 1) - 1, torch.randn(8, 6))
    net.eval()
    past = torch.randn(2, 130, 17, 3)  # oldest first
    context = torch.randn(2, 6)
    for k in c.lookaheads:
        context[:, 5] = k / spec.LOOKAHEAD_UNIT
        s = Stream(net, context)
        s.birth(past[:, 0])
        for i in range(130):
            if i in (0, 5, 40, 129):
                fresh = torch.rand(2, 1) - 1
                live = torch.randn(2, 17, 3)
                window = torch.cat([live[:, None], past[:, :i].flip(1), past[:, :1].expand(-1, 200, -1, -1)], 1)[:, :81]
                with torch.no_grad():
                    assert (s.newest(live, fresh) - net(window, fresh, context)).abs().max() < 1e-5
            with torch.no_grad():
                s.grid(past[:, i])
