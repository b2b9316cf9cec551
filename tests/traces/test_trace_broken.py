"""Broken traces: one line of text, with the row, and never anything but `UserError`."""

import contextlib
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from kaiju_sim.errors import UserError
from kaiju_sim.workload.traces import Limits, read_trace

Write = Callable[[str, str | bytes], Path]


def row(**changes: Any) -> str:
    """A good Mooncake row with some values changed; `...` drops a column."""
    values = {"timestamp": 7, "input_length": 600, "output_length": 2, "hash_ids": [0, 1]}
    values |= changes
    return json.dumps({name: value for name, value in values.items() if value is not ...})


def raw(old: str, new: str) -> str:
    """A good Mooncake row with a piece of its text replaced."""
    return row().replace(old, new)


BROKEN_ROWS = {
    "not json": ("hello", "not JSON"),
    "cut json": (row()[:-9], "not JSON"),
    "two objects": (row() + row(), "not JSON"),
    "a number": ("17", "use a JSON object"),
    "a list": ("[1]", "use a JSON object"),
    "nan": (raw("600", "NaN"), "NaN is not a number"),
    "infinity": (raw("7", "-Infinity"), "-Infinity is not a number"),
    "nested deep": ("[" * 100_000, "nested too deep"),
    "missing column": (row(output_length=...), "column 'output_length' is missing"),
    "unknown column": (row(colour=1), "unknown column 'colour'"),
    "misspelt column": (row(hash_ids=..., hash_id=[0, 1]), "did you mean hash_ids?"),
    "column twice": (raw('{"timestamp"', '{"timestamp": 7, "timestamp"'), "appears twice"),
    "text for number": (row(input_length="600"), "input_length is '600': use a whole number"),
    "truth for number": (row(input_length=True), "input_length is True"),
    "null": (row(input_length=None), "input_length is empty"),
    "fraction": (row(input_length=600.0), "input_length is 600.0"),
    "object for number": (row(output_length={"a": 1}), "output_length is an object"),
    "zero input": (row(input_length=0, hash_ids=[]), "whole number from 1"),
    "negative input": (row(input_length=-600), "input_length is -600"),
    "zero output": (row(output_length=0), "output_length is 0: use a whole number from 1"),
    "negative output": (row(output_length=-1), "output_length is -1"),
    "huge length": (row(input_length=10**30), "from 1 to 100,000,000"),
    "huge digits": (raw("600", "9" * 5000), "too many digits"),
    "huge fraction": (raw('"timestamp": 7', '"timestamp": 1e999999999'), "too many digits"),
    "huge power": (raw('"timestamp": 7', '"timestamp": 1e999'), "use a number from 0"),
    "time as text": (row(timestamp="7"), "timestamp is '7'"),
    "negative time": (row(timestamp=-1), "timestamp is -1"),
    "time goes back": (row(timestamp=6), "time goes back by 0.001 s"),
    "too few ids": (row(hash_ids=[0]), "1 block ids for 600 tokens"),
    "too many ids": (row(hash_ids=[0, 1, 2]), "need 2"),
    "no ids": (row(hash_ids=[]), "0 block ids for 600 tokens"),
    "ids no list": (row(hash_ids="0 1"), "use a list of whole numbers"),
    "id negative": (row(hash_ids=[0, -1]), "an id in hash_ids is -1"),
    "id fraction": (row(hash_ids=[0, 1.5]), "an id in hash_ids is 1.5"),
    "id truth": (row(hash_ids=[0, True]), "an id in hash_ids is True"),
    "id huge": (row(hash_ids=[0, 2**63]), "an id in hash_ids is 9223372036854775808"),
    "empty line": ("\n" + row(), "the line is empty"),
    "blank line": ("  \n" + row(), "the line is empty"),
}


