"""Steps of a tiny model: however a sequence is cut into steps, it is the same model."""

import gc
import weakref

import numpy as np
import pytest
import torch
from model_bench import distance, make_bench, off, prompt, two_layers

import kernels.model.model as model_module
from kernels.model.config import tiny, variant
from kernels.model.reference import reference_logits
from kernels.model.steps.cache import KVCache, page_bytes, plan_cache
from kernels.model.steps.sequences import NoPages, step_of

# int8 attention quantises its probabilities tile by tile, and where a tile begins to be visible
# depends on how a sequence was cut: the same up to that.
SAME = 0.03


@pytest.fixture(scope="module")
def whole():
    """A prompt of 48 tokens at once: the bench, the tokens, all logits."""
    bench = make_bench()
    tokens = prompt(bench.config, 48)
    bench.prefill(bench.store.new(), tokens)
    return bench, tokens, bench.logits(48)


def test_a_prompt_in_chunks_is_the_prompt_at_once(whole):
    bench, tokens, logits = whole
    kv = bench.store.new()
    bench.prefill(kv, tokens[:29], samples=False)
    first = bench.logits(29)
    last = bench.prefill(kv, tokens[29:])
    second = bench.logits(19)
    assert distance(torch.cat((first, second)), logits) < SAME
    assert last.tokens[0] == int(logits[-1].argmax())
    kv.free()


def test_chunks_across_the_ends_of_pages_and_windows_are_the_prompt_at_once():
    bench = make_bench(two_layers(128))
    tokens = prompt(bench.config, 170)
    whole_kv, kv = bench.store.new(), bench.store.new()
    bench.prefill(whole_kv, tokens)
    logits, parts = bench.logits(170), []
    for piece in np.split(tokens, [60, 135]):
        bench.prefill(kv, piece)
        parts.append(bench.logits(len(piece)))
    assert distance(torch.cat(parts), logits) < SAME


def test_decoding_a_text_is_prefilling_it():
    bench = make_bench(two_layers(128))
    tokens = prompt(bench.config, 131)
    kv = bench.store.new()
    bench.prefill(kv, tokens)
    logits = bench.logits(131)
    kv.length = 126
    for i in range(126, 131):  # across the end of a page, and of the window
        result = bench.decode([(kv, int(tokens[i]))])
        assert distance(bench.logits(1), logits[i : i + 1]) < 2 * SAME
        assert result.tokens.shape == (1,)


def test_a_drawn_token_need_not_come_to_the_host():
    bench = make_bench(two_layers(128))
    tokens = prompt(bench.config, 9)
    drawn, logits = {}, {}
    for known in (True, False):
        one, two = bench.store.new(), bench.store.new()
        step = step_of(bench.config, [], [(one, tokens, True), (two, tokens[:4], True)])
        drawn[known] = bench.runner.run(step).tokens
        one.advance(9)
        two.advance(4)
        newest = drawn[known].tolist() if known else [-1, -2]
        bench.decode([(two, newest[1]), (one, newest[0])])
        logits[known] = bench.logits(2)
    assert drawn[True].tolist() == drawn[False].tolist()
    assert torch.equal(logits[True], logits[False])


def test_the_next_step_can_be_staged_while_one_runs():
    bench = make_bench(two_layers(128))
    one, two = bench.store.new(), bench.store.new()
    runner, tokens = bench.runner, prompt(bench.config, 9)
    first = runner.stage(step_of(bench.config, [], [(one, tokens, True)]))
    second = runner.stage(step_of(bench.config, [], [(two, tokens[:5], True)]))
    assert first.layers is second.layers, "of one shape"
    runner.launch(first)
    found = runner.finish(first).tokens
    runner.launch(second)
    assert found.tolist() == bench.prefill(bench.store.new(), tokens).tokens.tolist()
    again = runner.run(step_of(bench.config, [], [(bench.store.new(), tokens[:5], True)]))
    runner.launch(second)
    assert runner.finish(second).tokens.tolist() == again.tokens.tolist()


