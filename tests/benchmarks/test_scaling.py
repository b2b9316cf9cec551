"""`python -m benchmarks.scaling`: how overhead and the model's curve are reckoned."""

import json

import pytest

from benchmarks.scaling.__main__ import main
from benchmarks.scaling.curve import _row
from benchmarks.scaling.tasks import Round, do, scenarios, sleeps, timed
from kaiju_sim.executor.seam import InProcess


def test_overhead_is_the_slots_time_that_is_no_task_s() -> None:
    found = Round(tasks=10, slots=2, wall_s=6.0, busy_s=11.0, cpu_s=10.0)
    assert found.overhead_s == pytest.approx(0.1)


def test_the_model_counts_whole_waves_of_tasks() -> None:
    base = Round(tasks=6, slots=1, wall_s=6.6, busy_s=6.0, cpu_s=6.0)
    row = _row(Round(tasks=6, slots=4, wall_s=2.3, busy_s=6.0, cpu_s=6.0), 1.0, base)
    assert row["modelled_s"] == pytest.approx(2 * 1.0 + 6 * 0.1 / 4)
    assert row["speed_up"] == pytest.approx(6.6 / 2.3)


def test_rounds_are_timed_by_the_tasks_own_clocks() -> None:
    found = timed(InProcess(), sleeps(3, 0.01), 1)
    assert found.tasks == 3
    assert 0.03 <= found.busy_s <= found.wall_s


def test_work_is_the_baseline_with_other_seeds() -> None:
    work = scenarios(
        2, "run.warm_up=100ms", "run.horizon=200ms", "run.drain=1s", "fleet.replicas=1"
    )
    assert [item.scenario.seed for item in work.values() if item.scenario] == [1, 2]
    wall_s, cpu_s = do(sleeps(1, 0.02)[0])
    assert wall_s >= 0.02 > cpu_s >= 0.0, "who sleeps takes no processor time"


def test_unknown_parts_are_refused(capsys: "pytest.CaptureFixture[str]") -> None:
    with pytest.raises(SystemExit) as found:
        main(["everything"])
    assert found.value.code == 2
    assert json.dumps("pool")[1:-1] in capsys.readouterr().err
