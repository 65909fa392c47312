"""Fifty viewers that read slowly or not at all: what do they cost the pipeline?

    page_load.py POSEWIRE [--seconds 15] [--blocks 4] [--viewers 50]

Blocks without viewers and blocks with them take turns within one run, so that the machine's other work meets both. Printed are
percentiles of the time from capture to packet, as a UDP listener sees it, and the ratio of the 99th; memory must stay bounded,
every viewer that reads must get the newest, and /metrics must be what Prometheus's own parser accepts. The ratio decides nothing
here: a busy machine may spoil it.
"""

import argparse
import json
import math
import re
import socket
import struct
import subprocess
import threading
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def percentile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]


class Listener(threading.Thread):
    """Time from capture to packet of each datagram with poses (docs/wire.md), milliseconds."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.took = []

    def run(self):
        while True:
            data = self.socket.recv(2048)
            if data[:4] != b"PWIR" or data[6] != 1:
                continue
            sent = struct.unpack_from("<q", data, 24)[0]
            captured = struct.unpack_from("<q", data, data[7] + 32)[0]
            self.took.append((sent - captured) / 1e3)


def viewer(address, kind):
    """A connection that follows events: 0 reads a little now and then, 1 reads nothing, 2 reads all."""
    host, port = re.match(r"http://([^:]+):(\d+)/", address).groups()
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((host, int(port)))
    connection.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return kind, connection


def memory(address):
    text = urllib.request.urlopen(address + "metrics").read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name in ("posewire_frames_in", "posewire_stage_duration_seconds", "posewire_state", "posewire_viewers"):
        assert name in families, f"{name} is not in /metrics"
    stages = families["posewire_stage_duration_seconds"]
    assert stages.type == "histogram" and any(s.labels.get("le") == "+Inf" for s in stages.samples)
    return families["process_resident_memory_bytes"].samples[0].value / 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("posewire")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--viewers", type=int, default=50)
    args = parser.parse_args()
    listener = Listener()
    listener.start()
    total = 2 * args.blocks * (args.seconds + 1) + 5
    program = subprocess.Popen(
        [args.posewire, "demo", "--seconds", str(total), "--view", "127.0.0.1:0", "--publish", f"udp://127.0.0.1:{listener.port}"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )
    address = next(m[1] for line in program.stderr if (m := re.search(r"live page: (http://\S+)", line)))
    threading.Thread(target=lambda: [None for _ in program.stderr], daemon=True).start()
    time.sleep(2)
    before = memory(address)
    took = {"without": [], "with": []}
    largest = before
    for block in range(2 * args.blocks):
        crowd = [viewer(address, i % 3) for i in range(args.viewers)] if block % 2 else []
        time.sleep(1)
        listener.took.clear()
        end, received = time.monotonic() + args.seconds, 0
        while time.monotonic() < end:
            for kind, connection in crowd:
                connection.setblocking(False)
                try:
                    received += len(connection.recv(200 if kind == 0 else 1 << 20)) if kind != 1 else 0
                except BlockingIOError:
                    pass
            time.sleep(0.02)
        took["with" if crowd else "without"] += listener.took
        largest = max(largest, memory(address))
        if crowd:
            assert received > 10_000, f"the viewers got {received} bytes"
        for _, connection in crowd:
            connection.close()
    program.terminate()
    assert program.wait(timeout=20) == 0
    assert largest < before + 100, f"memory grew from {before:.0f} to {largest:.0f} MB"
    for name, values in took.items():
        assert len(values) > 20 * args.blocks, f"{len(values)} packets in the blocks {name} viewers"
        p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
        print(f"{name} viewers: {len(values)} packets, capture to packet p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    ratio = percentile(took["with"], 0.99) / percentile(took["without"], 0.99)
    print(json.dumps({"viewers": args.viewers, "p99_ratio": round(ratio, 3), "memory_mb": [round(before), round(largest)]}))


if __name__ == "__main__":
    main()
