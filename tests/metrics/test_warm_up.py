"""The detected warm-up: MSER-5 on known transients, and a cohort that begins where it ends."""

from typing import Any

import numpy as np
import pytest
from fleet_runs import Tree, constant, merged, same, scenario_of

from kaiju_sim.errors import UserError
from kaiju_sim.metrics.stats.warmup import BATCH, LAST, cut_of, filled
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

Values = np.ndarray[Any, Any]


def noise(seed: int, n: int) -> Values:
    return 10.0 + np.random.Generator(np.random.PCG64(seed)).normal(size=n)


def slow_mser(values: Values) -> int:
    """MSER-5 as it is written down, one cut after the other."""
    means = [float(np.mean(values[i : i + 5])) for i in range(0, len(values) // 5 * 5, 5)]
    scores = []
    for d in range(len(means) - LAST):
        rest = means[d:]
        middle = sum(rest) / len(rest)
        scores.append(sum((y - middle) ** 2 for y in rest) / len(rest) ** 2)
    return scores.index(min(scores)) * 5


@pytest.mark.parametrize("seed", range(20))
def test_the_cut_is_that_of_the_definition(seed: int) -> None:
    values = noise(seed, 203) + 8 * np.exp(-np.arange(203) / (seed + 1))
    expected = slow_mser(values)
    found = cut_of(values)
    assert found == (expected if expected // BATCH <= 203 // BATCH // 2 else None)


@pytest.mark.parametrize("ramp", [30, 60, 100])
def test_a_transient_of_known_length_is_cut_where_it_ends(ramp: int) -> None:
    """A ramp up to the steady level, in noise a tenth of it."""
    cuts = []
    for seed in range(50):
        values = noise(seed, 400)
        values[:ramp] -= np.linspace(10, 0, ramp)
        cuts.append(cut_of(values))
    found = [cut for cut in cuts if cut is not None]
    assert len(found) >= 45  # noise alone looks unsettled now and then
    assert 0.6 * ramp <= np.median(found) <= ramp + 10


def test_what_is_stationary_is_hardly_cut() -> None:
    cuts = [cut_of(noise(seed, 500)) for seed in range(200)]
    assert np.median([c for c in cuts if c is not None]) == 0
    assert sum(c is None or c > 50 for c in cuts) <= 10


@pytest.mark.parametrize("trend", [0.05, -0.05])
def test_what_never_settles_is_said_so(trend: float) -> None:
    assert cut_of(noise(1, 400) + trend * np.arange(400)) is None


@pytest.mark.parametrize("level", [0.0, 0.1, 1e9 / 3])
def test_rounding_does_not_cut_a_constant_series(level: float) -> None:
    assert cut_of(np.full(333, level)) == 0


def test_gaps_take_the_value_before_them() -> None:
    nan = np.nan
    assert filled(np.array([nan, 1, nan, nan, 3, nan])).tolist() == [1, 1, 1, 1, 3, 3]
    assert filled(np.array([nan, nan])).tolist() == [0, 0]


QUEUE: Tree = {
    "run": {"warm_up": "auto", "horizon": 400.0, "drain": 100.0, "epoch": 1.0},
    "traffic": {
        "kind": "poisson",
        "messages_per_s": 95.0,
        "sessions": {"user_tokens": constant(1)},
        "output_tokens": constant(1),
    },
    "characters": {"count": 1, "definition_tokens": constant(0)},
    "engine": {"max_seqs": 1, "token_budget": 1},
    "kv": {"prefix_cache": False},
    "steptime": {"kind": "exponential", "step": 0.01},
    "results": {"request_rows": 0, "tick": 1.0},
}
"""M/M/1 from empty."""

BUSY: Tree = merged(
    QUEUE,
    {
        "seed": 4,
        "run": {"horizon": 200.0},
        "traffic": {"messages_per_s": 90.0},
        "results": {"tick": 0.5},
    },
)

COLD: Tree = {
    "run": {"warm_up": "auto", "horizon": 600.0, "drain": 100.0, "start": "cold"},
    "traffic": {
        "kind": "sessions",
        "messages_per_s": 4.0,
        "turn_cycle": 20.0,
        "sessions": {
            "live": 80,
            "turns": {"kind": "geometric", "mean": 30},
            "think": {"kind": "exponential", "mean": 18.0},
        },
    },
    "fleet": {"replicas": 2},
    "results": {"tick": 2.0},
}
"""Dialogues whose past is in no cache at first: each one's next message is computed whole."""


def end_of(detected_s: float | None, horizon_s: float) -> float:
    """The detected end of the transient; the horizon where there is none."""
    return horizon_s if detected_s is None else detected_s


def measured(*changes: Tree) -> dict[str, Any]:
    return simulate(scenario_of(*changes)).summary


def test_a_queue_at_low_load_has_no_transient_to_speak_of() -> None:
    change = {"traffic": {"messages_per_s": 30.0}}
    found = [measured(QUEUE, change, {"seed": s})["run.warm_up_detected_s"] for s in range(1, 10)]
    assert np.median([end_of(f, 400.0) for f in found]) <= 20.0


def test_a_queue_at_high_load_is_slow_to_fill() -> None:
    """M/M/1 from empty relaxes over (1 - sqrt(rho))^-2 / mu: 3.8 s at 90 %.

    The mean of the series of 40 runs shows it; in one run the queue's own swings are as slow and as
    large.
    """
    runs = [simulate(scenario_of(BUSY, {"seed": seed})).series for seed in range(1, 41)]
    cut = cut_of(np.mean([in_system(series)[:400] for series in runs], axis=0))
    assert cut is not None
    assert 2.0 <= cut * 0.5 / (0.01 / (1 - 0.9**0.5) ** 2) <= 10.0


def in_system(series: Any) -> Values:
    """Messages in the fleet at each tick."""
    fleet = series.filter([level == "fleet" for level in series["level"].to_pylist()])
    parts = [fleet[name].to_numpy() for name in ("waiting", "prefilling", "running")]
    return np.asarray(sum(parts), float)


def test_a_cold_start_is_cut_and_a_warm_one_is_not() -> None:
    cold, warm = (
        [measured(COLD, {"seed": seed, "run": {"start": start}}) for seed in range(1, 10)]
        for start in ("cold", "warm")
    )
    after_cold, after_warm = (
        np.median([end_of(s["run.warm_up_detected_s"], 600.0) for s in runs])
        for runs in (cold, warm)
    )
    assert after_warm <= 30.0 < 45.0 < after_cold <= 150.0
    hits = [np.mean([s["prefix_hit_rate"] for s in runs]) for runs in (cold, warm)]
    assert hits[0] == pytest.approx(hits[1], abs=0.02)


def test_an_overloaded_queue_does_not_settle() -> None:
    s = measured(QUEUE, {"traffic": {"messages_per_s": 130.0}})
    assert s["run.steady_state"] == "not settled"
    assert s["run.warm_up_detected_s"] is None
    assert s["run.warm_up_s"] == 200.0


@pytest.mark.parametrize("base", [BUSY, COLD], ids=["queue", "cold"])
def test_a_detected_warm_up_measures_what_a_stated_one_would(base: Tree) -> None:
    """The tallies by segment, added up from the cut on, are those of a run that knew the cut."""
    auto = simulate(scenario_of(base))
    at = auto.summary["run.warm_up_s"]
    twentieths = at / scenario_of(base).run.horizon * 20
    assert twentieths == pytest.approx(round(twentieths))
    assert at >= auto.summary["run.warm_up_detected_s"] > 0
    same(auto, simulate(scenario_of(base, {"run": {"warm_up": at}})))


def test_a_stated_warm_up_is_checked() -> None:
    late = measured(COLD, {"run": {"warm_up": 4.0}})
    assert late["run.steady_state"] == "settles later"
    assert late["run.warm_up_detected_s"] > late["run.warm_up_s"] == 4.0
    assert measured(COLD, {"run": {"warm_up": 300.0}})["run.steady_state"] == "settled"


def test_twins_agree_on_every_segment() -> None:
    """The compiled loop and its specification tally the same, whatever the segment."""
    change = {"run": {"horizon": 120.0}}
    scenario = scenario_of(COLD, change)
    same(simulate(scenario), simulate(scenario, engine="reference"))


@pytest.mark.parametrize(
    "change",
    [
        {"results": {"tick": 100.0}},
        {"traffic": {"diurnal": {"shape": [1.0] * 24}}},
    ],
    ids=["few ticks", "diurnal"],
)
def test_what_cannot_be_detected_is_the_users_error(change: Tree) -> None:
    with pytest.raises(UserError, match=r"run\.warm_up: auto needs"):
        simulate(scenario_of(QUEUE, change))
    stated = scenario_of(QUEUE, change, {"run": {"warm_up": 10.0, "horizon": 50.0}})
    assert simulate(stated).summary["run.steady_state"] == "not tested"


def test_auto_is_a_value_of_the_scenario() -> None:
    tree = scenario_of(QUEUE).model_dump(mode="json")
    assert tree["run"]["warm_up"] == "auto"
    assert Scenario.model_validate(tree) == scenario_of(QUEUE)
