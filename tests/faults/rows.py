"""The rows of the fault table: what is done to a running posewire, and what it must do."""

import os
import pathlib
import pty
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import tty

from sensor import BINARY, PATIENCE, Sensor, drain, ends, expect, receiver, sh, wait_for
from table import DEMO, ROOT, needs_root, row

# --- cameras and recordings -------------------------------------------------------------------

@row("camera absent", "runs degraded, names it, keeps asking")
def camera_absent():
    with Sensor("--source", "v4l2:/dev/video99", "--publish", "udp://127.0.0.1:9") as s:
        fault = s.fault("source-gone")
        again = s.until(lambda st: any(f["count"] > fault["count"] for f in st["faults"]))
        return expect(again["state"] == "degraded" and fault["remedy"],
                      f"{again['state']}, {fault['detail'][:50]}, asked {again['faults'][0]['count']} times")


@row("a truncated picture among others", "that one is counted, the others give poses")
def truncated_mjpeg():
    from_demo = tempfile.mkdtemp()
    try:
        stream = pathlib.Path(from_demo) / "x.mjpeg"
        jpeg = (ROOT / "tests/data/jpeg/yuv420.jpg").read_bytes()
        # The third of five ends in the middle of its pixels, with an end marker.
        stream.write_bytes(jpeg * 2 + jpeg[: len(jpeg) // 2] + b"\xff\xd9" + jpeg * 2)
        with Sensor("--source", str(stream), "--repeat", "--realtime", "--rate", "10") as s:
            st = s.until(lambda st: st["frames_bad"] >= 1 and st["frames_out"] >= 4)
            return f"{st['frames_bad']} bad of {st['frames_in']}, {st['frames_out']} with poses"
    finally:
        shutil.rmtree(from_demo)


@row("time goes backwards in a recording", "windows start afresh, poses go on")
def time_backwards():
    folder = tempfile.mkdtemp()
    try:
        # A recording that is played again: its second round is earlier than its end.
        recorded = pathlib.Path(folder) / "a.mcap"
        code = subprocess.run([BINARY, "run", *DEMO, "--seconds", "4", "--record", str(recorded)],
                              capture_output=True, check=False).returncode
        expect(code == 0, f"recording ended with {code}")
        with Sensor("--source", str(recorded), "--repeat", "--realtime") as s:
            rounds = s.until(lambda st: st["frames_out"] > 60)
            return expect(rounds["frames_bad"] == 0, f"{rounds['frames_out']} poses over two rounds, {rounds['frames_bad']} bad")
    finally:
        shutil.rmtree(folder)


# --- models -----------------------------------------------------------------------------------

def model_folder() -> pathlib.Path:
    folder = pathlib.Path(tempfile.mkdtemp())
    for name in ("posewire-finder.toml", "posewire-finder.onnx"):
        shutil.copy(ROOT / "models" / name, folder)
    return folder


def with_models(change, words: str) -> str:
    folder = model_folder()
    try:
        change(folder)
        code, said = ends(*DEMO, "--models", str(folder))
        return expect(code == 78 and words in said, f"exit {code}: {said[:150]}")
    finally:
        shutil.rmtree(folder)


@row("model missing", "exit 78, says which file")
def model_missing():
    return with_models(lambda f: (f / "posewire-finder.onnx").unlink(), "posewire-finder")


@row("model corrupt (one byte)", "exit 78, says that the digest differs")
def model_corrupt():
    def flip(folder):
        path = folder / "posewire-finder.onnx"
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    return with_models(flip, "SHA-256")


@row("manifest with another digest", "exit 78, says that the digest differs")
def model_wrong_hash():
    def change(folder):
        path = folder / "posewire-finder.toml"
        lines = path.read_text().splitlines()
        lines = ['sha256 = "' + "0" * 64 + '"' if l.startswith("sha256") else l for l in lines]
        path.write_text("\n".join(lines))
    return with_models(change, "SHA-256")


# --- targets ----------------------------------------------------------------------------------

@row("UDP port gone and back", "target-refused, then heals; poses arrive again")
def udp_port_gone():
    r = receiver()
    port = r.getsockname()[1]
    with Sensor(*DEMO, "--publish", f"udp://127.0.0.1:{port}") as s:
        r.recv(65536)
        r.close()
        s.fault("target-refused")
        r = receiver(port)
        r.recv(65536)
        s.healed("target-refused")
        r.close()
        return "refused, healed by itself"


class Net:
    """A network namespace with one link to this machine's other end."""

    def __enter__(self):
        needs_root()
        self.name = f"pw{os.getpid()}"
        sh("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")
        self.run("ip", "link", "add", "pwa", "type", "veth", "peer", "name", "pwb")
        self.run("ip", "addr", "add", "10.99.0.1/24", "dev", "pwa")
        return self

    def run(self, *command: str) -> str:
        return sh("ip", "netns", "exec", self.name, *command)

    def up(self):
        self.run("ip", "link", "set", "pwa", "up")
        self.run("ip", "link", "set", "pwb", "up")

    def down(self):
        self.run("ip", "link", "set", "pwa", "down")

    def prefix(self) -> tuple:
        return ("ip", "netns", "exec", self.name)

    def __exit__(self, *_):
        subprocess.run(["ip", "netns", "del", self.name], check=False)


@row("network not up at the start", "target-unreachable, heals when it comes")
def udp_unreachable():
    with Net() as net, Sensor(*DEMO, "--publish", "udp://10.99.0.2:7777", prefix=net.prefix()) as s:
        fault = s.fault("target-unreachable")
        net.up()
        s.healed("target-unreachable")
        s.flows()
        return f"{fault['detail'][-45:]}; healed"


@row("interface down and up", "target-unreachable, then heals; one process")
def interface_down():
    with Net() as net:
        net.up()
        with Sensor(*DEMO, "--publish", "udp://10.99.0.2:7777", prefix=net.prefix()) as s:
            s.flows()
            net.down()
            s.fault("target-unreachable")
            net.up()
            s.healed("target-unreachable")
            return "unreachable, healed, the process went on"


class Line:
    """A pseudo-terminal in a serial line's place, under a name that stays."""

    def __init__(self, name: pathlib.Path):
        self.name = name
        self.plug()

    def plug(self):
        self.master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(self.master, False)
        self.name.unlink(missing_ok=True)
        self.name.symlink_to(os.ttyname(slave))
        os.close(slave)

    def unplug(self):
        os.close(self.master)
        self.name.unlink()

    def read(self) -> bytes:
        try:
            return os.read(self.master, 65536)
        except (BlockingIOError, OSError):
            return b""


@row("serial line unplugged and back", "target-gone, UDP goes on, heals")
def serial_unplug():
    folder = pathlib.Path(tempfile.mkdtemp())
    line = Line(folder / "tty")
    r = receiver()
    try:
        with Sensor(*DEMO, "--publish", f"serial:{line.name}?baud=115200",
                    "--publish", f"udp://127.0.0.1:{r.getsockname()[1]}") as s:
            wait_for(line.read, words="nothing came over the line")
            line.unplug()
            s.fault("target-gone")
            s.flows()
            r.recv(65536)
            line.plug()
            wait_for(line.read, words="nothing came over the line again")
            s.healed("target-gone")
            return "gone, UDP went on, bytes again"
    finally:
        shutil.rmtree(folder)


@row("serial line far too slow", "newest poses only, UDP gets all")
def serial_slow():
    folder = pathlib.Path(tempfile.mkdtemp())
    line = Line(folder / "tty")
    r = receiver()
    try:
        with Sensor(*DEMO, "--publish", f"serial:{line.name}?baud=1200",
                    "--publish", f"udp://127.0.0.1:{r.getsockname()[1]}") as s:
            first = s.flows()["frames_out"]
            drain(r)
            line.read()
            begin = time.monotonic()
            got = udp = 0
            r.settimeout(0.05)
            while time.monotonic() - begin < 6:
                got += len(line.read())
                try:
                    udp += len(r.recv(65536)) > 0
                except TimeoutError:
                    pass
            seconds = time.monotonic() - begin
            rate = got / seconds
            st = s.ask()
            # 1200 baud carry 120 bytes a second.
            frames = st["frames_out"] - first
            return expect(0 < rate < 200 and udp >= frames - 2,
                          f"{rate:.0f} bytes/s on the line, {udp} datagrams of {frames} frames, {st['state']}")
    finally:
        shutil.rmtree(folder)


# --- disks ------------------------------------------------------------------------------------

class Disk:
    """A small file system of its own."""

    def __init__(self, options: str):
        needs_root()
        self.folder = tempfile.mkdtemp()
        sh("mount", "-t", "tmpfs", "-o", options, "posewire-test", self.folder)

    def __enter__(self):
        return pathlib.Path(self.folder)

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.folder], check=False)
        os.rmdir(self.folder)


