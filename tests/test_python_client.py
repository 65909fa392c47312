"""The Python client against the golden datagrams: `python3 tests/test_python_client.py`."""

import json
import os
import pty
import random
import struct
import sys
import tempfile
import tty
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "clients" / "python"))

from posewire_client import (  # noqa: E402
    AuthError, FrameReader, Verifier, WireError, crc32c, decode, decode_packet, read_key,
    read_serial,
)
from posewire_client.json_lines import to_json  # noqa: E402
from posewire_client.line import MAX_FRAME, frame  # noqa: E402

GOLDEN = ROOT / "tests" / "data" / "wire"
LINE = ROOT / "tests" / "data" / "line"


def same(a, b):
    """Equal, with floats compared as the f32 that was sent (JSON holds its shortest decimals)."""
    if isinstance(a, float) and isinstance(b, (int, float)):
        return struct.pack("<f", a) == struct.pack("<f", b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def meaning(data):
    try:
        return to_json(decode_packet(data))
    except WireError as e:
        return {"error": e.name}


class GoldenDatagrams(unittest.TestCase):
    def test_each_means_what_the_rust_reader_says(self):
        files = sorted(GOLDEN.glob("*.bin"))
        self.assertGreaterEqual(len(files), 31)
        for file in files:
            with self.subTest(file.name):
                expected = json.loads(file.with_suffix(".json").read_text("utf-8"))
                got = meaning(file.read_bytes())
                self.assertTrue(same(got, expected), f"{got}\n{expected}")

    def test_the_comparison_sees_a_difference(self):
        expected = json.loads((GOLDEN / "person.json").read_text("utf-8"))
        got = to_json(decode((GOLDEN / "person.bin").read_bytes()))
        got["persons"][0]["joints"]["head"][1] += 1e-6
        self.assertFalse(same(got, expected))


class GoldenLine(unittest.TestCase):
    def test_each_frame_means_what_the_rust_reader_says_however_the_line_is_cut(self):
        stream = (LINE / "line.bin").read_bytes()
        expected = json.loads((LINE / "line.json").read_text("utf-8"))
        for size in (1, 7, 64, len(stream)):
            reader, got = FrameReader(), []
            for at in range(0, len(stream), size):
                for found in reader.feed(stream[at:at + size]):
                    is_frame = isinstance(found, bytes)
                    got.append(meaning(found) if is_frame else {"error": found.name})
            self.assertTrue(same(got, expected), f"{got}\n{expected}")

    def test_any_message_comes_back(self):
        numbers = random.Random(1)
        for size in (0, 1, 253, 254, 255, 508, 509, MAX_FRAME):
            for most in (1, 2, 256):
                message = bytes(numbers.randrange(most) for _ in range(size))
                self.assertEqual(list(FrameReader().feed(frame(message))), [message])

    def test_a_pseudo_terminal_is_read_until_it_is_gone(self):
        ours, device = pty.openpty()
        path = os.ttyname(device)
        messages = [(GOLDEN / f"{name}.bin").read_bytes() for name in ("compact", "status")]
        # Raw from the beginning, so that what is written before it is opened arrives whole.
        tty.setraw(device)
        packets = read_serial(path, 115200)
        os.write(ours, b"\x05\x01\x00" + b"".join(map(frame, messages)))
        got = [to_json(next(packets)), to_json(next(packets))]
        os.close(device)
        os.close(ours)
        self.assertEqual(list(packets), [])
        self.assertEqual([m["type"] for m in got], ["compact", "status"])


class Signatures(unittest.TestCase):
    def setUp(self):
        self.key = bytes.fromhex((LINE / "key.hex").read_text("ascii"))
        self.signed = (GOLDEN / "signed.bin").read_bytes()

    def refused(self, verifier, data):
        with self.assertRaises(AuthError) as caught:
            verifier.check(data)
        return caught.exception.name

    def test_the_golden_signature_is_right_once(self):
        verifier = Verifier(self.key)
        verifier.check(self.signed)
        self.assertEqual(self.refused(verifier, self.signed), "replayed")

    def test_each_failure_has_its_name(self):
        verifier = Verifier(self.key)
        self.assertEqual(self.refused(verifier, self.signed[:-1]), "unsigned")
        self.assertEqual(self.refused(Verifier(bytes(32)), self.signed), "other-key")
        self.assertEqual(self.refused(verifier, self.signed[:-1] + b"?"), "forged")

    def test_every_changed_byte_is_seen(self):
        for n in range(len(self.signed)):
            changed = self.signed[:n] + bytes([self.signed[n] ^ 1]) + self.signed[n + 1:]
            with self.assertRaises((AuthError, WireError)):
                Verifier(self.key).check(changed)

    def test_a_key_file_that_others_may_read_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "key")
            with open(path, "w", encoding="ascii") as file:
                file.write(self.key.hex() + "\n")
            os.chmod(path, 0o644)
            with self.assertRaises(PermissionError):
                read_key(path)
            os.chmod(path, 0o600)
            self.assertEqual(read_key(path), self.key)


class Damage(unittest.TestCase):
    def test_the_check_value_of_the_specification(self):
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)

    def test_every_truncation_and_every_flipped_byte_is_refused(self):
        for name in ("everything", "compact"):
            self.truncate_and_flip((GOLDEN / f"{name}.bin").read_bytes())

    def truncate_and_flip(self, whole):
        for n in range(len(whole)):
            with self.assertRaises(WireError):
                decode_packet(whole[:n])
            with self.assertRaises(WireError):
                decode_packet(whole[:n] + bytes([whole[n] ^ 0x40]) + whole[n + 1:])

    def test_changed_fields_with_a_right_crc_never_raise_anything_else(self):
        for name in ("everything", "status", "compact"):
            whole = (GOLDEN / f"{name}.bin").read_bytes()
            for n in range(1, len(whole) - 4):
                for value in (0, 1, 0x7F, 0xFF):
                    body = whole[:n] + bytes([value]) + whole[n + 1:-4]
                    try:
                        decode_packet(body + crc32c(body).to_bytes(4, "little"))
                    except WireError:
                        pass


if __name__ == "__main__":
    unittest.main()