def test_decodes_and_chunks_of_others_in_one_step_change_nothing(whole):
    bench, tokens, logits = whole
    one, two, three = (bench.store.new() for _ in range(3))
    bench.prefill(one, tokens[:20], samples=False)
    bench.prefill(two, tokens[:30], samples=False)
    step = step_of(
        bench.config,
        [(one, int(tokens[20])), (two, int(tokens[30]))],
        [(three, tokens[:13], True), (bench.store.new(), tokens[:9], False)],
    )
    result = bench.runner.run(step)
    together = bench.logits(24)
    assert distance(together[:1], logits[20:21]) < 2 * SAME
    assert distance(together[1:2], logits[30:31]) < 2 * SAME
    assert distance(together[2:15], logits[:13]) < 2 * SAME
    assert distance(together[15:], logits[:9]) < 2 * SAME
    expected = [int(together[row].argmax()) for row in (0, 1, 14)]
    assert result.tokens.tolist() == expected, "decodes, then the chunk that ends its prompt"


def test_the_int8_model_is_near_the_float32_one(whole, record_property):
    bench, tokens, logits = whole
    expected = reference_logits(bench.config, bench.state, torch.tensor(tokens))
    log_p, log_q = expected.log_softmax(-1), logits.log_softmax(-1)
    divergence = float((log_p.exp() * (log_p - log_q)).sum(-1).mean())
    agreement = float((expected.argmax(-1) == logits.argmax(-1)).float().mean())
    record_property("kl_nats", divergence)
    record_property("top_1_agreement", agreement)
    assert distance(logits, expected) < 0.1
    assert divergence < 0.05
    assert agreement > 0.9


def test_no_clamp_and_no_rounding_swallows_the_random_model(whole):
    bench, tokens, _ = whole
    expected = reference_logits(bench.config, bench.state, torch.tensor(tokens))
    assert 0.5 < float(expected.std()) < 20
    kv = bench.model
    for layer in (0, 2, 3):
        pages = bench.runner.cache.of(layer).k[0, 0].float()
        assert float(pages.std()) > 20
        assert float((pages.abs() == 127).float().mean()) < 0.05
    assert kv.sums_in_products


def test_a_window_forgets_exactly_at_1024():
    config = two_layers(1024)
    bench = make_bench(config, rows=16)
    off(config, bench.state, 1)
    bench.runner.cache.fill_random(7)
    kv = bench.store.new()
    kv.extend(1025)
    local, page = bench.runner.cache.of(0), kv.tables["local"][0]

    def next_logits(length: int) -> torch.Tensor:
        kv.length = length
        bench.runner.run(step_of(config, [(kv, 5)]))
        return bench.logits(1)

    sees_token_0, sees_from_1 = next_logits(1023), next_logits(1024)
    local.k[page, 0, 0] = local.k[page, 0, 0].flip(0)
    assert torch.equal(next_logits(1024), sees_from_1), "1024 keys, its own among them"
    assert not torch.equal(next_logits(1023), sees_token_0)
    local.k[page, 0, 1] = local.k[page, 0, 1].flip(0)
    assert not torch.equal(next_logits(1024), sees_from_1)


def test_sharing_layers_read_their_owners_pages(whole, monkeypatch):
    bench, tokens, _ = whole
    seen, written = [], []
    attend, rotate = model_module.decode_attention, model_module.rotary_write

    def watch(q, scale, kv, *rest, **named):
        seen.append(kv.k.data_ptr())
        return attend(q, scale, kv, *rest, **named)

    def watch_write(*args, **named):
        written.append(named["pages"] is not None)
        return rotate(*args, **named)

    monkeypatch.setattr(model_module, "decode_attention", watch)
    monkeypatch.setattr(model_module, "rotary_write", watch_write)
    kv = bench.store.new()
    bench.decode([(kv, int(tokens[0]))])
    owner = bench.config.kv_owner
    assert [seen.index(at) for at in seen] == list(owner)
    assert written == [owner[i] == i for i in range(bench.config.layers)]
    kv.free()


@pytest.mark.parametrize(
    "changes",
    [
        {"kv_heads": 2},
        {"kv": "float16"},
        {"full_attention": True},
        {"share_kv": False},
        {"weights": "bfloat16", "kv": "float16", "kv_heads": 2},
    ],
    ids=["mha", "float16-kv", "no-window", "no-sharing", "bfloat16-gqa"],
)
def test_variants_are_the_reference_too(changes):
    config = variant(two_layers(128), **changes)
    bench = make_bench(config)
    tokens = prompt(config, 10)
    kv = bench.store.new()
    bench.prefill(kv, tokens[:8], samples=False)
    logits = [bench.logits(8)]
    for token in tokens[8:]:
        bench.decode([(kv, int(token))])
        logits.append(bench.logits(1))
    expected = reference_logits(config, bench.state, torch.tensor(tokens))
    assert distance(torch.cat(logits), expected) < 0.1


