"""What a sweep varies: axes of a grid, ranges of Sobol points, and what they are on top of."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pydantic.fields import FieldInfo

from kaiju_sim.errors import UserError
from kaiju_sim.scenario.base import all_paths, choices_of, find_field, quantity_of
from kaiju_sim.scenario.explain import flow
from kaiju_sim.scenario.loader import ROOT
from kaiju_sim.scenario.quantities import Quantity
from kaiju_sim.scenario.reading.problems import nearest
from kaiju_sim.scenario.tree import Node, Origin
from kaiju_sim.sweep.sobol import MOST_DIMENSIONS

MOST_POINTS: Final = 100_000
Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Axis:
    """Values of one field, as YAML has them."""

    path: str
    values: tuple[str, ...]
    origins: tuple[Origin, ...]
    """Where each value was stated."""


@dataclass(frozen=True)
class Range:
    """From where to where one field is varied."""

    path: str
    low: float
    high: float
    scale: Scale
    whole: bool
    """The field is a whole number."""
    quantity: Quantity | None
    """The field carries a unit."""
    origin: Origin

    def at(self, u: float) -> str:
        """The value at a fraction *u* of the range, as YAML has it."""
        low, high = self.low, self.high
        if self.whole:  # so that the ends get as much room as the others
            low, high = low - 0.5, high + 0.5
        if self.scale == "log":
            value = math.exp(math.log(low) + u * math.log(high / low))
        else:
            value = low + u * (high - low)
        value = round(value) if self.whole else float(f"{value:.6g}")
        return flow(self.quantity.show(value) if self.quantity else value)


@dataclass(frozen=True)
class Spec:
    """A sweep: every point of the grid, with every point of the sample on top of it."""

    scenario: Path
    overrides: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    grid: tuple[Axis, ...] = ()
    ranges: tuple[Range, ...] = ()
    points: int = 0
    """Sobol points."""
    sample_seed: int = 1
    replications: int = 1

    @property
    def paths(self) -> list[str]:
        """All fields that vary."""
        return [*(axis.path for axis in self.grid), *(part.path for part in self.ranges)]


def checked(spec: Spec) -> Spec:
    """The spec; UserError for one that cannot be."""
    twice = [path for path in spec.paths if spec.paths.count(path) > 1]
    if twice:
        raise UserError(f"sweep: {twice[0]} is varied twice")
    if not spec.paths:
        raise UserError(
            "nothing to sweep: give --grid PATH=[V1,V2], --sobol PATH=LOW..HIGH, a sweep file, or"
            " a scenario with sweep:"
        )
    if spec.ranges and spec.points < 1:
        raise UserError("sobol ranges need points: how many to draw (--points 64)")
    if spec.points and not spec.ranges:
        raise UserError("points: there are no sobol ranges to draw them from")
    if len(spec.ranges) > MOST_DIMENSIONS:
        raise UserError(f"sobol: {len(spec.ranges)} ranges; at most {MOST_DIMENSIONS}")
    count = max(1, spec.points) * math.prod(len(axis.values) for axis in spec.grid)
    if count > MOST_POINTS:
        raise UserError(f"sweep: {count:,} points; at most {MOST_POINTS:,}")
    return spec


def axis_of(path: str, node: Node) -> Axis:
    """An axis from a list of values."""
    field_at(path, node.origin)
    if not isinstance(node.value, list) or not node.value:
        raise _wrong(node.origin, f"{path}: a grid needs a list of values, such as [1, 2]")
    texts = tuple(flow(item.plain()) for item in node.value)
    if len(set(texts)) < len(texts):
        raise _wrong(node.origin, f"{path}: the same value twice")
    return Axis(path, texts, tuple(item.origin for item in node.value))


def range_of(path: str, node: Node) -> Range:
    """A range from [low, high] or {low: , high: , scale: }."""
    found = field_at(path, node.origin)
    kinds = set(_kinds(found.annotation))
    if not kinds & {int, float}:
        raise _wrong(
            node.origin, f"{path} is not a number: put its values in a grid{_listed(found)}"
        )
    value = node.plain()
    if isinstance(value, list) and len(value) == 2:
        value = {"low": value[0], "high": value[1]}
    if not isinstance(value, dict) or not {"low", "high"} <= value.keys() <= _RANGE_KEYS:
        raise _wrong(node.origin, f"{path}: a range is [low, high] or {{low:, high:, scale:}}")
    scale = value.get("scale", "linear")
    if scale not in get_args(Scale):
        raise _wrong(node.origin, f"{path}: scale must be linear or log, not {scale!r}")
    low, high = (_number(value[end], found, path, node.origin) for end in ("low", "high"))
    if not low < high:
        raise _wrong(node.origin, f"{path}: low must be less than high")
    if scale == "log" and low <= 0:
        raise _wrong(node.origin, f"{path}: a log scale begins above 0")
    whole = float not in kinds
    if whole and (low % 1 or high % 1):
        raise _wrong(node.origin, f"{path} is a whole number: so are the ends of its range")
    return Range(path, low, high, scale, whole, quantity_of(found), node.origin)


_RANGE_KEYS: Final = {"low", "high", "scale"}


def field_at(path: str, origin: Origin) -> FieldInfo:
    """The scenario's field at a dotted path; UserError with the nearest one where there is none."""
    found = find_field(ROOT, path.split("."))
    if found is None or path == "sweep" or path.startswith("sweep."):
        raise _wrong(origin, f"no such path {path!r}{nearest(path, list(all_paths(ROOT)))}")
    return found


def _number(value: Any, field: FieldInfo, path: str, origin: Origin) -> float:
    """An end of a range in SI."""
    quantity = quantity_of(field)
    if quantity is not None:
        try:
            return float(quantity.parse(str(value)))
        except ValueError as error:
            raise _wrong(origin, f"{path}: {error}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(origin, f"{path}: {value!r} is not a number")
    return float(value)


def _listed(field: FieldInfo) -> str:
    allowed = choices_of(field)
    return f" (allowed: {', '.join(map(str, allowed))})" if allowed else ""


def _kinds(annotation: Any) -> Iterator[Any]:
    """The plain types in an annotation."""
    if isinstance(annotation, type):
        yield annotation
    for arg in get_args(annotation):
        yield from _kinds(arg)


def _wrong(origin: Origin, message: str) -> UserError:
    if origin.file is None and origin.via:
        return UserError(f"{origin.via}: {message}")
    return UserError(message, origin.file, origin.line)


def axes_of(mapping: Mapping[str, Node]) -> tuple[Axis, ...]:
    """All axes of a mapping from path to list."""
    return tuple(axis_of(path, node) for path, node in mapping.items())


def ranges_of(mapping: Mapping[str, Node]) -> tuple[Range, ...]:
    """All ranges of a mapping from path to ends."""
    return tuple(range_of(path, node) for path, node in mapping.items())
