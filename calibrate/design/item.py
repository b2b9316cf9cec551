"""One thing to measure: its name, the set it belongs to, its shape, and how soon it is dropped."""

from dataclasses import dataclass
from typing import Literal

from calibrate.design.capacity import PAGE
from calibrate.design.draws import generator, near
from calibrate.shapes import Chunk, StepShape

Set = Literal["fit", "heldout", "anchor", "aim"]
"""Fitted; judging the fit; comparing cards and hours; beside floors. Only the first are fitted."""
KEEP, LATE, MIDDLE, EARLY = range(4)
"""When time is short: never dropped, dropped last ... dropped first."""
LEAST_CONTEXT, MOST_CONTEXT = 16, 32700
"""Of a decode that is drawn around a nominal context."""


@dataclass(frozen=True)
class StepItem:
    """A step to measure."""

    id: str
    set: Set
    kind: str
    """decode, prefill, mixed, shared or beam."""
    shape: StepShape
    rank: int = MIDDLE
    """KEEP, LATE, MIDDLE or EARLY."""


@dataclass(frozen=True)
class OperatorItem:
    """An operator to measure, at one size."""

    operator: str
    shape: tuple[tuple[str, int], ...]
    rank: int = MIDDLE

    @property
    def id(self) -> str:
        """Its name and size."""
        return "/".join(["operator", self.operator, *(f"{k}{v}" for k, v in self.shape)])


def decode_item(
    batch: int, context: int, rank: int = MIDDLE, name: str = "decode", of: Set = "fit"
) -> StepItem:
    """`batch` decodes of equal context."""
    shape = StepShape((context,) * batch)
    return StepItem(f"{name}/b{batch}/c{context}", of, "decode", shape, rank)


def ragged(batch: int, context: int, part: str) -> tuple[int, ...]:
    """Contexts as they are in service: log-normal around the nominal one, as in the held-out law,
    and off the page's edge, where a step is faster (`calibrate.fit.read.is_aligned`)."""
    rng = generator(f"{part}-{batch}-{context}")
    drawn = (near(rng, context, LEAST_CONTEXT, MOST_CONTEXT) for _ in range(batch))
    return tuple(tokens + (tokens % PAGE == 0) for tokens in drawn)


def ragged_item(batch: int, context: int, rank: int = MIDDLE, name: str = "decode") -> StepItem:
    """`batch` decodes of contexts near this one, to fit."""
    shape = StepShape(ragged(batch, context, name))
    return StepItem(f"{name}/b{batch}/near{context}", "fit", "decode", shape, rank)


def prefill_item(
    new: int,
    cached: int,
    rank: int = MIDDLE,
    name: str = "prefill",
    of: Set = "fit",
    last: bool = True,
) -> StepItem:
    """One chunk."""
    shape = StepShape((), (Chunk(new, cached, last),))
    return StepItem(f"{name}/n{new}/c{cached}", of, "prefill", shape, rank)


def kind_of(shape: StepShape) -> str:
    """decode, prefill or mixed (a shape with shared pages is named by who makes it)."""
    if not shape.chunks:
        return "decode"
    return "mixed" if shape.decodes else "prefill"
