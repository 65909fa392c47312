"""P-STMO written anew (Shan et al., ECCV 2022, arXiv 2203.07628): SEM, TEM, MOFA, the VTE training head and the stage-I decoder.

Differences from the reference code, all on purpose:
- stock LayerNorm (biased variance, eps inside the root): it is what runtimes implement; we train from scratch, so nothing is lost;
- MOFA's strided convolution reads tokens (3i, 3i+1, 3i+2) instead of (3i-1, 3i, 3i+1): no zero padding, no token dropped, and it
  is a reshape and one Linear, which every runtime can do; token 0 (the newest slot) still travels down the residual chain;
- the input carries a confidence per keypoint, and an optional context vector (angular size, gravity, which slot is asked for) is added to
  every token; slot 0 knows how much younger than a grid period it is;
- "target skip": the all-frames head (VTE) answers for the asked slot and MOFA's head corrects it, so that one model serves several slots;
- the prediction head is one Linear without BN; the root's three rows are masked (the root is 0 by definition).
Every 1x1 convolution is a Linear over the channel axis.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from window import LOOKAHEAD_UNIT


@dataclass
class Config:
    frames: int = 27
    d: int = 256  # token width
    sem: int = 512  # width of the per-frame encoder
    ff: int = 512  # hidden width of the feed-forward blocks
    layers: int = 3  # TEM layers
    heads: int = 8
    lookaheads: tuple = (0,)  # slots that the target may be; slot 0 is the newest
    context: int = 6  # 0: the network has no context input
    confidence: bool = True  # False: the third input channel is reduced to "present" 0/1
    skip: bool = True  # the VTE head's answer for the asked slot is added to MOFA's
    screen: bool = False  # trained on the reference's screen coordinates (control experiment; train.py feeds it)
    dropout: float = 0.0
    rate_hz: float = 25.0

    def __post_init__(self):
        self.lookaheads = tuple(self.lookaheads)

    def strides(self):
        n, out = self.frames, []
        while n > 1:
            assert n % 3 == 0, "frames must be a power of 3"
            out.append(3)
            n //= 3
        return out

    def dict(self):
        return asdict(self)


def exact(linear, x):
    """The first and the last layers keep their precision under autocast: bf16 is 2 mm at the input and 4 mm at the output."""
    with torch.autocast(x.device.type, enabled=False):
        return linear(x.float())


class Sem(nn.Module):
    """Spatial encoding module: one slot's 17 keypoints and freshness -> one token."""

    def __init__(self, c):
        super().__init__()
        h = c.sem
        self.inp = nn.Linear(52, h)
        self.mid = nn.ModuleList([nn.Linear(h, h), nn.Linear(h, h)])
        self.out = nn.Linear(h, c.d)
        self.bn = nn.ModuleList([nn.BatchNorm1d(h) for _ in range(3)])

    def forward(self, x):
        x = F.leaky_relu(self.bn[0](exact(self.inp, x)), 0.2)
        y = F.leaky_relu(self.bn[1](self.mid[0](x)), 0.2)
        y = F.leaky_relu(self.bn[2](self.mid[1](y)), 0.2)
        return self.out(x + y)


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(d, 3 * d)
        self.proj = nn.Linear(d, d)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))


class TemLayer(nn.Module):
    """Pre-norm transformer layer over all slots."""

    def __init__(self, c, d=None, ff=None, heads=None):
        super().__init__()
        d, ff = d or c.d, ff or c.ff
        self.n1, self.n2 = nn.LayerNorm(d, eps=1e-5), nn.LayerNorm(d, eps=1e-5)
        self.attn = Attention(d, heads or c.heads)
        self.w1, self.w2 = nn.Linear(d, ff), nn.Linear(ff, d)
        self.drop = nn.Dropout(c.dropout)

    def forward(self, x):
        x = x + self.drop(self.attn(self.n1(x)))
        return x + self.drop(self.w2(F.relu(self.w1(self.n2(x)))))