def test_pages_come_back_and_a_fork_copies_only_the_partial_one():
    bench = make_bench(two_layers(128))
    free = {kind: pool.free for kind, pool in bench.store.pools.items()}
    kv = bench.store.new()
    bench.runner.cache.fill_random(3)
    kv.extend(300)
    kv.advance(300)
    assert set(kv.held["global"]) == {0, 1, 2}
    assert set(kv.held["local"]) == {1, 2}, "the window has passed page 0"
    other = kv.fork()
    same = {i for i in range(3) if kv.held["global"][i] == other.held["global"][i]}
    assert same == {0, 1}
    alone = bench.decode([(kv, 7)]).tokens
    assert bench.decode([(other, 7)]).tokens == alone
    kv.free()
    assert bench.store.pools["global"].free == free["global"] - 3
    other.free()
    assert {kind: pool.free for kind, pool in bench.store.pools.items()} == free


def test_a_pool_that_is_empty_says_so_and_takes_nothing():
    bench = make_bench(two_layers(128), kv_bytes=3_000_000)
    pool = bench.store.pools["global"]
    held = [pool.take() for _ in range(pool.free - 1)]
    kv = bench.store.new()
    with pytest.raises(NoPages):
        kv.extend(200)
    assert pool.free == 1
    assert not kv.held["global"]
    for page in held:
        pool.give_back(page)


def test_the_memory_plan_fills_both_pools_with_the_same_sequences():
    config = tiny()
    plan = plan_cache(config, 50_000_000, context=1024, rows=512, chunks=4)
    local, whole_page = (page_bytes(config, is_global=kind) for kind in (False, True))
    used = plan.local_pages * local + plan.global_pages * whole_page
    assert used <= 50_000_000 < used + plan.window_pages * local + whole_page
    assert abs(plan.global_pages - plan.windows * 8) <= 8
    cache = KVCache(config, plan)
    assert len(cache.of(4).k) == plan.global_pages
    assert cache.of(4).k.data_ptr() == cache.of(2).k.data_ptr()
    with pytest.raises(ValueError, match="hold no sequence"):
        plan_cache(config, 1_000_000, context=1024, rows=512, chunks=4)


def test_a_step_that_is_staged_first_of_its_sizes_leaves_the_one_before_its_tokens(monkeypatch):
    bench = make_bench(two_layers(128), rows=64)
    runner = bench.runner

    def warmed_up(work):
        work()  # what capturing a graph begins with
        return work

    kv, others = bench.store.new(), [bench.store.new() for _ in range(17)]
    step = step_of(bench.config, [(kv, 9)])
    expected = runner.run(step).tokens
    monkeypatch.setattr(runner, "_captured", warmed_up)
    staged = runner.stage(step)
    runner.launch(staged)
    more = step_of(bench.config, [(other, -1) for other in others])
    after = runner.stage(more)
    assert runner.finish(staged).tokens.tolist() == expected.tolist()
    runner.launch(after)
    assert set(after.layers.inputs["tokens"][:17].tolist()) == set(expected.tolist())
    with pytest.raises(AssertionError, match="before the next is launched"):
        runner.finish(staged)


def test_graphs_that_are_given_up_are_gone_and_made_anew():
    bench = make_bench(two_layers(128), rows=64)
    runner, kv = bench.runner, bench.store.new()
    step = step_of(bench.config, [(kv, 9)])
    expected = runner.run(step).tokens
    held = weakref.ref(runner.prepare(step))
    runner.release()
    gc.collect()
    assert held() is None, "a graph that lives keeps NCCL from ending"
    assert runner.run(step).tokens.tolist() == expected.tolist()


def test_a_step_that_is_too_large_is_refused():
    bench = make_bench(two_layers(128), rows=64)
    kv = bench.store.new()
    with pytest.raises(ValueError, match="65 rows, must have 64"):
        bench.runner.run(step_of(bench.config, [], [(kv, prompt(bench.config, 65), True)]))
    assert np.all(kv.tables["global"][1:] == 0)
