"""The log grid of the context curves: where its slots lie, and a curve's lines on it.

Within a slot a curve is the straight line between its values at the slot's ends, so a linear curve
is kept exactly and no interpolation ever happens in log space (which overstates linear kernels by
more than ten percent between points an octave apart).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.steptime.curves import OCTAVES, SLOTS_PER_OCTAVE

Floats = NDArray[np.float64]


def slot_edges() -> Floats:
    """The SLOTS + 1 ends of the slots: 1, 1.125, 1.25 ... 2**48, each exact in binary."""
    octave = np.ldexp(1.0, np.arange(OCTAVES))
    within = 1.0 + np.arange(SLOTS_PER_OCTAVE) / SLOTS_PER_OCTAVE
    edges = np.outer(octave, within).ravel()
    return np.append(edges, np.ldexp(1.0, OCTAVES))


def lines_on_grid(curve_ns: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """Slope and offset of each slot for a curve given as a function of an array of x >= 1."""
    edges = slot_edges()
    values = curve_ns(edges)
    slope = np.diff(values) / np.diff(edges)
    return slope, values[:-1] - slope * edges[:-1]
