"""The sizes to which the engine pads a step, since each has a CUDA graph of its own.

Multiples of 16 up to 256 rows, of 32 up to 512, of 64 above. And the staircase of prefill
attention: each of the card's multiprocessors takes 128 query rows (token, head) at a time, so a
chunk takes ceil(new * heads / (128 * multiprocessors)) rounds.
"""

MULTIPROCESSORS = 132
"""Of an H100 or H200 SXM."""
TILE_ROWS = 128


def row_buckets(last: int) -> list[int]:
    """Every bucket up to the first one that holds `last` rows."""
    edges = [*range(16, 257, 16), *range(288, 513, 32)]
    edges += range(576, max(last + 64, 577), 64)
    return [edge for i, edge in enumerate(edges) if i == 0 or edges[i - 1] < last]


def bucket_of(rows: int) -> int:
    """Rows after padding."""
    step = 16 if rows <= 256 else 32 if rows <= 512 else 64
    return -(-max(rows, 1) // step) * step


def round_tokens(heads: int) -> int:
    """New tokens that one round of prefill attention takes: 264 with 64 heads."""
    return TILE_ROWS * MULTIPROCESSORS // heads
