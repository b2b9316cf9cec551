"""Workers that finish, go down, hang or never start; no GPU, the worker is a script."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from kernel_rows import row, samples

from benchmarks.kernels import store
from benchmarks.kernels.cases import chosen
from benchmarks.kernels.processes.supervisor import Run, line_of

CASES = chosen("^norm (64|512|2048) x 5120$")
GPU = "h100-test"

WORKER = """
import json, os, sys, time
sys.path[:0] = [{root!r}, {here!r}]
from benchmarks.kernels.cases import chosen
from kernel_rows import row, samples
def say(found): print(json.dumps(found), flush=True)
say({{"about": {{"gpu": "NVIDIA H100 test"}}}})
for case in chosen(None):
    if case.name not in sys.argv[1:]:
        continue
    say({{"begin": case.name}})
    if "norm 512 " in case.name:
        {trouble}
    us = 10.0
    rows = [row(case, "ours", us)]
    say({{"rows": rows, "samples": samples(case, "ours", us), "failures": []}})
"""


def run_with(tmp_path: Path, trouble: str) -> tuple[Run, list[str]]:
    here = Path(__file__).resolve().parent
    script = tmp_path / "worker.py"
    code = WORKER.format(root=str(here.parents[1]), here=str(here), trouble=trouble)
    script.write_text(code, encoding="utf-8")
    said: list[str] = []

    def command(names: Sequence[str]) -> list[str]:
        return [sys.executable, str(script), *names]

    return Run(command, tmp_path / "results", "abc", said.append, case_s=5.0), said


def names_in(folder: Path) -> set[str]:
    rows = store.read(store.path(GPU, ".parquet", folder))
    return {case.name for case in CASES if case.key in {(r["operator"], r["shape"]) for r in rows}}


def test_all_goes_well(tmp_path: Path) -> None:
    run, said = run_with(tmp_path, "pass")
    assert run.measure(CASES)
    assert names_in(run.folder) == {case.name for case in CASES}
    assert said == [f"{case.name}: ours 10.0 us" for case in CASES]
    (provenance,) = store.read_json(store.path(GPU, ".json", run.folder))["runs"]
    assert provenance["commit"] == "abc"
    assert provenance["gpu"] == "NVIDIA H100 test"
    assert provenance["failures"] == []
    assert provenance["left_out"] == 0
    assert len(store.read(store.path(GPU, "-samples.parquet", run.folder))) == 9


@pytest.mark.parametrize(
    ("trouble", "why"),
    [
        ("os._exit(139)", "the worker went down, exit code 139"),
        ("time.sleep(60)", "nothing for 5 s: killed"),
    ],
)
def test_one_case_in_trouble_does_not_cost_the_others(
    tmp_path: Path, trouble: str, why: str
) -> None:
    run, _ = run_with(tmp_path, trouble)
    assert not run.measure(CASES)
    assert names_in(run.folder) == {"norm 64 x 5120", "norm 2048 x 5120"}
    assert run.failures == [{"case": "norm 512 x 5120", "why": why}]
    (provenance,) = store.read_json(store.path(GPU, ".json", run.folder))["runs"]
    assert provenance["failures"] == run.failures


def test_a_run_that_is_over_keeps_what_it_has_and_says_what_is_left(tmp_path: Path) -> None:
    run, said = run_with(tmp_path, "time.sleep(60)")
    run.limit_s = 1.5
    assert not run.measure(CASES)
    assert names_in(run.folder) == {"norm 64 x 5120"}
    assert run.failures == []
    (provenance,) = store.read_json(store.path(GPU, ".json", run.folder))["runs"]
    assert provenance["left_out"] == 2
    assert provenance["left_out_cases"] == ["norm 512 x 5120", "norm 2048 x 5120"]
    assert said[-1] == "2 cases left out: 2 s are over"


def test_a_failed_peer_is_told(tmp_path: Path) -> None:
    trouble = 'say({"rows": [], "samples": [], "failures": ["XQA: no nvcc"]}); continue'
    run, said = run_with(tmp_path, trouble)
    assert not run.measure(CASES)
    assert "norm 512 x 5120: XQA: no nvcc" in said


def test_a_worker_that_does_not_start(tmp_path: Path) -> None:
    run = Run(lambda names: [sys.executable, "-c", "raise SystemExit(3)"], tmp_path, None, print)
    assert not run.measure(CASES)
    assert run.failures == [{"case": CASES[0].name, "why": "the worker does not start"}]


def test_progress_names_ours_first() -> None:
    (case, *_) = CASES
    rows = [row(case, "b", 3.0), row(case, "ours", 4.0), row(case, "a", 5.0)]
    assert line_of("x", rows) == "x: ours 4.0 us, b 3.0 us, a 5.0 us"
    assert line_of("x", []) == "x: nothing"
    assert samples(case, "ours", 4.0)