def error_of(path: Path, line: int | None, **options: Any) -> str:
    """The message of reading a broken file, after the checks that hold for all of them."""
    with pytest.raises(UserError) as caught:
        read_trace(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    assert caught.value.line == line
    assert caught.value.file == str(path)
    return text


@pytest.mark.parametrize("kind", BROKEN_ROWS)
@pytest.mark.parametrize("compression", ["", ".zst"])
def test_a_broken_row_is_named(kind: str, compression: str, write: Write) -> None:
    text, wanted = BROKEN_ROWS[kind]
    content = f"{row()}\n{row()}\n{text}\n".encode()
    content = zstandard.compress(content) if compression else content
    assert wanted in error_of(write(f"m.jsonl{compression}", content), 3)


def test_a_message_quotes_no_more_than_a_little(write: Write) -> None:
    line = row(input_length="x\n\u2028" * 10_000)
    assert len(error_of(write("m.jsonl", line), 1)) < 300


def test_rows_must_have_the_same_columns(write: Write) -> None:
    plain = '{"arrival_s": 0, "prompt_tokens": 1, "output_tokens": 1'
    text = f'{plain}, "session": 3}}\n{plain}}}\n'
    assert "'session' in one but not the other" in error_of(write("a.jsonl", text), 2)


AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
PLAIN = "arrival_s,prompt_tokens,output_tokens\n"
BROKEN_CSV = {
    "header only": (PLAIN, None, "no rows"),
    "no header": ("0,1,1\n", 1, "appears twice"),
    "unknown header": ("a,b,c\n1,2,3\n", 1, "no known columns"),
    "column twice": ("arrival_s,arrival_s\n0,1\n", 1, "appears twice"),
    "missing column": ("arrival_s,prompt_tokens\n0,1\n", 1, "'output_tokens' is missing"),
    "misspelt": ("arival_s,prompt_tokens,output_tokens\n0,1,1\n", 1, "did you mean arrival_s?"),
    "short row": (PLAIN + "0,1,1\n1,2\n", 3, "2 cells in a row, 3 in the header"),
    "long row": (PLAIN + "0,1,1,1\n", 2, "4 cells in a row, 3 in the header"),
    "empty cell": (PLAIN + "0,,1\n", 2, "prompt_tokens is empty"),
    "nan": (PLAIN + "nan,1,1\n", 2, "arrival_s is 'nan'"),
    "inf": (PLAIN + "inf,1,1\n", 2, "arrival_s is 'inf'"),
    "text": (PLAIN + "0,many,1\n", 2, "prompt_tokens is 'many'"),
    "underscore": (PLAIN + "0,1_000,1\n", 2, "prompt_tokens is '1_000'"),
    "other digits": (PLAIN + "0,\u0665,1\n", 2, "prompt_tokens is"),
    "back": (PLAIN + "1,1,1\n0.999999999,1,1\n", 3, "time goes back by 1e-09 s"),
    "zero": (PLAIN + "1,1,0\n", 2, "output_tokens is 0: use a whole number from 1"),
    "huge": (PLAIN + "1e99,1,1\n", 2, "from 0 to 9,000,000,000"),
    "digits": (PLAIN + f"0,{'9' * 100_000},1\n", 2, "prompt_tokens is '9999"),
    "azure date": (AZURE + "2023-02-30 00:00:00,1,1\n", 2, "no such date"),
    "azure form": (AZURE + "16/11/2023,1,1\n", 2, "use 'YYYY-MM-DD"),
    "azure number": (AZURE + "17,1,1\n", 2, "use 'YYYY-MM-DD"),
    "azure digits": (AZURE + "2023-01-01 00:00:00.0123456789,1,1\n", 2, "use 'YYYY-MM-DD"),
    "azure year": (AZURE + "1969-12-31 23:59:59,1,1\n", 2, "use a number from 0"),
    "azure zero": (AZURE + "2023-01-01 00:00:00,5,0\n", 2, "GeneratedTokens is 0"),
}


@pytest.mark.parametrize("kind", BROKEN_CSV)
def test_a_broken_csv_is_named(kind: str, write: Write) -> None:
    text, line, wanted = BROKEN_CSV[kind]
    assert wanted in error_of(write("a.csv", text), line)


def test_broken_ids_of_a_csv_are_named(write: Write) -> None:
    header = "arrival_s,prompt_tokens,output_tokens,block_ids\n"
    assert "an id in block_ids is 'x'" in error_of(write("a.csv", header + "0,1,1,x\n"), 2)
    assert "2 block ids for 1 tokens" in error_of(write("b.csv", header + "0,1,1,1 2\n"), 2)
    assert "session is empty" in error_of(write("c.csv", PLAIN[:-1] + ",session\n0,1,1,\n"), 2)


GOOD = f"{row()}\n".encode()


JUNK = bytes(range(128, 256)) * 20
ZST, GZ = zstandard.compress, gzip.compress
BROKEN_FILES: dict[str, tuple[str, bytes, int | None, str]] = {
    "empty": ("a.jsonl", b"", None, "the file is empty"),
    "empty name": ("a.jsonl.zst", b"", None, "the file is empty"),
    "empty zstd": ("a.jsonl.zst", ZST(b""), None, "no rows"),
    "empty gzip": ("a.jsonl.gz", GZ(b""), None, "no rows"),
    "one line end": ("a.jsonl", b"\n", None, "no rows"),
    "line ends": ("a.jsonl", b"\n\n", 1, "the line is empty"),
    "not utf-8": ("a.jsonl", GOOD + b"\xff\xfe\n", 2, "not UTF-8"),
    "junk": ("a.csv", JUNK, 1, "not UTF-8"),
    "no zstd": ("a.jsonl.zst", GOOD, 1, "does not hold zstd data"),
    "no gzip": ("a.jsonl.gz", GOOD, 1, "does not hold gzip data"),
    "gzip named, zstd": ("a.jsonl.gz", ZST(GOOD), 1, "does not hold gzip data"),
    "zstd unnamed": ("a.jsonl", ZST(GOOD), 1, "zstd data but its name does not end in .zst"),
    "gzip unnamed": ("a.csv", GZ(GOOD), 1, "gzip data but its name does not end in .gz"),
    "cut zstd": ("a.jsonl.zst", ZST(GOOD * 3)[:-5], 1, "zstd data is cut short"),
    "cut later": ("a.jsonl.zst", ZST(GOOD) + ZST(GOOD)[:9], 2, "zstd data is cut short"),
    "zstd and junk": ("a.jsonl.zst", ZST(GOOD) + b"junk", 2, "broken here"),
    "cut gzip": ("a.jsonl.gz", GZ(GOOD * 9)[:-4], 10, "gzip data is cut short"),
    "gzip and junk": ("a.jsonl.gz", GZ(GOOD) + b"junk", 2, "broken here"),
    "gzip check sum": ("a.jsonl.gz", GZ(GOOD)[:-8] + bytes(8), 1, "broken here"),
    "ending": ("a.txt", GOOD, None, "unknown file ending '.txt': use .csv, .jsonl, .parquet"),
    "no ending": ("a", GOOD, None, "unknown file ending empty"),
    "zst ending only": ("a.zst", ZST(GOOD), None, "unknown file ending empty"),
    "cut parquet": ("a.parquet.gz", GZ(GOOD)[:-4], None, "gzip data is cut short"),
}


@pytest.mark.parametrize("kind", BROKEN_FILES)
def test_a_broken_file_is_named(kind: str, write: Write) -> None:
    name, content, line, wanted = BROKEN_FILES[kind]
    assert wanted in error_of(write(name, content), line)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    assert "this is a directory" in error_of(tmp_path, None)
    assert "No such file" in error_of(tmp_path / "none.csv", None)
    with pytest.raises(UserError, match="cannot open"):
        read_trace(tmp_path / "nul\0.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in error_of(tmp_path / "pipe.csv", None)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"format": "yaml"}, "use auto, mooncake, ragpulse, azure"),
        ({"max_rows": 0}, "use 1 or more"),
        ({"block_tokens": 0}, "use 1 to 1,000,000"),
    ],
)
def test_broken_options_are_named(options: Any, wanted: str, write: Write) -> None:
    with pytest.raises(UserError, match=wanted):
        read_trace(write("a.jsonl", GOOD), **options)


