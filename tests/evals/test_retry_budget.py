"""A retry budget bounds a retry storm, in both loops alike; none changes nothing."""

from typing import Any

import pytest
from fleet_runs import scenario_of

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate


def storm(budget: float | None, length_s: float = 60.0) -> Scenario:
    """Twice the messages that one replica can serve, from clients that try again at once."""
    client: dict[str, Any] = {"timeout": 1.0, "retries": 20, "backoff": 0.5, "backoff_factor": 1.0}
    return scenario_of(
        {
            "run": {"horizon": length_s},
            "traffic": {"messages_per_s": 20.0, "client": client | {"retry_budget": budget}},
            "fleet": {"replicas": 1},
            "steptime": {"kind": "constant", "step": 0.1},
            "engine": {"max_seqs": 64, "token_budget": 2048},
        }
    )


def attempts(s: Scenario) -> tuple[int, int]:
    """Messages sent for the first time, and again."""
    again = simulate(s).requests["attempt"].to_numpy()
    return int((again == 0).sum()), int((again > 0).sum())


def test_without_a_budget_the_storm_feeds_on_itself() -> None:
    first, again = attempts(storm(None))
    assert again > first


@pytest.mark.parametrize("budget", [0.0, 0.1, 0.5])
def test_retries_are_at_most_the_bucket_and_what_first_sendings_earn(budget: float) -> None:
    first, again = attempts(storm(budget))
    assert 0 < again <= 100 + budget * first
    if budget:
        assert again > 0.8 * budget * first


def test_the_reference_loop_grants_the_same_retries() -> None:
    s = storm(0.1)
    fast, slow = simulate(s), simulate(s, engine="reference")
    assert fast.requests.equals(slow.requests)
    assert fast.summary == slow.summary


def test_a_budget_that_is_never_empty_changes_nothing() -> None:
    plain, ample = simulate(storm(None, 10.0)), simulate(storm(100.0, 10.0))
    assert plain.requests.equals(ample.requests)
