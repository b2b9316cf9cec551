"""RAGPulse: chunks of various sizes, tables beside the trace, two weeks in one file."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_trace_paths import shared_by_ids

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces import Trace, kv_blocks, prefix_paths, read_trace
from kaiju_sim.workload.traces.reuse import ideal_reuse

Write = Callable[[str, str | bytes], Path]

TABLES = {
    "1_sys_prompt": ("sys_prompt_id", {1: 100, 2: 50}),
    "2_passages": ("passage_id", {1: 30, 7: 200}),
    "3_history": ("history_id", {3: 11}),
    "4_user_input": ("user_input_id", {4: 9, 5: 6}),
    "5_web_search": ("web_search_id", {6: 40}),
}


PARTS = ("sys_prompt", "passages_ids", "history", "web_search", "user_input")


def row(**changes: Any) -> str:
    """A good row of 100 + 50 + 200 + 9 tokens and 8 of template, with some values changed."""
    values: dict[str, Any] = {
        "timestamp": "82",
        "input_length": 367,
        "output_length": 20,
        "hash_ids": chunks(sys_prompt=[1, 2], passages_ids=[7], user_input=[4]),
        "session_id": "a",
    }
    return json.dumps(values | changes)


def chunks(**parts: list[Any]) -> dict[str, list[Any]]:
    return {name: parts.get(name, []) for name in PARTS}


@pytest.fixture
def file(write: Write) -> Callable[..., Path]:
    """A trace of these lines with its tables beside it; `table=text` replaces one of them."""

    def to_files(*lines: str, **tables: str | None) -> Path:
        for name, (column, lengths) in TABLES.items():
            rows = [json.dumps({column: k, "token_length": n}) for k, n in lengths.items()]
            text = tables.get(f"t{name[0]}", "\n".join(rows) + "\n\n")
            if text is not None:
                write(f"{name}.jsonl.zst", zstandard.compress(text.encode()))
        return write("0_trace.jsonl", "\n".join(lines) + "\n")

    return to_files


def test_chunks_become_prefixes(file: Callable[..., Path]) -> None:
    swapped = chunks(sys_prompt=[2, 1], passages_ids=[7], user_input=[4])
    other = chunks(sys_prompt=[1, 2], passages_ids=[1], web_search=[6], user_input=[4])
    lines = row(), row(hash_ids=swapped, session_id="b"), row(hash_ids=other), row(timestamp="90")
    trace = read_trace(file(*lines))
    assert trace.format == "ragpulse"
    blocks = list(trace.row_blocks())
    assert blocks == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 8, 9, 10], [0, 1, 2, 3]]
    assert trace.lengths().tolist() == [100, 50, 200, 9, 50, 100, 200, 9] + (
        [100, 50, 30, 40, 9] + [100, 50, 200, 9]
    )
    assert trace.session is not None
    assert trace.session.tolist() == [0, 1, 0, 0]
    assert trace.arrival_ns.tolist() == [0, 0, 0, 8_000_000_000]
    total = 3 * 359 + 229
    assert ideal_reuse(trace).token_hit == pytest.approx((150 + 359) / total)


def test_the_seam_between_two_weeks_is_one_week(file: Callable[..., Path]) -> None:
    trace = read_trace(file(row(timestamp="82"), row(timestamp="604000"), row(timestamp="30")))
    assert (trace.arrival_ns // 10**9).tolist() == [0, 603_918, 604_748]


BROKEN = {
    "time back": ([row(), row(timestamp="40")], {}, 2, "time goes back by 42 s"),
    "time a number": ([row(timestamp=82)], {}, 1, "timestamp is 82: use whole seconds as text"),
    "time negative": ([row(timestamp="-2")], {}, 1, "whole seconds as text"),
    "time huge": ([row(timestamp="9" * 40)], {}, 1, "whole seconds as text"),
    "no such chunk": ([row(hash_ids=chunks(history=[8]))], {}, 1, "history 8 has no length"),
    "chunk text": ([row(hash_ids=chunks(history=["x"]))], {}, 1, "an id in history is 'x'"),
    "a list": ([row(hash_ids=[1, 2])], {}, 1, "hash_ids is a list: use an object with sys_"),
    "part missing": ([row(hash_ids={"history": []})], {}, 1, "use an object with sys_prompt"),
    "no list": ([row(hash_ids=chunks() | {"history": 3})], {}, 1, "history is 3: use a list"),
    "too short": ([row(input_length=300)], {}, 1, "chunks of 359 tokens in a prompt of 300"),
    "session": ([row(session_id=7)], {}, 1, "session_id is 7: use a name"),
    "no session": ([row().replace(', "session_id": "a"', "")], {}, 1, "'session_id' is missing"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_row_is_named(kind: str, file: Callable[..., Path]) -> None:
    lines, tables, line, wanted = BROKEN[kind]
    with pytest.raises(UserError) as caught:
        read_trace(file(*lines, **tables), "ragpulse")
    assert caught.value.line == line
    assert wanted in str(caught.value)


LENGTH = '{"history_id": 3, "token_length": 11}\n'


@pytest.mark.parametrize(
    ("text", "line", "wanted"),
    [
        (None, None, "the length table 3_history.jsonl (or .zst, .gz) must lie beside"),
        (LENGTH + LENGTH, 2, "history_id 3 appears twice"),
        (LENGTH.replace("11", "0"), 1, "token_length is 0"),
        (LENGTH.replace("history_id", "id"), 1, "has history_id and token_length"),
        ("hello", 1, "not JSON"),
    ],
)
def test_a_broken_table_is_named(
    text: str | None, line: int | None, wanted: str, file: Callable[..., Path]
) -> None:
    with pytest.raises(UserError) as caught:
        read_trace(file(row(), t3=text))
    assert wanted in str(caught.value)
    assert caught.value.line == line
    assert ("3_history" if text else "0_trace") in str(caught.value.file)


SIZES = st.lists(st.integers(1, 90), min_size=4, max_size=4)


@given(
    rows=st.lists(st.lists(st.integers(0, 3), max_size=7), min_size=1, max_size=10),
    sizes=SIZES,
    page=st.sampled_from([1, 16, 64]),
)
def test_kv_blocks_of_two_rows_are_shared_as_far_as_their_chunks(
    rows: list[list[int]], sizes: list[int], page: int
) -> None:
    """A KV block is shared exactly if all tokens up to its end are."""
    ids: dict[tuple[int, ...], int] = {}
    chained = [[ids.setdefault(tuple(r[: i + 1]), len(ids)) for i in range(len(r))] for r in rows]
    flat = np.array([i for r in chained for i in r], dtype=np.int64)
    lengths = np.array([sizes[c] for r in rows for c in r], dtype=np.int64)
    ones = np.ones(len(rows), dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    trace = Trace(
        "made", "ragpulse", "", 0, ones, ones * 1000, ones, None, None, flat, offsets, 512, lengths
    )
    paths = prefix_paths(trace)
    blocks = kv_blocks(paths, trace, page)
    assert (blocks >= 0).all()
    named = []
    for index, (start, end) in enumerate(
        zip(paths.run_offsets, paths.run_offsets[1:], strict=False)
    ):
        runs = zip(paths.run_stream[start:end], blocks[start:end], strict=True)
        named.append([(int(stream), at) for stream, n in runs for at in range(int(n))])
        assert len(named[-1]) == sum(sizes[c] for c in rows[index]) // page
    for first in range(len(rows)):
        for second in range(len(rows)):
            same = shared_by_ids(rows[first], rows[second])
            tokens = sum(sizes[c] for c in rows[first][:same])
            shared = shared_by_ids(named[first], named[second])  # type: ignore[arg-type]
            assert shared == tokens // page


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(PARTS), inner),
    max_leaves=6,
)
COLUMNS = ("timestamp", "input_length", "output_length", "hash_ids", "session_id")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(COLUMNS), VALUE, min_size=1))
def test_random_values_give_a_clear_error(
    changes: dict[str, Any], file: Callable[..., Path]
) -> None:
    with contextlib.suppress(UserError):
        trace = read_trace(file(row(), row(**changes)))
        assert trace.rows == 2
        assert (trace.lengths() >= 1).all()
