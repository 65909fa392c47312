"""Names of the floats in the renderer's parameter rows, shared by Python and C++ (`header()` writes the #defines)."""

# One material: two colours, a pattern, an optional picture from the atlas, surface noise.
MATERIAL = ["r1", "g1", "b1", "r2", "g2", "b2", "type", "freq", "angle", "tex", "texu", "texv", "texs", "noise", "spec", "bump"]
NM = len(MATERIAL)
TYPES = ["plain", "stripes", "bands", "checks", "dots", "blotches", "picture", "logo", "planks"]
SLOTS = ["skin", "top", "bottom", "hair", "shoes", "jacket"]

PERSON = ["sleeve", "hem", "neck", "neckv", "waist", "legs", "shoe", "sock", "jacket", "jhem", "jsleeve", "jopen",
          "skirt", "skirtlen", "hairmesh", "hairlen", "hairp", "hairq", "hairl", "beard", "hat", "mask", "glasses", "glove",
          "offtop", "offbottom", "offjacket", "offhair", "fold", "foldf", "seed", "lip", "iris", "tuck", "offskin", "brow", "suit", "footwear", "wig", "skintex", "recolour"]
PERSON_MATERIALS = len(PERSON)
NP_ = len(PERSON) + NM * len(SLOTS)

IMAGE = (["skyr", "skyg", "skyb", "gndr", "gndg", "gndb"]
         + [f"l{k}{c}" for k in range(3) for c in ("x", "y", "z", "r", "g", "b")]
         + ["horizon", "slope", "fx0", "fy0", "fx1", "fy1", "padr", "padg", "padb", "real"]
         + [f"a{k}" for k in range(6)] + ["gain", "bgzoom", "seed", "vign", "bgblur"])
IMAGE_MATERIALS = len(IMAGE)
NI_ = len(IMAGE) + NM * 2

ATTR = ["x", "y", "z", "arm", "leg", "tor", "part"]
CLASSES = ["torso", "arm", "leg", "head", "eye", "skirt", "hair", "worn", "none"]

AUGMENT = (["gainr", "gaing", "gainb", "sat", "contrast", "gamma", "low", "nearest", "radius", "randmix", "noise", "seed"]
           + [f"hole{k}{c}" for k in range(2) for c in ("x", "y", "w", "h")] + ["holenoise", "jpeg"])
NAUG = len(AUGMENT)


def header():
    out = []
    for prefix, names in (("M_", MATERIAL), ("P_", PERSON), ("I_", IMAGE), ("A_", ATTR), ("C_", CLASSES), ("T_", TYPES), ("S_", SLOTS), ("G_", AUGMENT)):
        out += [f"#define {prefix}{n.upper()} {k}" for k, n in enumerate(names)]
    out += [f"#define NM {NM}", f"#define P_MATERIALS {PERSON_MATERIALS}", f"#define NP {NP_}", f"#define I_MATERIALS {IMAGE_MATERIALS}",
            f"#define NI {NI_}", f"#define NA {len(ATTR)}", f"#define AUG {NAUG}"]
    return "\n".join(out) + "\n"
