"""The least work of each operator: operations, and bytes that pass through memory.

The formulas are those of the kernels' own `flops_and_bytes` (`kernels/embedding.py`,
`norm_quantise.py`, `matmul.py`, `rotary_write.py`, `decode_attention.py`, `prefill_attention.py`,
`sampling.py`), written again since this side of the seam knows neither torch nor the kernels; a
test compares the two. What they leave open, because a kernel alone cannot know it, is a keyword:
the bytes of weights and of results.
"""

from typing import NamedTuple

HEAD_DIM = 128


class Work(NamedTuple):
    """The least that an operator does in one call."""

    ops: float
    bytes: float


def embedding(tokens: int, hidden: int) -> Work:
    """A row of int8 and its scale in, a row of bf16 out."""
    return Work(tokens * hidden, tokens * (3 * hidden + 8))


def norm(tokens: int, hidden: int, *, adds: bool = False, out_bytes: int = 1) -> Work:
    """The bf16 stream in, int8 out; with a sum also the delta in and the stream out."""
    elements = tokens * hidden
    moved = elements * (2 + out_bytes + (4 if adds else 0)) + (4 * hidden if adds else 0)
    return Work(elements * (9 if adds else 6), moved)


def product(
    m: int, n: int, k: int, *, out_bytes: int = 2, adds: bool = False, element_bytes: int = 1
) -> Work:
    """x [m, k] and weights [n, k] read once, the result written once; `adds`: the residual stream
    and the channels' scales are read, too."""
    scales = 4 * (m + n) if element_bytes == 1 else 0
    more = m * n * 2 + n * 4 if adds else 0
    moved = (m * k + n * k) * element_bytes + scales + m * n * out_bytes + more
    return Work(2 * m * n * k, moved)


def rotary(
    tokens: int, heads: int, kv_heads: int = 1, *, writes_kv: bool = True, kv_bytes: int = 1
) -> Work:
    """bf16 q, k and v in, q out with its scales in int8, k and v into their pages."""
    kv = 2 * kv_heads if writes_kv else 0
    scales = 4 * heads if kv_bytes == 1 else 0
    moved = HEAD_DIM * (heads + kv) * (2 + kv_bytes) + 512 + 8 + scales
    return Work(tokens * HEAD_DIM * (heads + kv) * (9 if kv_bytes == 1 else 6), tokens * moved)


def attention(
    rows: int, pairs: int, keys: int, heads: int, kv_heads: int = 1, *,
    kv_bytes: int = 1, out_bytes: int = 2,
) -> Work:  # fmt: skip
    """Two products over the visible (query, key) pairs; K and V of `keys` tokens and q of `rows`
    read once, the output written. In decode there are as many pairs as keys."""
    q_bytes = HEAD_DIM * kv_bytes + (4 if kv_bytes == 1 else 0)
    moved = keys * kv_heads * 2 * HEAD_DIM * kv_bytes
    return Work(
        4 * pairs * heads * HEAD_DIM, moved + rows * heads * (q_bytes + out_bytes * HEAD_DIM)
    )


def sampling(batch: int, vocab: int) -> Work:
    """bf16 logits read once, a token written."""
    return Work(4 * batch * vocab, batch * (vocab * 2 + 4 + 28))
