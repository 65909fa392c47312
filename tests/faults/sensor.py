"""A running posewire under test: started, asked, stopped."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BINARY = os.environ.get("POSEWIRE", "target/debug/posewire")
# A loaded machine is slow; a fault that heals is worth waiting for.
PATIENCE = float(os.environ.get("POSEWIRE_PATIENCE", "60"))


class Unexpected(Exception):
    """What was seen is not what was expected."""


def expect(condition: bool, seen: str) -> str:
    if not condition:
        raise Unexpected(seen)
    return seen


def wait_for(what, seconds: float = PATIENCE, words: str = "it never happened"):
    """The first value of `what()` that is true."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise Unexpected(words() if callable(words) else words)
        time.sleep(0.1)


class Sensor:
    """`posewire run` with a status socket, in a folder of its own."""

    def __init__(self, *arguments: str, config: str | None = None, prefix: tuple = (),
                 folder: str | None = None):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="posewire-fault-"))
        self.socket = self.folder / "status.sock"
        self.log_path = self.folder / "log"
        command = [*prefix, BINARY, "run", "--status-socket", str(self.socket), *arguments]
        if config is not None:
            self.config = self.folder / "config.toml"
            self.config.write_text(config)
            command += ["--config", str(self.config)]
        self.log_file = open(self.log_path, "ab")
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=self.log_file,
                                        stdin=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log_file.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def ask(self) -> dict | None:
        """Its status, or None if it does not answer (yet, or any more)."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
                s.settimeout(5)
                s.connect(str(self.socket))
                text = b""
                while part := s.recv(65536):
                    text += part
            return json.loads(text)
        except (OSError, ValueError):
            return None

    def until(self, what, seconds: float = PATIENCE, words: str = "") -> dict:
        """Its first status for which `what` holds."""
        last: list = [None]

        def look():
            if self.process.poll() is not None:
                raise Unexpected(f"it ended with {self.process.returncode}: {self.log()[-300:]}")
            last[0] = self.ask()
            return last[0] and what(last[0]) and last[0]

        return wait_for(look, seconds, lambda: f"{words} never; last: {short(last[0])}")

    def flows(self, frames: int = 5) -> dict:
        """Waits until so many more frames have become poses."""
        first = self.until(lambda s: True, words="an answer")["frames_out"]
        return self.until(lambda s: s["frames_out"] >= first + frames, words=f"{frames} poses")

    def fault(self, name: str) -> dict:
        """Waits for a fault of this name."""
        status = self.until(lambda s: any(f["name"] == name for f in s["faults"]), words=name)
        return next(f for f in status["faults"] if f["name"] == name)

    def healed(self, name: str) -> dict:
        return self.until(lambda s: all(f["name"] != name for f in s["faults"]),
                          words=f"{name} healed")

    def ends(self, seconds: float = PATIENCE) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Unexpected(f"it did not end: {short(self.ask())}") from None


def short(status: dict | None) -> str:
    if not status:
        return "no answer"
    faults = ", ".join(f["name"] for f in status["faults"]) or "no fault"
    return f"{status['state']}, {status['frames_out']} poses, {faults}"


def ends(*arguments: str, config: str | None = None) -> tuple[int, str]:
    """Exit code and last log line of a run that is to end by itself."""
    with Sensor(*arguments, config=config) as sensor:
        code = sensor.ends()
        errors = [l for l in sensor.log().splitlines() if l.startswith("error")]
        return code, (errors or [sensor.log().strip().splitlines()[-1]])[-1]


def receiver(port: int = 0) -> socket.socket:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", port))
    s.settimeout(PATIENCE)
    return s


def drain(s: socket.socket):
    """Throws away what has come so far."""
    patience = s.gettimeout()
    s.setblocking(False)
    try:
        while True:
            s.recv(65536)
    except BlockingIOError:
        s.settimeout(patience)


def sh(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unexpected(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


if __name__ == "__main__":
    sys.exit("run tests/faults/run.py")
