"""Prefill attention: many query tokens of each sequence, over that sequence's paged context.

out[t, h] = softmax(q[t, h] . K^T / sqrt(128)) V over the keys that token t sees, which
`kernels.common.visibility` describes: a chunk after its cached prefix, windows, packed documents,
trees of candidates. A token that sees nothing gets zeros and costs nothing.

The rows of a tile are the (token, head) pairs that share a KV head, so with multi-query attention
two tokens of 64 heads are a tile of 128 rows against pages of 128 keys. Only pages at the edge of
what a tile sees take a mask; a plan (`make_plan`) says which these are, once a step for all layers.

In int8, scores are int8 x int8 products, and so is P @ V: within a page P is quantised against the
*page's own* largest score, and the denominator sums the rounded P (`kernels.decode_attention` says
why). Here is the plain Triton kernel; `kernels.hopper.prefill` has the one for Hopper.
"""

import torch
import triton
import triton.language as tl

from kernels.common import checks, tiles
from kernels.common.device import Backend, Work, use_hopper
from kernels.common.layout import HEAD_DIM, LOG2_E, PAGE, SOFTMAX_SCALE, KVPages, gather_context
from kernels.common.pieces import rounded, to_int8
from kernels.common.tiles import PrefillPlan
from kernels.common.visibility import Visibility, dense_mask, reach

ROWS = 128
MOST_SHARE = 128
VISIBILITY = ("cu_q", "start", "limit", "positions", "key_limit")

# log2(127): P is scaled so that its largest value in a page is 127.
LOG2_127 = tl.constexpr(6.988684686772166)
# Below every int8 score (128 * 127 * 127 = 2.1e6): what a row without a visible key has for one.
UNSEEN = tl.constexpr(-3e7)


