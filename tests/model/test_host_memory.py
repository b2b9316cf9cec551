"""Copies to and from host memory beside the steps: nobody reads a page too early, or writes one too
early."""

from collections.abc import Callable, Sequence
from random import Random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from model_bench import two_layers
from serving_limits import limits_with

from calibrate.engine.clock import FakeClock
from calibrate.engine.executor import TransferTime, link_ns
from calibrate.engine.memory.free import Copy, Pool
from calibrate.gpu.serve import host_pool
from calibrate.gpu.serve.executor import ModelExecutor, seen_pages
from calibrate.gpu.serve.host_memory import HostMemory
from calibrate.gpu.serve.host_pool import HostPool
from calibrate.gpu.serve.lanes import Inline, Instant, Lane, Queue, StreamQueue, make_queues
from kernels.model.steps.cache import CachePlan, KVCache

CONFIG = two_layers(128)
PAGES = {Pool.GLOBAL: 8, Pool.LOCAL: 9, Pool.HOST: 7, Pool.HOST_LOCAL: 10}
WAYS = [
    (Pool.GLOBAL, Pool.HOST), (Pool.HOST, Pool.GLOBAL), (Pool.LOCAL, Pool.LOCAL),
    (Pool.LOCAL, Pool.HOST_LOCAL), (Pool.HOST_LOCAL, Pool.LOCAL),
]  # fmt: skip
SEEDS, MANY = 6, 40


class Moment:
    """When a queue has come so far."""

    def __init__(self, queue: "Late", place: int) -> None:
        self.queue, self.place = queue, place

    def query(self) -> bool:
        return self.queue.done >= self.place

    def elapsed_time(self, end: Any, /) -> float:
        return 0.25

    def reach(self) -> None:
        while not self.query():
            self.queue.work()


class Late:
    """A queue that works when it likes: as a stream, but the test says when."""

    def __init__(self) -> None:
        self.todo: list[Callable[[], None]] = []
        self.done = 0

    @property
    def is_idle(self) -> bool:
        return self.done == len(self.todo)

    def run(self, work: Callable[[], None]) -> None:
        self.todo.append(work)

    def mark(self) -> Moment:
        return Moment(self, len(self.todo))

    def wait(self, mark: Any) -> None:
        self.todo.append(mark.reach)

    def work(self) -> None:
        if not self.is_idle:
            self.done += 1
            self.todo[self.done - 1]()


class Bed:
    """A cache with host memory, its pages of one number each, and what they should hold."""

    def __init__(self, queues: tuple[Queue, Queue, Queue], device: str = "cpu") -> None:
        self.steps = queues[0]
        self.found: list[torch.Tensor] = []
        plan = CachePlan(PAGES[Pool.GLOBAL], PAGES[Pool.LOCAL], 1, 0)
        self.cache = KVCache(CONFIG, plan, device)
        self.told: list[TransferTime] = []
        kinds = (Pool.GLOBAL, Pool.HOST), (Pool.LOCAL, Pool.HOST_LOCAL)
        pools = {kind: HostPool(self.parts(kind), PAGES[host]) for kind, host in kinds}
        self.host = HostMemory(pools, queues, FakeClock(), self.told.append)
        runner: Any = SimpleNamespace(model=SimpleNamespace(config=CONFIG), cache=self.cache)
        self.executor = ModelExecutor(runner, self.host)
        self.content = {pool: [0] * count for pool, count in PAGES.items()}
        self.written = 0
        for kind, _ in kinds:
            for page in range(PAGES[kind]):
                self.write(kind, page)

    def parts(self, kind: Pool) -> list[torch.Tensor]:
        (layer,) = CONFIG.owners(is_global=kind is Pool.GLOBAL)
        return list(self.cache.of(layer))

    def write(self, kind: Pool, page: int) -> None:
        """As a step does that owns the page."""
        self.host.settle(kind, torch.tensor([page]).numpy())
        self.written = self.written % 100 + 1
        self.content[kind][page] = number = self.written

        def work() -> None:
            for sign, part in zip((1, -1), self.parts(kind), strict=True):
                part[page] = sign * number

        self.steps.run(work)

    def read(self, kind: Pool, page: int) -> None:
        """As a step does; `found` says whether it was right."""
        self.host.settle(kind, torch.tensor([page]).numpy())
        number = self.content[kind][page]

        def work() -> None:
            signs = zip((1, -1), self.parts(kind), strict=True)
            equal = [(part[page] == sign * number).all() for sign, part in signs]
            self.found.append(torch.stack(equal).all())

        self.steps.run(work)

    def read_all(self) -> None:
        for kind in (Pool.GLOBAL, Pool.LOCAL):
            for page in range(PAGES[kind]):
                self.read(kind, page)

    @property
    def is_right(self) -> bool:
        """Whether all that was read was."""
        return bool(torch.stack(self.found).all())

    def copy(self, copies: Sequence[Copy]) -> None:
        for copy in copies:
            self.content[copy.to][copy.target] = self.content[copy.of][copy.source]
        self.executor.copy(copies)

    def drawn(self, draw: Random) -> list[Copy]:
        """Any copies, of pages that have been written."""
        copies, known = [], {pool: list(pages) for pool, pages in self.content.items()}
        for _ in range(draw.randrange(SEEDS)):
            of, to = draw.choice(WAYS)
            source, target = draw.randrange(PAGES[of]), draw.randrange(PAGES[to])
            if known[of][source] and (of, source) != (to, target):
                known[to][target] = known[of][source]
                copies.append(Copy(source, target, of, to))
        return copies


