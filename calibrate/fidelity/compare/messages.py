"""Errors message by message: the same message, served and simulated."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from calibrate.fidelity.compare.figures import has, latency
from calibrate.fidelity.outcome import Outcome
from calibrate.fidelity.workload import Workload

PAIRED = ("ttft", "tpot", "e2e")
Pair = tuple[Outcome, Outcome]
QUANTILES = {"p5": 0.05, "p50": 0.5, "p95": 0.95}


def paired(workload: Workload, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """A row for each metric: the relative error of a message, over all messages and runs, and the
    correlation of the two. `pairs`: measured and simulated, of each run."""
    return [row for metric in PAIRED if (row := _of(workload, pairs, metric)) is not None]


def _of(workload: Workload, pairs: Sequence[Pair], metric: str) -> dict[str, Any] | None:
    sides = [
        (latency(real, metric)[chosen], latency(made, metric)[chosen])
        for real, made in pairs
        if (chosen := _both(workload, real, made, metric)).any()
    ]
    if not sides:
        return None
    real, made = (np.concatenate(side) for side in zip(*sides, strict=True))
    error = made / np.maximum(real, 1e-9) - 1
    steady = real.size < 2 or real.std() == 0 or made.std() == 0
    return {
        "workload": workload.name, "metric": metric, "n": int(real.size),
        **{name: float(np.quantile(error, q)) for name, q in QUANTILES.items()},
        "mean": float(error.mean()), "mean_abs": float(np.abs(error).mean()),
        "correlation": None if steady else float(np.corrcoef(real, made)[0, 1]),
    }  # fmt: skip


def _both(workload: Workload, one: Outcome, other: Outcome, metric: str) -> Any:
    since, until = workload.warm_s, workload.seconds
    due = workload.arrivals_ns
    mine, its = one.cohort(due, since, until), other.cohort(due, since, until)
    return mine & its & has(one, metric) & has(other, metric)
