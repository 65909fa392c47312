"""The Python client against the golden datagrams: `python3 tests/test_python_client.py`."""

import json
import struct
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "clients" / "python"))

from posewire_client import WireError, crc32c, decode  # noqa: E402
from posewire_client.json_lines import to_json  # noqa: E402

GOLDEN = ROOT / "tests" / "data" / "wire"


def same(a, b):
    """Equal, with floats compared as the f32 that was sent (JSON holds its shortest decimals)."""
    if isinstance(a, float) and isinstance(b, (int, float)):
        return struct.pack("<f", a) == struct.pack("<f", b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


class GoldenDatagrams(unittest.TestCase):
    def test_each_means_what_the_rust_reader_says(self):
        files = sorted(GOLDEN.glob("*.bin"))
        self.assertGreaterEqual(len(files), 18)
        for file in files:
            with self.subTest(file.name):
                expected = json.loads(file.with_suffix(".json").read_text("utf-8"))
                try:
                    got = to_json(decode(file.read_bytes()))
                except WireError as e:
                    got = {"error": e.name}
                self.assertTrue(same(got, expected), f"{got}\n{expected}")

    def test_the_comparison_sees_a_difference(self):
        expected = json.loads((GOLDEN / "person.json").read_text("utf-8"))
        got = to_json(decode((GOLDEN / "person.bin").read_bytes()))
        got["persons"][0]["joints"]["head"][1] += 1e-6
        self.assertFalse(same(got, expected))


class Damage(unittest.TestCase):
    def test_the_check_value_of_the_specification(self):
        self.assertEqual(crc32c(b"123456789"), 0xE3069283)

    def test_every_truncation_and_every_flipped_byte_is_refused(self):
        whole = (GOLDEN / "everything.bin").read_bytes()
        for n in range(len(whole)):
            with self.assertRaises(WireError):
                decode(whole[:n])
            with self.assertRaises(WireError):
                decode(whole[:n] + bytes([whole[n] ^ 0x40]) + whole[n + 1:])

    def test_changed_fields_with_a_right_crc_never_raise_anything_else(self):
        for name in ("everything", "status"):
            whole = (GOLDEN / f"{name}.bin").read_bytes()
            for n in range(4, len(whole) - 4):
                for value in (0, 1, 0x7F, 0xFF):
                    body = whole[:n] + bytes([value]) + whole[n + 1:-4]
                    try:
                        decode(body + crc32c(body).to_bytes(4, "little"))
                    except WireError:
                        pass


if __name__ == "__main__":
    unittest.main()
