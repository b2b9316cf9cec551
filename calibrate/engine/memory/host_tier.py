"""Host memory: the second tier of both pools, for what has left HBM and may come back.

Policy keeps one list of both tiers, and nothing is in both. Of each stream the first blocks are in
HBM and those behind them here; a retained window is in one of the two. What leaves HBM is copied
out; what a request finds here is copied into pages of its own, and stays until that request's
prompt is computed (blocks) or is given up at once (windows).

Copies are noted in the order in which they have to appear to be made. A place that is read and one
that is written must then not be the same by chance: where policy drops a block to make room for
another one, and loads it for the same request, its page must not be written before it is read. So
pages are given to what comes in before those of what goes are free, and a few of them, the reserve,
are beside what policy counts.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from calibrate.engine.memory.free import Copy, FreePages, Pool
from kaiju_sim.engine.limits import Limits

Point = tuple[int, int]
"""Where a window is retained: (stream, end in blocks of it)."""


class Host(NamedTuple):
    """What host memory holds, as policy counts it."""

    blocks: int = 0
    windows: int = 0


NO_HOST = Host()


def ring_pages(limits: Limits) -> int:
    """Local pages of a window in HBM: one more than the attention window has, to be filled."""
    return -(-limits.window // (1 << limits.shift)) + 1


def reserve_of(host: Host, limits: Limits, entries: int) -> Host:
    """Beside them: what leaves HBM at one time at most. That is as many blocks as a prompt has
    (`entries`), or one for each sequence that decodes; and two windows, for a request that loads
    one to share it."""
    blocks = max(entries + limits.extra, limits.max_seqs * limits.candidates)
    return Host(blocks if host.blocks else 0, 2 if host.windows else 0)


class HostBlocks:
    """Pages of the blocks in host memory."""

    def __init__(self, pages: int, reserve: int, copies: list[Copy]) -> None:
        """`pages` as policy counts them, `reserve` beside them; copies are noted in `copies`."""
        self.reserve, self.free = reserve, FreePages(pages + reserve)
        self.streams: dict[int, list[int]] = {}
        """Of each stream the pages of the blocks behind those in HBM."""
        self._going: list[int] = []
        self._copies = copies

    @property
    def room(self) -> int:
        """Free pages, as policy counts them."""
        return len(self.free) - self.reserve

    def take_over(self, stream: int, pages: Sequence[int], most: int) -> None:
        """These last pages of a stream have left HBM. Of them and of what is behind them the first
        `most` stay, the rest is dropped."""
        old = self.streams.get(stream, [])
        new = [self._store(page) for page in pages[:most]]
        keep = most - len(new)
        self._going += old[keep:]
        self._set(stream, new + old[:keep])

    def settle(self) -> None:
        """Pages of what was dropped are free: loads from them have been noted."""
        self.free.give_back(self._going)
        self._going.clear()

    def give_way(self, stream: int) -> None:
        """The first block here is in HBM again: in a page that a request has computed or loaded."""
        pages = self.streams.get(stream)
        if pages:
            self.free.give_back(pages[:1])
            self._set(stream, pages[1:])

    def of(self, stream: int, near: int, first: int, last: int) -> list[int]:
        """Pages of a stream's blocks [first, last), of which `near` are in HBM."""
        pages = self.streams.get(stream, [])
        assert near <= first < last <= near + len(pages), "policy loads blocks that have no pages"
        return pages[first - near : last - near]

    def check(self) -> None:
        """Each page is free or has one owner, and none is lost. Linear in the pool."""
        pages = [*self.free, *(page for stream in self.streams.values() for page in stream)]
        assert sorted(pages) == list(range(self.free.total)), "host pages are lost or held twice"

    def _store(self, page: int) -> int:
        target = self.free.take()
        self._copies.append(Copy(page, target, Pool.GLOBAL, Pool.HOST))
        return target

    def _set(self, stream: int, pages: list[int]) -> None:
        if pages:
            self.streams[stream] = pages
        else:
            self.streams.pop(stream, None)


class HostWindow(NamedTuple):
    """A retained window in host memory."""

    point: Point
    place: int
    """Its pages are those from `place` * width."""
    used: int
    """Pages of it that hold something."""


class HostWindows:
    """Retained windows in host memory, each in `width` pages that lie together.

    That is one page less than in HBM: a ring has one to fill, with nothing in it to keep.
    """

    def __init__(self, windows: int, reserve: int, width: int, copies: list[Copy]) -> None:
        """`windows` as policy counts them, `reserve` beside them; copies are noted in `copies`."""
        self.reserve, self.free = reserve, FreePages(windows + reserve)
        self.kept: dict[int, HostWindow] = {}
        """By policy's record."""
        self._width, self._copies = width, copies

    @property
    def room(self) -> int:
        """Free windows, as policy counts them."""
        return len(self.free) - self.reserve

    def store(self, x: int, point: Point, pages: Sequence[int]) -> None:
        """Record x is here from now on, a copy of these local pages."""
        window = self.kept[x] = HostWindow(point, self.free.take(), len(pages))
        for page, target in zip(pages, self._pages(window), strict=True):
            self._copies.append(Copy(page, target, Pool.LOCAL, Pool.HOST_LOCAL))

    def load(self, window: HostWindow, pages: Sequence[int]) -> None:
        """Copy a window into the last of these local pages."""
        assert len(pages) == window.used, "a window has other pages than its point needs"
        for source, page in zip(self._pages(window), pages, strict=True):
            self._copies.append(Copy(source, page, Pool.HOST_LOCAL, Pool.LOCAL))

    def settle(self, gone: Iterable[HostWindow]) -> None:
        """The memory of these is free: loads from them have been noted."""
        self.free.give_back(window.place for window in gone)

    def check(self) -> None:
        """Each place is free or has one owner, and none is lost."""
        places = [*self.free, *(window.place for window in self.kept.values())]
        assert sorted(places) == list(range(self.free.total)), "host windows are lost or held twice"

    def _pages(self, window: HostWindow) -> range:
        first = window.place * self._width
        return range(first, first + window.used)
