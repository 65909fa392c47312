"""Messages behind the header of 40 bytes: poses and status (``docs/wire.md``)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple, Union

MAGIC = b"PWIR"
MAJOR = 1

SKELETONS: Dict[int, Tuple[str, Tuple[str, ...]]] = {
    1: ("coco17", (
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder",
        "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
        "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle")),
    2: ("h36m17", (
        "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee",
        "left_ankle", "spine", "thorax", "neck", "head", "left_shoulder", "left_elbow",
        "left_wrist", "right_shoulder", "right_elbow", "right_wrist")),
}
CLOCKS = ("unknown", "free", "ntp", "ptp")
ENGINES = ("unknown", "tract", "tensorrt")
PRECISIONS = ("unknown", "f32", "f16", "i8")
STATES = ("starting", "running", "degraded", "failed", "stopping")
SEVERITIES = ("skip", "restart", "fatal")


class WireError(ValueError):
    """Bytes that are not a message. ``name`` is stable; drop the datagram and count it by that."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


@dataclass(frozen=True)
class Header:
    """Who sent a datagram, when, and which in the row it is."""

    session: int
    packet: int
    sent_us: int
    realtime_offset_us: int
    clock: str


@dataclass(frozen=True)
class Point3:
    """Metres in the camera's axes (x right, y down, z forward), relative to the pelvis."""

    x: float
    y: float
    z: float
    confidence: Optional[float]


@dataclass(frozen=True)
class Point2:
    """Pixels: x right, y down, the centre of the top-left pixel is (0, 0)."""

    x: float
    y: float
    confidence: Optional[float]


@dataclass(frozen=True)
class Person:
    """One person. ``describes_us`` is the moment that the pose shows."""

    track: int
    describes_us: int
    lookahead_us: int
    predicted: bool
    revision: bool
    withheld: bool
    score: Optional[float]
    plausibility: Optional[float]
    root: Optional[Tuple[float, ...]]
    root_covariance: Optional[Tuple[float, ...]]
    joints: Optional[Dict[str, Point3]]
    keypoints: Optional[Dict[str, Point2]]


@dataclass(frozen=True)
class Pose:
    """The persons of a frame, or some of them where ``parts`` is more than 1."""

    camera: int
    sequence: int
    part: int
    parts: int
    media_time: bool
    degraded: bool
    captured_us: int
    dequeued_us: int
    decoded_us: Optional[int]
    detected_us: Optional[int]
    lifted_us: Optional[int]
    image_size: Tuple[int, int]
    engine: str
    precision: str
    model: int
    skeleton: str
    persons_in_frame: int
    persons: List[Person]


@dataclass(frozen=True)
class Fault:
    """Something that is wrong at the sender."""

    name: str
    severity: str
    camera: Optional[int]
    since_us: int
    count: int
    detail: str


@dataclass(frozen=True)
class Status:
    """How the sender is."""

    state: str
    interval_ms: int
    uptime_s: int
    fps_in: float
    fps_out: float
    frames_in: int
    frames_out: int
    frames_displaced: int
    frames_missed: int
    frames_bad: int
    temperature_celsius: Optional[float]
    faults: List[Fault]


@dataclass(frozen=True)
class Unknown:
    """A message type that this version does not know. Its header counts."""

    kind: int


Message = Union[Pose, Status, Unknown]


@dataclass(frozen=True)
class Datagram:
    """One datagram's content."""

    header: Header
    message: Message


def _crc_table() -> Tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli)."""
    crc = 0xFFFFFFFF
    table = _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


class _Reader:
    """Takes fields from the front of some bytes."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data, self.what = data, what

    def take(self, size: int) -> bytes:
        if size > len(self.data):
            raise WireError("too-short", f"the {self.what} is shorter than its fields")
        field, self.data = self.data[:size], self.data[size:]
        return field

    def fields(self, form: str) -> Tuple[int, ...]:
        form = "<" + form
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def floats(self, count: int) -> Tuple[float, ...]:
        values = struct.unpack(f"<{count}f", self.take(4 * count))
        if not all(map(math.isfinite, values)):
            raise WireError("not-finite", f"the {self.what} holds a number that is not finite")
        return values

    def block(self, what: str) -> _Reader:
        """The next block, from behind its length on; what is not known at its end goes with it."""
        size = int.from_bytes(self.data[:2], "little")
        if size < 2 or size > len(self.data):
            raise WireError("too-short", f"the {what} is shorter than its fields")
        return _Reader(self.take(size)[2:], what)


def _share(byte: int) -> Optional[float]:
    return None if byte == 255 else byte / 254


