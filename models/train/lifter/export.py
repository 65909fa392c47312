"""Checkpoint -> models/<name>.onnx + .toml + .golden.json, checked against PyTorch, ONNX Runtime and tract.

    python export.py --checkpoint run/live27.pt --name pstmo_s_27_live --out ../.. --metrics run/live27.eval.json --command "..."

Without --checkpoint an untrained network of the given size is written (for work on the interface).
"""

import argparse
import datetime
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import torch

import window as spec
from graph import pstmo_graph
from model import Config, Pstmo, macs

DATA = "CMU mocap (mocap.cs.cmu.edu), UI-PRMD (ODC-PDDL 1.0), FAIR1 from AnimatedDrawings (MIT)"
CARD = """3D lifter: COCO-17 keypoints over time -> Human3.6M-17, root-relative, metres. P-STMO-S architecture (arXiv 2203.07628), \
written anew and trained from scratch on motion capture with simulated cameras and simulated detector errors; no weight or datum of \
Human3.6M is in it. The data used in this project was obtained from mocap.cs.cmu.edu; the database was created with funding from NSF \
EIA-0196217. Not for: absolute scale (it answers with an average adult), hands, faces, several people in one track, measurement of \
clinical angles without your own validation."""


def toy_person(t, turn=0.6):
    """COCO-17 points of a simple moving figure in metres (camera frame: x right, y down), only to fill the golden windows."""
    s, a = np.sin(2 * np.pi * 0.9 * t), 0.25
    p = np.array([
        [0, -0.62, -0.12], [0.03, -0.66, -0.1], [-0.03, -0.66, -0.1], [0.07, -0.64, 0], [-0.07, -0.64, 0],
        [0.18, -0.45, 0], [-0.18, -0.45, 0], [0.22, -0.18, 0.1 * s], [-0.22, -0.18, -0.1 * s], [0.2, 0.05, a * s], [-0.2, 0.05, -a * s],
        [0.1, 0.05, 0], [-0.1, 0.05, 0], [0.11, 0.46, -a * s], [-0.11, 0.46, a * s], [0.11, 0.86, -a * s + 0.08], [-0.11, 0.86, a * s + 0.08],
    ])
    c, n = np.cos(turn), np.sin(turn)
    return p @ np.array([[c, 0, -n], [0, 1, 0], [n, 0, c]]).T


def golden_cases(seed=7):
    """Three observation streams: steady 30 fps; 5 fps off centre with gravity; irregular with losses, a gap and a wide lens."""
    rng = np.random.default_rng(seed)
    cases = []
    for kind in range(3):
        fx, fy, cx, cy = [(900.0, 905.0, 640.0, 360.0), (620.0, 620.0, 318.0, 245.0), (410.0, 412.0, 655.0, 350.0)][kind]
        if kind == 0:
            t = 100.0 + np.arange(36) / 30
        elif kind == 1:
            t = 7.0 + np.arange(6) * 0.2
        else:
            t = 3.0 + np.cumsum(np.r_[0, rng.uniform(0.02, 0.09, 9), 0.41, rng.uniform(0.02, 0.07, 7)])
        root = [np.array([0.1, 0.0, 3.2]), np.array([-1.4, 0.3, 4.5]), np.array([1.6, 0.2, 1.9])][kind]
        obs = []
        for ti in t:
            p = toy_person(ti) + root + np.array([0.3 * (ti - t[0]), 0, 0])
            px = np.stack([fx * p[:, 0] / p[:, 2] + cx, fy * p[:, 1] / p[:, 2] + cy], -1) + rng.normal(0, 1.0, (17, 2))
            c = rng.uniform(0.5, 0.97, 17)
            if kind == 2:
                c[rng.random(17) < 0.2] *= 0.1
            obs.append({"t": round(float(ti), 6), "keypoints": np.round(np.c_[px, c], 4).tolist()})
        gravity = [None, [0.05, 0.98, -0.19], None][kind]
        cases.append({"intrinsics": {"fx": fx, "fy": fy, "cx": cx, "cy": cy}, "gravity": gravity, "observations": obs})
    return cases


def tensors(case, c):
    k = np.array([o["keypoints"] for o in case["observations"]])
    times = np.array([o["t"] for o in case["observations"]])
    i = case["intrinsics"]
    rays = spec.unit_rays(k[..., :2], i["fx"], i["fy"], i["cx"], i["cy"])
    r, conf = spec.resample(times, rays, k[..., 2], c.frames, c.rate_hz)
    return spec.normalise(r, conf, case["gravity"])


def run_ort(path, window, context):
    import onnxruntime as ort

    s = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {"window": window, "context": context}
    return s.run(None, {i.name: feed[i.name] for i in s.get_inputs()})[0]


def run_tract(path, window, context, use_context):
    import tract

    m = tract.onnx().load(str(path)).into_model().into_runnable()
    return m.run([window, context] if use_context else [window])[0].to_numpy()


