"""Reads the messages of posewire (``docs/wire.md``, version 1). Standard library only.

    from posewire_client import Pose, listen

    for datagram, sender in listen("127.0.0.1", 7777):
        if isinstance(datagram.message, Pose):
            for person in datagram.message.persons:
                print(person.track, person.root, person.joints and person.joints["head"])

A serial line or a pseudo terminal (``docs/serial.md``):

    from posewire_client import Short, read_serial

    for packet in read_serial("/dev/ttyUSB0", 115200):
        if isinstance(packet, Short) and packet.message.person:
            print(packet.message.person.joints)

``python -m posewire_client 127.0.0.1 7777`` and ``python -m posewire_client /dev/ttyUSB0 115200``
print JSON lines.
"""

from .auth import AuthError, Verifier, read_key
from .compact import CompactPerson, CompactPose, Short, decode_packet, decode_short
from .line import FrameReader, LineError, read_serial
from .receive import listen
from .wire import (
    Datagram, Fault, Header, Person, Point2, Point3, Pose, Status, Unknown, WireError, crc32c,
    decode,
)

__all__ = [
    "AuthError", "CompactPerson", "CompactPose", "Datagram", "Fault", "FrameReader", "Header",
    "LineError", "Person", "Point2", "Point3", "Pose", "Short", "Status", "Unknown", "Verifier",
    "WireError", "crc32c", "decode", "decode_packet", "decode_short", "listen", "read_key",
    "read_serial",
]
