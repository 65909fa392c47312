#!/usr/bin/env python3
"""run.py [BINARY] [--table FILE] [ROW...]: everything that can go wrong, and what is seen when it does.

One row for each fault: what is done to a real posewire, what is expected, what was seen. Exit code
0 only if every row is as expected. Rows that need root say so and are skipped without. Faults that
need a kernel of one's own (its cameras, its clock) are rows of tests/systemd/guest.sh. --table writes
the table as Markdown, too.
"""

import os
import pathlib
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parent))
if len(sys.argv) > 1:
    os.environ["POSEWIRE"] = sys.argv[1]

import rows  # noqa: E402, F401: its rows
import machine  # noqa: E402, F401, I001: its rows, after those
from sensor import Unexpected  # noqa: E402
from table import ROWS, Skip  # noqa: E402


def main() -> int:
    wanted = sys.argv[2:]
    table = None
    if wanted[:1] == ["--table"]:
        table, wanted = pathlib.Path(wanted[1]), wanted[2:]
    lines = ["| fault | expected | seen |", "|---|---|---|"]
    good = bad = skipped = 0
    # A misspelt row would pass by not being run.
    for w in wanted:
        if not any(w in name or w == function.__name__ for name, _, function in ROWS):
            sys.exit(f"no row is called {w!r}")
    print(f"{'':4} {'fault':48} {'s':>4}  expected -> seen")
    for name, expected, function in ROWS:
        if wanted and not any(w in name or w == function.__name__ for w in wanted):
            continue
        begin = time.monotonic()
        try:
            word, seen = "ok", function()
            good += 1
        except Skip as e:
            word, seen = "skip", str(e)
            skipped += 1
        except Unexpected as e:
            word, seen = "FAIL", str(e)
            bad += 1
        except Exception:  # noqa: BLE001
            word, seen = "FAIL", traceback.format_exc()
            bad += 1
        seconds = time.monotonic() - begin
        lines.append(f"| {name} | {expected} | {'' if word == 'ok' else word + ': '}{seen.replace('|', '/')} |")
        print(f"{word:4} {name:48} {seconds:4.0f}  {expected} -> {seen}", flush=True)
    print(f"{good} of {good + bad + skipped} rows as expected: {good} passed, {bad} failed, {skipped} skipped")
    if table:
        table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
