"""A streaming P-STMO: the same per-frame encoder, a causal transformer with relative positions and a bounded reach, and no MOFA.

Every slot attends to itself and to the `reach` - 1 slots before it, by distance (a learned bias per head), so the keys and values of a grid slot
never change once they exist and one new slot costs one token through every layer: about 2.6 M MACs at width 256 instead of 260 M for a window.
With L layers a slot sees L (reach - 1) slots back: 78 for 3 layers of 27 or 6 of 14, which is what a training window of 81 shows. Several lookaheads are
several output heads of the newest token: a cached token cannot know what will be asked.

Before the first observation a person's window repeats it. A token whose whole past is itself attends to copies of itself, so its attention is
its own value: such a token's cache can be made from one slot (`Stream.birth`), exactly.
"""

import torch
import torch.nn.functional as F
from torch import nn

from model import Config, Sem, exact, features
from window import LOOKAHEAD_UNIT


class CausalLayer(nn.Module):
    def __init__(self, c: Config, reach):
        super().__init__()
        self.heads, self.reach = c.heads, reach
        self.n1, self.n2 = nn.LayerNorm(c.d, eps=1e-5), nn.LayerNorm(c.d, eps=1e-5)
        self.qkv, self.proj = nn.Linear(c.d, 3 * c.d), nn.Linear(c.d, c.d)
        self.w1, self.w2 = nn.Linear(c.d, c.ff), nn.Linear(c.ff, c.d)
        self.bias = nn.Parameter(torch.zeros(c.heads, reach))  # by distance
        i = torch.arange(c.frames)
        distance = i[None] - i[:, None]  # how much older than the asking token
        self.register_buffer("of_distance", F.one_hot(distance.clamp(0, reach - 1), reach).flatten(0, 1).float(), persistent=False)
        self.register_buffer("unseen", (distance < 0) | (distance >= reach), persistent=False)

    def split(self, x):
        n, t, d = x.shape
        return self.qkv(self.n1(x)).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)

    def rest(self, x, mixed):
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return x + self.w2(F.relu(self.w1(self.n2(x))))

    def forward(self, x):
        """x [N,T,d], newest first."""
        # A product instead of an index: its gradient needs no scattered additions.
        bias = (self.bias @ self.of_distance.T).reshape(self.heads, *self.unseen.shape).masked_fill(self.unseen, float("-inf"))
        q, k, v = self.split(x)
        return self.rest(x, F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype)))


class StreamingPstmo(nn.Module):
    """Same interface as model.Pstmo. `every` is the live answer of every slot from what had been seen by then."""

    def __init__(self, c: Config):
        super().__init__()
        self.c = c
        reach = (c.frames - 1) // c.layers + 1
        self.sem = Sem(c)
        self.ctx1, self.ctx2 = nn.Linear(c.context - 1, 64), nn.Linear(64, c.d)  # without the lookahead
        self.layers = nn.ModuleList([CausalLayer(c, reach) for _ in range(c.layers)])
        self.norm = nn.LayerNorm(c.d, eps=1e-5)
        self.heads = nn.ModuleList([nn.Linear(c.d, 51) for _ in c.lookaheads])
        mask = torch.ones(51)
        mask[:3] = 0
        self.register_buffer("root_mask", mask, persistent=False)
        self.register_buffer("asked", torch.tensor(c.lookaheads) / LOOKAHEAD_UNIT, persistent=False)

    def context_row(self, context):
        return self.ctx2(F.relu(self.ctx1(context[:, :5])))

    def answers(self, x, context):
        """x [N,d] -> joints [N,17,3] of the slot that each context asks for."""
        out = torch.stack([exact(h, x) for h in self.heads], 1)
        hot = ((self.asked - context[:, 5:6]).abs() < 0.5 / LOOKAHEAD_UNIT).to(out.dtype)
        return ((hot[..., None] * out).sum(1) * self.root_mask).reshape(-1, 17, 3)

    def forward(self, window, fresh, context, all_frames=False):
        n, t = window.shape[:2]
        x = self.sem(features(window, fresh, self.c)).reshape(n, t, self.c.d) + self.context_row(context)[:, None]
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        joints = self.answers(x[:, 0], context)
        return (joints, (exact(self.heads[0], x) * self.root_mask).reshape(n, t, 17, 3)) if all_frames else joints


class Stream:
    """The cache of one person (or of several that move in step): what the runtime would do per frame."""

    def __init__(self, net: StreamingPstmo, context):
        self.net, self.context = net, context
        self.keys = [[] for _ in net.layers]  # newest first: (k, v) [N,h,1,dh] each
        self.pad = None

    def run(self, slot, fresh, keep):
        """slot [N,17,3], fresh [N,1] -> state of the token. keep: a grid slot, whose keys and values stay."""
        net, n = self.net, slot.shape[0]
        x = net.sem(features(slot[:, None], fresh, net.c)).reshape(n, 1, -1) + net.context_row(self.context)[:, None]
        for i, layer in enumerate(net.layers):
            q, k, v = layer.split(x)
            past = (self.keys[i] + [self.pad[i]] * (layer.reach - 1))[: layer.reach - 1]
            ks, vs = torch.cat([k] + [p[0] for p in past], 2), torch.cat([v] + [p[1] for p in past], 2)
            if keep:
                self.keys[i] = ([(k, v)] + self.keys[i])[: layer.reach - 1]
            x = layer.rest(x, F.scaled_dot_product_attention(q, ks, vs, attn_mask=layer.bias[:, None]))
        return net.norm(x)[:, 0]

    def birth(self, slot):
        """Before everything: the slots older than the first observation."""
        net, n = self.net, slot.shape[0]
        x = net.sem(features(slot[:, None], torch.zeros(n, 1), net.c)).reshape(n, 1, -1) + net.context_row(self.context)[:, None]
        self.pad = []
        for layer in net.layers:
            _, k, v = layer.split(x)
            self.pad.append((k, v))
            x = layer.rest(x, v)

    def grid(self, slot):
        self.run(slot, torch.zeros(slot.shape[0], 1), True)

    def newest(self, slot, fresh):
        return self.net.answers(self.run(slot, fresh, False), self.context)
