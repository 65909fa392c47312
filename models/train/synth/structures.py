"""Things made of poles, boards and balls: chairs, racks, ladders, scaffolds, lamps, trees. People sit on them and stand among them; a detector
takes them for people unless it has seen many of them without one.

`templates(n)` -> kind [n, PARTS] (0 box, 1 ball, 2 tube, of synth.prop_meshes), place [n, PARTS, 3, 4] (unit mesh to metres, y up, middle of
the thing at the origin; unused parts have no size), paint [n, PARTS] (which of the thing's three materials), height [n], seat [n] (of chairs:
height of the seat above the middle; else NaN).
"""
import numpy as np

PARTS = 16
BOX, BALL, TUBE = 0, 1, 2


class Parts:
    def __init__(self):
        self.kind, self.m, self.paint = [], [], []

    def add(self, kind, R, size, at, paint=0):
        self.kind.append(kind)
        self.m.append(np.column_stack([R * np.asarray(size, float), at]))
        self.paint.append(paint)

    def box(self, at, size, paint=0):
        self.add(BOX, np.eye(3), size, at, paint)

    def ball(self, at, size, paint=0):
        self.add(BALL, np.eye(3), size, at, paint)

    def stick(self, a, b, thick, paint=0, square=False):
        """From a to b; the unit meshes are long along y."""
        a, b = np.asarray(a, float), np.asarray(b, float)
        y = b - a
        n = np.linalg.norm(y) + 1e-9
        y /= n
        x = np.cross(y, [0.3, 0.1, 1.0] if abs(y[1]) > 0.9 else [0, 1.0, 0])
        x /= np.linalg.norm(x)
        self.add(BOX if square else TUBE, np.stack([x, y, np.cross(x, y)], 1), [thick, n, thick], (a + b) / 2, paint)


def chair(r, p):
    w, d, s, t = r.uniform(0.38, 0.55), r.uniform(0.36, 0.5), r.uniform(0.4, 0.5), r.uniform(0.02, 0.05)
    p.box([0, s - 0.03, 0], [w, r.uniform(0.03, 0.12), d], 1)
    if r.random() < 0.25:  # one leg with a foot
        p.stick([0, 0.05, 0], [0, s, 0], 0.06)
        for a in np.arange(5) * 2 * np.pi / 5:
            p.stick([0, 0.08, 0], [0.3 * np.cos(a), 0.03, 0.3 * np.sin(a)], 0.04)
    elif r.random() < 0.15:  # an armchair or a block
        p.box([0, s / 2 - 0.03, 0], [w * 1.2, s - 0.08, d * 1.2], 1)
    else:
        for x in (-1, 1):
            for z in (-1, 1):
                p.stick([x * w / 2, 0, z * d / 2], [x * w / 2, s, z * d / 2], t, 0, r.random() < 0.5)
    back = r.uniform(0.3, 0.6)
    kind = r.integers(4)
    if kind == 0:
        p.box([0, s + back / 2, -d / 2], [w, back, 0.05], 1)
    elif kind == 1:
        for x in (-1, 1):
            p.stick([x * w / 2, s, -d / 2], [x * w / 2, s + back, -d / 2 - 0.06], t)
        for k in range(r.integers(1, 4)):
            y = s + back * (0.4 + 0.25 * k)
            p.stick([-w / 2, y, -d / 2 - 0.05], [w / 2, y, -d / 2 - 0.05], 0.05, 1, True)
    elif kind == 2:
        p.box([0, s + back * 0.7, -d / 2 - 0.03], [w, back * 0.5, 0.03], 1)
    if r.random() < 0.3:
        for x in (-1, 1):
            p.stick([x * w / 2, s + 0.2, -d / 2], [x * w / 2, s + 0.2, d / 2], 0.05, 0, True)
    return s


def bench(r, p):
    w, s = r.uniform(0.9, 2.0), r.uniform(0.38, 0.5)
    p.box([0, s - 0.04, 0], [w, 0.08, r.uniform(0.35, 0.8)], 1)
    for x in (-0.42, 0.42):
        p.box([x * w, s / 2 - 0.04, 0], [0.08, s - 0.08, 0.35])
    if r.random() < 0.5:
        p.box([0, s + 0.25, -0.25], [w, r.uniform(0.15, 0.5), 0.06], 1)
    return s


