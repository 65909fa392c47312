"""Checkpoint -> models/<name>.onnx, .frame.onnx, .window.onnx, .toml, .golden.json, checked against PyTorch, ONNX Runtime and (if its Python
package is there) tract.

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

import evaluate
import window as spec
from graph import graphs
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


def golden_cases(lookaheads, seed=7):
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
            p = toy_person(ti) + root + np.array([[1.2, 0.3, 0.6][kind] * (ti - t[0]), 0, 0])
            px = np.stack([fx * p[:, 0] / p[:, 2] + cx, fy * p[:, 1] / p[:, 2] + cy], -1) + rng.normal(0, 1.0, (17, 2))
            c = rng.uniform(0.5, 0.97, 17)
            if kind == 2:
                c[rng.random(17) < 0.2] *= 0.1
            obs.append({"t": round(float(ti), 6), "keypoints": np.round(np.c_[px, c], 4).tolist()})
        gravity = [None, [0.05, 0.98, -0.19], None][kind]
        cases.append({"intrinsics": {"fx": fx, "fy": fy, "cx": cx, "cy": cy}, "gravity": gravity, "lookahead": lookaheads[-kind % len(lookaheads)], "observations": obs})
    return cases


def tensors(case, c):
    """Pushes a case's observations one by one; -> window, fresh, context, rotation, size, replacements of the anchor, time described."""
    i, person, anchors = case["intrinsics"], spec.Person(c.frames, c.rate_hz), []
    for o in case["observations"]:
        k = np.array(o["keypoints"])
        if person.push(o["t"], spec.unit_rays(k[:, :2], i["fx"], i["fy"], i["cx"], i["cy"]), k[:, 2]) and not (anchors and anchors[-1] is person.anchor):
            anchors.append(person.anchor)
    window, fresh, context, rot, describes = person.window(case["gravity"], case["lookahead"])
    return window, np.array([fresh], np.float32), context, rot, person.anchor[1], len(anchors) - 1, describes


def run_ort(path, **feed):
    import onnxruntime as ort

    s = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return s.run(None, feed)[0]


def run_tract(path, **feed):
    import tract

    m = tract.onnx().load(str(path)).into_model().into_runnable()
    return m.run(list(feed.values()))[0].to_numpy()


def load_net(path):
    from train import read_checkpoint

    ck = read_checkpoint(path)
    net = Pstmo(Config(**ck["config"]))
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in ck["ema"].items()})
    return net.eval(), ck


