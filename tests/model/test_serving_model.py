"""The engine on a tiny model: what is hit in the cache is the KV of those very tokens."""

from typing import Any

import numpy as np
import pytest
import torch
from model_bench import distance, make_bench, prompt, two_layers
from serving_limits import constant_curves, limits_with

from calibrate.engine.clock import FakeClock
from calibrate.engine.engine import Engine, Event
from calibrate.engine.executor import TransferTime
from calibrate.engine.memory.free import Copy
from calibrate.engine.memory.host_tier import NO_HOST, Host
from calibrate.engine.memory.pages import Piece
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.requests import Request
from calibrate.gpu.serve.executor import batches, copy_pages, sizes_of
from calibrate.gpu.serve.host_pool import HostPool
from calibrate.gpu.serve.opening import fitted, open_engine
from kaiju_sim.engine.policy.kv.prefix import take
from kaiju_sim.engine.policy.kv.windows import window_take
from kernels.model.steps.cache import CachePlan, KVCache
from kernels.model.steps.runner import Runner
from kernels.model.steps.step import Ints

CONFIG = two_layers(128)
SAME = 0.06
"""As in test_model_steps: int8 attention quantises its probabilities tile by tile."""


class Small:
    """An engine on a model of two layers, whose time stands still but for waits."""

    def __init__(
        self, plan: CachePlan | None = None, host: Host = NO_HOST, **changes: float
    ) -> None:
        bench = make_bench(CONFIG, rows=192, kv_bytes=3_000_000)
        if plan is not None:
            bench.runner = Runner(bench.model, KVCache(CONFIG, plan), 192)
        self.bench, self.log = bench, list[Event]()
        self.transfers: list[TransferTime] = []
        limits = limits_with(token_budget=128, **changes)
        self.engine = open_engine(
            bench.runner, limits, constant_curves(), FakeClock(), 8, self.log.append, host,
            self.transfers.append,
        )  # fmt: skip

    def logits(self, tokens: Ints, *names: Piece) -> torch.Tensor:
        """After a prompt, alone, and one more token: decoded, behind a cached part."""
        answer = self.engine.door.submit(Request(tokens, 2, names))
        while not answer.over.is_set():
            self.engine.advance()
        self.engine.mirror.check()
        return self.bench.logits(1)

    def hits(self) -> list[int]:
        """Cached tokens of each prompt."""
        return [event.value for event in self.log if event.what == "admit"]


HEAD, TAILS = prompt(CONFIG, 129), (prompt(CONFIG, 2, 1), prompt(CONFIG, 3, 2))
PROMPTS = [np.concatenate([HEAD, tail]) for tail in TAILS]
"""A definition of one page is shared by two prompts."""


@pytest.fixture(scope="module")
def cold() -> torch.Tensor:
    """What follows the second prompt without a cache."""
    return Small(prefix_cache=0, retain=0).logits(PROMPTS[1])


@pytest.mark.slow
def test_a_hit_reads_the_kv_of_those_tokens(cold: torch.Tensor) -> None:
    """And where other KV lies in those pages, the logits are others."""
    warm = Small()
    warm.logits(PROMPTS[0], Piece(1, 1), Piece(2, 0))
    again = warm.logits(PROMPTS[1], Piece(1, 1), Piece(3, 0))
    assert distance(again, cold) < SAME
    warm.bench.runner.cache.fill_random(1)
    other = warm.logits(PROMPTS[1], Piece(1, 1), Piece(4, 0))
    assert distance(other, cold) > 4 * SAME
    assert warm.hits() == [0, 128, 128]


def evict_all(engine: Engine) -> None:
    """As if others had needed all memory: what is cached goes to host memory."""
    e, mirror = engine.world.engine, engine.mirror
    c = e.caches[0]
    blocks, windows = int(c.free + c.idle), int(c.windows_free + c.windows_kept)
    take(c, e.nodes, e.node_index, e.node_pool[0], blocks)
    mirror.settle()
    for _ in range(windows):
        window_take(c, e.windows, e.window_index, e.window_pool[0])
    if mirror.rings is not None:
        mirror.rings.settle(mirror._windows())
    c.free, c.windows_free = blocks, windows
    mirror.check()


