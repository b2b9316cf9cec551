"""Does a plan's answer hold on seeds that the plan has not seen?

A fleet passes a window as in the plan. Of n windows that passed k times the pass probability is at
least `low` with 95 % confidence (Clopper and Pearson 1934, one-sided: the number of windows is
fixed beforehand, so this is not the plan's sequential bound).
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kaiju_sim.executor.choose import opened
from kaiju_sim.planner.part import part_of, unit_of
from kaiju_sim.planner.plans.choices import Choice
from kaiju_sim.planner.plans.peak import window_of
from kaiju_sim.planner.plans.plan import Asked
from kaiju_sim.scenario.loader import load_scenario

FIRST = 1_000_000
"""The first replication: the plan's begin with 0 and 10,000."""
RISK = 0.05
CHOSEN = ("tensor_parallel", "token_budget", "max_seqs", "router")


def held(
    scenario: str, sets: Sequence[str], plan: dict[str, Any], windows: int, workers: int
) -> list[dict[str, Any]]:
    """Further windows of the answer, of the next cheaper fleet, and below the grey zone."""
    loaded = load_scenario(Path("scenarios") / f"{scenario}.yaml", sets=sets)
    choice = Choice(plan["gpu_type"], *(plan[key] for key in CHOSEN))
    asked = Asked(loaded.scenario, loaded.base_dir)
    ranks, unit = plan["tensor_parallel"], unit_of(loaded.scenario)
    lowest = min((*plan["grey_zone"]["gpus"], plan["gpus"])) // ranks - unit
    counts = {plan["replicas"], plan["replicas"] - unit, lowest}
    with opened(workers=workers) as executor:
        bench = replace(asked.bench(choice, window_of(loaded.scenario)), executor=executor)
        rows = []
        for count in sorted(counts, reverse=True) if windows else ():
            outcomes = bench.probe(count, range(FIRST, FIRST + windows))
            share = part_of(bench.scenario, bench.left(count)).share
            rows.append(
                {
                    "gpus": count * ranks,
                    "passed": sum(outcomes),
                    "windows": windows,
                    "low": low_of(sum(outcomes), windows),
                    "part": share,
                }
            )
            sys.stderr.write(f"{count * ranks} GPUs: {sum(outcomes)} of {windows}\n")
    return rows


def low_of(passed: int, windows: int) -> float:
    """The pass probability at which so many or more would pass with probability RISK."""
    far, near = 0.0, passed / windows
    for _ in range(60):
        middle = (far + near) / 2
        more = sum(_chance(k, windows, middle) for k in range(passed, windows + 1))
        far, near = (middle, near) if more < RISK else (far, middle)
    return far


def _chance(k: int, n: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)