def _named(names: Tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else names[0]


def decode(data: bytes) -> Datagram:
    """Reads one datagram; raises :class:`WireError`."""
    if not data or data[:4] != MAGIC[: len(data)]:
        raise WireError("not-posewire", "it does not begin with PWIR")
    if len(data) > 4 and data[4] != MAJOR:
        raise WireError("version", f"wire format {data[4]} is not {MAJOR}")
    if len(data) < 44:
        raise WireError("truncated", f"cut short: {len(data)} bytes")
    _major, _minor, kind, header_size, size, clock = struct.unpack_from("<BBBBHB", data, 4)
    if len(data) < size:
        raise WireError("truncated", f"cut short: {len(data)} bytes of {size}")
    if size < 4:
        raise WireError("too-short", "the message is shorter than its fields")
    end = size - 4
    if crc32c(data[:end]) != int.from_bytes(data[end:size], "little"):
        raise WireError("crc", "damaged: its CRC-32C is wrong")
    if header_size < 40 or header_size > end:
        raise WireError("too-short", "the header is shorter than its fields")
    packet, session, sent, offset = struct.unpack_from("<IQqq", data, 12)
    header = Header(session, packet, sent, offset, _named(CLOCKS, clock))
    body = _Reader(data[header_size:end], "message")
    message: Message
    if kind == 1:
        message = _pose(body)
    elif kind == 2:
        message = _status(body)
    else:
        message = Unknown(kind)
    return Datagram(header, message)


def _pose(body: _Reader) -> Pose:
    r = body.block("frame block")
    flags, camera, skeleton, joints, flat, points = r.fields("HBBBBB")
    if skeleton not in SKELETONS or joints != 17:
        raise WireError("unknown-skeleton", f"skeleton {skeleton} with {joints} joints")
    if flat != 1 or points != 17:
        raise WireError("unknown-skeleton", f"2D skeleton {flat} with {points} keypoints")
    part, parts, here, total, engine, precision, _, model = r.fields("BBBBBBBI")
    if part >= parts:
        raise WireError("bad-value", "part number has a value that is not allowed")
    if here > 16 or here > total:
        raise WireError("bad-value", "number of persons has a value that is not allowed")
    width, height, sequence, captured, dequeued, *stages = r.fields("HHQqqIII")
    decoded, detected, lifted = (None if s == 0xFFFFFFFF else s for s in stages)
    name, joint_names = SKELETONS[skeleton]
    persons = [_person(body.block("person block"), joint_names) for _ in range(here)]
    return Pose(
        camera, sequence, part, parts, bool(flags & 1), bool(flags & 2), captured, dequeued,
        decoded, detected, lifted, (width, height), _named(ENGINES, engine),
        _named(PRECISIONS, precision), model, name, total, persons)


def _person(r: _Reader, names: Tuple[str, ...]) -> Person:
    flags, track, describes, lookahead, score, plausibility, _ = r.fields("HIqIBBH")
    root = r.floats(3) if flags & 1 else None
    covariance = r.floats(6) if flags & 2 else None
    joints = keypoints = None
    if flags & 4:
        xyz = r.floats(3 * 17)
        shares = [_share(b) for b in r.take(17)]
        joints = {
            n: Point3(xyz[3 * i], xyz[3 * i + 1], xyz[3 * i + 2], shares[i])
            for i, n in enumerate(names)
        }
    if flags & 8:
        xy = r.floats(2 * 17)
        shares = [_share(b) for b in r.take(17)]
        flat = SKELETONS[1][1]
        keypoints = {
            n: Point2(xy[2 * i], xy[2 * i + 1], shares[i]) for i, n in enumerate(flat)
        }
    return Person(
        track, describes, lookahead, bool(flags & 0x100), bool(flags & 0x200),
        bool(flags & 0x400), _share(score), _share(plausibility), root, covariance, joints,
        keypoints)


def _status(body: _Reader) -> Status:
    r = body.block("status block")
    state, count, *numbers, temperature, _ = r.fields("BBIIIIQQQQQhH")
    if state >= len(STATES):
        raise WireError("bad-value", "state has a value that is not allowed")
    if count > 6:
        raise WireError("bad-value", "number of faults has a value that is not allowed")
    faults = [_fault(body.block("fault block")) for _ in range(count)]
    interval, uptime, fps_in, fps_out, f_in, f_out, displaced, missed, bad = numbers
    celsius = None if temperature == -32768 else temperature / 10
    return Status(
        STATES[state], interval, uptime, fps_in / 1e3, fps_out / 1e3, f_in, f_out, displaced,
        missed, bad, celsius, faults)


def _fault(r: _Reader) -> Fault:
    severity, camera, since, count, name_size, detail_size = r.fields("BBqIBB")
    if severity >= len(SEVERITIES):
        raise WireError("bad-value", "fault severity has a value that is not allowed")
    name, detail = r.take(name_size), r.take(detail_size)
    try:
        if len(name) > 32 or len(detail) > 160:
            raise ValueError
        texts = name.decode("utf-8"), detail.decode("utf-8")
    except ValueError:
        raise WireError("bad-value", "text of a fault has a value that is not allowed") from None
    known = None if camera == 255 else camera
    return Fault(texts[0], SEVERITIES[severity], known, since, count, texts[1])