def table(r, p):
    w, d, h, t = r.uniform(0.5, 1.6), r.uniform(0.4, 0.8), r.uniform(0.6, 1.1), r.uniform(0.03, 0.08)
    p.box([0, h, 0], [w, 0.05, d], 1)
    for x in (-0.45, 0.45):
        for z in (-0.45, 0.45):
            p.stick([x * w, 0, z * d], [x * w, h, z * d], t, 0, r.random() < 0.5)
    for _ in range(r.integers(0, 6)):
        s = r.uniform(0.06, 0.4, 3)
        (p.box if r.random() < 0.6 else p.ball)([r.uniform(-0.4, 0.4) * w, h + s[1] / 2, r.uniform(-0.4, 0.4) * d], s, 2)


def scaffold(r, p):
    w, d, h, t = r.uniform(0.5, 2.2), r.uniform(0.3, 1.2), r.uniform(1.1, 2.6), np.exp(r.uniform(np.log(0.02), np.log(0.08)))
    deep = r.random() < 0.6
    for z in ((-1, 1) if deep else (0,)):
        for x in (-1, 1):
            p.stick([x * w / 2, 0, z * d / 2], [x * w / 2, h, z * d / 2], t)
        for _ in range(r.integers(1, 3)):
            y = r.uniform(0.15, 1.0) * h
            p.stick([-w / 2, y, z * d / 2], [w / 2, y, z * d / 2], t, r.integers(2))
        for _ in range(r.integers(0, 3)):
            y = r.uniform(0, 1, 2) * h
            p.stick([-w / 2, y[0], z * d / 2], [w / 2, y[1], z * d / 2], t * 0.8, r.integers(2))
    if deep:
        for _ in range(r.integers(1, 4)):
            y, x = r.uniform(0.1, 1.0) * h, r.choice([-1, 1])
            p.stick([x * w / 2, y, -d / 2], [x * w / 2, y, d / 2], t, r.integers(2))
    if r.random() < 0.3:
        p.box([0, r.uniform(0.3, 0.9) * h, 0], [w, 0.05, d], 2)


def ladder(r, p):
    w, h, t, lean = r.uniform(0.3, 0.6), r.uniform(1.2, 3.0), r.uniform(0.025, 0.06), r.normal(0, 0.25)
    for x in (-1, 1):
        p.stick([x * w / 2, 0, 0], [x * w / 2 * r.uniform(0.6, 1.0), h, lean * h], t, 0, True)
        if r.random() < 0.4:  # a stepladder's other half
            p.stick([x * w / 2, 0, 0.9 * h * 0.4], [x * w / 2, h, lean * h], t, 0, True)
    for k in range(r.integers(4, 11)):
        y = 0.28 * (k + 0.7)
        if y < h:
            p.stick([-w / 2, y, lean * y], [w / 2, y, lean * y], t * r.uniform(0.6, 1.2), 1)


def clothes(r, p):
    """A clothes rail, or coats on a stand: what people wear without people."""
    w, h, t = r.uniform(0.4, 1.6), r.uniform(1.3, 1.9), r.uniform(0.02, 0.05)
    if r.random() < 0.6:
        for x in (-0.5, 0.5):
            p.stick([x * w, 0, 0], [x * w, h, 0], t)
            p.stick([x * w, 0.03, -0.25], [x * w, 0.03, 0.25], t)
        p.stick([-w / 2, h, 0], [w / 2, h, 0], t)
        for _ in range(r.integers(1, 10)):
            l = r.uniform(0.4, 1.1)
            p.box([r.uniform(-0.48, 0.48) * w, h - 0.08 - l / 2, r.normal(0, 0.03)], [r.uniform(0.04, 0.14) if r.random() < 0.7 else 0.45, l, r.uniform(0.3, 0.5)], r.integers(3))
    else:
        p.stick([0, 0, 0], [0, h, 0], 0.05)
        for _ in range(3):
            a = r.uniform(0, 6.3)
            p.stick([0, 0.1, 0], [0.3 * np.cos(a), 0, 0.3 * np.sin(a)], 0.04)
            p.stick([0, h - 0.15, 0], [0.18 * np.cos(a), h, 0.18 * np.sin(a)], 0.03)
        for _ in range(r.integers(0, 4)):
            l, a = r.uniform(0.3, 0.9), r.uniform(0, 6.3)
            p.ball([0.12 * np.cos(a), h - 0.15 - l / 2, 0.12 * np.sin(a)], [r.uniform(0.15, 0.5), l, r.uniform(0.12, 0.3)], r.integers(1, 3))


