"""The seam to a model that is to be served: what is wanted, and what is there then."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from calibrate.engine.engine import Engine
from calibrate.engine.served.guide import Guide
from calibrate.engine.server.gauge import Traffic
from kaiju_sim.catalog.models import Model
from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.curves import Curves


class Rates(NamedTuple):
    """Of the link to host memory, in bytes/s."""

    into: float
    """Into HBM."""
    out: float


@dataclass(frozen=True)
class HostMemory:
    """Host memory behind the cache."""

    size: int
    """Bytes, divided between blocks and windows as in the simulator."""
    rates: Callable[[str], Rates]
    """What policy reckons with, by the name that the driver gives the card (empty: there is none).
    UserError if that is not known."""


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
    host: HostMemory | None = None
    """None: what leaves HBM is gone."""
    guide: Guide | None = None
    """How candidates are judged, where messages have several."""
    kv_bytes: int | None = None
    """Of HBM for KV at most; None: all that is left (of the tiny model: 60 MB)."""


class Opened(NamedTuple):
    """An engine on a model."""

    engine: Engine
    name: str
    vocabulary: int
    traffic: Traffic | None = None
    """On the link to host memory, if there is that tier."""
