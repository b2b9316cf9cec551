"""Two tiers at one server: non-preemptive priorities have a closed form."""

from pathlib import Path
from typing import Any

import pytest
from fleet_runs import assert_agrees
from test_theory_queues import SEEDS, SERVICE_S, queue

from kaiju_sim.simulation import simulate

RHO, SHARE = 0.7, 0.3


def cobham(rho: float, share: float) -> tuple[float, float]:
    """Mean waits of both classes at a non-preemptive M/M/1 (A. Cobham, 1954), in services.

    W1 = R / (1 - rho1), W2 = R / ((1 - rho1) (1 - rho)), R = rho: the mean residual service.
    """
    first = rho / (1 - share * rho)
    return first, first / (1 - rho)


@pytest.mark.parametrize("how", ["router.queue=replica", "router.queue=central"])
def test_waits_of_two_tiers(tmp_path: Path, how: str) -> None:
    """One replica that serves one message at a time, paid ones first."""
    sets = (how, f"traffic.paid_share={SHARE}", "engine.priority=paid_first")
    runs: list[dict[str, Any]] = []
    for seed in range(1, SEEDS + 1):
        scenario = queue(tmp_path, RHO, 12e6 / SEEDS, 1, f"seed={seed}", *sets)
        runs.append(simulate(scenario).summary)
    paid, free = cobham(RHO, SHARE)
    assert_agrees([s["ttft_s.paid.mean"] for s in runs], (1 + paid) * SERVICE_S)
    assert_agrees([s["ttft_s.free.mean"] for s in runs], (1 + free) * SERVICE_S)
    assert_agrees([s["queue_s.mean"] for s in runs], RHO / (1 - RHO) * SERVICE_S)
