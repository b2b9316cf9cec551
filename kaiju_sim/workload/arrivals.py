"""The rate at which new sessions come: constant, or a shape of the day and the week."""

import numpy as np
from numpy.typing import NDArray

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.scenario.traffic import Diurnal

BIN_S = 60.0
"""A diurnal rate is constant within bins of a minute."""
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Floats = NDArray[np.float64]


def day_shapes(d: Diurnal) -> Floats:
    """Rates at the hours of a weekday (mean 1) and of a weekend day (mean weekend_scale)."""
    weekday = np.array(d.shape) / np.mean(d.shape)
    weekend = np.array(d.weekend_shape or d.shape)
    return np.array([weekday, d.weekend_scale * weekend / np.mean(weekend)])


def at_whole_hours(d: Diurnal, hour: NDArray[np.int64]) -> Floats:
    """Rates at whole local hours, counted from midnight of the day that time 0 is in."""
    day = hour // 24
    weekend = (day + DAYS.index(d.start_day)) % 7 >= 5
    return np.asarray(day_shapes(d)[(weekend | np.isin(day, d.holidays)).astype(int), hour % 24])


def relative_rate(d: Diurnal, hour: Floats) -> Floats:
    """Rate at local hours over its mean in a week: straight lines between whole hours."""
    shares = [(zone.offset_hours, zone.share) for zone in d.time_zones] or [(0.0, 1.0)]
    week_mean = day_shapes(d).mean(axis=1) @ np.array([5 / 7, 2 / 7])
    total = np.zeros(hour.shape)
    for offset, share in shares:
        local = hour + offset
        before = np.floor(local).astype(np.int64)
        low, high = at_whole_hours(d, before), at_whole_hours(d, before + 1)
        total += share * (low + (high - low) * (local - before))
    return np.asarray(total / (week_mean * sum(share for _, share in shares)))


def rate_curve(s: Scenario, messages: float) -> tuple[Floats, int]:
    """New sessions per nanosecond in each bin, and the bin's length in ns.

    The mean over a whole day (a week, where weekends differ) is messages_per_s / mean messages of
    a session.
    """
    mean = (s.traffic.messages_per_s or 0.0) / messages * 1e-9
    diurnal = s.traffic.diurnal
    if diurnal is None:
        return np.array([mean]), 1 << 62
    bins = int(np.ceil(s.run.horizon / BIN_S)) + 1
    hour = np.float64(diurnal.start_hour) + (np.arange(bins) + 0.5) * (BIN_S / 3600.0)
    return mean * relative_rate(diurnal, hour), int(BIN_S * 1e9)
