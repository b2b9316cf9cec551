"""A retry storm outlives its cause: retries can keep a fleet overloaded that its users would not.

Eight replicas, each of which needs 2.7 s for a prompt, at 60 % of what they can do; clients wait
6 s for a first token. A peak of twice the capacity in the second hour makes the queue as long as
the clients' patience: from then on every prompt is begun for somebody who is about to give up.
"""

from typing import Any

import numpy as np
from fleet_runs import columns, constant, scenario_of

from kaiju_sim.simulation import simulate

CALM = [0.6] * 24
PEAK = [0.6, 2.0] + [0.6] * 22


def answered_by_hour(shape: list[float], retries: int) -> Any:
    """Share of the messages sent in each of five hours that were answered."""
    scenario = scenario_of(
        {
            "run": {"horizon": 5 * 3600.0, "epoch": 0.25},
            "traffic": {
                "messages_per_s": float(np.mean(shape)) * 8 / 2.7,
                "diurnal": {"shape": shape},
                "sessions": {"user_tokens": constant(3000)},
                "output_tokens": constant(4),
                "client": {"timeout": 6.0, "retries": retries, "jitter": 0.5},
            },
            "characters": {"count": 1, "definition_tokens": constant(0)},
            "prompt": {"limit": 4000},
            "fleet": {"replicas": 8},
            "router": {"queue": "central"},
            "engine": {"token_budget": 100, "max_seqs": 8},
            "kv": {"prefix_cache": False},
            "steptime": {"kind": "constant", "step": 0.09},
            "results": {"tick": 600.0},
        }
    )
    c = columns(simulate(scenario).requests)
    hour = np.minimum(c["arrival_s"] // 3600, 4).astype(int)
    answered = np.bincount(hour, c["status"] == "completed", minlength=5)
    return answered / np.bincount(hour, minlength=5)


def test_without_a_peak_retries_do_no_harm() -> None:
    """The fleet is large enough, and stays up."""
    assert answered_by_hour(CALM, retries=6).min() > 0.99


def test_without_retries_the_fleet_recovers_when_the_peak_has_gone() -> None:
    """Users who are not served leave, and the queue with them."""
    share = answered_by_hour(PEAK, retries=0)
    assert share[1] < 0.5
    assert share[2:].min() > 0.99


def test_with_retries_the_fleet_stays_down_when_the_peak_has_gone() -> None:
    """The cause is over for hours, and almost nobody is answered: metastable."""
    assert answered_by_hour(PEAK, retries=6)[2:].max() < 0.05
