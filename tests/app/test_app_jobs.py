"""Jobs: limits, cancelling, what becomes of one whose process is gone."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.jobs import folder as jobs
from app.jobs.desk import Desk
from kaiju_sim.errors import UserError
from kaiju_sim.report.rundir import read_run

LONG = {"scenario": "baseline", "sets": ["run.horizon=70min"], "replications": 1}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A desk with a folder of its own."""
    monkeypatch.setenv("KAIJU_APP_DIR", str(tmp_path / "jobs"))
    made = Desk()
    yield made
    made.close()


def ended(desk: Desk, name: str) -> jobs.State:
    """The state of a job when it has ended."""
    for _ in range(1200):
        state = desk.state(name)
        assert state is not None
        if not state.is_open:
            return state
        time.sleep(0.1)
    raise AssertionError("the job does not end")


def test_a_session_has_one_open_job_and_cancelling_ends_its_process(desk: Desk) -> None:
    name = desk.start("me", LONG)
    pid = desk._running[name].pid
    try:
        with pytest.raises(UserError, match="yours is under way"):
            desk.start("me", LONG)
    finally:
        desk.cancel(name)
    state = desk.state(name)
    assert state is not None
    assert state.state == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_all_sessions_together_have_a_limit(desk: Desk) -> None:
    names = [desk.start(who, LONG) for who in ("a", "b")]
    try:
        with pytest.raises(UserError, match="busy"):
            desk.start("c", LONG)
    finally:
        for name in names:
            desk.cancel(name)


def test_a_mistake_in_a_task_is_told_with_its_words(desk: Desk) -> None:
    name = desk.start("me", {"scenario": "../../etc/passwd", "sets": [], "replications": 1})
    state = ended(desk, name)
    assert state.state == "failed"
    assert "no such scenario" in state.words


TINY = """\
schema_version: 1
name: tiny
run: {warm_up: 0s, horizon: 10s, drain: 5s}
traffic: {kind: poisson, messages_per_s: 2, output_tokens: {kind: constant, value: 8}}
fleet: {replicas: 1}
"""


def test_a_typed_scenario_is_simulated_and_its_run_directory_is_whole(desk: Desk) -> None:
    name = desk.start("me", {"text": TINY, "sets": [], "replications": 2})
    state = ended(desk, name)
    assert state.state == "done", state.words
    folder = jobs.folder_of(name)
    assert folder is not None
    run = read_run(folder / "run")
    assert run.summary["requests.completed"] > 5
    assert run.intervals["ttft_s.p99"]["half_width"] is not None
    assert (folder / "run" / "report.html").is_file()


def test_a_mistake_in_a_typed_scenario_is_told_with_its_line(desk: Desk) -> None:
    name = desk.start("me", {"text": f"{TINY}flet: 1\n", "sets": [], "replications": 1})
    state = ended(desk, name)
    assert state.state == "failed"
    assert "typed.yaml:6" in state.words
    assert "fleet" in state.words


def test_another_server_finds_a_job_whose_process_is_gone_failed(desk: Desk) -> None:
    name = jobs.new(LONG, {})
    state = desk.state(name)
    assert state is not None
    assert state.state == "failed"


@pytest.mark.parametrize("name", ["", "..", "../x", "A" * 32, "0" * 31, "0" * 32])
def test_a_name_that_is_none_finds_nothing(desk: Desk, name: str) -> None:
    assert desk.state(name) is None
