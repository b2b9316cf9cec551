"""The figures of a trace against slow, literal computations of their definitions."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_trace_paths import BLOCK, trace_of

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces import Fleet, Trace, analyse, parse_fleet
from kaiju_sim.workload.traces.analysis import index_of_dispersion, interarrival_cv, lengths
from kaiju_sim.workload.traces.reuse import POLICIES, fleet_reuse, ideal_reuse, lru_reuse

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=6, unique=True), min_size=1, max_size=20)
SECOND = 1_000_000_000


def arriving(at_s: list[float]) -> Trace:
    """A trace without ids whose rows arrive at these seconds."""
    ones = np.ones(len(at_s), dtype=np.int64)
    arrival = np.array([round(second * SECOND) for second in at_s], dtype=np.int64)
    return Trace("made", "csv", "", 0, arrival, ones, ones, None, None, None, None, BLOCK)


class SlowCache:
    """LRU as the definition says it, on a list with the most recent id last."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.ids = capacity, list[int]()

    def match(self, blocks: list[int]) -> int:
        absent = [index for index, block in enumerate(blocks) if block not in self.ids]
        return absent[0] if absent else len(blocks)

    def insert(self, blocks: list[int]) -> None:
        for block in blocks[::-1]:
            self.ids = [one for one in self.ids if one != block] + [block]
        self.ids = self.ids[-self.capacity :]


def slow_choice(
    policy: str, caches: list[SlowCache], sent: list[int], row: int, ids: list[int]
) -> int:
    if policy == "rr":
        return row % len(caches)
    if policy == "hash":
        return (ids[1] if len(ids) > 1 else ids[0]) % len(caches)
    matches = [cache.match(ids) for cache in caches]
    scores = [0 if match <= 1 else match for match in matches]
    best = [index for index, score in enumerate(scores) if score == max(scores)]
    fewest = min(sent[index] for index in best)
    return next(index for index in best if sent[index] == fewest)


@given(rows=ROWS, capacity=st.integers(1, 12))
def test_lru_is_the_definition(rows: list[list[int]], capacity: int) -> None:
    trace, cache, matched = trace_of(rows), SlowCache(capacity), []
    for blocks in rows:
        matched.append(cache.match(blocks))
        cache.insert(blocks)
    hit = lru_reuse(trace, capacity)
    assert hit.block == pytest.approx(sum(matched) / max(sum(map(len, rows)), 1))
    tokens = sum(
        min(count * BLOCK, int(n)) for count, n in zip(matched, trace.prompt_tokens, strict=True)
    )
    assert hit.token == pytest.approx(tokens / trace.prompt_tokens.sum())


@given(rows=ROWS)
def test_ideal_is_lru_without_end(rows: list[list[int]]) -> None:
    trace = trace_of(rows)
    ideal, endless = ideal_reuse(trace), lru_reuse(trace, 1000)
    assert (ideal.block_hit, ideal.token_hit) == endless
    assert ideal.blocks == sum(map(len, rows))
    assert ideal.distinct == len({block for blocks in rows for block in blocks})


@given(
    rows=ROWS,
    caches=st.integers(1, 4),
    capacity=st.integers(1, 12),
    policy=st.sampled_from(sorted(POLICIES)),
)
def test_fleet_is_the_definition(
    rows: list[list[int]], caches: int, capacity: int, policy: str
) -> None:
    slow, sent, matched = [SlowCache(capacity) for _ in range(caches)], [0] * caches, 0
    for row, blocks in enumerate(rows):
        if blocks:
            index = slow_choice(policy, slow, sent, row, blocks)
            matched += slow[index].match(blocks)
            slow[index].insert(blocks)
            sent[index] += len(blocks)
    result = fleet_reuse(trace_of(rows), Fleet(caches, capacity, policy))
    total = max(sum(sent), 1)
    assert result.block == pytest.approx(matched / total)
    assert result.imbalance == pytest.approx(max(sent) / (total / caches))


def test_a_partial_block_counts_its_tokens_only() -> None:
    trace = trace_of([[1, 2], [1, 2]])
    short = Trace(
        "made", "csv", "", 0, trace.arrival_ns, np.array([513, 513]), trace.output_tokens,
        None, None, trace.block_ids, trace.block_offsets, BLOCK,
    )  # fmt: skip
    assert ideal_reuse(short).token_hit == 0.5


@given(
    gaps=st.lists(st.integers(0, 5 * SECOND), min_size=1, max_size=60),
    window_s=st.integers(1, 4),
)
def test_dispersion_is_variance_over_mean(gaps: list[int], window_s: int) -> None:
    arrival = np.concatenate([[0], np.cumsum(gaps)]).astype(np.int64)
    ones = np.ones(len(arrival), dtype=np.int64)
    trace = Trace("made", "csv", "", 0, arrival, ones, ones, None, None, None, None, BLOCK)
    value = index_of_dispersion(trace, window_s)
    whole = int(arrival[-1]) // (window_s * SECOND)
    if whole < 2:
        assert value is None
        return
    edges = np.arange(whole + 1) * window_s * SECOND
    counts = np.array([((arrival >= a) & (arrival < b)).sum() for a, b in zip(edges, edges[1:])])  # noqa: B905
    assert value == pytest.approx(counts.var() / counts.mean())


def test_even_arrivals_have_no_dispersion() -> None:
    trace = arriving([float(second) for second in range(100)])
    assert index_of_dispersion(trace, 10) == 0
    assert interarrival_cv(trace) == 0


def test_a_long_empty_trace_costs_nothing() -> None:
    value = index_of_dispersion(arriving([0, 0, 5e9]), 1)
    assert value == pytest.approx(2, rel=1e-6)


def test_figures_that_do_not_exist_are_null() -> None:
    figures = analyse(arriving([0.0]), iod_s=[1, 10])
    assert figures["iod"] == {"1": None, "10": None}
    assert figures["rate_per_s"] is None
    assert figures["interarrival_cv"] is None
    assert analyse(arriving([0.0, 0.0]))["iod"] == {}
    json.dumps(figures, allow_nan=False)


def test_windows_follow_the_span() -> None:
    assert list(analyse(arriving([0.0, 25.0]))["iod"]) == ["1", "10"]
    assert list(analyse(arriving([0.0, 125.0]))["iod"]) == ["1", "10", "30", "60"]


def test_quantiles_are_linear_between_ranks() -> None:
    figures = lengths(np.array([1, 2, 3, 4], dtype=np.int64))
    assert figures == pytest.approx(
        {"n": 4, "mean": 2.5, "p50": 2.5, "p90": 3.7, "p99": 3.97, "max": 4, "min": 1}
    )


def test_reuse_needs_block_ids() -> None:
    with pytest.raises(UserError, match="has no block ids"):
        analyse(arriving([0.0]), lru=[1000])
    with pytest.raises(UserError, match="has no block ids"):
        analyse(arriving([0.0]), fleet=[Fleet(4, 1000, "rr")])
    assert "ideal" not in analyse(arriving([0.0]))


def test_a_fleet_reads_back_as_it_prints() -> None:
    fleet = Fleet(4, 1000, "cache_aware")
    assert str(fleet) == "N4_C1000_cache_aware"
    assert parse_fleet(str(fleet)) == fleet


@pytest.mark.parametrize(
    "text",
    ["", "rr", "N0_C1_rr", "N4_C0_rr", "N4_C1000", "N4_C1000_random", "N-4_C1_rr", "N9999_C1_rr"],
)
def test_a_broken_fleet_names_what_is_allowed(text: str) -> None:
    with pytest.raises(UserError, match="policy rr, hash, cache_aware"):
        parse_fleet(text)
