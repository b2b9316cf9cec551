"""A study: the simulated value of a claim."""

from dataclasses import dataclass

from kaiju_sim.audit.cells import Cell
from kaiju_sim.audit.figures import Measure


@dataclass(frozen=True)
class Study:
    """A claim's simulated value."""

    claim: str
    """Id of the claim."""
    says: str
    """What is simulated."""
    cells: tuple[Cell, ...]
    measure: Measure
    unit: str = ""
