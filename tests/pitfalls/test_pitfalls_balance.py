"""Pitfall 1: "least outstanding" that is not. Load-aware routers balance, also under light load."""

from typing import Any

import numpy as np
import pytest
from fleet_runs import Tree, columns, constant, scenario_of

from kaiju_sim.simulation import simulate

REPLICAS = 16
LOAD_AWARE = ("affinity", "sticky", "prefix_aware", "least_loaded", "power_of_two")
LIGHT: Tree = {
    "run": {"warm_up": 20.0, "horizon": 320.0},
    "traffic": {
        "messages_per_s": 4.0 * REPLICAS,
        "sessions": {"user_tokens": constant(100)},
        "output_tokens": constant(170),
    },
    "characters": {"count": 2000, "zipf": 0.0, "definition_tokens": constant(0)},
    "fleet": {"replicas": REPLICAS},
    "steptime": {"kind": "constant", "step": 0.02},
}
"""A message stays 3.4 s: 13.6 of them on a replica that could hold 256."""


def per_replica(values: Any, replica: Any) -> Any:
    """Sums by replica over the mean of these."""
    sums = np.bincount(replica, weights=values, minlength=REPLICAS)
    return sums / sums.mean()


@pytest.mark.parametrize("policy", LOAD_AWARE)
def test_light_load_is_spread_evenly(policy: str) -> None:
    """Each replica gets its share of messages and holds its share; none makes them wait."""
    result = simulate(scenario_of(LIGHT, {"router": {"policy": policy}}))
    c, r = columns(result.requests), columns(result.replicas)
    even = 0.15 if policy == "affinity" else 0.05  # a character's messages stay together
    inside = (r["time_s"] > 20) & (r["time_s"] <= 320)
    shares = per_replica(np.ones(c["replica"].size), c["replica"])
    held = per_replica(r["running"][inside], r["replica"][inside])
    assert np.abs(shares - 1).max() < even
    assert np.abs(held - 1).max() < even
    mean_held = r["running"][inside].mean()
    assert mean_held == pytest.approx(4 * 3.4, rel=0.05)
    assert result.summary["e2e_s.mean"] == pytest.approx(3.41, abs=0.01)  # half a step to join


@pytest.mark.parametrize("policy", LOAD_AWARE)
def test_ties_of_idle_replicas_go_round(policy: str) -> None:
    """With next to no load every replica is idle: the first is not always chosen."""
    idle: Tree = {"traffic": {"messages_per_s": 1.0}, "run": {"horizon": 1620.0}}
    result = simulate(scenario_of(LIGHT, idle, {"router": {"policy": policy}}))
    counts = np.bincount(columns(result.requests)["replica"], minlength=REPLICAS)
    assert counts.min() > 0.6 * counts.mean()
    assert counts.max() < 1.4 * counts.mean()


@pytest.mark.parametrize("policy", ["affinity", "sticky"])
def test_bounded_load_holds_for_hot_characters(policy: str) -> None:
    """However popular a character, no replica is sent more than the bound times the mean load."""
    hot: Tree = {
        "characters": {"count": 50, "zipf": 1.2},
        "traffic": {"messages_per_s": 30.0 * REPLICAS},
        "router": {"policy": policy, "bound": 1.25, "report_interval": 0.02},
        "run": {"horizon": 60.0, "epoch": 0.02},
    }
    r = columns(simulate(scenario_of(LIGHT, hot)).replicas)
    inside = (r["time_s"] > 20) & (r["time_s"] <= 60)
    load = (r["running"] + r["prefilling"] + r["waiting"])[inside].reshape(-1, REPLICAS)
    assert load.mean() > 80
    assert (load.max(axis=1) <= 1.25 * load.mean(axis=1) + 2).all()


def test_more_replicas_are_not_worse() -> None:
    """Least loaded, no cache, mean over seeds: each added replica lowers the time to the answer."""
    change: Tree = {
        "kv": {"prefix_cache": False},
        "router": {"policy": "least_loaded"},
        "engine": {"max_seqs": 4, "token_budget": 256},
        "traffic": {"messages_per_s": 6.0, "output_tokens": {"kind": "exponential", "mean": 60}},
        "run": {"horizon": 220.0},
    }

    def mean_e2e_s(replicas: int) -> float:
        runs = [
            simulate(scenario_of(LIGHT, change, {"seed": seed, "fleet": {"replicas": replicas}}))
            for seed in range(8)
        ]
        return float(np.mean([run.summary["e2e_s.mean"] for run in runs]))

    means = [mean_e2e_s(replicas) for replicas in (2, 3, 4, 6, 9)]
    assert means == sorted(means, reverse=True)
