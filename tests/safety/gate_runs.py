"""Small fleets with a safety gate."""

from typing import Any

from fleet_runs import Tree, constant, scenario_of

from kaiju_sim.scenario.schema import Scenario

DIALOGUES: Tree = {
    "run": {"horizon": 40.0},
    "traffic": {
        "kind": "sessions",
        "messages_per_s": 30.0,
        "sessions": {
            "live": 60,
            "turns": {"kind": "geometric", "mean": 6},
            "think": {"kind": "exponential", "mean": 1.0},
            "user_tokens": constant(10),
        },
        "output_tokens": {"kind": "geometric", "mean": 40},
    },
}


def assumed(value: float) -> dict[str, Any]:
    """A value with a range that allows every test."""
    return {"value": value, "low": 0.0, "high": 1000.0, "source": "a test", "grade": "U"}


def share(value: float) -> dict[str, Any]:
    """The same for a share."""
    return assumed(value) | {"high": 1.0}


def gated(safety: Tree, *changes: Tree) -> Scenario:
    """Dialogues, a gate, and changes."""
    return scenario_of(DIALOGUES, {"safety": safety}, *changes)


def classes(violating: float, intense: float = 0.0) -> Tree:
    """Shares of the classes in both tiers."""
    both = {"classes": {"violating": share(violating), "intense": share(intense)}}
    return {"adult": both, "teen": both}


def refused(leave: float, reword: float) -> Tree:
    """What refused users do, after a second on average."""
    return {"refused": {"leave": share(leave), "reword": share(reword), "pause_s": assumed(1.0)}}
