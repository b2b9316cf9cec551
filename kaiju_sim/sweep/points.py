"""The points of a sweep: which values each has, checked against the scenario's schema."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kaiju_sim.errors import UserError
from kaiju_sim.executor import sources
from kaiju_sim.metrics.stats.replications import replication_seeds
from kaiju_sim.scenario.loader import Loaded, ScenarioFile
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.sweep.sobol import sobol
from kaiju_sim.sweep.spec import Axis, Spec

WORDS: Final = ("name", "description", "sweep")
"""Keys of a scenario that no figure depends on."""
_FILES: Final = ("file", "profile")
"""Keys of a scenario that may name a file, whose content counts."""


@dataclass(frozen=True)
class Variant:
    """One scenario to simulate: a replication of a point."""

    digest: str
    """Changes with whatever its figures depend on."""
    scenario: Scenario
    base_dir: Path


@dataclass(frozen=True)
class Point:
    """One combination of values."""

    number: int
    values: Mapping[str, str]
    """By dotted path, as YAML has them."""
    scenario: Scenario | None = None
    variants: tuple[Variant, ...] = ()
    """Its replications; none where the values do not go together."""
    problem: str = ""
    """Why they do not."""


def make_points(spec: Spec, progress: Callable[[float], None] | None = None) -> list[Point]:
    """All points, the last axis varying fastest.

    Values that do not go together make a point infeasible. UserError for a value that fits in no
    point at all, with its place.
    """
    file = ScenarioFile(spec.scenario)
    file.load(spec.overrides, spec.sets)
    points, combinations = [], list(_combinations(spec))
    for number, values in enumerate(combinations):
        points.append(_point(file, spec, number, values))
        if progress is not None:
            progress((number + 1) / len(combinations))
    for axis in spec.grid:
        _check_values(axis, points)
    if all(point.problem for point in points):
        raise UserError(points[0].problem)
    return points


def _combinations(spec: Spec) -> Iterator[dict[str, str]]:
    sample: Sequence[dict[str, str]] = [{}]
    if spec.ranges:
        rows = sobol(spec.points, len(spec.ranges), spec.sample_seed)
        sample = [
            {part.path: part.at(float(u)) for part, u in zip(spec.ranges, row, strict=True)}
            for row in rows
        ]
    for chosen in itertools.product(*(axis.values for axis in spec.grid)):
        on_axes = dict(zip((axis.path for axis in spec.grid), chosen, strict=True))
        for drawn in sample:
            yield on_axes | drawn


def _point(file: ScenarioFile, spec: Spec, number: int, values: Mapping[str, str]) -> Point:
    sets = [*spec.sets, *(f"{path}={text}" for path, text in values.items())]
    try:
        loaded = file.load(spec.overrides, sets)
    except UserError as error:
        return Point(number, values, problem=str(error))
    return Point(number, values, loaded.scenario, variants_of(loaded, spec.replications))


def _check_values(axis: Axis, points: Sequence[Point]) -> None:
    """UserError for a value of an axis that no point can have."""
    for text, origin in zip(axis.values, axis.origins, strict=True):
        mine = [point for point in points if point.values[axis.path] == text]
        if all(point.problem for point in mine):
            message = mine[0].problem.removeprefix(f"--set {axis.path}={text}: ")
            if origin.file is None:
                message = f"{origin.via}: {message}"
            raise UserError(message, origin.file, origin.line)


def variants_of(loaded: Loaded, replications: int) -> tuple[Variant, ...]:
    """The replications of a scenario, as `kaiju-sim run --replications` has them."""
    base_dir = loaded.base_dir.resolve()
    seeds = replication_seeds(loaded.scenario.seed, replications)
    return tuple(
        Variant(
            digest(loaded.resolved | {"seed": seed}, base_dir),
            loaded.scenario.model_copy(update={"seed": seed}),
            base_dir,
        )
        for seed in seeds
    )


def digest(resolved: Mapping[str, Any], base_dir: Path) -> str:
    """A name for a simulation that changes with whatever its figures depend on.

    The resolved scenario without its words, files that it names, the simulator's sources.
    """
    counts = {key: value for key, value in resolved.items() if key not in WORDS}
    files = [sources.file_digest(base_dir / name) for name in _named(counts)]
    return sources.digest(json.dumps(counts, sort_keys=True), *files)


def _named(value: Any) -> Iterator[str]:
    """Names in a scenario that may be files'."""
    children = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, child in children:
        if isinstance(child, Mapping | list):
            yield from _named(child)
        elif key in _FILES and isinstance(child, str):
            yield child
