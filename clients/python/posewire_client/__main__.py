"""``python -m posewire_client HOST PORT [INTERFACE]``: JSON lines until interrupted."""

import json
import sys

from . import listen
from .json_lines import to_json


def main() -> int:
    if len(sys.argv) not in (3, 4):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for datagram, _ in listen(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]):
            print(json.dumps(to_json(datagram)), flush=True)
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
