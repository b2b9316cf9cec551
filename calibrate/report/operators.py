"""What one call of an operator takes at any size, from those that were measured alone.

Between measured sizes straight lines; over two sizes, along the second one first. Below the
smallest its time, since so small a call is all start-up; above the largest it grows as the floor
does.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping

from calibrate.design.buckets import bucket_of
from calibrate.fit.read import Call
from calibrate.report.floors import parts_of
from calibrate.shapes import Chunk, StepShape
from kaiju_sim.catalog.models import Model

Points = Mapping[int, float]
Size = tuple[int, int]
"""Rows, or sequences, and 0; batch and context; new and cached."""


class Times:
    """Seconds of each operator's calls."""

    def __init__(self, calls: Iterable[Call], model: Model, tensor_parallel: int) -> None:
        self._model, self._ranks = model, tensor_parallel
        self._tables: dict[str, dict[int, dict[int, float]]] = {}
        for call in calls:
            first, second = _size(call.shape)
            table = self._tables.setdefault(call.operator, defaultdict(dict))
            table[first][second] = call.seconds

    def seconds(self, operator: str, shape: StepShape) -> float | None:
        """One call in a step of that shape (decodes alike, one chunk); None if never measured."""
        table = self._tables.get(operator)
        if table is None:
            return None
        first, second = self._asked(operator, shape)
        lines = {x: line(points, second) for x, points in table.items()}
        found = line(lines, first)
        last = max(lines)
        if first <= last:
            return found
        longer, shorter = (self._floor(operator, x, second) for x in (first, last))
        return found * (longer / shorter if shorter else 1.0)

    def _asked(self, operator: str, shape: StepShape) -> Size:
        """The size at which the step calls the operator, padded as the engine pads."""
        is_local, window = operator.endswith("_local"), self._model.window
        if operator in ("head", "sampling"):
            return bucket_of(shape.seqs), 0
        if "decode" in operator:
            context = max(shape.decodes)
            return len(shape.decodes), min(context, window or context) if is_local else context
        if "prefill" in operator:
            return shape.chunks[0].new, shape.chunks[0].cached
        return bucket_of(shape.rows), 0

    def _floor(self, operator: str, first: int, second: int) -> float:
        """Of a step with this call."""
        if "prefill" in operator:
            shape = StepShape((), (Chunk(first, second),))
        else:
            shape = StepShape((max(second, 1),) * first)
        parts = parts_of(self._model, shape, self._ranks)
        return sum(part.floor_s for part in parts if part.operator == operator)


def _size(shape: Mapping[str, int]) -> Size:
    for first, second in (("batch", "context"), ("new", "cached")):
        if first in shape:
            return shape[first], shape[second]
    return next(iter(shape.values())), 0


def line(points: Points, at: int) -> float:
    """Straight lines between points; beyond them the nearest point's."""
    xs = sorted(points)
    after = bisect_left(xs, at)
    if after == 0 or after == len(xs):
        return points[xs[min(after, len(xs) - 1)]]
    low, high = xs[after - 1], xs[after]
    share = (at - low) / (high - low)
    return (1 - share) * points[low] + share * points[high]
