"""How every peer is run: flat out, and at the clip's pace; each in a process of its own.

A peer gives `start(threads)`, which returns a function that takes a BGR picture and a time in seconds and returns a pose, or None. What
is measured is what its user waits for: from the frame at hand (flat out) or due (paced) to the pose. Frames are read as raw I420 from a
file that the kernel has in memory and turned to BGR within the measured time, as every program has to.
"""

import argparse
import json
import os
import time


def process_age():
    """Seconds since this process began: the interpreter and all imports are in it."""
    with open("/proc/self/stat") as f:
        ticks = int(f.read().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def peak_mib():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) / 1024


class Clip:
    """A YUV4MPEG2 file, endlessly: I420 pictures by number."""

    def __init__(self, path):
        import cv2
        import numpy as np

        self.cv2, self.np = cv2, np
        self.file = open(path, "rb", buffering=0)
        header = self.file.readline()
        fields = {chr(f[0]): f[1:].decode() for f in header.split()[1:]}
        self.width, self.height = int(fields["W"]), int(fields["H"])
        num, den = map(int, fields["F"].split(":"))
        self.rate = num / den
        self.start, self.bytes = len(header), self.width * self.height * 3 // 2
        # Each frame begins with the line "FRAME".
        self.step = self.bytes + len(b"FRAME\n")
        self.frames = (os.fstat(self.file.fileno()).st_size - self.start) // self.step

    def picture(self, number):
        at = self.start + number % self.frames * self.step + len(b"FRAME\n")
        raw = self.np.frombuffer(os.pread(self.file.fileno(), self.bytes, at), self.np.uint8)
        return self.cv2.cvtColor(raw.reshape(self.height * 3 // 2, self.width), self.cv2.COLOR_YUV2BGR_I420)


def quantile(values, q):
    values = sorted(values)
    return values[min(len(values) - 1, max(0, -(-len(values) * int(q * 100) // 100) - 1))]


def flat_out(clip, step, seconds):
    took, poses, n = [], 0, 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        t = time.perf_counter()
        poses += step(clip.picture(n), n / clip.rate) is not None
        took.append(time.perf_counter() - t)
        n += 1
    return took, poses, n / (time.perf_counter() - begin)


def paced(clip, step, seconds, first):
    """Frames fall due at the clip's rate; the newest that is due is taken, older ones are dropped, as a camera's would be."""
    begin, last, latency, dropped = time.perf_counter(), -1, [], 0
    while (now := time.perf_counter() - begin) < seconds:
        number = int(now * clip.rate)
        if number == last:
            time.sleep(max(0.0, (number + 1) / clip.rate - now))
            continue
        dropped += number - last - 1
        last = number
        step(clip.picture(first + number), (first + number) / clip.rate)
        latency.append(time.perf_counter() - begin - number / clip.rate)
    # Those that fell due during the last one.
    return latency, dropped + max(0, int(seconds * clip.rate) - 1 - last)


def main(name, start):
    a = argparse.ArgumentParser(description=name)
    a.add_argument("clip")
    a.add_argument("--threads", type=int, default=1)
    a.add_argument("--seconds", type=float, default=10)
    a = a.parse_args()
    clip = Clip(a.clip)
    step = start(a.threads, clip)
    step(clip.picture(0), 0.0)
    first = process_age()
    # Caches, and a window's worth of past.
    for n in range(1, 31):
        step(clip.picture(n), n / clip.rate)
    offset = 31
    took, poses, fps = flat_out(clip, lambda p, t: step(p, t + offset / clip.rate), a.seconds)
    latency, dropped = paced(clip, lambda p, t: step(p, t), a.seconds, offset + len(took))
    print(json.dumps({
        "name": name,
        "frames": len(took),
        "poses": poses,
        "ms": 1e3 * sum(took) / len(took),
        "fps": fps,
        "latency_p50_ms": 1e3 * quantile(latency, 0.5),
        "latency_p99_ms": 1e3 * quantile(latency, 0.99),
        "dropped": dropped,
        "peak_mib": peak_mib(),
        "start_s": first,
    }))
