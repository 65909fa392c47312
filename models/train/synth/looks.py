"""Random looks: bodies' clothes, skin and hair; props; light and backgrounds. Everything is a batch of rows for render.cu (layout.py)."""
import math

import torch

import layout as L

T = {n: k for k, n in enumerate(L.TYPES)}


class Dice:
    """Random tensors on one device."""

    def __init__(self, device, seed=None):
        self.d = device
        self.g = torch.Generator(device=device)
        if seed is not None:
            self.g.manual_seed(seed)

    def u(self, n, lo=0.0, hi=1.0):
        shape = n if isinstance(n, tuple) else (n,)
        return torch.rand(shape, device=self.d, generator=self.g) * (hi - lo) + lo

    def n(self, n, mean=0.0, sd=1.0):
        shape = n if isinstance(n, tuple) else (n,)
        return torch.randn(shape, device=self.d, generator=self.g) * sd + mean

    def chance(self, n, p):
        return self.u(n) < p

    def pick(self, n, weights):
        w = torch.tensor(weights, dtype=torch.float32, device=self.d)
        return torch.multinomial(w, n, replacement=True, generator=self.g)

    def index(self, n, k):
        return torch.randint(0, k, (n,), device=self.d, generator=self.g)


def hsv(h, s, v):
    k = (torch.tensor([5.0, 3.0, 1.0], device=h.device) + h[:, None] * 6) % 6
    return v[:, None] * (1 - s[:, None] * torch.clamp(torch.minimum(k, 4 - k), 0, 1))


def fabric_colour(d, n):
    """What people wear: mostly greys, blacks, whites, blues; some of every colour."""
    kind = d.pick(n, [0.36, 0.2, 0.44])
    grey = d.u(n) ** 1.3
    h = torch.where(kind == 1, d.n(n, 0.6, 0.03), d.u(n))
    s = torch.where(kind == 0, d.u(n) * 0.08, torch.where(kind == 1, d.u(n, 0.25, 0.75), d.u(n) ** 0.7))
    v = torch.where(kind == 0, 0.04 + 0.9 * grey, torch.where(kind == 1, d.u(n, 0.12, 0.6), d.u(n, 0.15, 0.95)))
    return hsv(h % 1.0, s, v)


def materials(d, n, textures, weights, freq=(6, 60)):
    m = torch.zeros(n, L.NM, device=d.d)
    m[:, 0:3] = fabric_colour(d, n)
    near = (m[:, 0:3] * d.u((n, 1), 0.4, 1.5) + d.n((n, 3), 0, 0.05)).clamp(0.02, 0.95)
    m[:, 3:6] = torch.where(d.chance((n, 1), 0.5), near, fabric_colour(d, n))
    m[:, 6] = d.pick(n, weights).float()
    m[:, 7] = torch.exp(d.u(n, math.log(freq[0]), math.log(freq[1])))
    m[:, 8] = torch.where(d.chance(n, 0.6), torch.zeros(n, device=d.d), d.u(n, 0, 3.14))
    m[:, 9] = d.index(n, max(textures, 1)).float()
    m[:, 10], m[:, 11] = d.u(n, 0, 3), d.u(n, 0, 3)
    m[:, 12] = torch.exp(d.u(n, 0.0, 1.8))
    m[:, 13] = d.u(n) ** 3 * 0.3
    m[:, 14] = d.u(n) ** 4 * 0.35
    m[:, 15] = d.u(n, 0.2, 2.0)
    return m


SKIN = [[0.95, 0.80, 0.71], [0.91, 0.72, 0.60], [0.86, 0.66, 0.52], [0.78, 0.56, 0.42], [0.66, 0.45, 0.32], [0.50, 0.33, 0.23], [0.36, 0.23, 0.16], [0.24, 0.15, 0.11]]
HAIR = [[0.05, 0.04, 0.04], [0.10, 0.07, 0.05], [0.20, 0.12, 0.08], [0.33, 0.21, 0.12], [0.55, 0.40, 0.22], [0.75, 0.62, 0.42], [0.45, 0.20, 0.10], [0.55, 0.55, 0.55], [0.85, 0.85, 0.83]]

