"""Hit rate against cache size, for all sizes of one LRU cache in one pass over the trace.

LRU caches nest: a cache holds the top of one stack of blocks, the last used on top, down to its
size (R. L. Mattson et al., "Evaluation techniques for storage hierarchies", IBM Systems Journal 9,
1970). So a block is found by every cache at least as large as its **stack distance**: the size of
what lies above it, itself included. Two things differ from the plain method, as in `reuse`:

- a prompt is looked up as a whole before any of its blocks moves, and its first absent block ends
  the match: what a block needs is the largest distance among it and the blocks in front of it;
- after the look-up its blocks are used from last to first.

Sizes count blocks, or tokens where blocks are chunks of various sizes. Distances come from
counting, for each use, the earlier blocks that were not used again since: a two-dimensional count,
answered for all uses together by a wavelet matrix (F. Claude, G. Navarro, "The wavelet matrix",
SPIRE 2012) in a few NumPy passes per binary digit.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kaiju_sim.workload.traces.model import Ints, Trace
from kaiju_sim.workload.traces.reuse import Hit, reusable_tokens

NOWHERE = 2**62
"""Distance of a block that was never used before: no cache has it."""


class Point(NamedTuple):
    """One point of the reuse curve."""

    size: int
    """Cache size: blocks, or tokens where blocks are chunks of various sizes."""
    tokens: int
    """The same in tokens of KV."""
    block: float
    """Matched blocks over all blocks."""
    token: float
    """Matched prompt tokens over all prompt tokens."""


@dataclass(frozen=True, eq=False)
class ReuseCurve:
    """What every size of one LRU cache hits."""

    need: Ints
    """Smallest cache that matches each block that any cache matches, in increasing order."""
    matched_tokens: Ints
    """Prompt tokens matched by a cache of at least that size (running sum)."""
    blocks: int
    """Blocks over all rows."""
    tokens: int
    """Prompt tokens that reuse is counted over."""
    unit_tokens: int
    """Tokens in a unit of size: those of a block, or 1."""

    def at(self, size: int) -> Hit:
        """Hit rates of a cache of this size."""
        found = int(np.searchsorted(self.need, size, side="right"))
        tokens = int(self.matched_tokens[found - 1]) if found else 0
        return Hit(found / max(self.blocks, 1), tokens / self.tokens)

    def size_for(self, share: float) -> int | None:
        """Smallest cache with this share of the ideal token hit; None where nothing is reused."""
        if not self.need.size:
            return None
        place = np.searchsorted(self.matched_tokens, share * self.matched_tokens[-1])
        return int(self.need[min(int(place), self.need.size - 1)])

    def points(self) -> list[Point]:
        """The curve at sizes 1, 2, 5, 10, ... and at the one beyond which nothing is gained.

        Where the smallest caches are alike, only the largest of them is given.
        """
        top = int(self.need[-1]) if self.need.size else 1
        sizes = [m * 10**e for e in range(len(str(top))) for m in (1, 2, 5)]
        wanted = [size for size in sizes if size < top] + [top]
        first = sum(self.at(size) == self.at(wanted[0]) for size in wanted) - 1
        return [Point(size, size * self.unit_tokens, *self.at(size)) for size in wanted[first:]]


def reuse_curve(trace: Trace) -> ReuseCurve | None:
    """The reuse curve of a trace; None where it has no block ids."""
    if trace.block_ids is None or trace.block_offsets is None:
        return None
    chunks = trace.block_lengths is not None
    weights = trace.lengths() if chunks else np.ones(len(trace.block_ids), np.int64)
    distance = stack_distances(trace.block_ids, trace.block_offsets, weights)
    need = largest_so_far(distance, trace.block_offsets)
    order = np.argsort(need, kind="stable")[: int((need < NOWHERE).sum())]
    return ReuseCurve(
        need=need[order],
        matched_tokens=np.cumsum(trace.lengths()[order]),
        blocks=len(trace.block_ids),
        tokens=reusable_tokens(trace),
        unit_tokens=1 if chunks else trace.block_tokens,
    )


def stack_distances(ids: Ints, offsets: Ints, weights: Ints) -> Ints:
    """Distance of each block when its row is looked up: what lies above it, and itself.

    Uses are numbered in the order in which they move blocks: row by row, each from last to first.
    A block last used at p lies, before the row's first use s, under all j in (p, s) whose block
    was not used again before s.
    """
    count = len(ids)
    row_start = np.repeat(offsets[:-1], np.diff(offsets))
    row_end = np.repeat(offsets[1:], np.diff(offsets))
    use = row_start + row_end - 1 - np.arange(count)  # also the way back: reversed rows
    previous, following = neighbours(ids[use])
    while (same := previous >= row_start).any():  # a block that a row has twice
        previous = np.where(same, previous[previous], previous)
    weight = weights[use]
    seen = WaveletMatrix(following, weight)
    alive = seen.sum_at_least(row_start, row_start)
    below = seen.sum_at_least(np.maximum(previous, 0), row_start)
    distance = np.where(previous < 0, NOWHERE, alive - below)
    return np.asarray(distance[use])


def neighbours(ids: Ints) -> tuple[Ints, Ints]:
    """Place of each id's use before (-1: none) and after (the number of uses: none)."""
    count = len(ids)
    order = np.argsort(ids, kind="stable")
    again = ids[order][1:] == ids[order][:-1]
    previous, following = np.full(count, -1), np.full(count, count)
    previous[order[1:][again]] = order[:-1][again]
    following[order[:-1][again]] = order[1:][again]
    return previous, following


def largest_so_far(values: Ints, offsets: Ints) -> Ints:
    """Running maximum inside each row."""
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    # Ranks, so that a row's number can be put in front of them without leaving 63 bits.
    levels, rank = np.unique(values, return_inverse=True)
    highest = np.maximum.accumulate(rows * len(levels) + rank)
    return np.asarray(levels[highest - rows * len(levels)]) if len(values) else values


class WaveletMatrix:
    """Values with weights: the weight of the first `end` values that are at least `low`.

    One level per binary digit, the highest first: zeros go stably to the front, ones behind them.
    """

    def __init__(self, values: Ints, weights: Ints) -> None:
        self._bits = max(int(values.max(initial=0)).bit_length(), 1)
        self._levels: list[tuple[Ints, Ints]] = []
        for bit in reversed(range(self._bits)):
            ones = (values >> bit) & 1
            self._levels.append((_sums(1 - ones), _sums(weights * ones)))
            order = np.argsort(ones, kind="stable")
            values, weights = values[order], weights[order]
        self._last = _sums(weights)

    def sum_at_least(self, end: Ints, low: Ints) -> Ints:
        """For each pair, the weight of the values at places before `end` that are >= `low`."""
        start = np.zeros_like(end)
        total = np.zeros_like(end)
        for bit, (zeros, ones_weight) in zip(
            reversed(range(self._bits)), self._levels, strict=True
        ):
            is_one = (low >> bit) & 1 == 1
            # Where low has a 0, every value with a 1 here is larger, whatever follows.
            total += np.where(is_one, 0, ones_weight[end] - ones_weight[start])
            start, end = (
                np.where(is_one, zeros[-1] + place - zeros[place], zeros[place])
                for place in (start, end)
            )
        return np.asarray(total + self._last[end] - self._last[start])


def _sums(values: Ints) -> Ints:
    """Running sums with a 0 in front."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(values)])