@row("disk full while recording", "record-disk-full, poses go on, heals when there is room")
def disk_full():
    with Disk("size=8m") as disk:
        (disk / "ballast").write_bytes(bytes(6 << 20))
        r = receiver()
        with Sensor(*DEMO, "--record", str(disk / "run.mcap"),
                    "--publish", f"udp://127.0.0.1:{r.getsockname()[1]}") as s:
            s.fault("record-disk-full")
            s.flows()
            r.recv(65536)
            (disk / "ballast").unlink()
            s.healed("record-disk-full")
            return "said, poses went on, recording again"


@row("read-only folder for recordings", "exit 78, says so")
def read_only():
    with Disk("size=1m,ro") as disk:
        code, said = ends(*DEMO, "--record", str(disk / "run.mcap"))
        return expect(code == 78, f"exit {code}: {said[:120]}")


# --- the process ------------------------------------------------------------------------------

@row("stopped for 10 s (SIGSTOP)", "goes on with the newest frame")
def sigstop():
    r = receiver()
    with Sensor(*DEMO, "--publish", f"udp://127.0.0.1:{r.getsockname()[1]}") as s:
        before = s.flows()["frames_out"]
        s.process.send_signal(signal.SIGSTOP)
        time.sleep(10)
        s.process.send_signal(signal.SIGCONT)
        after = s.until(lambda st: st["frames_out"] > before + 5)
        return expect(after["state"] in ("running", "degraded"), f"{after['frames_out'] - before} poses after it, {after['state']}")


