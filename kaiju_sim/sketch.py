"""Streaming quantiles: a histogram of durations with bins of constant relative width.

256 linear bins an octave, from 1 microsecond to 2**46 ns (19.5 h); everything below is bin 0,
everything above the last bin. A quantile read from the sketch is off by at most one bin:
`RELATIVE_ERROR` of its value, or `FLOOR_NS` where that is more; durations of `TOP_NS` and longer
count as just under it. Memory does not grow with the number of values.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

PER_OCTAVE = 256
FIRST_OCTAVE = 10
BINS = 36 * PER_OCTAVE
RELATIVE_ERROR = 1.0 / PER_OCTAVE
FLOOR_NS = 1028
TOP_NS = 1 << 46


def bin_of(duration_ns: int) -> int:
    """The bin of a duration in nanoseconds."""
    if duration_ns < 1024:
        return 0
    mantissa, exponent = math.frexp(float(duration_ns))
    slot = (exponent - 11) * 256 + int((mantissa - 0.5) * 512.0)
    return min(slot, 9215)


def edges_ns() -> NDArray[np.float64]:
    """Lower edges of all bins and the upper edge of the last (length BINS + 1)."""
    k = np.arange(BINS + 1)
    octave, slot = np.divmod(k, PER_OCTAVE)
    edges = np.ldexp(0.5 + slot / (2.0 * PER_OCTAVE), octave + FIRST_OCTAVE + 1)
    edges[0] = 0.0
    return np.asarray(edges)


def quantile_ns(counts: NDArray[Any], q: float, lost: int = 0) -> float | None:
    """The q-quantile of the sketched values and `lost` more at +infinity; None when it is infinite.

    Linear between the two order statistics around the rank, as for exact values. The empty sketch
    has no quantile: None.
    """
    total = int(counts.sum())
    rank = q * (total + lost - 1)
    if total == 0 or rank > total - 1 + 1e-9:
        return None
    cumulative = np.cumsum(counts)
    low = min(int(rank), total - 1)
    high = min(low + 1, total - 1)
    below, above = value_at(counts, cumulative, low), value_at(counts, cumulative, high)
    return below + (above - below) * (rank - low)


def value_at(counts: NDArray[Any], cumulative: NDArray[Any], rank: int) -> float:
    """The value of a whole rank (from 0), its bin's values taken as evenly spread."""
    i = int(np.searchsorted(cumulative, rank, side="right"))
    if i == 0:
        return 0.0
    edges = edges_ns()
    inside = (rank - (cumulative[i] - counts[i]) + 0.5) / counts[i]
    return float(edges[i] + (edges[i + 1] - edges[i]) * inside)
