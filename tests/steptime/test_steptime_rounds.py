"""Prefill attention in rounds of resident programs."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kaiju_sim.engine.policy.pacing import Batch, attention_ns, no_work, rounds_of, with_chunk
from kaiju_sim.steptime.curves import OPERATORS, SLOTS, Curves, chunk_rounds, in_rounds
from kaiju_sim.steptime.grid import lines_on_grid

ROUND, WINDOW = 264, 1024
CHUNKS = st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 2_000)), min_size=1, max_size=5)


def batch_of(chunks: list[tuple[int, int]], round_tokens: int = ROUND) -> Batch:
    batch = no_work()
    for start, n in chunks:
        batch = with_chunk(batch, start, n, WINDOW, round_tokens)
    return batch


def test_a_round_that_is_not_full_costs_a_full_one() -> None:
    assert in_rounds(ROUND, 1000, ROUND) == 1000
    assert in_rounds(ROUND // 2, 1000, ROUND) == 2000
    assert in_rounds(ROUND + 1, 265_000, ROUND) == 528_000
    assert in_rounds(10, 1000, 0) == 1000
    assert in_rounds(0, 0, ROUND) == 0


def test_a_short_chunk_costs_its_longest_row_throughout_a_round() -> None:
    assert chunk_rounds(1, 8000, 8000, ROUND) == 8000 * ROUND
    assert chunk_rounds(100, 5050, 100, ROUND) == 100 * ROUND
    assert chunk_rounds(100, 5050, 100, 0) == 5050


def test_a_long_context_among_short_ones_counts_by_itself() -> None:
    """One token after 8,000 in a round with 200 that see little: they all wait for it."""
    pairs, near = rounds_of(batch_of([(0, 200), (7_999, 1)]), ROUND)
    assert pairs == 8_000 * ROUND
    assert near == WINDOW * ROUND


@given(CHUNKS)
def test_without_rounds_pairs_are_pairs(chunks: list[tuple[int, int]]) -> None:
    pairs = sum(start + i for start, n in chunks for i in range(1, n + 1))
    near = sum(min(start + i, WINDOW) for start, n in chunks for i in range(1, n + 1))
    batch = batch_of(chunks, 0)
    assert rounds_of(batch, 0) == (pairs, near) == (batch.pairs, batch.near)


@given(CHUNKS, st.integers(0, 20_000), st.integers(1, 500))
def test_rounds_cost_at_least_the_pairs_and_each_chunk(
    chunks: list[tuple[int, int]], start: int, n: int
) -> None:
    batch = batch_of(chunks)
    assert all(got >= least for got, least in zip(rounds_of(batch, ROUND), batch[1:3], strict=True))
    more = rounds_of(with_chunk(batch, start, n, WINDOW, ROUND), ROUND)
    alone = rounds_of(batch_of([(start, n)]), ROUND)
    assert all(both >= one for both, one in zip(more, alone, strict=True))


def test_each_group_has_rounds_of_its_own() -> None:
    line = [lines_on_grid(lambda x: x) for _ in range(10)]
    curves = Curves(
        kind=OPERATORS,
        mean_ns=0.0,
        host_ns=0.0,
        rows_ns=np.zeros(4),
        seqs_ns=np.zeros(4),
        slope=np.stack([slope for slope, _ in line]),
        offset=np.stack([offset for _, offset in line]),
        rounds=np.array([0, 100]),
        each=False,
        rows=2,
        seqs=2,
    )
    assert curves.slope.shape == (10, SLOTS)
    one = batch_of([(0, 10)], 0)
    assert attention_ns(curves, one, 0) == 55 + 55
    assert attention_ns(curves, one, 1) == 550 + 550
