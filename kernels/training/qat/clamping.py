"""Limits of activations, and the squared ReLU between two int8 products.

A limit bounds a value's range, so its int8 scale is limit / 127. A constant one wastes codes where
values stay small: a squared ReLU of values around 0.1 with the constant limits 4 and 16 has one
code, 0, and the layer is dead. A dynamic limit follows the values: `multiplier` times their spread.

Published (Character.AI, 2025): clamping is dynamic, and the model learns to use it, so it must be
there at inference, too. What the limit is computed from is told in three ways by others; the
multiplier is nowhere. All three are here (`Source`), the multiplier is ours: 4, which gives the
public constants, 4 and 16, where values have a spread of 1.

- "constant": `multiplier` itself.
- "weights": multiplier * rms(W) * sqrt(inputs) * rms of the input, which the norm before makes 1:
  the spread that values would have if weights and input were independent. No statistic is kept.
- "values": multiplier * a running mean of the values' spread (root mean square). It is a buffer,
  saved with the model; outside of training it is constant.

At inference each is a number a layer. A feed-forward limit L is folded into the weights' scales, as
serving knows 4 only: the up scale times 4 / L, the down scale times (L / 4)^2 (`folded`).
"""

from typing import Any, Literal

import torch
import triton
import triton.language as tl

from kernels.training.qat.quantise import BLOCK, is_by_torch

Source = Literal["constant", "weights", "values"]
SERVED_LIMIT = 4.0


class Limit(torch.nn.Module):
    """Says the limit of a layer's output, float32 `[1]`."""

    spread: torch.Tensor

    def __init__(
        self, source: Source = "values", multiplier: float = 4.0, *,
        momentum: float = 0.99, least: float = 1e-3,
    ) -> None:  # fmt: skip
        super().__init__()
        if source not in ("constant", "weights", "values"):
            raise ValueError(f"source: is {source!r}, must be constant, weights or values")
        self.source, self.multiplier = source, multiplier
        self.momentum, self.least = momentum, least
        self.register_buffer("spread", torch.zeros(1))

    @torch.no_grad()
    def forward(self, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """For `values` = input @ weight^T, whose input has a root mean square of 1. In training,
        "values" takes note of them."""
        if self.source == "values" and self.training:
            self._note(values)
        return self.at_rest(weight)

    @torch.no_grad()
    def at_rest(self, weight: torch.Tensor) -> torch.Tensor:
        """The limit as things are, at inference."""
        if self.source == "constant":
            return torch.full((1,), self.multiplier, device=weight.device)
        if self.source == "weights":
            spread = weight.float().square().mean().sqrt().view(1) * weight.shape[1] ** 0.5
        else:
            spread = self.spread
        return (self.multiplier * spread).clamp(min=self.least)

    def _note(self, values: torch.Tensor) -> None:
        now = values.float().square().mean().sqrt().view(1)
        now = torch.where(now.isfinite(), now, self.spread)
        # The first ever stands alone; there is no branch, which would wait for the device.
        kept = torch.where(self.spread == 0, now, self.spread)
        self.spread.copy_(kept * self.momentum + now * (1 - self.momentum))


@triton.jit
def _forward(x_ptr, limit_ptr, out_ptr, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    limit = tl.load(limit_ptr)
    x = tl.load(x_ptr + at, mask=at < count, other=0.0).to(tl.float32)
    x = tl.minimum(tl.maximum(x, 0.0), limit)
    tl.store(out_ptr + at, (x * x).to(out_ptr.dtype.element_ty), mask=at < count)


@triton.jit
def _backward(x_ptr, limit_ptr, g_ptr, out_ptr, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    limit = tl.load(limit_ptr)
    x = tl.load(x_ptr + at, mask=at < count, other=0.0).to(tl.float32)
    g = tl.load(g_ptr + at, mask=at < count, other=0.0).to(tl.float32)
    slope = tl.where((x > 0) & (x <= limit), 2.0 * x, 0.0)
    tl.store(out_ptr + at, (g * slope).to(out_ptr.dtype.element_ty), mask=at < count)


class _SquaredRelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, limit: torch.Tensor, by_torch: bool | None
    ) -> torch.Tensor:
        x = x.contiguous()
        ctx.save_for_backward(x, limit)
        ctx.by_torch = is_by_torch(x, by_torch)
        if ctx.by_torch:
            return reference_squared_relu(x, limit)
        out = torch.empty_like(x)
        _forward[(triton.cdiv(x.numel(), BLOCK),)](x, limit, out, x.numel(), BLOCK=BLOCK)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, limit = ctx.saved_tensors
        g = gradients[0].contiguous()
        if ctx.by_torch:
            slope = torch.where((x > 0) & (x <= limit), 2.0 * x.float(), 0.0)
            return (g.float() * slope).to(x.dtype), None, None
        out = torch.empty_like(x)
        _backward[(triton.cdiv(x.numel(), BLOCK),)](x, limit, g, out, x.numel(), BLOCK=BLOCK)
        return out, None, None


def reference_squared_relu(x: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """relu(clamp(x, limit))^2, in float32, then as x."""
    return torch.minimum(x.float().clamp(min=0), limit).square().to(x.dtype)


def squared_relu(
    x: torch.Tensor, limit: torch.Tensor, *, by_torch: bool | None = None
) -> torch.Tensor:
    """relu(clamp(x, limit))^2, differentiable in x; `limit` float32 `[1]` on the device. Beyond the
    limit the gradient is zero. The result's own limit is limit^2."""
    return _SquaredRelu.apply(x, limit, by_torch)


def folded(
    up_scale: torch.Tensor, down_scale: torch.Tensor, limit: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales of both weights of a feed-forward, for serving with the constant limit 4: the int8
    codes in its middle are then those of `limit`."""
    ratio = limit.to(up_scale.device) / SERVED_LIMIT
    return up_scale / ratio, down_scale * ratio.square()
