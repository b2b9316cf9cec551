"""The generator on real page tables, with a runner whose cache holds tokens: what a sequence says
depends on every token that its tables show, so a page that was shared wrongly changes the reply.
"""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from kernels.common.layout import PAGE
from kernels.model.config import ModelConfig, tiny
from kernels.model.guided.beam import SearchOptions, guided_search
from kernels.model.guided.classifier import HeadNames
from kernels.model.guided.paged import PagedGenerator
from kernels.model.guided.scoring import Reward, Rules, Threshold
from kernels.model.steps.cache import CachePlan
from kernels.model.steps.runner import Result
from kernels.model.steps.sequences import NoPages, SequenceStore
from kernels.model.steps.step import Draws, Step

CONFIG = tiny(window=256)
HEADS = HeadNames(["good", "bad"])
BAD = 0.55
RULES = Rules((Threshold("bad", BAD),), (), (Reward("good"),))
END = 3
VOCAB = 97


class TokenCache:
    """A cache whose pages hold token ids."""

    def __init__(self, plan: CachePlan, config: ModelConfig = CONFIG) -> None:
        self.plan, self.config = plan, config
        self.pages = {
            "global": np.full((plan.global_pages, PAGE), -1),
            "local": np.full((plan.local_pages, PAGE), -1),
        }

    def copy_pages(self, pairs: Sequence[tuple[int, int]], *, is_global: bool) -> None:
        pages = self.pages["global" if is_global else "local"]
        for source, target in pairs:
            pages[target] = pages[source]


def said(context: Sequence[int], window: Sequence[int], seed: int, step: int) -> int:
    """The next token: of all that is seen, and of the random numbers."""
    return hash((tuple(context), tuple(window), seed, step)) % VOCAB


def felt(context: Sequence[int]) -> tuple[float, float]:
    """Two probabilities."""
    number = hash(tuple(context)) % 10_007
    return number % 101 / 101, number // 101 / 100


