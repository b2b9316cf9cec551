"""The radix tree of KV blocks equals a block-by-block cache, and a flat LRU on real traces."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blocks import Memory, Message, Rules
from blocks import Path as Pieces
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_state import all_blocks, small_engine

from kaiju_sim.engine.layout import NODE, SEGMENT
from kaiju_sim.engine.make import make_caches, make_index, make_pool
from kaiju_sim.engine.policy.kv import prefix
from kaiju_sim.workload.traces import prefix_paths, read_trace
from kaiju_sim.workload.traces.reuse import LruCache, leading

FILES = {
    "mooncake_conversation_dev": "mooncake/conversation_trace.t0-2400s.jsonl.zst",
    "mooncake_synthetic": "mooncake/synthetic_trace.jsonl.zst",
}
# Four streams, as (before, stream): two roots, a branch inside the first, one off its very start.
FORKS: list[Pieces] = [[(1, 5)], [(2, 5)], [(1, 2), (3, 5)], [(1, 0), (4, 3)]]


class Pair:
    """A tree and its specification, driven through the functions of the tree alone."""

    def __init__(self, blocks: int, host: int = 0) -> None:
        """Both empty, `blocks` free, and `host` blocks of host memory."""
        self.engine = small_engine(blocks=blocks, replicas=1, host=(host, 0))
        self.cache = self.engine.caches[0]
        self.memory = Memory(Rules(blocks=blocks, host=host))
        self.inside: list[Message] = []

    @property
    def tree(self) -> tuple[Any, Any, Any, Any]:
        """What functions of the tree change."""
        e = self.engine
        return self.cache, e.nodes, e.node_index, e.node_pool[0]

    def write(self, path: Pieces) -> tuple[Any, int, int]:
        """The path as segments, looked up: all messages share them here, so each has to find its
        first nodes again (a request keeps its own segments as long as it holds its path)."""
        e = self.engine
        for i, (stream, n) in enumerate(path):
            e.segments[i].stream = stream
            e.segments[i].n = n
        prefix.match(e.nodes, e.node_index, 0, e.segments, 0, len(path))
        return e.segments, 0, len(path)

    def look_up(self, path: Pieces) -> int:
        """Leading blocks in HBM; those in host memory and the idle ones are counted exactly."""
        e = self.engine
        got, hbm, idle = prefix.match(e.nodes, e.node_index, 0, *self.write(path))
        found = self.memory.match(path)
        assert got == len(found)
        assert got - hbm == sum(block in self.memory.host for block in found)
        assert idle == sum(block in self.memory.idle for block in found)
        return hbm

    def enter(self, path: Pieces) -> None:
        """Hold what is there and take the rest, if there is room."""
        found = [block for block in self.memory.match(path) if block not in self.memory.host]
        got = self.look_up(path)
        own = sum(n for _, n in path) - got
        others = [block for block in self.memory.idle if block not in found]
        if own > self.memory.free + len(others):
            return
        prefix.hold(*self.tree, 0, *self.write(path), got)
        prefix.take(*self.tree, own)
        self.memory.hold(found)
        self.memory.allocate(own)
        self.inside.append(Message(list(path), 1, found, own))

    def commit(self, message: Message, more: int) -> None:
        """Name the path, after `more` blocks of its last stream were computed, if there is room."""
        if more > self.memory.free + len(self.memory.idle):
            return
        prefix.take(*self.tree, more)
        self.memory.allocate(more)
        message.own += more
        stream, n = message.path[-1]
        message.path[-1] = stream, n + more
        named = len(message.named)
        total = prefix.commit(*self.tree, 0, *self.write(message.path), named)
        self.memory.name(message)
        assert total == len(message.named)
        assert message.own == 0

    def release(self, message: Message) -> None:
        """Commit what is left and let go."""
        self.commit(message, 0)
        prefix.release(*self.tree, 0, *self.write(message.path))
        self.memory.let_go(message)
        self.inside.remove(message)

    def compare(self) -> None:
        """Block by block."""
        far, idle, holders = all_blocks(self.engine)[0]
        assert far == list(self.memory.host)
        assert idle == list(self.memory.idle)
        assert holders == self.memory.holders
        assert self.cache.free == self.memory.free
        assert self.cache.evicted == self.memory.evicted


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "commit", "release"]),
        st.integers(0, 3),
        st.integers(0, 5),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=150)
@given(blocks=st.integers(3, 20), host=st.sampled_from([0, 1, 4, 30]), operations=OPERATIONS)
def test_tree_equals_the_specification_after_every_operation(
    blocks: int, host: int, operations: list[tuple[str, int, int]]
) -> None:
    pair = Pair(blocks, host)
    for kind, which, n in operations:
        if kind == "enter":
            *front, (stream, most) = FORKS[which]
            pair.enter([*front, (stream, min(n, most))])
        elif pair.inside:
            message = pair.inside[which % len(pair.inside)]
            if kind == "commit":
                pair.commit(message, n % 3)
            else:
                pair.release(message)
        pair.compare()


def test_two_that_compute_the_same_prompt_keep_one_copy() -> None:
    pair = Pair(12)
    pair.enter([(1, 5)])
    pair.enter([(1, 5), (2, 1)])
    first, second = pair.inside
    assert pair.cache.free == 1  # nothing has a name yet, so both hold blocks of their own
    pair.commit(first, 0)
    assert pair.cache.free == 1
    pair.commit(second, 0)
    assert pair.cache.free == 6
    assert all_blocks(pair.engine)[0][2] == {(1, i): 2 for i in range(5)} | {(2, 0): 1}


def test_a_prompt_cannot_be_hit_before_it_is_computed() -> None:
    pair = Pair(12)
    pair.enter([(1, 5)])
    assert pair.look_up([(1, 5)]) == 0
    pair.commit(pair.inside[0], 0)
    assert pair.look_up([(1, 5)]) == 5


def test_eviction_takes_the_leaf_of_the_least_recently_used_path() -> None:
    pair = Pair(8)
    for path in ([(1, 3)], [(2, 3)]):
        pair.enter(path)
        pair.release(pair.inside[0])
    pair.enter([(3, 4)])
    pair.compare()
    assert all_blocks(pair.engine)[0][1] == [(1, 0), (2, 2), (2, 1), (2, 0)]


def test_a_dialogue_stays_one_node_whatever_its_turns() -> None:
    pair = Pair(100)
    for n in range(5, 60, 5):
        pair.enter([(1, 2), (2, n)])
        pair.release(pair.inside[0])
        pair.compare()
        assert pair.engine.node_pool["live"][0] == 2


def hits_of_tree(paths: Any, rows: int, capacity: int) -> list[int]:
    """Leading blocks of each row that a tree of `capacity` blocks has."""
    nodes = np.zeros(2 * capacity, NODE).view(np.recarray)
    index = make_index(nodes.size)
    pool = make_pool().view(np.recarray)[0]
    cache = make_caches(1, capacity, 0).view(np.recarray)[0]
    segments = np.zeros(int(np.diff(paths.run_offsets).max()), SEGMENT).view(np.recarray)
    tree = cache, nodes, index, pool
    hits = []
    for row in range(rows):
        runs = slice(paths.run_offsets[row], paths.run_offsets[row + 1])
        count = runs.stop - runs.start
        segments.stream[:count] = paths.run_stream[runs]
        segments.n[:count] = paths.run_blocks[runs]
        path = 0, segments, 0, count
        got, _, _ = prefix.match(nodes, index, *path)
        prefix.hold(*tree, *path, got)
        prefix.take(*tree, int(segments.n[:count].sum()) - got)
        prefix.commit(*tree, *path, got)
        prefix.release(*tree, *path)
        hits.append(got)
    assert pool.overrun == 0
    assert cache.free + cache.idle == capacity
    return hits


@pytest.mark.parametrize(
    ("name", "capacity"),
    [
        ("mooncake_conversation_dev", 1000),
        ("mooncake_conversation_dev", 10000),
        ("mooncake_synthetic", 5000),
    ],
)
def test_tree_equals_the_flat_lru_of_a_real_trace_in_every_row(
    name: str, capacity: int, shared_data: Path
) -> None:
    trace = read_trace(shared_data / FILES[name])
    paths = prefix_paths(trace)
    hits = hits_of_tree(paths, trace.rows, capacity)
    flat = LruCache(capacity)
    for row, blocks in enumerate(trace.row_blocks()):
        assert hits[row] == leading(flat, blocks), f"row {row}"
        flat.insert(blocks)
    prompt = np.asarray(trace.prompt_tokens)
    block_hit = sum(hits) / int(paths.run_blocks.sum())
    token_hit = int(np.minimum(np.array(hits) * 512, prompt).sum()) / int(prompt.sum())
    expected = json.loads((shared_data / "expected.json").read_text())[name]["lru"][str(capacity)]
    assert [round(block_hit, 4), round(token_hit, 4)] == expected
