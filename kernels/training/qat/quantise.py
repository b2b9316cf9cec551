"""To int8 for a product: rows with a scale each, or a tensor with one scale on the device.

`quantise_rows` takes what follows the data: weights (a scale for each output) and gradients (a
scale for each token), a row's largest magnitude / 127. Gradients are first multiplied by the scales
of the weights' rows, `factor`, which makes the int8 weights of the forward pass fit for the input
gradient as well: sum over n of g[n] s[n] w8[n, k] has nothing left that depends on n.

`quantise_static` takes activations with a known limit, scale limit / 127, as inference has it.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Work
from kernels.common.pieces import to_int8

FLOATS = (torch.float32, torch.bfloat16)
BLOCK = 2048
TILE = 64


class Rows(NamedTuple):
    """`values` int8 like what was given; `scale` float32 `[rows]`: real = values * scale."""

    values: torch.Tensor
    scale: torch.Tensor


def reference_rows(x: torch.Tensor, factor: torch.Tensor | None = None) -> Rows:
    """The specification of `quantise_rows` without noise."""
    wide = x.float() if factor is None else x.float() * factor
    largest = wide.abs().amax(1)
    largest = torch.where(largest > 0, largest, torch.full_like(largest, 127.0))
    return Rows((wide * (127 / largest)[:, None]).round().clamp(-127, 127).char(), largest / 127)


def reference_static(x: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """The specification of `quantise_static`."""
    return (x.float() * (127 / limit)).round().clamp(-127, 127).char()


@triton.jit
def _rows(
    x_ptr, factor_ptr, out_ptr, scale_ptr, rows, width, seed, BLOCK: tl.constexpr,
    HAS_FACTOR: tl.constexpr, STOCHASTIC: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Whole rows: one a program, or several short ones."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)[None, :]
    inside = (column < width) & (row < rows)[:, None]
    at = row[:, None] * width + column
    x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
    if HAS_FACTOR:
        x *= tl.load(factor_ptr + column, mask=column < width, other=0.0)
    # As `kernels.rotary_write` has it, to the bit.
    largest = tl.max(tl.abs(x), 1)
    largest = tl.where(largest > 0, largest, 127.0)
    scale = largest / 127.0
    units = x * (127.0 / largest)[:, None]
    if STOCHASTIC:
        # Rounding to nearest of a number moved by up to a half each way is unbiased.
        units += tl.rand(seed, (row[:, None] * BLOCK + column).to(tl.int32)) - 0.5
    tl.store(out_ptr + at, to_int8(units), mask=inside)
    tl.store(scale_ptr + row, scale, mask=row < rows)


@triton.jit
def _static(x_ptr, limit_ptr, out_ptr, count, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    units = 127.0 / tl.load(limit_ptr)
    x = tl.load(x_ptr + at, mask=at < count, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, to_int8(x * units), mask=at < count)


@triton.jit
def _transpose(x_ptr, out_ptr, rows, columns, TILE: tl.constexpr):
    row = tl.program_id(1) * TILE + tl.arange(0, TILE)
    column = tl.program_id(0) * TILE + tl.arange(0, TILE)
    at = row.to(tl.int64)[:, None] * columns + column[None, :]
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    x = tl.load(x_ptr + at, mask=inside, other=0)
    at = column.to(tl.int64)[:, None] * rows + row[None, :]
    inside = (column < columns)[:, None] & (row < rows)[None, :]
    tl.store(out_ptr + at, x.T, mask=inside)


def quantise_rows(
    x: torch.Tensor, factor: torch.Tensor | None = None, *,
    seed: int | None = None, by_torch: bool | None = None,
) -> Rows:  # fmt: skip
    """Rows of `x`, float32 or bf16 `[rows, width]`, times `factor` float32 `[width]`, as int8.

    `seed`: round stochastically, which keeps the mean of small gradients; else to nearest.
    `by_torch`: without Triton (None: on a CPU). Raises ValueError that names the argument.
    """
    checks.tensor("x", x, (None, None), FLOATS)
    rows, width = x.shape
    if not 1 <= width <= 65536:
        raise ValueError(f"x: has {width} columns, must have 1 to 65536")
    if factor is not None:
        checks.tensor("factor", factor, (width,), torch.float32, x.device)
    if is_by_torch(x, by_torch) and seed is None:
        return reference_rows(x, factor)
    if is_by_torch(x, by_torch):
        return _dithered(x, factor, seed or 0)
    out = torch.empty((rows, width), dtype=torch.int8, device=x.device)
    scale = torch.empty(rows, dtype=torch.float32, device=x.device)
    block = triton.next_power_of_2(width)
    if rows:
        many = max(1, BLOCK // block)
        _rows[(triton.cdiv(rows, many),)](
            x, factor, out, scale, rows, width, seed or 0, BLOCK=block, ROWS=many,
            HAS_FACTOR=factor is not None, STOCHASTIC=seed is not None,
            num_warps=min(16, max(1, many * block // 1024)),
        )  # fmt: skip
    return Rows(out, scale)


def _dithered(x: torch.Tensor, factor: torch.Tensor | None, seed: int) -> Rows:
    """Stochastic rounding by torch; other numbers than the kernel's."""
    scale = reference_rows(x, factor).scale
    wide = x.float() if factor is None else x.float() * factor
    generator = torch.Generator(x.device).manual_seed(seed)
    noise = torch.rand(x.shape, generator=generator, device=x.device) - 0.5
    return Rows((wide / scale[:, None] + noise).round().clamp(-127, 127).char(), scale)


