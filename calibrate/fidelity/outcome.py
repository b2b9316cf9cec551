"""What came of a workload's messages, on the engine or in the simulator: the same columns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.sketch import BINS, bin_of

Ints = NDArray[np.int64]
DONE, SHED, REFUSED = range(3)


@dataclass(frozen=True)
class Outcome:
    """One element a message, in the workload's order; times in ns from its beginning, -1: never."""

    arrival: Ints
    """When it was handed in: the clock of TTFT starts here."""
    admit: Ints
    first: Ints
    end: Ints
    output: Ints
    """Tokens of the answer."""
    cached: Ints
    """Prompt tokens that were found in the cache."""
    preempted: Ints
    state: Ints
    itl: NDArray[np.int64]
    """Gaps between tokens in the measured time, as a sketch (`kaiju_sim.sketch`)."""
    itl_ns: int
    """Sum of those gaps."""

    def cohort(self, due_ns: Ints, since_s: float, until_s: float) -> NDArray[np.bool_]:
        """The messages that were due in [since, until) and are done."""
        inside = (due_ns >= since_s * 1e9) & (due_ns < until_s * 1e9)
        return np.asarray(inside & (self.state == DONE))


def gaps_of(times: list[list[int]], since: int, until: int) -> tuple[NDArray[np.int64], int]:
    """Sketch and sum of the gaps that end in (since, until], from each answer's token times."""
    counts = np.zeros(BINS, np.int64)
    total = 0
    for tokens in times:
        at = np.asarray(tokens, np.int64)
        gaps = np.diff(at)[(at[1:] > since) & (at[1:] <= until)]
        total += int(gaps.sum())
        values, number = np.unique(gaps, return_counts=True)
        np.add.at(counts, [bin_of(int(value)) for value in values], number)
    return counts, total
