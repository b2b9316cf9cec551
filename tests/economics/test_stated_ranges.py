"""The shipped scenarios' ranges of traffic: both ends are valid, and each says where it is from."""

from pathlib import Path

import pytest

from kaiju_sim.economics.ranges import NOT_SAID, ranges_of
from kaiju_sim.scenario.loader import load_scenario

FOLDER = Path(__file__).resolve().parents[2] / "scenarios"
SHIPPED = [
    ("unit_economics", []),
    ("teen_peak", []),
    ("teen_peak", ["retry_storm"]),
    ("published", []),
]


@pytest.mark.parametrize(("name", "overrides"), SHIPPED)
def test_both_ends_are_valid_and_have_a_source(name: str, overrides: list[str]) -> None:
    path = FOLDER / f"{name}.yaml"
    scenario = load_scenario(path, overrides=overrides).scenario
    assert scenario.economics.ranges
    for key, found in ranges_of(scenario).items():
        assert found.source != NOT_SAID
        ends = [
            load_scenario(path, overrides=overrides, sets=[f"{key}={end}"]).scenario
            for end in (found.low, found.high)
        ]
        assert ends[0] != ends[1], key


def test_clients_move_too() -> None:
    storm = load_scenario(FOLDER / "teen_peak.yaml", overrides=["retry_storm"]).scenario
    fields = {"timeout", "retries", "backoff", "backoff_factor"}
    assert {f"traffic.client.{name}" for name in fields} <= set(ranges_of(storm))
    assert "traffic.sessions.abandon_rate" in ranges_of(storm)
