"""What posewire sends in other people's protocols, read by other people's readers.

    python3 tests/test_bridges.py PATH-TO-POSEWIRE

Needs pymavlink and python-osc (`.ci/run bridges` installs them into a virtual environment). The
program is run as it is: the demo with its stand-in detector publishes to sockets of this test, as
JSON, MAVLink (unsigned and signed), VMC and OSC at once. JSON is what the others are compared with.
"""

import json
import math
import os
import selectors
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from pymavlink.dialects.v20 import common as mavlink
from pythonosc.osc_bundle import OscBundle

ROOT = Path(__file__).resolve().parent.parent
KEY = bytes(range(32))
SECONDS = 5

POSEWIRE = None
HEARD = {}

JOINTS = """pelvis right_hip right_knee right_ankle left_hip left_knee left_ankle spine thorax neck head
    left_shoulder left_elbow left_wrist right_shoulder right_elbow right_wrist""".split()


def listen():
    """Runs the demo and returns what each socket heard, in order."""
    names = ["json", "mavlink", "signed", "vmc", "osc"]
    sockets, selector = {}, selectors.DefaultSelector()
    for name in names:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        s.bind(("127.0.0.1", 0))
        s.setblocking(False)
        sockets[name] = s
        selector.register(s, selectors.EVENT_READ, name)
    port = {name: s.getsockname()[1] for name, s in sockets.items()}
    heard = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as directory:
        key = Path(directory) / "key"
        key.write_text(KEY.hex())
        os.chmod(key, 0o600)
        targets = [
            f"json+udp://127.0.0.1:{port['json']}",
            f"mavlink:udp://127.0.0.1:{port['mavlink']}?sysid=7",
            f"mavlink:udp://127.0.0.1:{port['signed']}?key={key}&link=3&messages=tunnel,obstacle",
            f"vmc://127.0.0.1:{port['vmc']}",
            f"osc://127.0.0.1:{port['osc']}",
        ]
        command = [POSEWIRE, "demo", "--stand-in", "--seconds", str(SECONDS)]
        for target in targets:
            command += ["--publish", target]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        limit = time.monotonic() + 120
        ended = False
        while True:
            ready = selector.select(0.2)
            for found, _ in ready:
                heard[found.data].append(found.fileobj.recv(65536))
            if ended and not ready:
                break
            ended = process.poll() is not None
            if time.monotonic() > limit:
                process.kill()
                raise TimeoutError("the demo does not end")
        said = process.stdout.read().decode()
        if process.returncode != 0:
            raise RuntimeError(f"the demo failed:\n{said}")
    for s in sockets.values():
        s.close()
    return heard


def close(a, b, tolerance):
    return len(a) == len(b) and all(abs(x - y) <= tolerance for x, y in zip(a, b))


def json_messages():
    return [json.loads(datagram) for datagram in HEARD["json"]]


def json_poses():
    """(message, person) of every person with joints."""
    for message in json_messages():
        for person in message.get("persons", ()):
            if person.get("joints"):
                yield message, person


def read_mavlink(datagrams, secret=None):
    """Every message; a frame that cannot be read raises."""
    reader = mavlink.MAVLink(None)
    if secret is not None:
        reader.signing.secret_key = secret
        # Unsigned frames are refused.
        reader.signing.allow_unsigned_callback = lambda _, message_id: False
    messages = []
    for datagram in datagrams:
        for message in reader.parse_buffer(datagram) or []:
            messages.append(message)
    return messages


def tunnel_pose(message):
    """As docs/mavlink.md has it."""
    payload = bytes(message.payload[:message.payload_length])
    first, camera, track, frame, describes = struct.unpack_from("<BBHBI", payload)
    assert first >> 4 == 1
    numbers = struct.unpack_from("<51h", payload, 9)
    joints = [numbers[i:i + 3] for i in range(0, 51, 3)]
    return {"camera": camera, "track": track, "frame": frame, "describes": describes,
            "predicted": bool(first & 1), "joints": joints, "confidence": payload[111:128]}


class Json(unittest.TestCase):
    def test_poses_and_statuses_are_one_object_a_datagram(self):
        poses = list(json_poses())
        self.assertGreater(len(poses), 20)
        for datagram in HEARD["json"]:
            self.assertLessEqual(len(datagram), 1472, datagram)
        states = [m["state"] for m in json_messages() if m["type"] == "status"]
        self.assertIn("running", states)
        self.assertEqual(states[-1], "stopping")


