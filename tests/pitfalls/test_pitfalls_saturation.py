"""Pitfall 2: a simulation that cannot saturate. Throughput at saturation is the bottleneck's.

Messages of fixed length arrive at twice what can be served; what is served is compared with what
the step-time curves allow, the realised hit rate being the only other input.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fleet_runs import Tree, constant, scenario_of

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import build_plant, simulate
from kaiju_sim.steptime.curves import Curves, decode_ns, fixed_ns, prefill_ns

WINDOW = 1024


class Case(NamedTuple):
    """Fixed lengths and limits."""

    prompt: int
    head: int
    """Of the prompt, shared by all."""
    output: int
    seqs: int
    budget: int
    policy: str = "decode_first"


SLOTS = Case(prompt=4, head=0, output=200, seqs=32, budget=4096)
BUDGET = Case(prompt=1000, head=0, output=100, seqs=64, budget=256)
BUDGET_HIT = Case(prompt=1000, head=640, output=100, seqs=64, budget=256)
PREFILL_FIRST = Case(prompt=1000, head=0, output=100, seqs=40, budget=500, policy="prefill_first")


def flooded(case: Case, steptime: Tree, rate: float, replicas: int = 1) -> Scenario:
    """Twice as many messages as can be served, for a few hundred service cycles."""
    return scenario_of(
        {
            "run": {
                "warm_up": 50 * case.seqs / rate,
                "horizon": 500 * case.seqs / rate,
                "drain": 10.0,
            },
            "traffic": {
                "messages_per_s": 2 * rate * replicas,
                "sessions": {"user_tokens": constant(case.prompt - case.head)},
                "output_tokens": constant(case.output),
            },
            "characters": {"count": 1, "definition_tokens": constant(case.head)},
            "fleet": {"replicas": replicas},
            "router": {"policy": "least_loaded"},
            "engine": {
                "policy": case.policy,
                "max_seqs": case.seqs,
                "token_budget": case.budget,
            },
            "steptime": steptime,
            "results": {"request_rows": 0, "tick": 100.0},
        }
    )


def cycle_s(case: Case, curves: Curves, hit: float) -> tuple[float, float]:
    """Messages of a cycle and its duration: from curves, lengths and hit rate alone."""
    computed = case.prompt * (1 - hit)
    fill_pairs = sum(range(case.prompt + 1)) - sum(range(round(case.prompt * hit) + 1))
    if case in (BUDGET, BUDGET_HIT):  # every step is full; sequences of all ages in it
        a_step = case.budget / (computed + case.output - 1)
        seqs = a_step * (case.output - 1)
        context = int(seqs * (case.prompt + case.output / 2))
        near = int(seqs * min(WINDOW, case.prompt + case.output / 2))
        fixed = fixed_ns(curves, case.budget, round(seqs) + 1)
        pairs = int(a_step * fill_pairs)
        decode = decode_ns(curves, context, near, round(seqs))
        return a_step, (fixed + decode + prefill_ns(curves, pairs, pairs))
    # all slots are filled at once, and their answers end at once
    fills = math.ceil(case.seqs * computed / case.budget)
    pairs = case.seqs * fill_pairs // fills
    rows = round(case.seqs * computed / fills)
    together = case.seqs if fills == 1 else case.budget / computed
    total = fills * (fixed_ns(curves, rows, round(together)) + prefill_ns(curves, pairs, pairs))
    for token in range(1, case.output):
        context = case.seqs * (case.prompt + token)
        near = case.seqs * min(WINDOW, case.prompt + token)
        total += fixed_ns(curves, case.seqs, case.seqs)
        total += decode_ns(curves, context, near, case.seqs)
    return case.seqs, total


def saturation(case: Case, steptime: Tree, replicas: int = 1) -> tuple[dict[str, Any], float]:
    """The summary of a flooded fleet, and messages per second by the analytic bottleneck."""
    curves = build_plant(flooded(case, steptime, 1.0), Path()).step_time.curves
    messages, ns = cycle_s(case, curves, case.head / case.prompt)
    summary = simulate(flooded(case, steptime, messages / ns * 1e9, replicas)).summary
    messages, ns = cycle_s(case, curves, summary["prefix_hit_rate"])
    return summary, replicas * messages / ns * 1e9


CASES = pytest.mark.parametrize(
    "case",
    [SLOTS, BUDGET, BUDGET_HIT, PREFILL_FIRST],
    ids=["slots", "budget", "hit", "prefill_first"],
)


@CASES
def test_saturation_with_constant_steps(case: Case) -> None:
    """Steps of 20 ms: throughput is messages per cycle over its steps."""
    summary, expected = saturation(case, {"kind": "constant", "step": 0.02})
    assert summary["throughput.messages_per_s"] == pytest.approx(expected, rel=0.01)
    assert summary["gpu_busy_fraction"] == pytest.approx(1.0, abs=1e-9)
    assert summary["verdict"] == "overloaded"


@CASES
def test_saturation_with_the_roofline(case: Case) -> None:
    """Step times of the roofline's curves at the shapes that the bottleneck implies."""
    summary, expected = saturation(case, {"kind": "roofline"})
    assert summary["throughput.messages_per_s"] == pytest.approx(expected, rel=0.02)
    assert summary["verdict"] == "overloaded"


def test_saturation_grows_with_the_replicas() -> None:
    """Three replicas serve three times as much, not more."""
    summary, expected = saturation(BUDGET, {"kind": "roofline"}, replicas=3)
    assert summary["throughput.messages_per_s"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("load", "verdict"), [(0.9, "stable"), (1.1, "overloaded")])
def test_the_knee_is_where_the_bottleneck_is(load: float, verdict: str) -> None:
    """A tenth below the bottleneck all is served, a tenth above the queue grows."""
    case, steptime = SLOTS, {"kind": "constant", "step": 0.02}
    rate = case.seqs / (case.output * 0.02)
    scenario = flooded(case, steptime, load * rate / 2)
    summary = simulate(scenario).summary
    assert summary["verdict"] == verdict
    served = summary["throughput.messages_per_s"]
    assert served == pytest.approx(min(load, 1.0) * rate, rel=0.02)
