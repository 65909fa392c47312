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


def read_onnx(net, path):
    """Load weights that `export` wrote. They have batch norm folded, so the norms become the identity plus the folded bias; `set_statistics` makes them fit for training."""
    import onnx
    import numpy as np
    from onnx import numpy_helper
    held = {i.name.removesuffix(".f16").removeprefix("net."): torch.from_numpy(numpy_helper.to_array(i).astype(np.float32)) for i in onnx.load(path).graph.initializer}
    state = net.state_dict()
    for name, m in net.named_modules():
        if isinstance(m, Unit):
            norm = name + ".1."
            state[name + ".0.weight"] = held[name + ".0.weight"]
            state[norm + "weight"], state[norm + "bias"] = torch.ones_like(m[1].weight), held[name + ".0.bias"]
            state[norm + "running_mean"], state[norm + "running_var"] = torch.zeros_like(m[1].running_mean), torch.full_like(m[1].running_var, 1 - m[1].eps)
        elif isinstance(m, nn.Conv2d) and name + ".bias" in state:
            state[name + ".weight"], state[name + ".bias"] = held[name + ".weight"], held[name + ".bias"]
    net.load_state_dict(state)
    return net


def set_statistics(net, batches):
    """Give every batch norm of a net from `read_onnx` the mean and variance of what it sees on `batches`, and the weight and bias that undo them: the same function in eval mode, and in train
    mode up to the spread between batches. Filters are scaled to norm 1, so that an optimiser step changes each by the same share whatever factor was folded into it."""
    units = [m for m in net.modules() if isinstance(m, Unit)]
    sums = {m[0]: [0, 0.0, 0.0] for m in units}

    def gather(conv, _, out):
        t, o = sums[conv], out.detach().double()
        t[0] += o.numel() // o.shape[1]
        t[1] = t[1] + o.sum((0, 2, 3))
        t[2] = t[2] + (o ** 2).sum((0, 2, 3))

    hooks = [m[0].register_forward_hook(gather) for m in units]
    net.eval()
    with torch.no_grad():
        for x in batches:
            net(x)
        for h in hooks:
            h.remove()
        for conv, norm in [(m[0], m[1]) for m in units]:
            n, total, squares = sums[conv]
            k = 1 / conv.weight.flatten(1).norm(dim=1).double().clamp(min=1e-6)
            mean = total / n
            var = (squares / n - mean ** 2).clamp(min=0)
            conv.weight.mul_(k.float().view(-1, 1, 1, 1))
            norm.bias.add_(mean.float())
            norm.weight.copy_((k ** 2 * var + norm.eps).sqrt() / k)
            norm.running_mean.copy_(k * mean)
            norm.running_var.copy_(k ** 2 * var)
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
