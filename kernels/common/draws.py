"""What sampling does with one row of logits: random numbers, and scans that need no sort.

A row is cut into segments of SEGMENT tokens, of which the largest logit (`tops`) is known. A token
precedes a pivot (a logit and an id) if its logit is larger, or as large and its id lower. Scans
skip tiles of segments whose largest logit is below the pivot.

A token's weight is exp2((logit - top) * inverse), with inverse = log2(e) / temperature.
"""

import triton
import triton.language as tl

_MASK = 0xFFFFFFFF


def philox(seed: int, step: int, draw: int) -> tuple[int, int, int, int]:
    """Philox4x32-10 (Salmon et al., SC11): key `seed`, counter (step, draw, 0, 0)."""
    c0, c1, c2, c3 = step & _MASK, draw & _MASK, 0, 0
    k0, k1 = seed & _MASK, seed >> 32 & _MASK
    for _ in range(10):
        high, low = 0xCD9E8D57 * c2, 0xD2511F53 * c0
        c0, c1, c2, c3 = high >> 32 ^ c1 ^ k0, high & _MASK, low >> 32 ^ c3 ^ k1, low & _MASK
        k0, k1 = k0 + 0x9E3779B9 & _MASK, k1 + 0xBB67AE85 & _MASK
    return c0, c1, c2, c3


def uniform(seed: int, step: int, draw: int) -> float:
    """A float64 in [0, 1) with 53 random bits."""
    a, b, _, _ = philox(seed, step, draw)
    return ((a >> 5) * 67108864.0 + (b >> 6)) / 9007199254740992.0


@triton.jit
def uniform_number(seed, step, draw):
    """`uniform`, in a kernel."""
    a, b, _, _ = tl.philox(seed, step, draw, 0, 0)
    return ((a >> 5).to(tl.float64) * 67108864.0 + (b >> 6).to(tl.float64)) / 9007199254740992.0


@triton.jit
def weight(x, top, inverse):
    """exp((x - top) / temperature)."""
    return tl.exp2((x - top) * inverse)


@triton.jit
def _first_above(cumulative, valid, index, target):
    """The first valid index with cumulative > target; the last valid one if rounding hides it; -1
    if there is none."""
    found = tl.min(tl.where((cumulative > target) & valid, index, 2147483647), 0)
    return tl.minimum(found, tl.max(tl.where(valid, index, -1), 0))


@triton.jit
def pick(
    row, mass, top, inverse, pivot, pivot_token, number, vocab,
    SEGMENT: tl.constexpr, SEGMENTS: tl.constexpr,
):  # fmt: skip
    """The token at `number` of the cumulative mass, among those that precede the pivot, and its
    logit. `mass` float64 `[SEGMENTS]` counts those only. (-1, _) if there is none."""
    index = tl.arange(0, SEGMENTS)
    cumulative = tl.cumsum(mass, 0)
    target = number * tl.max(cumulative, 0)
    segment = tl.maximum(_first_above(cumulative, mass > 0, index, target), 0)
    target -= tl.max(tl.where(index < segment, cumulative, 0.0), 0)
    token = segment * SEGMENT + tl.arange(0, SEGMENT)
    x = tl.load(row + token, mask=token < vocab, other=float("-inf")).to(tl.float32)
    precedes = (x > pivot) | ((x == pivot) & (token < pivot_token))
    weights = tl.where(precedes, weight(x, top, inverse), 0.0)
    within = tl.cumsum(weights.to(tl.float64), 0)
    chosen = _first_above(within, weights > 0, token, target)
    return chosen, tl.max(tl.where(token == chosen, x, float("-inf")), 0)