class Mavlink(unittest.TestCase):
    def check_poses(self, messages):
        expected = {(p["track"] & 0xFFFF, m["sequence"] & 0xFF): p for m, p in json_poses()}
        found = 0
        for message in messages:
            if message.get_type() != "TUNNEL" or message.payload_type != 43500:
                continue
            self.assertEqual((message.target_system, message.target_component), (0, 0))
            self.assertEqual(message.payload_length, 128)
            pose = tunnel_pose(message)
            person = expected.get((pose["track"], pose["frame"]))
            if person is None:
                continue
            found += 1
            self.assertEqual(pose["describes"], person["describes_us"] // 1000 & 0xFFFFFFFF)
            self.assertEqual(pose["predicted"], person["predicted"])
            for got, name in zip(pose["joints"], JOINTS):
                wanted = [1000 * v for v in person["joints"][name][:3]]
                # To a millimetre here, and there, too, if the datagram had no room for more.
                self.assertTrue(close(got, wanted, 1.01), f"{name}: {got} {wanted}")
        self.assertGreater(found, 20)

    def test_pymavlink_reads_every_frame_and_finds_the_poses(self):
        messages = read_mavlink(HEARD["mavlink"])
        self.assertEqual(len(messages), len(HEARD["mavlink"]), "one frame a datagram")
        self.assertNotIn("BAD_DATA", [m.get_type() for m in messages])
        for n, message in enumerate(messages):
            self.assertEqual((message.get_srcSystem(), message.get_srcComponent()), (7, 191))
            self.assertEqual(message.get_seq(), n % 256)
        self.check_poses(messages)

    def test_heartbeats_come_all_the_time_and_the_last_says_that_it_ends(self):
        beats = [m for m in read_mavlink(HEARD["mavlink"]) if m.get_type() == "HEARTBEAT"]
        self.assertGreaterEqual(len(beats), 3)
        for beat in beats:
            self.assertEqual(beat.type, mavlink.MAV_TYPE_ONBOARD_CONTROLLER)
            self.assertEqual(beat.autopilot, mavlink.MAV_AUTOPILOT_INVALID)
            self.assertEqual(beat.mavlink_version, 3)
        states = [beat.system_status for beat in beats]
        self.assertIn(mavlink.MAV_STATE_ACTIVE, states)
        self.assertEqual(states[-1], mavlink.MAV_STATE_POWEROFF)

    def test_signed_frames_are_accepted_with_the_key_and_refused_with_another(self):
        messages = read_mavlink(HEARD["signed"], KEY)
        self.assertEqual(len(messages), len(HEARD["signed"]))
        for message in messages:
            self.assertTrue(message.get_signed())
            self.assertEqual(message.get_link_id(), 3)
        self.check_poses(messages)
        with self.assertRaises(mavlink.MAVError):
            read_mavlink(HEARD["signed"], bytes(32))
        with self.assertRaises(mavlink.MAVError):
            read_mavlink(HEARD["mavlink"], KEY)

    def test_a_flipped_bit_is_refused(self):
        frame = bytearray(next(d for d in HEARD["mavlink"] if len(d) > 100))
        frame[50] ^= 1
        with self.assertRaises(mavlink.MAVError):
            read_mavlink([bytes(frame)])


class MavlinkKnown(unittest.TestCase):
    """Frames that `cargo test mavlink_golden` made: a person 4 m ahead, 1 m to the right and
    0.2 m below a camera at 47 N 8 E, 400 m, that looks east and, on its vehicle, 30 degrees
    down."""

    def setUp(self):
        data = (ROOT / "tests/data/mavlink/known.bin").read_bytes()
        messages = read_mavlink([data])
        self.found = {m.get_type(): m for m in messages if m.get_type() != "TUNNEL"}
        self.tunnels = [m for m in messages if m.get_type() == "TUNNEL"]

    def test_follow_target_is_on_the_earth_where_the_person_is(self):
        follow = self.found["FOLLOW_TARGET"]
        degree = math.radians(1) * 6_371_000
        self.assertAlmostEqual((follow.lat * 1e-7 - 47) * degree, -1.0, delta=0.03)
        east = (follow.lon * 1e-7 - 8) * degree * math.cos(math.radians(47))
        self.assertAlmostEqual(east, 4.0, delta=0.03)
        self.assertAlmostEqual(follow.alt, 399.8, places=3)
        self.assertEqual(follow.est_capabilities, 1)
        self.assertEqual(follow.timestamp, 1000)

    def test_landing_target_is_in_the_vehicles_frame(self):
        target = self.found["LANDING_TARGET"]
        self.assertEqual((target.frame, target.position_valid, target.target_num), (12, 1, 1))
        self.assertAlmostEqual(target.angle_x, math.atan2(1, 4), places=6)
        self.assertAlmostEqual(target.angle_y, math.atan2(0.2, 4), places=6)
        self.assertAlmostEqual(target.distance, math.sqrt(16 + 1 + 0.04), places=5)
        # 30 degrees down: ahead becomes ahead and down, down becomes down and back.
        cos, sin = math.cos(math.radians(30)), math.sin(math.radians(30))
        self.assertAlmostEqual(target.x, 4 * cos - 0.2 * sin, places=5)
        self.assertAlmostEqual(target.y, 1, places=5)
        self.assertAlmostEqual(target.z, 4 * sin + 0.2 * cos, places=5)

    def test_obstacle_distance_is_known_only_where_the_person_stands(self):
        obstacle = self.found["OBSTACLE_DISTANCE"]
        self.assertEqual((obstacle.increment, obstacle.frame), (5, 12))
        ahead = 4 * math.cos(math.radians(30)) - 0.2 * math.sin(math.radians(30))
        away = math.hypot(ahead, 1)
        middle, half = math.degrees(math.atan2(1, ahead)), math.degrees(math.asin(0.3 / away))
        for n, distance in enumerate(obstacle.distances):
            inside = abs(5 * n - middle) <= half
            near_edge = abs(abs(5 * n - middle) - half) <= 2.5
            if inside and not near_edge:
                self.assertAlmostEqual(distance, 100 * (away - 0.3), delta=1)
            elif not inside and not near_edge:
                self.assertEqual(distance, 65535, n)

    def test_the_root_comes_in_a_tunnel_of_its_own(self):
        root = [m for m in self.tunnels if m.payload_type == 43501]
        self.assertEqual(len(root), 1)
        self.assertEqual(root[0].payload_length, 21)
        x, y, z = struct.unpack_from("<3i", bytes(root[0].payload), 9)
        self.assertEqual((x, y, z), (1000, 200, 4000))
        self.assertTrue(root[0].payload[0] & 8, "and its header says that it has one")


def turn(q, v):
    """v, turned by the quaternion (x, y, z, w): Unity's left-handed turns have the same formula."""
    x, y, z, w = q
    t = [2 * (y * v[2] - z * v[1]), 2 * (z * v[0] - x * v[2]), 2 * (x * v[1] - y * v[0])]
    return [v[0] + w * t[0] + y * t[2] - z * t[1],
            v[1] + w * t[1] + z * t[0] - x * t[2],
            v[2] + w * t[2] + x * t[1] - y * t[0]]


def times(a, b):
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz)


