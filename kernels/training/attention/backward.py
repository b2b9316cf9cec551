"""Gradients of attention over tiles that a visibility touches.

Probabilities are computed again from the log-sum-exp. For a query with gradient g and output o,
the gradient of its scores is p * (g . v - delta), delta = g . o. Z-Reg's virtual loss,
weight / 2 * lse^2, adds weight * lse * p: so delta - weight * lse is stored, and that is all it
costs.

Queries' gradients have a program for each tile of queries and head; those of keys and values one
for each tile of keys and group of heads, whose sums are added up afterwards in a fixed order:
results are the same bits on every run.
"""

import triton
import triton.language as tl

from kernels.training.attention.forward import scores
from kernels.training.attention.pages import product, visible

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def delta_kernel(
    out_ptr, g_ptr, lse_ptr, delta_ptr, tokens, heads, z_weight,
    ROWS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """delta - z_weight * lse, like lse."""
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    b, head = tl.program_id(1).to(tl.int64), tl.program_id(2)
    live = token < tokens
    at = ((b * tokens + token) * heads + head)[:, None] * DIM + tl.arange(0, DIM)[None, :]
    out = tl.load(out_ptr + at, mask=live[:, None], other=0.0).to(tl.float32)
    g = tl.load(g_ptr + at, mask=live[:, None], other=0.0).to(tl.float32)
    row = (b * heads + head) * tokens + token
    lse = tl.load(lse_ptr + row, mask=live, other=0.0)
    tl.store(delta_ptr + row, tl.sum(out * g, 1) - z_weight * lse, mask=live)


@triton.jit
def _of_scores(
    q, k, v, g, lse, delta, unit, query, key, start, limit, key_limit_ptr, tokens,
    MASKED: tl.constexpr, KEYS: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Probabilities and the gradient of the scores, `[queries, keys]`."""
    p = tl.exp2(scores(q, k, unit, UPCAST) - lse[:, None] * LOG2E)
    if MASKED:
        p = tl.where(visible(query, key, start, limit, key_limit_ptr, tokens, KEYS), p, 0.0)
    if UPCAST:
        gv = tl.dot(g.to(tl.float32), tl.trans(v.to(tl.float32)), input_precision="ieee")
    else:
        gv = tl.dot(g, tl.trans(v))
    return p, p * (gv - delta[:, None])


@triton.jit
def _to_queries(
    acc, q, g, lse, delta, k_ptr, v_ptr, row_stride, unit, tiles_ptr, count,
    query, start, limit, key_limit_ptr, tokens,
    MASKED: tl.constexpr, KEYS: tl.constexpr, UPCAST: tl.constexpr, KEY_TILE: tl.constexpr,
    DIM: tl.constexpr,
):  # fmt: skip
    for n in range(count):
        key = tl.load(tiles_ptr + n) * KEY_TILE + tl.arange(0, KEY_TILE)
        at = key.to(tl.int64)[:, None] * row_stride + tl.arange(0, DIM)[None, :]
        inside = (key < tokens)[:, None]
        k = tl.load(k_ptr + at, mask=inside, other=0.0)
        v = tl.load(v_ptr + at, mask=inside, other=0.0)
        _, ds = _of_scores(
            q, k, v, g, lse, delta, unit, query, key, start, limit, key_limit_ptr, tokens,
            MASKED, KEYS, UPCAST,
        )  # fmt: skip
        acc += product(ds, k, UPCAST)
    return acc


@triton.jit
def queries_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, lse_ptr, delta_ptr, out_ptr, start_ptr, limit_ptr, key_limit_ptr,
    whole_ptr, whole_count_ptr, part_ptr, part_count_ptr,
    tokens, heads, kv_heads, most, unit, scale,
    KEYS: tl.constexpr, UPCAST: tl.constexpr, QUERY_TILE: tl.constexpr, KEY_TILE: tl.constexpr,
    DIM: tl.constexpr,
):  # fmt: skip
    """Gradient of the queries, bf16. `unit`: scale * log2(e)."""
    tile, b, head = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    query = tile * QUERY_TILE + tl.arange(0, QUERY_TILE)
    row = b * tokens + query
    live = query < tokens
    at = (row * heads + head)[:, None] * DIM + tl.arange(0, DIM)[None, :]
    q = tl.load(q_ptr + at, mask=live[:, None], other=0.0)
    g = tl.load(g_ptr + at, mask=live[:, None], other=0.0)
    of_row = (b * heads + head) * tokens + query
    lse = tl.load(lse_ptr + of_row, mask=live, other=0.0)
    delta = tl.load(delta_ptr + of_row, mask=live, other=0.0)
    start = tl.load(start_ptr + row, mask=live, other=0)
    limit = tl.load(limit_ptr + row, mask=live, other=0)
    key_limit_ptr += b * tokens
    base = (b * tokens * kv_heads + head // (heads // kv_heads)) * DIM
    row_stride = kv_heads * DIM
    lists = b * tl.num_programs(0) + tile
    acc = tl.zeros((QUERY_TILE, DIM), tl.float32)
    acc = _to_queries(
        acc, q, g, lse, delta, k_ptr + base, v_ptr + base, row_stride, unit,
        whole_ptr + lists * most, tl.load(whole_count_ptr + lists),
        query, start, limit, key_limit_ptr, tokens, False, KEYS, UPCAST, KEY_TILE, DIM,
    )  # fmt: skip
    acc = _to_queries(
        acc, q, g, lse, delta, k_ptr + base, v_ptr + base, row_stride, unit,
        part_ptr + lists * most, tl.load(part_count_ptr + lists),
        query, start, limit, key_limit_ptr, tokens, True, KEYS, UPCAST, KEY_TILE, DIM,
    )  # fmt: skip
    tl.store(out_ptr + at, (acc * scale).to(tl.bfloat16), mask=live[:, None])


@triton.jit
def _to_keys(
    to_k, to_v, k, v, key, q_ptr, g_ptr, lse_ptr, delta_ptr, row_stride, unit, tiles_ptr, count,
    start_ptr, limit_ptr, key_limit_ptr, tokens,
    MASKED: tl.constexpr, KEYS: tl.constexpr, UPCAST: tl.constexpr, QUERY_TILE: tl.constexpr,
    DIM: tl.constexpr,
):  # fmt: skip
    for n in range(count):
        query = tl.load(tiles_ptr + n) * QUERY_TILE + tl.arange(0, QUERY_TILE)
        live = query < tokens
        at = query.to(tl.int64)[:, None] * row_stride + tl.arange(0, DIM)[None, :]
        q = tl.load(q_ptr + at, mask=live[:, None], other=0.0)
        g = tl.load(g_ptr + at, mask=live[:, None], other=0.0)
        lse = tl.load(lse_ptr + query, mask=live, other=0.0)
        delta = tl.load(delta_ptr + query, mask=live, other=0.0)
        start = tl.load(start_ptr + query, mask=live, other=0)
        limit = tl.load(limit_ptr + query, mask=live, other=0)
        p, ds = _of_scores(
            q, k, v, g, lse, delta, unit, query, key, start, limit, key_limit_ptr, tokens,
            MASKED, KEYS, UPCAST,
        )  # fmt: skip
        to_v += product(tl.trans(p), g, UPCAST)
        to_k += product(tl.trans(ds), q, UPCAST)
    return to_k, to_v


@triton.jit
def keys_kernel(
    q_ptr, k_ptr, v_ptr, g_ptr, lse_ptr, delta_ptr, to_k_ptr, to_v_ptr, start_ptr, limit_ptr,
    key_limit_ptr, whole_ptr, whole_count_ptr, part_ptr, part_count_ptr,
    tokens, heads, kv_heads, groups, most, unit, scale,
    KEYS: tl.constexpr, UPCAST: tl.constexpr, QUERY_TILE: tl.constexpr, KEY_TILE: tl.constexpr,
    DIM: tl.constexpr,
):  # fmt: skip
    """Gradients of keys and values, summed over a group of heads, float32
    `[groups, batch, tokens, kv_heads, DIM]`. Program axis 2: KV head, group."""
    tile, b = tl.program_id(0), tl.program_id(1).to(tl.int64)
    kv_head, group = tl.program_id(2) // groups, tl.program_id(2) % groups
    share = heads // kv_heads // groups
    key = tile * KEY_TILE + tl.arange(0, KEY_TILE)
    row = b * tokens + key
    live = key < tokens
    at = (row * kv_heads + kv_head)[:, None] * DIM + tl.arange(0, DIM)[None, :]
    k = tl.load(k_ptr + at, mask=live[:, None], other=0.0)
    v = tl.load(v_ptr + at, mask=live[:, None], other=0.0)
    start_ptr += b * tokens
    limit_ptr += b * tokens
    key_limit_ptr += b * tokens
    lists = b * tl.num_programs(0) + tile
    whole, part = tl.load(whole_count_ptr + lists), tl.load(part_count_ptr + lists)
    to_k = tl.zeros((KEY_TILE, DIM), tl.float32)
    to_v = tl.zeros((KEY_TILE, DIM), tl.float32)
    for one in range(share):
        head = (kv_head * groups + group) * share + one
        base = (b * tokens * heads + head) * DIM
        of_row = (b * heads + head) * tokens
        to_k, to_v = _to_keys(
            to_k, to_v, k, v, key, q_ptr + base, g_ptr + base, lse_ptr + of_row,
            delta_ptr + of_row, heads * DIM, unit, whole_ptr + lists * most, whole,
            start_ptr, limit_ptr, key_limit_ptr, tokens, False, KEYS, UPCAST, QUERY_TILE, DIM,
        )  # fmt: skip
        to_k, to_v = _to_keys(
            to_k, to_v, k, v, key, q_ptr + base, g_ptr + base, lse_ptr + of_row,
            delta_ptr + of_row, heads * DIM, unit, part_ptr + lists * most, part,
            start_ptr, limit_ptr, key_limit_ptr, tokens, True, KEYS, UPCAST, QUERY_TILE, DIM,
        )  # fmt: skip
    at += group * tl.num_programs(1).to(tl.int64) * tokens * kv_heads * DIM
    tl.store(to_k_ptr + at, to_k * scale, mask=live[:, None])
    tl.store(to_v_ptr + at, to_v, mask=live[:, None])
