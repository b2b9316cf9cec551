"""int8 attention in training, rounded as serving rounds it (`kernels.prefill_attention`).

Scores are int8 products with a scale for each query and one for all keys. Keys go by pages of 128,
counted from the first of the row: within a page P is rounded to int8 against the page's own largest
score, and the denominator sums the rounded P. Both factors of P V are multiplied in bf16, in which
int8 values are exact, and so are the float32 sums over a page.

On Hopper serving rounds P to float16 before, and two pages that need no mask against the larger of
both (`kernels.hopper`): HALVES and PAIRS. The second takes each page's scores twice here, so it is
for evaluation.
"""

import triton
import triton.language as tl

from kernels.common.pieces import rounded

PAGE = tl.constexpr(128)
# log2(127): P is scaled so that its largest value in a page is 127.
LOG2_127 = tl.constexpr(6.988684686772166)
# Below every int8 score (128 * 127 * 127 = 2.1e6): what a row without a visible key has for one.
UNSEEN = tl.constexpr(-3e7)


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
def product(a, b, UPCAST: tl.constexpr):
    """a @ b of a float32 `a` that is rounded to bf16; float32. The interpreter can't do bf16."""
    if UPCAST:
        return tl.dot(a, b.to(tl.float32), input_precision="ieee")
    return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))


@triton.jit
def _page(
    q, k_ptr, row_stride, page, query, start, limit, key_limit_ptr, tokens,
    MASKED: tl.constexpr, KEYS: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """Scores of a page, whole numbers as float32, -inf where a query does not see a key."""
    key = page * PAGE + tl.arange(0, PAGE)
    at = key.to(tl.int64)[:, None] * row_stride + tl.arange(0, DIM)[None, :]
    k = (
        tl.load(k_ptr + at, mask=(key < tokens)[:, None], other=0)
        if MASKED
        else tl.load(k_ptr + at)
    )
    raw = tl.dot(q, tl.trans(k), out_dtype=tl.int32).to(tl.float32)
    if MASKED:
        seen = visible(query, key, start, limit, key_limit_ptr, tokens, KEYS)
        raw = tl.where(seen, raw, float("-inf"))
    return raw


@triton.jit
def _values(v_ptr, row_stride, page, tokens, MASKED: tl.constexpr, DIM: tl.constexpr):
    """Of a page."""
    key = page * PAGE + tl.arange(0, PAGE)
    at = key.to(tl.int64)[:, None] * row_stride + tl.arange(0, DIM)[None, :]
    if MASKED:
        return tl.load(v_ptr + at, mask=(key < tokens)[:, None], other=0)
    return tl.load(v_ptr + at)


@triton.jit
def attend_pages(
    q, units, top, total, mass, acc, k_ptr, v_ptr, row_stride, pages_ptr, count,
    query, start, limit, key_limit_ptr, tokens,
    MASKED: tl.constexpr, KEYS: tl.constexpr, HALVES: tl.constexpr, PAIRS: tl.constexpr,
    UPCAST: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """The online softmax over a list of pages, in units of 127. `units`: of scores, in log 2.
    `total`: the sum of the rounded P; `mass`: of P before that, of which the gradients are."""
    for n in range(count):
        page = tl.load(pages_ptr + n)
        raw = _page(
            q, k_ptr, row_stride, page, query, start, limit, key_limit_ptr, tokens,
            MASKED, KEYS, DIM,
        )  # fmt: skip
        largest = tl.max(raw, 1)
        if PAIRS and not MASKED:
            other = tl.load(pages_ptr + tl.where((n ^ 1) < count, n ^ 1, n))
            more = _page(
                q, k_ptr, row_stride, other, query, start, limit, key_limit_ptr, tokens,
                MASKED, KEYS, DIM,
            )  # fmt: skip
            largest = tl.maximum(largest, tl.max(more, 1))
        page_top = tl.maximum(largest, UNSEEN) * units
        # Written as one instruction, as that is what serving compiles to.
        p = tl.exp2(tl.fma(raw, units[:, None], -(page_top - LOG2_127)[:, None]))
        near = p.to(tl.float16).to(tl.float32) if HALVES else p
        whole = rounded(near)
        above = tl.maximum(top, page_top)
        rest = tl.exp2(top - above)
        share = tl.exp2(page_top - above)
        mass = mass * rest + tl.sum(p, 1) * share
        total = total * rest + tl.sum(whole.to(tl.int32), 1).to(tl.float32) * share
        v = _values(v_ptr, row_stride, page, tokens, MASKED, DIM)
        out = product(whole.to(tl.float32), v, UPCAST)
        acc = acc * rest[:, None] + out * share[:, None]
        top = above
    return top, total, mass, acc