def direction(a, b):
    d = [q - p for p, q in zip(a, b)]
    n = math.sqrt(sum(v * v for v in d))
    return [v / n for v in d]


UP, DOWN, LEFT, RIGHT = (0, 1, 0), (0, -1, 0), (-1, 0, 0), (1, 0, 0)
# Bone: what it hangs from, its joints, its direction in Unity's T-pose.
SKELETON = {
    "Hips": (None, "right_hip", "left_hip", LEFT),
    "Spine": ("Hips", "pelvis", "spine", UP),
    "Chest": ("Spine", "spine", "thorax", UP),
    "Neck": ("Chest", "thorax", "neck", UP),
    "Head": ("Neck", "neck", "head", UP),
    "LeftShoulder": ("Chest", "thorax", "left_shoulder", LEFT),
    "LeftUpperArm": ("LeftShoulder", "left_shoulder", "left_elbow", LEFT),
    "LeftLowerArm": ("LeftUpperArm", "left_elbow", "left_wrist", LEFT),
    "RightShoulder": ("Chest", "thorax", "right_shoulder", RIGHT),
    "RightUpperArm": ("RightShoulder", "right_shoulder", "right_elbow", RIGHT),
    "RightLowerArm": ("RightUpperArm", "right_elbow", "right_wrist", RIGHT),
    "LeftUpperLeg": ("Hips", "left_hip", "left_knee", DOWN),
    "LeftLowerLeg": ("LeftUpperLeg", "left_knee", "left_ankle", DOWN),
    "RightUpperLeg": ("Hips", "right_hip", "right_knee", DOWN),
    "RightLowerLeg": ("RightUpperLeg", "right_knee", "right_ankle", DOWN),
}