def load_net(path):
    ck = torch.load(path, map_location="cpu", weights_only=False)
    net = Pstmo(Config(**ck["config"]))
    net.load_state_dict(ck["ema"] if "ema" in ck else ck["model"])
    return net.eval(), ck


def toml_string(v):
    return json.dumps(v, ensure_ascii=False)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--checkpoint")
    a.add_argument("--name", required=True)
    a.add_argument("--out", default="../..")
    a.add_argument("--metrics", help="JSON written by evaluate.py: its `manifest` table goes into [error]")
    a.add_argument("--command", default="", help="the training command, for the manifest")
    a.add_argument("--f32", action="store_true", help="store matrices as f32")
    a.add_argument("--date", default=datetime.date.today().isoformat())
    for k, v in Config().dict().items():
        if isinstance(v, int) and not isinstance(v, bool):
            a.add_argument(f"--{k}", type=int, default=v)
    a = a.parse_args()
    out = Path(a.out)
    if a.checkpoint:
        net, _ = load_net(a.checkpoint)
    else:
        torch.manual_seed(0)
        net = Pstmo(Config(**{k: getattr(a, k) for k in Config().dict() if hasattr(a, k)}))
        for _ in range(20):
            net(torch.randn(64, net.c.frames, 17, 3), torch.randn(64, 5))
        net.eval()
    c = net.c
    file = out / f"{a.name}.onnx"
    model = pstmo_graph(net, f16=not a.f32, metadata={"name": a.name, "training_data": DATA, "licence": "Apache-2.0 OR MIT"})
    onnx.save(model, file)

    cases = golden_cases()
    made = [tensors(k, c) for k in cases]
    window, context = (np.stack([m[i] for m in made]) for i in (0, 1))
    joints = run_ort(file, window, context)
    with torch.no_grad():
        ref = net(torch.from_numpy(window), torch.from_numpy(context)).numpy()
    f32 = out / f".{a.name}.f32.onnx"
    onnx.save(pstmo_graph(net, f16=False), f32)
    exact, plain = run_ort(f32, window, context), run_tract(f32, window, context, c.context > 0)
    tract_f16 = run_tract(file, window, context, c.context > 0)
    f32.unlink()
    for what, x, y, tol in [
        ("ONNX Runtime f32 graph against PyTorch", exact, ref, 1e-4),
        ("tract f32 graph against PyTorch", plain, ref, 1e-4),
        ("tract against ONNX Runtime, shipped graph", tract_f16, joints, 1e-4),
    ]:
        err = float(np.abs(x - y).max())
        print(f"{what}: max {err:.2e} m")
        assert err <= tol, what
    print(f"f16 storage against PyTorch: mean {1e3 * np.linalg.norm(joints - ref, axis=-1).mean():.4f} mm, max {1e3 * np.abs(joints - ref).max():.4f} mm")

    def r6(x):
        return np.round(np.asarray(x, np.float64), 6).tolist()

    for k, m, j in zip(cases, made, joints):
        k |= {"rotation": r6(m[2]), "window": r6(m[0]), "context": r6(m[1]), "joints_virtual": r6(j)}
        k["joints_camera"] = r6(spec.to_camera(j.astype(np.float64), m[2]))
    golden = {"model": a.name, "made_by": "models/train/lifter/export.py", "rate_hz": c.rate_hz, "slots": c.frames, "cases": cases}
    (out / f"{a.name}.golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")

    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    err = json.loads(Path(a.metrics).read_text())["manifest"] if a.metrics else {}
    trained = f"{a.date}, {a.command}" if a.checkpoint else "no: random weights, for work on the interface only"
    lines = [
        f"name = {toml_string(a.name)}", 'kind = "lifter"', f"file = {toml_string(file.name)}", f'sha256 = "{sha}"',
        f"golden = {toml_string(a.name + '.golden.json')}",
        'licence = "Apache-2.0 OR MIT"', "commercial = true", f"training_data = {toml_string(DATA)}", f"trained = {toml_string(trained)}",
        f"card = {toml_string(CARD)}", "", "[input]", f"window = [{c.frames}, 17, 3]", f"context = {c.context}", f"rate_hz = {c.rate_hz:.1f}",
        f"lookahead = {c.lookahead}", 'skeleton = "coco17"', 'normalisation = "virtual-camera"', "",
        "[output]", 'skeleton = "h36m17"', 'units = "m"', "", "[cost]", f"macs = {macs(c)}",
        f"parameters = {sum(p.numel() for n, p in net.named_parameters() if not n.startswith('vte'))}", "", "[error]",
    ]
    lines += [f"{k} = {json.dumps(v)}" for k, v in err.items()]
    (out / f"{a.name}.toml").write_text("\n".join(lines) + "\n")
    print(file, f"{file.stat().st_size / 1e6:.2f} MB", f"{macs(c) / 1e6:.1f} M MACs", "sha256", sha[:16])


if __name__ == "__main__":
    main()
