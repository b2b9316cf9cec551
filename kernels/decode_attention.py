"""Decode attention: one query token a sequence, over that sequence's paged keys and values.

out[b, h] = softmax(q[b, h] . K^T / sqrt(128)) V over the keys `start[b] <= j < limit[b]` of
sequence b; with start >= limit (an empty slot of a batch) it is zero and costs nothing. A window
layer of 1024 tokens has start = limit - 1024. All query heads of a KV head are the rows of one
matrix product, so a key is read once for all of them.

In int8, scores are int8 x int8 products, and so is P @ V: within a tile of 128 keys, P is
quantised against the *tile's own* largest score. Against the running one, a single dominant key (an
attention sink) leaves every later tile below one step of int8: 8 nats above the rest at 8K tokens,
and the output is wrong by 0.78 of its size; so it is 0.007 (docs/kernels.md). The denominator sums
the rounded P, so numerator and denominator round alike.

Two kernels: the one here, in plain Triton, cuts each context into fixed pieces and merges them in a
second launch; `kernels.hopper.decode` is persistent and follows a plan (`make_plan`).
"""

import torch
import triton
import triton.language as tl

from kernels.common import checks, schedule
from kernels.common.device import Backend, Work, multiprocessors, use_hopper
from kernels.common.layout import (
    HEAD_DIM,
    LOG2_E,
    PAGE,
    SOFTMAX_SCALE,
    KVPages,
    gather_context,
)
from kernels.common.pieces import rounded, to_int8
from kernels.common.schedule import DecodePlan

PIECE_TILES = 8
MOST_ROWS = 128