def reference(
    q: torch.Tensor, q_scale: torch.Tensor | None, kv: KVPages, v_scale: torch.Tensor,
    pages: torch.Tensor, cu_q: torch.Tensor, start: torch.Tensor, limit: torch.Tensor, *,
    key_limit: torch.Tensor | None = None, positions: torch.Tensor | None = None,
    softmax_scale: float = SOFTMAX_SCALE,
) -> torch.Tensor:  # fmt: skip
    """What the operator computes, in float64 from the stored values: `[tokens, heads, 128]`."""
    out = torch.zeros(q.shape, dtype=torch.float64, device=q.device)
    share = q.shape[1] // kv.kv_heads
    bounds = cu_q.tolist()
    for b, (first, last) in enumerate(zip(bounds, bounds[1:], strict=False)):
        own = slice(first, last)
        used = int(limit[own].max()) if first < last else 0
        if used < 1:
            continue
        k, v = gather_context(kv, pages[b, : -(-used // PAGE)])
        k, v = k[:, :used].double(), v[:, :used].double() * v_scale.double()[:, None]
        at = limit[own] - 1 if positions is None else positions[own]
        keys = None if key_limit is None else key_limit[b : b + 1]
        mask = Visibility(start[own], limit[own], at, keys)
        seen = dense_mask(mask, torch.tensor([0, last - first], device=q.device), used)
        real_q = q[own].double() if q_scale is None else q[own] * q_scale[own].double()[..., None]
        rows = real_q.unflatten(1, (kv.kv_heads, share)).permute(1, 2, 0, 3)
        scores = rows @ k[:, None].transpose(-1, -2) * softmax_scale
        p = torch.softmax(scores.masked_fill(~seen, -float("inf")), -1).nan_to_num(0.0)
        out[own] = (p @ v[:, None]).permute(2, 0, 1, 3).flatten(1, 2)
    return out


def flops_and_bytes(
    cu_q: torch.Tensor, start: torch.Tensor, limit: torch.Tensor, heads: int, kv_heads: int = 1,
    element_bytes: int = 1, pairs: float | None = None,
) -> Work:  # fmt: skip
    """The least a launch does: two products over the visible (query, key) pairs; K and V of each
    sequence and q read once, the output written.

    q is int8 with a float32 scale a head, or float16; the output is bfloat16. `pairs`: the visible
    ones, where key_limit hides some of those from start to limit.
    """
    if pairs is None:
        pairs = float((limit.double() - start.double()).clamp(min=0).sum())
    low, high = reach(cu_q, start, limit)
    keys = float((high - low).double().sum())
    q_bytes = HEAD_DIM * element_bytes + (4 if element_bytes == 1 else 0)
    rows = start.shape[0] * heads
    kv_bytes = keys * kv_heads * 2 * HEAD_DIM * element_bytes
    return Work(4 * pairs * heads * HEAD_DIM, kv_bytes + rows * (q_bytes + 2 * HEAD_DIM))


@triton.jit
def _attend(
    q, scale, acc, top, total, k_base, v_base, key, low, high, position, key_row, keys,
    MASK: tl.constexpr, KEYS: tl.constexpr, INT8: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """One page of keys, added to the (accumulator, largest logit, mass) of a tile of rows."""
    token = tl.arange(0, 128)
    d = tl.arange(0, 128)
    k = tl.load(k_base + token[:, None] * 128 + d[None, :])
    if INT8:
        whole = tl.dot(q, k.T, out_dtype=tl.int32)
        scores = whole.to(tl.float32)
    else:
        scores = tl.dot(q, k.T)
        whole = scores
    if MASK:
        seen = (key[None, :] >= low[:, None]) & (key[None, :] < high[:, None])
        if KEYS:
            key_limit = tl.load(key_row + key, mask=key < keys, other=0)
            seen = seen & (key[None, :] <= position[:, None])
            seen = seen & (position[:, None] < key_limit[None, :])
        scores = tl.where(seen, scores, float("-inf"))
        page_top = tl.maximum(tl.max(scores, 1), UNSEEN) * scale
    else:
        page_top = tl.max(whole, 1).to(tl.float32) * scale
    new_top = tl.maximum(top, page_top)
    old = tl.exp2(top - new_top)
    if INT8:
        p = tl.exp2(scores * scale[:, None] - (page_top - LOG2_127)[:, None])
        p8 = rounded(p)
        mass = tl.sum(p8.to(tl.int32), 1).to(tl.float32)
        # V holds the tokens of a group permuted: bring P into its order.
        p8 = tl.permute(tl.reshape(p8, (ROWS, 8, 2, 4, 2)), (0, 1, 3, 2, 4))
        p8 = tl.reshape(p8, (ROWS, 128))
        slot = (token // 16) * (16 * 128) + token % 16
        v = tl.load(v_base + d[:, None] * 16 + slot[None, :])
        out = tl.dot(p8, v.T, out_dtype=tl.int32).to(tl.float32)
        new = tl.exp2(page_top - new_top)
        acc = acc * old[:, None] + out * new[:, None]
        total = total * old + mass * new
    else:
        p = tl.exp2(scores * scale[:, None] - new_top[:, None])
        v_rows = v_base + token[:, None] * 128 + d[None, :]
        if MASK:  # what lies beside the visible keys may be anything, and 0 * NaN is NaN
            some = (key >= tl.min(tl.where(low < high, low, 1 << 30), 0)) & (key < tl.max(high, 0))
            v = tl.load(v_rows, mask=some[:, None], other=0.0)
        else:
            v = tl.load(v_rows)
        acc = tl.dot(p.to(v.dtype), v, acc * old[:, None])
        total = total * old + tl.sum(p, 1)
    return acc, new_top, total


@triton.jit
def _prefill_kernel(
    q_ptr, q_scale, k_ptr, v_ptr, v_scale, table, entries, records, start, limit, positions,
    key_limit, keys, key_stride, out, heads, kv_heads, softmax_scale, out_scale,
    SHARE: tl.constexpr, KEYS: tl.constexpr, INT8: tl.constexpr, ROWS: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Grid (records * kv_heads,): one tile of rows."""
    head = tl.program_id(0) % kv_heads
    record = records + tl.program_id(0) // kv_heads * 8
    b = tl.load(record)
    row = tl.load(record + 2) + tl.arange(0, ROWS)
    is_row = row < tl.load(record + 3)
    lo = tl.load(record + 4)
    full_lo = tl.load(record + 5)
    full_hi = tl.load(record + 6)
    hi = tl.load(record + 7)
    token = tl.load(record + 1) + row // SHARE
    at = token.to(tl.int64) * heads + head * SHARE + row % SHARE
    d = tl.arange(0, 128)
    q = tl.load(q_ptr + at[:, None] * 128 + d[None, :], mask=is_row[:, None], other=0)
    if INT8:
        scale = tl.load(q_scale + at, mask=is_row, other=1.0) * softmax_scale
        scale = tl.maximum(scale, 1e-30)
    else:
        scale = tl.full((ROWS,), 1.0, tl.float32) * softmax_scale
    low = tl.load(start + token, mask=is_row, other=0)
    high = tl.load(limit + token, mask=is_row, other=0)
    position = tl.load(positions + token, mask=is_row, other=-1) if KEYS else low
    key_row = key_limit + b.to(tl.int64) * key_stride
    pages = table + b.to(tl.int64) * entries
    top = tl.full((ROWS,), -1e30, tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, 128), tl.float32)
    before = full_lo - lo
    for i in tl.range(0, before + hi - full_hi, num_stages=STAGES):
        j = tl.where(i < before, lo + i, full_hi + i - before)
        base = (tl.load(pages + j).to(tl.int64) * kv_heads + head) * (128 * 128)
        key = j * 128 + tl.arange(0, 128)
        acc, top, total = _attend(
            q, scale, acc, top, total, k_ptr + base, v_ptr + base, key, low, high, position,
            key_row, keys, True, KEYS, INT8, ROWS,
        )  # fmt: skip
    for j in tl.range(full_lo, full_hi, num_stages=STAGES):
        base = (tl.load(pages + j).to(tl.int64) * kv_heads + head) * (128 * 128)
        key = j * 128 + tl.arange(0, 128)
        acc, top, total = _attend(
            q, scale, acc, top, total, k_ptr + base, v_ptr + base, key, low, high, position,
            key_row, keys, False, KEYS, INT8, ROWS,
        )  # fmt: skip
    share = tl.where((total > 0) & (low < high), 1.0 / tl.where(total > 0, total, 1.0), 0.0)
    value = acc * share[:, None] * tl.load(v_scale + head * 128 + d)[None, :]
    if out.dtype.element_ty == tl.int8:
        value = to_int8(value / out_scale)
    tl.store(
        out + at[:, None] * 128 + d[None, :], value.to(out.dtype.element_ty), mask=is_row[:, None]
    )


def _launch_tiles(
    q, q_scale, kv, v_scale, pages, plan, out, softmax_scale, out_scale, warps=8, stages=2
) -> None:
    """The plain Triton path."""
    is_keyed = plan.key_limit is not None
    keys = plan.key_limit if is_keyed else plan.start
    _prefill_kernel[(plan.tiles * kv.kv_heads,)](
        q, v_scale if q_scale is None else q_scale, kv.k, kv.v, v_scale, pages, pages.stride(0),
        plan.records, plan.start, plan.limit, plan.positions if is_keyed else plan.start, keys,
        keys.shape[-1], keys.stride(0), out, q.shape[1], kv.kv_heads, softmax_scale * LOG2_E,
        out_scale, SHARE=plan.share, KEYS=is_keyed, INT8=kv.is_int8, ROWS=plan.rows, STAGES=stages,
        num_warps=warps,
    )  # fmt: skip


def _check_visibility(cu_q, start, limit, key_limit, positions) -> None:
    checks.tensor("start", start, (None,), torch.int32)
    tokens, device = tuple(start.shape), start.device
    checks.tensor("limit", limit, tokens, torch.int32, device)
    checks.tensor("cu_q", cu_q, (None,), torch.int32, device)
    if cu_q.shape[0] < 2:
        raise ValueError(f"cu_q: has {cu_q.shape[0]} entries, must have one more than sequences")
    if key_limit is None:
        return
    batch = cu_q.shape[0] - 1
    checks.tensor("key_limit", key_limit, (batch, None), torch.int32, device, rows_only=True)
    if positions is None:
        raise ValueError("positions: must be given with key_limit")
    checks.tensor("positions", positions, tokens, torch.int32, device)


def _check(q, q_scale, kv, v_scale, pages, cu_q, start) -> None:
    checks.attention(q, q_scale, kv, v_scale, MOST_SHARE)
    checks.tensor("start", start, (q.shape[0],), torch.int32, q.device)
    batch = cu_q.shape[0] - 1
    checks.tensor("pages", pages, (batch, None), torch.int32, q.device, rows_only=True)


def _check_plan(plan: PrefillPlan, given: tuple[object, ...], share: int) -> None:
    made_for = (plan.cu_q, plan.start, plan.limit, plan.positions, plan.key_limit)
    for name, mine, its in zip(VISIBILITY, given, made_for, strict=True):
        if mine is not its:
            raise ValueError(f"plan: was made for another {name} tensor")
    if plan.share != share:
        raise ValueError(f"plan: was made for {plan.share} heads a KV head, here are {share}")


def _check_pages(pages, cu_q, start, limit, count: int) -> None:
    bounds, tokens = cu_q.tolist(), start.shape[0]
    if bounds[0] != 0 or bounds[-1] > tokens or sorted(bounds) != bounds:
        raise ValueError(f"cu_q: is {bounds}, must rise from 0 to {tokens} tokens at most")
    checks.page_table(pages, *reach(cu_q, start, limit), count)


def make_plan(
    cu_q: torch.Tensor,
    start: torch.Tensor,
    limit: torch.Tensor,
    *,
    heads: int,
    kv_heads: int = 1,
    key_limit: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
) -> PrefillPlan:
    """A plan for `prefill_attention`, for all layers of a step with this visibility; one launch.

    Made ahead for a captured CUDA graph, it is filled again by `kernels.common.tiles.fill`. The
    tensors, as in `prefill_attention`, are kept by reference. Raises ValueError for a bad one.
    """
    _check_visibility(cu_q, start, limit, key_limit, positions)
    checks.heads("heads", heads, kv_heads, MOST_SHARE)
    share = heads // kv_heads
    empty = tiles.allocate(cu_q, start, limit, positions, key_limit, rows=ROWS, share=share)
    return tiles.fill(empty)


def prefill_attention(
    q: torch.Tensor,
    q_scale: torch.Tensor | None,
    kv: KVPages,
    v_scale: torch.Tensor,
    pages: torch.Tensor,
    cu_q: torch.Tensor,
    start: torch.Tensor,
    limit: torch.Tensor,
    *,
    key_limit: torch.Tensor | None = None,
    positions: torch.Tensor | None = None,
    plan: PrefillPlan | None = None,
    out: torch.Tensor | None = None,
    out_scale: float | None = None,
    softmax_scale: float = SOFTMAX_SCALE,
    backend: Backend = "auto",
    check_pages: bool = False,
) -> torch.Tensor:
    """Attention of the tokens cu_q[b] to cu_q[b + 1] over sequence b's pages; see the module.

    `q` int8 `[tokens, heads, 128]` with `q_scale` float32 `[tokens, heads]` (K's channel scales
    folded in), or float16 and None; `kv` pages of the same dtype; `v_scale` float32
    `[kv_heads, 128]`; `pages` int32 `[batch, entries]`; `cu_q` int32 `[batch + 1]`; `start`,
    `limit` int32 `[tokens]`, and `key_limit` int32 `[batch, keys]` with `positions` int32
    `[tokens]`: as in `kernels.common.visibility`. Returns `out`, bfloat16 `[tokens, heads, 128]`,
    or int8 with the static scale `out_scale`; tokens from cu_q[batch] on are not written.

    `plan`: from `make_plan` with these very tensors, else one is made here. `check_pages` reads
    the page table back, which waits for the device. Raises ValueError for a bad argument.
    """
    given = (cu_q, start, limit, positions, key_limit)
    _check_visibility(cu_q, start, limit, key_limit, positions)
    _check(q, q_scale, kv, v_scale, pages, cu_q, start)
    checks.number("softmax_scale", softmax_scale, 1e-6, 1e6)
    if check_pages:
        _check_pages(pages, cu_q, start, limit, kv.k.shape[0])
    out = _output(q, out, out_scale)
    hopper = use_hopper(q.device, backend, served=kv.is_int8)
    if plan is None:
        seen = {"key_limit": key_limit, "positions": positions}
        plan = make_plan(cu_q, start, limit, heads=q.shape[1], kv_heads=kv.kv_heads, **seen)
    _check_plan(plan, given, q.shape[1] // kv.kv_heads)
    args = (q, q_scale, kv, v_scale, pages, plan, out, softmax_scale, out_scale or 1.0)
    if hopper and q_scale is not None:
        from kernels.hopper import prefill as on_hopper  # Gluon only where it runs

        on_hopper.launch(q, q_scale, *args[2:])
    else:
        _launch_tiles(*args)
    return out


def _output(q: torch.Tensor, out: torch.Tensor | None, out_scale: float | None) -> torch.Tensor:
    """Where to write: `out` once it is checked, or a new one."""
    dtype = torch.bfloat16
    if out_scale is not None:
        checks.number("out_scale", out_scale, 1e-30, 1e30)
        dtype = torch.int8
    if out is None:
        out = torch.empty(q.shape, dtype=dtype, device=q.device)
    checks.tensor("out", out, tuple(q.shape), dtype, q.device)
    return out
