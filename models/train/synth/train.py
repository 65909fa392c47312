#!/usr/bin/env python3
"""Train one of the two networks on pictures rendered as it goes.

  train.py keypoints|finder --data FOLDER --out FOLDER --seconds 300 [--resume | --init SHIPPED.onnx --lr 6e-4] [--real 0.2] [--batch 256] [--device cuda:0]

Stops by itself --seconds after the process started; the learning rate follows a cosine over that time. Writes OUT/<net>.pt (EMA weights, f16), OUT/<net>.log and OUT/<net>_grid.png (the augmented
input with its labels). `keypoints` trains the small network (nets.SMALL -> OUT/keypoints-small.pt) on the same pictures, and on the large one's heatmaps, unless --no-small. --init goes on from a published file (the small network from the file beside it whose name ends in -small).
"""
import time

T0 = time.time()
import argparse
import copy
import json
import math
import os

import numpy as np
import torch
import torch.nn.functional as F

import nets
from augment import augment
from publish import MEAN, STD
from synth import FLIP, Synth


def heatmaps(kp, H=64, W=48):
    """Gaussian targets [B,17,H,W]: full height where the joint is seen, lower where it is hidden, none where it is absent."""
    x, y = kp[..., 0] / 4 - 0.5, kp[..., 1] / 4 - 0.5
    gx = torch.exp(-(torch.arange(W, device=kp.device) - x[..., None]) ** 2 / (2 * nets.SIGMA ** 2))
    gy = torch.exp(-(torch.arange(H, device=kp.device) - y[..., None]) ** 2 / (2 * nets.SIGMA ** 2))
    peak = torch.tensor([0.0, 0.75, 1.0], device=kp.device)[kp[..., 2].long()]
    return gy[..., :, None] * gx[..., None, :] * peak[..., None, None]


def keypoint_loss(out, kp, weight, ce=0.0):
    """Weighted squared error of the heatmaps; `ce` adds the cross-entropy of their softmax against the normalised Gaussian."""
    t = heatmaps(kp)
    w = weight * torch.where(kp[..., 2] > 0, 1.0, 0.4)
    # A heatmap is nearly empty: weigh the blob up, or the network spends long on learning zero.
    e = (out - t) ** 2 * (1 + 8 * t)
    loss = (e.mean((2, 3)) * w).sum() / w.sum().clamp(min=1) * 100
    if ce:
        # Pulls from anywhere in the picture, where the squared error only feels its neighbourhood: matters early in training.
        q = t.flatten(2)
        q = q / q.sum(2, keepdim=True).clamp(min=1e-6)
        w = weight * (kp[..., 2] > 0)
        c = -(q * F.log_softmax(out.flatten(2) * 10, 2)).sum(2)
        loss = loss + ce * (c * w).sum() / w.sum().clamp(min=1)
    return loss


def distil_loss(out, teacher):
    """Squared error against another network's heatmaps, blobs weighed up as in keypoint_loss."""
    t = teacher.clamp(0, 1)
    return ((out - t) ** 2 * (1 + 8 * t)).mean() * 100


