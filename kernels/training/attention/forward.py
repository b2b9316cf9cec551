"""Attention over tiles that a visibility touches: output and log-sum-exp.

A program has one tile of queries of one head, and goes through its lists of key tiles: those that
need no mask, then those that do. In int8, scores are int8 products with a scale for each query and
one for all keys; probabilities and values are multiplied in bf16, in which int8 values are exact.
"""

import triton
import triton.language as tl


@triton.jit
def visible(
    query, key, start, limit, key_limit_ptr, tokens, KEYS: tl.constexpr
):  # fmt: skip
    """The mask of a tile, `[queries, keys]`."""
    seen = (key[None, :] >= start[:, None]) & (key[None, :] < limit[:, None])
    if KEYS:
        end = tl.load(key_limit_ptr + key, mask=key < tokens, other=0)
        seen = seen & (key[None, :] <= query[:, None]) & (query[:, None] < end[None, :])
    return seen


@triton.jit
def scores(q, k, units, UPCAST: tl.constexpr, INT8: tl.constexpr):
    """q @ k^T in units of log 2, `[queries, keys]`; `units` of each query."""
    if INT8:
        raw = tl.dot(q, tl.trans(k), out_dtype=tl.int32).to(tl.float32)
    elif UPCAST:
        raw = tl.dot(q.to(tl.float32), tl.trans(k.to(tl.float32)), input_precision="ieee")
    else:
        raw = tl.dot(q, tl.trans(k))
    return raw * units[:, None]


@triton.jit
def product(a, b, UPCAST: tl.constexpr):
    """a @ b of a float32 `a` that is rounded to bf16; float32. The interpreter can't do bf16."""
    if UPCAST:
        return tl.dot(a, b.to(tl.float32), input_precision="ieee")
    return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))


@triton.jit
def _attend(
    q, units, top, total, acc, k_ptr, v_ptr, row_stride, tiles_ptr, count,
    query, start, limit, key_limit_ptr, tokens,
    MASKED: tl.constexpr, KEYS: tl.constexpr, INT8: tl.constexpr, UPCAST: tl.constexpr,
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
        s = scores(q, k, units, UPCAST, INT8)
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
    KEYS: tl.constexpr, INT8: tl.constexpr, UPCAST: tl.constexpr,
    QUERY_TILE: tl.constexpr, KEY_TILE: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """Writes out bf16 and lse float32 (natural; 0 of a query that sees nothing)."""
    tile, b, head = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.program_id(2)
    query = tile * QUERY_TILE + tl.arange(0, QUERY_TILE)
    channel = tl.arange(0, DIM)
    row = b * tokens + query
    live = query < tokens
    at = (row * heads + head)[:, None] * DIM + channel[None, :]
    q = tl.load(q_ptr + at, mask=live[:, None], other=0)
    units = tl.full((QUERY_TILE,), unit, tl.float32)
    if INT8:
        units *= tl.load(q_scale_ptr + row * heads + head, mask=live, other=0.0)
    start = tl.load(start_ptr + row, mask=live, other=0)
    limit = tl.load(limit_ptr + row, mask=live, other=0)
    key_limit_ptr += b * tokens
    kv_head = head // (heads // kv_heads)
    base = (b * tokens * kv_heads + kv_head) * DIM
    row_stride = kv_heads * DIM
    top = tl.full((QUERY_TILE,), -1e30, tl.float32)
    total = tl.zeros((QUERY_TILE,), tl.float32)
    acc = tl.zeros((QUERY_TILE, DIM), tl.float32)
    lists = b * tl.num_programs(0) + tile
    top, total, acc = _attend(
        q, units, top, total, acc, k_ptr + base, v_ptr + base, row_stride,
        whole_ptr + lists * most, tl.load(whole_count_ptr + lists),
        query, start, limit, key_limit_ptr, tokens,
        False, KEYS, INT8, UPCAST, KEY_TILE, DIM,
    )  # fmt: skip
    top, total, acc = _attend(
        q, units, top, total, acc, k_ptr + base, v_ptr + base, row_stride,
        part_ptr + lists * most, tl.load(part_count_ptr + lists),
        query, start, limit, key_limit_ptr, tokens,
        True, KEYS, INT8, UPCAST, KEY_TILE, DIM,
    )  # fmt: skip
    sees = total > 0
    acc = acc * tl.where(sees, v_scale / tl.where(sees, total, 1.0), 0.0)[:, None]
    tl.store(out_ptr + at, acc.to(tl.bfloat16), mask=live[:, None])
    lse = (top + tl.log2(tl.where(sees, total, 1.0))) * 0.6931471805599453
    lse_at = (b * heads + head) * tokens + query
    tl.store(lse_ptr + lse_at, tl.where(sees, lse, 0.0), mask=live)
