"""`python -m benchmarks.features`: features are known or left out, and compared round by round."""

import pytest

from benchmarks import features
from benchmarks.features import FEATURES, NOTHING, compared, inside, known, table
from benchmarks.growth.axes import closed


def run(rate: float) -> dict[str, float]:
    return {"messages_per_s": rate, "steps_per_message": 2.0, "hit_rate": 0.9, "batch": 3.0}


def test_costs_are_medians_of_rounds() -> None:
    off = [run(100.0), run(50.0), run(80.0)]
    on = [run(50.0), run(50.0), run(40.0)]
    found = compared(on, off)
    assert (found["cost"], found["cost_range"], found["messages_per_s"]) == (2.0, [1.0, 2.0], 50.0)
    assert "| x | 50 | 2.00 (1.00-2.00) | 2.00 | 0.900 |" in table({"x": found})


def test_every_feature_is_known_or_said_not_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    there = [name for name in FEATURES if known(name)]
    assert NOTHING in there
    said = capsys.readouterr().err
    assert all(f"{name}: not in this version" in said for name in FEATURES if name not in there)
    plain = closed(1.0, {}, 1e5)
    assert all(closed(1.0, FEATURES[name], 1e5) != plain for name in there if name != NOTHING)


def test_one_run_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "GPUS", 2)
    found = inside(NOTHING, 2_000.0)
    assert found["messages_per_s"] > 1000
    assert found["steps_per_message"] > 0