def reference(
    q: torch.Tensor, q_scale: torch.Tensor | None, kv: KVPages, v_scale: torch.Tensor,
    pages: torch.Tensor, start: torch.Tensor, limit: torch.Tensor,
    softmax_scale: float = SOFTMAX_SCALE,
) -> torch.Tensor:  # fmt: skip
    """What the operator computes, in float64 from the stored values: `[batch, heads, 128]`."""
    batch, heads, _ = q.shape
    real_q = q.double() if q_scale is None else q.double() * q_scale.double()[..., None]
    out = torch.zeros(q.shape, dtype=torch.float64, device=q.device)
    for b in range(batch):
        low, high = int(start[b]), int(limit[b])
        if low >= high:
            continue
        k, v = gather_context(kv, pages[b, : -(-high // PAGE)])
        k, v = k[:, low:high].double(), v[:, low:high].double() * v_scale.double()[:, None]
        rows = real_q[b].unflatten(0, (kv.kv_heads, heads // kv.kv_heads))
        p = torch.softmax(rows @ k.transpose(1, 2) * softmax_scale, -1)
        out[b] = (p @ v).flatten(0, 1)
    return out


def flops_and_bytes(
    start: torch.Tensor, limit: torch.Tensor, heads: int, kv_heads: int = 1, element_bytes: int = 1
) -> Work:
    """The least a step does: two products over the visible keys; K, V, q read, the output written.

    q is int8 with a float32 scale a head, or float16; the output is bfloat16.
    """
    keys = float((limit - start).clamp(min=0).sum())
    batch = start.shape[0]
    q_bytes = HEAD_DIM * element_bytes + (4 if element_bytes == 1 else 0)
    kv_bytes = keys * kv_heads * 2 * HEAD_DIM * element_bytes
    return Work(4 * keys * heads * HEAD_DIM, kv_bytes + batch * heads * (q_bytes + 2 * HEAD_DIM))


@triton.jit
def _tile(
    q, scale, k_base, v_base, seen, ROWS: tl.constexpr, INT8: tl.constexpr
):  # fmt: skip
    """One tile of 128 keys: (largest logit, mass, P @ V), relative to its own largest logit."""
    token = tl.arange(0, 128)
    d = tl.arange(0, 128)
    k = tl.load(k_base + token[None, :] * 128 + d[:, None])
    if INT8:
        scores = tl.dot(q, k, out_dtype=tl.int32).to(tl.float32) * scale[:, None]
    else:
        scores = tl.dot(q, k) * scale[:, None]
    scores = tl.where(seen[None, :], scores, -1e30)
    top = tl.max(scores, 1)
    p = tl.where(seen[None, :], tl.exp2(scores - top[:, None]), 0.0)
    if INT8:
        p8 = rounded(p * 127.0)
        mass = tl.sum(p8.to(tl.int32), 1).to(tl.float32)
        # V holds the tokens of a group permuted: bring P into its order.
        p8 = tl.permute(tl.reshape(p8, (ROWS, 8, 2, 4, 2)), (0, 1, 3, 2, 4))
        p8 = tl.reshape(p8, (ROWS, 128))
        slot = (token // 16) * (16 * 128) + token % 16
        v = tl.load(v_base + slot[:, None] + d[None, :] * 16)
        out = tl.dot(p8, v, out_dtype=tl.int32).to(tl.float32)
    else:
        mass = tl.sum(p, 1)
        # What lies beside the visible keys may be anything, and 0 * NaN is NaN.
        v = tl.load(v_base + token[:, None] * 128 + d[None, :], mask=seen[:, None], other=0.0)
        out = tl.dot(p.to(tl.float16), v)
    return top, mass, out


@triton.jit
def _piece_kernel(
    q_ptr, q_scale_ptr, k_ptr, v_ptr, table_ptr, entries, start_ptr, limit_ptr,
    partial_ptr, mass_ptr, softmax_scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, ROWS: tl.constexpr, PIECES: tl.constexpr,
    PIECE: tl.constexpr, INT8: tl.constexpr,
):  # fmt: skip
    """Grid (batch, kv_heads, pieces): one piece of `PIECE` tiles of one sequence's context."""
    b = tl.program_id(0)
    head = tl.program_id(1)
    piece = tl.program_id(2)
    SHARE: tl.constexpr = HEADS // KV_HEADS
    low = tl.load(start_ptr + b)
    high = tl.load(limit_ptr + b)
    first = low // 128 + piece * PIECE
    last = tl.minimum(first + PIECE, (high + 127) // 128)
    r = tl.arange(0, ROWS)
    d = tl.arange(0, 128)
    at = (b * KV_HEADS + head) * SHARE
    slot = ((b.to(tl.int64) * KV_HEADS + head) * PIECES + piece) * ROWS
    if low < high and first < last:
        q_at = q_ptr + (at + r)[:, None] * 128 + d[None, :]
        q = tl.load(q_at, mask=(r < SHARE)[:, None], other=0)
        if INT8:
            scale = tl.load(q_scale_ptr + at + r, mask=r < SHARE, other=1.0) * softmax_scale
        else:
            scale = tl.full((ROWS,), 1.0, tl.float32) * softmax_scale
        acc = tl.zeros((ROWS, 128), tl.float32)
        total = tl.zeros((ROWS,), tl.float32)
        top = tl.full((ROWS,), -1e30, tl.float32)
        for i in range(first, last):
            page = tl.load(table_ptr + b * entries + i).to(tl.int64) * KV_HEADS + head
            token = i * 128 + tl.arange(0, 128)
            seen = (token >= low) & (token < high)
            base = page * (128 * 128)
            t, m, out = _tile(q, scale, k_ptr + base, v_ptr + base, seen, ROWS, INT8)
            new_top = tl.maximum(top, t)
            old = tl.exp2(top - new_top)
            new = tl.exp2(t - new_top)
            acc = acc * old[:, None] + out * new[:, None]
            total = total * old + m * new
            top = new_top
        value = acc / total[:, None]
        tl.store(partial_ptr + (slot + r)[:, None] * 128 + d[None, :], value.to(tl.float16))
        tl.store(mass_ptr + slot + r, top + tl.log2(total))


@triton.jit
def _merge_kernel(
    partial_ptr, mass_ptr, start_ptr, limit_ptr, v_scale_ptr, out_ptr, mass_out_ptr, out_scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, ROWS: tl.constexpr, PIECES: tl.constexpr,
    PIECE: tl.constexpr,
):  # fmt: skip
    """Grid (batch, kv_heads): merge a sequence's pieces in their order, scale, write."""
    b = tl.program_id(0)
    head = tl.program_id(1)
    SHARE: tl.constexpr = HEADS // KV_HEADS
    low = tl.load(start_ptr + b)
    high = tl.load(limit_ptr + b)
    tiles = tl.where(low < high, (high + 127) // 128 - low // 128, 0)
    r = tl.arange(0, ROWS)
    d = tl.arange(0, 128)
    acc = tl.zeros((ROWS, 128), tl.float32)
    total = tl.full((ROWS,), 1e-30, tl.float32)
    top = tl.full((ROWS,), -1e30, tl.float32)
    for piece in range(0, (tiles + PIECE - 1) // PIECE):
        slot = ((b.to(tl.int64) * KV_HEADS + head) * PIECES + piece) * ROWS
        mass = tl.load(mass_ptr + slot + r)
        part = tl.load(partial_ptr + (slot + r)[:, None] * 128 + d[None, :]).to(tl.float32)
        new_top = tl.maximum(top, mass)
        old = tl.exp2(top - new_top)
        new = tl.exp2(mass - new_top)
        acc = acc * old[:, None] + part * new[:, None]
        total = total * old + new
        top = new_top
    value = acc / total[:, None] * tl.load(v_scale_ptr + head * 128 + d)[None, :]
    if out_ptr.dtype.element_ty == tl.int8:
        value = to_int8(value / out_scale)
    at = ((b * KV_HEADS + head) * SHARE + r)[:, None] * 128 + d[None, :]
    tl.store(out_ptr + at, value.to(out_ptr.dtype.element_ty), mask=(r < SHARE)[:, None])
    if mass_out_ptr is not None:
        mass = tl.where(tiles > 0, top + tl.log2(total), float("-inf"))
        tl.store(mass_out_ptr + (b * KV_HEADS + head) * SHARE + r, mass, mask=r < SHARE)


def _launch_pieces(
    q, q_scale, kv, v_scale, pages, start, limit, out, mass_out, softmax_scale, out_scale
):
    """The plain Triton path: two launches, a grid that covers the page table's reach."""
    batch, heads, _ = q.shape
    share = heads // kv.kv_heads
    rows = max(16, triton.next_power_of_2(share))
    pieces = triton.cdiv(pages.shape[1], PIECE_TILES)
    parts = (batch, kv.kv_heads, pieces, rows)
    partial = torch.empty((*parts, HEAD_DIM), dtype=torch.float16, device=q.device)
    mass = torch.empty(parts, dtype=torch.float32, device=q.device)
    shape = {"HEADS": heads, "KV_HEADS": kv.kv_heads, "ROWS": rows}
    cut = {"PIECES": pieces, "PIECE": PIECE_TILES}
    _piece_kernel[(batch, kv.kv_heads, pieces)](
        q, v_scale if q_scale is None else q_scale, kv.k, kv.v, pages, pages.stride(0), start,
        limit, partial, mass, softmax_scale * LOG2_E, INT8=kv.is_int8, **shape, **cut,
        num_warps=8 if rows > 64 else 4,
    )  # fmt: skip
    _merge_kernel[(batch, kv.kv_heads)](
        partial, mass, start, limit, v_scale, out, mass_out, out_scale, **shape, **cut
    )


def _check_plan(plan, start, limit, kv_heads: int, share: int) -> None:
    """A plan is of these sequences, and has room for these heads."""
    if not isinstance(plan, DecodePlan):
        raise ValueError(f"plan: must be from make_plan, not {type(plan).__name__}")
    if plan.start is not start or plan.limit is not limit:
        raise ValueError("plan: was made for other start and limit tensors")
    rows = 64 if share <= 64 else MOST_ROWS
    if (plan.partial.shape[0], plan.partial.shape[2]) != (kv_heads, rows):
        raise ValueError(
            f"plan: was made for {plan.partial.shape[0]} KV heads of up to "
            f"{plan.partial.shape[2]} heads each, not {kv_heads} of {share}"
        )


def _check(q, q_scale, kv, v_scale, pages, start, limit) -> None:
    checks.attention(q, q_scale, kv, v_scale, MOST_ROWS)
    batch = q.shape[0]
    checks.tensor("pages", pages, (batch, None), torch.int32, q.device, rows_only=True)
    checks.tensor("start", start, (batch,), torch.int32, q.device)
    checks.tensor("limit", limit, (batch,), torch.int32, q.device)


def _check_scales(softmax_scale: float, out_scale: float | None) -> None:
    checks.number("softmax_scale", softmax_scale, 0, 1e30)
    checks.number("out_scale", 1.0 if out_scale is None else out_scale, 1e-30, 1e30)


def make_plan(
    start: torch.Tensor, limit: torch.Tensor, *, heads: int, kv_heads: int = 1,
    dtype: torch.dtype = torch.int8,
) -> DecodePlan:  # fmt: skip
    """A plan for `decode_attention`, for all layers of a step with this visibility; one launch.

    Made ahead for a captured CUDA graph, it is filled again by `kernels.common.schedule.fill`.
    `start`, `limit`: int32 `[batch]`, kept by reference; `dtype`: of the pages.
    """
    checks.tensor("start", start, (None,), torch.int32)
    checks.tensor("limit", limit, tuple(start.shape), torch.int32, start.device)
    checks.heads("heads", heads, kv_heads, MOST_ROWS)
    rows = 64 if heads // kv_heads <= 64 else MOST_ROWS
    # Two workers of 64 rows and int8 pages fit on a multiprocessor, and hide each other's gaps; but
    # where sequences must be cut, one is as fast and makes fewer parts.
    processors = multiprocessors(start.device)
    two = rows == 64 and dtype == torch.int8 and start.shape[0] * kv_heads > processors
    workers = max(1, (2 if two else 1) * processors // kv_heads)
    empty = schedule.allocate(start, limit, workers=workers, kv_heads=kv_heads, rows=rows)
    return schedule.fill(empty)


def decode_attention(
    q: torch.Tensor,
    q_scale: torch.Tensor | None,
    kv: KVPages,
    v_scale: torch.Tensor,
    pages: torch.Tensor,
    start: torch.Tensor,
    limit: torch.Tensor,
    *,
    plan: DecodePlan | None = None,
    out: torch.Tensor | None = None,
    mass_out: torch.Tensor | None = None,
    out_scale: float | None = None,
    softmax_scale: float = SOFTMAX_SCALE,
    backend: Backend = "auto",
    chained: bool = False,
    check_pages: bool = False,
) -> torch.Tensor:
    """Attention of one query token a sequence; see the module's text.

    `q` int8 `[batch, heads, 128]` with `q_scale` float32 `[batch, heads]` (K's channel scales
    folded in), or float16 and None; `kv` pages of the same dtype; `v_scale` float32
    `[kv_heads, 128]`; `pages` int32 `[batch, entries]`; `start`, `limit` int32 `[batch]`. Returns
    `out`, bfloat16 `[batch, heads, 128]`, or int8 with the static scale `out_scale`.

    `mass_out`: float32 `[batch, heads]`, receives log2 of each softmax denominator (up to one
    constant; minus infinity of an empty slot), by which outputs over disjoint keys can be merged.
    `chained` (on Hopper): begin while the launch just before it on the stream ends. That launch may
    write q, q_scale and the sequences' newest keys and values (those of the page that holds token
    `limit` - 1), but not older ones, nor the page table or the plan, which must be given. If that
    launch is itself chained, what it must not write must also be older than the one before it.
    `plan`: from `make_plan` with these `start` and `limit`, else one is made here. `check_pages`
    reads the page table back, which waits for the device. Raises ValueError for a bad argument.
    """
    _check(q, q_scale, kv, v_scale, pages, start, limit)
    if plan is not None:
        _check_plan(plan, start, limit, kv.kv_heads, q.shape[1] // kv.kv_heads)
    _check_scales(softmax_scale, out_scale)
    if check_pages:
        checks.page_table(pages, start, limit, kv.k.shape[0])
    dtype = torch.bfloat16 if out_scale is None else torch.int8
    if out is None:
        out = torch.empty(q.shape, dtype=dtype, device=q.device)
    checks.tensor("out", out, tuple(q.shape), dtype, q.device)
    if mass_out is not None:
        checks.tensor("mass_out", mass_out, tuple(q.shape[:2]), torch.float32, q.device)
    if q.shape[0] == 0:
        return out
    args = (q, q_scale, kv, v_scale, pages)
    scales = (softmax_scale, out_scale or 1.0)
    if not use_hopper(q.device, backend, served=True):
        _launch_pieces(*args, start, limit, out, mass_out, *scales)
        return out
    from kernels.hopper import decode_launch as on_hopper  # Gluon only where it runs

    made_here = plan is None
    if plan is None:
        plan = make_plan(start, limit, heads=q.shape[1], kv_heads=kv.kv_heads, dtype=kv.k.dtype)
    on_hopper.launch(*args, plan, out, mass_out, *scales, chained=chained and not made_here)
    return out
