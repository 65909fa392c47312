"""The data engine: mocap -> bodies -> cameras -> detector -> windows, on the fly, batched on one device."""

import math
from dataclasses import dataclass

import torch

import geometry
from detector_noise import detect, rand
from mocap import CHAIN, CHAIN_REF_M, HZ, Mocap
from skeleton import COCO_FROM_MOCAP, MIRROR22, PARENT22
from window import EPS_T

EARLIER = 8  # grid times that the window one observation earlier may be behind


def ancestors():
    a = torch.zeros(22, 22)
    for j in range(22):
        k = j
        while k > 0:
            a[j, k] = 1
            k = PARENT22[k]
    return a


CHAIN_CHILD = [c for _, c in CHAIN]

# Bone groups with a common random length factor: group of each point's bone to its parent.
GROUP = [0, 1, 2, 3, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 7, 8, 9, 6, 6, 6, 6, 6]


@dataclass
class Batch:
    window: torch.Tensor  # [B,T,17,3]
    fresh: torch.Tensor  # [B,1]
    context: torch.Tensor  # [B,6], lookahead 0
    joints: torch.Tensor  # [B,T,17,3] truth in the virtual camera, root-relative, metres, every slot
    clean: torch.Tensor  # [B,T,17,2] exact 2D in the window's units (stage I)
    screen: torch.Tensor  # [B,T,17,2] the reference's input instead: x/w*2-1, y/w*2-h/w
    ok: torch.Tensor  # [B] 1 where the window holds a person
    rotation: torch.Tensor  # [B,3,3] real -> virtual camera

    def cat(self, other):
        return Batch(*(torch.cat(p) for p in zip(vars(self).values(), vars(other).values())))


