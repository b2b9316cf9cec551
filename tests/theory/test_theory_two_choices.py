"""Power of two choices against the supermarket model, through the whole fleet.

Many servers, Poisson arrivals, exponential service, load rho: with two choices the mean time in the
system is  sum over i >= 1 of rho^(2^i - 2)  services (Vvedenskaya et al. 1996, Mitzenmacher 1996),
in the limit of many servers and of a view without delay. One choice gives 1 / (1 - rho).
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleet_runs import from_yaml

from kaiju_sim.simulation import simulate

SERVERS, RHO, SERVICE_S = 300, 0.8, 0.01
FARM = f"""
schema_version: 1
name: supermarket
run: {{warm_up: 500ms, horizon: 3500ms, drain: 10s, epoch: 100us}}
traffic:
  kind: poisson
  messages_per_s: {RHO * SERVERS / SERVICE_S}
  sessions: {{user_tokens: {{kind: constant, value: 1}}}}
  output_tokens: {{kind: constant, value: 1}}
characters: {{count: 1, definition_tokens: {{kind: constant, value: 0}}}}
fleet: {{replicas: {SERVERS}}}
engine: {{max_seqs: 1, token_budget: 1}}
kv: {{prefix_cache: false}}
router: {{policy: power_of_two, report_interval: 100us}}
steptime: {{kind: exponential, step: 10ms}}
results: {{request_rows: 0, tick: 60s}}
"""


def mean_services(folder: Path, seeds: int, *sets: str) -> float:
    """Mean time in the system over some seeds, in services."""
    runs: list[dict[str, Any]] = [
        simulate(from_yaml(folder, FARM, f"seed={seed}", *sets)).summary for seed in range(seeds)
    ]
    return float(np.mean([run["e2e_s.mean"] for run in runs])) / SERVICE_S


def test_two_choices_wait_as_the_supermarket_model_says(tmp_path: Path) -> None:
    truth = sum(RHO ** (2**i - 2) for i in range(1, 8))
    found = mean_services(tmp_path, 8)
    assert found == pytest.approx(truth, rel=0.02)  # its standard error is 0.5 %
    assert found < 0.5 / (1 - RHO)
    assert mean_services(tmp_path, 1, "router.policy=least_loaded") < found
