"""The two networks of the embedded detector, and their export to ONNX.

Both are plain convolutional networks: Conv 3x3 / 1x1 (batch norm folded at export), ReLU, Add, nearest Resize. Dense 3x3 convolutions
of few channels were chosen over depthwise ones by measuring tract on one thread (RUNS.md): PP-TinyPose's
depthwise 0.3 GMAC take 5 times as long there as 0.4 GMAC of these, and the GPU trains them faster as well.
"""
import torch
from torch import nn
import torch.nn.functional as F

SIGMA = 1.5  # of the heatmaps' Gaussian, in cells of 4 crop pixels


class Unit(nn.Sequential):
    """Conv + batch norm (+ ReLU)."""

    def __init__(self, i, o, k=3, s=1, act=True, g=1):
        layers = [nn.Conv2d(i, o, k, s, k // 2, groups=g, bias=False), nn.BatchNorm2d(o)]
        if act:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class Block(nn.Module):
    """Residual block: 3x3 to `mid` channels, 3x3 back."""

    def __init__(self, c, mid=None):
        super().__init__()
        self.a = Unit(c, mid or c)
        self.b = Unit(mid or c, c, act=False)
        nn.init.zeros_(self.b[1].weight)  # starts as the identity: trains faster

    def forward(self, x):
        return F.relu(x + self.b(self.a(x)))


def up2(x):
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Trunk(nn.Module):
    """Returns the maps at strides 8, 16 and 32. No block works at stride 4: im2col of large thin maps is what costs time on a CPU."""

    def __init__(self, stem, widths, depths):
        super().__init__()
        w4, w8, w16, w32 = widths
        self.s8 = nn.Sequential(Unit(3, stem, 3, 2), Unit(stem, w4, 3, 2), Unit(w4, w8, 3, 2), *[Block(w8) for _ in range(depths[0])])
        self.s16 = nn.Sequential(Unit(w8, w16, 3, 2), *[Block(w16) for _ in range(depths[1])])
        self.s32 = nn.Sequential(Unit(w16, w32, 3, 2), *[Block(w32) for _ in range(depths[2])])

    def forward(self, x):
        c8 = self.s8(x)
        c16 = self.s16(c8)
        return c8, c16, self.s32(c16)


class Neck(nn.Module):
    """Feature pyramid from stride 32 down to stride 8."""

    def __init__(self, widths, n8, n16):
        super().__init__()
        _, w8, w16, w32 = widths
        self.l32 = Unit(w32, n16, 1)
        self.l16 = Unit(w16, n16, 1, act=False)
        self.f16 = nn.Sequential(Unit(n16, n16), Unit(n16, n8, 1))
        self.l8 = Unit(w8, n8, 1, act=False)
        self.f8 = Block(n8)

    def forward(self, maps):
        c8, c16, c32 = maps
        y = self.f16(F.relu(self.l16(c16) + up2(self.l32(c32))))
        return self.f8(F.relu(self.l8(c8) + up2(y)))


class Keypoints(nn.Module):
    """Crop [B,3,256,192] -> heatmaps [B,17,64,48], peak about 1 where the joint is seen.

    The head works at stride 8 and unfolds 4 x 17 channels to stride 4 (DepthToSpace): a sixth of the cost of convolving at stride 4.
    """

    width, height = 192, 256

    def __init__(self, stem=16, widths=(24, 64, 112, 192), depths=(2, 2, 2), neck=(64, 96)):
        super().__init__()
        self.trunk = Trunk(stem, widths, depths)
        self.neck = Neck(widths, *neck)
        self.head = nn.Conv2d(neck[0], 68, 3, padding=1)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, x):
        return F.pixel_shuffle(self.head(self.neck(self.trunk(x))), 2)


# The small keypoint network: Keypoints(**SMALL).
SMALL = dict(stem=12, widths=(16, 32, 80, 144), depths=(1, 2, 2), neck=(40, 64))


class Finder(nn.Module):
    """Picture [B,3,256,320] (letterboxed, top-left) -> score logits [B,1,32,40] and distances l,t,r,b to the box's sides, in strides."""

    width, height, stride = 320, 256, 8

    def __init__(self, stem=12, widths=(24, 56, 96, 144), depths=(1, 2, 2), neck=(64, 80)):
        super().__init__()
        self.trunk = Trunk(stem, widths, depths)
        self.neck = Neck(widths, *neck)
        self.score = nn.Conv2d(neck[0], 1, 1)
        self.box = nn.Conv2d(neck[0], 4, 1)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.constant_(self.score.bias, -4.0)
        nn.init.normal_(self.box.weight, std=0.01)
        nn.init.constant_(self.box.bias, 5.0)

    def forward(self, x):
        y = self.neck(self.trunk(x))
        return self.score(y), F.relu(self.box(y))


class FinderExport(nn.Module):
    """Adds the sigmoid: the exported scores are probabilities."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        s, b = self.net(x)
        return torch.sigmoid(s), b


def folded(net):
    """A copy in eval mode with every batch norm folded into its convolution."""
    import copy
    net = copy.deepcopy(net).float().cpu().eval()
    for m in list(net.modules()):
        if isinstance(m, Unit) and len(m) > 1 and isinstance(m[1], nn.BatchNorm2d):
            conv = nn.utils.fusion.fuse_conv_bn_eval(m[0], m[1])
            rest = list(m.children())[2:]
            m._modules.clear()
            for k, layer in enumerate([conv, *rest]):
                m.add_module(str(k), layer)
    return net


def macs(net, shape):
    """Multiply-accumulates of the convolutions for one input of `shape`."""
    total = 0

    def count(m, _, out):
        nonlocal total
        total += out[0].numel() * m.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        net.eval()(torch.zeros(1, *shape))
    for h in hooks:
        h.remove()
    return total


def export(net, path, half=False):
    """Write `net` (Keypoints or Finder) as ONNX, opset 17, batch 1. half=True stores weights as f16 followed by a Cast to f32."""
    import onnx
    kind = isinstance(net, Finder)
    m = folded(net)
    if kind:
        m = FinderExport(m)
    names = ["scores", "boxes"] if kind else ["heatmaps"]
    torch.onnx.export(m, (torch.zeros(1, 3, net.height, net.width),), path, input_names=["image"], output_names=names, opset_version=17, dynamo=False)
    if half:
        model = onnx.load(path)
        store_half(model)
        onnx.save(model, path)
    onnx.checker.check_model(path)


def store_half(model):
    """Replace large f32 initialisers by f16 ones and a Cast: half the file, same f32 arithmetic (runtimes fold the Cast at load)."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
    casts = []
    for init in list(model.graph.initializer):
        a = numpy_helper.to_array(init)
        if a.dtype == np.float32 and a.size > 256:
            name = init.name
            model.graph.initializer.remove(init)
            model.graph.initializer.append(numpy_helper.from_array(a.astype(np.float16), name + ".f16"))
            casts.append(helper.make_node("Cast", [name + ".f16"], [name], to=TensorProto.FLOAT, name="cast." + name))
    for c in reversed(casts):
        model.graph.node.insert(0, c)