def toml_string(v):
    return json.dumps(v, ensure_ascii=False)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--checkpoint")
    a.add_argument("--name", required=True)
    a.add_argument("--out", default="../..")
    a.add_argument("--metrics", help="JSON written by evaluate.py: its `manifest` table goes into [error]")
    a.add_argument("--run", help="the run's name in that JSON, if it differs")
    a.add_argument("--command", default="", help="the training command, for the manifest")
    a.add_argument("--f32", action="store_true", help="store matrices as f32")
    a.add_argument("--date", default=datetime.date.today().isoformat())
    a.add_argument("--config", default="{}", help="JSON of the untrained network's Config")
    a = a.parse_args()
    out = Path(a.out)
    if a.checkpoint:
        net, _ = load_net(a.checkpoint)
    else:
        torch.manual_seed(0)
        net = Pstmo(Config(**json.loads(a.config)))
        for _ in range(20):
            net(torch.randn(64, net.c.frames, 17, 3), torch.rand(64, 1) - 1, torch.randn(64, 6))
        net.eval()
    c = net.c
    files = [out / f"{a.name}{part}.onnx" for part in ("", ".frame", ".window")]
    meta = {"name": a.name, "training_data": DATA, "licence": "Apache-2.0 OR MIT"}
    for file, model in zip(files, graphs(net, f16=not a.f32, metadata=meta)):
        onnx.save(model, file)

    cases = golden_cases(c.lookaheads)
    made = [tensors(k, c) for k in cases]
    window, fresh, context = (np.stack([m[i] for m in made]) for i in range(3))
    every = np.zeros((len(cases), c.frames, 1), np.float32)
    every[:, 0] = fresh
    with torch.no_grad():
        ref = net(*(torch.from_numpy(x) for x in (window, fresh, context))).numpy()

    def both_ways(run, paths):
        """joints by the whole-window graph, and by the per-frame and the per-window graph."""
        slots = run(paths[1], keypoints=window.reshape(-1, 17, 3), fresh=every.reshape(-1, 1)).reshape(len(cases), c.frames, -1)
        return run(paths[0], window=window, fresh=fresh, context=context), run(paths[2], slots=slots, context=context)

    exact = [out / f".{a.name}.{i}.f32.onnx" for i in range(3)]
    for file, model in zip(exact, graphs(net, f16=False)):
        onnx.save(model, file)
    joints, cached = both_ways(run_ort, files)
    checks = [("whole window, f32", both_ways(run_ort, exact)[0], ref), ("cached, f32", both_ways(run_ort, exact)[1], ref), ("cached against whole, shipped files", cached, joints)]
    try:
        checks += [(f"tract, {n}, shipped files, against ONNX Runtime", x, joints) for n, x in zip(("whole", "cached"), both_ways(run_tract, files))]
    except ImportError:
        print("tract's Python package is not installed: the crate's own tests check tract")
    for file in exact:
        file.unlink()
    for what, x, y in checks:
        err = float(np.abs(x - y).max())
        print(f"{what}: max {err:.2e} m")
        assert err <= 1e-4, what
    print(f"f16 storage against PyTorch: mean {1e3 * np.linalg.norm(joints - ref, axis=-1).mean():.4f} mm, max {1e3 * np.abs(joints - ref).max():.4f} mm")

    def r6(x):
        return np.round(np.asarray(x, np.float64), 6).tolist()

    for k, m, j in zip(cases, made, joints):
        k |= {"rotation": r6(m[3]), "size": r6(m[4]), "anchor_replaced": m[5], "describes": r6(m[6])}
        k |= {"window": r6(m[0]), "fresh": r6(m[1][0]), "context": r6(m[2]), "joints_virtual": r6(j)}
        k["joints_camera"] = r6(spec.to_camera(j.astype(np.float64), m[3]))
    golden = {"model": a.name, "made_by": "models/train/lifter/export.py", "rate_hz": c.rate_hz, "slots": c.frames, "cases": cases}
    (out / f"{a.name}.golden.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")

    sha = [hashlib.sha256(f.read_bytes()).hexdigest() for f in files]
    tables = evaluate.manifest({int(k): v for k, v in json.loads(Path(a.metrics).read_text())[a.run or a.name].items()}) if a.metrics else {}
    trained = f"{a.date}, {a.command}" if a.checkpoint else "no: random weights, for work on the interface only"
    lines = [
        f"name = {toml_string(a.name)}", 'kind = "lifter"', f"file = {toml_string(files[0].name)}", f'sha256 = "{sha[0]}"',
        f"golden = {toml_string(a.name + '.golden.json')}",
        'licence = "Apache-2.0 OR MIT"', "commercial = true", f"training_data = {toml_string(DATA)}", f"trained = {toml_string(trained)}",
        f"card = {toml_string(CARD)}", "", "[input]", f"window = [{c.frames}, 17, 3]", "context = 6", f"rate_hz = {c.rate_hz:.1f}",
        f"lookahead = {c.lookaheads[0]}", f"lookaheads = {list(c.lookaheads)}", 'skeleton = "coco17"', 'normalisation = "anchored-virtual-camera"', "",
        "[output]", 'skeleton = "h36m17"', 'units = "m"', "body_height_m = 1.72", "",
        "[streaming]", f"frame = {toml_string(files[1].name)}", f'frame_sha256 = "{sha[1]}"', f"window = {toml_string(files[2].name)}",
        f'window_sha256 = "{sha[2]}"', f"slot = {4 * c.d}", "",
        "[architecture]", f"width = {c.d}", f"sem = {c.sem}", f"feed_forward = {c.ff}", f"layers = {c.layers}", f"heads = {c.heads}", "",
        "[cost]", f"macs = {macs(c)}", f"parameters = {sum(p.numel() for p in net.parameters())}",
    ]
    if tables:
        lines += ["", "[error]"] + [f"{k} = {json.dumps(v)}" for k, v in tables["error"].items()]
        for k, row in tables["lookahead"].items():
            lines += ["", f"[error.lookahead.{k}]"] + [f"{x} = {json.dumps(v)}" for x, v in row.items()]
        for cond in ("clean", "sim"):
            lines += ["", f"# [frames, MPJPE known height, P-MPJPE], newest slot, gravity unknown", f"[error.actions_{cond}]"]
            lines += [f"{json.dumps(x)} = {json.dumps(v)}" for x, v in tables["actions"][cond].items()]
    (out / f"{a.name}.toml").write_text("\n".join(lines) + "\n")
    for f in files:
        print(f, f"{f.stat().st_size / 1e6:.2f} MB")
    print(f"{macs(c) / 1e6:.1f} M MACs, sha256 {sha[0][:16]}")


if __name__ == "__main__":
    main()