def quantise_static(
    x: torch.Tensor, limit: torch.Tensor, *, by_torch: bool | None = None
) -> torch.Tensor:
    """`x` float32 or bf16 as int8 with the scale limit / 127; `limit` float32 `[1]` on the device,
    above zero. What is beyond it saturates. Raises ValueError."""
    checks.tensor("x", x, (None,) * x.dim(), FLOATS)
    checks.tensor("limit", limit, (1,), torch.float32, x.device)
    if is_by_torch(x, by_torch):
        return reference_static(x, limit)
    out = torch.empty(x.shape, dtype=torch.int8, device=x.device)
    if x.numel():
        _static[(triton.cdiv(x.numel(), BLOCK),)](x, limit, out, x.numel(), BLOCK=BLOCK)
    return out


def transposed(x: torch.Tensor, *, by_torch: bool | None = None) -> torch.Tensor:
    """int8 `[rows, columns]` as `[columns, rows]`, contiguous."""
    checks.tensor("x", x, (None, None), torch.int8)
    if is_by_torch(x, by_torch):
        return x.T.contiguous()
    rows, columns = x.shape
    out = torch.empty((columns, rows), dtype=torch.int8, device=x.device)
    grid = (triton.cdiv(columns, TILE), triton.cdiv(rows, TILE))
    _transpose[grid](x, out, rows, columns, TILE=TILE, num_warps=4)
    return out


@triton.jit
def _real(
    x_ptr, scale_ptr, out_ptr, rows, width, scale_stride, BLOCK: tl.constexpr, ROWS: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = (column < width) & (row < rows)[:, None]
    at = row[:, None] * width + column
    x = tl.load(x_ptr + at, mask=inside, other=0).to(tl.float32)
    x *= tl.load(scale_ptr + row * scale_stride, mask=row < rows, other=0.0)[:, None]
    tl.store(out_ptr + at, x.to(tl.bfloat16), mask=inside)


def real(x: torch.Tensor, scale: torch.Tensor, *, by_torch: bool | None = None) -> torch.Tensor:
    """int8 `[rows, width]` times its scales, float32 `[rows]` or `[1]`, as bf16."""
    checks.tensor("x", x, (None, None), torch.int8)
    rows, width = x.shape
    checks.tensor("scale", scale, (1 if len(scale) == 1 else rows,), torch.float32, x.device)
    if is_by_torch(x, by_torch):
        return (x.float() * scale[:, None]).bfloat16()
    out = torch.empty(x.shape, dtype=torch.bfloat16, device=x.device)
    if x.numel():
        block = min(BLOCK, triton.next_power_of_2(width))
        grid = (triton.cdiv(rows, BLOCK // block), triton.cdiv(width, block))
        stride = 0 if len(scale) == 1 else 1
        _real[grid](x, scale, out, rows, width, stride, BLOCK=block, ROWS=BLOCK // block)
    return out


def is_by_torch(x: torch.Tensor, asked: bool | None) -> bool:
    """On a CPU Triton is interpreted, which is for tests."""
    return not x.is_cuda if asked is None else asked


def flops_and_bytes(rows: int, width: int, itemsize: int = 2) -> Work:
    """Of `quantise_rows`: each value read once and written once as int8, a scale a row."""
    return Work(4.0 * rows * width, float(rows * width * (itemsize + 1) + 4 * rows))
