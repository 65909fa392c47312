"""Signed datagrams: HMAC-SHA-256 with a shared key (``docs/wire.md``, "Signatures")."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from typing import Dict, Optional, Set, Tuple

from .wire import Header, decode

WINDOW = 1_024
_SESSIONS = 64
_TRAILER = 20


class AuthError(ValueError):
    """A datagram that is not to be trusted. ``name`` is stable."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


def read_key(path: str) -> bytes:
    """Reads a key file: one line of hexadecimal digits, which its owner alone may read."""
    with open(path, "r", encoding="ascii") as file:
        mode = os.fstat(file.fileno()).st_mode
        if stat.S_IMODE(mode) & 0o077:
            raise PermissionError(f"{path} may be read by others: chmod 600 {path}")
        key = bytes.fromhex(file.read(4_096).strip())
    if len(key) < 32:
        raise ValueError(f"the key in {path} has {len(key)} bytes: at least 32 are needed")
    return key


class Verifier:
    """Checks signatures, and that nothing is played again."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._id = hashlib.sha256(b"posewire key id" + key).digest()[:3]
        # session -> (newest packet number, those of the window that came)
        self._sessions: Dict[int, Tuple[int, Set[int]]] = {}
        self._latest_us: Optional[int] = None

    def check(self, data: bytes) -> None:
        """Raises :class:`AuthError` unless the datagram is signed and new. Raises
        :class:`WireError` if it is no message."""
        header = decode(data).header
        size = int.from_bytes(data[8:10], "little")
        trailer = data[size:size + _TRAILER]
        if len(trailer) < _TRAILER or trailer[0] != 1:
            raise AuthError("unsigned", "it is not signed")
        if trailer[1:4] != self._id:
            raise AuthError("other-key", "it was signed with another key")
        tag = hmac.new(self._key, data[:size + 4], hashlib.sha256).digest()[:16]
        if not hmac.compare_digest(tag, trailer[4:]):
            raise AuthError("forged", "its signature is wrong")
        self._admit(header)

    def _admit(self, header: Header) -> None:
        sent = header.sent_us + header.realtime_offset_us
        known = self._sessions.get(header.session)
        if known is None:
            if self._latest_us is not None and sent <= self._latest_us:
                raise AuthError("old-session", "its session is older than one that was heard")
            if len(self._sessions) == _SESSIONS:
                self._sessions.pop(next(iter(self._sessions)))
            self._sessions[header.session] = (header.packet, {header.packet})
        else:
            newest, seen = known
            step = (header.packet - newest + (1 << 31)) % (1 << 32) - (1 << 31)
            number = newest + step
            if number in seen or step <= -WINDOW:
                raise AuthError("replayed", "it is a repetition of an earlier one")
            newest = max(newest, number)
            seen.add(number)
            if len(seen) > 2 * WINDOW:
                seen = {n for n in seen if n > newest - WINDOW}
            self._sessions[header.session] = (newest, seen)
        self._latest_us = sent if self._latest_us is None else max(self._latest_us, sent)