@triton.jit
def mass_before(
    row, top_ptr, mass_ptr, top, inverse, pivot, pivot_token, vocab, segments,
    SEGMENT: tl.constexpr, SEGMENTS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """The mass of the tokens that precede the pivot: of each segment, float64 `[SEGMENTS]`, also
    written to `mass_ptr`; and how many they are."""
    tl.debug_barrier()  # Every thread has read what `mass_ptr` held,
    count = tl.zeros((TILE,), tl.int32)
    for first in range(0, segments, TILE):
        segment = first + tl.arange(0, TILE)
        tops = tl.load(top_ptr + segment, mask=segment < segments, other=float("-inf"))
        mass = tl.zeros((TILE,), tl.float32)
        if tl.max(tops, 0) >= pivot:
            token = segment[:, None] * SEGMENT + tl.arange(0, SEGMENT)[None, :]
            inside = (token < vocab) & (tops >= pivot)[:, None]
            x = tl.load(row + token, mask=inside, other=float("-inf")).to(tl.float32)
            precedes = (x > pivot) | ((x == pivot) & (token < pivot_token))
            mass = tl.sum(tl.where(precedes, weight(x, top, inverse), 0.0), axis=1)
            count += tl.sum(precedes.to(tl.int32), axis=1)
        tl.store(mass_ptr + segment, mass, mask=segment < segments)
    tl.debug_barrier()  # and now sees what it holds.
    index = tl.arange(0, SEGMENTS)
    masses = tl.load(mass_ptr + index, mask=index < segments, other=0.0).to(tl.float64)
    return masses, tl.sum(count, 0)


@triton.jit
def _count_from(
    row, top_ptr, low, middle, high, vocab, segments, SEGMENT: tl.constexpr, TILE: tl.constexpr
):
    """How many logits reach each of three thresholds, the lowest first."""
    from_low = tl.zeros((TILE,), tl.int32)
    from_middle = tl.zeros((TILE,), tl.int32)
    from_high = tl.zeros((TILE,), tl.int32)
    for first in range(0, segments, TILE):
        segment = first + tl.arange(0, TILE)
        tops = tl.load(top_ptr + segment, mask=segment < segments, other=float("-inf"))
        if tl.max(tops, 0) >= low:
            token = segment[:, None] * SEGMENT + tl.arange(0, SEGMENT)[None, :]
            inside = (token < vocab) & (tops >= low)[:, None]
            x = tl.load(row + token, mask=inside, other=float("-inf")).to(tl.float32)
            from_low += tl.sum((x >= low).to(tl.int32), axis=1)
            from_middle += tl.sum((x >= middle).to(tl.int32), axis=1)
            from_high += tl.sum((x >= high).to(tl.int32), axis=1)
    return tl.sum(from_low, 0), tl.sum(from_middle, 0), tl.sum(from_high, 0)


@triton.jit
def _key(x, SHIFT: tl.constexpr):
    """An int64 in the order of the floats."""
    bits = x.to(tl.int32, bitcast=True)
    return (tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits) >> SHIFT).to(tl.int64)


@triton.jit
def _from_key(key, SHIFT: tl.constexpr):
    """The float of a key; with a shift, the one whose low bits are zero."""
    ordered = key.to(tl.int32) << SHIFT
    bits = tl.where(ordered < 0, ordered ^ 0x7FFFFFFF, ordered)
    return ((bits >> SHIFT) << SHIFT).to(tl.float32, bitcast=True)


@triton.jit
def kth_logit(
    row, top_ptr, tops, top, k, vocab, segments,
    SEGMENT: tl.constexpr, SEGMENTS: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """A logit that the k likeliest tokens reach, and no other but those as likely as the kth.

    0 < k < vocab. Each pass over the row cuts an interval of floats, counted as integers, in four,
    until a bound is reached by exactly k tokens or one float is left. A bfloat16 is the upper half
    of a float32, and only those are counted.
    """
    SHIFT: tl.constexpr = 16 if row.dtype.element_ty == tl.bfloat16 else 0
    # k tokens or more reach the lowest of k or more maxima.
    lowest = tl.min(tl.where(tl.arange(0, SEGMENTS) < segments, tops, float("inf")), 0)
    low = _key(tl.where(k <= segments, lowest, float("-inf")), SHIFT)  # k or more reach this
    high = _key(top, SHIFT) + 1  # fewer than k reach this
    while high - low > 1:
        quarter = low + (high - low) // 4
        middle = low + (high - low) // 2
        last = low + (high - low) * 3 // 4
        a, b, c = _count_from(
            row, top_ptr, _from_key(quarter, SHIFT), _from_key(middle, SHIFT),
            _from_key(last, SHIFT), vocab, segments, SEGMENT, TILE,
        )  # fmt: skip
        high = tl.where(a < k, quarter, tl.where(b < k, middle, tl.where(c < k, last, high)))
        low = tl.where(c >= k, last, tl.where(b >= k, middle, tl.where(a >= k, quarter, low)))
        exact = (a == k) | (b == k) | (c == k)
        high = tl.where(exact, low + 1, high)
    return _from_key(low, SHIFT)
