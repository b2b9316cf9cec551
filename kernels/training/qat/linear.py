"""A linear layer that is trained as it will be served: int8 activations, int8 weights.

    forward          y = (x8 @ w8^T) * x_scale * w_scale * scalar     int8 product, bf16 out
    input gradient   (g * w_scale * scalar) @ w8                      bf16, or int8 as an option
    weight gradient  scalar * g^T @ (x8 * x_scale)                    bf16

Master weights are float32; int8 weights have a scale for each output, its largest magnitude / 127,
made anew when the weight has changed. Rounding has the gradient of the identity (straight-through);
a value beyond its limit saturates, and it is the model's clamp before that says its gradient is
zero.

What is kept for the backward pass is int8, half of what bf16 takes, and gradients are those of the
product that was computed. The transposed int8 weights serve the input gradient in int8: their scale
lies along the contracted dimension, and is multiplied into the gradient before it is quantised by
rows (`quantise`), so weights are never quantised twice.

Virtual scalars ("bungee" at Character.AI; the formula is not published). Ours: one learnt factor a
layer on the output. It widens the range of what int8 weights and activations express, and since
Adam's steps of a master weight have a size of their own, it sets how far a step moves the output.
`gradient_gain` multiplies the gradient that leaves the layer for its input, and nothing else. Both
cost nothing in serving: the factor is folded into the weights' scales.
"""

from typing import Any, Literal, NamedTuple

import torch

from kernels.matmul import matmul
from kernels.product import Residual
from kernels.training.qat.quantise import (
    Rows,
    is_by_torch,
    quantise_rows,
    quantise_static,
    real,
    transposed,
)

Precision = Literal["bf16", "int8"]


class Options(NamedTuple):
    """How a layer computes."""

    forward: Precision = "int8"
    """bf16: no quantisation at all, the baseline."""
    input_gradient: Precision = "bf16"
    """Of the product that gives the gradient of the layer's input."""
    gradient_gain: float = 1.0
    """Multiplies the gradient of the input."""
    seed: int | None = None
    """Rounds int8 gradients stochastically, with this seed; None: to nearest."""
    by_torch: bool | None = None
    """Without Triton; None: on a CPU."""


OPTIONS = Options()


def product(
    x: torch.Tensor, w: torch.Tensor, row_scale: torch.Tensor | None, col_scale: torch.Tensor,
    by_torch: bool | None = None, dtype: torch.dtype = torch.bfloat16,
) -> torch.Tensor:  # fmt: skip
    """x @ w^T of int8 with its scales, as `dtype`; `row_scale` None: all in `col_scale`."""
    if not is_by_torch(x, by_torch):
        static = 1.0 if row_scale is None else None
        return matmul(x, w, row_scale, col_scale, x_scale=static, dtype=dtype)
    # What the kernel does, in its order: an exact sum, then two float32 products.
    total = torch._int_mm(x, w.T).float()
    if row_scale is not None:
        total *= row_scale[:, None]
    return (total * col_scale).to(dtype)


