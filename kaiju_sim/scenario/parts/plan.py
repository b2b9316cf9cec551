"""What `kaiju-sim plan` may choose from, and how sure it has to be."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.quantities import PositiveSeconds, Seconds, as_tuple

RouterPolicy = Literal[
    "affinity",
    "sticky",
    "rendezvous",
    "prefix_aware",
    "least_loaded",
    "round_robin",
    "power_of_two",
]
"""What `router.policy` may be."""


class Planning(Part):
    """What `kaiju-sim plan` may choose from, and how sure it has to be (docs/plan.md).

    An empty list leaves the scenario's own value.
    """

    gpus: Annotated[tuple[str, ...], BeforeValidator(as_tuple)] = ()
    """GPU types, by catalog name."""
    tensor_parallel: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = ()
    """GPUs per replica."""
    token_budgets: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = ()
    """Values of engine.token_budget."""
    max_seqs: Annotated[tuple[int, ...], BeforeValidator(as_tuple)] = ()
    """Values of engine.max_seqs."""
    routers: Annotated[tuple[RouterPolicy, ...], BeforeValidator(as_tuple)] = ()
    """Values of router.policy."""
    window: PositiveSeconds = 900.0
    """The objectives have to hold over so long: the busiest of the scenario, by its stated rate."""
    warm_up: Seconds = 120.0
    """Simulated before the window."""
    pass_probability: float = Field(default=0.95, gt=0, le=0.99)
    """Probability, at least, with which such a window meets all objectives."""
    survive_nodes: int = Field(default=0, ge=0, le=1000)
    """Failure headroom: the objectives have to hold with so many nodes of each cell gone."""
    node_gpus: int = Field(default=8, ge=1, le=1000)
    """GPUs of a node."""