@row("kill -9 while recording, and a new start", "the recording can be recovered; the socket is taken over")
def kill_nine():
    folder = tempfile.mkdtemp()
    try:
        recorded = pathlib.Path(folder) / "run.mcap"
        with Sensor(*DEMO, "--record", str(recorded)) as s:
            s.flows(20)
            s.process.kill()
            s.process.wait()
            expect(s.socket.exists(), "the socket is left behind")
            done = subprocess.run([BINARY, "recover", str(recorded)], capture_output=True, text=True, check=False)
            expect(done.returncode == 0, f"recover: {done.stderr[-200:]}")
            again = Sensor(*DEMO, folder=str(s.folder))
            with again:
                again.flows()
        return f"recovered ({(done.stdout + done.stderr).strip().splitlines()[-1][:70]}), started anew"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@row("two instances with one status socket", "the second ends with 78, the first goes on")
def two_instances():
    with Sensor(*DEMO) as s:
        s.flows()
        done = subprocess.run([BINARY, "run", *DEMO, "--status-socket", str(s.socket)],
                              capture_output=True, text=True, check=False, timeout=PATIENCE)
        s.flows()
        return expect(done.returncode == 78 and "another posewire" in done.stderr,
                      f"exit {done.returncode}: {done.stderr.strip().splitlines()[-1][:90]}")