TOP_TYPES = [0.40, 0.12, 0.07, 0.10, 0.03, 0.08, 0.07, 0.13, 0.0]
BOTTOM_TYPES = [0.72, 0.04, 0.03, 0.06, 0.01, 0.08, 0.06, 0.0, 0.0]


def people(d, n, textures, wardrobe=(0, 0, 0, 0)):
    """[n, NP] rows. wardrobe: numbers of suits, shoes, hair meshes, skins (prep_wardrobe.py)."""
    p = torch.zeros(n, L.NP_, device=d.d)
    c = {name: k for k, name in enumerate(L.PERSON)}

    def put(name, value):
        p[:, c[name]] = value

    where = torch.where
    zero = torch.zeros(n, device=d.d)
    sleeve = d.pick(n, [0.12, 0.36, 0.07, 0.45])  # none, short, three quarters, long
    put("sleeve", where(sleeve == 0, d.u(n, -0.12, 0.0), where(sleeve == 1, d.u(n, 0.15, 0.45), where(sleeve == 2, d.u(n, 0.45, 0.85), d.u(n, 0.9, 1.04)))))
    bare = d.chance(n, 0.04)
    put("hem", where(bare, zero + 2, where(d.chance(n, 0.08), d.u(n, 0.1, 0.4), d.u(n, -0.35, 0.12))))
    put("neck", d.u(n, 0.86, 1.06))
    put("neckv", where(d.chance(n, 0.35), d.u(n, 0.05, 0.3), zero))
    put("waist", d.u(n, 0.08, 0.22))
    legs = d.pick(n, [0.06, 0.24, 0.1, 0.6])
    put("legs", where(legs == 0, d.u(n, 0.04, 0.15), where(legs == 1, d.u(n, 0.2, 0.5), where(legs == 2, d.u(n, 0.5, 0.85), d.u(n, 0.88, 1.02)))))
    put("shoe", where(d.chance(n, 0.14), zero + 9, where(d.chance(n, 0.12), d.u(n, 0.6, 0.95), d.u(n, 0.97, 1.03))))
    put("sock", where(d.chance(n, 0.3), d.u(n, 0.6, 0.98), zero + 9))
    put("jacket", d.chance(n, 0.22).float())
    put("jhem", where(d.chance(n, 0.25), d.u(n, -0.9, -0.3), d.u(n, -0.25, 0.15)))
    put("jsleeve", where(d.chance(n, 0.1), zero, d.u(n, 0.9, 1.05)))
    put("jopen", where(d.chance(n, 0.35), zero, d.u(n, 0.02, 0.12)))
    skirt = d.pick(n, [0.86, 0.07, 0.07])
    put("skirt", skirt.float())
    put("skirtlen", d.u(n, 0.2, 1.05))
    put("hairmesh", d.chance(n, 0.3).float())
    put("hairlen", d.u(n, 0.05, 0.4))
    put("hairp", where(d.chance(n, 0.1), zero + 9, d.u(n, 0.42, 0.68)))
    put("hairq", where(d.chance(n, 0.07), zero - 9, d.n(n, 0.02, 0.1)))
    put("hairl", d.u(n, 0.2, 0.75))
    put("beard", d.chance(n, 0.14).float())
    put("hat", d.chance(n, 0.14).float())
    put("mask", d.chance(n, 0.03).float())
    put("glasses", where(d.chance(n, 0.2), d.u(n, 0.6, 2.2), zero))
    put("glove", d.chance(n, 0.06).float())
    put("offtop", 0.004 + 0.03 * d.u(n) ** 2)
    put("offbottom", 0.004 + 0.03 * d.u(n) ** 2)
    put("offjacket", 0.012 + 0.035 * d.u(n) ** 1.5)
    put("offhair", 0.004 + 0.05 * d.u(n) ** 3)
    put("fold", d.u(n, 0, 1.0))
    put("foldf", d.u(n, 6, 22))
    put("seed", d.u(n, 0, 50))
    put("lip", d.u(n, 0.05, 0.6))
    put("iris", d.u(n, 0.2, 1.6))
    put("tuck", d.chance(n, 0.35).float())
    put("brow", d.u(n, 0.25, 0.9))
    m = materials(d, n * 6, textures, TOP_TYPES).view(n, 6, L.NM)
    m[:, 2] = materials(d, n, textures, BOTTOM_TYPES)
    skin = torch.tensor(SKIN, device=d.d)
    x = d.u(n) * (len(SKIN) - 1.001)
    i = x.long()
    tone = skin[i] + (skin[i + 1] - skin[i]) * (x - i)[:, None]
    m[:, 0, 0:3] = (tone * d.u((n, 1), 0.85, 1.1) * (1 + d.n((n, 3), 0, 0.04))).clamp(0.03, 1)
    m[:, 0, 6] = 0
    m[:, 0, 13] = d.u(n, 0.02, 0.2)
    m[:, 0, 14] = d.u(n, 0, 0.25)
    m[:, 0, 15] = d.u(n, 0, 0.5)
    hair = torch.tensor(HAIR, device=d.d)
    m[:, 3, 0:3] = (hair[d.pick(n, [5, 5, 5, 4, 3, 2, 1, 2, 1.5])] * d.u((n, 1), 0.7, 1.3) * (1 + d.n((n, 3), 0, 0.06))).clamp(0.01, 1)
    m[:, 3, 6] = 0
    m[:, 3, 13] = d.u(n, 0.2, 0.7)
    m[:, 3, 14] = d.u(n, 0, 0.3)
    m[:, 4, 6] = 0
    # Uniforms: top and bottom alike.
    same = d.chance(n, 0.12)
    m[:, 2] = where(same[:, None], m[:, 1], m[:, 2])
    # A logo sits on the chest.
    logo = m[:, 1:, 6] == T["logo"]
    size = d.u((n, 5), 3.0, 9.0)
    m[:, 1:, 10] = where(logo, 0.5 + d.n((n, 5), 0, 0.2), m[:, 1:, 10])
    m[:, 1:, 11] = where(logo, 0.5 + size * d.u((n, 5), 0.28, 0.42), m[:, 1:, 11])
    m[:, 1:, 12] = where(logo, size, m[:, 1:, 12])
    # MakeHuman's own clothes, shoes, hair and skins for most people; what they replace is taken off.
    suits, shoes, wigs, skins = wardrobe
    put("skintex", zero - 1)
    if suits:
        on = d.chance(n, 0.72)
        put("suit", where(on, 1.0 + d.index(n, suits), zero))
        for name, off in (("sleeve", -9.0), ("hem", 9.0), ("legs", -9.0), ("jacket", 0.0), ("skirt", 0.0), ("tuck", 0.0), ("glove", 0.0)):
            p[:, c[name]] = where(on, zero + off, p[:, c[name]])
        shod = d.chance(n, 0.6)
        put("footwear", where(shod, 1.0 + suits + d.index(n, shoes), zero))
        p[:, c["shoe"]], p[:, c["sock"]] = where(shod, zero + 9, p[:, c["shoe"]]), where(shod & on, zero + 9, p[:, c["sock"]])
        haired = d.chance(n, 0.6)
        put("wig", where(haired, 1.0 + suits + shoes + d.index(n, wigs), zero))
        p[:, c["hairmesh"]] = where(haired, zero, p[:, c["hairmesh"]])
        p[:, c["hat"]] = where(haired & d.chance(n, 0.8), zero, p[:, c["hat"]])
        put("recolour", where(d.chance(n, 0.3), zero, where(d.chance(n, 0.7), zero + 1, d.u(n))))
        skin_on = d.chance(n, 0.85)
        put("skintex", where(skin_on, d.index(n, skins).float(), zero - 1))
        tint = d.u((n, 1), 0.8, 1.2) * (1 + d.n((n, 3), 0, 0.05))
        m[:, 0, 0:3] = where(skin_on[:, None], tint, m[:, 0, 0:3])
    p[:, L.PERSON_MATERIALS:] = m.reshape(n, -1)
    return p


