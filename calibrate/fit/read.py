"""The samples of one folder, as the fit wants them."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from calibrate.shapes import StepShape, shape_of
from kaiju_sim.errors import UserError

NOT_SLEPT = 1e-6
"""Seconds: a shorter step was not measured."""


@dataclass(frozen=True)
class Step:
    """One measured step."""

    id: str
    set: str
    """fit, heldout or anchor."""
    kind: str
    """decode, prefill, mixed, shared or beam."""
    shape: StepShape
    wall_s: float
    """Median over its repetitions."""
    gpu_s: float
    """The same of the GPU's part."""


@dataclass(frozen=True)
class Call:
    """One measured size of an operator on its own."""

    operator: str
    shape: dict[str, int]
    seconds: float
    """Median of one call."""


@dataclass(frozen=True)
class Samples:
    """All that was measured in one job."""

    folder: Path
    steps: tuple[Step, ...]
    calls: tuple[Call, ...]
    job: dict[str, Any]
    """`job.json`."""


def read_samples(folder: Path) -> Samples:
    """The folder's tables and `job.json`; UserError if they are not there or not sound."""
    steps = tuple(_step(row) for row in _rows(folder / "steps.parquet"))
    operators = folder / "operators.parquet"
    calls = tuple(_call(row) for row in _rows(operators)) if operators.is_file() else ()
    if len({step.id for step in steps}) != len(steps):
        raise UserError("a step's id appears twice", folder / "steps.parquet")
    ordered = tuple(sorted(steps, key=lambda step: step.id))
    return Samples(folder, ordered, calls, _job(folder / "job.json"))


def plain_steps(samples: Samples, *sets: str) -> list[Step]:
    """Steps of these sets whose sequences share nothing: what a simulated step stands for."""
    return [step for step in samples.steps if step.set in sets and step.shape.shared_group == 1]


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"cannot read the samples: {error}", file) from error
    return rows


def _step(row: dict[str, Any]) -> Step:
    wall, gpu = median(row["wall_s"]), median(row["gpu_s"])
    if not wall > NOT_SLEPT:
        raise UserError(f"step {row['id']} took {wall} s")
    return Step(row["id"], row["set"], row["kind"], shape_of(row), wall, gpu)


def _call(row: dict[str, Any]) -> Call:
    return Call(row["operator"], json.loads(row["shape"]), median(row["seconds"]))


def _job(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the job: {error}", file) from error
    if not isinstance(found, dict):
        raise UserError("is not a job", file)
    return found
