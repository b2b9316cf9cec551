"""The shapes of `scenarios/teen_peak.yaml` are those of the trace that it names."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from kaiju_sim.scenario.loader import load_scenario

SCENARIO = Path(__file__).resolve().parents[2] / "scenarios" / "teen_peak.yaml"
SCHOOL, FREE = [0, 1, 2, 6, 7, 8, 9, 10, 13], [3, 4, 5, 11, 12]


def hourly(data: Path) -> Any:
    """Requests per second of the two pupil-like clients, by day and hour."""
    table = pq.read_table(data / "servegen" / "m-mid.trace.parquet")
    mine = np.isin(table["client"].to_numpy(), [71, 92])
    at, rate = table["timestamp"].to_numpy()[mine], table["rate"].to_numpy()[mine]
    found = np.zeros((14, 24))
    np.add.at(found, ((at // 86400).astype(int), (at % 86400 // 3600).astype(int)), rate / 6)
    return found


def test_the_shapes_are_those_of_the_trace(shared_data: Path) -> None:
    """To the two digits that the file shows."""
    diurnal = load_scenario(SCENARIO).scenario.traffic.diurnal
    assert diurnal is not None
    rates = hourly(shared_data)
    school, free = rates[SCHOOL].mean(axis=0), rates[FREE].mean(axis=0)
    assert diurnal.shape == pytest.approx(school / school.mean(), abs=0.0051)
    assert diurnal.weekend_shape is not None
    assert diurnal.weekend_shape == pytest.approx(free / free.mean(), abs=0.0051)
    assert diurnal.weekend_scale == pytest.approx(free.mean() / school.mean(), abs=0.01)


def test_the_evening_is_what_the_survey_says() -> None:
    """One time zone of pupils peaks at 2.5-3.6 times the mean between 18 and 21 h."""
    diurnal = load_scenario(SCENARIO).scenario.traffic.diurnal
    assert diurnal is not None
    shape = np.array(diurnal.shape)
    assert shape.argmax() in (18, 19, 20)
    assert 2.5 < shape.max() / shape.mean() < 3.6
    assert 1.8 <= diurnal.weekend_scale <= 2.1
    lunch, school = shape[12], shape[[9, 10, 14, 15]].max()
    assert lunch > 2 * school


@pytest.mark.parametrize("name", ["school_day", "holiday", "three_continents", "retry_storm"])
def test_the_overrides_are_scenarios(name: str) -> None:
    """Each can be chosen."""
    assert load_scenario(SCENARIO, overrides=[name]).scenario.name == "teen_peak"
