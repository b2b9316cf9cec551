"""What a training step takes, measured: one layer of the 13B and Squinch's codes on an H100.

`python -m benchmarks.training --publish` writes the file from the samples in benchmarks/results.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

BF16, FORWARD, BOTH = "bf16", "int8 forward", "int8 forward, input gradient"


@dataclass(frozen=True)
class Step:
    """Forward and all gradients of some layers."""

    flops: float
    """Operations of it."""
    seconds: Mapping[str, float]
    """Median time by how it is computed: `BF16`, `FORWARD`, `BOTH`."""

    @property
    def bf16_flops_per_s(self) -> float:
        """Operations per second in bf16."""
        return self.flops / self.seconds[BF16]

    def speedup(self, way: str) -> float:
        """Speed of a way / speed of bf16."""
        return self.seconds[BF16] / self.seconds[way]


@dataclass(frozen=True)
class Training:
    """The measurement."""

    gpu: str
    """Name in the catalog."""
    gpu_name: str
    """What the driver calls it."""
    date: str
    commit: str
    command: str
    tokens: int
    """Of a step."""
    linear: Step
    """The four linear layers of a layer, alone."""
    layer: Step
    """A whole layer: attention, norms and residual sums too."""
    pack_per_s: float
    """Gradients (bf16) that Squinch packs in a second."""
    unpack_per_s: float
    """The same of unpacking."""


@cache
def training_measured() -> Training:
    """From package data."""
    text = files("kaiju_sim.economics.measured").joinpath("training.json").read_text("utf-8")
    found = json.loads(text)
    linear, layer = (Step(**found.pop(name)) for name in ("linear", "layer"))
    return Training(**found, linear=linear, layer=layer)


def training_speed(part: str, way: str) -> float:
    """Speed of a way of computing / speed of bf16; `part`: "linear" or "layer"."""
    step: Step = getattr(training_measured(), part)
    return step.speedup(way)
