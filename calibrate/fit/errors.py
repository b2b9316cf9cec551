"""How far the simulator's own prediction is from measured steps."""

from collections.abc import Sequence

import numpy as np

from calibrate.fit.features import predicted_s
from calibrate.fit.read import Step
from kaiju_sim.errors import UserError
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.steptime.profile import ErrorSummary

DECIMALS = 6


def error_summary(curves: Curves, steps: Sequence[Step], window: int) -> ErrorSummary:
    """Errors predicted / measured - 1 of these steps; UserError if they are beyond all sense."""
    errors = relative_errors(curves, steps, window)
    size = np.abs(errors)
    if np.quantile(size, 0.95) >= 1 or abs(errors.mean()) >= 1:
        raise UserError(
            f"{len(steps)} steps are predicted by over 100 % wrong: too few were fitted"
        )
    return ErrorSummary(
        n=len(steps),
        median_abs_rel_error=round(float(np.median(size)), DECIMALS),
        p95_abs_rel_error=round(float(np.quantile(size, 0.95)), DECIMALS),
        bias=round(float(errors.mean()), DECIMALS),
    )


def relative_errors(
    curves: Curves, steps: Sequence[Step], window: int
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Predicted / measured - 1 of each step."""
    return np.array([predicted_s(curves, step.shape, window) / step.wall_s - 1 for step in steps])


def errors_by_kind(curves: Curves, steps: Sequence[Step], window: int) -> dict[str, ErrorSummary]:
    """The same by kind of step."""
    kinds = sorted({step.kind for step in steps})
    return {
        kind: error_summary(curves, [step for step in steps if step.kind == kind], window)
        for kind in kinds
    }
