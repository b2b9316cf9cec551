"""How evenly messages are spread over the replicas."""

import numpy as np

from kaiju_sim.economics.bottleneck import UNEVEN
from kaiju_sim.engine.layout import Arr
from kaiju_sim.metrics.figures.pool import Pool, Summary, ratio


def balance(pool: Pool) -> Summary:
    """Messages at the most loaded replica over the mean, and where messages wait."""
    load, waiting = replica_means(pool)
    mean = float(load.mean()) if load.size else 0.0
    return {
        "router.load_max_over_mean": ratio(float(load.max(initial=0.0)), mean),
        "router.waiting_at_loaded": ratio(
            float(waiting[load >= UNEVEN * mean].sum()), float(waiting.sum())
        ),
    }


def replica_means(pool: Pool) -> tuple[Arr, Arr]:
    """Messages at each replica, and those that wait there: means over the window's ticks."""
    low, high = pool.cells[0].start.time_ns * 1e-9, pool.cells[0].stop.time_ns * 1e-9
    loads, queues = [], []
    for cell in pool.cells:
        rows = [t for t in cell.ticks if low < t["time_s"][0] <= high]
        if not rows:
            continue
        who = np.concatenate([t["replica"] for t in rows])
        waits = np.concatenate([t["waiting"] for t in rows])
        works = np.concatenate([t["prefilling"] + t["running"] for t in rows])
        ticks = np.bincount(who)
        loads.append((np.bincount(who, waits + works) / np.maximum(ticks, 1))[ticks > 0])
        queues.append((np.bincount(who, waits) / np.maximum(ticks, 1))[ticks > 0])
    return (np.concatenate(loads), np.concatenate(queues)) if loads else (np.zeros(0), np.zeros(0))
