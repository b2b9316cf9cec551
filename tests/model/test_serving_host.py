"""A host-memory tier behind a tiny model: what was loaded from there is the KV of those tokens."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from model_bench import distance, make_bench, prompt, two_layers
from serving_limits import constant_curves, limits_with

from calibrate.engine.clock import FakeClock
from calibrate.engine.executor import TimedExecutor, TransferTime
from calibrate.engine.journal import Event
from calibrate.engine.memory.host_tier import NO_HOST, Host
from calibrate.engine.memory.pages import Piece
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.requests import Request
from calibrate.gpu.serve.executor import ModelExecutor
from calibrate.gpu.serve.host_pool import HostPool
from calibrate.gpu.serve.opening import open_engine
from kaiju_sim.engine.policy.kv.prefix import take
from kaiju_sim.engine.policy.kv.windows import window_take
from kernels.model.config import ModelConfig, tiny
from kernels.model.steps.cache import CachePlan, KVCache, window_pages
from kernels.model.steps.runner import Runner
from kernels.model.steps.step import Ints

SAME = 0.06
"""As in test_model_steps: int8 attention quantises its probabilities tile by tile."""
ROWS, BUDGET, BLOCKS = 192, 128, 6


class Small:
    """An engine on a model, with little memory, whose time stands still but for waits."""

    def __init__(
        self, config: ModelConfig, windows: int, host: Host, device: str, **changes: float
    ) -> None:
        self.config, self.bench = config, make_bench(config, device=device, rows=ROWS)
        limits = limits_with(
            token_budget=BUDGET, shift=7, window=config.window, windows=windows,
            retain=2 if windows else 0, load_ns=5e6,
        )._replace(**changes)  # fmt: skip
        reserve = reserve_pages(limits, host=any(host)) if windows else BLOCKS
        plan = CachePlan(BLOCKS, windows, window_pages(config), reserve)
        runner = Runner(self.bench.model, KVCache(config, plan, device), ROWS)
        self.bench.runner = runner
        self.log: list[Event] = []
        self.transfers: list[TransferTime] = []
        clock, curves = FakeClock(), constant_curves()
        self.seen: list[TimedExecutor] = []

        def wrap(executor: ModelExecutor) -> TimedExecutor:
            self.seen.append(TimedExecutor(executor, clock, curves))
            return self.seen[0]

        self.engine = open_engine(
            runner, limits, curves, clock, 8, self.log.append, host=host,
            told=self.transfers.append, wrap=wrap,
        )  # fmt: skip

    def logits(self, tokens: Ints, *names: Piece) -> torch.Tensor:
        """After a prompt, alone, and one more token: decoded, behind a cached part."""
        answer = self.engine.door.submit(Request(tokens, 2, names))
        while not answer.over.is_set():
            self.engine.advance()
        self.engine.mirror.check()
        return self.bench.logits(1)

    def evict_all(self) -> None:
        """As if others had needed all memory: what is cached goes to host memory, and other KV lies
        in HBM."""
        e, mirror = self.engine.world.engine, self.engine.mirror
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
        self.engine._executor.copy(mirror.take_copies())
        self.bench.runner.cache.fill_random(1)


def prompts(config: ModelConfig) -> tuple[Ints, Ints]:
    """Two that share a page."""
    tails = prompt(config, 2, 1), prompt(config, 3, 2)
    first, second = (np.append(prompt(config, 129), tail) for tail in tails)
    return first, second


@functools.cache
def cold_logits(config: ModelConfig, device: str) -> torch.Tensor:
    """What follows the second one without a cache."""
    return Small(config, 2, NO_HOST, device, prefix_cache=0, retain=0).logits(prompts(config)[1])


def hits_in_host_memory(
    config: ModelConfig, windows: int, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """A definition of one page is shared by two prompts. It comes back from host memory; and where
    other KV lies there, the logits are others."""
    pools: list[HostPool] = []
    make = HostPool.__init__

    def make_and_note(pool: HostPool, *parts: Any) -> None:
        make(pool, *parts)
        pools.append(pool)

    monkeypatch.setattr(HostPool, "__init__", make_and_note)
    (first, second), cold = prompts(config), cold_logits(config, device)
    warm = Small(config, windows, Host(4, 3), device)
    warm.logits(first, Piece(1, 1), Piece(2, 0))
    warm.evict_all()
    assert distance(warm.logits(second, Piece(1, 1), Piece(3, 0)), cold) < SAME
    warm.evict_all()
    if device != "cpu":
        torch.cuda.synchronize()
    for piece in (piece for pool in pools for piece in pool._pieces):
        piece.random_(generator=torch.Generator().manual_seed(1))
    assert distance(warm.logits(second, Piece(1, 1), Piece(4, 0)), cold) > 4 * SAME
    hits = [event.value for event in warm.log if event.what == "admit"]
    assert hits == [0, 128, 128]
    if device != "cpu":
        torch.cuda.synchronize()
    warm.engine._executor.copy([])
    loads = [(time.blocks, time.local_pages) for time in warm.transfers if time.load]
    assert loads == [(1, int(windows > 0))] * 2
    assert len(pools) == 1 + (windows > 0)
    assert len(warm.seen[0].steps) == sum(event.what == "step" for event in warm.log)
    assert all(time.took > 0 for time in warm.transfers)


@pytest.mark.slow
@pytest.mark.parametrize("windows", [0, 3])
def test_a_hit_in_host_memory_reads_the_kv_of_those_tokens(
    windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits_in_host_memory(two_layers(128), windows, monkeypatch, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("windows", [0, 3])
def test_so_it_does_on_a_gpu(windows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hits_in_host_memory(tiny(), windows, monkeypatch, "cuda")
