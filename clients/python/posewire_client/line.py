"""Messages on a line of bytes: COBS frames (``docs/wire.md``, "On a line")."""

from __future__ import annotations

import os
import select
from typing import Iterator, List, Union

from .compact import Packet, decode_packet
from .wire import WireError

# The longest message with the longest trailer.
MAX_FRAME = 1_452


class LineError(ValueError):
    """Bytes between two zeros that are no frame. ``name`` is stable."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


class FrameReader:
    """Takes frames out of a stream that comes in pieces of any size.

        for found in reader.feed(os.read(fd, 4096)):
            ...  # bytes of a frame, or a LineError
    """

    def __init__(self) -> None:
        self._raw = bytearray()
        self._lost = False

    def feed(self, data: bytes) -> Iterator[Union[bytes, LineError]]:
        """The frames that end in ``data``, and what is wrong, in order."""
        for byte in data:
            if byte == 0:
                raw, lost = bytes(self._raw), self._lost
                self._raw.clear()
                self._lost = False
                if raw and not lost:
                    yield _unstuff(raw)
            elif not self._lost:
                self._raw.append(byte)
                # Stuffing adds one byte in 254.
                if len(self._raw) > MAX_FRAME + MAX_FRAME // 254 + 1:
                    self._lost = True
                    yield LineError("overlong-frame", "no end of frame: another baud rate?")


def _unstuff(raw: bytes) -> Union[bytes, LineError]:
    out = bytearray()
    at = 0
    while at < len(raw):
        count = raw[at]
        group = raw[at + 1:at + count]
        if len(group) < count - 1:
            return LineError("torn-frame", "a frame was cut short on the line")
        out += group
        at += count
        if count != 255 and at < len(raw):
            out.append(0)
    if len(out) > MAX_FRAME:
        return LineError("overlong-frame", "longer than any message: another protocol?")
    return bytes(out)


def frame(message: bytes) -> bytes:
    """The frame of a message: the opposite of :class:`FrameReader`."""
    out = bytearray()
    group: List[int] = []
    for byte in message:
        if byte:
            group.append(byte)
        if not byte or len(group) == 254:
            out.append(len(group) + 1)
            out += bytes(group)
            group.clear()
    out.append(len(group) + 1)
    out += bytes(group)
    out.append(0)
    return bytes(out)


def read_serial(path: str, baud: int = 115_200) -> Iterator[Packet]:
    """Reads a serial device or a pseudo terminal for ever; what is damaged is skipped. Ends when
    the device goes away: call it again to wait for it."""
    import termios

    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise ValueError(f"{baud} baud: not a rate that termios knows")
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        # Raw, 8N1, no flow control, no modem lines.
        cc = termios.tcgetattr(fd)[6]
        control = termios.CS8 | termios.CREAD | termios.CLOCAL
        termios.tcsetattr(fd, termios.TCSANOW, [0, 0, control, 0, speed, speed, cc])
        reader = FrameReader()
        while True:
            select.select([fd], [], [])
            try:
                data = os.read(fd, 4_096)
            except BlockingIOError:
                continue
            except OSError:
                return
            if not data:
                return
            for found in reader.feed(data):
                if isinstance(found, bytes):
                    try:
                        yield decode_packet(found)
                    except WireError:
                        continue
    finally:
        os.close(fd)
