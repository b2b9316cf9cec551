"""The global pool: which page holds which block, for a cache that knows blocks by name only.

Policy's cache names blocks (stream, position) and counts them. Of each stream it has the first so
many blocks, since a prefix cache evicts leaves first. So the pages of a stream are a list, and all
that has to be known of an eviction is how long each touched stream still is. Where there is host
memory the list goes on there (`host_tier.py`).

A request's table is its pages in order: first those of blocks that it holds by name, which others
may hold too, then its own. Own pages get names when its prompt is computed; where another request
has named the same blocks meanwhile, its pages take their place and the own ones are free again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.memory.free import Copy, FreePages, Pool
from calibrate.engine.memory.host_tier import HostBlocks


class Piece(NamedTuple):
    """A piece of a path: the first `blocks` blocks of a stream."""

    stream: int
    blocks: int


Path = Sequence[Piece]


class GlobalPages:
    """Pages of the streams in the cache and of the requests in the engine."""

    def __init__(
        self, pages: int, slots: int, entries: int, host: HostBlocks, copies: list[Copy]
    ) -> None:
        """`slots`: requests at once; `entries`: pages of the longest; `copies`: where loads from
        host memory are noted."""
        self.free, self.host = FreePages(pages), host
        self._copies = copies
        self.streams: dict[int, list[int]] = {}
        self.named: dict[int, int] = {}
        """Leading blocks of each request in the engine that it holds by name."""
        self.blocks: dict[int, int] = {}
        """Blocks of each, own ones included."""
        self.tables: NDArray[np.int32] = np.zeros((slots, entries), np.int32)

    def shorten(self, stream: int, near: int, whole: int) -> None:
        """Of a stream only the first `whole` blocks are left, the first `near` of them in HBM."""
        pages = self.streams.get(stream, [])
        out = pages[near:]
        del pages[near:]
        self.host.take_over(stream, out, whole - len(pages))
        self.free.give_back(out)
        if not pages:
            self.streams.pop(stream, None)

    def behind(self, path: Path, named: int, usable: int) -> list[int]:
        """Pages of host memory of a path's blocks from `named` to `usable`: those to load."""
        found: list[int] = []
        at = 0
        for stream, blocks in path:
            first, last = max(named - at, 0), min(usable - at, blocks)
            if first < last:
                found += self.host.of(stream, len(self.streams.get(stream, [])), first, last)
            at += blocks
        return found

    def admit(self, q: int, path: Path, named: int, blocks: int, loads: Sequence[int]) -> None:
        """Request q holds the first `named` blocks of its path, and new pages up to `blocks`, into
        the first of which pages of host memory are loaded."""
        found = self._found(path, named)
        assert len(found) == named, "policy hits blocks that have no pages"
        self.tables[q, :named] = found
        self.named[q], self.blocks[q] = named, named
        self.grow(q, blocks - named)
        for page, target in zip(loads, self.tables[q, named:blocks].tolist(), strict=False):
            self._copies.append(Copy(page, target, Pool.HOST, Pool.GLOBAL))

    def grow(self, q: int, count: int = 1) -> None:
        """So many pages more for request q."""
        at = self.blocks[q]
        for i in range(at, at + count):
            self.tables[q, i] = self.free.take()
        self.blocks[q] = at + count

    def commit(self, q: int, path: Path) -> None:
        """The blocks of request q's path are named, all of them."""
        at, table = 0, self.tables[q]
        for stream, blocks in path:
            if at + blocks > self.named[q] and blocks > 0:
                self._name(table[at : at + blocks], stream, max(0, self.named[q] - at))
            at += blocks
        self.named[q] = max(at, self.named[q])

    def release(self, q: int) -> None:
        """Request q is gone: what it held by name stays with the streams, its own is free."""
        named, blocks = self.named.pop(q), self.blocks.pop(q)
        self.free.give_back(self.tables[q, named:blocks].tolist())

    def _found(self, path: Path, named: int) -> list[int]:
        found: list[int] = []
        for stream, blocks in path:
            want = min(blocks, named - len(found))
            if want > 0:
                found += self.streams.get(stream, [])[:want]
        return found

    def _name(self, table: NDArray[np.int32], stream: int, held: int) -> None:
        """Name the pages of a stream's first blocks, of which `held` are named already."""
        pages = self.streams.setdefault(stream, [])
        for i in range(held, len(table)):
            if i < len(pages):  # another request was first: its page, and one's own is free
                self.free.give_back([int(table[i])])
                table[i] = pages[i]
            else:
                pages.append(int(table[i]))
                self.host.give_way(stream)

    def in_use(self) -> list[int]:
        """Every page that somebody has, each once if all is well (for checks)."""
        pages = [page for stream in self.streams.values() for page in stream]
        for q, blocks in self.blocks.items():
            pages += self.tables[q, self.named[q] : blocks].tolist()
        return pages

    def check(self, tails: Sequence[int]) -> None:
        """Each page is free or has one owner, and none is lost; `tails`: those of candidates.
        Linear in the pool."""
        pages = sorted([*self.in_use(), *tails, *self.free])
        assert pages == list(range(self.free.total)), "global pages are lost or held twice"
        self.host.check()
