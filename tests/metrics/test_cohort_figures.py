"""Verdict and counts of the cohort at the edges: no drain, answers cut outside of it."""

from typing import Any

import pytest
from fleet_runs import Tree, columns, constant, scenario_of

from kaiju_sim.simulation import simulate

STEADY: Tree = {
    "run": {"warm_up": 5.0, "horizon": 65.0, "drain": 0.0},
    "traffic": {"messages_per_s": 4.0, "output_tokens": constant(300)},
}


def figures(*changes: Tree) -> dict[str, Any]:
    return simulate(scenario_of(STEADY, *changes)).summary


@pytest.mark.parametrize("drain", [0.0, 0.001, 3.0, 300.0])
def test_answers_under_way_are_no_backlog(drain: float) -> None:
    """A healthy fleet is stable however long its last answers may take."""
    s = figures({"run": {"drain": drain}})
    assert s["verdict"] == "stable"
    assert (s["requests.in_flight"] > 0) == (drain < 1.0)


@pytest.mark.parametrize("drain", [0.0, 3.0, 300.0])
def test_a_burst_that_waits_at_the_end_is_a_backlog(drain: float) -> None:
    """One replica, one message at a time, a second each: what came last waits for a minute."""
    change = {
        "run": {"warm_up": 0.0, "horizon": 100.0, "drain": drain, "epoch": 0.1},
        "traffic": {
            "messages_per_s": 1.0,
            "sessions": {"user_tokens": constant(1)},
            "output_tokens": constant(1),
        },
        "characters": {"count": 1, "definition_tokens": constant(0)},
        "engine": {"max_seqs": 1, "token_budget": 1},
        "kv": {"prefix_cache": False},
        "steptime": {"kind": "constant", "step": 1.0},
        "seed": 13,
    }
    assert figures(change)["verdict"] == "backlogged"


def test_answers_cut_are_of_the_cohort() -> None:
    change = {
        "run": {"warm_up": 30.0, "drain": 1000.0},
        "engine": {"max_context": 8300},
        "traffic": {"output_tokens": {"kind": "uniform", "min": 100, "max": 9000}},
        "prompt": {"limit": 8192},
        "kv": {"prefix_cache": False},
    }
    result = simulate(scenario_of(STEADY, change))
    c = columns(result.requests)
    full = c["prompt_tokens"] + c["output_tokens"] == 8300
    assert result.summary["realised.answers_cut"] == (full & c["measured"]).sum()
    assert 0 < (full & c["measured"]).sum() < full.sum()
