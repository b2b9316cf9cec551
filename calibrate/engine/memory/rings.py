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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.memory.free import Copy, FreePages
from calibrate.engine.memory.host_tier import HostWindow, HostWindows, Point, ring_pages
from kaiju_sim.engine.limits import Limits

PARTIAL = (1, 1, 8)
"""Prompts that may stand beyond a point and not be through, by batching policy. In the order of
admission only the last one of a step is cut short; by deadline an earlier one may come before it,
which takes a higher tier or a preempted message each time."""
PARTIAL_WITH_HOST = (3, 3, 10)
"""The same where prompts wait for host memory, and others go before them meanwhile. Who is to stand
beyond a point beside another one that came later must have waited longer. Each way of the link is
first come, first served, so there are two more at most: who waits for what goes out, then who waits
for what comes in, then who does not wait."""


def reserve_pages(limits: Limits, *, host: bool = False) -> int:
    """Local pages beside the windows that an engine with these limits needs at most. `host`: with
    a host-memory tier.

    A chunk of n tokens needs ceil((n - 1) / block) pages beside its ring; the pages before a point
    are those of a ring but one, and a prompt has two points. With candidates, each message has
    their tails, and keeps what it saw at the chunk's start to the chunk's end.
    """
    if limits.windows == 0:
        return 0
    block = 1 << limits.shift
    chunks = min(limits.max_seqs, limits.token_budget // 2)
    before = -(-limits.window // block)
    partial = (PARTIAL_WITH_HOST if host else PARTIAL)[limits.policy]
    room = limits.token_budget // block + chunks + 2 * before * partial
    if limits.candidates == 1:
        return room
    tail = limits.extra // (limits.candidates - 1)
    return room + limits.max_seqs * (limits.extra + tail - 1)


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


class Change(NamedTuple):
    """What policy has done to retained windows since the last look: their records."""

    gone: list[int]
    """Were in HBM, are retained no more."""
    lost: list[int]
    """Were in host memory, are there no more."""
    demoted: list[int]
    """Went from HBM to host memory."""
    new: dict[int, Point]
    """Are retained in HBM."""
    stored: dict[int, Point]
    """Are retained, and went to host memory at once."""


class LocalPages:
    """Rings of requests and retained windows, over one pool."""

    def __init__(
        self, limits: Limits, reserve: int, tables: NDArray[np.int32], host: HostWindows,
        copies: list[Copy],
    ) -> None:  # fmt: skip
        """`reserve`: pages beside the windows of the limits; copies are noted in `copies`."""
        self.ring = ring_pages(limits)
        self.window, self.block, self.reserve = limits.window, 1 << limits.shift, reserve
        self.free, self.host = FreePages(limits.windows * self.ring + reserve), host
        self.rings: dict[int, Ring] = {}
        self.kept: dict[int, Kept] = {}
        """By policy's record, those in HBM."""
        self.record_at: dict[Point, int] = {}
        """The record of each point that is retained, in HBM or host memory."""
        self.tables = tables
        self._copies = copies
        self._lent = 0
        """Pages of all rings, counted as they come and go."""

    @property
    def borrowed(self) -> int:
        """Pages of the reserve that are in use."""
        return self._lent - len(self.rings) * self.ring

    def settle(self, change: Change) -> None:
        """What policy has dropped or moved to host memory leaves its pages."""
        self.host.settle([self._lose(x) for x in change.lost])
        for x in (*change.gone, *change.demoted):
            kept = self._out(x, change)
            self.free.give_back([*kept.pages, *kept.spare])

    def admit(self, q: int, source: int, place: int, change: Change) -> None:
        """Request q gets its ring; it resumes at `place` blocks from the window in record `source`
        (-1: it begins anew). `change`: what policy has done for it."""
        ring = self.rings[q] = Ring()
        lost = {x: self._lose(x) for x in change.lost}
        for x in (*change.gone, *change.demoted):
            kept = self._out(x, change)
            if x == source:  # handed over
                self._put(q, ring, place, kept.pages)
                ring.spare = kept.spare
                self._lent += len(ring)
            else:
                self.free.give_back([*kept.pages, *kept.spare])
        self._fill(ring)
        if source in lost:
            self._load(q, ring, place, lost[source], change.new)
        elif source in self.kept:
            self._put(q, ring, place, self._copied(ring, self.kept[source].pages))
        self.host.settle(lost.values())

    def _load(
        self, q: int, ring: Ring, place: int, window: HostWindow, new: Mapping[int, Point]
    ) -> None:
        """Request q resumes from a window in host memory. If it is shared policy retains it in HBM
        too: it is copied twice then, so that the second does not wait for the first."""
        targets = [ring.spare.pop() for _ in range(window.used)]
        self.host.load(window, targets)
        self._put(q, ring, place, targets)
        for x, point in new.items():
            assert point == window.point, "an admission retains no other window"
            pages = [self.free.take() for _ in range(self.ring)]
            self.host.load(window, pages[: window.used])
            self._keep(x, Kept(point, pages[: window.used], pages[window.used :]))

    def _copied(self, ring: Ring, pages: list[int]) -> list[int]:
        targets = [ring.spare.pop() for _ in pages]
        self._copies += map(Copy, pages, targets)
        return targets

    def begin(self, q: int, start: int, count: int, since: int | None = None) -> None:
        """Pages for tokens [start, start + count) of request q, which the next step computes. What
        is seen before token `since` stays (if that is not said: before `start`)."""
        ring = self.rings[q]
        wanted = range(start // self.block, (start + count - 1) // self.block + 1)
        missing = [i for i in wanted if i not in ring.held]
        if missing:
            back = start if since is None else since // self.block * self.block
            self._trim(ring, self._first(back - 1))
        for i in missing:
            self._put(q, ring, i + 1, [ring.spare.pop() if ring.spare else self._lend()])

    def end(self, q: int, computed: int) -> None:
        """The first `computed` tokens of request q are computed: what no one will see is free."""
        ring = self.rings[q]
        self._trim(ring, (computed - 1) // self.block - self.ring + 1)
        while len(ring) > self.ring and ring.spare:
            self._lent -= 1
            self.free.give_back([ring.spare.pop()])

    def retain(self, q: int, computed: int, change: Change) -> None:
        """The prompt of request q is computed, and policy has retained points of it."""
        ring, new = self.rings[q], change.new
        for x, point in change.stored.items():
            self._store(x, point, [ring.held[i] for i in self._before(ring.points[point])])
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
            rest = [*ring.held.values(), *ring.spare]
            room = self.ring - len(pages)
            self.free.give_back(rest[room:])
            self._keep(x, Kept(point, pages, rest[:room]))
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

    def _store(self, x: int, point: Point, pages: list[int]) -> None:
        self.host.store(x, point, pages)
        self.record_at[point] = x

    def _lose(self, x: int) -> HostWindow:
        """Record x is not in host memory any more; its memory is the caller's."""
        window = self.host.kept.pop(x)
        del self.record_at[window.point]
        return window

    def _out(self, x: int, change: Change) -> Kept:
        """Record x is not in HBM any more, but in host memory if policy has moved it there. Its
        memory is the caller's."""
        kept = self.kept.pop(x)
        del self.record_at[kept.point]
        if x in change.demoted:
            self._store(x, kept.point, kept.pages)
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
        self._copies.append(Copy(ring.held[place], target))
        return target

    def _trim(self, ring: Ring, first: int) -> None:
        """Pages of places before `first` are spare, but for those before points."""
        old = [i for i in ring.held if i < first]
        if old:
            points = {i for place in ring.points.values() for i in self._before(place)}
            ring.spare += [ring.held.pop(i) for i in old if i not in points]

    def check(self, tails: Sequence[int]) -> None:
        """Each page is free or has one owner, and none is lost; `tails`: those of candidates.
        Linear in the pool."""
        pages = [*self.free, *tails]
        for ring in self.rings.values():
            pages += [*ring.held.values(), *ring.spare]
        held = len(pages) - len(self.free) - len(tails)
        assert self._lent == held, "pages of rings are miscounted"
        for kept in self.kept.values():
            pages += [*kept.pages, *kept.spare]
        assert sorted(pages) == list(range(self.free.total)), "local pages are lost or held twice"
        self.host.check()