class Vmc(unittest.TestCase):
    def bundles(self):
        for datagram in HEARD["vmc"]:
            self.assertLessEqual(len(datagram), 1472)
            bundle = OscBundle(datagram)
            yield [bundle.content(n) for n in range(bundle.num_contents)]

    def bones(self, messages):
        return {m.params[0]: m.params[1:] for m in messages if m.address == "/VMC/Ext/Bone/Pos"}

    def test_rotations_applied_to_the_t_pose_give_the_joints_directions(self):
        # Unity: x to the right, y up, z forward of somebody who looks into the level camera.
        # The joints are OSC's: JSON has four decimals only.
        poses = []
        for datagram in HEARD["osc"]:
            bundle = OscBundle(datagram)
            content = {m.address.split("/")[-1]: m.params
                       for m in (bundle.content(n) for n in range(bundle.num_contents))}
            if "track" in content:
                poses.append({name: [-v for v in content[name][:3]] for name in JOINTS})
        wanted = [{bone: direction(pose[a], pose[b]) for bone, (_, a, b, _) in SKELETON.items()}
                  for pose in poses]
        checked, worst = 0, 0.0
        for messages in self.bundles():
            bones = self.bones(messages)
            if not bones:
                continue
            self.assertEqual(set(bones), set(SKELETON))
            world, got = {}, {}
            for bone, (parent, _, _, rest) in SKELETON.items():
                q = tuple(bones[bone][3:7])
                self.assertAlmostEqual(sum(v * v for v in q), 1, places=5)
                world[bone] = times(world[parent], q) if parent else q
                got[bone] = turn(world[bone], rest)
            # VMC has no frame number: it is the pose that fits.
            errors = [max(math.dist(got[bone], pose[bone]) for bone in got) for pose in wanted]
            worst = max(worst, min(errors))
            checked += 1
        self.assertGreater(checked, 20)
        self.assertLessEqual(worst, 1e-4)
        print(f"VMC: {checked} poses, largest direction error {worst:.2e}")

    def test_each_bundle_says_whether_somebody_is_tracked_and_stands_on_the_floor(self):
        last = -1.0
        tracked = 0
        for messages in self.bundles():
            self.assertEqual(messages[0].address, "/VMC/Ext/OK")
            self.assertEqual(messages[1].address, "/VMC/Ext/T")
            self.assertGreater(messages[1].params[0], last)
            last = messages[1].params[0]
            bones = self.bones(messages)
            self.assertEqual(messages[0].params, [1, 3, 0, 1 if bones else 0])
            if not bones:
                continue
            tracked += 1
            root = messages[2]
            self.assertEqual(root.address, "/VMC/Ext/Root/Pos")
            self.assertEqual(root.params, ["root", 0, 0, 0, 0, 0, 0, 1])
            height = bones["Hips"][1]
            self.assertTrue(0.3 < height < 1.0, height)
        self.assertGreater(tracked, 20)


class Osc(unittest.TestCase):
    def test_joints_are_those_of_the_json(self):
        expected = {(p["track"], p["describes_us"]): p for _, p in json_poses()}
        checked = frames = 0
        for datagram in HEARD["osc"]:
            self.assertLessEqual(len(datagram), 1472)
            bundle = OscBundle(datagram)
            content = {m.address: m.params for m in (bundle.content(n) for n in range(bundle.num_contents))}
            frames += "/posewire/frame" in content
            place = next((a.split("/")[3] for a in content if a.endswith("/track")), None)
            if place is None:
                continue
            track, predicted, _, describes = content[f"/posewire/person/{place}/track"]
            person = expected.get((track, describes))
            if person is None:
                continue
            self.assertEqual(bool(predicted), person["predicted"])
            for name in JOINTS:
                got = content[f"/posewire/person/{place}/{name}"]
                self.assertEqual(len(got), 4)
                # JSON has a tenth of a millimetre, or a millimetre if there was no room for more.
                self.assertTrue(close(got[:3], person["joints"][name][:3], 6e-4), name)
            checked += 1
        self.assertGreater(checked, 20)
        self.assertGreaterEqual(frames, checked)

    def test_the_status_is_told(self):
        last = OscBundle(HEARD["osc"][-1]).content(0)
        self.assertEqual((last.address, last.params[0]), ("/posewire/status", "stopping"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    POSEWIRE = sys.argv.pop(1)
    HEARD.update(listen())
    print({name: len(datagrams) for name, datagrams in HEARD.items()})
    unittest.main()
