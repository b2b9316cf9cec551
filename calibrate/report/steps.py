"""Measured steps, one for each shape: repetitions of all sets together."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from calibrate.samples import Row, read_steps
from calibrate.shapes import StepShape, shape_of

CONTEXT = 4096
PREFILLS = (512, 1024, 2048, 4096)
REQUIRED = {"b64": 1.45, "b256": 1.40, "b512": 1.20, "n4096": 1.25}
"""Of Kaiju 13B on one GPU: the longest that a step may take, in floors."""
REQUIRED_OF = ("kaiju-13b", None, 1)
"""Model, variant, GPUs."""


@dataclass(frozen=True)
class Measured:
    """A shape and what it took."""

    name: str
    """b64: 64 decodes at context 4096; n4096: prefill of 4096 tokens."""
    shape: StepShape
    wall_s: float
    """Median over all repetitions, with the host."""
    gpu_s: float
    """The same of the GPU's part."""
    repetitions: int


def step_name(shape: StepShape) -> str:
    """The name of a step that the tables show; empty for others."""
    if shape.shared_group > 1 or not shape.rows:
        return ""
    if not shape.chunks:
        return f"b{len(shape.decodes)}" if set(shape.decodes) == {CONTEXT} else ""
    one = shape.chunks[0]
    is_shown = len(shape.chunks) == 1 and not shape.decodes and not one.cached and one.last
    return f"n{one.new}" if is_shown and one.new in PREFILLS else ""


def shown_steps(folder: Path) -> list[Measured]:
    """Decode at context 4096 by batch, then prefill by tokens."""
    found: dict[StepShape, list[Row]] = {}
    for row in read_steps(folder):
        shape = shape_of(row)
        if step_name(shape):
            found.setdefault(shape, []).append(row)
    steps = [_measured(shape, rows) for shape, rows in found.items()]
    return sorted(steps, key=lambda step: (bool(step.shape.chunks), step.shape.rows))


def _measured(shape: StepShape, rows: Iterable[Row]) -> Measured:
    rows = list(rows)
    wall, gpu = ([s for row in rows for s in row[key]] for key in ("wall_s", "gpu_s"))
    return Measured(step_name(shape), shape, median(wall), median(gpu), len(wall))


def words(name: str) -> str:
    """A step's name for people."""
    size = int(name[1:])
    return f"prefill {size}" if name[0] == "n" else f"decode {size} x {CONTEXT}"
