"""The engine on a tiny model: what is hit in the cache is the KV of those very tokens."""

import numpy as np
import pytest
from model_bench import make_bench, prompt, two_layers
from serving_limits import constant_curves, limits_with

from calibrate.engine.clock import FakeClock
from calibrate.engine.engine import Engine, Event
from calibrate.engine.pages import Piece
from calibrate.engine.requests import Request
from calibrate.engine.rings import Copy
from calibrate.gpu.serve.executor import ModelExecutor, batches, copy_pages, sizes_of
from kernels.model.steps.step import Ints

CONFIG = two_layers(128)


class Small:
    """An engine on a model of two layers, whose time stands still."""

    def __init__(self, **changes: int) -> None:
        bench = make_bench(CONFIG, rows=192, kv_bytes=3_000_000)
        limits = limits_with(shift=7, window=128, windows=5, token_budget=160, **changes)
        sizes = sizes_of(CONFIG, bench.runner.cache.plan, limits, 8)
        self.cache, self.log = bench.runner.cache, list[Event]()
        executor = ModelExecutor(bench.runner)
        self.engine = Engine(
            limits, constant_curves(), sizes, executor, FakeClock(), self.log.append
        )

    def answer(self, tokens: Ints, most: int, *names: Piece) -> list[int]:
        """What it says to a prompt, alone."""
        answer = self.engine.door.submit(Request(tokens, most, names, temperature=1.0, seed=3))
        while not answer.over.is_set():
            self.engine.advance()
        self.engine.mirror.check()
        return answer.tokens


def test_a_hit_reads_the_kv_of_those_tokens() -> None:
    """A definition of one page is shared by two prompts. And where other KV lies in those pages,
    the answer is another one."""
    head, tail = prompt(CONFIG, 130), prompt(CONFIG, 5, 2)
    prompts = [np.concatenate([head, other]) for other in (prompt(CONFIG, 4, 1), tail)]
    expected = Small(prefix_cache=0, retain=0).answer(prompts[1], 5)
    warm = Small()
    warm.answer(prompts[0], 1, Piece(1, 1), Piece(2, 0))
    assert warm.answer(prompts[1], 5, Piece(1, 1), Piece(3, 0)) == expected
    warm.cache.fill_random(1)
    assert warm.answer(prompts[1], 5, Piece(1, 1), Piece(4, 0)) != expected
    hits = [event.value for event in warm.log if event.what == "admit"]
    assert hits == [0, 128, 128]
    assert len(set(expected)) == 5


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
