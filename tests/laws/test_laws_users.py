"""Users who swipe, leave and lose patience: compiled equals reference, and nothing is lost."""

import numpy as np
import pytest
from fleet_runs import Tree, cells_of, columns, merged, same
from test_laws_reference import pressed

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

BOTH = pytest.mark.parametrize("queue", ["replica", "central"])
POLICIES = pytest.mark.parametrize("policy", ["decode_first", "prefill_first"])


SWIPES: Tree = {"swipe_rate": 0.3, "swipe_delay": {"kind": "exponential", "mean": 0.2}}


def with_users(policy: str, queue: str, **habits: Tree) -> Scenario:
    """Two replicas without enough memory, and users of these habits."""
    return Scenario.model_validate(merged(pressed(policy, queue).model_dump(), {"traffic": habits}))


@POLICIES
@BOTH
def test_swipes_under_memory_pressure_equal_the_reference(policy: str, queue: str) -> None:
    """Every figure and every table, with swipes, users who leave and preempted answers."""
    scenario = with_users(policy, queue, sessions={**SWIPES, "abandon_rate": 0.05})
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


PATIENCE: Tree = {"timeout": 0.7, "retries": 2, "backoff": 0.3, "jitter": 0.5}


def check_cancelled(scenario: Scenario) -> None:
    """Attempts are numbered, late enough after their cause, and given up at an epoch's start."""
    client, epoch_ns = scenario.traffic.client, round(scenario.run.epoch * 1e9)
    timeout_ns = round((client.timeout or 0.0) * 1e9)
    for cell in cells_of(scenario):
        log = cell.log[np.lexsort([cell.log[k] for k in ("attempt", "swipe", "turn", "session")])]
        gone = log["status"] == 4
        assert (log["first"][gone] == -1).all()
        assert (log["end"][gone] % epoch_ns == 0).all()
        waited = log["end"][gone] - log["arrival"][gone]
        assert ((waited >= timeout_ns) & (waited < timeout_ns + epoch_ns)).all()
        began = log["first"] >= 0
        assert (log["first"] - log["arrival"])[began].max() <= timeout_ns + epoch_ns
        same_ask = np.all([np.diff(log[k]) == 0 for k in ("session", "turn", "swipe")], axis=0)
        assert gone[:-1][same_ask].all()
        longest = client.backoff * client.backoff_factor ** log["attempt"].astype(float)
        again = gone & (log["attempt"] < client.retries)
        again &= log["end"] + longest * 1e9 < scenario.run.horizon * 1e9 - epoch_ns
        assert same_ask[again[:-1]].all()
        assert (np.diff(log["attempt"])[same_ask] == 1).all()
        pause = (log["arrival"][1:] - log["end"][:-1])[same_ask]
        least = longest[:-1][same_ask] * (1 - client.jitter)
        assert (pause >= np.maximum(least * 1e9 - 1, epoch_ns)).all()
        states = cell.states["replicas"]
        assert states["load"].sum() == 0
        assert (
            states["arrived"].sum() == states["done"].sum() + (gone & (log["replica"] >= 0)).sum()
        )


@POLICIES
@BOTH
def test_time_outs_under_memory_pressure_equal_the_reference(policy: str, queue: str) -> None:
    """Messages given up in every place, with swipes, preemptions and evictions around them."""
    tree = with_users(policy, queue, client=PATIENCE, sessions=SWIPES).model_dump()
    scenario = Scenario.model_validate(merged(tree, {"engine": {"token_budget": 16}}))
    result = simulate(scenario)
    s, c = result.summary, columns(result.requests)
    assert s["requests.cancelled"] == (c["status"] == "cancelled").sum() > 40
    assert s["requests.arrived"] == s["requests.completed"] + s["requests.cancelled"]
    assert s["realised.retries"] + s["realised.gave_up"] == s["requests.cancelled"]
    assert s["realised.gave_up"] > 0
    assert s["realised.preemptions"] > 5
    filling = (c["status"] == "cancelled") & ~np.isnan(c["queue_s"])
    assert filling.sum() > 5, "some were given up while their prompt was computed"
    for cell in cells_of(scenario):
        caches = cell.states["caches"]
        assert (caches["free"] + caches["idle"] == 100).all()
        assert (caches["windows_free"] + caches["windows_kept"] == 12).all()
    check_cancelled(scenario)
    same(result, simulate(scenario, engine="reference"))


def test_a_time_out_that_never_ends_changes_nothing() -> None:
    """Patience that outlasts the run is as good as none."""
    scenario = pressed("decode_first", "replica")
    patient = with_users("decode_first", "replica", client={"timeout": 500.0, "retries": 3})
    same(simulate(scenario), simulate(patient))


def test_time_outs_longer_than_the_wheel_wait_for_a_later_turn() -> None:
    """With 66,000 epochs and more in a time-out, buckets are shared and nobody gives up early."""
    change: Tree = {"traffic": {"client": {"timeout": 0.7}}, "run": {"epoch": 1e-5}}
    tree = merged(pressed("decode_first", "replica").model_dump(), change)
    check_cancelled(Scenario.model_validate(tree))
