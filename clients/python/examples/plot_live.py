"""Draws the newest pose of each person while it is received. Needs matplotlib.

    python plot_live.py 127.0.0.1 7777
    python plot_live.py /dev/ttyUSB0 115200
    python plot_live.py 127.0.0.1 7777 --save pose.png    # the first pose, into a file
"""

from __future__ import annotations

import argparse
import threading
import time
from typing import Any, Dict, Iterator, Optional, Tuple

import matplotlib
from posewire_client import CompactPose, Point3, Pose, Short, listen, read_serial

BONES = (
    ("pelvis", "right_hip"), ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
    ("pelvis", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
    ("pelvis", "spine"), ("spine", "thorax"), ("thorax", "neck"), ("neck", "head"),
    ("thorax", "left_shoulder"), ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
    ("thorax", "right_shoulder"), ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"))
# A person not heard of for this long has gone.
GONE_AFTER = 1.0

Joints = Dict[str, Point3]
Root = Optional[Tuple[float, ...]]


def poses(source: str, number: int) -> Iterator[Tuple[int, Joints, Root]]:
    """(track, joints, root) of every person that is heard."""
    if source.startswith("/"):
        for packet in read_serial(source, number):
            if isinstance(packet, Short) and isinstance(packet.message, CompactPose):
                person = packet.message.person
                if person and person.joints:
                    yield person.track, person.joints, person.root
        return
    for datagram, _ in listen(source, number):
        if isinstance(datagram.message, Pose):
            for one in datagram.message.persons:
                if one.joints:
                    yield one.track, one.joints, one.root


def draw(axes: Any, persons: "list[Tuple[int, Joints, Root]]") -> None:
    """The camera's axes are x right, y down, z forward; the plot's height points up."""
    axes.clear()
    for track, joints, root in persons:
        dx, dy, dz = root or (0.0, 0.0, 0.0)
        for a, b in BONES:
            ends = [joints[a], joints[b]]
            axes.plot(
                [p.x + dx for p in ends], [p.z + dz for p in ends], [-p.y - dy for p in ends],
                color=f"C{track % 10}", linewidth=3)
    axes.set(xlabel="x, right (m)", ylabel="z, away (m)", zlabel="up (m)")
    axes.set_aspect("equal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="address, or a device's path")
    parser.add_argument("number", type=int, help="port, or baud rate")
    parser.add_argument("--save", metavar="FILE", help="draw the first pose into a file")
    args = parser.parse_args()
    if args.save:
        matplotlib.use("agg")
    from matplotlib import pyplot

    axes = pyplot.figure().add_subplot(projection="3d")
    if args.save:
        draw(axes, [next(poses(args.source, args.number))])
        pyplot.savefig(args.save)
        return
    newest: Dict[int, Tuple[float, Joints, Root]] = {}

    def receive() -> None:
        for track, joints, root in poses(args.source, args.number):
            newest[track] = (time.monotonic(), joints, root)

    threading.Thread(target=receive, daemon=True).start()
    while pyplot.fignum_exists(1):
        now = time.monotonic()
        here = [(t, j, r) for t, (at, j, r) in list(newest.items()) if now - at < GONE_AFTER]
        draw(axes, here)
        pyplot.pause(0.05)


if __name__ == "__main__":
    main()
