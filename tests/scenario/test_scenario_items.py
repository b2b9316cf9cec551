"""Options that change a part of one item of a list."""

from pathlib import Path

import pytest

from kaiju_sim.economics.ranges import ranges_of
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.loader import load_scenario

INCIDENTS = Path(__file__).resolve().parents[2] / "scenarios" / "incidents"
RESTART = INCIDENTS / "cold_restart.yaml"


def test_an_item_keeps_what_is_not_mentioned_defaults_too() -> None:
    base = load_scenario(RESTART).scenario.incidents[0]
    sets = ["incidents[0].fault.down=30s", "incidents[0].response.mttr_p50_s.value=120.0"]
    loaded = load_scenario(RESTART, sets=sets)
    (changed,) = loaded.scenario.incidents
    assert changed.fault.down == 30.0
    assert changed.response.mttr_p50_s.value == 120.0
    p50 = base.response.mttr_p50_s.model_copy(update={"value": 120.0})
    response = base.response.model_copy(update={"mttr_p50_s": p50})
    fault = base.fault.model_copy(update={"down": 30.0})
    assert changed == base.model_copy(update={"fault": fault, "response": response})
    assert loaded.origins["incidents"] == "--set"


def test_it_changes_what_overrides_and_earlier_options_have_put_there() -> None:
    loss = INCIDENTS / "replica_loss.yaml"
    sets = ["incidents[0].at=25min", "incidents[0].name=outage"]
    (found,) = load_scenario(loss, overrides=["zone"], sets=sets).scenario.incidents
    assert (found.at, found.name, found.fault.share) == (1500.0, "outage", 0.3333)


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("incidents[1].at=9s", "incidents has 1 item, counted from 0"),
        ("fleet[0].replicas=9", "fleet has 0 items, counted from 0"),
        ("incident[0].at=9s", "unknown key incident"),
        ("incidents[0].fault.dwn=9s", "unknown key incidents[0].fault.dwn; did you mean down?"),
        ("incidents[0].at=soon", "incidents[0].at"),
    ],
)
def test_mistakes_in_an_item_are_told(option: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        load_scenario(RESTART, sets=[option])
    assert expected in str(caught.value)
    assert "--set" in str(caught.value)


@pytest.mark.parametrize("name", ["cold_restart", "persona_drift", "false_positives"])
def test_what_is_assumed_of_incidents_can_be_moved(name: str) -> None:
    """The simulated tornado moves people's times and the fault's size; churn is money after it."""
    path = INCIDENTS / f"{name}.yaml"
    scenario = load_scenario(path).scenario
    mine = [p for p in ranges_of(scenario) if p.startswith("incidents[0].")]
    assert "incidents[0].response.mttr_p50_s.value" in mine
    assert ("incidents[0].fault.drop.value" in mine) == (name == "persona_drift")
    assert not any("churn" in p for p in mine)
    for p in mine:
        for end in ranges_of(scenario)[p]:
            assert load_scenario(path, sets=[f"{p}={end}"]).scenario != scenario
    off = scenario.incidents[0].model_copy(update={"enabled": False})
    quiet = scenario.model_copy(update={"incidents": (off,)})
    assert not any(p.startswith("incidents") for p in ranges_of(quiet))