@pytest.mark.parametrize(
    ("limits", "line", "wanted"),
    [
        (Limits(line_bytes=50), 1, "the line is over 50 bytes"),
        (Limits(total_bytes=200), 1, "the data is over 200 bytes"),
        (Limits(rows=2), 3, "more than 2 rows"),
        (Limits(blocks=5), 3, "more than 5 block ids"),
    ],
)
def test_a_file_over_a_limit_is_refused(
    limits: Limits, line: int, wanted: str, write: Write
) -> None:
    file = write("a.jsonl.zst", zstandard.compress(GOOD * 4))
    assert wanted in error_of(file, line, limits=limits)


@pytest.mark.parametrize("fill", [b"[", b" ", b"0", b"\n", b'"'])
def test_a_bomb_is_refused_early(fill: bytes, write: Write) -> None:
    """Some kilobytes that decompress to a quarter of a gigabyte without a usable row."""
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    parts = [packer.compress(fill * (1 << 20)) for _ in range(256)] + [packer.flush()]
    error_of(write("bomb.jsonl.zst", b"".join(parts)), 1)


COLUMNS: dict[str, Any] = {
    "arrival_s": [0.0, 1.0],
    "prompt_tokens": [1, 2],
    "output_tokens": [1, 2],
}
BROKEN_PARQUET = {
    "null": ({"prompt_tokens": [1, None]}, 2, "prompt_tokens is empty"),
    "nan": ({"arrival_s": [0.0, float("nan")]}, 2, "arrival_s is nan"),
    "text": ({"prompt_tokens": ["1", "2"]}, None, "has type 'string': use numbers"),
    "fraction": ({"prompt_tokens": [1.0, 2.0]}, 1, "prompt_tokens is 1.0"),
    "date": ({"arrival_s": pa.array([1, 2], pa.timestamp("ns"))}, None, "has type 'timestamp"),
    "back": ({"arrival_s": [2.0, 1.0]}, 2, "time goes back"),
    "unsigned": ({"session": pa.array([0, 2**64 - 1], pa.uint64())}, 2, "session is 1844674407"),
    "missing": ({"arrival_s": ...}, None, "'arrival_s' is missing"),
    "unknown": ({"colour": [1, 2]}, None, "unknown column 'colour'"),
    "ids flat": ({"block_ids": [1, 2]}, None, "use a list of whole numbers"),
    "ids text": ({"block_ids": [["1"], ["2"]]}, None, "use a list of whole numbers"),
    "ids deep": ({"block_ids": [[[1]], [[2]]]}, None, "use a list of whole numbers"),
    "ids null": ({"block_ids": [[1], [None]]}, 2, "an id in block_ids is empty"),
    "no ids": ({"block_ids": pa.array([[1], None], pa.list_(pa.int64()))}, 2, "is empty: use a l"),
    "ids many": ({"block_ids": [[1], [1, 2]]}, 2, "2 block ids for 2 tokens"),
    "no rows": ({name: pa.array([], pa.int64()) for name in COLUMNS}, None, "no rows"),
}


