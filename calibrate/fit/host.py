"""What a step takes on the host beside the GPU, and what the serving engine takes beside a step."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from calibrate.fit.basis import Floats, rounded
from calibrate.fit.errors import DECIMALS
from calibrate.fit.read import Step
from calibrate.shapes import EngineStep
from kaiju_sim.steptime.part import EngineHost

SMALL_SHARE = 0.25
"""The steps with the fewest sequences among which the overhead is looked for."""
LEAST_STEPS = 50
FAR = 5.0
"""Medians of its like beyond which a step was disturbed: a graph was captured in it, mostly."""
LIKE = 32
"""Sequences, by so many, that steps are alike in."""


def host_overhead_s(steps: Sequence[Step]) -> float:
    """Median of wall - GPU of the steps with the fewest sequences; what grows is in the curves."""
    ordered = sorted(steps, key=lambda step: (step.shape.seqs, step.id))
    few = ordered[: max(1, int(len(ordered) * SMALL_SHARE))]
    return max(0.0, rounded(float(np.median([step.wall_s - step.gpu_s for step in few]))))


def engine_host(steps: Sequence[EngineStep]) -> EngineHost | None:
    """What the engine takes beside its steps; None if too few were measured.

    By least squares, weights that are not negative, of what the simulator knows of a step: that it
    is one, its sequences, whether it has prompts. Means, not medians: who is admitted or crosses
    into a new page costs more, and that adds up. Steps that were disturbed are left out.
    """
    kept = [step for step in steps if step.period_s > step.step_s > 0]
    if len(kept) < LEAST_STEPS:
        return None
    columns, seconds = columns_of(kept), np.array([host_s(step) for step in kept])
    calm = _calm(columns, seconds)
    columns, seconds = columns[calm], seconds[calm]
    scale = columns.max(axis=0).clip(1e-9)
    weights, _ = nnls(columns / scale, seconds)
    found = [rounded(float(weight)) for weight in weights / scale]
    errors = np.abs(columns @ np.array(found) / seconds - 1)
    median, p95 = (round(float(np.quantile(errors, q)), DECIMALS) for q in (0.5, 0.95))
    names = ("step_s", "seq_s", "prefill_s")
    return EngineHost(
        **dict(zip(names, found, strict=True)),
        n=len(seconds), median_abs_rel_error=median, p95_abs_rel_error=p95,
    )  # fmt: skip


def host_s(step: EngineStep) -> float:
    """What a step of the engine takes beside the step that is measured alone."""
    return step.period_s - step.step_s


def columns_of(steps: Sequence[EngineStep]) -> Floats:
    """[steps, 3]: one, sequences (prompts under way included), whether there are prompts."""
    rows = [(1, step.decodes + step.filling, step.chunks > 0) for step in steps]
    return np.array(rows, np.float64)


def _calm(columns: Floats, seconds: Floats) -> NDArray[np.bool_]:
    """Steps that took no more than FAR times the median of those that are alike."""
    keys = columns[:, 1] // LIKE * 2 + columns[:, 2]
    calm = np.zeros(seconds.size, np.bool_)
    for key in np.unique(keys):
        mine = keys == key
        calm[mine] = seconds[mine] <= FAR * np.median(seconds[mine])
    return calm
