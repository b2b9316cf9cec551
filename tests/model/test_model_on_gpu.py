"""A model on a GPU: graphs do what eager launches do; the int8 model is near the float32 one."""

import numpy as np
import pytest
import torch
from model_bench import Bench, distance, make_bench, prompt

from kernels.model.config import ModelConfig, kaiju, tiny, variant
from kernels.model.guided.beam import SearchOptions, guided_search
from kernels.model.guided.classifier import numbered_heads, random_classifier
from kernels.model.guided.paged import PagedGenerator
from kernels.model.guided.scoring import Reward, Rules
from kernels.model.head import Head
from kernels.model.reference import reference_logits
from kernels.model.steps.runner import Runner

pytestmark = pytest.mark.gpu

SMALL = kaiju("small", 12, hidden=5120, heads=64, ffn=17536, vocab=1024)


def texts(bench: Bench, batch: int, before: int, steps: int) -> torch.Tensor:
    """The residual stream of every step of decoding `batch` texts."""
    rng = np.random.default_rng(0)
    sequences = [bench.store.new() for _ in range(batch)]
    for kv in sequences:
        bench.prefill(kv, prompt(bench.config, before, int(rng.integers(1 << 20))), samples=False)
    seen, clutter = [], []
    for _ in range(steps):
        bench.decode([(kv, int(rng.integers(bench.config.vocab))) for kv in sequences])
        seen.append(bench.runner.work.x[:batch].cpu())
        # Whatever a graph needs and nobody keeps would be given to somebody else here.
        clutter += [torch.full((size,), -1, device="cuda") for size in (16, 600, 4000, 70_000)]
    for kv in sequences:
        kv.free()
    return torch.stack(seen)


@pytest.mark.parametrize(
    ("config", "batch", "before"),
    [(tiny(), 1, 380), (tiny(), 40, 120), (SMALL, 1, 250), (SMALL, 40, 130), (SMALL, 200, 30)],
    ids=["tiny-1", "tiny-40", "wide-1", "wide-40", "wide-200"],
)
def test_graphs_do_what_eager_launches_do(config, batch, before):
    found = [
        texts(make_bench(config, device="cuda", graphs=graphs, kv_bytes=2_000_000_000),
              batch, before, 12)
        for graphs in (False, True)
    ]  # fmt: skip
    assert torch.equal(found[0], found[1])


def errors(config: ModelConfig, tokens: int) -> tuple[float, float, float]:
    """Relative error of the logits, KL divergence in nats, top-1 agreement, of one prompt."""
    bench = make_bench(config, device="cuda", kv_bytes=2_000_000_000)
    text = prompt(config, tokens)
    bench.prefill(bench.store.new(), text)
    logits = bench.logits(tokens)
    expected = reference_logits(config, bench.state, torch.tensor(text, device="cuda"))
    log_p, log_q = expected.log_softmax(-1), logits.log_softmax(-1)
    divergence = float((log_p.exp() * (log_p - log_q)).sum(-1).mean())
    agreement = float((expected.argmax(-1) == logits.argmax(-1)).float().mean())
    return distance(logits, expected), divergence, agreement


def test_the_int8_model_is_near_the_float32_one(record_property):
    error, divergence, agreement = errors(SMALL, 500)
    record_property("kl_nats", divergence)
    record_property("top_1_agreement", agreement)
    assert error < 0.08
    assert divergence < 0.02
    assert agreement > 0.7


@pytest.mark.parametrize(
    "changes",
    [{"kv_heads": 8}, {"kv_heads": 64}, {"kv": "float16"}, {"full_attention": True},
     {"share_kv": False}, {"weights": "bfloat16", "kv": "float16", "kv_heads": 8}],
    ids=["gqa", "mha", "float16-kv", "no-window", "no-sharing", "bfloat16-gqa"],
)  # fmt: skip
def test_variants_are_near_the_float32_model_too(changes):
    assert errors(variant(SMALL, **changes), 300)[0] < 0.08


def test_a_guided_search_is_the_same_from_graphs():
    names = numbered_heads(7)
    found = []
    for graphs in (False, True):
        bench = make_bench(device="cuda", graphs=graphs)
        classifier = random_classifier(names, bench.config.hidden, device=bench.model.device)
        head = Head(bench.model, classifier.metrics)
        runner = Runner(bench.model, bench.runner.cache, 512, head, graphs=graphs)
        generator = PagedGenerator(runner, bench.store, names, temperature=50.0)
        starts = [generator.start(prompt(bench.config, 40 + i, i), seed=i) for i in range(3)]
        rules = Rules(rewards=(Reward("head_003"),))
        found.append(guided_search(generator, starts, rules, SearchOptions(max_tokens=48)))
    plain, captured = ([(r.tokens, r.ending) for r in replies] for replies in found)
    assert plain == captured