def finder_loss(score, box, boxes, state):
    """Penalty-reduced focal loss on Gaussians at the boxes' centres (CenterNet) and GIoU on the cells around each centre."""
    B, _, H, W = score.shape
    dev, S = score.device, nets.Finder.stride
    cx = (torch.arange(W, device=dev) + 0.5) * S
    cy = (torch.arange(H, device=dev) + 0.5) * S
    on, skip = (state == 1).float(), (state == 2)
    mx, my = (boxes[..., 0] + boxes[..., 2]) / 2, (boxes[..., 1] + boxes[..., 3]) / 2
    w, h = (boxes[..., 2] - boxes[..., 0]).clamp(min=1), (boxes[..., 3] - boxes[..., 1]).clamp(min=1)
    sx, sy = (w * 0.11).clamp(4, 28), (h * 0.11).clamp(4, 28)
    g = torch.exp(-(cx - mx[..., None]) ** 2 / (2 * sx[..., None] ** 2))[:, :, None, :] * torch.exp(-(cy - my[..., None]) ** 2 / (2 * sy[..., None] ** 2))[:, :, :, None]
    g = g * on[..., None, None]
    # The cell that holds the centre counts as exactly one.
    near = ((cx - mx[..., None]).abs() <= S / 2)[:, :, None, :] & ((cy - my[..., None]).abs() <= S / 2)[:, :, :, None] & (on > 0)[..., None, None]
    g = torch.where(near, torch.ones_like(g), g)
    heat, who = g.max(1)
    inside = ((cx >= boxes[..., 0, None]) & (cx <= boxes[..., 2, None]))[:, :, None, :] & ((cy >= boxes[..., 1, None]) & (cy <= boxes[..., 3, None]))[:, :, :, None]
    ignore = (inside & skip[..., None, None]).any(1) & (heat < 0.3)
    p = torch.sigmoid(score[:, 0].float()).clamp(1e-4, 1 - 1e-4)
    pos = heat >= 0.9999
    lp = -((1 - p) ** 2 * torch.log(p))[pos].sum()
    ln = -(((1 - heat) ** 4 * p ** 2 * torch.log(1 - p)) * (~pos) * (~ignore)).sum()
    count = pos.sum().clamp(min=1)
    # Boxes: cells with a high Gaussian answer for the person whose Gaussian it is.
    cell = heat > 0.45
    wgt = heat * cell
    b = torch.gather(boxes, 1, who.view(B, -1, 1).expand(-1, -1, 4)).view(B, H, W, 4)
    d = box.float().permute(0, 2, 3, 1) * S
    px0, py0, px1, py1 = cx - d[..., 0], cy[:, None] - d[..., 1], cx + d[..., 2], cy[:, None] + d[..., 3]
    iw = (torch.minimum(px1, b[..., 2]) - torch.maximum(px0, b[..., 0])).clamp(min=0)
    ih = (torch.minimum(py1, b[..., 3]) - torch.maximum(py0, b[..., 1])).clamp(min=0)
    inter = iw * ih
    union = ((px1 - px0) * (py1 - py0)).clamp(min=0) + (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]) - inter
    hull = (torch.maximum(px1, b[..., 2]) - torch.minimum(px0, b[..., 0])) * (torch.maximum(py1, b[..., 3]) - torch.minimum(py0, b[..., 1]))
    giou = inter / union.clamp(min=1) - (hull - union) / hull.clamp(min=1)
    lb = ((1 - giou) * wgt).sum() / wgt.sum().clamp(min=1)
    return (lp + ln) / count + 2.0 * lb, lb


def normal(x):
    return ((x * 255 - MEAN) / STD).contiguous(memory_format=torch.channels_last)


def mirror(d, x, labels):
    """Mirror half of the crops, labels with them."""
    kp, w = labels
    f = d.chance(len(x), 0.5)
    x = torch.where(f.view(-1, 1, 1, 1), x.flip(3), x)
    k = kp[:, FLIP].clone()
    k[..., 0] = x.shape[3] - k[..., 0]
    return x, [torch.where(f.view(-1, 1, 1), k, kp), torch.where(f.view(-1, 1), w[:, FLIP], w)]


def mirror_boxes(d, x, labels):
    """Mirror half of the scenes; the pad grey then lies on the left now and then, which does no harm."""
    boxes, state = labels
    f = d.chance(len(x), 0.5)
    x = torch.where(f.view(-1, 1, 1, 1), x.flip(3), x)
    b = boxes.clone()
    b[..., 0], b[..., 2] = x.shape[3] - boxes[..., 2], x.shape[3] - boxes[..., 0]
    return x, [torch.where(f.view(-1, 1, 1), b, boxes), state]


