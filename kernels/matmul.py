"""int8 matmul (W8A8) with fused scales: every linear layer of the model.

    out[m, n] = epilogue(row_scale[m] * col_scale[n] * sum over k of x[m, k] * w[n, k])

x and w are int8 with K contiguous, which is the order that the int8 matrix instructions want of
both; the sum is exact in int32. Scales are float32: one for each row of x (or one for all, where
activations have a static scale) and one for each output channel. What follows a layer is fused:
a clamp, the squared ReLU of the feed-forward with the next layer's quantisation, or the residual.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from kernels.common import checks
from kernels.common.device import Backend, Work, multiprocessors, use_hopper
from kernels.common.pieces import rounded
from kernels.product import (
    PLAIN,
    Clamp,
    Epilogue,
    Request,
    Residual,
    SquaredRelu,
    check_epilogue,
    check_operands,
    make_request,
)


def reference(
    x: torch.Tensor,
    w: torch.Tensor,
    row_scale: torch.Tensor | None,
    col_scale: torch.Tensor,
    *,
    x_scale: float | None = None,
    epilogue: Epilogue = PLAIN,
) -> torch.Tensor:
    """The specification, in float64 and not rounded, except that SquaredRelu gives whole numbers.

    Arguments as in `matmul`. float64 holds the int32 sums exactly.
    """
    static = 1.0 if x_scale is None else x_scale
    scale = static if row_scale is None else row_scale.double()[:, None]
    value = (x.double() @ w.double().T) * scale * col_scale.double()
    if isinstance(epilogue, Clamp | SquaredRelu):
        value = value.clamp(-epilogue.limit, epilogue.limit)
    if isinstance(epilogue, SquaredRelu):
        value = (value.clamp(min=0).square() / epilogue.scale).round()
    if isinstance(epilogue, Residual):
        ones = 1.0 if epilogue.scale is None else epilogue.scale.double()
        value = epilogue.residual.double() * ones + value
    return value


def flops_and_bytes(m: int, n: int, k: int, epilogue: Epilogue = PLAIN) -> Work:
    """Two operations a product; x, w, scales and residual read once, the result written once."""
    result = m * n * (1 if isinstance(epilogue, SquaredRelu) else 2)
    more = m * n * 2 + n * 4 if isinstance(epilogue, Residual) else 0
    return Work(2.0 * m * n * k, float(m * k + n * k + 4 * (m + n) + result + more))


@triton.jit
def _sum_products(
    a, b, rows, columns, height, width, k, first, last,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, K_TILE: tl.constexpr, EVEN_K: tl.constexpr,
):  # fmt: skip
    """int32 a @ b^T over K tiles first to last. Rows past the end repeat the last one."""
    ks = tl.arange(0, K_TILE)
    a_at = a + tl.minimum(rows, height - 1).to(tl.int64)[:, None] * k + ks[None, :]
    b_at = b + tl.minimum(columns, width - 1).to(tl.int64)[:, None] * k + ks[None, :]
    acc = tl.zeros((ROWS, COLUMNS), tl.int32)
    for tile in range(first, last):
        if EVEN_K:
            a_tile = tl.load(a_at + tile * K_TILE)
            b_tile = tl.load(b_at + tile * K_TILE)
        else:
            inside = (ks < k - tile * K_TILE)[None, :]
            a_tile = tl.load(a_at + tile * K_TILE, mask=inside, other=0)
            b_tile = tl.load(b_at + tile * K_TILE, mask=inside, other=0)
        acc += tl.dot(a_tile, b_tile.T, out_dtype=tl.int32)
    return acc


@triton.jit
def _write(
    acc, rows, columns, out, row_scale, col_scale, residual, residual_scale, m, n,
    x_scale, limit, inverse_scale,
    SWAP: tl.constexpr, EPILOGUE: tl.constexpr, HAS_ROW_SCALE: tl.constexpr,
):  # fmt: skip
    """Scales, epilogue, and the write of a tile."""
    if SWAP:
        acc = acc.T
        token, channel = columns, rows
    else:
        token, channel = rows, columns
    value = acc.to(tl.float32)
    if HAS_ROW_SCALE:
        value *= tl.load(row_scale + token, mask=token < m, other=0.0)[:, None]
    else:
        value *= x_scale
    value *= tl.load(col_scale + channel, mask=channel < n, other=0.0)[None, :]
    inside = (token < m)[:, None] & (channel < n)[None, :]
    at = token.to(tl.int64)[:, None] * n + channel[None, :]
    if EPILOGUE == 1 or EPILOGUE == 2:
        value = tl.minimum(tl.maximum(value, -limit), limit)
    if EPILOGUE == 2:
        value = tl.maximum(value, 0.0)
        tl.store(out + at, rounded(value * value * inverse_scale), mask=inside)
    else:
        if EPILOGUE == 3:
            old = tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
            if residual_scale is not None:
                old *= tl.load(residual_scale + channel, mask=channel < n, other=0.0)[None, :]
            value += old
        tl.store(out + at, value.to(out.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["m"])
def matmul_kernel(
    a, b, out, row_scale, col_scale, residual, residual_scale, partials, counters,
    m, n, k, x_scale, limit, inverse_scale,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, K_TILE: tl.constexpr, SPLITS: tl.constexpr,
    GROUP: tl.constexpr, SWAP: tl.constexpr, EVEN_K: tl.constexpr, EPILOGUE: tl.constexpr,
    HAS_ROW_SCALE: tl.constexpr,
):  # fmt: skip
    """A tile, or one of SPLITS parts of its K range: the last part to finish adds up the others'
    int32 partial sums, whose order does not matter, and writes the tile."""
    height, width = n if SWAP else m, m if SWAP else n
    row_tiles = tl.cdiv(height, ROWS)
    tile, split = tl.program_id(0), tl.program_id(1)
    in_group = GROUP * tl.cdiv(width, COLUMNS)
    group_rows = tl.minimum(row_tiles - tile // in_group * GROUP, GROUP)
    row = tile // in_group * GROUP + tile % in_group % group_rows
    rows = row * ROWS + tl.arange(0, ROWS)
    columns = tile % in_group // group_rows * COLUMNS + tl.arange(0, COLUMNS)
    k_tiles = tl.cdiv(k, K_TILE)
    first, last = split * k_tiles // SPLITS, (split + 1) * k_tiles // SPLITS
    acc = _sum_products(
        a, b, rows, columns, height, width, k, first, last, ROWS, COLUMNS, K_TILE, EVEN_K
    )
    finish = True
    if SPLITS > 1:
        size: tl.constexpr = ROWS * COLUMNS
        inner = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
        mine = partials + (tile * SPLITS + split).to(tl.int64) * size + inner
        tl.store(mine, acc)
        tl.debug_barrier()
        finish = tl.atomic_add(counters + tile, 1, sem="acq_rel") == SPLITS - 1
        if finish:
            tl.store(counters + tile, 0)
            for other in range(SPLITS):
                if other != split:
                    theirs = partials + (tile * SPLITS + other).to(tl.int64) * size + inner
                    acc += tl.load(theirs, cache_modifier=".cg")
    if finish:
        _write(
            acc, rows, columns, out, row_scale, col_scale, residual, residual_scale, m, n,
            x_scale, limit, inverse_scale, SWAP, EPILOGUE, HAS_ROW_SCALE,
        )  # fmt: skip


class PlainTiling(NamedTuple):
    """How the plain Triton kernel cuts a product; rows are weights when `swap`."""

    rows: int
    columns: int
    k_tile: int
    warps: int
    stages: int
    waves: int = 0
    """CTAs a multiprocessor that K is split for, where tiles alone are fewer; 0: never."""
    swap: bool = True


def plain_tiling(m: int) -> PlainTiling:
    """By the number of tokens. Few tokens: they are the columns, as these may be as few as 16."""
    if m <= 16:
        return PlainTiling(64, 16, 256, warps=4, stages=4, waves=2)
    if m <= 64:
        return PlainTiling(64, 64, 128, warps=4, stages=5, waves=2)
    if m <= 256:
        return PlainTiling(128, 128, 128, warps=8, stages=3, waves=2)
    return PlainTiling(128, 256, 128, warps=8, stages=3, swap=False)


def launch_plain(request: Request, tiling: PlainTiling) -> None:
    """Runs the plain Triton kernel."""
    m, n, k = request.sizes
    device = request.x.device
    a, b = (request.w, request.x) if tiling.swap else (request.x, request.w)
    tiles = triton.cdiv(a.shape[0], tiling.rows) * triton.cdiv(b.shape[0], tiling.columns)
    wanted = triton.cdiv(tiling.waves * multiprocessors(device), tiles)
    # A part shorter than four K tiles only fills and drains its pipeline.
    splits = max(1, min(wanted, triton.cdiv(k, tiling.k_tile) // 4))
    size = tiles * splits * tiling.rows * tiling.columns if splits > 1 else 1
    partials = torch.empty(size, dtype=torch.int32, device=device)
    counters = torch.zeros(tiles, dtype=torch.int32, device=device) if splits > 1 else partials
    matmul_kernel[(tiles, splits)](
        a, b, request.out, request.row_scale, request.col_scale, request.residual,
        request.residual_scale, partials, counters, m, n, k, request.x_scale, request.limit,
        request.inverse_scale, ROWS=tiling.rows, COLUMNS=tiling.columns, K_TILE=tiling.k_tile,
        SPLITS=splits, GROUP=8, SWAP=tiling.swap, EVEN_K=k % tiling.k_tile == 0,
        EPILOGUE=request.epilogue, HAS_ROW_SCALE=request.row_scale is not None,
        num_warps=tiling.warps, num_stages=tiling.stages,
    )  # fmt: skip


def matmul(
    x: torch.Tensor,
    w: torch.Tensor,
    row_scale: torch.Tensor | None,
    col_scale: torch.Tensor,
    *,
    x_scale: float | None = None,
    epilogue: Epilogue = PLAIN,
    out: torch.Tensor | None = None,
    dtype: torch.dtype | None = None,
    backend: Backend = "auto",
    chained: bool = False,
) -> torch.Tensor:
    """Product of int8 activations and weights, scaled; see the module's text.

    `x` int8 `[M, K]`, `w` int8 `[N, K]`, both contiguous, K and N multiples of 16; `row_scale`
    float32 `[M]`, or None with one `x_scale` for all rows; `col_scale` float32 `[N]`. Returns
    `out` `[M, N]` of `dtype`: bfloat16 (the default) or float32, after SquaredRelu int8.

    `chained`: the Hopper kernel may begin to read weights while the launches before it on the
    stream are still running (programmatic dependent launch), which hides a launch's start. So `w`
    and `col_scale` must not be written by the launch just before, nor by any before that which is
    not known to have ended: weights are constant. What that launch writes may be `x`, `row_scale`
    and the residual, and it may read `out`. The result's bits are the same.

    The sum over K is exact and the rest is one fixed sequence of float32 operations, so results
    are the same bits on every run. Raises ValueError for a bad argument, before any launch.
    """
    check_operands(x, w, row_scale, col_scale, x_scale)
    if dtype is None:
        is_int8 = isinstance(epilogue, SquaredRelu)
        dtype = out.dtype if out is not None else torch.int8 if is_int8 else torch.bfloat16
    shape = (x.shape[0], w.shape[0])
    check_epilogue(epilogue, dtype, shape, x.device)
    if out is None:
        out = torch.empty(shape, dtype=dtype, device=x.device)
    checks.tensor("out", out, shape, dtype, x.device)
    checks.aligned("out", out)
    hopper = use_hopper(x.device, backend, served=True)
    if shape[0] == 0:
        return out
    request = make_request(x, w, out, row_scale, col_scale, x_scale, epilogue)
    if not hopper:
        launch_plain(request, plain_tiling(shape[0]))
        return out
    from kernels.hopper.matmul import launch  # Gluon only where it runs

    launch.launch(request, chained=chained)
    return out
