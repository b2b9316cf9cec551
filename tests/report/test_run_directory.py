"""The run directory: whole or absent, same bytes, never over somebody else's files."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from made_up_run import SCENARIO_YAML, result, summary

from kaiju_sim.errors import UserError
from kaiju_sim.metrics.result import REQUEST_COLUMNS, RunResult, table_schema
from kaiju_sim.report import atomic
from kaiju_sim.report.rundir import check_target, read_run, summary_text, write_run

PROVENANCE = {"seed": 7, "wall_s": 1.5}
FILES = [
    "events.parquet",
    "provenance.json",
    "replicas.parquet",
    "requests.parquet",
    "scenario.yaml",
    "series.parquet",
    "summary.json",
]


def write(path: Path, made: RunResult | None = None, **options: bool) -> Path:
    return write_run(made or result(), SCENARIO_YAML, PROVENANCE, path, **options)


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_what_is_written_can_be_read_back(tmp_path: Path) -> None:
    made = result()
    run = read_run(write(tmp_path / "a", made))
    assert names(tmp_path / "a") == FILES
    assert run.summary == made.summary
    assert run.scenario_yaml == SCENARIO_YAML
    assert run.provenance == PROVENANCE
    assert run.table("requests") == made.requests
    assert run.table("replicas") == made.replicas
    assert run.table("series") == made.series
    assert run.table("events", ["kind"]).column_names == ["kind"]


def test_two_writes_give_the_same_bytes_however_the_tables_are_chunked(tmp_path: Path) -> None:
    made = result()
    pieces = [made.requests.slice(start, 777) for start in range(0, 4000, 777)]
    chunked = RunResult(
        dict(reversed(made.summary.items())),
        pa.concat_tables(pieces).replace_schema_metadata({"made": "elsewhere"}),
        made.replicas,
        made.series,
        made.events,
    )
    first = write(tmp_path / "a", made, report=True)
    second = write(tmp_path / "b", chunked, report=True)
    for name in [*FILES, "report.html"]:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_the_summary_is_plain_json_in_glossary_order() -> None:
    text = summary_text({"zzz": np.int64(3), "ttft_s.p50": np.float64(0.1), "verdict": "stable"})
    assert text == '{\n  "verdict": "stable",\n  "ttft_s.p50": 0.1,\n  "zzz": 3\n}\n'
    with pytest.raises(ValueError, match="Out of range"):
        summary_text({"ttft_s.p50": float("nan")})


def test_a_run_of_ours_is_replaced(tmp_path: Path) -> None:
    write(tmp_path / "a", result(), report=True)
    write(tmp_path / "a", result(verdict="overloaded"))
    assert names(tmp_path / "a") == FILES
    assert read_run(tmp_path / "a").summary["verdict"] == "overloaded"
    assert names(tmp_path) == ["a"]


def test_an_empty_directory_and_missing_parents_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert names(write(tmp_path / "a")) == FILES
    assert names(write(tmp_path / "runs" / "b")) == FILES
    assert names(write(tmp_path / "x" / "y" / "z" / "c")) == FILES


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert write(tmp_path / "link") == tmp_path / "real"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("prepare", "target", "why"),
    [
        (lambda d: (d / "a").write_text("x"), "a", "it is a file"),
        (lambda d: (d / "a").write_text("x"), "a/b", "not a directory"),
        (lambda d: (d / "a").write_text("x"), "a/b/c/d", "not a directory"),
        (lambda d: (d / "a/x").mkdir(parents=True), "a", "holds 'x'"),
        (lambda d: None, ".", "current directory"),
        (lambda d: None, "..", "current directory"),
        (lambda d: None, "n" * 300, "File name too long"),
        (lambda d: (d / "a").symlink_to(d / "a"), "a", "cannot write"),
    ],
    ids=["file", "under-a-file", "far-under-a-file", "foreign", "here", "above", "long", "loop"],
)
def test_a_bad_target_is_told_before_simulating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepare: object, target: str, why: str
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert callable(prepare)
    prepare(here)
    with pytest.raises(UserError, match=why):
        check_target(Path(target))


def test_half_a_run_directory_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path / "a")
    (tmp_path / "a" / "summary.json").unlink()
    with pytest.raises(UserError, match="not a run directory"):
        check_target(tmp_path / "a")


def test_a_read_only_parent_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="Permission denied"):
        check_target(tmp_path / "a")


def test_a_full_disk_leaves_the_old_run_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a")

    def full(_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        write(tmp_path / "a", result(verdict="overloaded"))
    assert names(tmp_path) == ["a"]
    assert read_run(tmp_path / "a").summary["verdict"] == "stable"


def interrupted_write(target: Path) -> None:
    with atomic.appearing(target) as directory:
        (directory / "summary.json").write_text("{}")
        raise KeyboardInterrupt


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_write(tmp_path / "a")
    assert names(tmp_path) == []


def test_a_missing_file_makes_a_directory_no_run(tmp_path: Path) -> None:
    write(tmp_path / "a")
    (tmp_path / "a" / "events.parquet").unlink()
    with pytest.raises(UserError, match=r"no events\.parquet"):
        read_run(tmp_path / "a")


WRITER = """
import sys
from pathlib import Path
from kaiju_sim.report import atomic

target, stop = Path(sys.argv[1]), sys.argv[2]

def pause():
    print("there", flush=True)
    sys.stdin.read()

if stop == "between":
    rename = Path.rename
    def slow(self, to):
        if ".kaiju-new-" in self.name:
            pause()
        return rename(self, to)
    Path.rename = slow
with atomic.appearing(target) as directory:
    (directory / "summary.json").write_text("{}")
    (directory / "provenance.json").write_text("{}")
    if stop == "inside":
        pause()
"""


def killed_writer(target: Path, stop: str) -> None:
    """A process that is killed with SIGKILL while it writes `target`."""
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target), stop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": root},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        process.send_signal(signal.SIGKILL)


def test_a_killed_writer_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    killed_writer(tmp_path / "a", "inside")
    (left,) = names(tmp_path)
    assert left.startswith(".a.kaiju-new-")
    with pytest.raises(UserError, match="not a run directory"):
        read_run(tmp_path / "a")
    write(tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_a_writer_killed_while_it_replaces_gives_the_old_run_back(tmp_path: Path) -> None:
    write(tmp_path / "a")
    killed_writer(tmp_path / "a", "between")
    assert not (tmp_path / "a").exists()
    check_target(tmp_path / "a")
    assert read_run(tmp_path / "a").summary == summary()
    assert names(tmp_path) == ["a"]


def test_the_left_over_of_a_living_process_stays(tmp_path: Path) -> None:
    parent = atomic._hidden(tmp_path / "a", "new").name.rsplit("-", 1)[0]
    (tmp_path / f"{parent}-{os.getppid()}").mkdir()
    check_target(tmp_path / "a")
    assert len(names(tmp_path)) == 1


def test_a_missing_column_is_our_fault(tmp_path: Path) -> None:
    made = result()
    short = RunResult(
        made.summary, made.requests.drop(["turn"]), made.replicas, made.series, made.events
    )
    with pytest.raises(KeyError):
        write(tmp_path / "a", short)
    assert names(tmp_path) == []


def test_an_empty_run_can_be_written(tmp_path: Path) -> None:
    made = result()
    empty = RunResult(
        {"verdict": "stable"},
        table_schema(REQUEST_COLUMNS).empty_table(),
        made.replicas.slice(0, 0),
        made.series.slice(0, 0),
        made.events.slice(0, 0),
    )
    assert "report.html" in names(write(tmp_path / "a", empty, report=True))
