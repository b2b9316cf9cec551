"""The window over which a plan's objectives have to hold: the busiest of the scenario."""

import numpy as np

from kaiju_sim.planner.part import Window
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.arrivals import DAYS, rate_curve

DRAIN_S = 60.0
DAY_H = 24.0


def window_of(s: Scenario) -> Window:
    """Warm-up, length and drain of each replication."""
    return Window(s.plan.warm_up, s.plan.window, DRAIN_S)


def at_peak(s: Scenario) -> Scenario:
    """The scenario as it is at its peak: time 0 is the warm-up before the busiest window.

    A rate that does not change has no peak. For a day's curve the clock is set forward and the
    dialogues under way at time 0 are scaled with the rate.
    """
    if s.traffic.diurnal is None:
        return s
    first_s = busiest_s(s)
    before_s = max(0.0, first_s - s.plan.warm_up)
    rate, bin_ns = rate_curve(s, 1.0)
    now, then = (rate[int(t * 1e9) // bin_ns] for t in (0.0, before_s))
    sessions = s.traffic.sessions
    live = round(sessions.live * float(then / now)) if now > 0 else sessions.live
    return s.model_copy(
        update={
            "traffic": s.traffic.model_copy(
                update={
                    "diurnal": later(s, before_s),
                    "sessions": sessions.model_copy(update={"live": live}),
                }
            )
        }
    )


def busiest_s(s: Scenario) -> float:
    """Where the window with the highest mean rate begins, among those within the horizon."""
    rate, bin_ns = rate_curve(s, 1.0)
    bins = max(1, round(s.plan.window * 1e9 / bin_ns))
    whole = rate[: max(bins, int(s.run.horizon * 1e9) // bin_ns)]
    sums = np.convolve(whole, np.ones(min(bins, whole.size)), mode="valid")
    return float(np.argmax(sums) * bin_ns) * 1e-9


def later(s: Scenario, seconds: float) -> object:
    """The day's curve with the clock set forward."""
    diurnal = s.traffic.diurnal
    assert diurnal is not None
    days, hour = divmod(diurnal.start_hour + seconds / 3600.0, DAY_H)
    day = DAYS[(DAYS.index(diurnal.start_day) + int(days)) % 7]
    holidays = tuple(d - int(days) for d in diurnal.holidays if d >= int(days))
    return diurnal.model_copy(update={"start_hour": hour, "start_day": day, "holidays": holidays})
