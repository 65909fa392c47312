#!/usr/bin/env python3
"""Exports, opened by the readers that people use: ezc3d and c3d, bvh, and OpenSim's TRC rules.

    python3 tests/check_exports.py target/debug/posewire

Needs `ezc3d`, `c3d`, `bvh` and `numpy` from PyPI, in a venv. The joints of every format are compared with
those of the CSV export, which is what was sent.
"""
import csv
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = (
    "pelvis right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax neck head "
    "left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist"
).split()
PARENT = [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]


def truth(path):
    """Joints of the only person, y up, metres: (frames, 17, 3), and their times."""
    rows = [r for r in csv.DictReader(path.open()) if r["pelvis_x"]]
    assert len({r["track"] for r in rows}) == 1
    joints = np.array([[[float(r[f"{n}_{a}"]) for a in "xyz"] for n in NAMES] for r in rows])
    roots = np.array([[float(r[f"root_{a}"] or "nan") for a in "xyz"] for r in rows])
    if not np.isnan(roots).all():
        known = np.flatnonzero(~np.isnan(roots[:, 0]))
        hold = known[np.maximum(np.searchsorted(known, np.arange(len(roots)), side="right") - 1, 0)]
        joints = joints + roots[hold][:, None]
    joints[..., 1:] *= -1  # a level camera: down is down
    return joints, np.array([int(r["describes_us"]) for r in rows]) / 1e6


def read_trc(path):
    """By OpenSim's conventions (TRCFileAdapter, and its "Marker (.trc) files" page)."""
    lines = path.read_text().split("\n")
    assert lines[0].split("\t") == ["PathFileType", "4", "(X/Y/Z)", path.name]
    keys, values = lines[1].split("\t"), lines[2].split("\t")
    head = dict(zip(keys, values, strict=True))
    assert keys[:5] == ["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units"]
    assert head["Units"] == "mm"
    columns = lines[3].split("\t")
    assert columns[:2] == ["Frame#", "Time"]
    names = [c for c in columns[2:] if c]
    assert columns[2::3][: len(names)] == names, "three columns for each marker"
    assert len(names) == int(head["NumMarkers"])
    axes = lines[4].split("\t")
    assert axes[:2] == ["", ""] and axes[2:] == [f"{a}{i + 1}" for i in range(len(names)) for a in "XYZ"]
    assert lines[5].strip() == ""
    rows = [line.split("\t") for line in lines[6:] if line]
    assert len(rows) == int(head["NumFrames"])
    assert [int(r[0]) for r in rows] == list(range(1, len(rows) + 1))
    times = np.array([float(r[1]) for r in rows])
    assert np.allclose(np.diff(times), 1 / float(head["DataRate"]), atol=2e-6)
    points = np.array([[float(v or "nan") for v in r[2:]] for r in rows]).reshape(len(rows), -1, 3)
    return names, points / 1e3, float(head["DataRate"])


def read_bvh(path):
    """Where the `bvh` package and the format's own rules put the joints, metres."""
    from bvh import Bvh

    mocap = Bvh(path.read_text())
    joints = {}
    worlds = []
    for frame in range(mocap.nframes):
        world = {}
        for name in mocap.get_joints_names():
            parent = mocap.joint_parent(name)
            at, turn = world[parent.name] if parent else (np.zeros(3), np.eye(3))
            at = at + turn @ np.array(mocap.joint_offset(name))
            for channel in mocap.joint_channels(name):
                value = mocap.frame_joint_channel(frame, name, channel)
                axis = "XYZ".index(channel[0])
                if channel.endswith("position"):
                    at = at + np.eye(3)[axis] * value
                else:
                    c, s = np.cos(np.radians(value)), np.sin(np.radians(value))
                    i, j = (axis + 1) % 3, (axis + 2) % 3
                    r = np.eye(3)
                    r[i, i] = r[j, j] = c
                    r[i, j], r[j, i] = -s, s
                    turn = turn @ r
            world[name] = (at, turn)
        worlds.append(world)
    # A node stands where its bone begins; what hangs at its end is its child's, or the end site's.
    ends = {
        "right_hip": "RightUpLeg", "right_knee": "RightLeg", "left_hip": "LeftUpLeg", "left_knee": "LeftLeg",
        "spine": "Chest", "thorax": "Neck", "neck": "Head", "left_shoulder": "LeftArm", "left_elbow": "LeftForeArm",
        "right_shoulder": "RightArm", "right_elbow": "RightForeArm", "pelvis": "Hips",
    }
    for joint, node in ends.items():
        joints[joint] = np.array([w[node][0] for w in worlds]) / 100
    return joints, 1 / mocap.frame_time, mocap


