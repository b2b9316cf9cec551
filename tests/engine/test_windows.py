"""Retained windows of local KV equal the specification, and mean what the model says."""

from collections import Counter

import pytest
from blocks import Path, Point, Rules
from tree_state import all_windows, small_engine
from workloads import Workload, write_request

from kaiju_sim.engine.layout import Engine
from kaiju_sim.engine.policy.kv import memory as kv
from kaiju_sim.engine.policy.kv import prefix, windows

KINDS = {
    "none retained": Rules(blocks=40, windows=3),
    "turn ends": Rules(blocks=60, windows=6, retain=True),
    "turn ends, tiny": Rules(blocks=24, windows=2, retain=True),
    "one window": Rules(blocks=30, windows=1, retain=True, cache_generated=True),
    "answers cached": Rules(blocks=60, windows=7, retain=True, cache_generated=True),
    "answers cached, tiny": Rules(blocks=14, windows=3, retain=True, cache_generated=True),
    "prompt ends": Rules(blocks=60, windows=7, retain=True, cache_generated=True, prompt_ends=True),
    "roomy": Rules(blocks=300, windows=40, retain=True, cache_generated=True),
    "no prefix cache": Rules(blocks=24, windows=4, prefix_cache=False),
    "host": Rules(blocks=30, windows=3, retain=True, cache_generated=True, host=60, host_windows=9),
    "host, prompt ends": Rules(
        blocks=24,
        windows=3,
        retain=True,
        prompt_ends=True,
        cache_generated=True,
        host=30,
        host_windows=2,
    ),
    "host, turn ends": Rules(blocks=24, windows=2, retain=True, host=50, host_windows=40),
    "host, one window": Rules(
        blocks=24, windows=1, retain=True, cache_generated=True, host=50, host_windows=40
    ),
    "host, blocks only": Rules(blocks=24, windows=7, retain=True, host=50),
}


@pytest.mark.parametrize("kind", KINDS)
def test_windows_equal_the_specification_after_every_operation(kind: str) -> None:
    rules = KINDS[kind]
    counts: Counter[str] = Counter()
    for seed in range(30):
        workload = Workload(seed, rules)
        workload.run(120)
        counts.update(workload.counts)
        counts["dropped"] += sum(memory.windows_evicted for memory in workload.memories)
    assert counts["admitted"] > 300
    assert counts["withdrawn"] > 15
    assert (counts["hit"] > 20) == rules.retain
    assert (counts["loaded"] > 20) == ("host" in kind)
    assert (counts["dropped"] > 50) == (rules.retain and kind != "roomy")


HEAD, ONE, TWO, NONE = 100, 1, 2, 3


def turn(stream: int, blocks: int) -> Path:
    """A dialogue's prompt: a head of two blocks, then so many of its own."""
    return [(HEAD, 2), (NONE, 0), (NONE, 0), (stream, blocks)]


def serve(e: Engine, path: Path, answer: int = 1) -> int:
    """A message alone on replica 0, all its life; its cached prompt tokens."""
    tokens = 4 * sum(n for _, n in path) + 1
    write_request(e, 0, path, tokens)
    assert kv.admit(e, 0, 0, 0)
    kv.end_prefill(e, 0, 0)
    context = tokens + answer
    held = int(e.requests[0].blocks)
    extra = kv.blocks_of(context, e.limits.shift) - held
    prefix.take(e.caches[0], e.nodes, e.node_index, e.node_pool[0], extra)
    kv.leave(e, 0, 0, context, held + extra)
    return int(e.requests[0].hit)


def kept(e: Engine) -> list[tuple[Point, bool]]:
    """Retained windows of replica 0, oldest first."""
    return all_windows(e)[0]


def test_a_dialogue_takes_its_window_back_and_copies_that_of_the_head() -> None:
    e = small_engine(blocks=60, windows=8, retain=True, cache_generated=True)
    assert serve(e, turn(ONE, 1)) == 0
    assert kept(e) == [((HEAD, 2), True), ((ONE, 1), False)]
    assert serve(e, turn(TWO, 1)) == 8  # the head, copied
    assert kept(e) == [((ONE, 1), False), ((HEAD, 2), True), ((TWO, 1), False)]
    assert serve(e, turn(ONE, 3), answer=5) == 12  # head and first turn, handed over
    assert kept(e) == [((HEAD, 2), True), ((TWO, 1), False), ((ONE, 4), False)]


def test_cached_blocks_are_of_no_use_without_a_window() -> None:
    e = small_engine(blocks=60, windows=8, retain=False)
    assert serve(e, turn(ONE, 3)) == 0
    assert serve(e, turn(ONE, 3)) == 0
    assert kept(e) == []


def test_a_hit_ends_at_the_last_window_within_the_cached_blocks() -> None:
    e = small_engine(blocks=60, windows=8, retain=True)
    serve(e, turn(ONE, 2))
    serve(e, turn(ONE, 7))  # takes the window at 2 and leaves one at 7
    serve(e, [(HEAD, 2), (NONE, 0), (NONE, 0), (TWO, 1)])
    write_request(e, 1, turn(ONE, 9), 45)
    lo, hi = e.limits.stride, 2 * e.limits.stride
    usable = [windows.resume_point(e, 0, lo, hi, cached)[0] for cached in (0, 1, 2, 8, 9, 11)]
    assert usable == [0, 0, 2, 2, 9, 9]


def test_with_one_pool_every_cached_block_is_of_use() -> None:
    e = small_engine(blocks=60)
    serve(e, turn(ONE, 3))
    assert serve(e, turn(ONE, 2)) == 16


def test_a_point_that_is_retained_already_costs_no_other_window() -> None:
    """Two dialogues compute the same head at once; the second copy is not needed."""
    e = small_engine(blocks=60, windows=4, retain=True)
    serve(e, [(NONE, 0), (NONE, 0), (NONE, 0), (TWO, 2)])
    for slot, stream in enumerate((ONE, NONE)):
        write_request(e, slot, [(HEAD, 2), (stream, 0)], 9)
        assert kv.admit(e, 0, slot, 0)
    kv.end_prefill(e, 0, 0)
    assert e.caches[0].windows_free == 0
    kv.end_prefill(e, 0, 1)
    assert kept(e) == [((TWO, 2), False), ((HEAD, 2), True)]
    assert e.caches[0].windows_evicted == 0


def test_a_message_waits_where_every_window_is_in_use() -> None:
    e = small_engine(blocks=60, windows=1, retain=True)
    for slot in range(2):
        write_request(e, slot, turn(ONE, 1), 13)
    assert kv.admit(e, 0, 0, 0)
    assert not kv.admit(e, 0, 1, 0)
    kv.end_prefill(e, 0, 0)
    kv.leave(e, 0, 0, 14, int(e.requests[0].blocks))
    assert kv.admit(e, 0, 1, 0)


def test_with_definitions_only_a_turn_end_is_not_kept() -> None:
    e = small_engine(blocks=60, windows=8, retain=True, cache_generated=True)
    e = e._replace(limits=e.limits._replace(retain=1))
    assert serve(e, turn(ONE, 1)) == 0
    assert kept(e) == [((HEAD, 2), True)]
    assert serve(e, turn(ONE, 3)) == 8  # the head's window only
    assert kept(e) == [((HEAD, 2), True)]
    assert e.caches[0].windows_free == 7
