"""The engine's candidates on a tiny model: pages, draws and choices are those of the model's own
search, `kernels.model.guided`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from serving_limits import constant_curves, limits_with

from calibrate.engine.beams import Choice, child_seed
from calibrate.engine.clock import FakeClock
from calibrate.engine.executor import ChunkRows, Decodes, Draw, StepPlan
from calibrate.engine.memory.free import Copy, Pool
from calibrate.engine.requests import Request
from calibrate.gpu.serve.executor import ModelExecutor, copy_pages, draws_of, pieces
from calibrate.gpu.serve.opening import Guide, open_engine
from calibrate.gpu.serve.scoring import GuidedScorer
from kernels.model.config import ModelConfig, tiny
from kernels.model.guided import paged
from kernels.model.guided.beam import Decoded, Reply, SearchOptions, guided_search
from kernels.model.guided.classifier import HeadNames, numbered_heads, random_classifier
from kernels.model.guided.paged import PagedGenerator
from kernels.model.guided.scoring import Reward, Rules, Threshold
from kernels.model.head import Head
from kernels.model.model import KaijuModel
from kernels.model.state.weights import random_state
from kernels.model.steps.cache import KVCache, plan_cache
from kernels.model.steps.runner import Result, Runner
from kernels.model.steps.sequences import SequenceStore, chunk
from kernels.model.steps.step import Draws, Step, no_decodes

CONFIG = replace(
    tiny(window=128), kv_owner=(0, 1), global_layers=(1,), heads=2, hidden=128, ffn=128
)
HEADS = numbered_heads(5)
RULES = Rules(rewards=(Reward("head_003"),))
COUNT, CHUNK, MOST, HOT = 2, 3, 5, 30.0
PROMPTS = [np.random.default_rng(n).integers(0, CONFIG.vocab, n).astype(np.int32) for n in (9, 126)]


def runner_of(config: ModelConfig = CONFIG, device: str = "cpu") -> Runner:
    model = KaijuModel(config, random_state(config, 2, device))
    plan = plan_cache(config, 60_000_000, context=512, rows=160, chunks=1)
    classifier = random_classifier(HEADS, config.hidden, device=model.device)
    return Runner(model, KVCache(config, plan, device), 160, Head(model, classifier.metrics))


class Renumbered:
    """A runner for which tokens are numbered from their answer's first, as the engine's are."""

    def __init__(self, runner: Runner, prompt: int) -> None:
        self.runner, self.rows, self.prompt = runner, runner.rows, prompt

    def run(self, step: Step, draws: Draws | None = None) -> Result:
        if draws is not None:
            draws = replace(draws, step=draws.step - (self.prompt - 1))
        return self.runner.run(step, draws)


class Noting(PagedGenerator):
    """Keeps what was judged."""

    def decode(self, sequences: Sequence[int], steps: int) -> Decoded:
        decoded = super().decode(sequences, steps)
        self.judged = [*getattr(self, "judged", []), decoded.metrics.numpy()]
        return decoded


def by_search(prompt: np.ndarray, seed: int, *model: Any) -> tuple[Reply, list[np.ndarray]]:
    runner = runner_of(*model)
    store = SequenceStore(runner.cache)
    generator = Noting(Renumbered(runner, len(prompt)), store, HEADS, temperature=HOT)
    options = SearchOptions(candidates=COUNT, chunk=CHUNK, max_tokens=MOST)
    start = generator.start(prompt, seed)
    (reply,) = guided_search(generator, [start], RULES, options)
    return reply, generator.judged


@pytest.mark.slow
def test_the_engine_answers_as_the_models_own_search(monkeypatch: pytest.MonkeyPatch) -> None:
    as_by_search(monkeypatch, CONFIG, "cpu")


@pytest.mark.gpu
def test_so_it_does_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    as_by_search(monkeypatch, tiny(window=128), "cuda")


def as_by_search(monkeypatch: pytest.MonkeyPatch, *model: Any) -> None:
    """Two messages side by side, one of which crosses into a second page. Prompts are computed in
    other pieces, so metrics differ by the rounding of int8 attention."""
    judged: dict[int, list[np.ndarray]] = {0: [], 1: []}
    choose = GuidedScorer.choose

    def noted(self: GuidedScorer, groups: Sequence[Sequence[np.ndarray]]) -> list[Choice]:
        for n, group in enumerate(groups):
            judged[n].append(np.stack(group))
        return choose(self, groups)

    monkeypatch.setattr(GuidedScorer, "choose", noted)
    limits = limits_with(token_budget=160, max_seqs=4, candidates=COUNT, chunk=CHUNK)
    steps: list[int] = []

    class Wrapped(ModelExecutor):
        """Around the model's: whoever judges looks at that."""

        def __init__(self, inner: ModelExecutor) -> None:
            self.inner = inner

        def run(self, plan: StepPlan) -> np.ndarray:
            steps.append(len(plan.decodes))
            return self.inner.run(plan)

    engine = open_engine(
        runner_of(*model), limits, constant_curves(), FakeClock(), 4, wrap=Wrapped,
        guide=Guide(RULES, HEADS),
    )  # fmt: skip
    answers = [
        engine.door.submit(Request(prompt, MOST, temperature=HOT, seed=5 + n))
        for n, prompt in enumerate(PROMPTS)
    ]
    engine.door.close()
    engine.run()
    engine.mirror.check()
    assert max(steps) == COUNT * len(PROMPTS)
    winners = []
    for n, (prompt, answer) in enumerate(zip(PROMPTS, answers, strict=True)):
        reply, expected = by_search(prompt, 5 + n, *model)
        assert answer.tokens == reply.tokens
        winners.append([choice.winner for choice in reply.choices])
        np.testing.assert_allclose(judged[n], expected, atol=0.03)
        assert max(np.ptp(each, 0).max() for each in expected) > 0.1
    assert {winner for each in winners for winner in each} == {0, 1}