@pytest.mark.slow
@pytest.mark.parametrize("windows", [0, 3])
def test_a_hit_in_host_memory_reads_the_kv_of_those_tokens(
    windows: int, cold: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has left HBM, where other KV lies meanwhile, comes back. And where other KV lies in host
    memory, the logits are others."""
    pools: list[HostPool] = []
    make = HostPool.__init__

    def make_and_note(pool: HostPool, *parts: Any) -> None:
        make(pool, *parts)
        pools.append(pool)

    monkeypatch.setattr(HostPool, "__init__", make_and_note)
    plan = CachePlan(6, 11 + windows, 2, 9) if windows else CachePlan(6, 3, 2, 0)
    changes = {"windows": windows, "retain": 2 if windows else 0, "load_ns": 5e6}
    warm = Small(plan, Host(4, 3), **changes)
    warm.logits(PROMPTS[0], Piece(1, 1), Piece(2, 0))
    evict_all(warm.engine)
    warm.engine.advance()  # copies leave
    warm.bench.runner.cache.fill_random(1)
    found = warm.logits(PROMPTS[1], Piece(1, 1), Piece(3, 0))
    assert distance(found, cold) < SAME
    evict_all(warm.engine)
    warm.engine.advance()
    for piece in (piece for pool in pools for piece in pool._pieces):
        piece.random_(generator=torch.Generator().manual_seed(1))
    other = warm.logits(PROMPTS[1], Piece(1, 1), Piece(4, 0))
    assert distance(other, cold) > 4 * SAME
    assert warm.hits() == [0, 128, 128]
    loads = [(t.blocks, t.local_pages) for t in warm.transfers if t.load]
    assert loads == [(1, int(windows > 0))] * 2
    assert len(pools) == 1 + (windows > 0)


def test_copies_happen_in_order() -> None:
    """A page that was read may be written in the same batch, one that was written not be read."""
    copies = [Copy(0, 1), Copy(2, 0), Copy(1, 3), Copy(3, 1)]
    assert [len(batch) for batch in batches(copies)] == [2, 1, 1]
    bench = make_bench(CONFIG, rows=64, kv_bytes=3_000_000)
    cache = bench.runner.cache
    cache.fill_random(1)
    before = [part[:4].clone() for part in cache.of(0)]
    copy_pages(cache, copies)
    for part, was in zip(cache.of(0), before, strict=True):
        assert (part[:4] == was[[2, 0, 2, 0]]).all()


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"shift": 4}, "block_tokens"), ({"windows": 10_000}, "windows"), ({"window": 64}, "window")],
)
def test_limits_that_are_not_the_caches_are_refused(changes: dict[str, int], word: str) -> None:
    bench = make_bench(CONFIG, rows=64, kv_bytes=3_000_000)
    limits = limits_with(**({"shift": 7, "window": 128, "windows": 5} | changes))
    with pytest.raises(ValueError, match=word):
        sizes_of(CONFIG, bench.runner.cache.plan, limits, 8)


def test_an_engine_has_the_windows_that_the_pool_holds_beside_its_reserve() -> None:
    bench = make_bench(CONFIG, rows=192, kv_bytes=3_000_000)
    plan, limits = bench.runner.cache.plan, limits_with(token_budget=128)
    fit = fitted(limits, CONFIG, plan)
    sizes = sizes_of(CONFIG, plan, fit, 8)
    assert (fit.shift, fit.window) == (7, 128)
    assert 0 <= sizes.reserve - reserve_pages(fit) < 2
    assert sizes.reserve + 2 * fit.windows == plan.local_pages
    assert fitted(limits._replace(windows=0, retain=2), CONFIG, plan).retain == 0
    with pytest.raises(ValueError, match="no room"):
        fitted(limits._replace(token_budget=100_000), CONFIG, plan)
    with pytest.raises(ValueError, match="rows"):
        open_engine(
            bench.runner, limits._replace(token_budget=193), constant_curves(), FakeClock(), 8
        )
