"""Makes the Motion-JPEG corpus in this folder (needs Pillow): python3 make.py

What cameras, cables and drivers make of frames. A file's name says what a decoder must make of it:
`ok_*` is a frame, `bad_*` is refused (and the frame skipped), `any_*` may be either: a flipped bit
of coded data cannot always be seen. Nothing may panic, and the next frame must decode.
"""

import io
import random
from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent


def picture(width, height):
    """Smooth, with an edge: something in every block, and small files."""
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            edge = 90 if (x // 9 + y // 7) % 2 else 0
            image.putpixel((x, y), ((5 * x + edge) % 256, (4 * y + 40) % 256, (2 * x + 3 * y) % 256))
    return image


def jpeg(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **({"quality": 75} | options))
    return out.getvalue()


def segments(data):
    """(marker, start, end) of the segments up to the first scan's header, inclusive."""
    at = 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at, at + 2 + length
        if marker == 0xDA:
            return
        at += 2 + length


def without(data, marker):
    out, last = bytearray(data[:2]), 0
    for found, start, end in segments(data):
        if found != marker:
            out += data[start:end]
        last = end
    return bytes(out + data[last:])


def find(data, marker):
    return next((start, end) for found, start, end in segments(data) if found == marker)


def patched(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def inserted(data, at, new):
    return data[:at] + new + data[at:]


def main():
    for old in HERE.glob("*.jpg"):
        old.unlink()
    files = {}
    base = picture(48, 32)
    for name, subsampling in [("444", 0), ("422", 1), ("420", 2)]:
        files[f"ok_{name}"] = jpeg(base, subsampling=subsampling)
        for width, height in [(1, 1), (7, 5), (17, 33), (40, 1), (1, 40)]:
            files[f"ok_{name}_{width}x{height}"] = jpeg(picture(width, height), subsampling=subsampling)
        files[f"ok_{name}_no_dht"] = without(files[f"ok_{name}"], 0xC4)
        files[f"ok_{name}_restarts"] = jpeg(base, subsampling=subsampling, restart_marker_blocks=1)
    grey = base.convert("L")
    files["ok_grey"] = jpeg(grey)
    files["ok_grey_7x5"] = jpeg(picture(7, 5).convert("L"))
    files["ok_grey_no_dht"] = without(files["ok_grey"], 0xC4)
    files["ok_progressive"] = jpeg(base, progressive=True)
    files["ok_quality_1"] = jpeg(base, quality=1)
    files["ok_quality_100"] = jpeg(base, quality=100, subsampling=0)

    frame = files["ok_422"]
    sof, _ = find(frame, 0xC0)
    dht, _ = find(frame, 0xC4)
    dqt, dqt_end = find(frame, 0xDB)
    sos, scan = find(frame, 0xDA)
    files["ok_fill_bytes"] = inserted(frame, dqt, b"\xff\xff\xff")
    files["ok_app4_of_a_camera"] = inserted(frame, 2, b"\xff\xe4\x00\x12" + bytes(range(16)))
    files["ok_comment_with_markers"] = inserted(frame, 2, b"\xff\xfe\x00\x08\xff\xd9\xff\xd8\xff\xda")
    files["ok_padded_with_zeros"] = frame + bytes(500)
    files["ok_padded_with_ones"] = frame + b"\xff" * 300
    # A driver's buffer keeps the end of a longer frame that it held before.
    files["ok_tail_of_an_older_frame"] = frame + files["ok_quality_100"][-400:]

    files["bad_empty"] = b""
    files["bad_one_byte"] = b"\xff"
    files["bad_only_its_beginning"] = b"\xff\xd8"
    files["bad_beginning_and_end"] = b"\xff\xd8\xff\xd9"
    files["bad_zeros"] = bytes(600)
    files["bad_ones"] = b"\xff" * 600
    files["bad_png"] = b"\x89PNG\r\n\x1a\n" + bytes(50)
    files["bad_garbage_before"] = b"\x00\x01" + frame
    files["bad_cut_in_a_table"] = frame[: dht + 10]
    files["bad_cut_in_the_frame_header"] = frame[: sof + 6]
    files["bad_cut_in_the_scan_header"] = frame[: sos + 5]
    files["bad_cut_before_the_scan"] = frame[:scan]
    files["bad_cut_in_the_middle"] = frame[: (scan + len(frame)) // 2]
    files["bad_cut_before_its_end"] = frame[:-2]
    files["bad_cut_in_the_middle_with_end"] = frame[: (scan + len(frame)) // 2] + b"\xff\xd9"
    # A lost packet, and a longer frame's end after it.
    files["bad_cut_with_the_tail_of_another"] = (
        frame[: (scan + len(frame)) // 2] + files["ok_quality_100"][-60:]
    )
    files["bad_without_frame_header"] = without(frame, 0xC0)
    files["bad_without_quantisation"] = without(frame, 0xDB)
    files["bad_table_missing"] = patched(frame, sof + 12, b"\x03")
    files["bad_no_size"] = patched(frame, sof + 5, b"\0\0\0\0")
    files["bad_no_width"] = patched(frame, sof + 7, b"\0\0")
    files["bad_no_height"] = patched(frame, sof + 5, b"\0\0")
    files["bad_gigantic"] = patched(frame, sof + 5, b"\xff\xff\xff\xff")
    files["bad_higher_than_its_data"] = patched(frame, sof + 5, b"\x04\0")
    files["bad_wider_than_its_data"] = patched(frame, sof + 7, b"\x04\0")
    files["bad_12_bits"] = patched(frame, sof + 4, b"\x0c")
    files["bad_arithmetic_coding"] = patched(frame, sof + 1, b"\xc9")
    files["bad_lossless"] = patched(frame, sof + 1, b"\xc3")
    files["bad_two_components"] = patched(frame, sof + 9, b"\x02")
    files["bad_no_sampling"] = patched(frame, sof + 11, b"\0")
    files["bad_strange_sampling"] = patched(frame, sof + 11, b"\xff")
    files["bad_length_beyond_the_end"] = patched(frame, dqt + 2, b"\xff\xff")
    files["bad_length_zero"] = patched(frame, dqt + 2, b"\0\0")
    files["bad_marker_in_the_header"] = inserted(frame, dqt, b"\x12\x34")
    files["bad_huffman_table_too_full"] = patched(frame, dht + 5, b"\xff" * 16)
    files["bad_cmyk"] = jpeg(base.convert("CMYK"))
    # A packet of zeros where a cable lost one.
    middle = (scan + len(frame)) // 2
    files["any_zeros_in_the_scan"] = patched(frame, middle - 20, bytes(40))
    files["any_ones_in_the_scan"] = patched(frame, middle - 20, b"\xff" * 40)
    files["any_a_marker_in_the_scan"] = inserted(frame, middle, b"\xff\xc0")
    files["any_a_new_frame_in_the_scan"] = frame[:middle] + frame
    files["any_without_a_piece"] = frame[: middle - 15] + frame[middle + 15 :]
    files["any_a_piece_twice"] = frame[:middle] + frame[middle - 30 :]
    files["any_restart_missing"] = files["ok_422_restarts"].replace(b"\xff\xd1", b"", 1)
    files["any_restart_twice"] = files["ok_422_restarts"].replace(b"\xff\xd1", b"\xff\xd1\xff\xd1", 1)
    files["any_restarts_swapped"] = files["ok_422_restarts"].replace(b"\xff\xd1", b"\xff\xd5", 1)
    dice = random.Random(20261125)
    for n in range(12):
        source = files[["ok_422", "ok_420_no_dht", "ok_444_restarts", "ok_grey"][n % 4]]
        begin = find(source, 0xDA)[1]
        flipped = bytearray(source)
        for _ in range(1 + n // 4):
            flipped[dice.randrange(begin, len(source) - 2)] ^= 1 << dice.randrange(8)
        files[f"any_flips_{n:02}"] = bytes(flipped)

    for name, data in files.items():
        (HERE / f"{name}.jpg").write_bytes(data)
    print(f"{len(files)} files, {sum(map(len, files.values()))} bytes")


if __name__ == "__main__":
    main()
