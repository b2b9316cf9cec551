"""The demand for GPUs by hour of the week, from the scenario's shape of traffic."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kaiju_sim.economics.cost.gpus import number
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.arrivals import relative_rate

HOURS_PER_WEEK = 168


def demand_by_hour(scenario: Scenario, summary: Mapping[str, Any]) -> list[float]:
    """Whole GPUs that each hour of a week needs (one hour, where the rate does not change).

    The fleet is taken to be right for the busiest hour that was measured, and other hours need
    GPUs in proportion to their rate: no engine step is simulated for them.
    """
    most = number(summary, "fleet.replicas_max") or number(summary, "fleet.replicas")
    start = number(summary, "fleet.replicas")
    gpus = number(summary, "fleet.gpus") * (most / start if start else 0.0)
    diurnal = scenario.traffic.diurnal
    if diurnal is None:
        return [float(math.ceil(gpus - 1e-9))]
    rates = relative_rate(diurnal, np.arange(HOURS_PER_WEEK, dtype=np.float64) + 0.5)
    begin = diurnal.start_hour + scenario.run.measured_from / 3600.0
    end = diurnal.start_hour + scenario.run.horizon / 3600.0
    measured = np.linspace(begin, end, 1001, dtype=np.float64)
    busiest = relative_rate(diurnal, measured).max()
    return [float(math.ceil(gpus * rate / busiest - 1e-9)) for rate in rates]