@pytest.mark.parametrize("kind", BROKEN_PARQUET)
def test_a_broken_parquet_is_named(kind: str, tmp_path: Path) -> None:
    changes, line, wanted = BROKEN_PARQUET[kind]
    values = {name: column for name, column in (COLUMNS | changes).items() if column is not ...}
    parquet.write_table(pa.table(values), tmp_path / "a.parquet")
    assert wanted in error_of(tmp_path / "a.parquet", line)


def test_a_parquet_over_a_limit_is_refused_unread(tmp_path: Path) -> None:
    ids = pa.array([[0] * 3_000_000, [0]])
    parquet.write_table(pa.table(COLUMNS | {"block_ids": ids}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 20_000
    limits = Limits(rows=1000, blocks=1_000_000)
    text = error_of(tmp_path / "a.parquet", None, limits=limits)
    assert "more than 1,000,000 block ids" in text
    assert "more than 1 rows" in error_of(tmp_path / "a.parquet", None, limits=Limits(rows=1))


@pytest.mark.parametrize("tail", [b"", b"PAR1", b"\xff\xff\xff\x7fPAR1", b"\x08\0\0\0PAR1"])
def test_junk_is_no_parquet(tail: bytes, write: Write) -> None:
    content = b"PAR1" + JUNK + tail
    assert "not readable as Parquet" in error_of(write("a.parquet", content), None)


def parquet_bytes(tmp_path: Path) -> bytes:
    parquet.write_table(pa.table(COLUMNS | {"block_ids": [[1], [2]]}), tmp_path / "good")
    return (tmp_path / "good").read_bytes()


NAMES = ["f.csv", "f.jsonl", "f.parquet", "f.csv.zst", "f.jsonl.gz", "f.jsonl.zst"]
FUZZ = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


LIMITS = Limits(line_bytes=1 << 16, total_bytes=1 << 24, rows=1000)


def read_or_refuse(path: Path) -> None:
    """Either a trace that keeps its promises or a `UserError` (its text is always one line)."""
    with contextlib.suppress(UserError):
        trace = read_trace(path, limits=LIMITS)
        assert trace.rows >= 1
        assert min(trace.prompt_tokens.min(), trace.output_tokens.min()) >= 1
        assert (trace.arrival_ns[1:] >= trace.arrival_ns[:-1]).all()


@FUZZ
@given(name=st.sampled_from(NAMES), content=st.binary(max_size=300))
def test_random_bytes_give_a_clear_error(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    read_or_refuse(tmp_path / name)


VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
COLUMN = st.sampled_from(["timestamp", "input_length", "output_length", "hash_ids", "other"])


@FUZZ
@given(rows=st.lists(st.dictionaries(COLUMN, VALUE, min_size=3), max_size=4))
def test_random_values_give_a_clear_error(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    text = "\n".join([row(), *map(json.dumps, rows)])
    (tmp_path / "f.jsonl").write_text(text)
    read_or_refuse(tmp_path / "f.jsonl")


@FUZZ
@given(cells=st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=4), max_size=4))
def test_random_cells_give_a_clear_error(cells: list[list[str]], tmp_path: Path) -> None:
    lines = [",".join(line) for line in cells]
    text = "\n".join([PLAIN + "0,1,1", *lines])
    (tmp_path / "f.csv").write_bytes(text.encode("utf-8", "surrogatepass"))
    read_or_refuse(tmp_path / "f.csv")


@FUZZ
@given(data=st.data(), kind=st.sampled_from(["f.jsonl.zst", "f.csv.gz", "f.parquet"]))
def test_damaged_files_give_a_clear_error(data: st.DataObject, kind: str, tmp_path: Path) -> None:
    good = {
        "f.jsonl.zst": lambda: zstandard.compress(GOOD * 5),
        "f.csv.gz": lambda: gzip.compress((PLAIN + "0,1,1\n" * 5).encode(), mtime=0),
        "f.parquet": lambda: parquet_bytes(tmp_path),
    }[kind]()
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    (tmp_path / kind).write_bytes(content)
    read_or_refuse(tmp_path / kind)
