"""The assumed values of a scenario's money, by name, and the ranges that they may move in.

Names are paths below `economics` ("bill.stored_months"). Two more come from elsewhere: `gpu_price`
and `step_time`, both factors that are 1 as stated.
"""

from collections.abc import Mapping
from typing import Any

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.scenario.assumed import Assumed, Grade, assumed, assumed_in
from kaiju_sim.scenario.schema import Scenario

Values = Mapping[str, float]
"""What a bill is computed with: a number for each assumption."""
GPU_PRICE, STEP_TIME = "gpu_price", "step_time"
SERVER_PRICE = "bill.safety_server_usd_per_hour"
"""Assumed only where there is a gate with servers."""
_ROOFLINE_LOW, _ROOFLINE_HIGH = 0.7, 1.5
_GRADES: Mapping[str, Grade] = {"P": "P", "S": "R", "R": "R", "I": "I"}
"""The catalog's grades: its S and R are both of somebody else."""


def assumptions(scenario: Scenario, summary: Mapping[str, Any]) -> dict[str, Assumed]:
    """Everything that the bill of a run assumes, with ranges."""
    found = {
        GPU_PRICE: gpu_price_range(scenario),
        STEP_TIME: step_time_range(summary),
    }
    found |= dict(assumed_in(scenario.economics))
    servers = {SERVER_PRICE: found.pop(SERVER_PRICE)}
    return found | servers if scenario.safety.pre != "none" else found


def values_of(found: Mapping[str, Assumed]) -> dict[str, float]:
    """The values as stated."""
    return {name: item.value for name, item in found.items()}


def gpu_price_range(scenario: Scenario) -> Assumed:
    """The catalog's range of the GPU's price as a factor; a price that is stated stays as it is."""
    if scenario.economics.gpu_price != "catalog":
        return assumed(1, 1, 1, "stated by the scenario", "P")
    price = find_gpu(scenario.gpu).price
    low, high = (p / price.usd_per_hour for p in (price.low_usd_per_hour, price.high_usd_per_hour))
    return assumed(1, low, high, f"{price.source} ({price.terms})", _GRADES[price.grade])


def step_time_range(summary: Mapping[str, Any]) -> Assumed:
    """The step time's error as a factor on the GPUs that the traffic needs.

    A measured profile states it; how far a roofline is off nobody knows: 0.7 to 1.5 then.
    """
    low, high = summary.get("profile.rel_error_low"), summary.get("profile.rel_error_high")
    if low is None or high is None:
        source = f"step times are {summary.get('profile.source')}: error not known, a guess"
        return assumed(1, _ROOFLINE_LOW, _ROOFLINE_HIGH, source, "U")
    return assumed(1, 1 + low, 1 + high, "95 % of held-out steps of the profile", "P")