def keypoint_error(net, x, kp, w):
    """Median and mean error in fractions of the crop's height, and the share within 5 % of it, over labelled joints."""
    with torch.no_grad():
        h = net(normal(x)).float()
    i = h.flatten(2).argmax(2)
    px, py = (i % 48 + 0.5) * 4, (torch.div(i, 48, rounding_mode="floor") + 0.5) * 4
    e = torch.sqrt((px - kp[..., 0]) ** 2 + (py - kp[..., 1]) ** 2) / 256
    e = e[(kp[..., 2] > 0) & (w > 0.5)]
    return [round(float(v), 4) for v in (e.median(), e.mean(), (e < 0.05).float().mean())]


def real_crops(s):
    """The held-out photographs as plain crops with the teacher's labels."""
    xs, ks, ws = [], [], []
    dev = s.device
    uv = torch.stack(torch.meshgrid((torch.arange(256.0, device=dev) + 0.5) / 256, (torch.arange(192.0, device=dev) + 0.5) / 192, indexing="ij")[::-1], -1)
    for k in torch.nonzero(s.crop_train == 0)[:, 0].tolist():
        a = s.crop_px[k][..., :3].permute(2, 0, 1).float() / 255
        b = s.crop_box[k]
        # Atlas fractions share the crop's aspect, so one number is the size of both sides.
        c, m = (b[:2] + b[2:]) / 2, ((b[2:] - b[:2]) * 1.25).max()
        o = c - m / 2
        xs.append(F.grid_sample(F.avg_pool2d(a[None], 3, 1, 1), ((o + uv * m) * 2 - 1)[None], align_corners=False, padding_mode="border")[0])
        q = s.crop_kp[k].clone()
        q[:, :2] = (q[:, :2] - o) / m * torch.tensor([192.0, 256.0], device=dev)
        q[:, 2] = torch.where(q[:, 2] < 0, 0.0, 2.0)
        ks.append(q)
        ws.append(s.crop_w[k])
    return torch.stack(xs), torch.stack(ks), torch.stack(ws)


def grid(path, x, draw, cols=8, n=32):
    import cv2
    cols = min(cols, len(x))
    ims = (x[:n].clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).cpu().numpy()[..., ::-1].copy()
    for i, im in enumerate(ims):
        draw(i, im)
    cv2.imwrite(path, np.concatenate([np.concatenate(ims[i:i + cols], 1) for i in range(0, len(ims) - cols + 1, cols)]))


def draw_kp(kp, weight=None):
    import cv2

    def f(i, im):
        for x, y, v in kp[i].tolist():
            if v > 0:
                cv2.circle(im, (int(x), int(y)), 2, (0, 255, 0) if v == 2 else (255, 0, 255), -1)
    return f


def draw_box(boxes, state):
    import cv2

    def f(i, im):
        for b, s in zip(boxes[i].tolist(), state[i].tolist()):
            if s:
                cv2.rectangle(im, (int(b[0]), int(b[1])), (int(b[2]), int(b[3])), (0, 255, 0) if s == 1 else (255, 0, 255), 1)
    return f


