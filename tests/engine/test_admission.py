"""A message's KV memory, from admission to its end, equals the block-by-block specification."""

from collections import Counter

import pytest
from blocks import Path, Rules
from tree_state import small_engine
from workloads import Workload, write_request

from kaiju_sim.engine.layout import DECODE_FIRST, PREFILL_FIRST, Engine
from kaiju_sim.engine.policy import batching
from kaiju_sim.engine.policy.kv import memory as kv

KINDS = {
    "plain": Rules(blocks=24),
    "tiny": Rules(blocks=10),
    "answers cached": Rules(blocks=24, cache_generated=True),
    "answers cached, tiny": Rules(blocks=11, cache_generated=True),
    "roomy": Rules(blocks=400, cache_generated=True),
    "token blocks": Rules(blocks=30, block_tokens=1, cache_generated=True),
    "no prefix cache": Rules(blocks=24, prefix_cache=False),
    "host memory": Rules(blocks=20, host=15),
    "little host memory": Rules(blocks=14, host=3, cache_generated=True),
    "much host memory": Rules(blocks=16, host=400, cache_generated=True),
}


@pytest.mark.parametrize("kind", KINDS)
def test_memory_equals_the_specification_after_every_operation(kind: str) -> None:
    counts: Counter[str] = Counter()
    for seed in range(40):
        workload = Workload(seed, KINDS[kind])
        workload.run(120)
        counts.update(workload.counts)
    assert counts["admitted"] > 400
    if kind != "roomy":
        assert min(counts["refused"], counts["preempted"]) > 20
    assert (counts["loaded"] > 50) == ("host" in kind)
    if kind != "no prefix cache":
        assert counts["hit"] > 100
        assert counts["adopted"] > 5


def queue(e: Engine, *messages: tuple[Path, int]) -> None:
    """Put messages (path, prompt) into the queue of replica 0, as requests 0, 1, ..."""
    for slot, (path, prompt) in enumerate(messages):
        write_request(e, slot, path, prompt)
        e.requests[slot].next = slot + 1 if slot + 1 < len(messages) else -1
    e.replicas[0].wait = 0
    e.replicas[0].wait_tail = len(messages) - 1


def chunks(e: Engine, count: int) -> list[int]:
    """Prompt tokens of each message in the step that was formed."""
    return [int(e.requests[q].chunk) for q in range(count)]


def test_prompts_share_the_token_budget_first_come_first_served() -> None:
    e = small_engine(blocks=100)
    queue(e, ([], 50), ([], 30), ([], 30))
    batch = batching.form_batch(e, 0, 0)
    assert chunks(e, 3) == [50, 14, 0]
    assert batch.rows == e.limits.token_budget == 64
    assert e.replicas[0].wait == 2
    assert e.replicas[0].filling == 2


def test_a_message_that_does_not_fit_holds_up_those_behind_it() -> None:
    e = small_engine(blocks=10)
    queue(e, ([], 20), ([], 20), ([], 3))
    batching.form_batch(e, 0, 0)
    assert chunks(e, 3) == [20, 0, 0]
    assert e.replicas[0].blocked == 1


@pytest.mark.parametrize(
    ("policy", "rows", "decodes"), [(DECODE_FIRST, 58, 6), (PREFILL_FIRST, 64, 0)]
)
def test_the_policies_share_a_step_differently(policy: int, rows: int, decodes: int) -> None:
    e = small_engine(blocks=100)
    e = e._replace(limits=e.limits._replace(policy=policy))
    e.replicas[0].running = 6
    queue(e, ([], 90))
    batch = batching.form_batch(e, 0, 0)
    assert (batch.rows, batch.decodes) == (rows, decodes)


def test_a_cached_prompt_has_one_token_to_compute() -> None:
    e = small_engine(blocks=100)
    queue(e, ([(1, 3)], 12), ([(1, 3)], 12))
    batching.form_batch(e, 0, 0)
    kv.end_prefill(e, 0, 0)
    write_request(e, 2, [(1, 3)], 12)
    assert kv.admit(e, 0, 2, 0)
    assert (e.requests[2].hit, e.requests[2].todo) == (11, 1)


def test_blocks_that_were_computed_twice_let_the_next_message_in() -> None:
    e = small_engine(blocks=10)
    same = ([(1, 4)], 17)
    queue(e, same, same, ([(2, 3)], 13))
    batching.form_batch(e, 0, 0)
    assert (e.replicas[0].filling, e.replicas[0].blocked) == (2, 1)
    kv.end_prefill(e, 0, 0)
    kv.end_prefill(e, 0, 1)
    assert e.caches[0].free == 4
    batching.form_batch(e, 0, 1)
    assert e.replicas[0].filling == 3


def test_a_preempted_answer_is_not_taken_for_another_prompt() -> None:
    """Two rows of a trace branch: the second goes on where the first one's prompt ends."""
    e = small_engine(blocks=40)
    queue(e, ([(1, 2)], 8))
    batching.form_batch(e, 0, 0)
    kv.end_prefill(e, 0, 0)
    kv.leave(e, 0, 0, 17, 4)
    batching.requeue(e, 0, 0, 9)
    batching.form_batch(e, 0, 1)
    assert (e.requests[0].prompt, e.requests[0].hit) == (17, 8)
    kv.end_prefill(e, 0, 0)
    write_request(e, 1, [(1, 5)], 20)
    assert kv.admit(e, 0, 1, 1)
    assert e.requests[1].hit == 8


def test_a_preempted_answer_is_found_again_where_answers_are_cached() -> None:
    e = small_engine(blocks=40, cache_generated=True)
    queue(e, ([(9, 0), (9, 0), (9, 0), (1, 2)], 8))
    batching.form_batch(e, 0, 0)
    kv.end_prefill(e, 0, 0)
    kv.leave(e, 0, 0, 18, 5)
    batching.requeue(e, 0, 0, 10)
    batching.form_batch(e, 0, 1)
    assert (e.requests[0].prompt, e.requests[0].hit, e.requests[0].todo) == (18, 16, 2)
