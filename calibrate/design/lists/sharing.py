"""Decodes that share their first pages: users of one character, and candidates of one message.

The kernel reads a shared page once from memory and then from L2; the curves count it for each
sequence. These steps tell how much that overstates.
"""

from collections.abc import Iterator

from calibrate.design.capacity import PAGE
from calibrate.design.item import EARLY, MIDDLE, StepItem
from calibrate.shapes import StepShape

CHUNK_TOKENS = 16
"""Tokens in which candidates differ from each other (guided beam search)."""


def shared_prefixes() -> Iterator[StepItem]:
    """Groups of decodes that begin with one character's definition."""
    for batch, group in ((64, 16), (128, 16), (128, 128), (256, 32), (256, 256)):
        for context, shared in ((2048, 1024), (4096, 1024), (4096, 3072), (8192, 2048)):
            shape = StepShape((context,) * batch, (), group, shared)
            name = f"shared/b{batch}/g{group}/c{context}/s{shared}"
            yield StepItem(name, "fit", "shared", shape, MIDDLE if group < 64 else EARLY)


def beams() -> Iterator[StepItem]:
    """Candidates of a message: all pages shared but the last, which is being written."""
    for messages, candidates in ((8, 4), (32, 4), (64, 4), (16, 8), (32, 8)):
        for context in (1000, 4200, 8200):
            shared = (context - CHUNK_TOKENS) // PAGE * PAGE
            shape = StepShape((context,) * messages * candidates, (), candidates, shared)
            name = f"beam/m{messages}/n{candidates}/c{context}"
            yield StepItem(name, "fit", "beam", shape, MIDDLE if candidates == 4 else EARLY)
