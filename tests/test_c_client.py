"""The C header against the golden messages: `python3 tests/test_c_client.py`."""

import json
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from test_python_client import GOLDEN, LINE, ROOT, frame, same

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
C99 = ["cc", "-std=c99", *WARNINGS]
ARDUINO = [
    "g++", "-std=c++11", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", *WARNINGS]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
EXAMPLES = ROOT / "clients" / "c" / "examples"
HERE = ROOT / "tests" / "c"


class CClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        for program in ("cc", "g++"):
            if shutil.which(program) is None:
                raise unittest.SkipTest(f"{program} is not here")
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)

    def build(self, compiler, source, *more):
        program = Path(self.folder.name) / f"{source.stem}-{compiler[0]}"
        subprocess.run([*compiler, *more, str(source), "-o", str(program)], check=True)
        return program

    def run_on(self, program, *arguments, **more):
        command = [str(program), *map(str, arguments)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, **more)
        return done.stdout.decode("utf-8")

    def check_golden(self, program):
        files = sorted(GOLDEN.glob("*.bin"))
        self.assertGreaterEqual(len(files), 31)
        lines = self.run_on(program, *files).splitlines()
        self.assertEqual(len(lines), len(files))
        for file, line in zip(files, lines):
            with self.subTest(file.name):
                expected = json.loads(file.with_suffix(".json").read_text("utf-8"))
                self.assertTrue(same(json.loads(line), expected), f"{line}\n{expected}")
        got = json.loads(self.run_on(program, "--line", LINE / "line.bin"))
        expected = json.loads((LINE / "line.json").read_text("utf-8"))
        self.assertTrue(same(got, expected), f"{got}\n{expected}")

    def test_as_c99_it_reads_what_the_rust_reader_reads(self):
        self.check_golden(self.build(C99, EXAMPLES / "decode.c"))

    def test_as_cpp11_it_reads_what_the_rust_reader_reads(self):
        self.check_golden(self.build(ARDUINO, EXAMPLES / "decode.c", "-x", "c++"))

    def test_the_sketch_watches_the_hands(self):
        program = self.build(ARDUINO, HERE / "sketch.cpp", f"-I{EXAMPLES.parent}")
        # The status is longer than what the sketch keeps of a frame, and skipped.
        names = ["compact", "compact_fourth", "status", "compact_bad_crc", "compact_nobody"]
        names.append("compact")
        stream = b"".join(frame((GOLDEN / f"{name}.bin").read_bytes()) for name in names)
        said = self.run_on(program, input=stream)
        print(said.strip())
        # By the golden reader.
        levels = []
        for name in ("compact", "compact_fourth", "compact"):
            joints = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))["person"]["joints"]
            hand = min(joints["left_wrist"][1], joints["right_wrist"][1])
            levels.append("1" if hand < joints["head"][1] else "0")
        self.assertEqual(said.split()[:4], [*levels, "3"])

    def test_damage_never_makes_it_read_or_write_beyond_what_it_was_given(self):
        program = self.build(C99, HERE / "damage.c", *SANITIZERS)
        files = [f for f in sorted(GOLDEN.glob("*.bin")) if f.stat().st_size >= 20]
        print(self.run_on(program, 20_000, *files).strip())


if __name__ == "__main__":
    unittest.main()
