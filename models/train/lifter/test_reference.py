"""python -m pytest test_reference.py   (CPU; POSEWIRE_PSTMO=DIR names a checkout of github.com/paTRICK-swk/P-STMO for the parity with
the authors' own code, which is skipped without)"""

import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
import torch

import import_reference as imp
import reference_pstmo as ref

AUTHORS = os.environ.get("POSEWIRE_PSTMO")
VARIANTS = [(frames, layers, skeleton, prefix) for frames in (27, 81, 243) for layers in (3, 4) for skeleton in ("h36m17", "coco17") for prefix in ("module.", "")]
HERE = Path(__file__).resolve().parent


def a_variant(frames, layers, width=256):
    return ref.Variant(frames, width, 2 * width, 2 * width, layers, ref.STRIDES[frames])


def in_ort(path, window):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"window": window})[0]


def in_tract(path, window):
    import tract

    model = tract.onnx().load(str(path))
    model.set_input_fact(0, f"{','.join(map(str, window.shape))},f32")
    return model.into_model().into_runnable().run([window])[0].to_numpy()


@functools.cache
def authors_model():
    """Their package is called `model`, as our file is: for the time of its import ours must be out of the way."""
    kept, ours = list(sys.path), sys.modules.pop("model", None)
    sys.path[:] = [AUTHORS] + [p for p in kept if Path(p or ".").resolve() != HERE]
    try:
        return importlib.import_module("model.stmo").Model
    finally:
        sys.path[:] = kept
        for name in [m for m in sys.modules if m == "model" or m.startswith("model.")]:
            del sys.modules[name]
        if ours:
            sys.modules["model"] = ours


def by_the_authors(state, v, window):
    """The authors' model, loaded with `state` as their own run.py does it (in eval mode, first output, root not overwritten)."""
    Model = authors_model()
    args = SimpleNamespace(layers=v.layers, channel=v.width, d_hid=v.feed_forward, frames=v.frames, stride_num=v.strides, n_joints=17, out_joints=17)
    net = Model(args)
    net.load_state_dict({k.removeprefix("module."): t for k, t in state.items()}, strict=False)
    missing = set(net.state_dict()) - {k.removeprefix("module.") for k in state} - {k for k in net.state_dict() if k.endswith("num_batches_tracked")}
    assert not missing, missing
    net.eval()
    with torch.no_grad():
        x = torch.from_numpy(window).permute(0, 3, 1, 2)[..., None]  # [N, 2, T, 17, 1]
        y, _ = net(x)  # [N, 3, 1, 17, 1]
    return y[:, :, 0, :, 0].permute(0, 2, 1).numpy()


@pytest.mark.parametrize("frames,layers,skeleton,prefix", VARIANTS)
def test_every_variant_imports_and_equals_the_reference(tmp_path, frames, layers, skeleton, prefix):
    v = a_variant(frames, layers)
    saved = ref.random_state(v, seed=frames + layers, prefix=prefix)
    file = tmp_path / "some.pth"
    torch.save(saved, file)
    out = subprocess.run([sys.executable, HERE / "import_reference.py", file, "--input", skeleton, "--out", tmp_path / "m"], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    text = (tmp_path / "m/some.toml").read_text()
    assert f"window = [{frames}, 17, 2]" in text and f'skeleton = "{skeleton}"' in text and f"lookahead = {(frames - 1) // 2}" in text
    state = ref.plain(torch.load(file, weights_only=True))
    found = ref.variant(state)
    assert found == v
    # A batch of one and of several are planned differently.
    window = np.random.default_rng(frames).uniform(-1, 1, (1 + layers % 2, frames, 17, 2)).astype(np.float32)
    with torch.no_grad():
        own = ref.forward(state, v, torch.from_numpy(window)).numpy()
    assert 0.05 < np.abs(own).mean() < 10, "answers of the size of bodies"
    graph = tmp_path / "m/some.onnx"
    worst = {"onnxruntime": np.abs(in_ort(graph, window) - own).max(), "tract": np.abs(in_tract(graph, window) - own).max()}
    if AUTHORS:
        theirs = by_the_authors(saved, v, window)
        worst["own reference against the authors'"] = np.abs(own - theirs).max()
        worst["onnxruntime against the authors'"] = np.abs(in_ort(graph, window) - theirs).max()
        worst["tract against the authors'"] = np.abs(in_tract(graph, window) - theirs).max()
    print(frames, layers, {k: f"{x:.1e}" for k, x in worst.items()})
    assert max(worst.values()) <= 1e-4, worst


def test_a_naive_layer_norm_would_not_pass():
    """The tolerance is tight enough to see the unbiased deviation."""
    v = a_variant(27, 3)
    state = ref.plain(ref.random_state(v, 1))
    window = torch.from_numpy(imp.windows(v))
    good = ref.forward(state, v, window)
    naive = ref.layer_norm
    try:
        ref.layer_norm = lambda w, name, x: torch.nn.functional.layer_norm(x, x.shape[-1:], w[f"{name}.a_2"], w[f"{name}.b_2"])
        assert (ref.forward(state, v, window) - good).abs().max() > 3e-4
    finally:
        ref.layer_norm = naive


def refused(tmp_path, saved, *options, name="x.pth"):
    file = tmp_path / name
    torch.save(saved, file)
    out = subprocess.run([sys.executable, HERE / "import_reference.py", file, "--out", tmp_path / "m", *options], capture_output=True, text=True)
    assert out.returncode == 1 and not (tmp_path / "m").exists() and len(out.stderr.strip().splitlines()) == 1, out.stderr
    return out.stderr


def test_what_is_no_lifter_is_refused_with_what_to_do(tmp_path):
    state = ref.random_state(a_variant(27, 3, 16), 0)
    assert "--input" in refused(tmp_path, state)
    assert "3DHP" in refused(tmp_path, state, name="PSTMOS_no_refine_50_3203_3dhp.pth")
    assert "stage I" in refused(tmp_path, state | {"module.mask_token": torch.zeros(1)})
    assert "refinement" in refused(tmp_path, {"post_refine.0.weight": torch.zeros(4, 4)})
    assert "missing" in refused(tmp_path, {k: v for k, v in state.items() if "sublayer.1.norm.b_2" not in k}, "--input", "coco17")
    assert "not known" in refused(tmp_path, state | {"extra.weight": torch.zeros(1)}, "--input", "coco17")
    assert "many-to-one" in refused(tmp_path, state, "--input", "coco17", "--strides", "3,9")
    assert "state dict" in refused(tmp_path, [1, 2])
    (tmp_path / "y.pth").write_bytes(b"nothing of the kind")
    out = subprocess.run([sys.executable, HERE / "import_reference.py", tmp_path / "y.pth"], capture_output=True, text=True)
    assert out.returncode == 1 and "cannot be read" in out.stderr


def test_the_committed_tiny_model_is_what_its_script_makes(tmp_path):
    """tests/data/pstmo: what the Rust side is tested with, where there is no torch."""
    kept = HERE.parents[2] / "tests/data/pstmo"
    subprocess.run([sys.executable, kept / "make.py", tmp_path], check=True)
    for end in ("onnx", "golden.json"):
        assert (tmp_path / f"tiny_pstmo.{end}").read_bytes() == (kept / f"tiny_pstmo.{end}").read_bytes(), end
