"""Messages behind the header of 6 bytes: one person in millimetres."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Tuple, Union

from .wire import MAJOR, SKELETONS, Datagram, Point3, Unknown, WireError, _Reader, crc32c, decode
from .wire import _share

SHORT_MAGIC = 0x70
_LEAST = 10


@dataclass(frozen=True)
class CompactPerson:
    """One person. ``track`` and ``describes_us`` are the lower 16 and 32 bits of the full ones.
    Lengths are in metres."""

    track: int
    describes_us: int
    predicted: bool
    revision: bool
    withheld: bool
    score: Optional[float]
    plausibility: Optional[float]
    root: Optional[Tuple[float, float, float]]
    joints: Optional[Dict[str, Point3]]


@dataclass(frozen=True)
class CompactPose:
    """One person of a frame, or that nobody is in it. ``sequence`` is its lower 16 bits."""

    camera: int
    sequence: int
    media_time: bool
    degraded: bool
    age_us: Optional[int]
    lookahead_us: int
    skeleton: str
    persons_in_frame: int
    person_index: int
    root_deviation: Optional[float]
    person: Optional[CompactPerson]


@dataclass(frozen=True)
class Short:
    """A message with a short header: the lowest byte of the session, the lower 16 bits of the
    packet count."""

    session: int
    packet: int
    message: Union[CompactPose, Unknown]


Packet = Union[Datagram, Short]


def decode_packet(data: bytes) -> Packet:
    """Reads one message with either header; raises :class:`WireError`."""
    return decode_short(data) if data[:1] == b"p" else decode(data)


def decode_short(data: bytes) -> Short:
    """Reads one message with a short header; raises :class:`WireError`."""
    if data[:1] != b"p":
        raise WireError("not-posewire", "it does not begin with p")
    if len(data) > 1 and data[1] >> 4 != MAJOR:
        raise WireError("version", f"wire format {data[1] >> 4} is not {MAJOR}")
    if len(data) < _LEAST:
        raise WireError("truncated", f"cut short: {len(data)} bytes")
    kind, size, session = data[1] & 15, data[2], data[3]
    if len(data) < size:
        raise WireError("truncated", f"cut short: {len(data)} bytes of {size}")
    if size < 4:
        raise WireError("too-short", "the message is shorter than its fields")
    end = size - 4
    if crc32c(data[:end]) != int.from_bytes(data[end:size], "little"):
        raise WireError("crc", "damaged: its CRC-32C is wrong")
    r = _Reader(data[:end], "message")
    r.take(4)
    (packet,) = r.fields("H")
    return Short(session, packet, _pose(r) if kind == 3 else Unknown(kind))


def _pose(r: _Reader) -> CompactPose:
    camera, flags, persons, index, sequence, age, lookahead, deviation = r.fields("BBBBHHBB")
    if flags & 15 != 2:
        raise WireError("unknown-skeleton", f"skeleton {flags & 15} with 17 joints")
    if index >= max(persons, 1):
        raise WireError("bad-value", "number of persons has a value that is not allowed")
    return CompactPose(
        camera=camera,
        sequence=sequence,
        media_time=bool(flags & 16),
        degraded=bool(flags & 32),
        age_us=None if age == 0xFFFF else age * 100,
        lookahead_us=lookahead * 10_000,
        skeleton=SKELETONS[2][0],
        persons_in_frame=persons,
        person_index=index,
        root_deviation=None if deviation == 255 else deviation / 100,
        person=_person(r) if persons else None,
    )


def _person(r: _Reader) -> CompactPerson:
    flags, track, describes, score, plausibility = r.fields("BHIBB")
    root: Optional[Tuple[float, float, float]] = None
    joints = None
    if flags & 1:
        metres = [mm / 1000 for mm in r.fields("51h")]
        shares = [_share(b) for b in r.take(17)]
        if flags & 2:
            root = (metres[0], metres[1], metres[2])
        metres[:3] = [0.0, 0.0, 0.0]
        joints = {
            name: Point3(metres[3 * i], metres[3 * i + 1], metres[3 * i + 2], shares[i])
            for i, name in enumerate(SKELETONS[2][1])
        }
    return CompactPerson(
        track, describes, bool(flags & 4), bool(flags & 8), bool(flags & 16), _share(score),
        _share(plausibility), root, joints)
