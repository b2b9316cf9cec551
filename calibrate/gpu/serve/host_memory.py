"""The host-memory tier of a model's cache: copies over the link, beside the steps.

What leaves HBM is gathered into a staging buffer first, in the order of the steps; then its page is
free for the next step, and the way to host memory is another queue's. Likewise what comes in goes
to its pages on a queue of its own. Who needs a page that is still on its way waits for it on the
device, and nobody else: each page has the number of the batch that was the last to touch it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.clock import Clock
from calibrate.engine.executor import TransferTime
from calibrate.engine.memory.free import Copy, Pool
from calibrate.gpu.serve.host_pool import HostPool
from calibrate.gpu.serve.lanes import Lane, Mark, Queue

Batches = NDArray[np.int64]
"""For each page of a pool the number of a batch; 0: none."""
Told = Callable[[TransferTime], None]


class Transfer(NamedTuple):
    """A batch that is under way."""

    begin: Mark
    end: Mark
    time: TransferTime


class HostMemory:
    """Host memory for pages of the cache's pools, of either kind or both."""

    def __init__(
        self, pools: Mapping[Pool, HostPool], queues: tuple[Queue, Queue, Queue], clock: Clock,
        told: Told,
    ) -> None:  # fmt: skip
        """`pools`: by where their pages come from, `GLOBAL` or `LOCAL`. `queues`: where steps run,
        and two for the ways out and in. `told` of each batch, some time after its end."""
        self._pools, self._clock, self._told = pools, clock, told
        self._compute, self._out, self._in = queues[0], Lane(queues[1]), Lane(queues[2])
        self._loaded = {kind: _none(pool.device_pages) for kind, pool in pools.items()}
        """On the way in: the last batch that wrote a page of HBM."""
        self._fetched = {kind: _none(pool.pages) for kind, pool in pools.items()}
        """The last one that read a page of host memory."""
        self._stored = {kind: _none(pool.pages) for kind, pool in pools.items()}
        """On the way out: the last batch that wrote a page of host memory."""
        self._turn = 0
        self._staged = [0, 0]
        """On the way out: the last batch that came from each staging buffer."""
        self._transfers: list[Transfer] = []

    def copy(self, batch: Sequence[Copy], within: Callable[[], None]) -> None:
        """Make copies of which none reads or writes what an earlier one writes. `within` makes
        those inside HBM."""
        stores = by_kind([copy for copy in batch if copy.to >= Pool.HOST])
        loads = by_kind([copy for copy in batch if copy.of >= Pool.HOST])
        self._settle(copy for copy in batch if copy.of < Pool.HOST)
        if stores:
            self._gather(stores)
        self._compute.run(within)
        if loads:
            self._load(loads)
        if stores:
            self._send(stores)

    def settle(self, kind: Pool, pages: NDArray[np.integer]) -> None:
        """Steps from now on find these pages of HBM loaded, if they are on their way."""
        if self._in.is_busy and kind in self._loaded:
            self._in.precede(self._compute, _latest(self._loaded[kind], pages))

    @property
    def is_loading(self) -> bool:
        """Whether a page of HBM may be on its way."""
        return self._in.is_busy

    def tell(self) -> None:
        """Tell of batches that have ended."""
        while self._transfers and self._transfers[0].end.query():
            begin, end, time = self._transfers.pop(0)
            self._told(time._replace(took=round(begin.elapsed_time(end) * 1e6)))

    def _settle(self, copies: Iterable[Copy]) -> None:
        """Copies that are made in the order of the steps find what they read, and what they write
        is theirs."""
        if self._in.is_busy:
            for copy in copies:
                self.settle(copy.of, np.array([copy.source]))
                self.settle(copy.to, np.array([copy.target]))

    def _gather(self, stores: Mapping[Pool, list[Copy]]) -> None:
        self._turn = 1 - self._turn
        self._out.precede(self._compute, self._staged[self._turn])
        for kind, copies in stores.items():
            self._compute.run(partial(self._pools[kind].gather, self._turn, copies))

    def _load(self, loads: Mapping[Pool, list[Copy]]) -> None:
        lane = self._in
        lane.queue.wait(self._compute.mark())
        for kind, copies in loads.items():
            self._out.precede(lane.queue, _latest(self._stored[kind], _sources(copies)))
        begin = lane.queue.mark()
        for kind, copies in loads.items():
            lane.queue.run(partial(self._pools[kind].load, copies))
        self._note(begin, lane.end_batch(), loads, load=True)
        for kind, copies in loads.items():
            self._loaded[kind][_targets(copies)] = lane.last
            self._fetched[kind][_sources(copies)] = lane.last

    def _send(self, stores: Mapping[Pool, list[Copy]]) -> None:
        lane = self._out
        lane.queue.wait(self._compute.mark())
        for kind, copies in stores.items():
            self._in.precede(lane.queue, _latest(self._fetched[kind], _targets(copies)))
        begin = lane.queue.mark()
        for kind, copies in stores.items():
            lane.queue.run(partial(self._pools[kind].send, self._turn, copies))
        self._note(begin, lane.end_batch(), stores, load=False)
        for kind, copies in stores.items():
            self._stored[kind][_targets(copies)] = lane.last
        self._staged[self._turn] = lane.last

    def _note(
        self, begin: Mark, end: Mark, copies: Mapping[Pool, list[Copy]], *, load: bool
    ) -> None:
        blocks, pages = (
            len({copy.source for copy in copies.get(kind, [])})
            for kind in (Pool.GLOBAL, Pool.LOCAL)
        )
        time = TransferTime(self._clock.now_ns(), 0, load, blocks, pages)
        self._transfers.append(Transfer(begin, end, time))


def by_kind(copies: Sequence[Copy]) -> dict[Pool, list[Copy]]:
    """Copies to and from host memory, by the pool of HBM that they have to do with."""
    found: dict[Pool, list[Copy]] = {}
    for copy in copies:
        found.setdefault(min(copy.of, copy.to), []).append(copy)
    return found


def _none(pages: int) -> Batches:
    return np.zeros(pages, np.int64)


def _latest(batches: Batches, pages: NDArray[np.integer]) -> int:
    return int(batches[pages].max(initial=0))


def _sources(copies: Sequence[Copy]) -> NDArray[np.integer]:
    return np.array([copy.source for copy in copies])


def _targets(copies: Sequence[Copy]) -> NDArray[np.integer]:
    return np.array([copy.target for copy in copies])