class MofaLayer(nn.Module):
    """Attention, then a strided feed-forward block: n tokens -> n / 3."""

    def __init__(self, c):
        super().__init__()
        self.n1, self.n2 = nn.LayerNorm(c.d, eps=1e-5), nn.LayerNorm(c.d, eps=1e-5)
        self.attn = Attention(c.d, c.heads)
        self.w1, self.w2 = nn.Linear(c.d, c.ff), nn.Linear(3 * c.ff, c.d)
        self.drop = nn.Dropout(c.dropout)

    def forward(self, x):
        t, d = x.shape[1], x.shape[2]
        x = x + self.drop(self.attn(self.n1(x)))
        y = F.relu(self.w1(self.n2(x)))
        y = self.w2(y.reshape(-1, t // 3, 3 * y.shape[2]))
        return x.reshape(-1, t // 3, 3, d)[:, :, 0] + self.drop(y)


class Pstmo(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        self.sem = Sem(c)
        self.pos = nn.Parameter(torch.randn(1, c.frames, c.d) * 0.02)
        if c.context:
            self.ctx1, self.ctx2 = nn.Linear(c.context, 64), nn.Linear(64, c.d)
        self.tem = nn.ModuleList([TemLayer(c) for _ in range(c.layers)])
        self.vte = nn.Linear(c.d, 51)
        strides = c.strides()
        self.mofa = nn.ModuleList([MofaLayer(c) for _ in strides])
        n, tables = c.frames, []
        for i, s in enumerate(strides):
            if i < 3:  # as in the reference: positions in its first three layers only
                tables.append(nn.Parameter(torch.randn(1, n, c.d) * 0.02))
            n //= s
        self.mofa_pos = nn.ParameterList(tables)
        self.head = nn.Linear(c.d, 51)
        mask = torch.ones(51)
        mask[:3] = 0  # the root is the origin
        self.register_buffer("root_mask", mask, persistent=False)

    def encode(self, window, fresh):
        return self.sem(features(window, fresh, self.c)).reshape(-1, self.c.frames, self.c.d)

    def tokens(self, window, fresh, context=None):
        x = self.encode(window, fresh) + self.pos
        if self.c.context:
            x = x + self.ctx2(F.relu(self.ctx1(context)))[:, None]
        for layer in self.tem:
            x = layer(x)
        return x

    def forward(self, window, fresh, context=None, all_frames=False):
        """window [N,T,17,3], fresh [N,1], context [N,6] -> joints [N,17,3]; with all_frames also [N,T,17,3] from the VTE head."""
        x = self.tokens(window, fresh, context)
        every = exact(self.vte, x) * self.root_mask if all_frames else None
        skip = 0.0
        if self.c.skip:
            if every is None or len(self.c.lookaheads) == 1:
                skip = exact(self.vte, pick(x, context, self.c)) * self.root_mask
            else:
                skip = pick(every, context, self.c)
        for i, layer in enumerate(self.mofa):
            if i < len(self.mofa_pos):
                x = x + self.mofa_pos[i]
            x = layer(x)
        joints = (exact(self.head, x[:, 0]) * self.root_mask + skip).reshape(-1, 17, 3)
        return (joints, every.reshape(-1, self.c.frames, 17, 3)) if all_frames else joints


def features(window, fresh, c):
    """[N,T,17,3], [N,1] -> [N*T,52]: keypoints, and how fresh the slot is (0 but for slot 0)."""
    if not c.confidence:
        window = torch.cat([window[..., :2], (window[..., 2:] > 0).to(window.dtype)], -1)
    f = F.pad(fresh, (0, window.shape[1] - 1))
    return torch.cat([window.flatten(2), f[..., None].to(window.dtype)], -1).flatten(0, 1)


def pick(x, context, c):
    """Row `lookahead` of x [N,T,d]; the lookahead of each window is in its context."""
    if len(c.lookaheads) == 1:
        return x[:, c.lookaheads[0]]
    slot = torch.arange(x.shape[1], device=x.device)
    hot = F.relu(1 - (slot - LOOKAHEAD_UNIT * context[:, 5:6]).abs()).to(x.dtype)
    return (hot[:, None] @ x)[:, 0]


class MaskedPoseModel(nn.Module):
    """Stage I: the encoder (SEM + TEM) of a Pstmo sees a window with slots and keypoints masked; a small decoder restores the 2D."""

    def __init__(self, net: Pstmo, width=128, heads=4):
        super().__init__()
        self.net = net
        c = net.c
        self.enter = nn.Linear(c.d, width)
        self.pos = nn.Parameter(torch.randn(1, c.frames, width) * 0.02)
        self.layers = nn.ModuleList([TemLayer(c, width, 2 * width, heads) for _ in range(max(c.layers - 1, 1))])
        self.out = nn.Linear(width, 34)

    def forward(self, window, fresh, context):
        x = self.enter(self.net.tokens(window, fresh, context)) + self.pos
        for layer in self.layers:
            x = layer(x)
        return self.out(x).reshape(-1, self.net.c.frames, 17, 2)


class FrameMlp(nn.Module):
    """The floor: a residual MLP (Martinez et al., ICCV 2017) that sees only the target slot."""

    def __init__(self, c: Config, width=1024):
        super().__init__()
        self.c = c
        self.inp = nn.Linear(52 + c.context, width)
        self.mid = nn.ModuleList([nn.Linear(width, width) for _ in range(4)])
        self.bn = nn.ModuleList([nn.BatchNorm1d(width) for _ in range(5)])
        self.head = nn.Linear(width, 51)
        mask = torch.ones(51)
        mask[:3] = 0
        self.register_buffer("root_mask", mask, persistent=False)

    def forward(self, window, fresh, context=None, all_frames=False):
        k = self.c.lookaheads[0]
        x = features(window[:, k : k + 1], fresh if k == 0 else torch.zeros_like(fresh), self.c)
        if self.c.context:
            x = torch.cat([x, context], -1)
        x = F.relu(self.bn[0](exact(self.inp, x)))
        for i in (0, 2):
            y = F.relu(self.bn[i + 1](self.mid[i](x)))
            x = x + F.relu(self.bn[i + 2](self.mid[i + 1](y)))
        joints = (exact(self.head, x) * self.root_mask).reshape(-1, 17, 3)
        return (joints, None) if all_frames else joints


class TemporalConv(nn.Module):
    """The yardstick: VideoPose3D (Pavllo et al., CVPR 2019) in its strided form, one output per window. Newest first, so that the causal
    variant's residual takes the first of three tokens and the centre variant's the middle one. Same inputs as P-STMO: keypoints with
    confidence and freshness, and the context added after the first convolution."""

    def __init__(self, c: Config, width=1024, dropout=0.1):
        super().__init__()
        self.c, n = c, len(c.strides())
        self.keep = 0 if c.lookaheads[0] == 0 else 1
        self.inp = nn.Linear(3 * 52, width)
        if c.context:
            self.ctx1, self.ctx2 = nn.Linear(c.context, 64), nn.Linear(64, width)
        self.wide = nn.ModuleList([nn.Linear(3 * width, width, bias=False) for _ in range(n - 1)])
        self.mix = nn.ModuleList([nn.Linear(width, width, bias=False) for _ in range(n - 1)])
        self.bn = nn.ModuleList([nn.BatchNorm1d(width) for _ in range(2 * n - 1)])
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width, 51)
        mask = torch.ones(51)
        mask[:3] = 0
        self.register_buffer("root_mask", mask, persistent=False)

    def forward(self, window, fresh, context=None, all_frames=False):
        n, t = window.shape[0], self.c.frames // 3
        x = exact(self.inp, features(window, fresh, self.c).reshape(n, t, 3 * 52))
        if self.c.context:
            x = x + self.ctx2(F.relu(self.ctx1(context)))[:, None]
        x = self.drop(F.relu(self.bn[0](x.flatten(0, 1))))
        for i, (wide, mix) in enumerate(zip(self.wide, self.mix)):
            t //= 3
            x = x.reshape(n * t, 3, -1)
            y = self.drop(F.relu(self.bn[2 * i + 1](wide(x.flatten(1)))))
            y = self.drop(F.relu(self.bn[2 * i + 2](mix(y))))
            x = x[:, self.keep] + y
        joints = (exact(self.head, x) * self.root_mask).reshape(-1, 17, 3)
        return (joints, None) if all_frames else joints


def build(kind: str, c: Config):
    if kind == "stream":
        from streaming_model import StreamingPstmo

        return StreamingPstmo(c)
    return {"pstmo": Pstmo, "mlp": FrameMlp, "tcn": TemporalConv}[kind](c)


def macs(c: Config):
    """Multiply-accumulates of one P-STMO window, attention counted, as PSTMO papers do."""
    t, d, s, f = c.frames, c.d, c.sem, c.ff
    total = t * (52 * s + 2 * s * s + s * d) + c.context * 64 + (64 * d if c.context else 0)
    total += c.layers * (t * (4 * d * d + 2 * d * f) + 2 * t * t * d)
    n = t
    for k in c.strides():
        total += n * (4 * d * d + d * f) + 2 * n * n * d + (n // k) * 3 * f * d
        n //= k
    return total + d * 51 * (1 + c.skip) + (t * d if c.skip and len(c.lookaheads) > 1 else 0)
