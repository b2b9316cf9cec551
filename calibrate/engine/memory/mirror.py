"""The physical mirror: what policy does to names and counts, done to pages.

Policy is followed, not repeated. Three kinds of record are watched: nodes and retained windows say
which streams and points were touched, and a request's `number` is written at the moment it is
admitted. What became of a touched stream or window, and in which tier it lies, is read from
policy's own tables, by policy's own look-ups. The engine tells the rest: whose prompt is computed,
who grew, who left. After each of these, free pages are as many as policy counts.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.memory.candidates import Candidates
from calibrate.engine.memory.free import Copy
from calibrate.engine.memory.host_tier import (
    Host,
    HostBlocks,
    HostWindows,
    Point,
    reserve_of,
    ring_pages,
)
from calibrate.engine.memory.pages import GlobalPages, Path, Piece
from calibrate.engine.memory.rings import Change, LocalPages
from calibrate.engine.memory.watch import watched
from kaiju_sim.engine.layout import Engine
from kaiju_sim.engine.policy.kv.index import find
from kaiju_sim.engine.policy.kv.prefix import local_stream
from kaiju_sim.engine.policy.kv.windows import window_find
from kaiju_sim.fleet.reference import viewed


class Mirror:
    """Pages of one replica, the first of `engine`. `engine` is then what policy has to be given."""

    def __init__(self, engine: Engine, reserve: int, entries: int) -> None:
        """For an empty engine of plain arrays. `reserve`: pages of the local pool beside the
        windows; `entries`: pages of the longest sequence. ValueError for what is not mirrored."""
        limits, cache = engine.limits, engine.caches
        slots = engine.requests.size * limits.candidates
        self._copies: list[Copy] = []
        host = Host(int(cache["host"][0]), int(cache["host_windows"][0]))
        beside = reserve_of(host, limits, entries)
        blocks = HostBlocks(host.blocks, beside.blocks, self._copies)
        self.pages = GlobalPages(int(cache["free"][0]), slots, entries, blocks, self._copies)
        self.rings: LocalPages | None = None
        if limits.windows:
            tables = np.zeros((slots, entries), np.int32)
            width = ring_pages(limits) - 1
            windows = HostWindows(host.windows, beside.windows, width, self._copies)
            self.rings = LocalPages(limits, reserve, tables, windows, self._copies)
        self.candidates: Candidates | None = None
        if limits.candidates > 1:
            self.candidates = Candidates(limits, self.pages, self.rings, self._copies)
        self._streams: set[int] = set()
        self._points: set[int] = set()
        self.on_admit: Callable[[int], None] = lambda q: None
        """Told of each admission, when its pages are there."""
        self.engine = self._watch(engine)

    @property
    def global_tables(self) -> NDArray[np.int32]:
        """`[slots, entries]`; behind these, as many rows for each further candidate."""
        return self.pages.tables

    @property
    def local_tables(self) -> NDArray[np.int32]:
        """`[slots, entries]`; without windows local KV lives with the global blocks."""
        return self.pages.tables if self.rings is None else self.rings.tables

    def path(self, q: int) -> Path:
        """Request q's path as the cache names it."""
        e = self.engine
        lo = q * e.limits.stride
        pieces = (e.segments[s] for s in range(lo, lo + e.limits.stride))
        return [Piece(local_stream(piece.stream, 0), int(piece.n)) for piece in pieces]

    def computed(self, q: int) -> None:
        """Policy has been told that request q's prompt is computed."""
        if self.engine.limits.prefix_cache:
            self.pages.commit(q, self.path(q))
        if self.rings is not None:
            change = self._windows()
            self.rings.settle(change)
            self.rings.retain(q, int(self.engine.requests[q].prompt), change)

    def grew(self, q: int) -> None:
        """Policy has taken one block more for request q (evictions have been settled)."""
        self.pages.grow(q)

    def left(self, q: int) -> None:
        """Request q has left, or has been withdrawn."""
        path = self.path(q)
        if self.candidates is not None:
            self.candidates.leave(q)
        if self.engine.limits.prefix_cache:
            self.pages.commit(q, path)
        self.pages.release(q)
        if self.rings is not None:
            change = self._windows()
            self.rings.settle(change)
            self.rings.leave(q, sum(piece.blocks for piece in path), change.new)

    def settle(self) -> None:
        """Blocks that policy has evicted are free pages, and in host memory if it says so."""
        self._shorten()
        self.pages.host.settle()

    def begin(self, q: int, start: int, count: int) -> None:
        """The next step computes tokens [start, start + count) of request q."""
        if self.rings is not None:
            since = None if self.candidates is None else self.candidates.start(q)
            self.rings.begin(q, start, count, since)

    def end(self, q: int, computed: int) -> None:
        """So many tokens of request q are computed, more of its prompt to come."""
        if self.rings is not None:
            self.rings.end(q, computed)

    def take_copies(self) -> list[Copy]:
        """What to copy before the next step, from now on the caller's."""
        copies = self._copies.copy()
        self._copies.clear()
        return copies

    def conserve(self) -> None:
        """Free, cached and held pages are all pages, of all pools, as policy counts them."""
        c = self.engine.caches[0]
        assert len(self.pages.free) == c.free, "global pages and policy's count differ"
        assert self.pages.host.room == c.host_free, "host pages and policy's count differ"
        if self.rings is not None:
            assert self.rings.host.room == c.host_windows_free, "host windows and policy's differ"
            assert len(self.rings.kept) == c.windows_kept, "kept windows and policy's count differ"
            borrowed = self.rings.borrowed - self.rings.reserve
            borrowed += 0 if self.candidates is None else self.candidates.borrowed
            spare = len(self.rings.free) + borrowed
            assert spare == c.windows_free * self.rings.ring, "local pages and policy's differ"

    def check(self) -> None:
        """Each page has one owner, names are those of policy's tree. Linear in the pools."""
        self.conserve()
        tails = ([], []) if self.candidates is None else self.candidates.held()
        self.pages.check(tails[0])
        near, far = self.pages.streams, self.pages.host.streams
        for stream in near.keys() | far.keys():
            blocks = len(near.get(stream, [])), len(far.get(stream, []))
            assert self._lengths(stream) == (blocks[0], sum(blocks)), "a stream and policy's differ"
        if self.rings is not None:
            self.rings.check(tails[1])
            assert all(self._held(x) == self._point(x) for x in range(self.engine.windows.size))

    def _watch(self, engine: Engine) -> Engine:
        told: dict[str, Any] = {
            "nodes": watched(engine.nodes, {"hbm": self._touch_node}),
            "windows": watched(
                engine.windows, dict.fromkeys(("newer", "host"), self._touch_window)
            ),
            "requests": watched(engine.requests, {"number": self._numbered}),
        }
        seen: Engine = viewed(engine._replace(**told))
        return seen

    def _touch_node(self, x: int) -> None:
        self._streams.add(int(self.engine.nodes[x].stream))

    def _touch_window(self, x: int) -> None:
        self._points.add(x)

    def _numbered(self, q: int) -> None:
        """Policy has admitted request q (or its record is made new, with number 0)."""
        v = self.engine.requests[q]
        if v.number == 0:
            return
        path, place = self.path(q), -(-int(v.hit) >> self.engine.limits.shift)
        loads = self.pages.behind(path, int(v.named), place)
        self._shorten()
        own = int(v.blocks) - self.engine.limits.extra
        self.pages.admit(q, path, int(v.named), own, loads)
        self.pages.host.settle()
        if self.rings is not None:
            self.rings.admit(q, self._resumed(path, place), place, self._windows())
            self.rings.rings[q].points = points_of(path, place)
        if self.candidates is not None:
            self.candidates.admit(q)
        self.on_admit(q)

    def _resumed(self, path: Path, place: int) -> int:
        """The record of the window that stands at `place` of the path, as it was before."""
        if place == 0:
            return -1
        wanted = next(point for point, at in ends_of(path, place) if at == place)
        assert self.rings is not None
        return self.rings.record_at[wanted]

    def _shorten(self) -> None:
        for stream in self._streams:
            self.pages.shorten(stream, *self._lengths(stream))
        self._streams.clear()

    def _windows(self) -> Change:
        """What policy has done to windows since the last call."""
        change = Change([], [], [], {}, {})
        for x in sorted(self._points):
            was, now = self._held(x), self._point(x)
            if was == now:
                continue
            if was is not None and now == (was[0], True):
                change.demoted.append(x)
                continue
            if was is not None:
                (change.lost if was[1] else change.gone).append(x)
            if now is not None:
                (change.stored if now[1] else change.new)[x] = now[0]
        self._points.clear()
        return change

    def _held(self, x: int) -> tuple[Point, bool] | None:
        """What record x retains by the pages, and whether in host memory."""
        assert self.rings is not None
        kept = self.rings.kept.get(x)
        if kept is not None:
            return kept.point, False
        far = self.rings.host.kept.get(x)
        return None if far is None else (far.point, True)

    def _point(self, x: int) -> tuple[Point, bool] | None:
        """What record x retains by policy, and whether in host memory."""
        e = self.engine
        v = e.windows[x]
        stream, end = int(v.stream), int(v.end)
        if window_find(e.windows, e.window_index, stream, end) != x:
            return None
        return (stream, end), bool(v.host)

    def _lengths(self, stream: int) -> tuple[int, int]:
        """Blocks of a stream in HBM, and in both tiers."""
        e, near, at = self.engine, 0, 0
        while (x := find(e.nodes, e.node_index, stream, at)) >= 0:
            v = e.nodes[x]
            assert near == at or v.hbm == 0, "blocks in HBM behind some in host memory"
            near += int(v.hbm)
            at += int(v.n)
        return near, at


def ends_of(path: Path, most: int) -> list[tuple[Point, int]]:
    """Points on a path up to block `most`: of each piece its last block there, and its place."""
    ends: list[tuple[Point, int]] = []
    at = 0
    for stream, blocks in path:
        here = min(blocks, most - at)
        if here > 0:
            ends.append(((stream, here), at + here))
        at += blocks
    return ends


def points_of(path: Path, place: int) -> dict[Point, int]:
    """Ends of a path's pieces at which policy may retain a window of a prompt that is computed from
    block `place` on: that of the first piece, and of the last one with blocks."""
    whole = ends_of(path, sum(piece.blocks for piece in path))
    if not whole:
        return {}
    first = whole[:1] if path[0].blocks > 0 else []
    return {point: at for point, at in [*first, whole[-1]] if at >= place}
