"""The local pool: pages of the local layers' KV, which sees no further than the window.

Policy counts *windows*: a running sequence owns one, others are retained at points of streams where
a prefix can be resumed. A window is `ring` pages, one more than the attention window has, so that
one can fill while the oldest is still seen; pages are named by their place in the sequence, and
tables point at them, so a window's pages need not lie together.

Two things need pages beside the windows, from a reserve that policy does not see. A chunk holds
the pages of all its tokens until it is through. And a prompt that goes on beyond a point at which
policy will retain a window (a definition's end) keeps that point's pages until policy does so, when
its prompt is computed; they are handed over then, not copied, unless its ring still needs them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.memory.pages import FreePages
from kaiju_sim.engine.limits import Limits

Point = tuple[int, int]
"""Where a window is retained: (stream, end in blocks of it)."""


class Copy(NamedTuple):
    """A local page whose content is to be copied before the next step runs."""

    source: int
    target: int


PARTIAL = (1, 1, 8)
"""Prompts that may stand beyond a point and not be through, by batching policy. In the order of
admission only the last one of a step is cut short; by deadline an earlier one may come before it,
which takes a higher tier or a preempted message each time."""


def reserve_pages(limits: Limits) -> int:
    """Local pages beside the windows that an engine with these limits needs at most.

    A chunk of n tokens needs ceil((n - 1) / block) pages beside its ring; the pages before a point
    are those of a ring but one, and a prompt has two points.
    """
    if limits.windows == 0:
        return 0
    block = 1 << limits.shift
    chunks = min(limits.max_seqs, limits.token_budget // 2)
    before = -(-limits.window // block)
    return limits.token_budget // block + chunks + 2 * before * PARTIAL[limits.policy]


@dataclass
class Ring:
    """Local pages of one request."""

    held: dict[int, int] = field(default_factory=dict)
    """By place: page i holds tokens from i * block_tokens."""
    spare: list[int] = field(default_factory=list)
    points: dict[Point, int] = field(default_factory=dict)
    """Points that policy may retain when the prompt is computed, and their places: the blocks
    before them."""

    def __len__(self) -> int:
        return len(self.held) + len(self.spare)


class Kept(NamedTuple):
    """A retained window: the pages before its point in order, and the rest of its memory."""

    point: Point
    pages: list[int]
    spare: list[int]


class LocalPages:
    """Rings of requests and retained windows, over one pool."""

    def __init__(
        self, windows: int, reserve: int, tables: NDArray[np.int32], window: int, block: int
    ) -> None:
        """`window` and `block`: tokens of the attention window and of a page."""
        self.ring = -(-window // block) + 1
        self.window, self.block, self.reserve = window, block, reserve
        self.free = FreePages(windows * self.ring + reserve)
        self.rings: dict[int, Ring] = {}
        self.kept: dict[int, Kept] = {}
        """By policy's record."""
        self.record_at: dict[Point, int] = {}
        """The record of each point that is retained."""
        self.copies: list[Copy] = []
        """To be made before the next step, in this order."""
        self.tables = tables
        self._lent = 0
        """Pages of all rings, counted as they come and go."""

    @property
    def borrowed(self) -> int:
        """Pages of the reserve that are in use."""
        return self._lent - len(self.rings) * self.ring

    def forget(self, records: Iterable[int]) -> None:
        """These records are no retained windows any more."""
        for x in records:
            kept = self._drop(x)
            self.free.give_back([*kept.pages, *kept.spare])

    def admit(self, q: int, source: int, place: int, gone: list[int]) -> None:
        """Request q gets its ring; it resumes at `place` blocks from the window in record `source`
        (-1: it begins anew). `gone`: records that policy has dropped for it."""
        ring = self.rings[q] = Ring()
        if source in gone:  # handed over
            kept = self._drop(source)
            self._put(q, ring, place, kept.pages)
            ring.spare = kept.spare
            self._lent += len(ring)
        self.forget(x for x in gone if x != source)
        self._fill(ring)
        if source >= 0 and source not in gone:
            pages = self.kept[source].pages
            targets = [ring.spare.pop() for _ in pages]
            self.copies += map(Copy, pages, targets)
            self._put(q, ring, place, targets)

    def begin(self, q: int, start: int, count: int) -> None:
        """Pages for tokens [start, start + count) of request q, which the next step computes."""
        ring = self.rings[q]
        wanted = range(start // self.block, (start + count - 1) // self.block + 1)
        missing = [i for i in wanted if i not in ring.held]
        if missing:
            self._trim(ring, self._first(start - 1))
        for i in missing:
            self._put(q, ring, i + 1, [ring.spare.pop() if ring.spare else self._lend()])

    def end(self, q: int, computed: int) -> None:
        """The first `computed` tokens of request q are computed: what no one will see is free."""
        ring = self.rings[q]
        self._trim(ring, (computed - 1) // self.block - self.ring + 1)
        while len(ring) > self.ring and ring.spare:
            self._lent -= 1
            self.free.give_back([ring.spare.pop()])

    def retain(self, q: int, computed: int, new: Mapping[int, Point]) -> None:
        """The prompt of request q is computed, and policy has retained these points of it."""
        ring = self.rings[q]
        wanted = {x: self._before(ring.points[point]) for x, point in new.items()}
        ring.points = {}
        last = (computed - 1) // self.block
        for x, places in list(wanted.items()):
            del wanted[x]
            still = {*range(last - self.ring + 1, last + 1)}.union(*wanted.values())
            pages = [self._part_with(ring, i, copy=i in still) for i in places]
            spare = [self.free.take() for _ in range(self.ring - len(pages))]
            self._keep(x, Kept(new[x], pages, spare))
        self._fill(ring)
        self.end(q, computed)

    def leave(self, q: int, place: int, new: Mapping[int, Point]) -> None:
        """Request q leaves; policy has retained its window in the record given, if any, at a point
        that `place` blocks stand before."""
        ring = self.rings.pop(q)
        self._lent -= len(ring)
        for x, point in new.items():
            pages = [ring.held.pop(i) for i in self._before(place)]
            self._keep(x, Kept(point, pages, [*ring.held.values(), *ring.spare]))
            return
        self.free.give_back([*ring.held.values(), *ring.spare])

    def _fill(self, ring: Ring) -> None:
        """A ring has the pages of a window at least."""
        while len(ring) < self.ring:
            ring.spare.append(self._lend())

    def _lend(self) -> int:
        """A free page for a ring."""
        page = self.free.take()
        self._lent += 1
        return page

    def _keep(self, x: int, kept: Kept) -> None:
        self.kept[x] = kept
        self.record_at[kept.point] = x

    def _drop(self, x: int) -> Kept:
        kept = self.kept.pop(x)
        del self.record_at[kept.point]
        return kept

    def _before(self, place: int) -> range:
        """The places of which the last token before `place` sees something, or the next one. The
        last one is computed again where all of a prompt is cached."""
        return range(self._first(place * self.block - 1), place)

    def _first(self, token: int) -> int:
        """The first place of which that token of a sequence sees something."""
        return max(0, token + 1 - self.window) // self.block

    def _put(self, q: int, ring: Ring, place: int, pages: list[int]) -> None:
        """These pages of request q stand before `place`."""
        for i, page in enumerate(pages, place - len(pages)):
            ring.held[i] = page
            self.tables[q, i] = page

    def _part_with(self, ring: Ring, place: int, *, copy: bool) -> int:
        if not copy:
            self._lent -= 1
            return ring.held.pop(place)
        target = self.free.take()
        self.copies.append(Copy(ring.held[place], target))
        return target

    def _trim(self, ring: Ring, first: int) -> None:
        """Pages of places before `first` are spare, but for those before points."""
        old = [i for i in ring.held if i < first]
        if old:
            points = {i for place in ring.points.values() for i in self._before(place)}
            ring.spare += [ring.held.pop(i) for i in old if i not in points]

    def check(self) -> None:
        """Each page is free or has one owner, and none is lost. Linear in the pool."""
        pages = list(self.free)
        for ring in self.rings.values():
            pages += [*ring.held.values(), *ring.spare]
        assert self._lent + len(self.free) == len(pages), "pages of rings are miscounted"
        for kept in self.kept.values():
            pages += [*kept.pages, *kept.spare]
        assert sorted(pages) == list(range(self.free.total)), "local pages are lost or held twice"