class TokenRunner:
    """Runs steps on a `TokenCache`."""

    def __init__(self, cache: TokenCache, rows: int = 100) -> None:
        self.cache, self.rows = cache, rows
        self.steps: list[int] = []

    def run(self, step: Step, draws: Draws | None = None) -> Result:
        assert step.rows <= self.rows
        self.steps.append(step.rows)
        for chunk in step.chunks:
            tables = chunk.global_table, chunk.local_table
            for i, token in enumerate(chunk.tokens):
                self._seen(*tables, chunk.cached + i + 1, int(token))
            assert not chunk.samples
        rows = step.decodes
        tokens, metrics = [], []
        for i, token in enumerate(rows.tokens):
            tables = rows.global_table[i], rows.local_table[i]
            context, window = self._seen(*tables, int(rows.limit[i]), int(token))
            assert draws is not None
            tokens.append(said(context, window, int(draws.seed[i]), int(draws.step[i])))
            metrics.append(felt(context))
        return Result(np.array(tokens, np.int32), np.array(metrics, np.float32).reshape(-1, 2))

    def _seen(
        self, whole: np.ndarray, local: np.ndarray, limit: int, token: int
    ) -> list[list[int]]:
        """Writes the newest token, then reads all that the row sees."""
        seen = []
        for kind, table, first in (("global", whole, 0), ("local", local, max(0, limit - 256))):
            pages = self.cache.pages[kind]
            pages[table[(limit - 1) // PAGE], (limit - 1) % PAGE] = token
            seen.append([int(pages[table[i // PAGE], i % PAGE]) for i in range(first, limit)])
        return seen


def twin(prompt: Sequence[int], seed: int, options: SearchOptions) -> list[int]:
    """The search on lists of tokens."""
    context, reply = list(prompt), []
    while len(reply) < options.max_tokens:
        tries = []
        for candidate in range(options.candidates):
            own = (seed * 6364136223846793005 + 2 * candidate + 1) % (1 << 63)
            text: list[int] = []
            for _ in range(min(options.chunk, options.max_tokens - len(reply))):
                read = context + text
                p = felt(read)
                text.append(said(read, read[-256:], own, len(read) - 1))
                if text[-1] == END:
                    break
            p = tuple(float(np.float32(x)) for x in p)
            tries.append((p[1] > BAD, -(p[0] ** 0.5), candidate, own, text))
        filtered, _, _, seed, text = min(tries)
        context, reply = context + text, reply + text
        if filtered or text[-1] == END:
            break
    return reply


def generator_of(plan: CachePlan, **options: object) -> tuple[PagedGenerator, SequenceStore]:
    cache = TokenCache(plan)
    store = SequenceStore(cache)  # type: ignore[arg-type]
    runner = TokenRunner(cache)
    return PagedGenerator(runner, store, HEADS, end_tokens=[END], **options), store


PLENTY = CachePlan(global_pages=120, windows=24, window_pages=3, transient_pages=4)


def free_pages(store: SequenceStore) -> list[int]:
    return [pool.free for pool in store.pools.values()]


def test_the_search_reads_and_says_what_lists_of_tokens_would() -> None:
    """Prompts within a page, at its end, and beyond the window; they share the steps."""
    generator, store = generator_of(PLENTY)
    before = free_pages(store)
    prompts = [np.arange(n, dtype=np.int32) % 50 for n in (1, 2, 100, 128, 129, 300, 500)]
    starts = [generator.start(prompt, seed=n) for n, prompt in enumerate(prompts)]
    options = SearchOptions(max_tokens=70)
    replies = guided_search(generator, starts, RULES, options)
    for n, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
        assert reply.tokens == twin(prompt.tolist(), n, options), n
    assert {reply.ending for reply in replies} == {"end_token", "max_tokens", "filtered"}
    generator.free([reply.sequence for reply in replies])
    assert free_pages(store) == before


def test_a_sequence_can_be_searched_again() -> None:
    """The reply is in the cache: a second search goes on from it."""
    generator, _ = generator_of(PLENTY)
    once = SearchOptions(max_tokens=32, chunk=8)
    start = generator.start(np.arange(150, dtype=np.int32))
    (reply,) = guided_search(generator, [start], Rules(), SearchOptions(max_tokens=16, chunk=8))
    (rest,) = guided_search(
        generator, [reply.sequence], Rules(), SearchOptions(max_tokens=16, chunk=8)
    )
    other, _ = generator_of(PLENTY)
    (whole,) = guided_search(other, [other.start(np.arange(150, dtype=np.int32))], Rules(), once)
    assert reply.ending == rest.ending == "max_tokens"
    assert reply.tokens + rest.tokens == whole.tokens


@pytest.mark.parametrize("pages", [3, 8, 16])
def test_when_pages_are_short_none_is_lost(pages: int) -> None:
    """Three prompts of one page each: no fork, a fork of some, a fork of all but no second page."""
    generator, store = generator_of(replace(PLENTY, global_pages=pages))
    before = free_pages(store)
    starts = [generator.start(np.arange(120, dtype=np.int32)) for _ in range(3)]
    with pytest.raises(NoPages):
        guided_search(generator, starts, Rules(), SearchOptions(candidates=4))
    assert free_pages(store) == before


def test_a_prompt_that_finds_no_pages_holds_none() -> None:
    generator, store = generator_of(replace(PLENTY, global_pages=2))
    with pytest.raises(NoPages):
        generator.start(np.arange(400, dtype=np.int32))
    assert free_pages(store)[0] == 2


def test_metrics_need_a_classifier() -> None:
    generator, store = generator_of(PLENTY)
    before = free_pages(store)
    runner = generator._runner
    blind = SimpleNamespace(
        rows=100, run=lambda step, draws=None: runner.run(step, draws)._replace(metrics=None)
    )
    search = PagedGenerator(blind, store, HEADS)
    start = search.start(np.arange(9, dtype=np.int32))
    with pytest.raises(ValueError, match="runner: its head has no classifier"):
        guided_search(search, [start], Rules())
    assert free_pages(store) == before


def test_a_prompt_has_a_token() -> None:
    generator, _ = generator_of(PLENTY)
    with pytest.raises(ValueError, match="prompt: is empty, must have a token"):
        generator.start(np.zeros(0, np.int32))