@row("no file descriptors left", "poses go on, whoever asks waits")
def no_descriptors():
    r = receiver()
    with Sensor(*DEMO, "--publish", f"udp://127.0.0.1:{r.getsockname()[1]}") as s:
        s.flows()
        in_use = len(os.listdir(f"/proc/{s.process.pid}/fd"))
        resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, (in_use, 4096))
        refused = s.ask()
        got = sum(len(r.recv(65536)) > 0 for _ in range(10))
        resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, (1024, 4096))
        after = s.flows()
        return expect(refused is None, f"{got} datagrams without a descriptor left, then {after['state']}")


@row("too few file descriptors at the start", "a clear error, no panic")
def few_descriptors():
    with Sensor(*DEMO, "--publish", "udp://127.0.0.1:9", prefix=("prlimit", "--nofile=4")) as s:
        code = s.ends()
        return expect(code in (70, 78) and "panicked" not in s.log(),
                      f"exit {code}: {s.log().strip().splitlines()[-1][:110]}")


CONFIG = """
[source]
uri = "demo:"
rate = 10
realtime = true
[smooth]
beta = 3.0
"""


@row("a bad configuration at reload", "refused, the old one goes on")
def bad_reload():
    with Sensor(config=CONFIG) as s:
        s.flows()
        s.config.write_text(CONFIG.replace("beta", "bate"))
        s.process.send_signal(signal.SIGHUP)
        st = s.until(lambda st: st["reload"])
        expect("refused" in st["reload"] and "bate" in st["reload"], st["reload"])
        s.flows()
        return st["reload"][:90]


@row("a good configuration at reload", "taken over, no frame without its poses")
def good_reload():
    with Sensor(config=CONFIG) as s:
        s.flows()
        s.config.write_text(CONFIG.replace("3.0", "9.0"))
        s.process.send_signal(signal.SIGHUP)
        st = s.until(lambda st: st["reload"])
        after = s.flows(20)
        lost = after["frames_in"] - after["frames_out"] - after["frames_displaced"] - after["frames_left_out"]
        # One may wait in the mailbox, one be in the pipeline's hands.
        return expect("taken over" in st["reload"] and 0 <= lost <= 2 and after["frames_bad"] == 0,
                      f"{st['reload']}; {lost} frames on their way, {after['frames_bad']} bad")


@row("a crowd at the status socket", "poses go on, nobody is kept")
def crowd():
    r = receiver()
    with Sensor(*DEMO, "--publish", f"udp://127.0.0.1:{r.getsockname()[1]}") as s:
        s.flows()
        before = len(os.listdir(f"/proc/{s.process.pid}/fd"))
        over = threading.Event()

        def flood():
            while not over.is_set():
                try:
                    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as c:
                        c.settimeout(0.2)
                        c.connect(str(s.socket))
                        c.send(b"GET / HTTP/1.0\r\n\r\n")
                except OSError:
                    pass
        threads = [threading.Thread(target=flood) for _ in range(8)]
        for t in threads:
            t.start()
        try:
            got = sum(len(r.recv(65536)) > 0 for _ in range(40))
        finally:
            over.set()
            for t in threads:
                t.join()
        time.sleep(1)
        after = len(os.listdir(f"/proc/{s.process.pid}/fd"))
        return expect(got == 40 and after <= before + 1, f"{got} datagrams meanwhile; {before} descriptors before, {after} after")


@row("perception panics once, and again", "goes on with a new pipeline; the second time exit 70")
def panics():
    done = subprocess.run(["cargo", "test", "--locked", "--quiet", "--test", "upkeep", "a_first_panic"], cwd=ROOT,
                          capture_output=True, text=True, check=False, timeout=1500,
                          env={k: v for k, v in os.environ.items() if k != "RUSTC"})
    line = next((l for l in done.stdout.splitlines() if l.startswith("test result")), "no result")
    return expect(done.returncode == 0 and " 1 passed" in line, f"tests/upkeep.rs: {line[:60]}")
