"""More rows: cameras that are programs, memory that runs out, a GPU that has none, viewers."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from sensor import BINARY, Sensor, drain, expect, receiver, sh, wait_for
from table import DEMO, ROOT, Skip, needs, needs_root, row

# --- a camera whose driver is a process of its own: it can be stopped and killed ----------------

LIVE = "gst:videotestsrc is-live=true ! video/x-raw,format=GRAY8,width=320,height=240,framerate=10/1"


def pipeline_of(sensor: Sensor) -> int | None:
    """The process that gives the pictures."""
    tasks = pathlib.Path(f"/proc/{sensor.process.pid}/task")
    for task in tasks.iterdir():
        try:
            for pid in (task / "children").read_text().split():
                if "gst-launch" in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
                    return int(pid)
        except OSError:
            pass
    return None


@row("camera frozen (no picture, no error)", "source-gone, opened anew, heals; one process")
def camera_frozen():
    needs("gst-launch-1.0")
    with Sensor("--source", LIVE) as s:
        s.flows()
        frozen = pipeline_of(s)
        expect(frozen is not None, "its pipeline is not found")
        os.kill(frozen, signal.SIGSTOP)
        begin = time.monotonic()
        fault = s.fault("source-gone")
        after = time.monotonic() - begin
        s.healed("source-gone")
        s.flows()
        new = pipeline_of(s)
        gone = not pathlib.Path(f"/proc/{frozen}").exists()
        return expect(new not in (None, frozen) and gone,
                      f"said after {after:.0f} s ({fault['detail'][-40:]}), opened anew, pictures again")


@row("camera unplugged and plugged in again", "source-gone with a remedy, heals, twice; one process")
def camera_unplugged():
    needs("gst-launch-1.0")
    with Sensor("--source", LIVE) as s:
        for _ in range(2):
            s.flows()
            os.kill(pipeline_of(s), signal.SIGKILL)
            fault = s.fault("source-gone")
            s.healed("source-gone")
        st = s.flows()
        return expect(fault["remedy"] and st["cameras"][0]["state"] == "open",
                      f"twice: {fault['detail'][-50:]}; {st['state']} again")


@row("pictures change their size while it runs", "goes on with the new size, none is bad")
def format_change():
    needs("ffmpeg")
    with tempfile.TemporaryDirectory() as folder:
        sizes = []
        for size in ("320x240", "192x160"):
            path = pathlib.Path(folder) / f"{size}.mjpeg"
            sh("ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate=10",
               "-frames:v", "10", "-pix_fmt", "yuvj420p", str(path))
            sizes.append(path.read_bytes())
        stream = pathlib.Path(folder) / "both.mjpeg"
        stream.write_bytes(b"".join(sizes))
        with Sensor("--source", str(stream), "--repeat", "--realtime", "--rate", "10") as s:
            st = s.until(lambda st: st["frames_in"] >= 45)
            answered = st["frames_out"] + st["frames_displaced"] + st["frames_left_out"]
            return expect(st["frames_bad"] == 0 and st["frames_out"] > 10 and answered >= st["frames_in"] - 2,
                          f"{st['frames_in']} frames in over four changes, {st['frames_out']} out, "
                          f"{st['frames_bad']} bad, {st['state']}")


# --- memory -------------------------------------------------------------------------------------

class Memory:
    """A control group with a limit on memory, for either version of the interface."""

    def __enter__(self):
        needs_root()
        name = f"posewire-fault-{os.getpid()}"
        old, new = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
        try:
            if (old / "memory.limit_in_bytes").exists():
                self.folder, self.limit, self.used = old / name, "memory.limit_in_bytes", "memory.usage_in_bytes"
            elif "memory" in (new / "cgroup.subtree_control").read_text().split():
                self.folder, self.limit, self.used = new / name, "memory.max", "memory.current"
            else:
                raise Skip("no memory controller here")
            self.folder.mkdir()
        except OSError as e:
            raise Skip(f"no control groups here: {e}") from None
        return self

    def prefix(self) -> tuple:
        """A command in front of another one: it runs in the group."""
        return ("sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh")

    def most(self, mib: int):
        (self.folder / self.limit).write_text(str(mib << 20))

    def mib(self) -> int:
        return int((self.folder / self.used).read_text()) >> 20

    def killed(self) -> int:
        for name in ("memory.oom_control", "memory.events"):
            if (self.folder / name).exists():
                for line in (self.folder / name).read_text().splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0

    def __exit__(self, *_):
        def removed():
            try:
                self.folder.rmdir()
                return True
            except OSError:
                return False
        wait_for(removed, words=f"{self.folder} is still in use")


# Takes memory until it is ended.
EATER = "b = []\nwhile True:\n    b.append(bytearray(b'x' * (4 << 20)))\n"


@row("another program eats the memory (cgroup)", "that one is killed, poses go on")
def memory_eaten():
    with Memory() as memory, Sensor(*DEMO, prefix=memory.prefix()) as s:
        before = s.flows()["frames_out"]
        # Room for what there is, and some. The kernel takes the one that has most: the eater
        # must get past the sensor.
        memory.most(2 * memory.mib() + 200)
        eater = subprocess.run([*memory.prefix(), sys.executable, "-c", EATER], check=False,
                               capture_output=True, timeout=120)
        expect(eater.returncode == -signal.SIGKILL and memory.killed() == 1,
               f"the eater ended with {eater.returncode}, {memory.killed()} killed")
        after = s.flows()
        return f"the eater was killed; {after['frames_out'] - before} poses since, {after['state']}"


@row("memory squeezed to what it needs (cgroup)", "poses go on, nothing is killed")
def memory_squeezed():
    with Memory() as memory, Sensor(*DEMO, prefix=memory.prefix()) as s:
        s.flows(20)
        # File pages may go; what it holds itself needs no growth.
        used = memory.mib()
        memory.most(used + 8)
        after = s.flows(40)
        return expect(memory.killed() == 0 and s.process.poll() is None,
                      f"{after['frames_out']} poses with {used + 8} MiB at most ({memory.mib()} used), none killed")


# --- the GPU ------------------------------------------------------------------------------------

# As far as they are looked at before the GPU is.
LIBRARIES = {
    "libtensorrt_rtx.so.1": "int getInferLibVersion(void) { return 10601; }\n"
                            "void *createInferBuilder_INTERNAL(void) { return 0; }\n"
                            "void *createInferRuntime_INTERNAL(void) { return 0; }\n",
    "libtensorrt_onnxparser_rtx.so.1": "void *createNvOnnxParser_INTERNAL(void) { return 0; }\n",
}


def driver(folder: pathlib.Path, fails: str) -> dict:
    """A CUDA driver that knows a GPU whose memory is taken, and TensorRT's libraries, which are opened
    before it: the environment that finds them."""
    needs("cc")
    sh("cc", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), f"-DFAILS={fails}",
       str(ROOT / "tests/faults/cuda.c"))
    for name, text in LIBRARIES.items():
        source = folder / f"{name}.c"
        source.write_text(text)
        sh("cc", "-shared", "-fPIC", "-o", str(folder / name), str(source))
    return {"LD_LIBRARY_PATH": str(folder), "POSEWIRE_TENSORRT_DIR": str(folder)}


@row("CUDA out of memory (a driver's double)", "exit 70: another start may help; says what and whom")
def cuda_memory():
    with tempfile.TemporaryDirectory() as folder:
        environment = driver(pathlib.Path(folder), "cuDevicePrimaryCtxRetain")
        found = [f"{k}={v}" for k, v in environment.items()]
        with Sensor(*DEMO, "--backend", "tensorrt", prefix=("env", *found)) as s:
            code = s.ends()
            if "was built without" in s.log():
                raise Skip("this posewire was built without TensorRT's headers")
            said = [l for l in s.log().splitlines() if "OUT_OF_MEMORY" in l]
            expect(code == 70 and said, f"exit {code}: {s.log()[-200:]}")
        # The CPU is not asked to wait for it.
        with Sensor(*DEMO, "--backend", "auto", prefix=("env", *found)) as s:
            s.flows()
        return f"exit 70: {said[-1][-110:]}; backend auto runs beside it"


@row("engines damaged, cut, empty", "each is named, none is used; pruning takes them, and only them")
def engines_damaged():
    with tempfile.TemporaryDirectory() as folder:
        there = pathlib.Path(folder)
        head = (b'posewire engine 2 {"key":{"what":{"engine":{"model":"x","onnx":"00","precision":"f32","batch":[1,1,1]}},'
                b'"place":{"library":"1","gpu":"g","cuda":12060,"shim":1}},"sha256":"' + b"0" * 64 + b'","bytes":8}\n')
        for name, data in {"damaged": head + b"12345678", "cut": head[:60], "empty": b""}.items():
            (there / f"{name}.engine").write_bytes(data)
        (there / "notes.txt").write_text("somebody's own")
        environment = {**os.environ, "POSEWIRE_ENGINES": folder}
        listed = subprocess.run([BINARY, "engines"], env=environment, capture_output=True, text=True, check=False)
        lines = [l for l in listed.stdout.splitlines() if ".engine" in l]
        expect(listed.returncode == 0 and len(lines) == 3 and not any("usable" in l for l in lines),
               f"exit {listed.returncode}: {listed.stdout[-300:]}{listed.stderr[-200:]}")
        pruned = subprocess.run([BINARY, "engines", "prune"], env=environment, capture_output=True, text=True, check=False)
        left = sorted(os.listdir(folder))
        return expect(pruned.returncode == 0 and left == ["notes.txt"],
                      f"{'; '.join(l.split('  ')[-1] for l in lines)}; left after pruning: {left}")


# --- the live page ------------------------------------------------------------------------------

@row("a flood of viewers, none of whom reads", "poses go on; they are let go; a new one is served")
def viewers():
    r = receiver()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Sensor(*DEMO, "--view", str(port), "--publish", f"udp://127.0.0.1:{r.getsockname()[1]}") as s:
        s.flows()
        crowd = []
        try:
            for _ in range(300):
                c = socket.socket()
                c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                c.settimeout(5)
                c.connect(("127.0.0.1", port))
                c.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
                crowd.append(c)
            drain(r)
            got = sum(len(r.recv(65536)) > 0 for _ in range(60))
            inside = len(os.listdir(f"/proc/{s.process.pid}/fd"))
        finally:
            for c in crowd:
                c.close()

        def served():
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as c:
                    c.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    return b"200 OK" in c.recv(4096)
            except OSError:
                return False
        wait_for(served, words="the page serves nobody any more")
        return expect(got == 60 and inside < 200,
                      f"{got} datagrams meanwhile, {inside} descriptors at most of {len(crowd)} viewers, served after")
