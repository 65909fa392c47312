"""Makes the JPEG files of this folder (needs Pillow): python3 make.py

A picture has four quarters of one colour each: red, green / blue, grey. Chroma is smooth within a
quarter, so that every kind of subsampling must give the same colours away from the borders.
"""

from pathlib import Path

from PIL import Image

HERE = Path(__file__).parent
COLOURS = [(200, 40, 40), (40, 160, 60), (40, 60, 180), (128, 128, 128)]


def picture(width, height):
    image = Image.new("RGB", (width, height))
    for y in range(height):
        for x in range(width):
            quarter = 2 * (2 * y >= height) + (2 * x >= width)
            image.putpixel((x, y), COLOURS[quarter])
    return image


def without_huffman_tables(data):
    """As cameras and AVI files write it: the standard tables are left out."""
    out, at = bytearray(data[:2]), 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker != 0xC4:
            out += data[at : at + 2 + length]
        at += 2 + length
        if marker == 0xDA:
            return bytes(out + data[at:])


def main():
    size = (64, 48)
    picture(*size).save(HERE / "yuv444.jpg", quality=90, subsampling=0)
    picture(*size).save(HERE / "yuv422.jpg", quality=90, subsampling=1)
    picture(*size).save(HERE / "yuv420.jpg", quality=90, subsampling=2)
    picture(37, 23).save(HERE / "odd.jpg", quality=90, subsampling=2)
    picture(*size).convert("L").save(HERE / "grey.jpg", quality=90)
    picture(*size).convert("CMYK").save(HERE / "cmyk.jpg", quality=90)
    picture(*size).save(HERE / "progressive.jpg", quality=90, progressive=True)
    camera = without_huffman_tables((HERE / "yuv422.jpg").read_bytes())
    (HERE / "no_huffman_tables.jpg").write_bytes(camera)


if __name__ == "__main__":
    main()