class Pupil:
    """A network with its optimiser and the moving average of its weights."""

    def __init__(self, net, name, a, dev):
        self.name, self.steps, self.run = name, 0, None
        if a.resume and os.path.exists(name + ".pt"):
            state = torch.load(name + ".pt", map_location=dev, weights_only=True)["ema"]
            net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        self.net = net.to(dev).to(memory_format=torch.channels_last)
        self.ema = copy.deepcopy(self.net)
        floats = [k for k, v in self.net.state_dict().items() if v.is_floating_point()]
        self.slow, self.fast = [self.ema.state_dict()[k] for k in floats], [self.net.state_dict()[k] for k in floats]
        on, off = [p for p in self.net.parameters() if p.ndim > 1], [p for p in self.net.parameters() if p.ndim <= 1]
        self.opt = torch.optim.AdamW([{"params": on, "weight_decay": 0.02}, {"params": off, "weight_decay": 0.0}], lr=a.lr, fused=dev.type == "cuda")

    def step(self, loss, lr):
        for g in self.opt.param_groups:
            g["lr"] = lr
        self.opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 2.0)
        self.opt.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.slow, self.fast, 1 - min(0.999, 1 - 1 / (self.steps / 4 + 2)))
            now = loss.detach()
            self.run = now if self.run is None else self.run + 0.02 * (now - self.run)
        self.steps += 1

    def save(self, args):
        sd = {k: v.half() if v.is_floating_point() else v for k, v in self.ema.state_dict().items()}
        torch.save({"ema": sd, "step": self.steps, "args": args}, self.name + ".tmp")
        os.replace(self.name + ".tmp", self.name + ".pt")  # whole at any moment: somebody may carry it off


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("net", choices=["keypoints", "finder"])
    a.add_argument("--data", required=True)
    a.add_argument("--out", required=True)
    a.add_argument("--seconds", type=float, default=300)
    a.add_argument("--resume", action="store_true", help="start from the weights in --out, if there are any")
    a.add_argument("--init", help="published ONNX file to start from")
    a.add_argument("--no-small", action="store_true")
    a.add_argument("--real", type=float, default=0.2)
    a.add_argument("--render", type=int, default=512, help="pictures rendered at once")
    a.add_argument("--batch", type=int, default=256, help="pictures per optimiser step; must divide --render")
    a.add_argument("--repeat", type=int, default=2, help="uses of every rendered picture, each augmented and mirrored anew")
    a.add_argument("--ce", type=float, default=0.05, help="weight of the cross-entropy term of the keypoint loss")
    a.add_argument("--lr", type=float, default=2.5e-3)
    a.add_argument("--warm", type=int, default=200, help="steps in which the learning rate rises")
    a.add_argument("--device", default="cuda:0")
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--steps", type=int, default=10 ** 9)
    a.add_argument("--tag", default="")
    a.add_argument("--elapsed", type=float, default=0, help="seconds already spent by a run that this one goes on with")
    a = a.parse_args()
    os.makedirs(a.out, exist_ok=True)
    name = os.path.join(a.out, a.net + a.tag)
    log = open(name + ".log", "a")

    def say(*t):
        print(a.net, *t, flush=True)
        print(*t, file=log, flush=True)

    t0 = T0 - a.elapsed
    a.seconds += a.elapsed
    dev = torch.device(a.device)
    cuda = dev.type == "cuda"
    if cuda:
        torch.cuda.set_device(dev)
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.manual_seed(a.seed)
    s = Synth(a.data, a.device, seed=1000 + a.seed, work=f"/tmp/posewire_render_{a.net}{a.tag}")
    say("renderer ready", round(time.time() - t0, 1), "s; args", json.dumps(vars(a)))
    d = s.d
    fresh = [(nets.Keypoints() if a.net == "keypoints" else nets.Finder(), "")]
    if a.net == "keypoints" and not a.no_small:
        fresh.append((nets.Keypoints(**nets.SMALL), "-small"))
    if a.init:
        with torch.no_grad():
            seen = [normal(augment(d, s.camera_lib, (s.crops if a.net == "keypoints" else s.scenes)(a.render, real=a.real)[0], **({} if a.net == "keypoints" else {"holes": 0.0}))) for _ in range(4)]
        for net, end in fresh:
            nets.set_statistics(nets.read_onnx(net, a.init.removesuffix(".onnx") + end + ".onnx").to(dev), seen)
        del seen
    pupils = [Pupil(net, name + end, a, dev) for net, end in fresh]
    # A fixed synthetic validation set, and the held-out photographs.
    nval = 256 if cuda else 8  # a fixed set, drawn before training
    with torch.no_grad():
        if a.net == "keypoints":
            x, kp, w = s.crops(nval)
            val = (augment(d, s.camera_lib, x, holes=0.0), kp, w)
            real = real_crops(s) if s.crop_px is not None else None
        else:
            x, b, st = s.scenes(nval // 2)
            val = (augment(d, s.camera_lib, x, holes=0.0), b, st)

    def lr_at(f):
        return a.lr * min(1, (step + 1) / a.warm) * (0.5 + 0.5 * math.cos(math.pi * min(f, 1))) + 1e-6

    def clock():
        if cuda:
            torch.cuda.synchronize()
        return time.time()

    def report():
        for p in pupils:
            if step and (p.run is None or not math.isfinite(float(p.run))) or not all(bool(torch.isfinite(t).all()) for t in p.slow):
                raise SystemExit(f"{p.name}: the loss is no number at step {step}; the last checkpoint stays")
            p.ema.eval()
            with torch.no_grad(), torch.backends.cudnn.flags(enabled=True, benchmark=False):
                if a.net == "keypoints":
                    msg = f"(median, mean, <5%) synthetic {keypoint_error(p.ema, *val)}" + (f" photos {keypoint_error(p.ema, *real)}" if real else "")
                else:
                    l, lb = finder_loss(*p.ema(normal(val[0])), val[1], val[2])
                    msg = f"val loss {float(l):.3f} box {float(lb):.3f}"
            say(f"{os.path.basename(p.name)} step {step} t {time.time() - t0:.0f} lr {p.opt.param_groups[0]['lr']:.1e} loss {float(p.run) if step else 0:.4f} pictures/s {seen / (time.time() - begin):.0f} {msg}")
            p.save(vars(a))

    step, seen, cycles = 0, 0, 0
    begin = shown = time.time()
    if a.init:
        report()  # what the fine-tuning has to beat
    spent = [0.0, 0.0, 0.0]  # render, augment, train; measured (with synchronisation) in cycles 5 to 14 only
    while step < a.steps and time.time() - t0 < a.seconds:
        timed = 5 <= cycles < 15
        ta = clock() if timed else 0.0
        with torch.no_grad():
            raw, *labels = s.crops(a.render, real=a.real) if a.net == "keypoints" else s.scenes(a.render, real=a.real)
        if timed:
            spent[0] += clock() - ta
        for use in range(a.repeat):
            ta = clock() if timed else 0.0
            with torch.no_grad():
                # Photographs come first in a rendered batch: shuffle, so that every step sees its share.
                order = torch.randperm(a.render, device=dev)
                x = augment(d, s.camera_lib, raw[order], **({} if a.net == "keypoints" else {"holes": 0.0}))
                use_labels = [t[order] for t in labels]
                x, use_labels = mirror(d, x, use_labels) if a.net == "keypoints" else mirror_boxes(d, x, use_labels)
                if step == 0:
                    grid(name + "_grid.png", x, (draw_kp if a.net == "keypoints" else draw_box)(*use_labels[:2]), 8 if a.net == "keypoints" else 5, 32 if a.net == "keypoints" else 30)
            if timed:
                spent[1] += clock() - ta
            ta = clock() if timed else 0.0
            for i in range(0, a.render, a.batch):
                now = slice(i, i + a.batch)
                f = (time.time() - t0) / a.seconds
                lr, xs, part, known = lr_at(f), normal(x[now]), [t[now] for t in use_labels], None
                for p in pupils:
                    p.net.train()
                    with torch.autocast(dev.type, torch.bfloat16, enabled=cuda):
                        out = p.net(xs)
                    if a.net == "finder":
                        loss = finder_loss(*out, *part)[0]
                    else:
                        out = out.float()
                        loss = keypoint_loss(out, *part, ce=a.ce)
                        if known is not None:
                            loss = loss + min(1.0, f / 0.15) * distil_loss(out, known)
                        known = out.detach()
                    p.step(loss, lr)
                step += 1
                seen += a.batch
            if timed:
                spent[2] += clock() - ta
        cycles += 1
        if cycles == 15:
            say("per cycle of %d pictures, %d uses, %d steps: render %.1f ms, augment %.1f ms, train %.1f ms" % (a.render, a.repeat, a.repeat * a.render // a.batch, *[t * 100 for t in spent]))
        if time.time() - shown > 20 or cycles == 30:
            shown = time.time()
            report()
    report()
    say("done", step, "steps", seen, "pictures", round(time.time() - t0, 1), "s")


if __name__ == "__main__":
    main()
