"""Self-attention over a few tokens, as one small Triton kernel each way.

PyTorch's scaled_dot_product_attention tiles for long sequences; with 27 tokens it took about half of a training step. Here one program
holds a whole head in registers and recomputes the weights in the backward pass. Used for bf16 on CUDA; everything else takes the stock path.
"""

import torch
import torch.nn.functional as F

try:
    import triton
    import triton.language as tl
except ImportError:  # CPU installations
    triton = None

if triton is not None:

    @triton.jit
    def _weights(q, k, t, scale, B: tl.constexpr):
        cols = tl.arange(0, B)
        s = tl.dot(q, tl.trans(k)) * scale
        s = tl.where(cols[None, :] < t, s, -1e30)
        p = tl.exp(s - tl.max(s, 1)[:, None])
        return p / tl.sum(p, 1)[:, None]

    @triton.jit
    def _forward(qkv, out, t, scale, H: tl.constexpr, D: tl.constexpr, B: tl.constexpr):
        n, h = tl.program_id(0), tl.program_id(1)
        rows, cols = tl.arange(0, B), tl.arange(0, D)
        mask = (rows < t)[:, None]
        at = (n * t + rows)[:, None].to(tl.int64) * (3 * H * D) + h * D + cols[None, :]
        q = tl.load(qkv + at, mask, 0.0)
        k = tl.load(qkv + at + H * D, mask, 0.0)
        v = tl.load(qkv + at + 2 * H * D, mask, 0.0)
        p = _weights(q, k, t, scale, B)
        y = tl.dot(p.to(v.dtype), v)
        to = (n * t + rows)[:, None].to(tl.int64) * (H * D) + h * D + cols[None, :]
        tl.store(out + to, y.to(v.dtype), mask)

    @triton.jit
    def _backward(qkv, grad, dqkv, t, scale, H: tl.constexpr, D: tl.constexpr, B: tl.constexpr):
        n, h = tl.program_id(0), tl.program_id(1)
        rows, cols = tl.arange(0, B), tl.arange(0, D)
        mask = (rows < t)[:, None]
        at = (n * t + rows)[:, None].to(tl.int64) * (3 * H * D) + h * D + cols[None, :]
        q = tl.load(qkv + at, mask, 0.0)
        k = tl.load(qkv + at + H * D, mask, 0.0)
        v = tl.load(qkv + at + 2 * H * D, mask, 0.0)
        to = (n * t + rows)[:, None].to(tl.int64) * (H * D) + h * D + cols[None, :]
        g = tl.load(grad + to, mask, 0.0)
        p = _weights(q, k, t, scale, B)
        dv = tl.dot(tl.trans(p.to(g.dtype)), g)
        dp = tl.dot(g, tl.trans(v))
        ds = (p * (dp - tl.sum(p * dp, 1)[:, None]) * scale).to(q.dtype)
        dq = tl.dot(ds, k)
        dk = tl.dot(tl.trans(ds), q)
        tl.store(dqkv + at, dq.to(q.dtype), mask)
        tl.store(dqkv + at + H * D, dk.to(q.dtype), mask)
        tl.store(dqkv + at + 2 * H * D, dv.to(q.dtype), mask)


def _block(t):
    return max(16, 1 << (t - 1).bit_length())


def _warps(t):
    return 1 if t <= 32 else 4 if t <= 64 else 8


@torch.library.custom_op("posewire::attention", mutates_args=())
def fused(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    n, t, c = qkv.shape
    dh = c // 3 // heads
    qkv = qkv.contiguous()
    out = torch.empty(n, t, c // 3, dtype=qkv.dtype, device=qkv.device)
    _forward[(n, heads)](qkv, out, t, dh**-0.5, heads, dh, _block(t), num_warps=_warps(t))
    return out


@fused.register_fake
def _(qkv, heads):
    n, t, c = qkv.shape
    return qkv.new_empty(n, t, c // 3)


@torch.library.custom_op("posewire::attention_backward", mutates_args=())
def fused_backward(qkv: torch.Tensor, grad: torch.Tensor, heads: int) -> torch.Tensor:
    n, t, c = qkv.shape
    dh = c // 3 // heads
    qkv, grad = qkv.contiguous(), grad.contiguous()
    d = torch.empty_like(qkv)
    _backward[(n, heads)](qkv, grad, d, t, dh**-0.5, heads, dh, _block(t), num_warps=_warps(t))
    return d


@fused_backward.register_fake
def _(qkv, grad, heads):
    return torch.empty_like(qkv, memory_format=torch.contiguous_format)


def _save(ctx, inputs, output):
    ctx.save_for_backward(inputs[0])
    ctx.heads = inputs[1]


fused.register_autograd(lambda ctx, g: (fused_backward(ctx.saved_tensors[0], g, ctx.heads), None), setup_context=_save)

FUSED = set()  # sequence lengths for which the kernel here was found equal and faster


def attention(qkv, heads):
    """qkv [N,T,3*d] (query, key, value; heads inside each) -> [N,T,d]."""
    n, t, c = qkv.shape
    dh = c // 3 // heads
    if t in FUSED and qkv.is_cuda and qkv.dtype == torch.bfloat16 and dh >= 16:
        return fused(qkv, heads)
    q, k, v = qkv.reshape(-1, t, 3, heads, dh).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, t, c // 3)


def stock(qkv, heads):
    n, t, c = qkv.shape
    q, k, v = qkv.reshape(n, t, 3, heads, c // 3 // heads).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c // 3)


def choose(lengths, batch, heads=8, dh=32, say=print):
    """Fills FUSED: for each sequence length, the kernel here must equal the stock path and beat it (forward and backward, CUDA)."""
    if triton is None:
        return
    for t in sorted(set(lengths)):
        try:
            x = torch.randn(batch, t, 3 * heads * dh, device="cuda", dtype=torch.bfloat16, requires_grad=True)
            g = torch.randn(batch, t, heads * dh, device="cuda", dtype=torch.bfloat16)
            z = x.detach().float().requires_grad_()
            r = stock(z, heads)
            (dr,) = torch.autograd.grad(r, z, g.float())
            took, worst = {}, 0.0
            for name, f in (("fused", fused), ("stock", stock)):
                y = f(x, heads)
                (dx,) = torch.autograd.grad(y, x, g)
                if name == "fused":
                    worst = max(((y.float() - r).norm() / r.norm()).item(), ((dx.float() - dr).norm() / dr.norm()).item())
                torch.cuda.synchronize()
                a, b = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                a.record()
                for _ in range(5):
                    torch.autograd.grad(f(x, heads), x, g)
                b.record()
                torch.cuda.synchronize()
                took[name] = a.elapsed_time(b) / 5
            if worst < 0.02 and took["fused"] < took["stock"]:
                FUSED.add(t)
            say(f"attention over {t}: fused {took['fused']:.3f} ms, stock {took['stock']:.3f} ms, relative difference {worst:.4f}")
        except Exception as e:  # a missing compiler, or too long for one program: the stock path is slower, not worse
            say(f"attention over {t}: stock ({repr(e)[:200]})")
