"""Host overhead: what a step takes beside the GPU, the part that every step has."""

from collections.abc import Sequence

import numpy as np

from calibrate.fit.basis import rounded
from calibrate.fit.read import Step

SMALL_SHARE = 0.25
"""The steps with the fewest sequences among which the overhead is looked for."""


def host_overhead_s(steps: Sequence[Step]) -> float:
    """Median of wall - GPU of the steps with the fewest sequences; what grows is in the curves."""
    ordered = sorted(steps, key=lambda step: (step.shape.seqs, step.id))
    few = ordered[: max(1, int(len(ordered) * SMALL_SHARE))]
    return max(0.0, rounded(float(np.median([step.wall_s - step.gpu_s for step in few]))))
