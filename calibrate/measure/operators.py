"""The loop over single operators, and over the links between host and GPU and between GPUs."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import median
from typing import Any

from calibrate.design.draws import generator
from calibrate.design.estimate import LEAST, OPERATOR_S
from calibrate.design.item import OperatorItem
from calibrate.measure.failures import Failures
from calibrate.measure.interval import is_narrow
from calibrate.measure.pace import Pace
from calibrate.measure.seam import LinkBench, OperatorBench
from calibrate.measure.talk import Talk
from calibrate.samples import Store, Visit, operator_row

MOST = 10
COPY_BYTES = tuple(2**power for power in range(12, 31, 2))
"""4 KiB to 1 GiB."""
REDUCE_ROWS = (1, 16, 64, 256, 512, 1024, 2048)


def measure_operators(
    bench: OperatorBench,
    items: Sequence[OperatorItem],
    store: Store,
    pace: Pace,
    reserve_s: float,
    talk: Talk,
    failures: Failures,
) -> list[str]:
    """Measure all that the bench knows and time allows; ids of those that were left out.

    By rank, so that what has to go is what comes last; in random order within a rank.
    """
    known = set(bench.names())
    waiting = [item for item in items if item.operator in known and not store.seconds(item.id)]
    left_out = [item.id for item in items if item.operator not in known]
    generator("operators").shuffle(waiting)
    waiting.sort(key=lambda item: item.rank)
    for count, item in enumerate(waiting):
        if pace.left() - reserve_s < OPERATOR_S:
            return left_out + [item.id for item in waiting[count:]]
        with failures.noted(item.id):
            seconds = repeated(partial(bench.run, item.operator, dict(item.shape)))
            at_s = pace.earlier_s + pace.elapsed()
            store.add(Visit(item.id, operator_row(item), seconds, at_s=at_s))
        talk.progress("operators", pace.fraction(), pace.left())
    return left_out


def repeated(sample: Callable[[], float]) -> list[float]:
    """Samples after one that warms up: five, more while the interval is wide, ten at most."""
    sample()
    found: list[float] = []
    while len(found) < LEAST or (len(found) < MOST and not is_narrow(found)):
        found.append(sample())
    return found


def measure_links(links: LinkBench, tensor_parallel: int) -> dict[str, Any]:
    """Copies both ways by size; all-reduce by rows where there are several GPUs. Medians."""
    found: dict[str, Any] = {}
    for direction in ("to_device", "to_host"):
        table = _table(COPY_BYTES, partial(links.copy, direction))
        best = max(x / s for x, s in zip(table["x"], table["seconds"], strict=True))
        found[direction] = {**table, "bytes_per_s": best}
    if tensor_parallel > 1:
        found["all_reduce"] = _table(REDUCE_ROWS, links.all_reduce)
    return found


def _table(sizes: Iterable[int], sample: Callable[[int], float]) -> dict[str, list[float]]:
    sizes = list(sizes)
    seconds = [median(repeated(partial(sample, size))) for size in sizes]
    return {"x": [float(size) for size in sizes], "seconds": seconds}
