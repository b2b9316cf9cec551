"""The generator on a real model in the interpreter: tokens and metrics of a candidate are those of
its own context, whoever else decodes beside it."""

from dataclasses import replace

import numpy as np
import torch

from kernels.model.config import tiny
from kernels.model.guided.beam import SearchOptions, guided_search
from kernels.model.guided.classifier import numbered_heads, random_classifier
from kernels.model.guided.paged import PagedGenerator
from kernels.model.guided.scoring import Reward, Rules
from kernels.model.head import Head
from kernels.model.model import KaijuModel
from kernels.model.state.weights import random_state
from kernels.model.steps.cache import KVCache, plan_cache
from kernels.model.steps.runner import Runner
from kernels.model.steps.sequences import SequenceStore, step_of

CONFIG = replace(
    tiny(window=128), kv_owner=(0, 1), global_layers=(1,), heads=2, hidden=128, ffn=128
)
HEADS = numbered_heads(5)


def runner_of() -> tuple[Runner, SequenceStore]:
    model = KaijuModel(CONFIG, random_state(CONFIG, seed=2))
    plan = plan_cache(CONFIG, 8_000_000, context=512, rows=32, chunks=1)
    cache = KVCache(CONFIG, plan)
    classifier = random_classifier(HEADS, CONFIG.hidden, device=model.device)
    return Runner(model, cache, 32, Head(model, classifier.metrics)), SequenceStore(cache)


def test_candidates_of_a_model_are_those_of_their_context() -> None:
    """The fork copies the page of 11 tokens. The same text is then prefilled."""
    runner, store = runner_of()
    generator = PagedGenerator(runner, store, HEADS, temperature=0.0)
    prompt = np.random.default_rng(0).integers(0, CONFIG.vocab, 12).astype(np.int32)
    start = generator.start(prompt)
    ((first, second),) = generator.fork([start], 2)
    generator._live[second].newest = 7  # another text from here on
    told = generator.decode([first, second], 2)
    for number, last in ((0, int(prompt[-1])), (1, 7)):
        text = [*prompt[:-1], last, told.tokens[number][0]]
        fresh = store.new()
        got = runner.run(step_of(CONFIG, [], [(fresh, np.array(text, np.int32), True)]))
        fresh.free()
        assert got.tokens.tolist() == [told.tokens[number][1]]
        assert got.metrics is not None
        torch.testing.assert_close(
            torch.from_numpy(got.metrics[0]), told.metrics[number], atol=0.02, rtol=0
        )
    assert float((told.metrics[0] - told.metrics[1]).abs().max()) > 0.02


def test_a_search_on_a_model() -> None:
    """Hot, as a random model with a tied embedding is sure to repeat its last token."""
    runner, store = runner_of()
    before = [pool.free for pool in store.pools.values()]
    generator = PagedGenerator(runner, store, HEADS, temperature=50.0)
    start = generator.start(np.arange(9, dtype=np.int32))
    rules = Rules(rewards=(Reward("head_003"),))
    options = SearchOptions(candidates=3, chunk=2, max_tokens=4)
    (reply,) = guided_search(generator, [start], rules, options)
    assert (len(reply.tokens), len(reply.choices), reply.ending) == (4, 2, "max_tokens")
    for choice in reply.choices:
        assert choice.scores[choice.winner] == max(choice.scores)
        assert len(set(choice.scores)) == 3
    generator.free([reply.sequence])
    assert [pool.free for pool in store.pools.values()] == before
