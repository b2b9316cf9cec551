"""The distributions as data, beside the profile: what the dashboard draws."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from calibrate.fidelity.compare.gather import Compared
from calibrate.fidelity.show.plots import PANELS, Cdf, cdf
from calibrate.fidelity.workloads.catalogue import CAPACITY

FORMAT, VERSION = "kaiju-distributions", 1
SHARES = (0.002, *(i / 50 for i in range(1, 49)), 0.97, 0.98, 0.985, 0.99, 0.995, 0.999, 1.0)
"""Shares of the messages (of the gaps) at which times are kept."""


def distributions(profile: str, compared: Sequence[Compared]) -> dict[str, Any]:
    """Times in seconds at SHARES, of each run and of the simulation, by workload and metric."""
    lines = [line for one in compared if one.workload.name != CAPACITY for line in lines_of(one)]
    return {
        "format": FORMAT,
        "version": VERSION,
        "id": profile,
        "shares": SHARES,
        "lines": lines,
    }


def lines_of(one: Compared) -> Iterator[dict[str, Any]]:
    """Every run of a workload, then its simulation."""
    runs = [(f"measured, run {n}", run.outcome) for n, run in enumerate(one.runs, 1)]
    for metric in PANELS:
        for name, outcome in (*runs, ("simulated", one.simulated[0])):
            line = cdf(outcome, one.workload, metric)
            if line is not None:
                kept = {"workload": one.workload.name, "metric": metric, "line": name}
                yield {**kept, "seconds": seconds_at(line)}


def seconds_at(line: Cdf) -> list[float]:
    """The times at SHARES, rounded to a microsecond."""
    times, shares = line
    places = np.searchsorted(shares, SHARES).clip(0, len(times) - 1)
    return [round(float(ms) * 1e-3, 6) for ms in times[places]]
