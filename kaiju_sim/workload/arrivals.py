"""The rate at which new sessions come: constant, or a shape of the day."""

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.scenario.schema import Scenario

BIN_S = 60.0
"""A diurnal rate is constant within bins of a minute."""


def shape_at(shape: tuple[float, ...], hour: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative rate at local hours, linear between the 24 given ones, periodic."""
    values = np.array([*shape, shape[0]])
    return np.asarray(np.interp(hour % 24.0, np.arange(25.0), values))


def rate_curve(s: Scenario, turns: float) -> tuple[NDArray[np.float64], int]:
    """New sessions per nanosecond in each bin, and the bin's length in ns.

    The mean over a whole day is messages_per_s / mean turns.
    """
    mean = (s.traffic.messages_per_s or 0.0) / turns * 1e-9
    diurnal = s.traffic.diurnal
    if diurnal is None:
        return np.array([mean]), 1 << 62
    bins = int(np.ceil(s.run.horizon / BIN_S)) + 1
    hour = np.float64(diurnal.start_hour) + (np.arange(bins) + 0.5) * (BIN_S / 3600.0)
    relative = shape_at(diurnal.shape, hour) / np.mean(diurnal.shape)
    return mean * relative, int(BIN_S * 1e9)
