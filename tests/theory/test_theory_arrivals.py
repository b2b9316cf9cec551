"""Bursty arrivals, weekends, holidays and time zones come as stated (tests at 99.9 %)."""

from typing import Any

import numpy as np
import pytest
from fleet_runs import Tree, columns, constant, scenario_of
from scipy import stats

from kaiju_sim.simulation import simulate
from kaiju_sim.workload.arrivals import rate_curve

ALPHA = 0.001
FAST: Tree = {
    "run": {"warm_up": 0.0, "horizon": 1000.0, "epoch": 1.0},
    "traffic": {
        "messages_per_s": 200.0,
        "sessions": {"user_tokens": constant(1)},
        "output_tokens": constant(1),
    },
    "characters": {"count": 1, "definition_tokens": constant(0)},
    "kv": {"prefix_cache": False},
    "steptime": {"kind": "constant", "step": 1e-4},
    "results": {"request_rows": 10_000_000, "tick": 1000.0},
}
SHAPE = [3, 2, 1, 1, 1, 2, 4, 6, 8, 9, 9, 10, 11, 10, 10, 12, 14, 15, 16, 18, 17, 13, 9, 5]
LATE = [9, 8, 6, 3, 2, 1, 1, 2, 4, 6, 9, 12, 14, 14, 13, 13, 14, 15, 15, 16, 16, 15, 14, 12]
DAY_S = 86_400.0


def arrivals(*changes: Tree) -> Any:
    """Arrival times of a run."""
    return columns(simulate(scenario_of(FAST, *changes)).requests)["arrival_s"]


@pytest.mark.parametrize("cv", [0.25, 0.8, 1.5, 4.0])
def test_gaps_are_gamma_of_the_stated_burstiness(cv: float) -> None:
    """Independent gaps of one gamma law, and the index of dispersion that renewal theory gives.

    Over long intervals variance / mean of the counts tends to cv^2.
    """
    at = arrivals({"traffic": {"burstiness": cv}})
    gaps = np.diff(at)
    law = stats.gamma(cv**-2, scale=cv**2 / 200)
    edges = np.append(0.0, np.linspace(law.cdf(1e-7), 1.0, 20))  # time is in whole nanoseconds
    counts, _ = np.histogram(law.cdf(gaps), edges)
    some = np.diff(edges) > 1e-4
    share = np.diff(edges)[some] / np.diff(edges)[some].sum()
    assert stats.chisquare(counts[some], share * counts[some].sum()).pvalue > ALPHA
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) * np.sqrt(gaps.size) < 4.0
    per_bin = np.bincount((at / 2.0).astype(int), minlength=500)
    dispersion = per_bin.var() / per_bin.mean()
    low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], per_bin.size - 1) / per_bin.size
    assert low * cv**2 < dispersion < high * cv**2


def test_the_first_arrival_is_met_at_random() -> None:
    """Bursty arrivals begin as if they had always come: no burst, and no lull, at time 0."""
    change: Tree = {"traffic": {"burstiness": 3.0, "messages_per_s": 1.0}, "run": {"horizon": 4.0}}
    early = [np.sum(arrivals(change, {"seed": seed}) < 4.0) for seed in range(400)]
    z = (np.mean(early) - 4.0) / (np.std(early) / np.sqrt(len(early)))
    assert abs(z) < stats.norm.ppf(1 - ALPHA / 2)


def test_bursts_follow_the_shape_of_the_day() -> None:
    """The diurnal curve holds for bursty arrivals too: time runs faster where the rate is high."""
    diurnal = {"shape": SHAPE}
    traffic = {"messages_per_s": 5, "diurnal": diurnal, "burstiness": 2.0}
    at = arrivals({"run": {"horizon": DAY_S}, "traffic": traffic})
    relative = np.interp((np.arange(480) + 0.5) / 20, np.arange(25), [*SHAPE, SHAPE[0]])
    expected = 5 * 1800 * relative.reshape(48, 10).mean(axis=1) / np.mean(SHAPE)
    counts = np.bincount((at / 1800).astype(int), minlength=48)
    assert ((counts - expected) ** 2 / (4 * expected)).sum() < stats.chi2.ppf(1 - ALPHA, 48)


def curve(days: float, **diurnal: Any) -> Any:
    """Rate at each minute, relative to messages_per_s."""
    change: Tree = {
        "run": {"horizon": days * DAY_S, "epoch": 10.0},
        "traffic": {"messages_per_s": 3.0, "diurnal": {"shape": SHAPE, **diurnal}},
    }
    per_ns, bin_ns = rate_curve(scenario_of(FAST, change), 1.0)
    assert bin_ns == 60_000_000_000
    return per_ns[: round(days * 1440)] * 1e9 / 3.0


def test_the_mean_over_a_whole_week_is_the_stated_rate() -> None:
    """With weekends, and in any mix of time zones; without weekends, over each whole day."""
    zones = ({"offset_hours": 0, "share": 2}, {"offset_hours": -7.5, "share": 1})
    for more in ({}, {"time_zones": zones}, {"start_day": "fri", "start_hour": 9.5}):
        week = curve(7, weekend_shape=LATE, weekend_scale=1.9, **more)
        assert week.mean() == pytest.approx(1.0, abs=1e-4)
        assert not np.allclose(week[:1440], week[-1440:])
    assert curve(7).reshape(7, -1).mean(axis=1) == pytest.approx(1.0, abs=1e-9)


def test_weekends_have_their_scale_and_their_shape() -> None:
    """Saturday and Sunday, wherever the week starts, and holidays."""
    days = curve(9, weekend_shape=LATE, weekend_scale=2.0, start_day="thu", holidays=(7,))
    volume = days.reshape(9, -1).mean(axis=1)
    weekend = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0], bool)  # thu fri SAT SUN mon tue wed HOLIDAY fri
    assert volume[weekend] == pytest.approx(2 * 7 / 9, rel=0.04)  # midnights lie between two days
    assert volume[~weekend] == pytest.approx(7 / 9, rel=0.04)
    noon = days.reshape(9, -1)[:, 12 * 60] * 9 / 7
    assert noon[weekend] == pytest.approx(2 * LATE[12] / np.mean(LATE), rel=0.01)
    assert noon[~weekend] == pytest.approx(SHAPE[12] / np.mean(SHAPE), rel=0.01)
    steps = np.abs(np.diff(days))
    assert steps.max() < 0.03, "straight lines, no jump at midnight"


def test_time_zones_mix_shifted_curves() -> None:
    """The mix is the weighted sum of the same curve by other clocks; each has its own Sunday."""
    one = curve(8, weekend_scale=2.0, start_day="sat")
    zones = ({"offset_hours": 0, "share": 3}, {"offset_hours": 6, "share": 1})
    mixed = curve(7, weekend_scale=2.0, start_day="sat", time_zones=zones)
    ahead = one[6 * 60 :][: mixed.size]
    assert mixed == pytest.approx(0.75 * one[: mixed.size] + 0.25 * ahead, rel=1e-9)
    assert mixed.max() < one.max()
