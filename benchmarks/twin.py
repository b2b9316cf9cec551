"""What stands beside the compiled loop: its plain Python twin, and SimPy doing nothing at all."""

from collections.abc import Generator
from statistics import median
from time import perf_counter
from typing import Any

import simpy

from benchmarks.affinity import UTILISATION
from benchmarks.fleet import SCENARIO, Load, scenario_at, timed
from benchmarks.saturation import Say
from kaiju_sim.scenario.loader import load_scenario

SHARE = 0.02
"""The twin runs 2 GPUs of the 100, with the same load each."""
ANSWER_S = 1.5
WARM_UP_S = 2.0


def twin(seconds: float, say: Say) -> dict[str, Any]:
    """Messages/s of the plain Python loop, whose summary the compiled one must give too."""
    say("python_twin")
    rate = load_scenario(SCENARIO).scenario.traffic.messages_per_s
    assert rate is not None
    horizon_s = min(60.0, max(5.0, 4.0 * seconds))
    scenario = scenario_at(Load(rate, ANSWER_S, WARM_UP_S, horizon_s, SHARE))
    slow = timed(scenario, "reference")
    fast = timed(scenario)
    say(f"  {slow.messages / slow.wall_s:,.0f} messages/s in {slow.wall_s:.1f} s, same summary")
    assert slow.summary == fast.summary, "the compiled loop and its twin disagree"
    return {
        "messages_per_s": slow.messages / slow.wall_s,
        "messages": slow.messages,
        "wall_s": slow.wall_s,
        "gpus": slow.summary["fleet.gpus"],
        "utilisation": UTILISATION,
        "same_summary_as_compiled": True,
    }


def waits(env: simpy.Environment, count: int) -> Generator[simpy.Event, Any, None]:
    """A process that waits `count` times and does nothing else."""
    for _ in range(count):
        yield env.timeout(1)


def timeouts_per_s(count: int) -> float:
    """Time-outs per second of one SimPy process."""
    env = simpy.Environment()
    env.process(waits(env, count))
    begin = perf_counter()
    env.run()
    return count / (perf_counter() - begin)


def simpy_timeouts(seconds: float, say: Say) -> float:
    """Bare SimPy time-outs per second, median of three, `seconds` / 10 in all (at most 3 s)."""
    say("simpy_timeouts")
    guess = timeouts_per_s(20_000)
    count = int(guess * min(1.0, max(0.05, seconds / 30)))
    rate = median(timeouts_per_s(count) for _ in range(3))
    say(f"  {rate:,.0f} time-outs/s")
    return rate