def images(d, n, textures, scenes=0):
    """[n, NI] rows: light, background. The first `scenes` of the textures are photographed places: most backgrounds."""
    r = torch.zeros(n, L.NI_, device=d.d)
    c = {name: k for k, name in enumerate(L.IMAGE)}
    tint = 1 + d.n((n, 3), 0, 0.07)
    amb = d.u((n, 1), 0.25, 0.85)
    r[:, 0:3] = amb * tint
    r[:, 3:6] = amb * d.u((n, 1), 0.3, 0.9) * (1 + d.n((n, 3), 0, 0.08))
    for k in range(3):
        v = d.n((n, 3))
        v[:, 1] = -v[:, 1].abs() - 0.2 if k == 0 else v[:, 1] - 0.3
        # The key light mostly comes from the camera's side; now and then from behind (backlight).
        v[:, 2] = torch.where(d.chance(n, 0.8 if k == 0 else 0.5), -v[:, 2].abs(), v[:, 2])
        o = c[f"l{k}x"]
        r[:, o:o + 3] = torch.nn.functional.normalize(v, dim=1)
        power = d.u((n, 1), 0.1, 0.9) if k == 0 else d.u((n, 1)) * 0.6 * d.chance((n, 1), 0.5)
        r[:, o + 3:o + 6] = power * (1 + d.n((n, 3), 0, 0.08))
    picture = d.chance(n, 0.86)
    w = [0.25, 0.06, 0.06, 0.05, 0.03, 0.33, 0.0, 0.0, 0.22]
    m = materials(d, n * 2, textures, w, (0.5, 6)).view(n, 2, L.NM)
    m[:, 0, 6] = torch.where(picture, torch.full_like(m[:, 0, 6], T["picture"]), m[:, 0, 6])
    m[:, 0, 12] = torch.where(picture, d.u(n, 0.5, 1.0), m[:, 0, 12])
    m[:, :, 13] = d.u((n, 2)) ** 2 * 0.25
    if scenes:
        m[:, 0, 9] = torch.where(picture & d.chance(n, 0.85), d.index(n, scenes).float(), m[:, 0, 9])
    r[:, c["horizon"]] = torch.where(picture & d.chance(n, 0.75), torch.full((n,), 5.0, device=d.d), torch.where(d.chance(n, 0.3), torch.full((n,), 5.0, device=d.d), d.u(n, 0.2, 1.1)))
    r[:, c["slope"]] = d.n(n, 0, 0.08)
    r[:, c["fx1"]] = r[:, c["fy1"]] = 1
    r[:, c["padr"]:c["padr"] + 3] = -1  # a marker: the caller paints it after the colour changes
    r[:, c["real"]] = -1
    r[:, c["gain"]] = d.u(n, 0.45, 1.15)
    r[:, c["bgzoom"]] = torch.where(picture, torch.ones(n, device=d.d), d.u(n, 1.5, 6))
    r[:, c["seed"]] = d.u(n, 0, 60)
    r[:, L.IMAGE_MATERIALS:] = m.reshape(n, -1)
    return r


PROP_TYPES = [0.42, 0.08, 0.07, 0.06, 0.03, 0.12, 0.16, 0.0, 0.06]


def prop_materials(d, n, textures):
    m = materials(d, n, textures, PROP_TYPES, (0.8, 8))
    skinny = d.chance(n, 0.12)  # limbs of nobody
    skin = torch.tensor(SKIN, device=d.d)[d.index(n, len(SKIN))]
    m[:, 0:3] = torch.where(skinny[:, None], skin, m[:, 0:3])
    m[:, 6] = torch.where(skinny, torch.zeros(n, device=d.d), m[:, 6])
    m[:, 12] = d.u(n, 0.3, 1.0)
    m[:, 14] = d.u(n) ** 3 * 0.6
    return m