def lamp(r, p):
    h = r.uniform(0.5, 2.2)
    if r.random() < 0.5:
        p.stick([0, 0, 0], [0, 0.03, 0], r.uniform(0.2, 0.45))
        p.stick([0, 0, 0], [r.normal(0, 0.06), h, 0], r.uniform(0.015, 0.06))
    else:
        top = r.uniform(0.4, 0.8) * h
        for a in np.arange(3) * 2.09 + r.uniform(0, 2):
            p.stick([0, top, 0], [0.45 * np.cos(a), 0, 0.45 * np.sin(a)], 0.03)
        p.stick([0, top, 0], [0, h, 0], 0.03)
    s = r.uniform(0.1, 0.5)
    (p.ball if r.random() < 0.4 else p.box)([0, h + s / 3, 0], [s, s * r.uniform(0.4, 1.4), s * r.uniform(0.3, 1)], 1)
    for _ in range(r.integers(0, 4)):
        y, a = r.uniform(0.3, 0.95) * h, r.uniform(0, 6.3)
        p.stick([0, y, 0], [r.uniform(0.1, 0.6) * np.cos(a), y + r.normal(0, 0.25), 0.3 * np.sin(a)], 0.03)


def weights(r, p):
    w, h, t = r.uniform(0.9, 1.4), r.uniform(0.7, 2.2), r.uniform(0.04, 0.1)
    for x in (-0.4, 0.4):
        p.stick([x * w, 0, 0], [x * w, h, 0], t, 0, True)
        p.stick([x * w, 0.03, -0.4], [x * w, 0.03, 0.4], t, 0, True)
    y = r.uniform(0.5, 1.0) * h
    p.stick([-w * 0.75, y, 0.05], [w * 0.75, y, 0.05], 0.03, 1)
    for x in (-0.65, 0.65):
        for k in range(r.integers(1, 4)):
            p.stick([(x + 0.04 * k) * w, y, 0.05], [(x + 0.04 * k) * w + 0.035, y, 0.05], r.uniform(0.2, 0.46), 2)
    if r.random() < 0.5:
        p.box([0, 0.45, 0.5], [0.3, 0.08, 1.1], 2)


def shelf(r, p):
    w, d, h, n = r.uniform(0.4, 1.3), r.uniform(0.25, 0.5), r.uniform(0.8, 2.2), r.integers(2, 6)
    for x in (-0.5, 0.5):
        p.box([x * w, h / 2, 0], [0.03, h, d])
    for k in range(n):
        p.box([0, h * k / (n - 1), 0], [w, 0.03, d])
    for _ in range(r.integers(0, 9)):
        s = r.uniform(0.06, 0.3, 3)
        p.box([r.uniform(-0.4, 0.4) * w, h * r.integers(0, n) / (n - 1) + s[1] / 2, 0], s, r.integers(1, 3))


def plant(r, p):
    h, s = r.uniform(0.6, 3.0), r.uniform(0.2, 0.5)
    p.stick([0, 0, 0], [r.normal(0, 0.08), h * 0.7, 0], r.uniform(0.03, 0.2))
    if r.random() < 0.5:
        p.stick([0, 0, 0], [0, 0.3, 0], 0.3, 2)
    for _ in range(r.integers(3, 10)):
        at = np.array([r.normal(0, 0.22), r.uniform(0.5, 1.0), r.normal(0, 0.2)]) * h
        if r.random() < 0.6:
            p.ball(at, r.uniform(0.3, 1.4, 3) * s * h / 2, 1)
        else:
            p.stick([0, at[1] * 0.7, 0], at, 0.03, r.integers(2))


def bicycle(r, p):
    s = r.uniform(0.6, 0.72)
    for x in (-0.52, 0.52):
        p.stick([x, s / 2, -0.02], [x, s / 2, 0.02], s, r.integers(2))
        p.stick([x, s / 2, -0.03], [x, s / 2, 0.03], s * 0.85, 2)
    a, b, c, d = [-0.52, s / 2, 0], [-0.05, s / 2 - 0.05, 0], [-0.15, 0.85, 0], [0.4, 0.9, 0]
    for m, n in ((a, b), (b, c), (c, d), (b, d), (a, c), (d, [0.52, s / 2, 0])):
        p.stick(m, n, 0.04)
    p.box([-0.17, 0.92, 0], [0.25, 0.06, 0.15], 1)
    p.stick([0.4, 1.0, -0.28], [0.4, 1.0, 0.28], 0.035, 1)


