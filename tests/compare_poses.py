#!/usr/bin/env python3
"""compare_poses.py A B [LIMIT]: are two runs' JSON lines (`jsonl:`) the same poses?

The same frames, the same persons in each, every joint within LIMIT metres (by default 1e-4). Exit
code 0 only if so, and if there were poses.
"""

import json
import sys


def poses(path: str) -> dict:
    with open(path, encoding="utf-8") as lines:
        messages = [json.loads(line) for line in lines]
    return {m["sequence"]: m["persons"] for m in messages if m.get("type") == "pose"}


def main() -> int:
    one, other = poses(sys.argv[1]), poses(sys.argv[2])
    limit = float(sys.argv[3]) if len(sys.argv) > 3 else 1e-4
    if one.keys() != other.keys():
        print(f"other frames: {len(one)} and {len(other)}, {len(one.keys() & other.keys())} of them in both")
        return 1
    most, joints = 0.0, 0
    for frame, persons in one.items():
        those = other[frame]
        if [p["track"] for p in persons] != [p["track"] for p in those]:
            print(f"frame {frame}: {len(persons)} and {len(those)} persons")
            return 1
        for a, b in zip(persons, those):
            ours, theirs = a["joints"] or {}, b["joints"] or {}
            if ours.keys() != theirs.keys():
                print(f"frame {frame}: {len(ours)} and {len(theirs)} joints")
                return 1
            for name, place in ours.items():
                most = max(most, *(abs(p - q) for p, q in zip(place[:3], theirs[name][:3])))
                joints += 1
    print(f"{len(one)} frames, {joints} joints, at most {most:.2e} m apart (limit {limit:g})")
    return 0 if joints and most <= limit else 1


if __name__ == "__main__":
    sys.exit(main())