class Engine:
    def __init__(self, mocap: Mocap, frames, rate_hz, device="cpu"):
        self.m = mocap.to(device)
        self.device, self.frames, self.rate = device, frames, rate_hz
        self.obs = math.ceil((frames - 1) / rate_hz * 32) + 4
        self.anc = ancestors().to(device)
        self.parent = torch.tensor([0] + PARENT22[1:], device=device)
        self.group = torch.tensor(GROUP, device=device)
        self.mirror = torch.tensor(MIRROR22, device=device)
        self.coco = torch.tensor(COCO_FROM_MOCAP, device=device)
        self.cum = torch.cumsum(self.m.weight.double(), 0)

    # --- bodies -------------------------------------------------------------------------------------------------------------

    def poses(self, frame, times, speed):
        """Positions [B,N,22,3] at frame + times (seconds, with a playing speed), linear between 50 Hz frames."""
        f = frame[:, None] + times * HZ * speed[:, None]
        lo, hi = self.m.start[frame][:, None], self.m.end[frame][:, None] - 1
        f = torch.minimum(torch.maximum(f, lo.to(f.dtype)), hi.to(f.dtype))
        i = f.floor().long()
        j = torch.minimum(i + 1, hi)
        w = (f - i)[..., None, None]
        return self.m.pos[i] * (1 - w) + self.m.pos[j] * w

    def reshape_body(self, p, frame, vary):
        """Random proportions (vary = 0: as recorded), then scaled to the reference chain length. p [B,N,22,3]."""
        b, dev = p.shape[0], self.device
        n = lambda s: 1 + vary * s * torch.randn(b, device=dev).clamp(-2.5, 2.5)  # noqa: E731
        scale = CHAIN_REF_M / self.m.chain[frame]
        root = p[:, :, :1] * scale[:, None, None, None]
        bone = (p - p[:, :, self.parent]) * scale[:, None, None, None]
        hips, shoulders = self.m.hips[frame] * scale, self.m.shoulders[frame] * scale
        if vary > 0:
            bone, shoulders = self.exchange_upper_body(bone, shoulders)
            bone = self.turn_limbs(bone)
        hip = (rand(b, device=dev, lo=0.080, hi=0.112) / hips - 1) * vary + 1
        sho = (rand(b, device=dev, lo=0.155, hi=0.205) / shoulders - 1) * vary + 1
        factor = torch.stack([torch.ones(b, device=dev), hip, n(0.05), n(0.05), n(0.05), n(0.10), n(0.07), sho, n(0.05), n(0.05)], 1)
        bone = bone * factor[:, self.group][:, None, :, None]
        if vary > 0:  # varied limbs change the chain a little: back to the reference
            chain = bone[:, 0, CHAIN_CHILD].norm(dim=-1).sum(-1)
            bone = bone * (CHAIN_REF_M / chain)[:, None, None, None]
        return torch.einsum("ij,bnjc->bnic", self.anc, bone) + root

    def exchange_upper_body(self, bone, shoulders, share=0.2):
        """Some windows take the upper body of their neighbour in the batch, turned to the own pelvis: new combinations of movements."""
        b = bone.shape[0]
        a = bone[:, :, 4, [0, 2]] - bone[:, :, 1, [0, 2]]  # hip axis on the floor
        steep = a.norm(dim=-1) < 0.7 * (bone[:, :, 4] - bone[:, :, 1]).norm(dim=-1)
        a = geometry.unit(a)
        o = a.roll(1, 0)
        c, s = (a * o).sum(-1), a[..., 0] * o[..., 1] - a[..., 1] * o[..., 0]
        q = bone.roll(1, 0)[:, :, 7:]
        c, s = c[..., None], s[..., None]
        q = torch.stack([c * q[..., 0] + s * q[..., 2], q[..., 1], -s * q[..., 0] + c * q[..., 2]], -1)
        bad = steep.any(1)
        take = (torch.rand(b, device=bone.device) < share) & ~bad & ~bad.roll(1)
        mixed = torch.cat([bone[:, :, :7], q], 2)
        return torch.where(take[:, None, None, None], mixed, bone), torch.where(take, shoulders.roll(1), shoulders)

    def turn_limbs(self, bone, share=0.3):
        """Some windows have whole arms (about 15 degrees) and legs (about 6) turned at the shoulder or hip by a constant rotation."""
        b, dev = bone.shape[0], bone.device
        bone = bone.clone()
        for part, sigma in (([12, 13], 0.28), ([15, 16], 0.28), ([2, 3], 0.10), ([5, 6], 0.10)):
            on = (torch.rand(b, 1, device=dev) < share) * sigma
            r = euler(on * torch.randn(b, 3, device=dev))
            bone[:, :, part] = torch.einsum("bij,bnkj->bnki", r, bone[:, :, part])
        return bone

    def coco_points(self, p, vary):
        """COCO-17 from the 22 points, with the offsets of where annotators click (metres, randomised). p [B,N,22,3]."""
        b = p.shape[0]
        r = lambda lo, hi: rand(b, 1, 1, device=self.device, lo=lo, hi=hi)  # noqa: E731
        nrm = lambda s: s * vary * torch.randn(b, 1, 1, device=self.device)  # noqa: E731
        k = p[:, :, self.coco].clone()
        across = geometry.unit(p[:, :, 4] - p[:, :, 1])  # right hip -> left hip
        up = geometry.unit(p[:, :, 8] - p[:, :, 0])
        # Hips are clicked outside and above the joint centre; shoulders near it.
        out, lift = 0.025 + vary * (r(0.0, 0.05) - 0.025), 0.015 + vary * r(-0.03, 0.03)
        k[:, :, 11] += across * out + up * lift
        k[:, :, 12] += -across * out + up * lift
        sh = geometry.unit(p[:, :, 11] - p[:, :, 14])
        out, lift = vary * r(-0.025, 0.02), 0.005 + vary * r(-0.02, 0.02)
        k[:, :, 5] += sh * out + up * lift
        k[:, :, 6] += -sh * out + up * lift
        ears = 0.5 * (k[:, :, 3] + k[:, :, 4])
        fwd = geometry.unit(k[:, :, 0] - ears)
        lat = geometry.unit(k[:, :, 3] - k[:, :, 4])
        top = torch.linalg.cross(fwd, lat)
        for group in ((0,), (1, 2), (3, 4)):
            d = fwd * nrm(0.012) + top * nrm(0.012)
            for i in group:
                k[:, :, i] += d
        return k, fwd, lat

    # --- cameras ------------------------------------------------------------------------------------------------------------

    def cameras(self, root, times, move):
        """Random cameras that see `root` [B,3] (y up) at time 0 -> rotations [B,N,3,3], centres [B,N,3], border [B,4].

        Field of view, height, distance, roll and where the person stands in the picture are drawn; a share `move` of the cameras turns
        and travels."""
        b, dev = root.shape[0], self.device
        r = lambda lo, hi: rand(b, device=dev, lo=lo, hi=hi)  # noqa: E731
        vfov = torch.deg2rad(r(18, 78))
        aspect = torch.tensor([16 / 9, 4 / 3, 1.0, 9 / 16], device=dev)[torch.multinomial(torch.tensor([0.5, 0.3, 0.1, 0.1], device=dev), b, True)]
        ty = torch.tan(vfov / 2)
        tx = ty * aspect
        fill = r(math.log(0.15), math.log(1.1)).exp()
        dist = (1.7 / (2 * ty * fill)).clamp(1.2, 10.0)
        height = torch.where(r(0, 1) < 0.65, r(0.2, 1.9), r(1.9, 4.0))
        dy = height - root[:, 1]
        dy = torch.sign(dy) * torch.minimum(dy.abs(), 0.85 * dist)
        flat = (dist.square() - dy.square()).clamp_min(0.01).sqrt()
        az = r(0, 2 * math.pi)
        centre = root + torch.stack([flat * torch.sin(az), dy, flat * torch.cos(az)], -1)
        # World y up -> camera y down: look at the person, then turn so that the person lies elsewhere in the picture.
        fwd = geometry.unit(root - centre)
        right = geometry.unit(torch.stack([-fwd[:, 2], torch.zeros(b, device=dev), fwd[:, 0]], -1))
        down = torch.linalg.cross(fwd, right)
        base = torch.stack([right, down, fwd], -2)
        # Wander so that the pelvis is inside the picture (margin by draw), fully or partly visible.
        yaw = torch.atan(tx) * r(-0.85, 0.85)
        pitch = torch.atan(ty) * r(-0.7, 0.7) * (1 - 0.5 * fill.clamp_max(1))
        roll = torch.deg2rad(torch.where(r(0, 1) < 0.85, 3.0 * torch.randn(b, device=dev), r(-25, 25)))
        turn = torch.stack([pitch, yaw, roll], -1)
        moving = (r(0, 1) < move).float()[:, None]
        rate = moving * torch.deg2rad(torch.randn(b, 3, device=dev) * torch.tensor([8.0, 15.0, 4.0], device=dev))
        vel = moving * torch.randn(b, 3, device=dev) * torch.tensor([0.3, 0.05, 0.3], device=dev)
        rot = euler(turn[:, None] + rate[:, None] * times[..., None]) @ base[:, None]
        return rot, centre[:, None] + vel[:, None] * times[..., None], torch.stack([-tx, tx, -ty, ty], -1)

    # --- observations ---------------------------------------------------------------------------------------------------------

    def observation_times(self, b):
        """Times [B,M] from 0 backwards at frame rates of 4 to 32 Hz with jitter and lost frames, and how many exist [B]."""
        dev, m = self.device, self.obs
        r = lambda *s: torch.rand(*s, device=dev)  # noqa: E731
        low, high = 4.0 + 8 * r(b), 12 + 20 * r(b)
        common = torch.tensor([5.0, 10.0, 15.0, 25.0, 30.0, 30.0, 30.0, 25.0], device=dev)[torch.randint(8, (b,), device=dev)]
        u = r(b)
        fps = torch.where(u < 0.2, low, torch.where(u < 0.6, high, common))
        jit = 0.25 * r(b) * (r(b) < 0.5)
        gaps = 1 + jit[:, None] * (2 * r(b, m) - 1)
        drop = (0.3 * r(b) * (r(b) < 0.35))[:, None]
        gaps = gaps * (1 + (r(b, m) < drop) * (1 + (r(b, m) < 0.3) * torch.floor(8 * r(b, m))))
        t = -torch.cumsum(gaps / fps[:, None], 1)
        return torch.cat([torch.zeros(b, 1, device=dev), t[:, :-1]], 1), fps

    @torch.no_grad()
    def sample(self, b, strength=None, known=None, vary=1.0, pairs=0):
        """One training batch of b windows. `known` fixes the gravity flag (default: half of the windows).

        With pairs > 0 the last `pairs` windows are those of the first `pairs` persons one observation earlier, with the same anchor."""
        n, dev, t = b - pairs, self.device, self.frames
        pick = torch.rand(n, device=dev, dtype=torch.float64) * self.cum[-1]
        frame = torch.searchsorted(self.cum, pick, right=True).clamp_max(len(self.cum) - 1)
        speed = 1 + vary * (rand(n, device=dev, lo=-0.25, hi=0.3)) * (torch.rand(n, device=dev) < 0.5)
        ot, _ = self.observation_times(n)
        history = (frame - self.m.start[frame]).float() / HZ / speed
        short = torch.rand(n, device=dev) < 0.12
        history = torch.where(short, history * torch.rand(n, device=dev), history)
        count = ((ot >= -history[:, None] - 1e-4).sum(1)).clamp_min(1)
        # The grid's phase against the newest observation is anything in (0, one period].
        delta = (1 - torch.rand(n, 1, device=dev)) / self.rate
        grid = -delta - torch.arange(t - 1 + (EARLIER if pairs else 0), device=dev) / self.rate
        p = self.reshape_body(self.poses(frame, torch.cat([ot, grid], 1), speed), frame, vary)
        flip = torch.rand(n, device=dev) < 0.5
        sign = torch.where(flip, -1.0, 1.0)[:, None, None, None] * torch.tensor([1.0, 0, 0], device=dev) + torch.tensor([0, 1.0, 1.0], device=dev)
        p = torch.where(flip[:, None, None, None], p[:, :, self.mirror], p) * sign
        if strength is None:
            strength = torch.where(torch.rand(n, device=dev) < 0.08, 0.0, 1.0)
        return self.finish(p, ot, grid, count, strength, known, vary, pairs)

    def observe(self, p, times, m, strength, vary, move=0.2, root=None):
        """Bodies p [B,N,22,3], of which the first m are observed -> cameras and what the detector reports.

        Returns rays [B,m,17,3], confidence, exact keypoints in the camera's frame [B,N,17,3], camera rotations [B,N,3,3], half picture
        width on the normalised plane [B]."""
        rot, centre, border = self.cameras(p[:, 0, 0] if root is None else root, times, move)
        k, fwd, lat = self.coco_points(p, vary)
        cam = torch.einsum("bnij,bnkj->bnki", rot, k - centre[:, :, None])
        z = cam[:, :m, :, 2].clamp_min(0.1)
        uv = cam[:, :m, :, :2] / z[..., None]
        to_cam = geometry.unit(centre[:, :m] - k[:, :m, 0])
        facing, ear = (fwd[:, :m] * to_cam).sum(-1), (lat[:, :m] * to_cam).sum(-1)
        duv, conf = detect(uv, cam[:, :m, :, 2], times[:, :m], facing, ear, border, strength)
        return geometry.unit(torch.cat([duv, torch.ones_like(duv[..., :1])], -1)), conf, cam, rot, border[:, 1]

    def finish(self, p, ot, grid, count, strength, known, vary, pairs):
        """Bodies p [B, m observations + grid times, 22, 3] -> Batch."""
        b, dev, m, t = p.shape[0], self.device, ot.shape[1], self.frames
        raw_rays, raw_conf, cam, rot, half = self.observe(p, torch.cat([ot, grid], 1), m, strength, vary)
        g = -rot[:, 0, :, 1]  # world "down" seen by the camera at time 0
        if known is None:
            known = (torch.rand(b, device=dev) < 0.5).float()
        g = g + vary * math.radians(2.5) * torch.randn(b, 3, device=dev)
        times, count, rays, conf, order = geometry.compact(ot, count, raw_rays, raw_conf)
        own_rot, own_size, usable = geometry.own_camera(rays[:, 0], conf[:, 0])
        # A window whose newest frame holds nobody, or whose person stands in the lens, teaches nothing.
        ok = usable & (order[:, 0] == 0) & (cam[:, 0, :, 2].amin(-1) > 0.25)
        v, size = geometry.random_anchor(own_rot, own_size) if vary > 0 else (own_rot, own_size)

        def batch(rows, times, count, rays, conf, newest, shift, ok):
            """The windows of the first `rows` persons; `newest` [rows]: index in p of slot 0, `shift`: grid times later than it."""
            i = shift[:, None] + torch.arange(t - 1, device=dev)
            tau = torch.cat([times[:, :1], grid[:rows].gather(1, i)], 1)
            fresh = ((tau[:, :1] - tau[:, 1:2]) * self.rate - 1).clamp(-1, 0)
            sr, sc = geometry.resample(times, count, rays, conf, tau)
            r = v[:rows]
            window, context = geometry.tensors(sr, sc, r, size[:rows], g[:rows], known[:rows])
            at = torch.cat([newest[:, None], m + i], 1)
            take = lambda x: x[:rows].gather(1, at.reshape(*at.shape, *[1] * (x.dim() - 2)).expand(-1, -1, *x.shape[2:]))  # noqa: E731
            body = take(p[:, :, :17])
            joints = torch.einsum("bij,bnjl,bnkl->bnki", r, take(rot), body - body[:, :, :1])
            q = torch.einsum("bij,bnkj->bnki", r, take(cam))
            clean = (q[..., :2] / q[..., 2:].clamp_min(0.1) / size[:rows, None, None, None]).clamp(-8, 8)
            screen = torch.where((sc > 0)[..., None], sr[..., :2] / sr[..., 2:].clamp_min(0.05) / half[:rows, None, None, None], 0.0).clamp(-8, 8)
            return Batch(window, fresh, context, joints, clean, screen, ok.float(), r)

        out = batch(b, times, count, rays, conf, torch.zeros(b, dtype=torch.long, device=dev), torch.zeros(b, dtype=torch.long, device=dev), ok)
        if not pairs:
            return out
        n = pairs
        t2 = times[:n, 1]
        shift = (grid[:n] >= t2[:, None] - EPS_T).sum(1)
        ok2 = ok[:n] & (count[:n] > 1) & (shift <= EARLIER)
        early = batch(n, times[:n, 1:], (count[:n] - 1).clamp_min(1), rays[:n, 1:], conf[:n, 1:], order[:n, 1], shift.clamp_max(EARLIER), ok2)
        return out.cat(early)


def euler(a):
    """[.., 3] = pitch, yaw, roll -> rotation about x, then y, then z of the camera's own axes."""
    (sx, sy, sz), (cx, cy, cz) = torch.sin(a).unbind(-1), torch.cos(a).unbind(-1)
    o, i = torch.zeros_like(sx), torch.ones_like(sx)
    s = lambda *r: torch.stack([torch.stack(x, -1) for x in r], -2)  # noqa: E731
    rx = s((i, o, o), (o, cx, -sx), (o, sx, cx))
    ry = s((cy, o, sy), (o, i, o), (-sy, o, cy))
    rz = s((cz, -sz, o), (sz, cz, o), (o, o, i))
    return rz @ rx @ ry
