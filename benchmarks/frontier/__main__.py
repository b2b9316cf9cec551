"""What each batching policy can serve within objectives: `python -m benchmarks.frontier`.

For each policy and each pair of objectives (p99 of the time to first token, p99 of the time per
output token) the largest message rate per GPU at which both hold, so the lowest cost per message,
on frontier.yaml and again without its prefix cache. Rates are on a ladder of 3 % steps; each is
simulated under three seeds, and the means of their 99th percentiles have to meet them.

`decode_first` and `prefill_first` do not look at objectives: they get the best of several token
budgets, chosen for each pair. `ttft_aware` is given the pair and one budget for all.

Progress goes to stderr, a table and one JSON object to stdout; `--svg FILE` draws the frontier.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks import host
from benchmarks.fleet import THINK_S
from benchmarks.frontier.plot import drawing
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.simulation import simulate, warm_up

SCENARIO = Path(__file__).with_name("frontier.yaml")
TTFT_S = (0.4, 0.8, 1.5, 2.5, 5.0)
TPOT_S = (0.015, 0.02, 0.03, 0.05, 0.1)
MOST_SEQS = 1024
BUDGETS = {
    "decode_first": (256, 512, 1024, 2048, 4096),
    "prefill_first": (512, 2048, 8192),
    "ttft_aware": (8192,),
}
"""Token budgets that are tried; sequences per step are as many, at most MOST_SEQS."""
LADDERS = {"cached": (12.0, 100.0), "uncached": (0.8, 12.0)}
"""Lowest and highest messages/s per GPU that are tried, by case."""
STEP = 1.03
SEEDS = (1, 2, 3)
ANSWER_S = 2.0
"""Time to an answer that the live dialogues are sized for; what the rate comes to is measured."""


@dataclass(frozen=True)
class Setup:
    """What is simulated: a policy with its budget and the objectives that it is told."""

    case: str
    policy: str
    budget: int
    ttft_s: float
    tpot_s: float


@dataclass(frozen=True)
class Point:
    """What a setup came to at a rate, mean over the seeds."""

    per_gpu_s: float
    """Messages completed per second and GPU."""
    ttft_s: float
    tpot_s: float
    """99th percentiles."""
    running: float
    """Sequences that decode on a GPU at a time, by Little's law."""
    usd_per_message: float


@cache
def measured(setup: Setup, rate: float) -> Point:
    """Simulate a setup at a rate per GPU under each seed."""
    points = [asdict(outcome(setup, rate, seed)) for seed in SEEDS]
    return Point(**{name: fmean(point[name] for point in points) for name in points[0]})


def outcome(setup: Setup, rate: float, seed: int) -> Point:
    """One simulation."""
    scenario = load_scenario(
        SCENARIO,
        overrides=["uncached"] if setup.case == "uncached" else [],
        sets=list(settings(setup, rate, seed)),
    ).scenario
    s = simulate(scenario).summary
    per_gpu_s = s["throughput.messages_per_s"] / s["fleet.gpus"]
    never = float("inf")
    return Point(
        per_gpu_s=per_gpu_s,
        ttft_s=never if s["ttft_s.p99"] is None else s["ttft_s.p99"],
        tpot_s=never if s["tpot_s.p99"] is None else s["tpot_s.p99"],
        running=per_gpu_s * (s["e2e_s.mean"] - s["ttft_s.mean"]),
        usd_per_message=s["cost.usd_per_message"],
    )


def settings(setup: Setup, rate: float, seed: int) -> Iterator[str]:
    """`path=value` of a simulation."""
    replicas = load_scenario(SCENARIO).scenario.fleet.replicas
    yield f"seed={seed}"
    yield f"traffic.messages_per_s={rate * replicas}"
    yield f"traffic.sessions.live={round(rate * replicas * (THINK_S + ANSWER_S))}"
    yield f"engine.policy={setup.policy}"
    yield f"engine.token_budget={setup.budget}"
    yield f"engine.max_seqs={min(setup.budget, MOST_SEQS)}"
    if setup.policy == "ttft_aware":
        yield f"slo.ttft={setup.ttft_s}s"
        yield f"slo.tpot={setup.tpot_s}s"


def ladder(case: str) -> list[float]:
    """Rates per GPU that are tried."""
    low, high = LADDERS[case]
    rates = [low]
    while rates[-1] * STEP <= high:
        rates.append(rates[-1] * STEP)
    return rates


def told(setup: Setup) -> Setup:
    """The setup with objectives only where the policy looks at them, so that runs are shared."""
    return setup if setup.policy == "ttft_aware" else replace(setup, ttft_s=0.0, tpot_s=0.0)


def best(setup: Setup) -> Point | None:
    """The point of the largest rate on the ladder that meets the objectives, by bisection."""
    rates = ladder(setup.case)
    low, high = -1, len(rates)
    while high - low > 1:
        middle = (low + high) // 2
        point = measured(told(setup), rates[middle])
        fits = point.ttft_s <= setup.ttft_s and point.tpot_s <= setup.tpot_s
        low, high = (middle, high) if fits else (low, middle)
    return measured(told(setup), rates[low]) if low >= 0 else None


def frontier(case: str) -> list[dict[str, Any]]:
    """Of each policy and pair of objectives: the best point, with its budget."""
    found = []
    for policy, budgets in BUDGETS.items():
        for ttft_s in TTFT_S:
            for tpot_s in TPOT_S:
                setups = [Setup(case, policy, budget, ttft_s, tpot_s) for budget in budgets]
                points = [(point, s) for s in setups if (point := best(s)) is not None]
                chosen = max(points, key=lambda pair: pair[0].per_gpu_s, default=None)
                row = {"case": case, "policy": policy, "ttft_max_s": ttft_s, "tpot_max_s": tpot_s}
                row["token_budget"] = chosen[1].budget if chosen else None
                row["best"] = asdict(chosen[0]) if chosen else None
                found.append(row)
        sys.stderr.write(f"{case}: {policy} done\n")
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Messages/s per GPU: a line for each case, policy and TTFT objective, a column for TPOT."""
    lines = ["messages/s per GPU; columns: p99 TPOT at most " + ", ".join(f"{p}s" for p in TPOT_S)]
    for i in range(0, len(rows), len(TPOT_S)):
        row = rows[i]
        cells = [
            f"{r['best']['per_gpu_s']:.3g}" if r["best"] else "-" for r in rows[i : i + len(TPOT_S)]
        ]
        name = f"{row['case']:<9}{row['policy']:<14}TTFT {row['ttft_max_s']}s"
        lines.append(f"{name:<34}" + "".join(f"{cell:>8}" for cell in cells))
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and the JSON object, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.frontier")
    parser.add_argument("--svg", type=Path, help="write the drawing here")
    chosen = parser.parse_args(arguments)
    warm_up()
    rows = [row for case in LADDERS for row in frontier(case)]
    around = {"machine": host.machine(), "versions": host.versions(), "source": "roofline"}
    sys.stdout.write(table(rows))
    sys.stdout.write(json.dumps({"frontier": rows} | around, allow_nan=False) + "\n")
    if chosen.svg:
        chosen.svg.write_text(drawing(rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