def main(program):
    import c3d
    import ezc3d

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        recording = folder / "r.mcap"
        command = [program, "demo", "--fast", "--stand-in", "--seconds", "4", "--publish", "jsonl:/dev/null"]
        subprocess.run([*command, "--record", recording], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for kind in ("csv", "trc", "c3d", "bvh"):
            command = [program, "export", recording, "--to", kind]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted, times = truth(folder / "r.csv")
        assert len(wanted) > 60, len(wanted)
        even = np.allclose(np.diff(times), 1 / 30, atol=1e-3)
        # Somebody who was out of sight for a frame leaves a gap that exports fill; compared are the others.
        index = np.rint((times - times[0]) * 30).astype(int)
        print(f"{len(wanted)} poses over {times[-1] - times[0]:.2f} s, {'even' if even else 'with gaps'}")

        names, points, rate = read_trc(folder / "r.trc")
        assert names == NAMES and rate == 30
        worst = np.abs(points[index] - wanted).max()
        assert worst < 1e-3, worst
        print(f"trc: {points.shape[0]} frames of {points.shape[1]} markers, worst {worst * 1e3:.3f} mm")

        file = ezc3d.c3d(str(folder / "r.c3d"))
        labels = file["parameters"]["POINT"]["LABELS"]["value"]
        assert [l.strip() for l in labels] == NAMES, labels
        assert file["parameters"]["POINT"]["UNITS"]["value"] == ["mm"]
        assert file["parameters"]["POINT"]["RATE"]["value"] == [30.0]
        points = file["data"]["points"][:3].transpose(2, 1, 0) / 1e3
        worst = np.abs(points[index] - wanted).max()
        assert points.shape[0] == file["header"]["points"]["last_frame"] + 1
        assert worst < 1e-3, worst
        print(f"c3d by ezc3d: {points.shape[0]} frames, worst {worst * 1e3:.3f} mm")

        with (folder / "r.c3d").open("rb") as stream:
            reader = c3d.Reader(stream)
            assert [l.strip() for l in reader.point_labels] == NAMES
            assert reader.point_rate == 30 and reader.point_used == 17
            frames = [p[:, :3] for _, p, _ in reader.read_frames()]
        points = np.array(frames) / 1e3
        worst = np.abs(points[index] - wanted).max()
        assert worst < 1e-3, worst
        print(f"c3d by c3d: {points.shape[0]} frames, worst {worst * 1e3:.3f} mm")

        found, rate, mocap = read_bvh(folder / "r.bvh")
        assert abs(rate - 30) < 1e-3
        # Bones have one length here and a lifter's breathe: directions are exact, places nearly.
        errors = np.array([np.linalg.norm(found[n][index] - wanted[:, NAMES.index(n)], axis=1) for n in found])
        assert np.median(errors) < 0.03 and errors.max() < 0.25, (np.median(errors), errors.max())
        print(
            f"bvh by bvh: {mocap.nframes} frames of {len(mocap.get_joints_names())} nodes, "
            f"median {np.median(errors) * 1e3:.1f} mm (bone lengths are fixed), worst {errors.max() * 1e3:.0f} mm"
        )


if __name__ == "__main__":
    main(sys.argv[1])
