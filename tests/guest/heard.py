#!/usr/bin/env python3
"""heard.py OUT: what the listener on the host heard of `posewire run` in the guest (cameras.sh), and what `posewire devices` said there."""
import json
import pathlib
import sys

out = pathlib.Path(sys.argv[1])
messages = [json.loads(line) for line in (out / "heard").read_text().splitlines()]
poses = [m for m in messages if m.get("type") == "pose"]
statuses = [m for m in messages if m.get("type") == "status"]
assert statuses, "no status was heard"

for camera in range(3):
    of = [m for m in poses if m["camera"] == camera]
    joints = sum(len(p.get("joints") or ()) == 17 for m in of for p in m["persons"])
    stamps = [m["captured_us"] for m in of]
    numbers = [m["sequence"] for m in of]
    # The guest's processor does 250 million instructions a second, and the program leaves frames out on purpose.
    assert len(of) >= 10, f"camera {camera}: {len(of)} frames were heard"
    assert joints >= 8, f"camera {camera}: {joints} 3D poses were heard"
    assert all(a < b for a, b in zip(stamps, stamps[1:])), f"camera {camera}: stamps go back"
    restarts = sum(b <= a for a, b in zip(numbers, numbers[1:]))
    # The second one is disconnected once, and comes back under its old name.
    assert restarts == 0 if camera != 1 else restarts <= 1, f"camera {camera}: {restarts} restarts"
    longest = max(b - a for a, b in zip(stamps, stamps[1:])) / 1e6
    print(f"camera {camera}: {len(of)} frames, {joints} 3D poses, {(stamps[-1] - stamps[0]) / 1e6:.1f} s, at most {longest:.2f} s apart")

# The loss of the second one was told, by name, and it is over at the end.
names = [fault["name"] for m in statuses for fault in m["faults"] if fault["camera"] == 1]
assert "source-gone" in names, f"the disconnected camera was not told of: {names}"
last = [m for m in statuses if m["state"] != "stopping"][-1]
assert all(fault["name"] != "source-gone" for fault in last["faults"]), last

devices = json.loads((out / "devices.json").read_text())
assert [d["path"] for d in devices] == [f"/dev/video{n}" for n in range(3)], devices
assert [d["multi_planar"] for d in devices] == [False, False, True]
for device in devices:
    codes = {f["code"]: f for f in device["formats"]}
    wanted = {"NM12"} if device["multi_planar"] else {"YUYV", "NV12", "GREY", "RGB3"}
    assert wanted <= set(codes), codes.keys()
    assert all(codes[c]["read"] and codes[c]["sizes"] for c in wanted)
    assert any(c["name"] == "brightness" and c["maximum"] == 255 for c in device["controls"])
    assert f"v4l2:{device['path']}" in device["uris"] and len(device["uris"]) > 1, device["uris"]
print(f"{len(devices)} devices, {len(statuses)} statuses")
