"""The plan of a decode step: every tile once, whatever the lengths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.common import schedule
from kernels.common.schedule import DecodePlan, allocate, fill

PAGE = 128
START = schedule.START_TILES


def plan_for(start: list[int], limit: list[int], workers: int) -> DecodePlan:
    edges = (torch.tensor(values, dtype=torch.int32) for values in (start, limit))
    return fill(allocate(*edges, workers=workers, kv_heads=1, rows=64))


def tiles_of(start: int, limit: int) -> int:
    return -(-limit // PAGE) - start // PAGE if start < limit else 0


def owners_of_tiles(plan: DecodePlan, total: int) -> list[int | None]:
    """Which worker takes each tile; checks that none is taken twice and each record is true."""
    edges = plan.edges.tolist()
    taken: list[int | None] = [None] * total
    for worker, (first, last, b, edge, next_edge, *rest) in enumerate(plan.records.tolist()):
        if first == last:
            continue
        assert edges[b] == edge <= first < next_edge == edges[b + 1]
        assert rest[:2] == [int(plan.start[b]), int(plan.limit[b])]
        assert rest[2:4] == plan.owners[b].tolist()
        for tile in range(first, last):
            assert taken[tile] is None
            taken[tile] = worker
    return taken


LENGTHS = st.lists(
    st.tuples(st.integers(0, 5000), st.sampled_from([0, 0, 100, 1024, 6000])),
    min_size=1,
    max_size=24,
)


@settings(max_examples=60)
@given(LENGTHS, st.sampled_from([1, 3, 8, 33]))
def test_every_tile_has_one_worker(lengths: list[tuple[int, int]], workers: int) -> None:
    limit = [length for length, _ in lengths]
    start = [max(0, length - window) if window else 0 for length, window in lengths]
    plan = plan_for(start, limit, workers)
    tiles = [tiles_of(*edges) for edges in zip(start, limit, strict=True)]
    assert plan.edges.tolist() == [sum(tiles[:b]) for b in range(len(tiles) + 1)]
    taken = owners_of_tiles(plan, sum(tiles))
    assert None not in taken
    for b, (head, count) in enumerate(plan.owners.tolist()):
        if tiles[b]:
            here = taken[plan.edges[b] : plan.edges[b + 1]]
            assert here[0] == head
            assert sorted(set(here)) == list(range(head, head + count))


def even_ranges(tiles: list[int], workers: int) -> list[tuple[int, int]]:
    """Each worker's tiles where work is cut evenly, START included: each sequence is written out
    as START places at its first tile, and then its tiles."""
    places, first = [], 0
    for count in tiles:
        places += [first] * START * (count > 0) + list(range(first, first + count))
        first += count
    working = max(1, min(workers, first // schedule.LEAST_TILES))
    cuts = [w * len(places) // working for w in range(working + 1)]
    edges = [places[cut] if cut < len(places) else first for cut in cuts]
    return list(zip(edges, edges[1:], strict=False)) + [(0, 0)] * (workers - working)


@settings(max_examples=60)
@given(LENGTHS, st.sampled_from([1, 3, 8, 33]))
def test_even_cuts_count_a_start_for_each_sequence(
    lengths: list[tuple[int, int]], workers: int
) -> None:
    limit = [length for length, _ in lengths]
    start = [max(0, length - window) if window else 0 for length, window in lengths]
    plan = plan_for(start, limit, workers)
    tiles = [tiles_of(*edges) for edges in zip(start, limit, strict=True)]
    if not plan.records[0, 9]:
        assert [tuple(r) for r in plan.records[:, :2].tolist()] == even_ranges(tiles, workers)


def test_short_sequences_do_not_pile_up_on_a_worker() -> None:
    """40 of one tile and 4 of 100: a worker has few of either."""
    plan = plan_for([0] * 44, [100] * 40 + [12800] * 4, 44)
    costs = []
    for first, last, *_ in plan.records.tolist():
        inside = [edge for edge in plan.edges[:-1].tolist() if first <= edge < last]
        costs.append(last - first + START * len(inside))
    assert not plan.records[0, 9]
    assert max(costs) <= -(-(440 + 44 * START) // 44) + START


@pytest.mark.parametrize(
    ("batch", "tokens", "workers"),
    [(128, 8192, 264), (512, 8192, 132), (256, 1024, 264), (16, 8192, 132), (64, 8192, 132)],
)
def test_the_slowest_worker_is_near_the_mean(batch: int, tokens: int, workers: int) -> None:
    plan = plan_for([0] * batch, [tokens] * batch, workers)
    loads = (plan.records[:, 1] - plan.records[:, 0]).tolist()
    assert max(loads) <= 1.05 * sum(loads) / workers + 1


def test_one_long_sequence_is_cut_over_all_workers() -> None:
    plan = plan_for([0, 0], [32768, 1], 33)
    loads = (plan.records[:, 1] - plan.records[:, 0]).tolist()
    assert max(loads) <= 16


def test_nothing_to_do() -> None:
    plan = plan_for([5, 0], [5, 0], 4)
    assert (plan.records[:, 0] == plan.records[:, 1]).all()
