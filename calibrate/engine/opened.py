"""The seam to a model that is to be served: what is wanted, and what is there then."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from calibrate.engine.engine import Engine
from kaiju_sim.catalog.models import Model
from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.curves import Curves


@dataclass(frozen=True)
class Wanted:
    """A model, and the rules by which it is served."""

    model: Model | None
    """None: a tiny one that Triton's interpreter runs on the CPU."""
    weights: Path | None
    """A checkpoint (safetensors); None: random ones."""
    limits: Limits
    """Blocks and windows become those of the model's memory."""
    curves: Curves
    """What policy predicts with."""
    inside: int
    """Requests that are taken at most, those that wait included."""


class Opened(NamedTuple):
    """An engine on a model."""

    engine: Engine
    name: str
    vocabulary: int
