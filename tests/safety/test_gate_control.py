"""The control plane acts on the gate at an instant: what arrives from then on has its verdicts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy
from gate_runs import classes, gated, refused

from kaiju_sim.fleet.control import CellResult, CellRun
from kaiju_sim.fleet.gate.control import set_threshold, shift_scores, take_down
from kaiju_sim.fleet.gate.records import INTENSE, TEEN, Gate
from kaiju_sim.simulation import build_plant, data_plane

AT_S = 17.03
"""In the middle of an epoch."""


def run_with(act: Callable[[Gate], None], safety: dict[str, Any]) -> CellResult:
    """A run in which `act` happens to the gate at AT_S."""
    run = CellRun(build_plant(gated(safety), Path()), 0, data_plane("compiled"))

    def story() -> Iterator[simpy.Event]:
        yield run.env.timeout(round(AT_S * 1e9))
        act(run.cell.gate)

    run.env.process(story())  # type: ignore[arg-type]
    return run.run()


def halves(result: CellResult) -> tuple[Any, Any]:
    """Log rows of what arrived before and after."""
    log = result.log[np.argsort(result.log["arrival"])]
    at = log["arrival"] < round(AT_S * 1e9)
    return log[at], log[~at]


@pytest.mark.parametrize(("score", "share"), [(0.0, 1.0), (1.0, 0.0)])
def test_a_threshold_acts_from_its_instant_on(score: float, share: float) -> None:
    safety = {"pre": "before", **classes(0.3), **refused(0.0, 0.0)}
    before, after = halves(run_with(lambda gate: set_threshold(gate, score), safety))
    assert 0.1 < (before["status"] == 5).mean() < 0.4
    assert (after["status"] == 5).mean() == share


def test_a_shift_concerns_its_tier_and_class_alone() -> None:
    safety = {"pre": "before", **classes(0.0, 0.5), **refused(0.0, 0.0)}
    safety["teen_share"] = {"value": 0.4}
    safety["teen_share"] |= {"low": 0.0, "high": 1.0, "source": "a test", "grade": "U"}

    def spike(gate: Gate) -> None:
        shift_scores(gate, 30.0, ages=(TEEN,), classes=(INTENSE,))

    result = run_with(spike, safety)
    calm = run_with(lambda gate: None, safety)
    counts = [r.gate["counts"][0, 0, :, :, 1] for r in (calm, result)]
    assert (counts[0] == calm.gate["totals"][0, :, :, 1]).all(), "all messages are measured"
    assert result.gate["state"]["blocked"].sum() == result.tally["blocked_pre"]
    assert result.gate["state"]["wrongly"] == result.gate["sums"]["wrongly"].sum()
    grown = counts[1] - counts[0]
    assert grown[TEEN, INTENSE] > 50
    assert abs(grown).sum() < grown[TEEN, INTENSE] + 10  # others see a slightly different crowd


@pytest.mark.parametrize("failure", ["open", "closed"])
def test_a_gate_that_is_down_is_open_or_closed(failure: str) -> None:
    safety = {"pre": "before", "pool": {"failure": failure}, **classes(0.3), **refused(0.0, 0.0)}
    before, after = halves(run_with(lambda gate: take_down(gate, down=True), safety))
    assert 0.1 < (before["status"] == 5).mean() < 0.4
    assert (after["status"] == 5).mean() == (failure == "closed")
