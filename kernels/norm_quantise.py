"""RMSNorm without weight, clamp and int8, with the residual sum before it: one launch.

A Kaiju layer reads its residual stream x (bf16) through a norm without learnt weights, in float32,
clamped to +-limit. The clamp bounds every value, so int8 needs no calibration: one static scale,
limit / 127, or, where more resolution is wanted, one scale per row (its largest value / 127).

Between two sub-layers the stream is x * residual_scale + delta, with one scale per channel and
delta the sub-layer's output. That sum is rounded to bf16, written back, and the norm is that of
what was written, since this is what the next sum reads. A norm launched by itself on the written
stream may add up the squares in another order, and so may differ by one unit of int8 where a value
lies midway between two.

With `rows` the norm gathers: row i of the output comes from row rows[i] of x. The head needs only
the last token of each sequence, so gather, norm and quantise are one launch there too.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Work, is_interpreted
from kernels.common.pieces import await_launch

EPS = 1e-5
LIMIT = 4.0


class Normed(NamedTuple):
    """`values` int8 (or bf16) `[rows, hidden]`; `row_scale` float32 `[rows]`, None if static."""

    values: torch.Tensor
    row_scale: torch.Tensor | None


def reference(
    x: torch.Tensor, *,
    delta: torch.Tensor | None = None, residual_scale: torch.Tensor | None = None,
    rows: torch.Tensor | None = None, limit: float = LIMIT, eps: float = EPS, dynamic: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """The specification, in float64: the new residual stream (bf16), the norm's output before
    rounding, in units of its scale, and that scale, `[rows]`."""
    if delta is not None:
        scale = 1.0 if residual_scale is None else residual_scale.double()
        x = (x.double() * scale + delta.double()).float().bfloat16()
    source = x.double()
    if rows is not None:
        inside = (rows >= 0) & (rows < len(x))
        source = source[rows.long().clamp(0, len(x) - 1)] * inside[:, None]
    normed = source * (source.square().mean(-1, keepdim=True) + eps).rsqrt()
    normed = normed.clamp(-limit, limit)
    scale = torch.full_like(normed[:, 0], limit / 127)
    if dynamic:
        largest = normed.abs().amax(-1)
        scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
    return x, normed / scale[:, None], scale


@triton.jit
def _stream(x_ptr, delta_ptr, scale, columns, mask, HAS_DELTA: tl.constexpr, WRITE: tl.constexpr):
    """Part of a row of the residual stream, in float32, after adding delta."""
    x = tl.load(x_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    if HAS_DELTA:
        delta = tl.load(delta_ptr + columns, mask=mask, other=0.0).to(tl.float32)
        x = x * scale + delta
        rounded = x.to(tl.bfloat16)
        if WRITE:
            tl.store(x_ptr + columns, rounded, mask=mask)
        x = rounded.to(tl.float32)
    return x


@triton.jit
def _emit(out_ptr, columns, mask, scaled, BOUND: tl.constexpr, INT8: tl.constexpr):
    """Clamp to +-BOUND (known and symmetric: one instruction); as int8, round to nearest even
    (adding 1.5 * 2**23 leaves the integer in the low mantissa bits)."""
    clamped = tl.clamp(scaled, -BOUND, BOUND)
    if INT8:
        # `pieces.rounded`, written out: a call compiles to code other than what was measured.
        whole = (clamped + 12582912.0).to(tl.int32, bitcast=True).to(tl.int8)
        tl.store(out_ptr + columns, whole, mask=mask)
    else:
        tl.store(out_ptr + columns, clamped.to(tl.bfloat16), mask=mask)


@triton.jit(do_not_specialize=["x_rows"])
def _norm_quantise(
    x_ptr, delta_ptr, residual_scale_ptr, rows_ptr, out_ptr, row_scale_ptr,
    x_rows, x_stride, delta_stride, eps,
    LIMIT: tl.constexpr, HIDDEN: tl.constexpr, BLOCK: tl.constexpr,
    HAS_DELTA: tl.constexpr, HAS_SCALE: tl.constexpr, HAS_ROWS: tl.constexpr,
    DYNAMIC: tl.constexpr, INT8: tl.constexpr, CHAINED: tl.constexpr,
):  # fmt: skip
    """One row a program, whole. BLOCK: HIDDEN rounded up to a power of two. CHAINED: the launch
    before may still be running, and writes `x` or `delta`."""
    columns = tl.arange(0, BLOCK)
    mask = columns < HIDDEN
    row = tl.program_id(0).to(tl.int64)
    source = row
    inside = mask
    if HAS_ROWS:
        source = tl.load(rows_ptr + row).to(tl.int64)
        inside = mask & (source >= 0) & (source < x_rows)
    scale = 1.0
    if HAS_SCALE:
        scale = tl.load(residual_scale_ptr + columns, mask=mask, other=0.0).to(tl.float32)
    await_launch(CHAINED)
    x_row = x_ptr + source * x_stride
    delta_row = x_row
    if HAS_DELTA:
        delta_row = delta_ptr + source * delta_stride
    x = _stream(x_row, delta_row, scale, columns, inside, HAS_DELTA, not HAS_ROWS)
    factor = 1.0 / tl.sqrt(tl.sum(x * x) / HIDDEN + eps)
    if INT8:
        units = 127.0 / LIMIT
        if DYNAMIC:
            largest = tl.minimum(tl.max(tl.abs(x)) * factor, LIMIT)
            largest = tl.where(largest > 0, largest, 127.0)
            units = 127.0 / largest
            tl.store(row_scale_ptr + row, largest / 127.0)
        factor *= units
    _emit(out_ptr + row * HIDDEN, columns, mask, x * factor, 127.0 if INT8 else LIMIT, INT8)


def norm_quantise(
    x: torch.Tensor, *,
    delta: torch.Tensor | None = None, residual_scale: torch.Tensor | None = None,
    rows: torch.Tensor | None = None,
    out: torch.Tensor | None = None, row_scale: torch.Tensor | None = None,
    limit: float = LIMIT, eps: float = EPS, dynamic: bool = False, check: bool = False,
    chained: bool = False,
) -> Normed:  # fmt: skip
    """Norm of the rows of `x`, bf16 `[tokens, hidden]`, clamped to +-`limit`, as int8.

    With `delta` (bf16, like `x`), `x` first becomes x * residual_scale + delta, in place;
    `residual_scale` is float32 or bf16 `[hidden]`, absent: 1. Of a row of zeros the norm is zeros.
    `dynamic`: one scale per row, into `row_scale` float32; otherwise the scale is limit / 127.
    `rows`, int32 `[m]`: norm these rows of `x` only, in this order; a row outside `x` (an empty
    slot) gives zeros, or a ValueError with `check` (which reads the device). Then `x` is only read:
    two entries may name one row. `out`: int8, or bf16 for the norm unquantised, `[m, hidden]`.
    `chained` lets the launch begin while the one before it ends (programmatic dependent launch;
    without effect on a CPU): that one may write `x` and `delta`, and may still read what this one
    writes, but must not write any other argument.
    Raises ValueError that names the argument, before any launch.
    """
    _check(x, delta, residual_scale, rows, out, row_scale, limit, eps, dynamic, check)
    tokens, hidden = (len(x) if rows is None else len(rows)), x.shape[1]
    if out is None:
        out = torch.empty((tokens, hidden), dtype=torch.int8, device=x.device)
    if dynamic and row_scale is None:
        row_scale = torch.empty(tokens, dtype=torch.float32, device=x.device)
    if tokens:
        launch(x, delta, residual_scale, rows, out, row_scale, limit, eps, chained=chained)
    return Normed(out, row_scale)


def launch(
    x: torch.Tensor, delta: torch.Tensor | None, residual_scale: torch.Tensor | None,
    rows: torch.Tensor | None, out: torch.Tensor, row_scale: torch.Tensor | None,
    limit: float, eps: float, *,
    warps: int = 0, chained: bool = False,
) -> None:  # fmt: skip
    """Launch without checks. `warps`: 0 lets this module choose."""
    hidden, tokens = x.shape[1], len(out)
    chain = {"launch_pdl": True} if chained and not is_interpreted() else {}
    _norm_quantise[(tokens,)](
        x, delta, residual_scale, rows, out, row_scale,
        len(x), x.stride(0), 0 if delta is None else delta.stride(0), eps,
        LIMIT=float(limit), HIDDEN=hidden, BLOCK=triton.next_power_of_2(hidden),
        HAS_DELTA=delta is not None, HAS_SCALE=residual_scale is not None,
        HAS_ROWS=rows is not None, DYNAMIC=row_scale is not None, INT8=out.dtype == torch.int8,
        CHAINED=bool(chain),
        num_warps=warps or default_warps(hidden, tokens, delta is not None), **chain,
    )  # fmt: skip


def default_warps(hidden: int, tokens: int, has_delta: bool) -> int:
    """Warps a program, as measured on an H100 at 5120 and 7168 channels (docs/kernels-log.md).

    With many warps a row that fills its block badly leaves whole warps idle: that costs time once
    there are many rows. With few rows and a residual, latency decides, and more warps are better.
    """
    block = triton.next_power_of_2(hidden)
    fills = 4 * hidden > 3 * block
    share = 512 if has_delta and (fills or tokens < 512) else 1024 if fills else 2048
    return min(16, max(1, block // share))


def _check(
    x: torch.Tensor, delta: torch.Tensor | None, residual_scale: torch.Tensor | None,
    rows: torch.Tensor | None, out: torch.Tensor | None, row_scale: torch.Tensor | None,
    limit: float, eps: float, dynamic: bool, check: bool,
) -> None:  # fmt: skip
    checks.tensor("x", x, (None, None), torch.bfloat16, rows_only=True)
    tokens, hidden = x.shape
    if not 1 <= hidden <= 65536:
        raise ValueError(f"x: has {hidden} channels, must be 1 to 65536")
    if delta is not None:
        checks.tensor("delta", delta, (tokens, hidden), torch.bfloat16, x.device, rows_only=True)
    if residual_scale is not None:
        if delta is None:
            raise ValueError("residual_scale: is given, but there is no delta to add")
        kinds = (torch.float32, torch.bfloat16)
        checks.tensor("residual_scale", residual_scale, (hidden,), kinds, x.device)
    if rows is not None:
        checks.tensor("rows", rows, (None,), torch.int32, x.device)
        tokens = len(rows)
        if check and bool(((rows < 0) | (rows >= len(x))).any()):
            raise ValueError(f"rows: must lie in 0 to {len(x) - 1}")
    if out is not None:
        checks.tensor("out", out, (tokens, hidden), (torch.int8, torch.bfloat16), x.device)
        if dynamic and out.dtype != torch.int8:
            raise ValueError("out: is bfloat16, which has no row scale; must be int8 if dynamic")
    if row_scale is not None:
        checks.tensor("row_scale", row_scale, (tokens,), torch.float32, x.device)
        if not dynamic:
            raise ValueError("row_scale: is given, but dynamic is not set")
    checks.number("limit", limit, 1e-3, 1e4)
    checks.number("eps", eps, 0.0, 1.0)


def flops_and_bytes(
    tokens: int, hidden: int, *, residual: bool = False, dynamic: bool = False
) -> Work:
    """Least work: bf16 in, int8 out; with a residual also delta in, the stream out and the scale
    of each channel (float32) in. About 6 operations an element, 3 more with a residual."""
    elements = tokens * hidden
    moved = elements * (2 + 1 + (4 if residual else 0))
    extra = (4 * hidden if residual else 0) + (4 * tokens if dynamic else 0)
    return Work(float(elements * (9 if residual else 6)), float(moved + extra))
