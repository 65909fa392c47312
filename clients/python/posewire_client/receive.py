"""Receiving datagrams."""

from __future__ import annotations

import socket
from typing import Iterator, Optional, Tuple

from .auth import AuthError, Verifier
from .wire import Datagram, WireError, decode


def listen(
    host: str, port: int, interface: str = "0.0.0.0", key: Optional[bytes] = None
) -> Iterator[Tuple[Datagram, Tuple[str, int]]]:
    """Receives for ever; datagrams that are no messages are skipped, and with a ``key`` those
    that are not signed with it, or were heard before.

    ``host`` is an address of this machine, or an IPv4 multicast group, which is then joined on
    the network where this machine has the address ``interface``.
    """
    verifier = None if key is None else Verifier(key)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        if family == socket.AF_INET and 224 <= int(socket.inet_aton(host)[0]) < 240:
            receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            group = socket.inet_aton(host) + socket.inet_aton(interface)
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        receiver.bind((host, port))
        while True:
            data, sender = receiver.recvfrom(65_536)
            try:
                datagram = decode(data)
                if verifier is not None:
                    verifier.check(data)
            except (WireError, AuthError):
                continue
            yield datagram, sender[:2]
