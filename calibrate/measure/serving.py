"""The serving engine's loop, with one number of requests after the other."""

from collections.abc import Sequence

from calibrate.design.serving import ServingItem
from calibrate.measure.failures import Failures
from calibrate.measure.pace import Pace
from calibrate.measure.seam import ServingBench
from calibrate.measure.talk import Talk
from calibrate.samples import COUNTS, Store, Visit, serving_row


def measure_serving(
    bench: ServingBench | None,
    items: Sequence[ServingItem],
    store: Store,
    pace: Pace,
    talk: Talk,
    failures: Failures,
) -> None:
    """Measure what is not there yet, whatever time is left: the profile is to have it."""
    waiting = [item for item in items if not store.seconds(item.id)]
    if bench is None:
        return
    for item in waiting:
        with failures.noted(item.id):
            store.add(_visit(bench, item, pace))
        talk.progress("the engine", pace.fraction(), pace.left())
    bench.close()


def _visit(bench: ServingBench, item: ServingItem, pace: Pace) -> Visit:
    at_s = pace.earlier_s + pace.elapsed()
    steps = bench.run(item.requests, item.seconds)
    return Visit(
        key=item.id,
        row=serving_row(item),
        wall_s=[step.period_s for step in steps],
        gpu_s=[step.step_s for step in steps],
        at_s=at_s,
        counts={name: [getattr(step, name) for step in steps] for name in COUNTS},
    )
