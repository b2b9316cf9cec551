"""Watching a run shows exactly the reference loop's steps, whatever features the fleet has."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "laws"))
from random_scenarios import fleet, write_traces

import kaiju_sim.fleet.reference as reference
from kaiju_sim.engine.reference import ReferenceLoop
from kaiju_sim.exports.steps import Window, chunks, watched
from kaiju_sim.simulation import CellTask, build_plant, run_cell

NUMBERS = (*range(25), 69, 210, 289, 372)
"""The last ones' routers read caches: watched by cutting epochs, they would decide otherwise."""
Row = tuple[int, int, int, int, int, int]


def compare(number: int, traces: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Watch the middle of a random fleet's first cell: how many steps, how many not seen."""
    scenario = fleet(number)
    plant = build_plant(scenario, traces)
    begin, end = (int(plant.scenario.run.horizon * part * 1e9) for part in (0.3, 0.7))
    noted: list[Row] = []

    class Noting(ReferenceLoop):
        def _start(self, k: int, t: int) -> None:
            r = self.world.engine.replicas[k]
            before = int(r.steps)
            super()._start(k, t)
            if r.steps > before and begin <= t < end:
                tokens, prompts = chunks(self.world.engine.requests.array, int(r.pre))
                noted.append((k, t, int(r.end), int(r.decoding), tokens, prompts))

    monkeypatch.setattr(reference, "ReferenceLoop", Noting)
    theirs = run_cell(CellTask(plant, 0, "reference"))
    found = watched(plant, 0, Window(begin, end))
    ours = [
        (s.replica, s.begin, s.end, s.decodes, s.prefill_tokens, s.prompts) for s in found.steps
    ]
    assert len(ours) + found.missed == len(noted), number
    assert set(ours) <= set(noted), number
    assert found.missed == 0 or plant.step_time.curves.kind == 2, number
    assert found.result is not None
    for mine, other in zip(found.result.ticks, theirs.ticks, strict=False):
        if mine["time_s"][0] == other["time_s"][0]:
            assert all(np.array_equal(mine[name], other[name]) for name in mine), number
    return len(ours), found.missed


def test_every_step_of_the_window_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traces = write_traces(tmp_path)
    seen = [compare(number, traces, monkeypatch) for number in NUMBERS]
    assert sum(steps for steps, _ in seen) > 1000
    assert sum(missed for _, missed in seen) < 0.05 * sum(steps for steps, _ in seen)
