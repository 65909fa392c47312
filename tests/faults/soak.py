#!/usr/bin/env python3
"""soak.py BINARY [--minutes 30] [--rate 10]: does anything grow while posewire runs?

Runs the drawn figure through everything (detector, lifter, UDP, recording within limits) and
samples memory, descriptors, threads and latency every five seconds. After a warm-up of a tenth of
the time (a minute, if there are three) a line is fitted to each by least squares; the slope's 95 % confidence interval takes
account of the samples' autocorrelation (effective sample size, lag 1). A quantity drifts if its
whole interval lies above its limit and what it surely gained in this run is more than a sample's
grain: three minutes find a leak of 60 MiB an hour, half an hour one of 4. Latency is told and
decides nothing: it is the machine's load as well. Exit code 0 only if nothing drifts.
"""

import argparse
import math
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
parser = argparse.ArgumentParser()
parser.add_argument("binary")
parser.add_argument("--minutes", type=float, default=30)
parser.add_argument("--rate", type=float, default=10)
parser.add_argument("--every", type=float, default=5)
arguments = parser.parse_args()
os.environ["POSEWIRE"] = arguments.binary

from sensor import Sensor, receiver  # noqa: E402

# What may be gained in an hour; a limit above zero because a sample is not exact.
LIMITS = {"RSS, MiB/h": 4.0, "descriptors/h": 0.5, "threads/h": 0.5, "latency p50, ms/h": math.inf}
# A gain within the run that says nothing: pages of an allocator, a descriptor open in passing.
GRAIN = {"RSS, MiB/h": 2.0, "descriptors/h": 0.5, "threads/h": 0.5, "latency p50, ms/h": math.inf}


def slope(times: list[float], values: list[float]) -> tuple[float, float]:
    """Per hour: the slope, and half of its 95 % interval."""
    n = len(times)
    mean_t, mean_v = sum(times) / n, sum(values) / n
    sxx = sum((t - mean_t) ** 2 for t in times)
    b = sum((t - mean_t) * (v - mean_v) for t, v in zip(times, values)) / sxx
    rest = [v - mean_v - b * (t - mean_t) for t, v in zip(times, values)]
    variance = sum(r * r for r in rest) / max(n - 2, 1)
    # Neighbouring samples are alike: fewer of them count.
    total = sum(r * r for r in rest)
    alike = sum(a * b for a, b in zip(rest, rest[1:])) / total if total > 0 else 0.0
    alike = min(max(alike, 0.0), 0.95)
    effective = max(n * (1 - alike) / (1 + alike), 3.0)
    error = math.sqrt(variance / sxx * n / effective)
    return b * 3600, 1.96 * error * 3600


def memory_kib(pid: int) -> float:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1])
    raise SystemExit("no VmRSS")


def main() -> int:
    folder = tempfile.mkdtemp()
    r = receiver()
    r.setblocking(False)
    config = f"""
[source]
uri = "demo:"
rate = {arguments.rate}
realtime = true
[record]
file = "{folder}/soak.mcap"
segment_seconds = 60
max_bytes = 50000000
[[publish]]
uri = "udp://127.0.0.1:{r.getsockname()[1]}"
"""
    samples: dict[str, list[float]] = {name: [] for name in LIMITS}
    times: list[float] = []
    datagrams = 0
    with Sensor(config=config) as s:
        s.flows()
        pid = s.process.pid
        begin = time.monotonic()
        while (now := time.monotonic() - begin) < arguments.minutes * 60:
            status = s.ask()
            if status is None or s.process.poll() is not None:
                print(f"it ended or fell silent after {now:.0f} s: {s.log()[-500:]}")
                return 1
            p50 = [l["p50_ms"] for l in status["latency"] if l["stage"] == "capture-to-packet"]
            if p50:
                times.append(now)
                samples["RSS, MiB/h"].append(memory_kib(pid) / 1024)
                samples["descriptors/h"].append(len(os.listdir(f"/proc/{pid}/fd")))
                samples["threads/h"].append(len(os.listdir(f"/proc/{pid}/task")))
                samples["latency p50, ms/h"].append(p50[0])
            until = time.monotonic() + arguments.every
            while time.monotonic() < until:
                try:
                    r.recv(65536)
                    datagrams += 1
                except BlockingIOError:
                    time.sleep(0.01)
        final = s.ask()
    warm = max(arguments.minutes * 6, min(60, arguments.minutes * 20))
    skip = sum(t < warm for t in times)
    print(f"{arguments.minutes:g} min, {len(times) - skip} samples; {final['frames_in']} frames in, "
          f"{final['frames_out']} out, {final['frames_left_out']} left out, {datagrams} datagrams; {final['state']}")
    drifts = 0
    for name, values in samples.items():
        values, t = values[skip:], times[skip:]
        b, half = slope(t, values)
        sure = b - half
        drift = sure > LIMITS[name] and sure * (t[-1] - t[0]) / 3600 > GRAIN[name]
        drifts += drift
        print(f"{'DRIFT' if drift else 'ok':5} {name:20} {b:+9.3f} ± {half:.3f}  "
              f"(first {values[0]:.1f}, last {values[-1]:.1f}; limit {LIMITS[name]})")
    return 1 if drifts else 0


if __name__ == "__main__":
    sys.exit(main())
