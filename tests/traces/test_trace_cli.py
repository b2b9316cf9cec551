"""`kaiju-sim trace`: JSON and tables on stdout, nothing else, and clear option errors."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from kaiju_sim.catalog.models import find_model
from kaiju_sim.cli import trace as trace_module
from kaiju_sim.errors import UserError

Write = Callable[[str, str | bytes], Path]

ROWS = """\
{"timestamp": 0, "input_length": 1024, "output_length": 4, "hash_ids": [0, 1]}
{"timestamp": 1000, "input_length": 1024, "output_length": 2, "hash_ids": [0, 2]}
{"timestamp": 30000, "input_length": 1024, "output_length": 6, "hash_ids": [0, 1]}
"""


def run(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(trace_module.trace)
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def file(write: Write) -> str:
    return str(write("rows.jsonl", ROWS))


def test_json_has_the_documented_names(file: str) -> None:
    options = ("--lru", "1,1000", "--fleet", "N2_C1000_rr,N2_C1000_hash", "--format", "json")
    result = run(file, *options)
    assert result.exit_code == 0
    assert result.stderr == ""
    figures = json.loads(result.stdout)
    assert figures["rows"] == 3
    assert (figures["first_ms"], figures["last_ms"], figures["span_s"]) == (0, 30000, 30.0)
    assert figures["input"]["mean"] == 1024
    assert figures["output"]["p50"] == 4
    assert set(figures["iod"]) == {"1", "10"}
    assert figures["ideal"]["block_hit"] == 0.5
    assert figures["lru"] == {"1": [0.3333, 0.3333], "1000": [0.5, 0.5]}
    assert figures["fleet"] == {"N2_C1000_rr": [0.3333, 1.333], "N2_C1000_hash": [0.3333, 1.333]}


def test_tables_show_the_same_and_nothing_on_stderr(file: str) -> None:
    result = run(file, "--lru", "1000", "--fleet", "N2_C1000_rr", "--iod", "5")
    assert result.exit_code == 0
    assert result.stderr == ""
    for words in ("rows.jsonl", "IoD, 5 s", "LRU 1,000", "0.5000", "N2_C1000_rr", "1.333"):
        assert words.removesuffix(".jsonl") in result.stdout


def test_a_trace_without_ids_has_no_reuse_table(write: Write) -> None:
    text = "arrival_s,prompt_tokens,output_tokens,session\n0,1,1,5\n"
    file = str(write("a.csv", text))
    result = run(file)
    assert result.exit_code == 0
    assert "sessions" in result.stdout
    assert "reuse" not in result.stdout
    assert isinstance(run(file, "--lru", "1000").exception, UserError)


def test_row_limit_and_format(file: str) -> None:
    result = run(file, "--max-rows", "2", "--trace-format", "mooncake", "--format", "json")
    assert json.loads(result.stdout)["rows"] == 2


@pytest.mark.parametrize(
    ("option", "text", "wanted"),
    [
        ("--lru", "abc", "use whole numbers from 1 to"),
        ("--lru", "0", "use whole numbers from 1 to"),
        ("--lru", "-5", "use whole numbers from 1 to"),
        ("--lru", "1.5", "use whole numbers from 1 to"),
        ("--lru", "\u0665", "use whole numbers from 1 to"),
        ("--lru", "9" * 50, "use whole numbers from 1 to"),
        ("--lru", "", "empty"),
        ("--lru", "1000,,5000", "empty"),
        ("--lru", ",".join(map(str, range(1, 200))), "100 or fewer"),
        ("--iod", "0", "use whole numbers from 1 to"),
        ("--iod", "x", "use whole numbers from 1 to"),
        ("--fleet", "N0_C1_rr", "policy rr, hash, cache_aware"),
        ("--fleet", "N4_C1000_magic", "policy rr, hash, cache_aware"),
        ("--trace-format", "xml", "use auto, mooncake, ragpulse, azure"),
        ("--max-rows", "0", "use 1 or more"),
        ("--block-tokens", "0", "use 1 to 1,000,000"),
    ],
)
def test_broken_options_are_user_errors(option: str, text: str, wanted: str, file: str) -> None:
    error = run(file, f"{option}={text}").exception
    assert isinstance(error, UserError)
    assert wanted in str(error)
    assert "\n" not in str(error)


def test_progress_shows_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    with trace_module._progress(3) as tell:
        assert tell is None
    terminal = trace_module.Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setattr(trace_module, "Console", lambda **_: terminal)
    with trace_module._progress(1) as tell:
        assert tell is not None
        tell("lru 1000")
    assert "lru 1000" in screen.getvalue()


def bytes_of(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def test_the_reuse_curve_is_drawn_and_in_the_json(file: str) -> None:
    result = run(file, "--model", "kaiju-13b")
    assert result.exit_code == 0
    for words in ("Reuse curve", "GiB global", "80% of the ideal token hit: 3 blocks", "█"):
        assert words in result.stdout
    curve = json.loads(run(file, "--model", "kaiju-13b", "--format", "json").stdout)["curve"]
    assert curve["size"] == [2, 3]
    assert curve["block_hit"] == [0.3333, 0.5]
    assert curve["unit_tokens"] == 512
    assert curve["size_for_share"] == {"0.5": 1, "0.8": 3, "0.95": 3}
    model = find_model("kaiju-13b")
    assert curve["gib_global"][1] == pytest.approx(
        3 * 512 * model.global_kv_token_bytes() / 2**30, rel=1e-2
    )
    assert curve["gib_all"][1] > curve["gib_global"][1]


def test_a_page_is_written_whole(file: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    result = run(file, "-o", str(page), "--model", "kaiju-13b")
    assert result.exit_code == 0
    text = bytes_of(page)
    figures = json.loads(re.findall(r'id="figures">(.*?)</script>', text)[0])
    assert [len(figure["data"]) for figure in figures] == [2, 2, 2]
    assert figures[0]["data"][0]["y"] == [0.3333, 0.5]
    assert figures[0]["data"][0]["x"] == [1024, 1536]
    assert "ideal.block_hit" in text
    assert run(file, "-o", str(page), "--model", "kaiju-13b").exit_code == 0
    assert bytes_of(page) == text
    assert sorted(one.name for one in tmp_path.iterdir()) == ["report.html", "rows.jsonl"]
    error = run(file, "-o", str(tmp_path / "none" / "x.html")).exception
    assert isinstance(error, UserError)
    assert "cannot be written: No such file" in str(error)


def test_rows_are_written_in_plain_columns(file: str, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert run(file, "--write", str(out)).exit_code == 0
    figures = json.loads(run(str(out), "--format", "json").stdout)
    assert figures["ideal"]["block_hit"] == 0.5


def test_fits_show_their_figures_or_draw(shared_data: Path) -> None:
    file = str(shared_data / "servegen" / "deepseek-r1.trace.parquet")
    result = run(file)
    assert result.exit_code == 0
    for words in ("servegen fits", "peak over mean", "2.194", "Hours of the day", "35.13"):
        assert words in result.stdout
    assert isinstance(run(file, "--lru", "10").exception, UserError)
    options = ("--duration", "1min", "--client-scale", "0.5", "--format", "json")
    one, two = (json.loads(run(file, *options, "--seed", s).stdout) for s in ("1", "2"))
    assert one["rows"] > 100
    assert one["input"] != two["input"]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (("--duration", "5"), "--duration: "),
        (("--start", "x"), "--start: "),
        (("--start", "1h"), "no rows in this stretch"),
        (("--model", "gpt-9"), "gpt-9"),
        (("--client-scale", "2"), "only the clients of ServeGen"),
        (("--write", "x.xml"), "a trace is written as .csv"),
    ],
)
def test_other_broken_options_are_user_errors(
    options: tuple[str, str], wanted: str, file: str
) -> None:
    error = run(file, *options).exception
    assert isinstance(error, UserError)
    assert wanted in str(error)
