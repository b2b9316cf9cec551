"""Z-Reg: a gradient that keeps the log-sum-exp of logits near zero, without a loss for it.

Logits in bf16 are fine-grained near zero only, and a softmax does not care where they lie. The
virtual loss weight / 2 * Z^2 of each row, Z its log-sum-exp, has the gradient weight * Z *
softmax(row). That is added to the gradient that comes back; the loss and the forward pass are left
alone. Reported by others of Character.AI's training, for attention and for other logits of linear
layers; the weight is not published, so it is an argument. It does not scale with the loss: where
that is a mean over tokens, pass weight / tokens.

Here are logits of a linear layer, as the head's. In attention it is one subtraction in the backward
pass (`attention.backward`).
"""

from typing import Any

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Work
from kernels.training.rows import row_mass

FLOATS = (torch.float32, torch.bfloat16)
BLOCK = 4096


def reference_gradient(x: torch.Tensor, g: torch.Tensor, weight: float) -> torch.Tensor:
    """The specification, in float64: what goes back for logits `x` where `g` comes back. A row
    that is all -inf (nothing to choose from) adds nothing."""
    wide = x.double()
    z = wide.logsumexp(-1, keepdim=True)
    z = torch.where(z == float("-inf"), torch.zeros_like(z), z)
    return g.double() + weight * z * (wide - z).exp() * (z != 0)


@triton.jit
def _gradient(
    x_ptr, g_ptr, out_ptr, width, weight, x_stride, g_stride, BLOCK: tl.constexpr
):  # fmt: skip
    """One row a program: its log-sum-exp piece by piece, then the sum of gradients."""
    row = tl.program_id(0).to(tl.int64)
    x_ptr += row * x_stride
    g_ptr += row * g_stride
    out_ptr += row * width
    column = tl.arange(0, BLOCK)
    largest, mass = row_mass(x_ptr, width, BLOCK)
    z = tl.where(mass > 0, largest + tl.log(tl.maximum(mass, 1e-37)), 0.0)
    for first in range(0, width, BLOCK):
        at = first + column
        x = tl.load(x_ptr + at, mask=at < width, other=float("-inf")).to(tl.float32)
        g = tl.load(g_ptr + at, mask=at < width, other=0.0).to(tl.float32)
        g += weight * z * tl.exp(x - z)
        tl.store(out_ptr + at, g.to(out_ptr.dtype.element_ty), mask=at < width)


def zreg_gradient(
    x: torch.Tensor, g: torch.Tensor, weight: float, *, by_torch: bool | None = None
) -> torch.Tensor:
    """`g` plus the virtual loss's gradient, like `g`; both `[rows, width]`, float32 or bf16.
    Raises ValueError."""
    by_torch = not x.is_cuda if by_torch is None else by_torch
    kinds = (*FLOATS, torch.float64) if by_torch else FLOATS
    checks.tensor("x", x, (None, None), kinds, rows_only=True)
    checks.tensor("g", g, x.shape, kinds, x.device, rows_only=True)
    checks.number("weight", weight, 0.0, 1e6)
    if by_torch:
        return reference_gradient(x, g, weight).to(g.dtype)
    out = torch.empty(g.shape, dtype=g.dtype, device=g.device)
    if g.numel():
        _gradient[(len(x),)](
            x, g, out, x.shape[1], weight, x.stride(0), g.stride(0),
            BLOCK=min(BLOCK, triton.next_power_of_2(x.shape[1])), num_warps=8,
        )  # fmt: skip
    return out


class _ZReg(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: float, by_torch: bool | None) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.by_torch = weight, by_torch
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        width = x.shape[-1]
        flat, g = x.reshape(-1, width), gradients[0].reshape(-1, width).contiguous()
        found = zreg_gradient(flat, g, ctx.weight, by_torch=ctx.by_torch)
        return found.view(x.shape), None, None


def z_reg(x: torch.Tensor, weight: float, *, by_torch: bool | None = None) -> torch.Tensor:
    """The same logits `[..., width]`; going back, weight * Z * softmax of each row is added."""
    return _ZReg.apply(x, weight, by_torch)


def flops_and_bytes(rows: int, width: int, itemsize: int = 2) -> Work:
    """Of the gradient: logits and gradient read once, the gradient written; a row of logits is
    read twice, but the second time from a cache."""
    return Work(10.0 * rows * width, 3.0 * rows * width * itemsize)
