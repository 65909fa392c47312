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
    return 1 if t <= 32 else 4


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

USE_FUSED = True


def attention(qkv, heads):
    """qkv [N,T,3*d] (query, key, value; heads inside each) -> [N,T,d]."""
    n, t, c = qkv.shape
    dh = c // 3 // heads
    if USE_FUSED and triton is not None and qkv.is_cuda and qkv.dtype == torch.bfloat16 and dh >= 16:
        return fused(qkv, heads)
    q, k, v = qkv.reshape(-1, t, 3, heads, dh).permute(2, 0, 3, 1, 4).unbind(0)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, t, c // 3)


def self_test(device="cuda", dtype=torch.bfloat16):
    """Largest relative difference to the stock path, forward and backward."""
    worst = 0.0
    for t, h, dh in ((27, 8, 32), (9, 8, 32), (3, 8, 16), (81, 8, 32)):
        x = torch.randn(5, t, 3 * h * dh, device=device, dtype=dtype, requires_grad=True)
        g = torch.randn(5, t, h * dh, device=device, dtype=dtype)
        y = fused(x, h)
        (dx,) = torch.autograd.grad(y, x, g)
        z = x.detach().float().requires_grad_()
        q, k, v = z.reshape(5, t, 3, h, dh).permute(2, 0, 3, 1, 4).unbind(0)
        r = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(5, t, h * dh)
        (dr,) = torch.autograd.grad(r, z, g.float())
        worst = max(worst, ((y.float() - r).norm() / r.norm()).item(), ((dx.float() - dr).norm() / dr.norm()).item())
    return worst
