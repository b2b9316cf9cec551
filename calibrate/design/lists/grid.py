"""The grids: decode by batch and context, prefill by new and cached tokens, every row bucket.

Each list answers one question of the fit, said in its function; what the lists leave open, random
mixed steps of the fit set (`mixed.py`) cover.
"""

from collections.abc import Iterator

from calibrate.design.buckets import round_tokens, row_buckets
from calibrate.design.draws import generator, log_uniform
from calibrate.design.item import (
    EARLY,
    KEEP,
    LATE,
    MIDDLE,
    StepItem,
    decode_item,
    prefill_item,
    ragged,
    ragged_item,
)
from calibrate.shapes import Chunk, StepShape

BATCHES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
CONTEXTS = (64, 256, 1024, 2048, 4096, 8192, 16384)
CORNERS = (1, 16, 64, 128, 256, 512)
"""Batches without which the curve of contexts is a guess; those of the floor table."""
NEW = (16, 64, 128, 264, 512, 768, 1024, 1536, 2048)
CACHED = (0, 512, 1024, 2048, 4096, 8192, 12288)
ROWS = 2304
"""Rows of the largest usual step: a budget of 2048 tokens and 256 decodes."""
SHORT = 192
"""Context of decodes that are there for their rows."""
AIM_TOKENS = 4096


def decode_grid() -> Iterator[StepItem]:
    """What does decode attention take, at which batch and contexts near which?"""
    for batch in BATCHES:
        for context in CONTEXTS:
            yield ragged_item(batch, context, LATE if batch in CORNERS else MIDDLE)


def aims() -> Iterator[StepItem]:
    """The exact steps of the floor table: decodes at 4096 tokens each, prefill. Never fitted."""
    for batch in CORNERS:
        yield decode_item(batch, AIM_TOKENS, KEEP, "aim", "aim")
    for new in (2048, AIM_TOKENS):
        yield prefill_item(new, 0, KEEP, "aim", "aim")


def ragged_decodes(count: int = 24) -> Iterator[StepItem]:
    """Do contexts of all lengths take as long as ones near each other, of the same sum?"""
    rng = generator("ragged")
    for number in range(count):
        batch = log_uniform(rng, 4, 512)
        contexts = tuple(log_uniform(rng, 64, 16384) for _ in range(batch))
        yield StepItem(f"ragged/{number:02}", "fit", "decode", StepShape(contexts), LATE)


def row_edges() -> Iterator[StepItem]:
    """What do the matrix products take in every bucket of rows? As decodes, and as prefill."""
    for rows in row_buckets(ROWS):
        if rows <= max(BATCHES):
            yield ragged_item(rows, SHORT, KEEP, "edge-decode")
        yield prefill_item(rows, 0, KEEP, "edge-prefill", last=False)


def prefill_grid() -> Iterator[StepItem]:
    """What does prefill attention take, after how much cached context?"""
    for new in NEW:
        for cached in CACHED:
            rank = LATE if cached in (0, 1024, 4096, 12288) else MIDDLE
            yield prefill_item(new, cached, rank)
    yield prefill_item(AIM_TOKENS, 0, LATE)


def staircase(heads: int, cached: int = 4096) -> Iterator[StepItem]:
    """Where are the steps of prefill attention's rounds? On each edge, and one token after it."""
    tokens = round_tokens(heads)
    for rounds in range(1, 2048 // tokens + 1):
        yield prefill_item(rounds * tokens, cached, LATE, "stair")
        yield prefill_item(rounds * tokens + 1, cached, MIDDLE, "stair")


def several_chunks(count: int = 24) -> Iterator[StepItem]:
    """What do several chunks in a step take, beside one of as many tokens?"""
    rng = generator("chunks")
    for number in range(count):
        chunks = []
        for _ in range(2 + number % 3):
            cached = 0 if rng.random() < 0.3 else log_uniform(rng, 64, 12288)
            chunks.append(Chunk(log_uniform(rng, 16, 512), cached, rng.random() < 0.5))
        shape = StepShape((), tuple(chunks))
        yield StepItem(f"chunks/{number:02}", "fit", "prefill", shape, MIDDLE)


def mixed_grid() -> Iterator[StepItem]:
    """Do decodes and prefill in one step take the sum of both?"""
    sizes = ((64, 0), (264, 2048), (512, 2048), (1024, 4096), (1536, 512))
    for batch in (8, 32, 128, 256):
        for context in (1024, 6144):
            for new, cached in sizes:
                name = f"both/b{batch}/near{context}/n{new}"
                shape = StepShape(ragged(batch, context, name), (Chunk(new, cached),))
                yield StepItem(name, "fit", "mixed", shape, MIDDLE if batch > 8 else EARLY)


def anchors() -> Iterator[StepItem]:
    """Ten steps by which two cards, or two hours of one card, are compared."""
    for batch, context in (
        (1, 1024),
        (16, 1024),
        (64, 4096),
        (128, 8192),
        (256, 1024),
        (256, 4096),
    ):
        yield decode_item(batch, context, KEEP, "anchor/decode", "anchor")
    for new, cached in ((512, 0), (2048, 0), (1024, 8192)):
        yield prefill_item(new, cached, KEEP, "anchor/prefill", "anchor")
    shape = StepShape((2048,) * 64, (Chunk(512, 2048),))
    yield StepItem("anchor/mixed", "anchor", "mixed", shape, KEEP)