def post(r, p):
    h, t = r.uniform(0.8, 3.2), r.uniform(0.03, 0.2)
    p.stick([0, 0, 0], [0, h, 0], t, 0, r.random() < 0.3)
    for _ in range(r.integers(1, 4)):
        p.box([r.normal(0, 0.1), r.uniform(0.5, 1.0) * h, 0.05], [r.uniform(0.15, 0.8), r.uniform(0.15, 0.6), r.uniform(0.02, 0.25)], r.integers(1, 3))
    for k in range(r.integers(0, 6)):
        p.stick([r.normal(0, 0.5), 0, 0], [r.normal(0, 0.5), r.uniform(0.6, 1.0) * h, 0], t, r.integers(2))


def fence(r, p):
    n, w, h, t = r.integers(3, 11), r.uniform(0.8, 3.0), r.uniform(0.6, 2.0), r.uniform(0.02, 0.1)
    for k in range(n):
        x = (k / (n - 1) - 0.5) * w
        p.stick([x, 0, 0], [x, h, 0], t, 0, r.random() < 0.5)
    for y in r.uniform(0.1, 1.0, r.integers(1, 4)):
        p.stick([-w / 2, y * h, 0.03], [w / 2, y * h, 0.03], t, 1, True)


def pile(r, p):
    """Person-sized columns: bins, loudspeakers, punch bags, bottles, snowmen."""
    y, w = 0.0, r.uniform(0.2, 0.7)
    for _ in range(r.integers(1, 5)):
        s = np.array([w * r.uniform(0.6, 1.1), r.uniform(0.2, 0.9), w * r.uniform(0.5, 1.1)])
        k = r.integers(3)
        p.add(k, np.eye(3), s, [r.normal(0, 0.03), y + s[1] / 2, 0], r.integers(3))
        y += s[1] * (0.9 if k == BALL else 1)
        w *= r.uniform(0.5, 1.05)
        if y > 2:
            break
    for _ in range(r.integers(0, 3)):
        a = r.uniform(0.3, 1.0) * y
        p.stick([0, a, 0], [r.normal(0, 0.5), a + r.normal(0, 0.3), r.normal(0, 0.2)], r.uniform(0.02, 0.1), r.integers(3))


def tangle(r, p):
    """Sticks that lie and lean as limbs do."""
    t = np.exp(r.uniform(np.log(0.02), np.log(0.12)))
    a = np.array([r.normal(0, 0.2), r.uniform(0, 1.8), r.normal(0, 0.2)])
    for _ in range(r.integers(4, 14)):
        b = a + r.normal(0, 1, 3) * [0.4, 0.5, 0.25]
        b[1] = np.clip(b[1], 0, 2.0)
        p.stick(a, b, t * r.uniform(0.5, 1.3), r.integers(3), r.random() < 0.3)
        a = b if r.random() < 0.6 else np.array([r.normal(0, 0.35), r.uniform(0, 1.8), r.normal(0, 0.2)])


SEATS = (chair, bench)
OTHERS = (table, scaffold, scaffold, scaffold, ladder, clothes, clothes, lamp, weights, shelf, plant, bicycle, post, fence, pile, pile, tangle)


def templates(n, seed=7):
    """The first half are things at large, the second half seats."""
    r = np.random.default_rng(seed)
    kind, place, paint = np.zeros((n, PARTS), np.int64), np.zeros((n, PARTS, 3, 4), np.float32), np.zeros((n, PARTS), np.int64)
    height, seat = np.zeros(n, np.float32), np.full(n, np.nan, np.float32)
    for i in range(n):
        p = Parts()
        sits = i >= n // 2
        s = (SEATS[r.random() < 0.3] if sits else OTHERS[r.integers(len(OTHERS))])(r, p)
        k = min(len(p.kind), PARTS)
        m = np.array(p.m[:k])
        h = max(float((m[:, 1, 3] + np.abs(m[:, 1, :3]).sum(1) / 2).max()), 0.3)
        m[:, 1, 3] -= h / 2
        kind[i, :k], place[i, :k], paint[i, :k], height[i] = p.kind[:k], m, p.paint[:k], h
        if sits:
            seat[i] = s - h / 2
    return kind, place, paint, height, seat
