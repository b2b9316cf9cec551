"""The samples of one folder, as the fit wants them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from calibrate.design.capacity import PAGE
from calibrate.samples import read_engine, read_job, read_operators, read_steps
from calibrate.shapes import EngineStep, StepShape, shape_of
from kaiju_sim.errors import UserError

LEAST_S = 1e-6
"""Seconds: a shorter step was not measured."""
LEAST_STEPS = 30
"""To fit."""


@dataclass(frozen=True)
class Step:
    """One measured step."""

    id: str
    set: str
    """fit, heldout, anchor or aim."""
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

    steps: tuple[Step, ...]
    calls: tuple[Call, ...]
    engine: tuple[EngineStep, ...]
    """Steps of the serving engine under steady load."""
    job: dict[str, Any]
    """`job.json`."""
    lent: int = 0
    """Held-out steps that are fitted, since the job's time ended before there were others."""


def read_samples(folder: Path) -> Samples:
    """The folder's tables and `job.json`, empty where they are not; UserError if not sound."""
    steps = [_step(row) for row in read_steps(folder)]
    calls = tuple(_call(row) for row in read_operators(folder))
    if len({step.id for step in steps}) != len(steps):
        raise UserError("a step's id appears twice", folder / "steps.parquet")
    ordered = sorted(steps, key=lambda step: step.id)
    lent = _lend(ordered)
    engine = tuple(step for row in read_engine(folder) for step in engine_steps(row))
    return Samples(tuple(ordered), calls, engine, read_job(folder), lent)


def _lend(steps: list[Step]) -> int:
    """Where a job's time ended before there were enough steps to fit, two held-out steps of three
    are given to the fit; the third is never in it. By their order alone, whatever they took."""
    if sum(step.set == "fit" for step in steps) >= LEAST_STEPS:
        return 0
    held = [i for i, step in enumerate(steps) if step.set == "heldout"]
    given = [i for n, i in enumerate(held) if n % 3 < 2]
    for i in given:
        steps[i] = replace(steps[i], set="fit")
    return len(given)


def plain_steps(samples: Samples, *sets: str) -> list[Step]:
    """Steps of these sets whose sequences share nothing: what a simulated step stands for."""
    return [step for step in samples.steps if step.set in sets and step.shape.shared_group == 1]


def steps_to_fit(samples: Samples) -> list[Step]:
    """Steps of the fit of which no held-out one has the shape, and whose contexts are ordinary.

    Contexts that all are multiples of a page are left out: an aligned window of 1024 tokens touches
    8 pages, any other 9 of which it masks two, and equal contexts are cut evenly, so such a step is
    several percent faster than one of the same sums in service. Anchors and aims are such steps.
    """
    unseen = {step.shape for step in plain_steps(samples, "heldout")}
    found = plain_steps(samples, "fit")
    return [step for step in found if step.shape not in unseen and not is_aligned(step.shape)]


def is_aligned(shape: StepShape) -> bool:
    """Whether there are decodes, each at a whole number of pages."""
    return bool(shape.decodes) and all(context % PAGE == 0 for context in shape.decodes)


def _step(row: dict[str, Any]) -> Step:
    wall, gpu = median(row["wall_s"]), median(row["gpu_s"])
    if not wall > LEAST_S:
        raise UserError(f"step {row['id']} took {wall} s")
    return Step(row["id"], row["set"], row["kind"], shape_of(row), wall, gpu)


def engine_steps(row: dict[str, Any]) -> Iterator[EngineStep]:
    """A row of `engine.parquet`, step by step."""
    columns = [row[name] for name in EngineStep._fields]
    yield from (EngineStep(*values) for values in zip(*columns, strict=True))


def _call(row: dict[str, Any]) -> Call:
    return Call(row["operator"], json.loads(row["shape"]), median(row["seconds"]))
