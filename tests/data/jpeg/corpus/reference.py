"""What some files of the corpus decode to, by the definitions of ITU-T T.81 and JFIF in double precision
and nothing else (needs NumPy): python3 reference.py

Writes NAME.reference: RGB or grey bytes, rounded. Baseline, no restart markers. Chroma of half width or
height is spread as libjpeg does it ("fancy": three quarters of the nearer and one of the farther sample).
"""

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, (i // 8, i % 8)[(i // 8 + i % 8) % 2 == 0]))
# Rows are frequencies.
DCT = np.array([[np.cos((2 * x + 1) * u * np.pi / 16) * (np.sqrt(1 / 8) if u == 0 else 0.5) for x in range(8)] for u in range(8)])


class Bits:
    def __init__(self, data):
        self.bits = "".join(f"{b:08b}" for b in data.replace(b"\xff\x00", b"\xff"))
        self.at = 0

    def take(self, n):
        value = int(self.bits[self.at : self.at + n] or "0", 2)
        self.at += n
        return value

    def symbol(self, table):
        code = ""
        while code not in table:
            code += self.bits[self.at]
            self.at += 1
        return table[code]

    def value(self, size):
        v = self.take(size) if size else 0
        return v if not size or v >> (size - 1) else v - (1 << size) + 1


def decode(data):
    tables, quant, at = {}, {}, 2
    while True:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xDB:
            while body:
                quant[body[0]] = np.array(list(body[1:65]), float)
                body = body[65:]
        elif marker == 0xC4:
            while body:
                counts, symbols = body[1:17], iter(body[17:])
                code, table = 0, {}
                for bits, count in enumerate(counts, 1):
                    for _ in range(count):
                        table[f"{code:0{bits}b}"] = next(symbols)
                        code += 1
                    code <<= 1
                tables[body[0]] = table
                body = body[17 + sum(counts) :]
        elif marker == 0xC0:
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            parts = [(body[i], body[i + 1] >> 4, body[i + 1] & 15, body[i + 2]) for i in range(6, len(body), 3)]
        elif marker == 0xDA:
            chosen = {body[i]: body[i + 1] for i in range(1, 1 + 2 * body[0], 2)}
            break
    bits = Bits(data[at : data.rindex(b"\xff\xd9")])
    if len(parts) == 1:
        # One component alone: its blocks are the scan's units, whatever sampling it states.
        parts = [(parts[0][0], 1, 1, parts[0][3])]
    hmax, vmax = max(p[1] for p in parts), max(p[2] for p in parts)
    wide, high = -(-width // (8 * hmax)), -(-height // (8 * vmax))
    planes = [np.zeros((high * v * 8, wide * h * 8)) for _, h, v, _ in parts]
    before = [0] * len(parts)
    for unit in range(wide * high):
        for n, (name, h, v, q) in enumerate(parts):
            dc, ac = tables[chosen[name] >> 4], tables[16 + (chosen[name] & 15)]
            for block in range(h * v):
                coded = np.zeros(64)
                before[n] += bits.value(bits.symbol(dc))
                coded[0] = before[n]
                k = 1
                while k < 64:
                    symbol = bits.symbol(ac)
                    if symbol == 0:
                        break
                    k += symbol >> 4
                    coded[k] = bits.value(symbol & 15)
                    k += 1
                square = np.zeros(64)
                square[ZIGZAG] = coded * quant[q]
                y = ((unit // wide) * v + block // h) * 8
                x = ((unit % wide) * h + block % h) * 8
                planes[n][y : y + 8, x : x + 8] = DCT.T @ square.reshape(8, 8) @ DCT + 128
    out = []
    for (_, h, v, _), plane in zip(parts, planes):
        plane = plane[: -(-height * v // vmax), : -(-width * h // hmax)]
        if hmax // h == 2:
            plane = spread(plane)
        if vmax // v == 2:
            plane = spread(plane.T).T
        out.append(plane[:height, :width])
    if len(out) == 1:
        return out[0]
    y, cb, cr = out[0], out[1] - 128, out[2] - 128
    return np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2)


def spread(plane):
    left = np.concatenate([plane[:, :1], plane[:, :-1]], axis=1)
    right = np.concatenate([plane[:, 1:], plane[:, -1:]], axis=1)
    return np.stack([(3 * plane + left) / 4, (3 * plane + right) / 4], axis=2).reshape(len(plane), -1)


def main():
    for name in ["ok_444", "ok_grey", "ok_grey_7x5", "ok_444_17x33", "ok_422", "ok_420"]:
        pixels = decode((HERE / f"{name}.jpg").read_bytes())
        (HERE / f"{name}.reference").write_bytes(np.clip(np.rint(pixels), 0, 255).astype(np.uint8).tobytes())


if __name__ == "__main__":
    main()