class _Int8Linear(torch.autograd.Function):
    """x bf16 or float32 `[tokens, inputs]`, weight float32, limit `[1]`, scalar `[1]`."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, limit: torch.Tensor, scalar: torch.Tensor,
        options: Options, dtype: torch.dtype, rows: Rows | None,
    ) -> torch.Tensor:  # fmt: skip
        x8 = quantise_static(x.contiguous(), limit, by_torch=options.by_torch)
        w8, scale = rows or quantise_rows(weight, by_torch=options.by_torch)
        # Multiplied in this order, as serving has the scalar in the weights' scales.
        y = product(x8, w8, None, scale * scalar * (limit / 127), options.by_torch, dtype)
        ctx.save_for_backward(x8, w8, scale, limit, scalar)
        ctx.options, ctx.kind = options, x.dtype
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x8, w8, scale, limit, scalar = ctx.saved_tensors
        options: Options = ctx.options
        g = gradients[0].bfloat16().contiguous()
        x = real(x8, limit / 127 * scalar, by_torch=options.by_torch)
        to_weight = torch.mm(g.T, x).float()
        to_input = to_scalar = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[3]:
            to_input = _input_gradient(g, Rows(w8, scale * scalar), options)
        if ctx.needs_input_grad[3] and to_input is not None:
            # <g, y> = <gradient of x, x>, as y is linear in x; and y is linear in the scalar, too.
            # Here both factors have the scalar in them once.
            to_scalar = torch.dot(to_input.flatten(), x.flatten()).float().view(1)
            to_scalar = to_scalar / scalar.square().clamp(min=1e-20)
        if to_input is not None:
            gain = options.gradient_gain
            to_input = (to_input if gain == 1 else to_input * gain).to(ctx.kind)
        return to_input, to_weight, None, to_scalar, None, None, None


def _input_gradient(g: torch.Tensor, weight: Rows, options: Options) -> torch.Tensor:
    w8, scale = weight
    if options.input_gradient == "bf16":
        return torch.mm(g, real(w8, scale, by_torch=options.by_torch))
    g8, row_scale = quantise_rows(g, scale, seed=options.seed, by_torch=options.by_torch)
    w8_t = transposed(w8, by_torch=options.by_torch)
    ones = torch.ones(w8.shape[1], device=g.device)
    return product(g8, w8_t, row_scale, ones, options.by_torch)


def int8_linear(
    x: torch.Tensor, weight: torch.Tensor, limit: torch.Tensor, *,
    scalar: torch.Tensor | None = None, options: Options = OPTIONS,
    dtype: torch.dtype = torch.bfloat16, rows: Rows | None = None,
) -> torch.Tensor:  # fmt: skip
    """x @ weight^T in int8, `dtype` `[..., outputs]` (bf16 or float32), differentiable in x, weight
    and scalar.

    `x` bf16 or float32 `[..., inputs]`, `weight` float32 `[outputs, inputs]`, both sizes multiples
    of 16; `limit` float32 `[1]`: x is quantised with limit / 127. `scalar` float32 `[1]`. With
    `options.forward` "bf16" all of it is computed in bf16, without a limit. `rows`: the weight in
    int8, where it is known already.
    """
    if options.forward == "bf16":
        scaled = weight if scalar is None else weight * scalar
        return torch.nn.functional.linear(x.bfloat16(), scaled.bfloat16())
    scalar = torch.ones(1, device=x.device) if scalar is None else scalar
    flat = x.reshape(-1, x.shape[-1])
    y = _Int8Linear.apply(flat, weight, limit, scalar, options, dtype, rows)
    return y.view(*x.shape[:-1], -1)


def reference(
    x: torch.Tensor, weight: torch.Tensor, limit: float, scalar: float = 1.0
) -> torch.Tensor:
    """The specification of the forward pass, in float64 and not rounded at the end."""
    x8 = (x.double() * (127 / limit)).round().clamp(-127, 127)
    scale = weight.double().abs().amax(1) / 127
    w8 = (weight.double() / scale[:, None]).round()
    return (x8 @ w8.T) * (limit / 127 * scalar) * scale


class Kept:
    """A weight in int8, made anew only once the weight has changed: batches whose gradients are
    accumulated share it."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] | None = None
        self._rows: Rows | None = None

    def __call__(self, weight: torch.Tensor, by_torch: bool | None = None) -> Rows:
        """Of a weight as it is now. (Whoever writes it in place raises its version.)"""
        now = (weight.device, weight.data_ptr(), weight._version)
        if self._rows is None or self._of != now:
            with torch.no_grad():
                self._of, self._rows = now, quantise_rows(weight, by_torch=by_torch)
        return self._rows


class Int8Linear(torch.nn.Module):
    """The layer, without a bias. Weights begin as N(0, std^2); `limit` is a buffer, and whoever
    clamps the input says what it is."""

    limit: torch.Tensor

    def __init__(
        self, inputs: int, outputs: int, *,
        limit: float = 4.0, std: float | None = None, has_scalar: bool = False,
        is_fused: bool = False, options: Options = OPTIONS,
    ) -> None:  # fmt: skip
        """`is_fused`: serving does not round this product, as what follows is of the same launch;
        nor is it rounded here, outside of training (where bf16 halves what is kept)."""
        super().__init__()
        self.is_fused = is_fused
        self.weight = torch.nn.Parameter(torch.randn(outputs, inputs) * (std or inputs**-0.5))
        self.scalar = torch.nn.Parameter(torch.ones(1)) if has_scalar else None
        self.register_buffer("limit", torch.full((1,), float(limit)))
        self.options = options
        self._kept = Kept()

    def rows(self) -> Rows:
        """The weight in int8, without the virtual scalar."""
        return self._kept(self.weight, self.options.by_torch)

    def forward(self, x: torch.Tensor, limit: torch.Tensor | None = None) -> torch.Tensor:
        """The product; `limit`: of this input, instead of the layer's own."""
        mine = self.limit if limit is None else limit
        exact = self.is_fused and not self.training
        return int8_linear(
            x, self.weight, mine, scalar=self.scalar, options=self.options,
            dtype=torch.float32 if exact else torch.bfloat16,
            rows=self.rows() if self.options.forward == "int8" else None,
        )  # fmt: skip

    @torch.no_grad()
    def summed(
        self, x: torch.Tensor, limit: torch.Tensor, residual: torch.Tensor, scale: torch.Tensor
    ) -> torch.Tensor:
        """residual * scale + the product, bf16, in one launch as serving has it. On a GPU."""
        x8 = quantise_static(x.reshape(-1, x.shape[-1]).contiguous(), limit)
        w8, rows = self.quantised()
        flat = residual.reshape(-1, residual.shape[-1])
        columns, epilogue = rows * (limit / 127), Residual(flat, scale)
        y = matmul(x8, w8, None, columns, x_scale=1.0, epilogue=epilogue, dtype=torch.bfloat16)
        return y.view(residual.shape)

    @torch.no_grad()
    def quantised(self) -> Rows:
        """int8 weights and their scales, the virtual scalar folded in: what is served. (A scalar
        below zero turns the integers' signs.)"""
        rows = self.rows()
        if self.scalar is None:
            return rows
        values = rows.values * self.scalar.sign().to(torch.int8)
        return Rows(values, rows.scale * self.scalar.abs())
