"""Attention over tiles that a visibility touches: output and log-sum-exp.

A program has one tile of queries of one head, and goes through its lists of key tiles: those that
need a mask, then those that do not. In int8 the tiles are pages (`pages`).
"""

import triton
import triton.language as tl

from kernels.common.pieces import to_int8
from kernels.training.attention.pages import attend_pages, product, visible


@triton.jit
def scores(q, k, unit, UPCAST: tl.constexpr):
    """q @ k^T in units of log 2, `[queries, keys]`."""
    if UPCAST:
        raw = tl.dot(q.to(tl.float32), tl.trans(k.to(tl.float32)), input_precision="ieee")
    else:
        raw = tl.dot(q, tl.trans(k))
    return raw * unit


@triton.jit
def _attend(
    q, unit, top, total, acc, k_ptr, v_ptr, row_stride, tiles_ptr, count,
    query, start, limit, key_limit_ptr, tokens,
    MASKED: tl.constexpr, KEYS: tl.constexpr, UPCAST: tl.constexpr,
    KEY_TILE: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """The online softmax over a list of key tiles."""
    channel = tl.arange(0, DIM)
    for n in range(count):
        key = tl.load(tiles_ptr + n) * KEY_TILE + tl.arange(0, KEY_TILE)
        at = key.to(tl.int64)[:, None] * row_stride + channel[None, :]
        if MASKED:
            inside = (key < tokens)[:, None]
            k = tl.load(k_ptr + at, mask=inside, other=0)
            v = tl.load(v_ptr + at, mask=inside, other=0)
        else:
            k = tl.load(k_ptr + at)
            v = tl.load(v_ptr + at)
        s = scores(q, k, unit, UPCAST)
        if MASKED:
            seen = visible(query, key, start, limit, key_limit_ptr, tokens, KEYS)
            s = tl.where(seen, s, -1e30)
        above = tl.maximum(top, tl.max(s, 1))
        p = tl.exp2(s - above[:, None])
        if MASKED:
            p = tl.where(seen, p, 0.0)
        rest = tl.exp2(top - above)
        total = total * rest + tl.sum(p, 1)
        acc = acc * rest[:, None] + product(p, v, UPCAST)
        top = above
    return top, total, acc


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, q_scale_ptr, out_ptr, lse_ptr, start_ptr, limit_ptr, key_limit_ptr,
    whole_ptr, whole_count_ptr, part_ptr, part_count_ptr,
    tokens, heads, kv_heads, most, unit, v_scale,
    KEYS: tl.constexpr, INT8: tl.constexpr, HALVES: tl.constexpr, PAIRS: tl.constexpr,
    SERVED: tl.constexpr, UPCAST: tl.constexpr,
    QUERY_TILE: tl.constexpr, KEY_TILE: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """Writes out (bf16; SERVED: float32) and lse float32 (natural; 0 of a query that sees nothing).
    `unit`: scale * log2(e); `v_scale`: of int8 keys and values."""
    tile, b, head = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    query = tile * QUERY_TILE + tl.arange(0, QUERY_TILE)
    channel = tl.arange(0, DIM)
    row = b * tokens + query
    live = query < tokens
    at = (row * heads + head)[:, None] * DIM + channel[None, :]
    q = tl.load(q_ptr + at, mask=live[:, None], other=0)
    start = tl.load(start_ptr + row, mask=live, other=0)
    limit = tl.load(limit_ptr + row, mask=live, other=0)
    key_limit_ptr += b * tokens
    kv_head = head // (heads // kv_heads)
    base = (b * tokens * kv_heads + kv_head) * DIM
    k_ptr += base
    v_ptr += base
    row_stride = kv_heads * DIM
    top = tl.full((QUERY_TILE,), -1e30, tl.float32)
    total = tl.zeros((QUERY_TILE,), tl.float32)
    acc = tl.zeros((QUERY_TILE, DIM), tl.float32)
    lists = b * tl.num_programs(0) + tile
    whole = tl.load(whole_count_ptr + lists)
    part = tl.load(part_count_ptr + lists)
    whole_ptr += lists * most
    part_ptr += lists * most
    if INT8:
        units = tl.load(q_scale_ptr + row * heads + head, mask=live, other=1.0)
        if not SERVED:  # there q has the scale of k in it
            units *= v_scale
        units *= unit
        units = tl.maximum(units, 1e-30)  # zero times minus infinity is no number
        mass = tl.zeros((QUERY_TILE,), tl.float32)
        top, total, mass, acc = attend_pages(
            q, units, top, total, mass, acc, k_ptr, v_ptr, row_stride, part_ptr, part,
            query, start, limit, key_limit_ptr, tokens, True, KEYS, HALVES, PAIRS, UPCAST, DIM,
        )  # fmt: skip
        top, total, mass, acc = attend_pages(
            q, units, top, total, mass, acc, k_ptr, v_ptr, row_stride, whole_ptr, whole,
            query, start, limit, key_limit_ptr, tokens, False, KEYS, HALVES, PAIRS, UPCAST, DIM,
        )  # fmt: skip
        mass *= 1.0 / 127
    else:
        top, total, acc = _attend(
            q, unit, top, total, acc, k_ptr, v_ptr, row_stride, part_ptr, part,
            query, start, limit, key_limit_ptr, tokens, True, KEYS, UPCAST, KEY_TILE, DIM,
        )  # fmt: skip
        top, total, acc = _attend(
            q, unit, top, total, acc, k_ptr, v_ptr, row_stride, whole_ptr, whole,
            query, start, limit, key_limit_ptr, tokens, False, KEYS, UPCAST, KEY_TILE, DIM,
        )  # fmt: skip
        mass = total
    sees = total > 0
    acc = acc * tl.where(sees, 1.0 / tl.where(sees, total, 1.0), 0.0)[:, None] * v_scale
    if SERVED:
        acc = to_int8(acc / v_scale).to(tl.float32) * v_scale
    tl.store(out_ptr + at, acc.to(out_ptr.dtype.element_ty), mask=live[:, None])
    lse = (top + tl.log2(tl.where(sees, mass, 1.0))) * 0.6931471805599453
    lse_at = (b * heads + head) * tokens + query
    tl.store(lse_ptr + lse_at, tl.where(sees, lse, 0.0), mask=live)
