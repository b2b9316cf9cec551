"""What the readers make of good files, in every format and compression."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.traffic import TraceFile
from kaiju_sim.workload.traces import FORMATS, NAMES, Limits, Stretch, Trace, read_trace
from kaiju_sim.workload.traces.export import plain_file

Write = Callable[[str, str | bytes], Path]

CSV = """arrival_s,prompt_tokens,output_tokens,session,character,block_ids
10,600,5,1,7,3 4
10.000000001,512,6,2,7,3
12.5,1,1,1,8,
"""
JSONL = """\
{"arrival_s": 10, "prompt_tokens": 600, "output_tokens": 5, "session": 1, "character": 7, "block_ids": [3, 4]}
{"arrival_s": 10.000000001, "prompt_tokens": 512, "output_tokens": 6, "session": 2, "character": 7, "block_ids": [3]}
{"arrival_s": 12.5, "prompt_tokens": 1, "output_tokens": 1, "session": 1, "character": 8, "block_ids": []}
"""  # noqa: E501
MOONCAKE = """\
{"timestamp": 5, "input_length": 513, "output_length": 2, "hash_ids": [0, 1]}
{"timestamp": 3005, "input_length": 1, "output_length": 1, "hash_ids": [0]}
"""
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951691,396,109
"""


def as_parquet(path: Path) -> bytes:
    table = pa.table(
        {
            "arrival_s": [10.0, 10.000000001, 12.5],
            "prompt_tokens": pa.array([600, 512, 1], pa.int32()),
            "output_tokens": pa.array([5, 6, 1], pa.uint16()),
            "session": [1, 2, 1],
            "character": [7, 7, 8],
            "block_ids": [[3, 4], [3], []],
        }
    )
    parquet.write_table(table, path)
    return path.read_bytes()


@pytest.mark.parametrize("compression", ["", ".zst", ".gz"])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_plain_formats_agree(kind: str, compression: str, write: Write, tmp_path: Path) -> None:
    pack = {"": bytes, ".zst": zstandard.compress, ".gz": gzip.compress}[compression]
    content = {
        "csv": lambda: CSV.encode(),
        "jsonl": lambda: JSONL.encode(),
        "parquet": lambda: as_parquet(tmp_path / "raw"),
    }[kind]()
    trace = read_trace(write(f"users.{kind}{compression}", pack(content)))
    assert (trace.name, trace.format, trace.rows) == ("users", kind, 3)
    assert trace.first_ns == 10_000_000_000
    assert trace.arrival_ns.tolist() == [0, 1, 2_500_000_000]
    assert trace.prompt_tokens.tolist() == [600, 512, 1]
    assert trace.output_tokens.tolist() == [5, 6, 1]
    assert trace.session is not None
    assert trace.session.tolist() == [1, 2, 1]
    assert trace.character is not None
    assert trace.character.tolist() == [7, 7, 8]
    assert list(trace.row_blocks()) == [[3, 4], [3], []]
    assert not trace.arrival_ns.flags.writeable


def test_mooncake_counts_milliseconds(write: Write) -> None:
    trace = read_trace(write("m.jsonl", MOONCAKE))
    assert trace.format == "mooncake"
    assert trace.first_ns == 5_000_000
    assert trace.arrival_ns.tolist() == [0, 3_000_000_000]
    assert trace.session is None
    assert list(trace.row_blocks()) == [[0, 1], [0]]


def test_azure_time_stamps_keep_every_digit(write: Write) -> None:
    trace = read_trace(write("a.csv", AZURE))
    assert trace.format == "azure"
    assert trace.first_ns == 1_700_158_546_680_590_000
    assert trace.arrival_ns.tolist() == [0, 4_314_579_100]
    assert trace.block_ids is None
    assert list(trace.row_blocks()) == [[], []]


@pytest.mark.parametrize(
    ("stamp", "offset_ns"),
    [
        ("1970-01-01 00:00:01", 1_000_000_000),
        ("1970-01-01T00:00:00.5", 500_000_000),
        ("1970-01-01 00:00:00.123456789Z", 123_456_789),
        ("1970-01-02 00:00:00.1+00:00", 86_400_100_000_000),
    ],
)
def test_time_stamp_spellings(stamp: str, offset_ns: int, write: Write) -> None:
    header = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    assert read_trace(write("a.csv", f"{header}{stamp},1,1\n")).first_ns == offset_ns


