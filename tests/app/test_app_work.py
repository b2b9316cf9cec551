"""What jobs leave: a plan, a break-it with its GPUs; a tiny fleet whose answers are known."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "streamlit", reason="the dashboard's extra is not installed: pip install .[app]"
)

from app.figures import breaks
from app.figures.planning import plan
from app.jobs import folder as jobs
from app.jobs.worker import work
from kaiju_sim.report.rundir import read_run

SERVER = """\
schema_version: 1
name: staffing
run: {warm_up: 1s, horizon: 20s, drain: 10s, epoch: 100ms}
traffic:
  kind: poisson
  messages_per_s: 40
  sessions: {user_tokens: {kind: constant, value: 1}}
  output_tokens: {kind: constant, value: 1}
characters: {count: 1, definition_tokens: {kind: constant, value: 0}}
engine: {max_seqs: 1, token_budget: 1}
kv: {prefix_cache: false}
router: {policy: round_robin, queue: central}
steptime: {kind: exponential, step: 100ms}
slo: {ttft: 550ms}
fleet: {replicas: 6}
plan: {window: 30s, warm_up: 2s, pass_probability: 0.6}
results: {request_rows: 0, tick: 10s}
overrides:
  no-affinity: {router: {policy: power_of_two, queue: replica}}
"""
"""A message of one token takes one step, so a replica is a server: four of them are busy."""


def worked(task: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a job that was done."""
    monkeypatch.setenv("KAIJU_APP_DIR", str(folder))
    found = jobs.folder_of(jobs.new(task, {}))
    assert found is not None
    work(found)
    assert jobs.state_of(found).state == "done"
    return found


def test_a_plan_leaves_its_answer_a_page_and_a_run_of_that_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = worked({"kind": "plan", "text": SERVER, "sets": []}, tmp_path, monkeypatch)
    found = jobs.result_of(folder)
    assert 4 < found["gpus"] < 20
    assert read_run(folder / jobs.RUN).summary["fleet.replicas"] == found["gpus"]
    assert plan.headline(found) in (folder / jobs.RESULT / jobs.REPORT).read_text("utf-8")
    assert plan.cards(found)[0][1] == str(found["gpus"])
    rows = plan.candidates(found)
    assert any(row["verdict"] == "passes" and row["GPUs"] == found["gpus"] for row in rows)
    assert "holds" not in plan.headline(found | {"gpus": None, "binds": ""})


def test_a_break_it_tells_both_fleets_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"text": SERVER}
    sides = {
        "base": {**source, "with": [], "sets": []},
        "run": {**source, "with": ["no-affinity"], "sets": []},
    }
    task = {"kind": "break-it", **source, "sides": sides, "replications": 2}
    folder = worked({**task, "only": ["no-affinity"]}, tmp_path, monkeypatch)
    rows = jobs.result_of(folder)
    assert [row["name"] for row in rows] == ["baseline", "no-affinity"]
    assert rows[1]["gpus"] > rows[0]["gpus"]  # queues of their own, blind choices
    base, run = (read_run(folder / name) for name in (jobs.BASE, jobs.RUN))
    cards = breaks.cards(base, run, rows)
    assert cards[0]["as shipped"] == str(rows[0]["gpus"])
    assert breaks.chain(base, run, rows)[-1].startswith("So the fewest GPUs go from")
    assert len(breaks.cards(base, run, None)) == 2
