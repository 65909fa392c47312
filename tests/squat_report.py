#!/usr/bin/env python3
"""Knee angles, uprightness and feet of the squatting clip, from `posewire listen --format json` output; optionally a picture.

    posewire listen --format json > poses.jsonl &
    posewire run --source ../shared/data/clips/pose_squats.mp4 --models ../shared/data/models --pitch 0 --publish udp://127.0.0.1:7777
    python3 tests/squat_report.py poses.jsonl [picture.png]     # the picture needs matplotlib

Exits with 1 unless every frame after warm-up holds exactly one person of 17 joints, the knees bend below 110 degrees and return
above 160 in each repetition, the torso stays within 60 degrees of upright and the feet below the hips.
"""
import json
import math
import sys


def angle(a, b, c):
    """Degrees at b between a and c."""
    u, v = [x - y for x, y in zip(a, b)], [x - y for x, y in zip(c, b)]
    norm = math.dist(a, b) * math.dist(c, b)
    return math.degrees(math.acos(max(-1.0, min(1.0, sum(x * y for x, y in zip(u, v)) / norm))))


def main(path, picture=None):
    messages = [json.loads(line) for line in open(path) if '"type":"pose"' in line]
    warm = next((i for i, m in enumerate(messages) if m["persons"]), len(messages))
    assert messages and warm < 5, f"no person in the first 5 of {len(messages)} frames"
    messages = messages[warm:]
    failures = []
    wrong = [m["sequence"] for m in messages if len(m["persons"]) != 1 or len(m["persons"][0]["joints"]) != 17]
    if wrong:
        failures.append(f"frames without exactly one person of 17 joints: {wrong}")
    if len({p["track"] for m in messages for p in m["persons"]}) != 1:
        failures.append("more than one identity")
    joints = [{k: v[:3] for k, v in m["persons"][0]["joints"].items()} for m in messages if m["persons"]]
    times = [m["persons"][0]["describes_us"] * 1e-6 for m in messages if m["persons"]]
    knee = [sum(angle(j[f"{s}_hip"], j[f"{s}_knee"], j[f"{s}_ankle"]) for s in ("left", "right")) / 2 for j in joints]
    lean = [angle(j["thorax"], j["pelvis"], [j["pelvis"][0], j["pelvis"][1] - 1, j["pelvis"][2]]) for j in joints]
    feet = [min(j[f"{s}_ankle"][1] - j[f"{s}_hip"][1] for s in ("left", "right")) for j in joints]

    # A repetition: below 110 degrees, then above 160.
    repetitions, down, lowest = [], False, 180.0
    for k in knee:
        lowest = min(lowest, k)
        if k < 110:
            down = True
        if down and k > 160:
            repetitions.append(lowest)
            down, lowest = False, 180.0
    print(f"{len(joints)} poses in {times[-1] - times[0]:.1f} s, {len(repetitions)} repetitions, lowest knee angle in each: {[round(r) for r in repetitions]}")
    print(f"knee angle {min(knee):.0f} .. {max(knee):.0f} degrees; torso leans {min(lean):.0f} .. {max(lean):.0f} degrees; ankles at least {min(feet):.2f} m below the hips")
    if not repetitions:
        failures.append("no repetition with the knees below 110 and back above 160 degrees")
    if max(lean) > 60:
        failures.append(f"the torso leans by {max(lean):.0f} degrees")
    if min(feet) <= 0:
        failures.append("a foot above a hip")
    if picture:
        draw(picture, times, knee, joints)
    for f in failures:
        print("FAILED:", f)
    return 1 if failures else 0


BONES = [("pelvis", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"), ("pelvis", "left_hip"), ("left_hip", "left_knee"),
         ("left_knee", "left_ankle"), ("pelvis", "spine"), ("spine", "thorax"), ("thorax", "neck"), ("neck", "head"), ("thorax", "left_shoulder"),
         ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("thorax", "right_shoulder"), ("right_shoulder", "right_elbow"),
         ("right_elbow", "right_wrist")]


def draw(picture, times, knee, joints):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig = plt.figure(figsize=(12, 7))
    axes = fig.add_subplot(2, 1, 1)
    axes.plot(times, knee, ".-")
    axes.axhline(110, ls=":", c="gray"), axes.axhline(160, ls=":", c="gray")
    axes.set(xlabel="s", ylabel="knee angle, degrees", title="pose_squats.mp4")
    picks = [round(i * (len(joints) - 1) / 9) for i in range(10)]
    for n, i in enumerate(picks):
        for row, (axis, label) in enumerate(((0, "front"), (2, "side"))):
            a = fig.add_axes([0.03 + 0.097 * n, 0.25 - 0.22 * row, 0.09, 0.22])
            for p, q in BONES:
                colour = "tab:red" if "right" in q else "tab:blue" if "left" in q else "black"
                a.plot([joints[i][p][axis], joints[i][q][axis]], [-joints[i][p][1], -joints[i][q][1]], c=colour, lw=2)
            a.set(xlim=(-0.9, 0.9), ylim=(-1.0, 0.8), xticks=[], yticks=[], aspect="equal")
            a.set_title(f"{times[i]:.1f} s {label}", fontsize=7)
    fig.savefig(picture, dpi=80)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
