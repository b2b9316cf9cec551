"""`pool`: how much faster a pool of two processes is than one process, on the same simulations.

Rounds alternate between one process and the pool, so that what else the machine does hits both.
`on_free_cores` is what the processor times allow, had nobody else wanted the cores.
The pool's processes are there, with the compiled code loaded, before the clock starts (`start_s` is
what that takes once); `with_start` is the ratio with that counted in each round.
"""

import statistics
import time
from typing import Any

from benchmarks.scaling.tasks import scenarios, shown, timed
from kaiju_sim.executor.choose import opened
from kaiju_sim.simulation import warm_up

WANTED = 1.8
SETS = ("run.warm_up=1min", "run.horizon=11min", "run.drain=1min", "results.request_rows=0")
TASKS = 8
TINY = ("run.warm_up=1s", "run.horizon=2s", "run.drain=1s")


def measure(rounds: int = 3, workers: int = 2) -> dict[str, Any]:
    """Walls of both, and the median of their ratios."""
    warm_up()
    work = scenarios(TASKS, *SETS)
    ones, many = [], []
    with opened("inprocess") as alone, opened("pool", workers) as pool:
        begun = time.perf_counter()
        timed(pool, scenarios(workers, *TINY), workers)
        start_s = time.perf_counter() - begun
        for _ in range(rounds):
            ones.append(timed(alone, work, 1))
            many.append(timed(pool, work, workers))
    pairs = list(zip(ones, many, strict=True))
    ratios = [a.wall_s / b.wall_s for a, b in pairs]
    free = [a.cpu_s / (b.cpu_s + b.overhead_s * b.tasks) * b.slots for a, b in pairs]
    starts = [a.wall_s / (b.wall_s + start_s) for a, b in pairs]
    return {
        "workers": workers,
        "ratio": statistics.median(ratios),
        "wanted": WANTED,
        "on_free_cores": statistics.median(free),
        "with_start": statistics.median(starts),
        "start_s": start_s,
        "ratios": ratios,
        "one_process": [shown(found) for found in ones],
        "pool": [shown(found) for found in many],
    }