def shuffle(bed: Bed, draw: Random, between: Callable[[], None]) -> None:
    """Copies, writes and reads at random; then everything is read."""
    for _ in range(30):
        bed.copy(bed.drawn(draw))
        for kind in (Pool.GLOBAL, Pool.LOCAL):
            if draw.random() < 0.7:
                bed.write(kind, draw.randrange(PAGES[kind]))
            bed.read(kind, draw.randrange(PAGES[kind]))
        between()
    bed.read_all()


def right(seed: int) -> bool:
    """On queues that work at random."""
    draw, queues = Random(seed), (Late(), Late(), Late())
    bed = Bed(queues)
    hurry = [draw.choice([0, 1, 20]) for _ in queues]

    def between() -> None:
        for queue in draw.choices(queues, hurry, k=sum(hurry)) if any(hurry) else []:
            queue.work()

    shuffle(bed, draw, between)
    while not all(queue.is_idle for queue in queues):
        draw.choice(queues).work()
    return bed.is_right


@pytest.mark.parametrize("staging", [2, 32])
def test_whoever_needs_a_page_waits_for_it(staging: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_pool, "STAGING_PAGES", staging)
    monkeypatch.setattr("calibrate.gpu.serve.executor.STAGING_PAGES", staging)
    assert all(right(seed) for seed in range(SEEDS))


