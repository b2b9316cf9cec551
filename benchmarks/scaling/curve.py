"""`curve`: wall clock against slots, and the model that explains it.

T(p) = start + ceil(n / p) w + n d / p: n tasks of w seconds on p slots, d seconds a task of
dispatch. On as many processes as there are cores the tasks simulate; beyond that they sleep, which
measures what the seam adds, and no core's work (more processes than cores say nothing).
"""

import math
import os
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.scaling.tasks import Round, Work, scenarios, sleeps, timed
from kaiju_sim.executor.choose import Kind, opened
from kaiju_sim.simulation import warm_up

SIMULATE = ("run.warm_up=1min", "run.horizon=6min", "run.drain=1min", "results.request_rows=0")
SLEEP_S = 0.5


def measure(slots: Sequence[int], kind: Kind, tasks: int = 64) -> dict[str, Any]:
    """Points of both curves, each beside the model with the single slot's task time."""
    warm_up()
    cores = len(os.sched_getaffinity(0))
    few = [p for p in slots if p <= cores]
    simulate = scenarios(2 * max(few), *SIMULATE)
    return {
        "executor": kind,
        "cores": cores,
        "simulations": _curve(few, kind, simulate),
        "sleeps": _curve(slots, kind, sleeps(tasks, SLEEP_S)),
    }


def _curve(slots: Sequence[int], kind: Kind, work: dict[int, Work]) -> list[dict[str, Any]]:
    found = []
    for p in slots:
        begun = time.perf_counter()
        with opened(kind, p) as executor:
            timed(executor, sleeps(p, 0.2), p)
            start_s = time.perf_counter() - begun
            found.append((timed(executor, work, p), start_s))
    base = found[0][0]
    return [_row(one, start_s, base) for one, start_s in found]


def _row(found: Round, start_s: float, base: Round) -> dict[str, Any]:
    """A point: measured, modelled, and how much faster than the first one."""
    task_s = base.busy_s / base.tasks
    dispatch_s = max(0.0, base.overhead_s)
    modelled_s = math.ceil(found.tasks / found.slots) * task_s
    modelled_s += found.tasks * dispatch_s / found.slots
    return {
        "slots": found.slots,
        "tasks": found.tasks,
        "wall_s": found.wall_s,
        "modelled_s": modelled_s,
        "measured_to_model": found.wall_s / modelled_s,
        "speed_up": base.wall_s / found.wall_s * base.slots,
        "start_s": start_s,
    }
