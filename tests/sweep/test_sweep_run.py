"""Sweeps end to end: the same on every executor, resumed after a kill, a front that is one."""

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_files import command, environment, run, written

from kaiju_sim.executor.choose import opened
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.simulation import replicate
from kaiju_sim.store import Store
from kaiju_sim.sweep.front import COST, GOALS, INTERACTIVITY, TTFT, broken, pareto
from kaiju_sim.sweep.points import make_points
from kaiju_sim.sweep.read import read_spec
from kaiju_sim.sweep.run import gather, missing, run_missing
from kaiju_sim.sweep.table import as_table, make_rows, parquet_bytes


def swept(path: Path, folder: Path, kind: Any = "inprocess") -> bytes:
    """A sweep's table."""
    points, store = make_points(read_spec(path)), Store(folder)
    with opened(kind, 2) as executor:
        run_missing(missing(points, store), store, executor)
    return parquet_bytes(make_rows(gather(points, store)))


def test_a_pool_gives_the_same_bytes_and_points_are_runs(tmp_path: Path) -> None:
    text = "scenario: small.yaml\ngrid: {fleet.replicas: [1, 2]}\nreplications: 2\n"
    path = written(tmp_path, text)
    assert swept(path, tmp_path / "a") == swept(path, tmp_path / "b", "pool")
    points, store = make_points(read_spec(path)), Store(tmp_path / "a")
    assert missing(points, store) == {}
    rows = make_rows(gather(points, store))
    alone = replicate(load_scenario(path.with_name("small.yaml")).scenario, 2)
    for key, value in alone.summary.items():
        if key not in ("run.replications", "results.sample_share"):
            assert rows[1].summary[key] == value, key
    table = as_table(rows)
    assert table["set.fleet.replicas"].to_pylist() == [1.0, 2.0]
    assert table[f"{TTFT}.half_width"][1].as_py() == pytest.approx(
        alone.intervals[TTFT]["half_width"]
    )


def test_killed_and_run_again_it_does_only_what_is_missing(tmp_path: Path) -> None:
    """SIGKILL after two points; a third is cut short by hand; the rest is as without the kill."""
    path, folder = written(tmp_path), tmp_path / "out"
    child = subprocess.Popen(
        command("sweep", path, "-o", folder, "-q"), env=environment(), stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("points/*.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    kept = sorted(folder.glob("points/*.json"))
    assert 2 <= len(kept) < 8
    assert not (folder / "sweep.parquet").exists()
    half = kept[0].read_bytes()
    kept[0].write_bytes(half[: len(half) // 2])
    times = {file: file.stat().st_mtime_ns for file in kept[1:]}
    done = run("sweep", path, "-o", folder)
    assert done.returncode == 0, done.stderr
    assert f"{len(kept) - 1} of 8 simulations are there already" in done.stderr
    assert {file: file.stat().st_mtime_ns for file in times} == times
    assert (folder / "sweep.parquet").read_bytes() == swept(path, tmp_path / "whole")
    assert "<svg" not in done.stdout
    assert "on the front" in done.stdout


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(word) for task in tasks for word in task.read_text().split()]


def running(pid: int) -> bool:
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_whatever_ends_it_a_pool_leaves_no_process(
    tmp_path: Path, end: signal.Signals, code: int
) -> None:
    path, folder = written(tmp_path), tmp_path / "out"
    words = command("sweep", path, "-o", folder, "--workers", "2", "-q")
    words = [*words, "--set", "run.horizon=400s"]
    child = subprocess.Popen(  # a shell's background job ignores interrupts, and hands that on
        words,
        env=environment(),
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(folder.glob("points/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    started = children(child.pid)
    assert len(started) >= 2
    child.send_signal(end)
    assert child.wait(30) == code
    while any(map(running, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(running, started))


def test_the_table_page_and_json_agree(tmp_path: Path) -> None:
    path, folder = written(tmp_path), tmp_path / "out"
    done = run("sweep", path, "-o", folder, "--format", "json", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    table = pq.read_table(folder / "sweep.parquet")
    assert table.num_rows == len(found["points"]) == 8
    front = [row["point"] for row in table.to_pylist() if row["on_front"]]
    assert front == found["front"]
    assert front
    first = found["points"][0]
    assert first["summary"]["requests.arrived"] == table["requests.arrived"][0].as_py()
    assert json.loads((folder / "provenance.json").read_text())["points_done"] == 8
    page = (folder / "sweep.html").read_text()
    assert "breaks an objective" in page
    assert page.count('class="chart"') >= 3


def test_what_only_shows_when_parts_meet_is_infeasible_not_fatal(tmp_path: Path) -> None:
    text = "scenario: small.yaml\ngrid: {model: [kaiju-13b, kaiju-110b]}\n"
    path = written(tmp_path, text)
    points, store = make_points(read_spec(path)), Store(tmp_path / "points")
    with opened() as executor:
        run_missing(missing(points, store), store, executor)
    small, large = make_rows(gather(points, store))
    assert (small.status, large.status) == ("done", "infeasible")
    assert large.problem
    assert not large.on_front


FIGURES = st.one_of(st.none(), st.integers(0, 4))


@given(st.lists(st.tuples(FIGURES, FIGURES, FIGURES), max_size=12))
def test_the_front_is_who_nobody_beats(values: list[tuple[int | None, ...]]) -> None:
    summaries = [dict(zip((COST, TTFT, INTERACTIVITY), row, strict=True)) for row in values]

    def beats(a: dict[str, Any], b: dict[str, Any]) -> bool:
        pairs = [(sign * a[key], sign * b[key]) for key, sign in GOALS]
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    known = [s for s in summaries if None not in s.values()]
    wanted = [s in known and not any(beats(other, s) for other in known) for s in summaries]
    assert pareto(summaries) == wanted


def test_objectives_that_are_broken_are_named(tmp_path: Path) -> None:
    written(tmp_path)
    scenario = load_scenario(tmp_path / "small.yaml").scenario
    good = {TTFT: 0.5, "tpot_s.p99": 0.02, "verdict": "stable"}
    assert broken(good, scenario) == []
    assert broken(good | {TTFT: None}, scenario) == ["slo.ttft"]
    assert broken(good | {"tpot_s.p99": 0.03, "verdict": "overloaded"}, scenario) == [
        "slo.tpot",
        "overloaded",
    ]


def test_without_a_place_to_write_nothing_is_simulated(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "file").write_text("")
    done = run("sweep", path, "-o", tmp_path / "file")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot write" in done.stderr
