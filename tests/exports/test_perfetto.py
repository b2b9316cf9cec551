"""The steps of a window are those of the reference loop, and the trace tells them."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kaiju_sim.fleet.reference as reference
from kaiju_sim.engine.reference import ReferenceLoop
from kaiju_sim.errors import UserError
from kaiju_sim.exports import steps as steps_of
from kaiju_sim.exports.perfetto import packed, perfetto
from kaiju_sim.exports.steps import Steps, Window, chunks, replay, watched
from kaiju_sim.report.rundir import RunDirectory, read_run, write_run
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.simulation import CellTask, build_plant, run_cell, simulate

SCENARIO = """\
schema_version: 1
name: tiny
seed: 5
run: {warm_up: 0s, horizon: 6s, drain: 20s, epoch: 100ms}
traffic: {kind: poisson, messages_per_s: 12}
steptime: {kind: roofline}
fleet: {replicas: 2}
results: {tick: 1s}
"""
WINDOW = Window(2_000_000_000, 4_500_000_000)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("perfetto")
    (folder / "tiny.yaml").write_text(SCENARIO)
    loaded = load_scenario(folder / "tiny.yaml")
    write_run(simulate(loaded.scenario), loaded.to_yaml(), {"seed": 5}, folder / "run")
    return read_run(folder / "run")


@pytest.fixture(scope="module")
def seen(run: RunDirectory) -> list[Steps]:
    return replay(run, WINDOW)


def reference_steps(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Every step that begins in the window, noted by the reference loop itself."""
    noted = []

    class Noting(ReferenceLoop):
        def _start(self, k: int, t: int) -> None:
            r = self.world.engine.replicas[k]
            before = int(r.steps)
            super()._start(k, t)
            if r.steps > before and WINDOW.begin <= t < WINDOW.end:
                tokens, prompts = chunks(self.world.engine.requests.array, int(r.pre))
                row = (k, t, int(r.end), int(r.decoding), tokens, prompts)
                noted.append((*row, int(r.running), int(r.filling)))

    monkeypatch.setattr(reference, "ReferenceLoop", Noting)
    run_cell(CellTask(build_plant(steps_of.scenario_of(run, 0), Path()), 0, "reference"))
    return sorted(noted)


def test_steps_are_those_of_the_reference_loop(
    run: RunDirectory, seen: list[Steps], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = sorted(
        (s.replica, s.begin, s.end, s.decodes, s.prefill_tokens, s.prompts, s.running, s.filling)
        for s in seen[0].steps
    )
    assert seen[0].missed == 0
    assert len(ours) > 50
    assert any(row[4] for row in ours)
    assert ours == reference_steps(run, monkeypatch)


def test_watching_changes_nothing(run: RunDirectory) -> None:
    plant = build_plant(steps_of.scenario_of(run, 0), Path())
    alone = run_cell(CellTask(plant, 0, "compiled"))
    end = Window(0, int(26e9))
    found = watched(plant, 0, end)
    assert found.result is not None
    ours, theirs = (np.sort(r.log, order=["arrival", "session"]) for r in (found.result, alone))
    assert ours.tobytes() == theirs.tobytes()
    assert found.result.tally == alone.tally
    assert len(found.steps) == alone.states["replicas"]["steps"].sum()


def test_the_trace_has_a_track_of_slices_and_counters_for_each_replica(seen: list[Steps]) -> None:
    events = [(3.0, "edit", "character 4", "version 1"), (5.0, "edit", "character 5", "version 1")]
    text = "".join(perfetto(seen, WINDOW, events, "tiny, seed 5"))
    trace = json.loads(text)
    found: list[dict[str, Any]] = trace["traceEvents"]
    slices = [e for e in found if e["ph"] == "X"]
    assert len(slices) == len(seen[0].steps)
    assert {e["pid"] for e in slices} == {2, 3}
    for process in (2, 3):
        mine = sorted((e["ts"], e["dur"]) for e in slices if e["pid"] == process)
        pairs = zip(mine, mine[1:], strict=False)
        assert all(ts + dur <= after + 1e-3 for (ts, dur), (after, _) in pairs), "one at a time"
        names = {e["name"] for e in found if e["ph"] == "C" and e["pid"] == process}
        assert names == {"waiting", "running", "KV blocks in use, %"}
    named = {e["args"]["name"] for e in found if e["name"] == "process_name"}
    assert named == {"fleet: tiny, seed 5", "replica 0 (cell 0)", "replica 1 (cell 0)"}
    assert [e["name"] for e in found if e["ph"] == "i"] == ["edit character 4"]
    first = min(seen[0].steps, key=lambda s: (s.replica, s.begin))
    assert slices[0]["ts"] == first.begin / 1000
    assert slices[0]["args"]["decodes"] == first.decodes
    assert gzip.decompress(packed(text, "t.json.gz")).decode() == text
    assert packed(text, "t.json") == text.encode()


def test_windows_outside_too_large_and_changed_runs_are_refused(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"within the run: 0s\.\.26s"):
        replay(run, Window(0, int(27e9)))
    with pytest.raises(UserError, match="no replication 1"):
        replay(run, WINDOW, replication=1)
    other = RunDirectory(
        run.path, run.summary, run.provenance, run.scenario_yaml.replace("seed: 5", "seed: 6")
    )
    with pytest.raises(UserError, match="cannot be simulated again as it was"):
        replay(other, WINDOW)
    monkeypatch.setattr(steps_of, "MOST_STEPS", 20)
    with pytest.raises(UserError, match="over 20 engine steps"):
        replay(run, WINDOW)