@pytest.mark.parametrize("missing", ["_loaded", "_fetched", "_stored", "_staged"])
def test_each_of_the_waits_is_needed(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: without any one of them pages are mistaken."""

    class Forgetful(HostMemory):
        def copy(self, batch: Sequence[Copy], within: Callable[[], None]) -> None:
            super().copy(batch, within)
            numbers = getattr(self, missing)
            for batches in numbers.values() if isinstance(numbers, dict) else [numbers]:
                batches[:] = [0] * len(batches)

    monkeypatch.setitem(globals(), "HostMemory", Forgetful)
    assert not all(right(seed) for seed in range(MANY))


@pytest.mark.parametrize("number", [1, 2])
def test_so_is_each_wait_for_the_steps_before(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hasty(HostMemory):
        def copy(self, batch: Sequence[Copy], within: Callable[[], None]) -> None:
            lanes: Any = (self._out, self._in)
            lane, late = lanes[number - 1], self._compute
            lane.queue.wait = lambda mark: (
                None if mark.queue is late else Late.wait(lane.queue, mark)
            )
            super().copy(batch, within)

    monkeypatch.setitem(globals(), "HostMemory", Hasty)
    assert not all(right(seed) for seed in range(MANY))


def test_a_step_sees_its_own_pages_and_those_in_its_window() -> None:
    """Entries of the tables beyond a sequence's end, or behind its window, are anybody's pages."""
    tables = np.arange(24, dtype=np.int32).reshape(3, 8)
    both = np.array([(2, 299, 300), (1, 256, 513)])
    assert seen_pages(tables, both, None).tolist() == [16, 17, 18, 8, 9, 10, 11, 12]
    assert seen_pages(tables, both, 128).tolist() == [17, 18, 9, 10, 11, 12]
    assert seen_pages(tables, np.array([(0, 255, 256)]), 128).tolist() == [1]
    assert seen_pages(tables, np.array([(0, 256, 257)]), 128).tolist() == [1, 2]


def test_only_who_needs_a_page_waits_for_it() -> None:
    steps, *ways = Late(), Late(), Late()
    bed = Bed((steps, *ways))
    bed.copy([Copy(0, 0, Pool.GLOBAL, Pool.HOST), Copy(0, 3, Pool.HOST, Pool.GLOBAL)])
    before = len(steps.todo)
    bed.host.settle(Pool.GLOBAL, np.array([0, 1, 2]))
    bed.host.settle(Pool.LOCAL, np.array([3]))
    assert len(steps.todo) == before
    bed.host.settle(Pool.GLOBAL, np.array([2, 3]))
    assert len(steps.todo) == before + 1
    assert bed.host.is_loading
    steps.todo[-1]()
    assert not bed.host.is_loading
    bed.host.settle(Pool.GLOBAL, np.array([3]))
    assert len(steps.todo) == before + 1


def test_transfers_are_told_with_their_times() -> None:
    steps, *ways = Late(), Late(), Late()
    bed = Bed((steps, *ways))
    bed.copy([Copy(0, 0, Pool.GLOBAL, Pool.HOST), Copy(1, 1, Pool.LOCAL, Pool.HOST_LOCAL)])
    assert bed.told == []
    bed.copy([
        Copy(0, 3, Pool.HOST, Pool.GLOBAL), Copy(1, 4, Pool.HOST_LOCAL, Pool.LOCAL),
        Copy(1, 5, Pool.HOST_LOCAL, Pool.LOCAL),
    ])  # fmt: skip
    bed.read(Pool.GLOBAL, 3)
    bed.read(Pool.LOCAL, 5)
    for queue in (steps, *ways):
        while not queue.is_idle:
            queue.work()
    bed.host.tell()
    assert bed.is_right
    out, into = bed.told
    assert out == TransferTime(0, 250_000, load=False, blocks=1, local_pages=1)
    assert into == TransferTime(0, 250_000, load=True, blocks=1, local_pages=1)
    limits = limits_with(load_ns=3.0, store_ns=5.0, window_load_ns=8.0, window_store_ns=16.0)
    assert link_ns(limits, into) == 3.0 + 8.0 / 4
    assert link_ns(limits, out) == 5.0 + 16.0 / 4


def test_without_a_gpu_all_is_done_at_once() -> None:
    bed = Bed(make_queues(torch.device("cpu")))
    bed.copy([Copy(0, 2, Pool.GLOBAL, Pool.HOST), Copy(2, 1, Pool.HOST, Pool.GLOBAL)])
    bed.read_all()
    assert bed.is_right
    assert [time.load for time in bed.told] == [False, True]
    assert all(time.took > 0 for time in bed.told)
    assert Instant().query()
    assert not Lane(Inline()).is_busy


def test_pages_that_lie_together_go_in_one_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not beyond a piece of pinned memory, and not more than a copy may be long."""
    bytes_ = 2 * 128 * 128
    monkeypatch.setattr(host_pool, "PIECE_BYTES", 5 * bytes_)
    monkeypatch.setattr(host_pool, "COPY_BYTES", 3 * bytes_)
    pool = HostPool([torch.zeros((4, 1, 128, 128), dtype=torch.int8)] * 2, 12)
    found = [(rows.start, rows.stop) for rows, _ in pool._runs([0, 1, 2, 3, 4, 5, 6, 8, 11])]
    assert found == [(0, 3), (3, 5), (5, 7), (7, 8), (8, 9)]


class Slow(StreamQueue):
    """A stream that waits for a while before each piece of work."""

    def run(self, work: Callable[[], None]) -> None:
        super().run(lambda: torch.cuda._sleep(2_000_000))
        super().run(work)


def transfers(seed: int) -> int:
    """How many a shuffle of that seed takes, without a GPU."""
    bed = Bed(make_queues(torch.device("cpu")))
    shuffle(bed, Random(seed), lambda: None)
    return len(bed.told)


@pytest.mark.gpu
@pytest.mark.parametrize("slow", [(), (0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_whoever_needs_a_page_waits_for_it_on_streams(slow: tuple[int, ...]) -> None:
    streams = [torch.cuda.current_stream(), torch.cuda.Stream(), torch.cuda.Stream()]
    queues = [(Slow if i in slow else StreamQueue)(stream) for i, stream in enumerate(streams)]
    for seed in range(4):
        bed = Bed((queues[0], queues[1], queues[2]), "cuda")
        shuffle(bed, Random(seed), lambda: None)
        assert bed.is_right
        torch.cuda.synchronize()
        bed.host.tell()
        assert len(bed.told) == transfers(seed)
        assert all(time.took > 0 for time in bed.told)
