"""The reuse curve against caches that are simulated one by one."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_trace_paths import trace_of

from kaiju_sim.workload.traces.distances import WaveletMatrix, reuse_curve, stack_distances
from kaiju_sim.workload.traces.model import Trace
from kaiju_sim.workload.traces.reuse import ideal_reuse, lru_reuse

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=20)


@given(rows=ROWS)
def test_every_size_equals_the_simulated_cache(rows: list[list[int]]) -> None:
    """Ids may be anything here, a block twice in a row too."""
    trace = trace_of([*rows, [1, 2]])
    curve = reuse_curve(trace)
    assert curve is not None
    for capacity in range(1, 14):
        assert curve.at(capacity) == pytest.approx(lru_reuse(trace, capacity))
    ideal = ideal_reuse(trace)
    assert curve.at(10**12) == pytest.approx((ideal.block_hit, ideal.token_hit))


class SlowTokens:
    """LRU over chunks of various sizes: the last used ones that fit together."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.stack = capacity, list[tuple[int, int]]()

    def row(self, row: list[tuple[int, int]]) -> int:
        held, size = set(), 0
        for chunk, tokens in reversed(self.stack):
            size += tokens
            if size > self.capacity:
                break
            held.add(chunk)
        absent = [at for at, (chunk, _) in enumerate(row) if chunk not in held]
        for item in row[::-1]:
            self.stack = [one for one in self.stack if one[0] != item[0]] + [item]
        return sum(tokens for _, tokens in row[: absent[0] if absent else len(row)])


@given(
    rows=st.lists(st.lists(st.integers(0, 7), max_size=5, unique=True), min_size=1, max_size=15),
    sizes=st.lists(st.integers(1, 50), min_size=8, max_size=8),
    capacity=st.integers(1, 300),
)
def test_chunks_take_their_tokens(rows: list[list[int]], sizes: list[int], capacity: int) -> None:
    plain = trace_of([*rows, [0]])
    assert plain.block_ids is not None
    lengths = np.array(sizes, dtype=np.int64)[plain.block_ids]
    trace = Trace(
        "made", "ragpulse", "", 0, plain.arrival_ns, plain.prompt_tokens, plain.output_tokens,
        None, None, plain.block_ids, plain.block_offsets, 512, lengths,
    )  # fmt: skip
    curve, slow = reuse_curve(trace), SlowTokens(capacity)
    assert curve is not None
    matched = sum(slow.row([(one, sizes[one]) for one in row]) for row in [*rows, [0]])
    assert curve.at(capacity).token == pytest.approx(matched / lengths.sum())


@given(
    values=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    queries=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 40)), min_size=1, max_size=20),
)
def test_the_wavelet_matrix_counts(values: list[int], queries: list[tuple[int, int]]) -> None:
    weights = np.arange(len(values)) + 3
    ends = np.minimum([end for end, _ in queries], len(values))
    lows = np.minimum([low for _, low in queries], max(values))
    got = WaveletMatrix(np.array(values), weights).sum_at_least(ends, lows)
    want = [
        sum(int(w) for v, w in zip(values[:end], weights, strict=False) if v >= low)
        for end, low in zip(ends.tolist(), lows.tolist(), strict=True)
    ]
    assert got.tolist() == want


def test_two_hundred_thousand_uses_take_seconds() -> None:
    ids = np.random.default_rng(1).zipf(1.3, 200_000) % 50_000
    offsets = np.arange(0, 200_001, 20)
    start = time.perf_counter()
    stack_distances(ids, offsets, np.ones_like(ids))
    assert time.perf_counter() - start < 5


def test_the_sizes_for_shares_of_the_ideal() -> None:
    curve = reuse_curve(trace_of([[1], [2], [3], [1], [2], [3], [3]]))
    assert curve is not None
    assert curve.need.tolist() == [1, 3, 3, 3]
    assert curve.size_for(0.25) == 1
    assert curve.size_for(0.5) == 3
    assert [point.size for point in curve.points()] == [2, 3]
    nothing = reuse_curve(trace_of([[1], [2]]))
    assert nothing is not None
    assert nothing.size_for(0.5) is None
    assert nothing.at(10).token == 0
    assert len(nothing.points()) == 1
