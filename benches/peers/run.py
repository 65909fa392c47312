#!/usr/bin/env python3
"""posewire and its peers on one clip, on this machine, in this run: one table.

    cargo build --release
    python3.11 -m venv /tmp/peers && /tmp/peers/bin/pip install -r benches/peers/requirements.txt
    POSEWIRE_DATA=../shared/data /tmp/peers/bin/python benches/peers/run.py [--seconds 10] [--json FILE]

Each of them runs alone, in a process of its own, on one core (pinned to it) and on all; each first flat out (ms per frame, frames per
second), then at the clip's pace, where it takes the newest frame that is due (latency from due to pose). The clip is turned into raw
I420 of 1280 pixels and 30 fps first, so that nobody's video decoder is measured. A peer whose packages are missing is left out, and
said so. Needs ffmpeg. About four minutes with the defaults; nothing else should run.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PEERS = {"onnxruntime": ["onnxruntime", "cv2"], "mediapipe": ["mediapipe"], "pytorch": ["torch", "onnxruntime"]}


def clip_of(source, folder):
    out = folder / "clip.y4m"
    scale = "scale='if(gt(iw,ih),1280,-2)':'if(gt(iw,ih),-2,1280)',fps=30"
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-an", "-vf", scale, "-pix_fmt", "yuv420p", str(out)]
    subprocess.run(command, check=True)
    return out


def pinned(cores):
    return lambda: os.sched_setaffinity(0, cores)


def answer(command, cores):
    env = {**os.environ, "OMP_NUM_THREADS": str(len(cores)), "GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, preexec_fn=pinned(cores))
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def posewire(program, clip, seconds, cores, folder):
    report = {}
    for name, more in ("flat", ["--flat-out"]), ("paced", []):
        path = folder / f"{name}.json"
        answer([str(program), "bench", "--source", str(clip), "--seconds", str(seconds), "--warm-up", "1", "--json", str(path), *more], cores)
        report[name] = json.loads(path.read_text())
    flat, paced = report["flat"], report["paced"]
    whole = next(s for s in paced["stages"] if s["name"] == "capture-to-packet")
    if flat["program"]["profile"] != "release":
        print("posewire is a debug build: its numbers are no one's", file=sys.stderr)
    return {
        "name": f"posewire {flat['program']['version']} ({flat['program']['git']}, {flat['models']['backend']} {flat['models']['precision']})",
        "frames": flat["frames"]["sent"],
        "poses": flat["frames"]["poses"],
        "ms": 1e3 / flat["frames"]["fps"],
        "fps": flat["frames"]["fps"],
        "latency_p50_ms": whole["p50_ms"],
        "latency_p99_ms": whole["p99_ms"],
        "dropped": paced["frames"]["dropped"],
        "peak_mib": max(r["usage"]["peak_rss_bytes"] for r in report.values()) / 2**20,
        "start_s": flat["first_packet_s"],
    }


def missing(packages):
    probe = "import importlib.util, sys; sys.exit(' '.join(p for p in sys.argv[1:] if importlib.util.find_spec(p) is None))"
    return subprocess.run([sys.executable, "-c", probe, *packages], capture_output=True, text=True).stderr.strip()


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = pathlib.Path(os.environ.get("POSEWIRE_DATA", ROOT / ".." / "shared" / "data"))
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    a.add_argument("--clip", type=pathlib.Path, default=data / "clips/pose_squats.mp4")
    a.add_argument("--posewire", type=pathlib.Path, default=target / "release/posewire")
    a.add_argument("--seconds", type=float, default=10, help="of each of the two parts of each run")
    a.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    a.add_argument("--json", type=pathlib.Path)
    a = a.parse_args()
    if not a.clip.exists():
        sys.exit(f"{a.clip} is not there: name a clip with --clip, or set POSEWIRE_DATA")
    if not a.posewire.exists():
        sys.exit(f"{a.posewire} is not there: cargo build --release, or name it with --posewire")
    every = sorted(os.sched_getaffinity(0))
    load, rows = os.getloadavg()[0], []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        clip = clip_of(a.clip, folder)
        for cores in ([every[:1], every] if len(every) > 1 else [every]):
            rows.append((len(cores), posewire(a.posewire, clip, a.seconds, cores, folder)))
            for peer in a.peers:
                if lost := missing(PEERS[peer]):
                    print(f"{peer} left out: no {lost} (pip install -r {HERE.name}/requirements.txt)", file=sys.stderr)
                    continue
                command = [sys.executable, str(HERE / f"peer_{peer}.py"), str(clip), "--threads", str(len(cores)), "--seconds", str(a.seconds)]
                rows.append((len(cores), json.loads(answer(command, cores).splitlines()[-1])))
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    print(f"{a.clip.name}, {a.seconds:g} s each; {cpu}, {len(every)} cores, kernel {platform.release()}, load {load:.1f} before")
    print()
    print("| | cores | ms per frame | fps | latency p50 / p99, ms | frames dropped at 30 fps | poses / frames | peak memory, MiB | first pose after, s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for cores, r in rows:
        print(
            f"| {r['name']} | {cores} | {r['ms']:.1f} | {r['fps']:.1f} | {r['latency_p50_ms']:.1f} / {r['latency_p99_ms']:.1f} | {r['dropped']} "
            f"| {r['poses']} / {r['frames']} | {r['peak_mib']:.0f} | {r['start_s']:.2f} |"
        )
    if a.json:
        a.json.write_text(json.dumps({"clip": a.clip.name, "cpu": cpu, "load": load, "rows": [{"cores": c, **r} for c, r in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
