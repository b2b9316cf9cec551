"""Prefix paths say about shared prefixes exactly what the block ids say."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kaiju_sim.workload.traces import PrefixPaths, Trace, prefix_paths

BLOCK = 512


def trace_of(rows: Sequence[Sequence[int]]) -> Trace:
    """A trace whose rows have these block ids."""
    ones = np.ones(len(rows), dtype=np.int64)
    lengths = np.array([len(blocks) for blocks in rows], dtype=np.int64)
    return Trace(
        name="made",
        format="csv",
        sha256="",
        first_ns=0,
        arrival_ns=np.arange(len(rows), dtype=np.int64),
        prompt_tokens=np.maximum(lengths * BLOCK, 1),
        output_tokens=ones,
        session=None,
        character=None,
        block_ids=np.array([block for blocks in rows for block in blocks], dtype=np.int64),
        block_offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        block_tokens=BLOCK,
    )


def shared_by_ids(first: Sequence[int], second: Sequence[int]) -> int:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


def shared_by_paths(paths: PrefixPaths, first: int, second: int) -> int:
    count = 0
    for (stream, blocks), (other, others) in zip(paths.row(first), paths.row(second), strict=False):
        if stream != other:
            break
        count += min(blocks, others)
        if blocks != others:
            break
    return count


def test_a_stream_goes_on_until_it_branches() -> None:
    paths = prefix_paths(trace_of([[1, 2], [1, 2, 3, 4], [1, 2, 5], [], [1, 2, 3, 6], [7]]))
    rows = [paths.row(index) for index in range(6)]
    assert rows[:3] == [[(0, 2)], [(0, 4)], [(0, 2), (1, 1)]]
    assert rows[3:] == [[], [(0, 3), (2, 1)], [(3, 1)]]
    assert paths.stream_blocks.tolist() == [4, 1, 1, 1]
    assert paths.streams == 4
    assert (paths.run_stream.dtype, paths.run_blocks.dtype) == (np.int64, np.int32)


def test_an_id_behind_two_prefixes_is_two_blocks() -> None:
    paths = prefix_paths(trace_of([[1, 9, 9], [2, 9], [9]]))
    assert [paths.row(index) for index in range(3)] == [[(0, 3)], [(1, 2)], [(2, 1)]]


def test_a_trace_without_ids_has_no_runs() -> None:
    paths = prefix_paths(trace_of([[], []]))
    assert paths.run_offsets.tolist() == [0, 0, 0]
    assert paths.streams == 0


ROWS = st.lists(st.lists(st.integers(0, 3), max_size=7), min_size=1, max_size=12)


@given(rows=ROWS)
def test_two_rows_share_the_same_prefix_by_paths_as_by_ids(rows: list[list[int]]) -> None:
    paths = prefix_paths(trace_of(rows))
    for first in range(len(rows)):
        for second in range(len(rows)):
            expected = shared_by_ids(rows[first], rows[second])
            assert shared_by_paths(paths, first, second) == expected


@given(rows=ROWS)
def test_runs_cover_each_row_and_each_prefix_once(rows: list[list[int]]) -> None:
    paths = prefix_paths(trace_of(rows))
    for index, blocks in enumerate(rows):
        runs = paths.row(index)
        assert sum(count for _, count in runs) == len(blocks)
        assert len({stream for stream, _ in runs}) == len(runs)
        assert all(1 <= count <= paths.stream_blocks[stream] for stream, count in runs)
    prefixes = {tuple(blocks[:end]) for blocks in rows for end in range(1, len(blocks) + 1)}
    assert paths.stream_blocks.sum() == len(prefixes)
    assert paths.run_offsets[-1] == len(paths.run_stream) == len(paths.run_blocks)


@given(rows=ROWS)
def test_a_block_has_one_child_at_most_in_its_stream(rows: list[list[int]]) -> None:
    paths = prefix_paths(trace_of(rows))
    prefix_at: dict[tuple[int, int], tuple[int, ...]] = {}
    for index, blocks in enumerate(rows):
        places = [(s, at) for s, count in paths.row(index) for at in range(count)]
        for end, place in enumerate(places, start=1):
            assert prefix_at.setdefault(place, tuple(blocks[:end])) == tuple(blocks[:end])
