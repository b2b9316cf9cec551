"""The engine on a tiny model: what is hit in the cache is the KV of those very tokens."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from model_bench import distance, make_bench, prompt, two_layers
from serving_limits import constant_curves, limits_with

from calibrate.engine import steady
from calibrate.engine.clock import FakeClock
from calibrate.engine.journal import Event
from calibrate.engine.memory.free import Copy
from calibrate.engine.memory.pages import Piece
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.requests import Request
from calibrate.gpu.serve.bench import TorchServing
from calibrate.gpu.serve.executor import batches, copy_pages, sizes_of
from calibrate.gpu.serve.opening import fitted, open_engine
from kernels.model.steps.step import Ints

CONFIG = two_layers(128)
SAME = 0.06
"""As in test_model_steps: int8 attention quantises its probabilities tile by tile."""


class Small:
    """An engine on a model of two layers, whose time stands still."""

    def __init__(self, **changes: int) -> None:
        bench = make_bench(CONFIG, rows=192, kv_bytes=3_000_000)
        self.bench, self.log = bench, list[Event]()
        limits = limits_with(token_budget=128, **changes)
        self.engine = open_engine(
            bench.runner, limits, constant_curves(), FakeClock(), 8, self.log.append
        )

    def logits(self, tokens: Ints, *names: Piece) -> torch.Tensor:
        """After a prompt, alone, and one more token: decoded, behind a cached part."""
        answer = self.engine.door.submit(Request(tokens, 2, names))
        while not answer.over.is_set():
            self.engine.advance()
        self.engine.mirror.check()
        return self.bench.logits(1)


@pytest.mark.slow
def test_a_hit_reads_the_kv_of_those_tokens() -> None:
    """A definition of one page is shared by two prompts. And where other KV lies in those pages,
    the logits are others."""
    head, tail = prompt(CONFIG, 129), prompt(CONFIG, 3, 2)
    prompts = [np.concatenate([head, other]) for other in (prompt(CONFIG, 2, 1), tail)]
    expected = Small(prefix_cache=0, retain=0).logits(prompts[1])
    warm = Small()
    warm.logits(prompts[0], Piece(1, 1), Piece(2, 0))
    again = warm.logits(prompts[1], Piece(1, 1), Piece(3, 0))
    assert distance(again, expected) < SAME
    warm.bench.runner.cache.fill_random(1)
    other = warm.logits(prompts[1], Piece(1, 1), Piece(4, 0))
    assert distance(other, expected) > 4 * SAME
    hits = [event.value for event in warm.log if event.what == "admit"]
    assert hits == [0, 128, 128]


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


@pytest.mark.slow
def test_the_engines_own_time_is_measured_on_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a job does it: a steady load, and what the runner took of each step."""
    monkeypatch.setattr(steady, "DEFINITION_BLOCKS", 2)
    bench = make_bench(CONFIG, rows=1024, kv_bytes=60_000_000)
    serving = TorchServing(SimpleNamespace(runner=bench.runner, config=CONFIG))  # type: ignore
    (step,) = serving.run(1, 0.01)
    assert step[2:6] == (1, 0, 0, 0)
    assert 0 < step.after_ns < (step.period_s - step.step_s) * 1e9
    assert 0 < step.step_s < step.period_s < step.step_s + 1
    serving.close()