def test_csv_may_have_a_mark_quotes_and_windows_line_ends(write: Write) -> None:
    text = '\ufeff"arrival_s", "prompt_tokens" ,output_tokens\r\n"0.5",1, 2 \r\n'
    trace = read_trace(write("a.csv", text))
    assert (trace.first_ns, trace.prompt_tokens[0], trace.output_tokens[0]) == (500_000_000, 1, 2)


@pytest.mark.parametrize("tail", ["", "\n", "\n\n"])
def test_the_end_of_the_last_line_is_free(tail: str, write: Write) -> None:
    assert read_trace(write("a.jsonl", MOONCAKE.rstrip("\n") + tail)).rows == 2


def test_a_named_format_needs_no_ending(write: Write) -> None:
    assert read_trace(write("rows.txt", CSV), "csv").rows == 3
    assert read_trace(write("rows.log.gz", gzip.compress(MOONCAKE.encode())), "mooncake").rows == 2


def test_block_size_is_an_option(write: Write) -> None:
    text = "arrival_s,prompt_tokens,output_tokens,block_ids\n0,33,1,1 2 3\n"
    trace = read_trace(write("a.csv", text), block_tokens=16)
    assert trace.block_tokens == 16
    assert list(trace.row_blocks()) == [[1, 2, 3]]


def test_several_zstd_frames_make_one_file(write: Write) -> None:
    lines = [line.encode() + b"\n" for line in MOONCAKE.splitlines()]
    frames = b"".join(zstandard.compress(line) for line in lines)
    assert read_trace(write("m.jsonl.zst", frames)).rows == 2


def test_lines_longer_than_a_chunk_are_joined(write: Write) -> None:
    ids = list(range(100_000))
    values = {"timestamp": 0, "input_length": len(ids) * 512, "output_length": 1, "hash_ids": ids}
    row = json.dumps(values)
    trace = read_trace(write("m.jsonl.zst", zstandard.compress(f"{row}\n{row}".encode())))
    assert [blocks == ids for blocks in trace.row_blocks()] == [True, True]


def test_limits_are_the_most_that_is_allowed(write: Write) -> None:
    limits = Limits(line_bytes=120, total_bytes=400, rows=2, blocks=3)
    assert read_trace(write("m.jsonl", MOONCAKE), limits=limits).rows == 2


def test_the_registry_names_what_scenarios_may_ask_for() -> None:
    assert (*FORMATS, "servegen") == NAMES
    field = TraceFile.model_fields["format"].annotation
    assert set(get_args(field)) == {"auto", *NAMES}
    assert set(FORMATS) == {"mooncake", "ragpulse", "azure", "csv", "jsonl", "parquet"}


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("content", [CSV, CSV.replace(",session,character,block_ids", "")])
def test_what_is_written_reads_back(ending: str, content: str, write: Write) -> None:
    if "session" not in content:
        content = "\n".join(",".join(line.split(",")[:3]) for line in content.splitlines())
    trace = read_trace(write("a.csv", content))
    back = read_trace(write(f"b{ending}", plain_file(trace, f"b{ending}")))
    assert back.arrival_ns.tolist() == trace.arrival_ns.tolist()
    assert back.prompt_tokens.tolist() == trace.prompt_tokens.tolist()
    assert back.output_tokens.tolist() == trace.output_tokens.tolist()
    assert list(back.row_blocks()) == list(trace.row_blocks())
    for name in ("session", "character"):
        mine, theirs = getattr(trace, name), getattr(back, name)
        assert (mine is None) == (theirs is None)
        assert mine is None or mine.tolist() == theirs.tolist()


def test_only_known_endings_are_written(write: Write) -> None:
    trace = read_trace(write("a.csv", CSV))
    with pytest.raises(UserError, match=r"written as .csv, .jsonl, .parquet"):
        plain_file(trace, "b.xml")


def stretched(trace: Trace, start_s: float, duration_s: float | None) -> Trace:
    return trace.during(Stretch(start_s, duration_s))


def test_a_stretch_is_cut_out_of_a_trace(write: Write) -> None:
    file = write("a.csv", CSV)
    whole = read_trace(file)
    late = read_trace(file, stretch=Stretch(0.000000001))
    assert late.first_ns == 10_000_000_001
    assert late.arrival_ns.tolist() == [0, 2_499_999_999]
    assert list(late.row_blocks()) == [[3], []]
    assert late.session is not None
    assert late.session.tolist() == [2, 1]
    assert stretched(whole, 0, 2.5).rows == 2
    assert stretched(whole, 0, None).rows == 3
    with pytest.raises(UserError, match=r"no rows in this stretch; the last is at 2.5 s"):
        stretched(whole, 3, None)
