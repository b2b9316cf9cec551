"""The index of the tree's nodes finds exactly the live ones, whatever came and went, and grows."""

from random import Random

import numpy as np
import pytest
from blocks import Rules
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_state import as_records
from workloads import Workload

from kaiju_sim.engine.layout import NODE
from kaiju_sim.engine.make import make_index, make_pool
from kaiju_sim.engine.policy.kv import index as store
from kaiju_sim.engine.policy.kv import prefix
from kaiju_sim.fleet.setup.grow import larger, rebuilt_index

MOST_STREAM = prefix.local_stream((1 << 50) - 1, 4095)
KEYS = [(stream, start) for stream in (0, 4096, MOST_STREAM) for start in range(4)]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(KEYS), max_size=60))
def test_a_crowded_index_finds_exactly_what_is_in_it(toggled: list[tuple[int, int]]) -> None:
    nodes = np.zeros(12, NODE).view(np.recarray)
    index = np.full(16, -1, np.int32)
    pool = make_pool().view(np.recarray)[0]
    live: dict[tuple[int, int], int] = {}
    for key in toggled:
        if key in live:
            prefix.drop_node(nodes, index, pool, live.pop(key))
        else:
            live[key] = prefix.new_node(nodes, index, pool, *key, 1, 0)
        assert {key: store.find(nodes, index, *key) for key in KEYS} == {
            key: live.get(key, -1) for key in KEYS
        }
        assert np.count_nonzero(index >= 0) == pool.live == len(live)
        assert pool.used == pool.peak <= nodes.size
    assert pool.overrun == 0


def random_nodes(count: int) -> np.ndarray:
    """Nodes of few streams, so that neighbours in the key are common."""
    draw = Random(count)
    keys = {(draw.randrange(count // 4 + 1) << 40, draw.randrange(1000)) for _ in range(count)}
    nodes = np.zeros(count, NODE)
    for x, (stream, start) in enumerate(keys):
        nodes[x]["stream"] = stream
        nodes[x]["start"] = start
    return nodes[: len(keys)].view(np.recarray)


@pytest.mark.parametrize("count", [1, 5, 100, 3000])
def test_a_rebuilt_index_equals_a_fresh_one(count: int) -> None:
    nodes = random_nodes(count)
    index = make_index(nodes.size)
    for x in range(nodes.size):
        store.index_add(nodes, index, x)
    fresh = np.full(index.size * 2, -1, np.int32)
    for x in range(nodes.size):
        store.index_add(nodes, fresh, x)
    rebuilt = rebuilt_index(nodes, index)
    # Linear probing fills the same slots in any order; within a cluster the order may differ.
    assert rebuilt.dtype == fresh.dtype
    assert ((rebuilt >= 0) == (fresh >= 0)).all()
    assert sorted(rebuilt[rebuilt >= 0]) == list(range(nodes.size))
    for x in range(nodes.size):
        assert store.find(nodes, rebuilt, int(nodes[x].stream), int(nodes[x].start)) == x
    assert store.find(nodes, rebuilt, 1, 0) == -1
    for x in range(0, nodes.size, 2):
        store.index_remove(nodes, rebuilt, x)
    found = [
        store.find(nodes, rebuilt, int(nodes[x].stream), int(nodes[x].start))
        for x in range(nodes.size)
    ]
    assert found == [x if x % 2 else -1 for x in range(nodes.size)]


def test_the_tree_goes_on_in_larger_arrays() -> None:
    workload = Workload(7, Rules(blocks=300, cache_generated=True), nodes=32)
    for _ in range(400):
        e = workload.engine
        if e.nodes.size - e.node_pool["live"][0] < 24:
            nodes = larger(e.nodes, 2 * e.nodes.size, NODE)
            index = rebuilt_index(nodes, e.node_index)
            workload.engine = as_records(e._replace(nodes=nodes, node_index=index))
        workload.operate()
    assert workload.engine.nodes.size > 32


def test_the_hash_of_a_key_is_the_same_for_one_and_for_many() -> None:
    keys = [
        (prefix.local_stream(s, k), b)
        for s in (0, 1, (1 << 50) - 1)
        for k in (0, 4095)
        for b in (0, 1, 2**31 - 1)
    ]
    streams, starts = np.array(keys, np.int64).T
    many = store.home(streams, starts, 0xFFFFFFFF)
    assert many.tolist() == [store.home(*key, 0xFFFFFFFF) for key in keys]
    assert len(set(many.tolist())) == len(keys)
    assert MOST_STREAM < 1 << 62


def test_a_pool_that_is_too_small_says_so() -> None:
    nodes = np.zeros(2, NODE).view(np.recarray)
    pool = make_pool().view(np.recarray)[0]
    assert [store.pool_take(pool, nodes) for _ in range(2)] == [0, 1]
    store.pool_give(pool, nodes, 0)
    assert store.pool_take(pool, nodes) == 0
    assert pool.overrun == 0
    store.pool_take(pool, nodes)
    assert pool.overrun == 1
