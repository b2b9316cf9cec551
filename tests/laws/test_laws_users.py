"""Users who swipe, leave and lose patience: compiled equals reference, and nothing is lost."""

import numpy as np
import pytest
from fleet_runs import Tree, cells_of, columns, merged, same
from test_laws_reference import pressed

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

BOTH = pytest.mark.parametrize("queue", ["replica", "central"])
POLICIES = pytest.mark.parametrize("policy", ["decode_first", "prefill_first"])


def with_users(policy: str, queue: str, **habits: Tree) -> Scenario:
    """Two replicas without enough memory, and users of these habits."""
    return Scenario.model_validate(merged(pressed(policy, queue).model_dump(), {"traffic": habits}))


@POLICIES
@BOTH
def test_swipes_under_memory_pressure_equal_the_reference(policy: str, queue: str) -> None:
    """Every figure and every table, with swipes, users who leave and preempted answers."""
    habits = {
        "swipe_rate": 0.3,
        "swipe_delay": {"kind": "exponential", "mean": 0.2},
        "abandon_rate": 0.05,
    }
    scenario = with_users(policy, queue, sessions=habits)
    result = simulate(scenario)
    assert result.summary["realised.swipe_rate"] > 0.2
    assert result.summary["realised.abandoned"] > 5
    assert result.summary["realised.preemptions"] > 20
    c = columns(result.requests)
    keys = np.stack([c["session"], c["turn"], c["swipe"], c["attempt"]])
    assert np.unique(keys, axis=1).shape == keys.shape
    for cell in cells_of(scenario):
        assert (cell.states["caches"]["free"] + cell.states["caches"]["idle"] == 100).all()
    same(result, simulate(scenario, engine="reference"))
