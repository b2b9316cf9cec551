"""Pages of a message's candidates, which share all that was chosen so far.

A message of n candidates has a row of the page tables for each. The first one's is the message's
own. Every other one has, in each pool, as many pages as a chunk can touch (`Limits.extra` counts
them, those of the local pool are from its reserve): its *tail*. At the start of a chunk its row is
the message's up to the block in which the chunk begins, and its tail from there on; where that
block is filled in part, the message's page of it is copied. At the chunk's end the winner's tail
and the message's pages of those places change hands: nothing is copied.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.memory.free import Copy, FreePages, Pool
from calibrate.engine.memory.pages import GlobalPages
from calibrate.engine.memory.rings import LocalPages
from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.memory import chunk_blocks


class Tails:
    """The tails of one pool."""

    def __init__(
        self, tables: NDArray[np.int32], limits: Limits, free: FreePages, pool: Pool
    ) -> None:
        """`tables`: rows of each candidate in turn, those of all first candidates in front."""
        self.tables, self.limits, self.free, self.pool = tables, limits, free, pool
        self.slots = len(tables) // limits.candidates
        self.each = limits.extra // (limits.candidates - 1)
        self.pages: dict[int, list[list[int]]] = {}
        """By request: the tail of each candidate but the first."""

    def __len__(self) -> int:
        return len(self.pages) * self.limits.extra

    def held(self) -> list[int]:
        """All pages of tails."""
        return [page for tails in self.pages.values() for tail in tails for page in tail]

    def admit(self, q: int) -> None:
        """Request q gets its tails."""
        others = range(1, self.limits.candidates)
        self.pages[q] = [[self.free.take() for _ in range(self.each)] for _ in others]

    def leave(self, q: int) -> None:
        """Request q is gone."""
        for tail in self.pages.pop(q):
            self.free.give_back(tail)

    def fork(self, q: int, start: int, count: int) -> list[Copy]:
        """All candidates of request q go on from its first `start` tokens; each will write `count`
        more. What has to be copied for that."""
        shift, own = self.limits.shift, self.tables[q]
        first, last = start >> shift, (start + count - 1) >> shift
        for row, tail in self._rows(q):
            self.tables[row, :first] = own[:first]
            self.tables[row, first : last + 1] = tail[: last + 1 - first]
        if start == first << shift:
            return []
        page, pool = int(own[first]), self.pool
        return [Copy(page, tail[0], pool, pool) for _, tail in self._rows(q)]

    def choose(self, q: int, winner: int, first: int, last: int) -> None:
        """Request q's own pages of places [first, last] become its candidate's, and the other way
        round."""
        own, tail = self.tables[q], self.pages[q][winner - 1]
        for i, place in enumerate(range(first, last + 1)):
            tail[i], own[place] = int(own[place]), tail[i]

    def _rows(self, q: int) -> Iterator[tuple[int, list[int]]]:
        return ((c * self.slots + q, tail) for c, tail in enumerate(self.pages[q], 1))


class Candidates:
    """Candidates of all requests, in both pools."""

    def __init__(
        self, limits: Limits, pages: GlobalPages, rings: LocalPages | None, copies: list[Copy]
    ) -> None:
        """Copies are noted in `copies`. ValueError where the limits count other blocks than a chunk
        can touch."""
        needed = extra_blocks(limits)
        if limits.extra != needed:
            raise ValueError(f"extra: is {limits.extra}, candidates need {needed} blocks")
        self.far, self.near = Tails(pages.tables, limits, pages.free, Pool.GLOBAL), None
        if rings is not None:
            self.near = Tails(rings.tables, limits, rings.free, Pool.LOCAL)
        self._rings, self._shift = rings, limits.shift
        self._copies = copies
        self._start: dict[int, int] = {}

    def row(self, q: int, candidate: int) -> int:
        """Row of the page tables."""
        return candidate * self.far.slots + q

    def start(self, q: int) -> int | None:
        """Where the chunk begins that request q's candidates write, if they are in one."""
        return self._start.get(q)

    @property
    def borrowed(self) -> int:
        """Pages of the local pool's reserve that they have."""
        return 0 if self.near is None else len(self.near)

    def held(self) -> tuple[list[int], list[int]]:
        """Pages of all tails, in the global pool and in the local one (for checks)."""
        return self.far.held(), [] if self.near is None else self.near.held()

    def admit(self, q: int) -> None:
        """Request q has its pages; its candidates get theirs."""
        for tails in self._both():
            tails.admit(q)

    def leave(self, q: int) -> None:
        """Request q is gone, or about to."""
        self._start.pop(q, None)
        for tails in self._both():
            tails.leave(q)

    def fork(self, q: int, start: int, count: int) -> None:
        """A chunk begins: its KV is written from token `start` on, of `count` tokens at most. The
        request's own pages of that place are there."""
        self._start[q] = start
        for tails in self._both():
            self._copies += tails.fork(q, start, count)

    def choose(self, q: int, winner: int, computed: int) -> None:
        """The chunk of request q is over, with `computed` tokens of KV: its text is the winner's
        from now on."""
        start = self._start.pop(q, computed)
        if winner == 0 or start == computed:
            return
        first, last = start >> self._shift, (computed - 1) >> self._shift
        self.far.choose(q, winner, first, last)
        if self.near is not None and self._rings is not None:
            self.near.choose(q, winner, first, last)
            held = self._rings.rings[q].held
            held |= {i: int(self._rings.tables[q, i]) for i in range(first, last + 1)}

    def _both(self) -> Iterable[Tails]:
        return (self.far,) if self.near is None else (self.far, self.near)


def extra_blocks(limits: Limits) -> int:
    """What `Limits.extra` has to be."""
    return (limits.candidates - 1) * chunk_blocks(limits.chunk, 1 << limits.shift)