def test_candidates_draw_with_the_seeds_of_the_models_own_search() -> None:
    for seed in (0, 5, 1 << 40, (1 << 63) - 1):
        assert [child_seed(seed, c) for c in range(4)] == [
            paged.child_seed(seed, c) for c in range(4)
        ]


def test_several_tokens_are_drawn_from_one_row() -> None:
    """Each as if it were drawn alone; and no more than a step has room for."""
    runner = runner_of()
    store = SequenceStore(runner.cache)
    tokens = PROMPTS[0]
    kv = store.new()
    kv.extend(len(tokens))
    whole = chunk(kv, tokens)
    seeds, steps = np.array([3, 4, 5], np.int64), np.array([0, 0, 7], np.int32)

    def draws(rows: slice) -> Draws:
        hot = np.full(3, HOT, np.float32)
        return Draws(hot[rows], seeds[rows], steps[rows])

    together = runner.run(Step(no_decodes(CONFIG), [replace(whole, samples=3)]), draws(slice(3)))
    assert together.metrics is not None
    assert len(set(together.tokens.tolist())) > 1
    for i in range(3):
        alone = runner.run(Step(no_decodes(CONFIG), [whole]), draws(slice(i, i + 1)))
        assert alone.tokens[0] == together.tokens[i]
        np.testing.assert_array_equal(alone.metrics, together.metrics[i : i + 1])
    with pytest.raises(ValueError, match="gives 17 tokens, must give 16 at most"):
        runner.run(Step(no_decodes(CONFIG), [replace(whole, samples=17)]))


def test_a_step_is_cut_where_it_gives_more_tokens_than_there_is_room_for() -> None:
    draw = Draw(1.0, 0, 0)
    ends, goes_on = ChunkRows(0, PROMPTS[0], 0, [draw] * 6), ChunkRows(1, PROMPTS[0], 0)
    cut = [len(piece) for piece in pieces([ends, ends, goes_on, ends, ends], 0)]
    assert cut == [3, 2]  # 16 samples
    assert [len(piece) for piece in pieces([ends] * 9, 40)] == [4, 2, 2, 1]  # 64 samples, then 16
    assert [len(piece) for piece in pieces([goes_on] * 20, 40)] == [16, 4]
    assert [len(piece) for piece in pieces([], 40)] == [0]


@pytest.mark.parametrize("one_pool", [False, True])
def test_a_chunk_begins_on_copies_in_all_layers_that_its_pages_have(one_pool: bool) -> None:
    """A global page is copied in the global layer, and in the local one if it is that one's too."""
    cache = runner_of().cache
    cache.fill_random(1)
    before = [[part[:4].clone() for part in cache.of(layer)] for layer in (0, 1)]
    copies = [Copy(0, 1, Pool.GLOBAL, Pool.GLOBAL), Copy(1, 2, Pool.GLOBAL, Pool.GLOBAL)]
    copy_pages(cache, [*copies, Copy(0, 3)], one_pool=one_pool)
    local = [0, 0, 0, 0] if one_pool else [0, 1, 2, 0]
    for layer, pages in ((0, local), (1, [0, 0, 0, 3])):
        for part, was in zip(cache.of(layer), before[layer], strict=True):
            assert (part[:4] == was[pages]).all()


def test_a_seed_keeps_all_its_bits() -> None:
    seed = (1 << 62) + 1
    for ends in ([], [Draw(1.0, seed + 2, 5)]):
        columns = (np.array([x]) for x in (0, 1, 2))
        decodes = Decodes(*columns, np.array([1.0]), np.array([seed]), np.array([3]))
        drawn = draws_of(decodes, [ChunkRows(0, PROMPTS[0], 0, ends)])
        assert drawn.seed.tolist() == [seed, *(end.seed for end in ends)]
        assert drawn.step.tolist() == [3, *(end.made for end in ends)]


class Told:
    """What ran a step, with these metrics of two heads."""

    def __init__(self, *rows: tuple[float, float]) -> None:
        self.metrics: np.ndarray | None = np.array(rows, np.float32)


def test_candidates_are_judged_by_the_rules() -> None:
    """Two messages; rows in any order; none of the second one's passes."""
    heads = HeadNames(["good", "bad"])
    rules = Rules((Threshold("bad", 0.5),), (), (Reward("good"),))
    told = Told((0.9, 0.6), (0.2, 0.1), (0.4, 0.5), (0.3, 0.7), (0.8, 0.9))
    for ending, last in (("flag", Choice(1, True)), ("refuse", Choice(None, True))):
        scorer = GuidedScorer(told, rules, heads, ending)
        first = scorer.marks([2, 0, 1])
        second = scorer.marks([3, 4])
        assert scorer.choose([first, second]) == [Choice(0, False), last]
    told.metrics = None
    with pytest.raises(ValueError, match="no classifier"):
        scorer.marks([0])
    with pytest.raises(ValueError, match="no head 'bat'"):
        GuidedScorer(told, Rules((Threshold("bat", 0.5),)), heads)


def test_more_candidates_than_a_row_can_be_drawn_for_are_refused() -> None:
    limits = limits_with(token_budget=160, max_seqs=4, candidates=17, chunk=CHUNK)
    with pytest.raises(ValueError, match="candidates: 17, must be 16 at most"):
        open_engine(runner_of(), limits, constant_curves(), FakeClock(), 4)
    many = limits._replace(candidates=4, max_seqs=41)
    with pytest.raises(ValueError, match="rows"):
        open_engine(runner_of(), many, constant_curves(), FakeClock(), 4)
