"""Values that nobody has measured here: each with its range, its source and how sure that is.

Every assumed price or distribution of a scenario is an `Assumed`, so that one walk over it
(`assumed_in`) finds all of them: the sensitivity analysis moves each through its range.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from pydantic import Field, model_validator

from kaiju_sim.scenario.base import Part

Grade = Literal["P", "R", "I", "U"]
"""P primary (the vendor's or author's own), R reported by somebody else, I inferred here,
U unsupported: a guess."""


class Assumed(Part):
    """An assumed value with its range, source and grade."""

    value: float = Field(ge=0, le=1e18)
    """What is used."""
    low: float = Field(ge=0, le=1e18)
    """Low end of its range."""
    high: float = Field(ge=0, le=1e18)
    """High end of its range."""
    source: str = Field(min_length=1)
    """Where it comes from."""
    grade: Grade
    """P primary, R reported, I inferred, U unsupported."""

    @model_validator(mode="after")
    def _inside(self) -> "Assumed":
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"an assumed value must lie within its range: {self.value:g} is not in"
                f" [{self.low:g}, {self.high:g}]; give low and high too"
            )
        return self


class AssumedShare(Assumed):
    """The same for a share from 0 to 1."""

    @model_validator(mode="after")
    def _share(self) -> "AssumedShare":
        if self.high > 1:
            raise ValueError(f"a share must not exceed 1: high is {self.high:g}")
        return self


def assumed(value: float, low: float, high: float, source: str, grade: Grade) -> Assumed:
    """An assumed value."""
    return Assumed(value=value, low=low, high=high, source=source, grade=grade)


def assumed_share(value: float, low: float, high: float, source: str, grade: Grade) -> AssumedShare:
    """An assumed share."""
    return AssumedShare(value=value, low=low, high=high, source=source, grade=grade)


def assumed_in(part: Part, path: str = "") -> Iterator[tuple[str, Assumed]]:
    """Dotted path and value of everything assumed in a part, in the schema's order."""
    for key in type(part).model_fields:
        yield from _assumed_at(getattr(part, key), f"{path}.{key}".removeprefix("."))


def _assumed_at(value: Any, path: str) -> Iterator[tuple[str, Assumed]]:
    if isinstance(value, Assumed):
        yield path, value
    elif isinstance(value, Part):
        yield from assumed_in(value, path)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for place, item in enumerate(value):
            yield from _assumed_at(item, f"{path}[{place}]")


P = TypeVar("P", bound=Part)


def with_values(part: P, values: Mapping[str, float]) -> P:
    """The part with other values at dotted paths of what it assumes; ranges and sources stay."""
    for path, value in values.items():
        part = _with_value(part, path.split("."), value)
    return part


def _with_value(part: P, path: Sequence[str], value: float) -> P:
    if not path:
        return part.model_copy(update={"value": value})
    inner = _with_value(getattr(part, path[0]), path[1:], value)
    return part.model_copy(update={path[0]: inner})
