"""Scenarios and floors that the step-time tests share."""

from typing import Any

from kaiju_sim.catalog.gpus import Gpu, find_gpu
from kaiju_sim.catalog.models import Model, find_model
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.steptime.roofline import Efficiency, Rank

FLOOR = Efficiency(1.0, 1.0, 1.0)


def scenario(**parts: Any) -> Scenario:
    """A small open-loop scenario with these parts set."""
    base: dict[str, Any] = {
        "schema_version": 1,
        "name": "steptime",
        "traffic": {"kind": "poisson", "messages_per_s": 1.0},
    }
    return Scenario.model_validate({**base, **parts})


def table_gpu() -> Gpu:
    """The H100 of the published floors: 3.0 TB/s (a measured copy) at the nominal int8 peak."""
    return find_gpu("H100-80GB").model_copy(update={"hbm_bytes_per_s": 3.0e12})


def floor_rank(model: Model, tensor_parallel: int = 1) -> Rank:
    """A rank at full efficiency on that GPU."""
    return Rank(table_gpu(), model, tensor_parallel, FLOOR)


def usual_rank(name: str = "kaiju-13b", tensor_parallel: int = 1) -> Rank:
    """A rank at the efficiencies that a scenario has by default."""
    return Rank(
        find_gpu("H100-80GB"), find_model(name), tensor_parallel, Efficiency(0.66, 0.8, 0.33)
    )
