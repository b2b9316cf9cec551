"""Untimed prefix reuse: what caches of given sizes would hit if each row were done at once.

Rows go one by one in file order. For each, the leading ids already cached count as matched (the
first absent one ends the match), then all of the row's ids enter the cache. Output tokens never
do. This leaves out time, load, and the engine: it is the ceiling that a timed replay is read
against, and the exact definitions are in docs/traces.md.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces.model import Trace

MAX_CACHES = 1024
"""Most caches in a fleet."""
MAX_BLOCKS = 10**12
"""Largest cache, in blocks."""


class Ideal(NamedTuple):
    """Reuse with one cache that never evicts."""

    block_hit: float
    """Matched blocks over all blocks."""
    token_hit: float
    """Matched prompt tokens over all prompt tokens."""
    req_any: float
    """Share of rows that match at least one block."""
    blocks: int
    """Blocks over all rows."""
    distinct: int
    """Different ids."""


class Hit(NamedTuple):
    """Hit rate of one LRU cache."""

    block: float
    """Matched blocks over all blocks."""
    token: float
    """Matched prompt tokens over all prompt tokens."""


class FleetHit(NamedTuple):
    """Hit rate and balance of several caches behind a router."""

    block: float
    """Matched blocks over all blocks."""
    imbalance: float
    """Most blocks routed to one cache over the mean."""


class Fleet(NamedTuple):
    """What `N4_C1000_rr` says: caches, blocks of each, router policy."""

    caches: int
    blocks: int
    policy: str

    def __str__(self) -> str:
        return f"N{self.caches}_C{self.blocks}_{self.policy}"


def leading(cache: Collection[int], blocks: list[int]) -> int:
    """How many leading blocks are in the cache."""
    for index, block in enumerate(blocks):
        if block not in cache:
            return index
    return len(blocks)


class LruCache(OrderedDict[int, None]):
    """Block ids, least recently used first, at most `capacity` of them after `insert`."""

    def __init__(self, capacity: int) -> None:
        super().__init__()
        self._capacity = capacity

    def insert(self, blocks: list[int]) -> None:
        """Touch a row's ids from last to first, so that its shared front is evicted last."""
        for block in reversed(blocks):
            self[block] = None
            self.move_to_end(block)
        while len(self) > self._capacity:
            self.popitem(last=False)


def ideal_reuse(trace: Trace) -> Ideal:
    """Reuse with unlimited memory: the most that any cache of whole blocks can give."""
    cache: set[int] = set()
    matched = []
    for blocks in trace.row_blocks():
        matched.append(leading(cache, blocks))
        cache.update(blocks)
    hit = _hit(trace, matched)
    touched = sum(count > 0 for count in matched)
    return Ideal(hit.block, hit.token, touched / trace.rows, _blocks(trace), len(cache))


def lru_reuse(trace: Trace, capacity: int) -> Hit:
    """Reuse with one LRU cache of `capacity` blocks."""
    cache = LruCache(capacity)
    matched = []
    for blocks in trace.row_blocks():
        matched.append(leading(cache, blocks))
        cache.insert(blocks)
    return _hit(trace, matched)


def _blocks(trace: Trace) -> int:
    return 0 if trace.block_ids is None else len(trace.block_ids)


def _hit(trace: Trace, matched: list[int]) -> Hit:
    blocks = np.array(matched, dtype=np.int64)
    offsets = (
        np.zeros(trace.rows + 1, np.int64) if trace.block_offsets is None else (trace.block_offsets)
    )
    ends = np.concatenate([[0], np.cumsum(trace.lengths())])
    hit_tokens = (ends[offsets[:-1] + blocks] - ends[offsets[:-1]]).sum()
    return Hit(
        float(blocks.sum() / max(_blocks(trace), 1)), float(hit_tokens / reusable_tokens(trace))
    )


def reusable_tokens(trace: Trace) -> int:
    """Prompt tokens that reuse is counted over: all, or those of the chunks that have ids."""
    counted = trace.prompt_tokens if trace.block_lengths is None else trace.block_lengths
    return max(int(counted.sum()), 1)


@dataclass(slots=True)
class _State:
    """What a router policy may look at: the caches and the blocks sent to each so far."""

    caches: list[LruCache]
    routed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.routed = [0] * len(self.caches)


Policy = Callable[[_State, int, list[int]], int]


def _round_robin(state: _State, row: int, blocks: list[int]) -> int:
    return row % len(state.caches)


def _hash(state: _State, row: int, blocks: list[int]) -> int:
    """By the second block: the first is often a system prompt that all rows share."""
    return blocks[min(1, len(blocks) - 1)] % len(state.caches)


def _cache_aware(state: _State, row: int, blocks: list[int]) -> int:
    """The longest match; one block is no match; ties to the least loaded, then the first."""

    def rank(index: int) -> tuple[int, int]:
        match = leading(state.caches[index], blocks)
        return (-match if match > 1 else 0, state.routed[index])

    return min(range(len(state.caches)), key=rank)


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {"rr": _round_robin, "hash": _hash, "cache_aware": _cache_aware}
)
"""Router policies by name: (state, row number, its ids) -> index of the cache."""


def fleet_reuse(trace: Trace, fleet: Fleet) -> FleetHit:
    """Reuse with several LRU caches, each row sent to one of them."""
    state = _State([LruCache(fleet.blocks) for _ in range(fleet.caches)])
    choose = POLICIES[fleet.policy]
    matched = 0
    for row, blocks in enumerate(trace.row_blocks()):
        if not blocks:
            continue
        index = choose(state, row, blocks)
        matched += leading(state.caches[index], blocks)
        state.caches[index].insert(blocks)
        state.routed[index] += len(blocks)
    total = max(_blocks(trace), 1)
    return FleetHit(matched / total, max(state.routed) * fleet.caches / total)


def parse_fleet(text: str) -> Fleet:
    """Read `N<caches>_C<blocks>_<policy>`; `UserError` names what is allowed."""
    parts = re.fullmatch(r"N([0-9]{1,15})_C([0-9]{1,15})_([a-z_]+)", text, re.ASCII)
    if parts is not None:
        fleet = Fleet(int(parts[1]), int(parts[2]), parts[3])
        sizes_fit = 1 <= fleet.caches <= MAX_CACHES and 1 <= fleet.blocks <= MAX_BLOCKS
        if sizes_fit and fleet.policy in POLICIES:
            return fleet
    raise UserError(
        f"--fleet {text[:40]!r}: use N<caches>_C<blocks>_<policy>, such as N4_C1000_rr, with"
        f" 1 to {MAX_CACHES:,} caches, 1 block or more, and policy {', '.join(POLICIES)}"
    )
