"""The sizes to which the engine pads a step, since each has a CUDA graph of its own.

They are those of `kernels.model.steps.step.padded_rows` (a test compares): the sizes for which the
products' tiles are made. And the staircase of prefill attention: each of the card's multiprocessors
takes 128 query rows (token, head) at a time, so a chunk takes
ceil(new * heads / (128 * multiprocessors)) rounds.
"""

MULTIPROCESSORS = 132
"""Of an H100 or H200 SXM."""
TILE_ROWS = 128
CLASSES = (16, 64, 128, 192, 256, 384, 512)
STEP = 128
"""Above the last class."""


def row_buckets(last: int) -> list[int]:
    """Every bucket up to the first one that holds `last` rows."""
    edges = [*CLASSES, *range(CLASSES[-1] + STEP, max(last, CLASSES[-1]) + STEP, STEP)]
    return [edge for i, edge in enumerate(edges) if i == 0 or edges[i - 1] < last]


def bucket_of(rows: int) -> int:
    """Rows after padding."""
    fitting = [size for size in CLASSES if size >= rows]
    return fitting[0] if fitting else -(-rows // STEP) * STEP


def round_tokens(heads: int) -> int:
    """New tokens that one round of prefill attention takes: 264 with 64 heads."""
    return TILE_ROWS * MULTIPROCESSORS // heads
