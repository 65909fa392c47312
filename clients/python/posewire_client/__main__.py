"""Messages as JSON lines, until interrupted.

    python -m posewire_client HOST PORT [INTERFACE]     datagrams
    python -m posewire_client /dev/DEVICE [BAUD]        a serial line or a pseudo terminal

POSEWIRE_KEY_FILE in the environment: show only datagrams that are signed with that key.
"""

import json
import os
import sys
from typing import Iterator

from . import listen, read_key, read_serial
from .compact import Packet
from .json_lines import to_json


def _packets(arguments: "list[str]") -> Iterator[Packet]:
    if arguments[0].startswith("/"):
        yield from read_serial(arguments[0], *map(int, arguments[1:2]))
        return
    key_file = os.environ.get("POSEWIRE_KEY_FILE")
    key = read_key(key_file) if key_file else None
    interface = arguments[2] if len(arguments) > 2 else "0.0.0.0"
    for datagram, _ in listen(arguments[0], int(arguments[1]), interface, key):
        yield datagram


def main() -> int:
    arguments = sys.argv[1:]
    serial = bool(arguments) and arguments[0].startswith("/")
    if not (1 if serial else 2) <= len(arguments) <= (2 if serial else 3):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for packet in _packets(arguments):
            print(json.dumps(to_json(packet)), flush=True)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
