"""Batches of rendered people with labels: `Synth.crops` for the keypoint network, `Synth.scenes` for the finder."""
import ctypes
import os
import subprocess

import numpy as np
import torch

import layout as L
import looks
import structures

HERE = os.path.dirname(os.path.abspath(__file__))
IM = {n: k for k, n in enumerate(L.IMAGE)}
FLIP = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def build(cuda, folder):
    os.makedirs(folder, exist_ok=True)
    open(os.path.join(folder, "layout.h"), "w").write(L.header())
    cmd = (["nvcc", "-O3", "-std=c++17", "--use_fast_math", "-arch=native", "-shared", "-Xcompiler", "-fPIC"] if cuda
           else ["g++", "-O2", "-march=native", "-x", "c++", "-shared", "-fPIC"])
    jobs = []
    for name in ("render", "augment"):  # both at once
        so = os.path.join(folder, f"{name}_{'cuda' if cuda else 'cpu'}.so")
        jobs.append((so, subprocess.Popen(cmd + ["-I" + folder, os.path.join(HERE, name + ".cu"), "-o", so])))
    for so, job in jobs:
        if job.wait():
            raise RuntimeError(f"building {so} failed")
    return [ctypes.CDLL(so) for so, _ in jobs]


class Face(ctypes.Structure):
    _fields_ = [(n, ctypes.c_float) for n in ("ex", "ey", "ez", "my", "cz", "hy", "hd")]


def struct(name, fields):
    return type(name, (ctypes.Structure,), {"_fields_": fields})


P, I, LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_long
Mesh = struct("Mesh", [(n, P) for n in ("attr", "normal", "bone", "weight", "cls", "tri", "uv", "hide")] + [("V", I), ("T", I), ("K", I), ("face", Face)])
View = struct("View", [("proj", P), ("W", I), ("H", I)])
Props = struct("Props", [(n, P) for n in ("pos", "unit", "tri", "image", "local", "kind", "mat")] + [("VP", I), ("TP", I)])
Atlas = struct("Atlas", [("px", P), ("n", I), ("h", I), ("w", I)])
Out = struct("Out", [("rgb", P), ("box", P), ("count", P), ("W", I), ("H", I), ("SS", I)])


def prop_meshes():
    """Box, ellipsoid, cylinder, all in [-0.5, 0.5]^3."""
    out = []

    def grid(f, nu, nv):
        u, v = np.meshgrid(np.linspace(0, 1, nu + 1), np.linspace(0, 1, nv + 1), indexing="ij")
        verts = np.array([f(a, b) for a, b in zip(u.ravel(), v.ravel())])
        q = [(i * (nv + 1) + j, (i + 1) * (nv + 1) + j, (i + 1) * (nv + 1) + j + 1, i * (nv + 1) + j + 1) for i in range(nu) for j in range(nv)]
        return verts, np.array([t for a, b, c, d in q for t in ((a, b, c), (a, c, d))])

    def join(parts):
        v, t, k = [], [], 0
        for a, b in parts:
            v.append(a)
            t.append(b + k)
            k += len(a)
        return np.concatenate(v), np.concatenate(t)

    faces = []
    for axis in range(3):
        for side in (-0.5, 0.5):
            def f(a, b, axis=axis, side=side):
                p = [a - 0.5, b - 0.5]
                p.insert(axis, side)
                return p
            faces.append(grid(f, 2, 2))
    out.append(join(faces))
    out.append(grid(lambda a, b: [0.5 * np.sin(np.pi * b) * np.cos(2 * np.pi * a), 0.5 * np.cos(np.pi * b), 0.5 * np.sin(np.pi * b) * np.sin(2 * np.pi * a)], 10, 7))
    tube = grid(lambda a, b: [0.5 * np.cos(2 * np.pi * a), b - 0.5, 0.5 * np.sin(2 * np.pi * a)], 12, 3)
    lids = [grid(lambda a, b, s=s: [0.5 * b * np.cos(2 * np.pi * a), s, 0.5 * b * np.sin(2 * np.pi * a)], 12, 1) for s in (-0.5, 0.5)]
    out.append(join([tube] + lids))
    VP, TP = max(len(v) for v, _ in out), max(len(t) for _, t in out)
    unit, tri = np.zeros((3, VP, 3), np.float32), np.zeros((3, TP, 3), np.int32)
    for k, (v, t) in enumerate(out):
        unit[k, :len(v)], tri[k, :len(t)] = v, t
    return unit, tri


def rot(axis, a):
    """[n] angles about x, y or z -> [n,3,3]."""
    c, s, o, z = torch.cos(a), torch.sin(a), torch.ones_like(a), torch.zeros_like(a)
    rows = {"x": [o, z, z, z, c, -s, z, s, c], "y": [c, z, s, z, o, z, -s, z, c], "z": [c, -s, z, s, c, z, z, z, o]}[axis]
    return torch.stack(rows, 1).view(-1, 3, 3)


