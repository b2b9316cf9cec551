"""`ray`: what Ray costs a task, on a sweep's 200 points.

A slot's time that is no task's own, by task: sending, starting, fetching. With the cluster joined
and its workers there (`overhead_per_task_s`), and with all of that counted too (`with_start`:
joining a cluster that is there and its workers' first imports; without an address a cluster of this
machine from nothing, by far the larger part). The same of a pool, beside it.
"""

import time
from typing import Any

from benchmarks.scaling.tasks import Round, scenarios, shown, sleeps, timed
from kaiju_sim.executor.choose import Kind, opened
from kaiju_sim.simulation import warm_up

WANTED_S = 0.010
POINTS = 200
WORKERS = 2
SETS = ("run.warm_up=1s", "run.horizon=4s", "run.drain=1s", "results.request_rows=0")


def measure(points: int = POINTS, address: str | None = None) -> dict[str, Any]:
    """Overhead of Ray and of a pool, on simulations and on tasks that only wait.

    With an address Ray is the cluster there, which has WORKERS CPUs and has not run this before.
    """
    warm_up()
    found: dict[str, Any] = {"wanted_s": WANTED_S, "points": points, "address": address}
    found["ray"] = _of("ray", points, address)
    found["pool"] = _of("pool", points, None)
    found["share_of_wanted"] = found["ray"]["simulations"]["overhead_per_task_s"] / WANTED_S
    return found


def _of(kind: Kind, points: int, address: str | None) -> dict[str, Any]:
    begun = time.perf_counter()
    with opened(kind, WORKERS, address) as executor:
        timed(executor, scenarios(2 * WORKERS, *SETS), WORKERS)
        start_s = time.perf_counter() - begun
        simulated = timed(executor, scenarios(points, *SETS), WORKERS)
        waited = timed(executor, sleeps(points, 0.05), WORKERS)
    return {
        "start_s": start_s,
        "simulations": shown(simulated),
        "sleeps": shown(waited),
        "with_start_per_task_s": _with_start(simulated, start_s),
    }


def _with_start(found: Round, start_s: float) -> float:
    return found.overhead_s + start_s * found.slots / found.tasks