class Synth:
    """Renders on `device`. `folder` holds body.npz and pictures.npz (prep_body.py, prep_photos.py)."""

    def __init__(self, folder, device, seed=None, ss=2, work="/tmp/posewire_render"):
        self.cuda = str(device).startswith("cuda")
        self.device, self.ss = torch.device(device), ss
        self.lib, self.camera_lib = build(self.cuda, work)
        self.d = looks.Dice(self.device, seed)
        z = np.load(os.path.join(folder, "body.npz"))
        t = lambda a, dt=None: torch.as_tensor(np.ascontiguousarray(a), dtype=dt).to(self.device).contiguous()
        self.m = {k: t(z[k]) for k in ("attr", "normal", "bone", "weight", "cls", "tri", "uv", "parent")}
        self.m["hide"] = t(z["hide"].view(np.int32))
        self.V, self.Tn, self.K = len(z["attr"]), len(z["tri"]), len(z["parent"])
        self.face = Face(*[float(a) for a in z["face"]])
        basis = t(z["basis"]).float()
        rest = (t(z["coef"]) @ basis + t(z["mean"]).reshape(1, -1)).view(len(z["coef"]), -1, 3)
        self.rest = self.dress(rest, z, t).contiguous()
        self.joints, self.poses = t(z["joints"]), t(z["poses"]).float().contiguous()
        self.sitting = torch.nonzero(t(z["sit"]))[:, 0]
        self.body = t(z["bounds"][::7]).long()  # enough to bound a person
        unit, tri = prop_meshes()
        self.unit, self.ptri = t(unit), t(tri)
        self.things = [t(a) for a in structures.templates(1024)]
        self.load_pictures(os.path.join(folder, "pictures.npz"))
        self.load_textures(os.path.join(folder, "textures.npz"))

    def dress(self, rest, z, t):
        """[shapes, base + 17, 3] -> with the garments' vertices in between: prep_body.py's `bound` for every shape."""
        if "g_ref" not in z:
            return rest
        body, scale, part = rest[:, :-17], t(z["g_scale"]), t(z["g_part"]).long() - 1
        k = torch.stack([(body[:, scale[:, x, 0].long(), x] - body[:, scale[:, x, 1].long(), x]).abs() / scale[:, x, 2] for x in range(3)], -1)  # [S, garments, 3]
        g = t(z["g_d"])[None] * k[:, part]
        ref, w = t(z["g_ref"]).long(), t(z["g_w"])
        for c in range(3):
            g += body[:, ref[:, c]] * w[None, :, c, None]
        return torch.cat([body, g, rest[:, -17:]], 1)

    def load_textures(self, path):
        """Clothes', hair's and skins' pictures with coverage or brightness in alpha; counts of suits, shoes, hair."""
        self.ward, self.suits, self.shoes, self.wigs, self.skins = None, 0, 0, 0, 0
        if not os.path.exists(path) or int(self.m["attr"][:, L.ATTR.index("part")].max()) == 0:
            return
        from PIL import Image
        import io
        z = np.load(path)

        def pictures(name, mode):
            blob, off = z[name], z[name + "_off"]
            return np.stack([np.asarray(Image.open(io.BytesIO(blob[a:b].tobytes())).convert(mode)) for a, b in zip(off[:-1], off[1:])])

        self.ward = torch.from_numpy(np.concatenate([pictures("rgb", "RGB"), pictures("alpha", "L")[..., None]], 3)).to(self.device).contiguous()
        self.suits, self.shoes, self.wigs = int(z["suits"]), int(z["shoes"]), int(z["hair"])
        self.skins = len(self.ward) - self.suits - self.shoes - self.wigs

    def load_pictures(self, path):
        """Backgrounds (also used as prints), person crops with teachers' keypoints, whole photographs with teachers' boxes."""
        self.tex = self.crop_px = self.photo_px = None
        self.real_scenes = 0
        if not os.path.exists(path):
            return
        from PIL import Image
        import io
        z = np.load(path, allow_pickle=False)

        def stack(name):
            blob, off = z[name], z[name + "_off"]
            out = [np.asarray(Image.open(io.BytesIO(blob[a:b].tobytes())).convert("RGBA")) for a, b in zip(off[:-1], off[1:])]
            return torch.from_numpy(np.stack(out)).to(self.device).contiguous()

        t = lambda a: torch.as_tensor(z[a]).to(self.device)
        self.real_scenes = int(z["scenes"])
        self.tex, self.crop_px, self.photo_px = stack("backgrounds"), stack("crops"), stack("photos")
        self.crop_kp, self.crop_box, self.crop_w, self.crop_train = t("crop_kp"), t("crop_box"), t("crop_w"), t("crop_train")
        self.crop_in, self.photo_in = t("crop_in"), t("photo_in")  # where the photograph lies in its atlas tile
        self.photo_box, self.photo_w, self.photo_train = t("photo_box"), t("photo_w"), t("photo_train")

    # ---- the renderer's calls -------------------------------------------------------------------------------------------------------

    def stream(self):
        return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream) if self.cuda else None

    def mesh(self):
        return Mesh(*[self.m[k].data_ptr() for k in ("attr", "normal", "bone", "weight", "cls", "tri", "uv", "hide")], self.V, self.Tn, self.K, self.face)

    def atlas(self, px):
        return Atlas(px.data_ptr(), *px.shape[:3]) if px is not None else Atlas(None, 0, 1, 1)

    def skin(self, person, shape, pose, root):
        n = len(person)
        bones = torch.empty(n, self.K, 12, device=self.device)
        pos = torch.empty(n, self.V, 3, device=self.device)
        nrm = torch.empty(n, self.V, 3, device=self.device)
        ptr = lambda t: ctypes.c_void_p(t.data_ptr())
        shape, pose = shape.int().contiguous(), pose.int().contiguous()
        self.lib.pw_bones(self.stream(), LONG(n), ptr(self.poses), ptr(self.joints), ptr(self.m["parent"]), ptr(pose), ptr(shape), ptr(root), ptr(bones), I(self.K))
        self.lib.pw_skin(self.stream(), LONG(n), ctypes.byref(self.mesh()), ptr(self.rest), ptr(shape), ptr(bones), ptr(person), ptr(pos), ptr(nrm))
        return pos, nrm

    def draw(self, B, W, H, person, pos, nrm, image, props, proj, rows, photo):
        """image: [n] sorted picture index of each person. Returns rgb [B,3,H,W], z keys [B,H*SS,W*SS], boxes [n,4], pixel counts [n]."""
        dev, SS = self.device, self.ss
        counts = torch.bincount(image, minlength=B)
        first = torch.cumsum(counts, 0) - counts
        local = (torch.arange(len(image), device=dev) - first[image]).int().contiguous()
        ppos, pkind, pmat, pimage = props
        pc = torch.bincount(pimage, minlength=B)
        pfirst = torch.cumsum(pc, 0) - pc
        plocal = (torch.arange(len(pimage), device=dev) - pfirst[pimage]).int().contiguous()
        keep = [t.int().contiguous() for t in (image, first, pfirst, pimage, pkind)]
        im32, f32, pf32, pi32, pk32 = keep
        proj = (proj * SS).contiguous()
        zb = torch.full((B, H * SS, W * SS), 0x7fffffffffffffff, dtype=torch.int64, device=dev)
        rgb = torch.empty(B, 3, H, W, device=dev)
        box = torch.tensor([10000, 10000, 0, 0], dtype=torch.int32, device=dev).repeat(max(len(image), 1), 1)
        cnt = torch.zeros(max(len(image), 1), dtype=torch.int32, device=dev)
        pr = Props(ppos.data_ptr(), self.unit.data_ptr(), self.ptri.data_ptr(), pi32.data_ptr(), plocal.data_ptr(), pk32.data_ptr(), pmat.data_ptr(), self.unit.shape[1], self.ptri.shape[1])
        view = View(proj.data_ptr(), W * SS, H * SS)
        out = Out(rgb.data_ptr(), box.data_ptr(), cnt.data_ptr(), W, H, SS)
        ptr = lambda t: ctypes.c_void_p(t.data_ptr())
        ref = ctypes.byref
        mesh, ward = self.mesh(), self.atlas(self.ward)
        wigs, garments = self.suits + self.shoes, self.suits + self.shoes + self.wigs
        if self.ward is None:
            wigs = garments = 1000
        self.lib.pw_raster(self.stream(), LONG(len(image)), LONG(len(pimage)), ref(mesh), ref(pr), ref(view), ref(ward), I(wigs), ptr(pos), ptr(person), ptr(im32), ptr(local), ptr(zb))
        self.lib.pw_shade(self.stream(), LONG(B), ref(mesh), ref(pr), ref(view), ptr(pos), ptr(nrm), ptr(person), ptr(f32), ptr(pf32), ptr(rows), ptr(zb),
                          ref(self.atlas(self.tex)), ref(self.atlas(photo)), ref(ward), I(wigs), I(garments), ref(out))
        return rgb, zb, box, cnt

    # ---- composing ------------------------------------------------------------------------------------------------------------------

    def camera(self, B):
        """World (y up, z towards the viewer) to camera (y down, z away) rotations: phones, webcams, ceilings, drones, low robots."""
        d = self.d
        pitch = torch.where(d.chance(B, 0.12), d.u(B, 0.3, 1.1), d.n(B, 0.12, 0.2))
        roll = torch.where(d.chance(B, 0.1), d.n(B, 0, 0.5), d.n(B, 0, 0.06))
        flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], device=self.device))
        return rot("z", roll) @ rot("x", pitch) @ flip

    def roots(self, cam, place):
        """Rows of 12 for pw_bones: camera x own heading, then the hips' place in camera space."""
        d, n = self.d, len(cam)
        lying = d.chance(n, 0.04)
        tip = rot("z", torch.where(lying, d.u(n, -1.7, 1.7), d.n(n, 0, 0.04)))
        R = cam @ tip @ rot("y", d.u(n, -3.1416, 3.1416))
        return torch.cat([R.reshape(n, 9), place], 1).contiguous()

    def props(self, B, count, cam, centre, wrists, depth_scale):
        """Clutter behind, furniture, things in hands, things in front. centre: [B,3] camera space; returns draw()'s tuple."""
        d, dev = self.d, self.device
        n = B * count
        image = torch.arange(B, device=dev).repeat_interleave(count)
        kind = d.pick(n, [0.45, 0.2, 0.35])
        role = d.pick(n, [0.56, 0.22, 0.13, 0.09])  # behind, beside, held, in front
        c = centre[image]
        size = torch.exp(d.n((n, 3), -1.2, 0.7))
        off = torch.zeros(n, 3, device=dev)
        z = c[:, 2]
        off[:, 0], off[:, 1] = d.n(n, 0, 0.9), d.n(n, 0.1, 0.7)
        off[:, 2] = torch.where(role == 0, d.u(n, 0.4, 2.5), torch.where(role == 1, d.n(n, 0, 0.35), -d.u(n, 0.05, 0.6) * z))
        scale = torch.where(role == 0, 1 + off[:, 2] / z, torch.ones_like(z)).clamp(0.3, 3)
        place = torch.stack([(c[:, 0] + off[:, 0] * scale), c[:, 1] + off[:, 1] * scale, z + off[:, 2]], 1)
        place[:, :2] = torch.where((role == 3)[:, None], place[:, :2] * (place[:, 2] / z)[:, None], place[:, :2])
        size = torch.where((role == 3)[:, None], size * (place[:, 2] / z)[:, None] * 0.8, size)
        if wrists is not None:
            w = wrists[image, d.index(n, wrists.shape[1])] + d.n((n, 3), 0, 0.05)
            place = torch.where((role == 2)[:, None], w, place)
            size = torch.where((role == 2)[:, None], torch.exp(d.n((n, 3), -2.3, 0.6)), size)
        place[:, 2] = place[:, 2].clamp(min=0.4)
        # Half of them stand upright in the world, half lie anyhow; many are long and thin.
        free = d.chance(n, 0.5)
        R = cam[image] @ rot("y", d.u(n, -3.14, 3.14)) @ rot("z", torch.where(free, d.n(n, 0, 0.8), torch.zeros(n, device=dev))) @ rot("x", torch.where(free, d.n(n, 0, 0.8), torch.zeros(n, device=dev)))
        size[:, 1] = torch.where(d.chance(n, 0.4), size[:, 1] * d.u(n, 1.5, 5), size[:, 1])
        unit = self.unit[kind] * size[:, None]
        pos = (unit @ R.transpose(1, 2) + place[:, None]).contiguous()
        drop = d.chance(n, 0.35)  # so that the number of props varies
        pos[drop] = -1.0
        return pos, kind, looks.prop_materials(d, n, 0 if self.tex is None else len(self.tex)).contiguous(), image

    def poses_for(self, n, share):
        """Random poses, of which about `share` (besides those drawn by chance) sit, and which do."""
        d = self.d
        pose = d.index(n, len(self.poses))
        pose = torch.where(d.chance(n, share), self.sitting[d.index(n, len(self.sitting))], pose)
        return pose, torch.isin(pose, self.sitting)

    def structures(self, cam, at, on, landmarks=None, sits=None):
        """One thing of structures.py for each picture that is `on` (and a seat under who sits): draw()'s tuple of PARTS props a picture.
        at: [B,3] where the middle of a standing person would be, camera space; landmarks [B,17,3] of the person who `sits` [B]."""
        d, dev, B, N = self.d, self.device, len(cam), structures.PARTS
        kind, place, paint, height, seat = self.things
        half = len(kind) // 2
        pick = torch.where(d.chance(B, 0.85), d.index(B, half), half + d.index(B, half))
        R = rot("y", d.u(B, -3.14, 3.14)) @ rot("z", torch.where(d.chance(B, 0.2), d.n(B, 0, 0.5), d.n(B, 0, 0.03)))
        R = cam @ R
        scale = torch.exp(d.n((B, 3), 0, 0.18))
        up = cam[:, :, 1]
        # Feet on the ground that a person would stand on.
        mid = at + up * (height[pick] * scale[:, 1] / 2 - 1.0)[:, None]
        if sits is not None:
            hips = landmarks[:, 11:13].mean(1)
            x = landmarks[:, 11] - landmarks[:, 12]
            x = torch.nn.functional.normalize(x - (x * up).sum(1, keepdim=True) * up, dim=1)
            z = torch.linalg.cross(x, up)
            under = half + d.index(B, half)
            pick, scale = torch.where(sits, under, pick), torch.where(sits[:, None], torch.ones_like(scale), scale)
            R = torch.where(sits[:, None, None], torch.stack([x, up, z], 2), R)
            mid = torch.where(sits[:, None], hips - up * (0.11 + seat[pick].nan_to_num())[:, None] + z * d.n((B, 1), 0.08, 0.05), mid)
            on = on | sits
        A = R[:, None] @ (place[pick] * scale[:, None, :, None])  # [B,N,3,4]
        pos = self.unit[kind[pick]] @ A[..., :3].transpose(2, 3) + (A[..., 3] + mid[:, None])[:, :, None]
        used = place[pick].abs().sum((2, 3)) > 0
        pos = torch.where((used & on[:, None])[..., None, None], pos, -1.0)
        mats = looks.prop_materials(d, B * 3, 0 if self.tex is None else len(self.tex)).view(B, 3, -1)
        # Mostly poles of one plain colour.
        plain = d.chance(B, 0.5)
        mats[:, 0, 6] = torch.where(plain, torch.zeros_like(mats[:, 0, 6]), mats[:, 0, 6])
        mat = torch.gather(mats, 1, paint[pick][..., None].expand(-1, -1, mats.shape[2]))
        return pos.flatten(0, 1), kind[pick].flatten(), mat.flatten(0, 1), torch.arange(B, device=dev).repeat_interleave(N)

    def together(self, B, *props):
        """Several draw() tuples as one, sorted by picture."""
        join = lambda k: torch.cat([p[k].view(B, -1, *p[k].shape[1:]) for p in props], 1).flatten(0, 1).contiguous()
        return tuple(join(k) for k in range(4))

    def depth_at(self, zb, b, x, y):
        H, W = zb.shape[1:]
        xi, yi = (x * self.ss).long().clamp(0, W - 1), (y * self.ss).long().clamp(0, H - 1)
        return (zb[b, yi, xi] >> 32).to(torch.int32).view(torch.float32)

    def crops(self, B, W=192, H=256, real=0.0, nobody_share=0.07):
        """rgb [B,3,H,W] (0..1, -1 outside the picture), keypoints [B,17,3] in crop pixels with 0 absent / 1 hidden / 2 seen, and a loss
        weight per keypoint [B,17]. The first int(real*B) pictures are photographs labelled by the teacher; a few of the others show nobody where
        a person was to be expected (all keypoints absent)."""
        d, dev = self.d, self.device
        R = int(real * B) if self.crop_px is not None else 0
        textures = 0 if self.tex is None else len(self.tex)
        # People: rows of (picture, role); the first of each picture is the one to label.
        extra = torch.where(d.chance(B, 0.42), 1 + d.chance(B, 0.35).long(), 0)
        per = 1 + extra
        per[:R] = 1  # a photograph keeps one unseen person far behind the camera, so that indices stay simple
        image = torch.arange(B, device=dev).repeat_interleave(per)
        first = torch.cumsum(per, 0) - per
        n = len(image)
        target = torch.zeros(n, dtype=torch.bool, device=dev)
        target[first] = True
        nobody = d.chance(B, nobody_share)
        nobody[:R] = False
        cam = self.camera(B)
        dist = torch.exp(d.u(B, np.log(1.3), np.log(9.0)))
        place = torch.zeros(n, 3, device=dev)
        place[:, 2] = dist[image]
        near = d.n((n, 3), 0, 1) * torch.tensor([0.75, 0.12, 0.5], device=dev)
        near[:, 0] += 0.25 * torch.sign(near[:, 0])
        # Whoever else is about where nobody is expected stands at the side.
        near[:, 0] = torch.where(nobody[image], 0.75 * torch.sign(near[:, 0]) + 0.4 * near[:, 0], near[:, 0])
        place = torch.where(target[:, None], place, place + near)
        place[:, 2] = place[:, 2].clamp(min=0.8)
        place[nobody[image] & ~target & d.chance(n, 0.6), 2] = -5
        place[:R, 2] = -5
        person = looks.people(d, n, textures, (self.suits, self.shoes, self.wigs, self.skins))
        shape, (pose, sits) = d.index(n, len(self.rest)), self.poses_for(n, 0.12)
        pos, nrm = self.skin(person, shape, pose, self.roots(cam[image], place))
        # The target's bounds in normalised image coordinates.
        tb = pos[first][:, self.body]
        q = tb[..., :2] / tb[..., 2:].clamp(min=0.25)
        lo, hi = q.amin(1), q.amax(1)
        size = hi - lo
        # The picture's frame around it, in units of the person's box: sometimes it cuts the person.
        margin = 0.02 - torch.log(d.u((B, 4), 1e-3, 1)) * torch.tensor([1.5, 0.6, 1.5, 0.4], device=dev)  # left, top, right, bottom
        # Half of the people stand well inside their picture.
        margin = torch.where(d.chance((B, 1), 0.5), margin + 3, margin)
        cut = d.chance(B, 0.45)
        limit = torch.tensor([0.45, 0.3, 0.45, 0.75], device=dev)
        which = d.chance((B, 4), 1.0) & (d.u((B, 4)) < torch.tensor([0.15, 0.08, 0.15, 0.8], device=dev))
        margin = torch.where(cut[:, None] & which, -d.u((B, 4)) * limit, margin)
        f0, f1 = lo - margin[:, :2] * size, hi + margin[:, 2:] * size
        v0, v1 = torch.maximum(lo, f0), torch.minimum(hi, f1)
        # The runtime's crop: visible box x 1.25, aspect 3:4, imprecise.
        mid, ext = (v0 + v1) / 2, (v1 - v0) * 1.25
        ext = torch.maximum(ext, ext.flip(1) * torch.tensor([W / H, H / W], device=dev))
        mid = mid + d.n((B, 2), 0, 0.05) * ext
        ext = ext * torch.exp(d.n((B, 1), 0, 0.13)).clamp(0.72, 1.4)
        s = W / ext[:, 0]
        proj = torch.stack([s, W / 2 - mid[:, 0] * s, s, H / 2 - mid[:, 1] * s], 1)
        rows = looks.images(d, B, textures, self.real_scenes)
        o = mid - ext / 2
        rows[:, IM["fx0"]], rows[:, IM["fy0"]] = (f0[:, 0] - o[:, 0]) / ext[:, 0], (f0[:, 1] - o[:, 1]) / ext[:, 1]
        rows[:, IM["fx1"]], rows[:, IM["fy1"]] = (f1[:, 0] - o[:, 0]) / ext[:, 0], (f1[:, 1] - o[:, 1]) / ext[:, 1]
        lm = pos[first][:, -17:]
        centre = lm[:, 5:13].mean(1)
        pos[first[nobody], :, 2] = -5.0  # the frame is that of somebody who has gone
        if R:
            self.paste(rows, proj, R, W, H)
            centre[:R] = torch.tensor([0.0, 0.0, 2.5], device=dev)
            lm = torch.cat([d.n((R, 17, 3), 0, 0.4) + centre[:R, None], lm[R:]])
        aside = d.n((B, 3), 0, 1) * torch.tensor([0.7, 0.1, 0.7], device=dev) + torch.tensor([0.0, 0.0, 0.7], device=dev)
        at = centre + torch.where(nobody[:, None], d.n((B, 3), 0, 0.12), aside)
        at[:, 2] = torch.maximum(at[:, 2], centre[:, 2] * 0.7)
        seated = sits[first] & d.chance(B, 0.6) & ~nobody
        seated[:R] = False
        thing = d.chance(B, 0.3) | (nobody & d.chance(B, 0.75))
        thing[:R] = False  # on photographs it would hide what the teacher saw
        props = self.together(B, self.props(B, 9, cam, centre, lm[:, 9:11], dist), self.structures(cam, at, thing, lm, seated))
        bare = d.chance(B, 0.6)  # few things before photographs, which are few themselves
        bare[R:] = False
        props[0][bare[props[3]]] = -1.0
        lm = torch.where(nobody[:, None, None], torch.tensor(-5.0, device=dev), lm)
        rgb, zb, _, count = self.draw(B, W, H, person, pos, nrm, image, props, proj, rows, self.crop_px)
        kp = torch.zeros(B, 17, 3, device=dev)
        zc = lm[..., 2].clamp(min=0.05)
        kp[..., 0] = proj[:, None, 0] * lm[..., 0] / zc + proj[:, None, 1]
        kp[..., 1] = proj[:, None, 2] * lm[..., 1] / zc + proj[:, None, 3]
        b = torch.arange(B, device=dev)[:, None].expand(B, 17)
        slack = torch.full((17,), 0.13, device=dev)
        slack[:5] = 0.035
        seen = self.depth_at(zb, b, kp[..., 0], kp[..., 1]) > lm[..., 2] - slack
        kp[..., 2] = 1.0 + seen
        weight = torch.ones(B, 17, device=dev)
        if R:
            kp[:R], weight[:R] = self.real_kp, self.real_w
        x0, x1 = rows[:, IM["fx0"]] * W, rows[:, IM["fx1"]] * W
        y0, y1 = rows[:, IM["fy0"]] * H, rows[:, IM["fy1"]] * H
        inside = (kp[..., 0] > x0[:, None].clamp(min=0)) & (kp[..., 0] < x1[:, None].clamp(max=W)) & (kp[..., 1] > y0[:, None].clamp(min=0)) & (kp[..., 1] < y1[:, None].clamp(max=H))
        kp[..., 2] *= inside & (lm[..., 2] > 0.08)
        # Nobody can label a person who is hardly there.
        lost = ((kp[..., 2] == 2).sum(1) < 3) | (count[first] < 150)
        lost[:R] = False
        weight[lost & ~nobody] = 0
        return rgb, kp, weight

    def paste(self, rows, proj, R, W, H):
        """Give the first R pictures a teacher-labelled person crop, under a random similarity; fills real_kp, real_w."""
        d, dev = self.d, self.device
        pool = torch.nonzero(self.crop_train)[:, 0]
        k = pool[torch.multinomial(self.crop_train[pool].float(), R, replacement=True, generator=d.g)]
        box = self.crop_box[k]  # x0 y0 x1 y1 in atlas fractions
        AH, AW = self.crop_px.shape[1:3]
        kp = self.crop_kp[k]    # x, y in atlas fractions, teacher's score
        px = torch.tensor([AW, AH], device=dev, dtype=torch.float32)
        c, ext = (box[:, :2] + box[:, 2:]) / 2 * px, (box[:, 2:] - box[:, :2]) * px * 1.25
        # Sometimes only the upper part is framed, as when a webcam looks at a desk.
        half = d.chance(R, 0.25)
        part = d.u(R, 0.4, 0.85)
        h = ext[:, 1].clone()
        ext[:, 1] = torch.where(half, h * part, h)
        c[:, 1] = torch.where(half, c[:, 1] - h * (1 - part) / 2, c[:, 1])
        # Or the picture ends at the left or right, and for half of these below: what lies behind its border is grey, as at run time.
        side, w = d.chance(R, 0.15), ext[:, 0].clone()
        keep, way = d.u(R, 0.5, 0.9), torch.where(d.chance(R, 0.5), 1.0, -1.0)
        ext[:, 0] = torch.where(side, w * keep, w)
        c[:, 0] = torch.where(side, c[:, 0] + way * w * (1 - keep) / 2, c[:, 0])
        end, seen = half & d.chance(R, 0.5), (c.clone(), ext / 1.25)
        ext = torch.maximum(ext, ext.flip(1) * torch.tensor([W / H, H / W], device=dev))
        c = c + d.n((R, 2), 0, 0.05) * ext
        s = ext[:, 0] / W * torch.exp(d.n(R, 0, 0.19)).clamp(0.6, 1.6)  # atlas pixels per crop pixel
        a = torch.where(d.chance(R, 0.6), d.n(R, 0, 0.35), torch.zeros(R, device=dev)).clamp(-1.2, 1.2)
        # The grey around a photograph is no part of it and keeps its value: most of those whose border is seen stay upright.
        border = self.crop_in[k] * px.repeat(2)
        near = (border[:, :2] > 1).any(1) | (border[:, 2:] < px - 1).any(1)
        a = torch.where(near & d.chance(R, 0.85), 0.0, a)
        co, si = torch.cos(a) * s, torch.sin(a) * s
        thin = torch.exp(d.n(R, 0, 0.06))
        M = torch.stack([co * thin, -si / thin, si * thin, co / thin], 1).view(R, 2, 2)
        # atlas = c + M (crop - centre)
        mid = torch.tensor([W / 2, H / 2], device=dev)
        t = c - (M @ mid)
        rows[:R, IM["real"]] = k.float()
        A = rows[:R, IM["a0"]:IM["a0"] + 6]
        A[:, 0], A[:, 1], A[:, 2] = M[:, 0, 0] * W / AW, M[:, 0, 1] * H / AW, t[:, 0] / AW
        A[:, 3], A[:, 4], A[:, 5] = M[:, 1, 0] * W / AH, M[:, 1, 1] * H / AH, t[:, 1] / AH
        edge = lambda q: (q - c) / torch.stack([s * thin * W, s / thin * H], 1) + 0.5
        lo, hi = edge(seen[0] - seen[1] / 2), edge(seen[0] + seen[1] / 2)
        b0, b1 = (torch.where((near & (a == 0))[:, None], edge(border[:, i:i + 2]), beyond) for i, beyond in ((0, -1.0), (2, 2.0)))
        rows[:R, IM["fx0"]] = torch.where(side & (way > 0), torch.maximum(lo[:, 0], b0[:, 0]), b0[:, 0])
        rows[:R, IM["fx1"]] = torch.where(side & (way < 0), torch.minimum(hi[:, 0], b1[:, 0]), b1[:, 0])
        rows[:R, IM["fy0"]], rows[:R, IM["fy1"]] = b0[:, 1], torch.where(end, torch.minimum(hi[:, 1], b1[:, 1]), b1[:, 1])
        at = torch.linalg.solve(M[:, None], (kp[..., :2] * px - t[:, None])[..., None])[..., 0]
        self.real_kp = torch.cat([at, torch.where(kp[..., 2:] > 0.5, 2.0, torch.where(kp[..., 2:] < 0, 0.0, 1.0))], -1)
        self.real_w = self.crop_w[k]
        proj[:R] = torch.tensor([W * 1.6, W / 2, W * 1.6, H / 2], device=dev)

    def scenes(self, B, W=320, H=256, real=0.0):
        """rgb [B,3,H,W], boxes [B,N,4] in pixels, state [B,N]: 1 a person, 2 to be ignored, 0 none."""
        d, dev = self.d, self.device
        R = int(real * B) if self.photo_px is not None else 0
        textures = 0 if self.tex is None else len(self.tex)
        per = d.pick(B, [0.0, 0.38, 0.23, 0.15, 0.10, 0.07, 0.04, 0.03])
        empty = d.chance(B, 0.1)
        empty[:R] = True
        per[:R] = 1
        image = torch.arange(B, device=dev).repeat_interleave(per)
        n, first = len(image), torch.cumsum(per, 0) - per
        cam = self.camera(B)
        # Letterboxed frames: 16:9, 4:3, square, portrait.
        shape = torch.tensor([[1, 0.703], [1, 0.9375], [1, 1], [0.8, 1], [0.6, 1], [0.45, 1]], device=dev)[d.pick(B, [0.3, 0.35, 0.1, 0.1, 0.08, 0.07])]
        focal = torch.exp(d.u(B, np.log(0.6), np.log(2.2))) * 256
        h = torch.exp(d.u(n, np.log(28), np.log(800)))
        # People of one picture often have like sizes; those who belong together stand close and hide each other.
        crowd = d.chance(B, 0.3)
        like = crowd | d.chance(B, 0.3)
        base = h[first]
        h = torch.where(like[image], base[image] * torch.exp(d.n(n, 0, 0.2)), h)
        z = (focal[image] * 1.6 / h).clamp(min=0.7)
        place = torch.zeros(n, 3, device=dev)
        fw, fh = shape[image, 0] * W, shape[image, 1] * H
        u, v = d.u(n, -0.05, 1.05) * fw, (0.5 + d.n(n, 0, 0.25)) * fh
        # People larger than the frame mostly show their upper half.
        tall = (h > 0.9 * fh) & d.chance(n, 0.7)
        v = torch.where(tall, d.u(n, 0.03, 0.5) * fh + 0.45 * h, v)
        slot = torch.arange(n, device=dev) - first[image]
        beside = u[first][image] + torch.where(d.chance(n, 0.5), 1.0, -1.0) * base[image] * (0.1 + d.u(n, 0.05, 0.3) * slot.float().sqrt())
        joins = crowd[image] & (slot > 0)
        u, v = torch.where(joins, beside, u), torch.where(joins, v[first][image] + d.n(n, 0, 0.06) * base[image], v)
        # The border cuts many: at the sides, and below the chest, the hips or the knees.
        side = d.chance(n, 0.12)
        u = torch.where(side, torch.where(d.chance(n, 0.5), fw, torch.zeros_like(fw)) + d.n(n, 0, 0.12) * h, u)
        low = d.chance(n, 0.18) & (h > 0.3 * fh)
        v = torch.where(low, fh + h * (0.5 - torch.minimum(d.u(n, 0.2, 0.9), 0.97 * fh / h)), v)
        place[:, 0], place[:, 1], place[:, 2] = (u - fw / 2) / focal[image] * z, (v - fh / 2) / focal[image] * z, z
        gone = empty[image]
        place[gone, 2] = -5
        person = looks.people(d, n, textures, (self.suits, self.shoes, self.wigs, self.skins))
        pose, sits = self.poses_for(n, 0.2)
        pos, nrm = self.skin(person, d.index(n, len(self.rest)), pose, self.roots(cam[image], place))
        proj = torch.stack([focal, shape[:, 0] * W / 2, focal, shape[:, 1] * H / 2], 1)
        rows = looks.images(d, B, textures, self.real_scenes)
        rows[:, IM["fx1"]], rows[:, IM["fy1"]] = shape[:, 0], shape[:, 1]
        if R:
            rbox, rstate = self.paste_photo(rows, R, W, H)
        centre = pos[first][:, -17:].mean(1)
        off = centre[:, 2] < 0.5
        centre[off] = torch.tensor([0.0, 0.0, 3.0], device=dev)
        wrists = pos[first][:, -17:][:, 9:11]
        # On photographs few props: they must not hide people whose boxes stay labelled.
        props = list(self.props(B, 16, cam, centre, wrists, z))
        # Half of the clutter stands anywhere in the frame.
        m = len(props[1])
        move = d.chance(m, 0.5)
        zz = torch.exp(d.u(m, np.log(1.2), np.log(9.0)))
        px = d.u((m, 2), -0.55, 0.55) * torch.tensor([W, H], device=dev) / focal[props[3], None] * zz[:, None]
        at = torch.cat([px, zz[:, None]], 1)
        mid = props[0].mean(1)
        props[0] = torch.where((move & (mid[:, 2] > 0))[:, None, None], props[0] - mid[:, None] + at[:, None], props[0]).contiguous()
        # A seat under the first person or a thing near by, and another thing anywhere: what finders take for people.
        lm = pos[first][:, -17:]
        near = centre + d.n((B, 3), 0, 1) * torch.tensor([0.9, 0.1, 0.7], device=dev) + torch.tensor([0.0, 0.0, 0.5], device=dev)
        near[:, 2] = torch.maximum(near[:, 2], centre[:, 2] * 0.6)
        zz = torch.exp(d.u(B, np.log(1.6), np.log(10.0)))
        away = torch.cat([d.u((B, 2), -0.5, 0.5) * shape * torch.tensor([W, H], device=dev) / focal[:, None] * zz[:, None], zz[:, None]], 1)
        seat = sits[first] & d.chance(B, 0.7) & ~off
        things = self.structures(cam, near, d.chance(B, 0.35), lm, seat), self.structures(cam, away, d.chance(B, 0.35) | (empty & d.chance(B, 0.6)))
        props = list(self.together(B, props, *things))
        props[0][(props[3] < R)] = -1
        rgb, zb, box, count = self.draw(B, W, H, person, pos, nrm, image, tuple(props), proj, rows, self.photo_px)
        N = 12
        boxes, state = torch.zeros(B, N, 4, device=dev), torch.zeros(B, N, device=dev)
        boxes[image, slot] = box.float()
        # Visible part against the whole projected person.
        tb = pos[:, self.body]
        q = tb[..., :2] / tb[..., 2:].clamp(min=0.25)
        pr = proj[image]
        whole = ((q[..., 0].amax(1) - q[..., 0].amin(1)) * pr[:, 0]) * ((q[..., 1].amax(1) - q[..., 1].amin(1)) * pr[:, 2])
        bw, bh = (box[:, 2] - box[:, 0]).float(), (box[:, 3] - box[:, 1]).float()
        ok = (count > 30) & (torch.maximum(bw, bh) > 14) & (bw * bh > 0.08 * whole)
        state[image, slot] = torch.where(ok, 1.0, torch.where(count > 0, 2.0, 0.0))
        state[:, :][empty] = 0
        if R:
            boxes[:R], state[:R] = rbox, rstate
        return rgb, boxes, state

    def paste_photo(self, rows, R, W, H):
        d, dev = self.d, self.device
        pool = torch.nonzero(self.photo_train)[:, 0]
        k = pool[torch.multinomial(self.photo_train[pool].float(), R, replacement=True, generator=d.g)]
        flip = d.chance(R, 0.5)
        s = torch.exp(d.n(R, 0.1, 0.45)).clamp(0.35, 2.2)      # pictures' width per atlas width
        sy = s * torch.exp(d.n(R, 0, 0.08))
        free = (s - 1).abs() + 0.25
        tx, ty = (1 - s) / 2 + d.u(R, -0.5, 0.5) * free, (1 - sy) / 2 + d.u(R, -0.5, 0.5) * free
        # atlas = (picture - t) / s; mirrored: atlas = 1 - that
        sign = torch.where(flip, -1.0, 1.0)
        A = rows[:R, IM["a0"]:IM["a0"] + 6]
        A.zero_()
        A[:, 0], A[:, 2] = sign / s, torch.where(flip, 1 + tx / s, -tx / s)
        A[:, 4], A[:, 5] = 1 / sy, -ty / sy
        rows[:R, IM["real"]] = k.float()
        # The frame is the photograph's, without the grey of the letterbox.
        w, h = self.photo_in[k].unbind(1)
        x0, x1 = torch.where(flip, 1 - w, 0.0), torch.where(flip, 1.0, w)
        rows[:R, IM["fx0"]], rows[:R, IM["fx1"]] = x0 * s + tx, x1 * s + tx
        rows[:R, IM["fy0"]], rows[:R, IM["fy1"]] = ty, h * sy + ty
        b, st = self.photo_box[k].clone(), self.photo_w[k].clone()
        x0, x1 = torch.where(flip[:, None], 1 - b[..., 2], b[..., 0]), torch.where(flip[:, None], 1 - b[..., 0], b[..., 2])
        full = torch.stack([(x0 * s[:, None] + tx[:, None]) * W, (b[..., 1] * sy[:, None] + ty[:, None]) * H, (x1 * s[:, None] + tx[:, None]) * W, (b[..., 3] * sy[:, None] + ty[:, None]) * H], -1)
        lim = torch.tensor([W, H, W, H], device=dev, dtype=torch.float32)
        clip = torch.minimum(full.clamp(min=0), lim)
        area = lambda q: (q[..., 2] - q[..., 0]).clamp(min=0) * (q[..., 3] - q[..., 1]).clamp(min=0)
        frac = area(clip) / area(full).clamp(min=1)
        side = torch.maximum(clip[..., 2] - clip[..., 0], clip[..., 3] - clip[..., 1])
        st = torch.where((st == 1) & ((frac < 0.25) | (side < 14)), torch.full_like(st, 2), st)
        st = torch.where(area(clip) <= 1, torch.zeros_like(st), st)
        return clip, st
