"""Parts of incidents by themselves: times of people, alarms, ledgers, mistakes in scenarios."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
from incidents_runs import alarm, incident, points, quick, tiny
from pydantic import ValidationError

from kaiju_sim.engine.layout import Arr
from kaiju_sim.incidents.drift import kl_nats, output_error, table
from kaiju_sim.incidents.faults.rollout import groups_of, with_slower
from kaiju_sim.incidents.ledger import Outcome, churn_usd, ledger
from kaiju_sim.incidents.report import joined, latest
from kaiju_sim.incidents.response import drawn_s, lognormal, quantile_s
from kaiju_sim.incidents.signals import Reading, value
from kaiju_sim.incidents.watch import Watch
from kaiju_sim.scenario.parts.incidents import Detection
from kaiju_sim.steptime.curves import decode_ns, fixed_ns


def test_the_lognormal_goes_through_both_quantiles() -> None:
    rule = quick(900.0, 3600.0)
    assert quantile_s(rule, 0.5) == pytest.approx(900.0)
    assert quantile_s(rule, 0.99) == pytest.approx(3600.0)
    mu, sigma = lognormal(900.0, 3600.0)
    drawn = np.array([drawn_s(rule, seed, 0) for seed in range(4000)])
    mean = math.exp(mu + sigma**2 / 2)
    assert drawn.mean() == pytest.approx(mean, rel=0.05)
    assert (drawn < 3600).mean() == pytest.approx(0.99, abs=0.006)
    assert drawn_s(rule, 1, 0) != drawn_s(rule, 1, 1)


def reading(at_s: float, prompt: int, cached: int) -> Reading:
    """Totals of tokens at an instant."""
    empty = np.zeros(0, np.int64)
    return Reading(round(at_s * 1e9), prompt, cached, 0, 0, 0, 0, empty, 0, 1, 0)


def test_an_alarm_rings_after_its_delay_and_holding_time() -> None:
    """The hit rate falls at 100 s; seen 15 s later, over half the window; held for 60 s."""
    rule = Detection(signal="prefix_hit_rate", below=0.6, window=60.0, delay=15.0, hold=60.0)
    watch, prompt, cached, rang, cleared = Watch(rule), 0, 0, None, None
    for step in range(80):
        at = step * 10.0
        watch.see(reading(at, prompt, cached))
        now = round(at * 1e9)
        rang = at if rang is None and watch.rings(now) else rang
        if rang is not None and cleared is None and watch.clear(now):
            cleared = at
        prompt += 1000
        cached += 200 if 100.0 <= at < 400.0 else 800
    # below 0.6 when over a third of the window is bad: 30 s of it, seen 20 s later on this grid
    assert rang == 100.0 + 30.0 + 20.0 + 60.0
    assert cleared == 400.0 + 40.0 + 20.0 + 60.0


def test_a_window_without_values_leaves_the_condition() -> None:
    watch = Watch(Detection(signal="prefix_hit_rate", below=0.6, window=10.0, delay=0.0, hold=10.0))
    for at, prompt, cached in ((0, 0, 0), (10, 100, 0), (20, 100, 0), (30, 100, 0)):
        watch.see(reading(at, prompt, cached))
    assert watch.bad
    assert watch.rings(30 * 10**9)


class Case(NamedTuple):
    """A signal, and what it has to be between two readings."""

    signal: Any
    truth: float | None


@pytest.mark.parametrize(
    "case",
    [
        Case("shed_share", 0.1),
        Case("error_share", 0.3),
        Case("waiting_per_replica", 5.0),
        Case("silent_replicas", 3.0),
        Case("block_share", 0.25),
        Case("prefix_hit_rate", None),
        Case("persona_score", 3.5),
    ],
)
def test_signals(case: Case) -> None:
    old = reading(0.0, 5, 5)._replace(arrived=100, shed=1, lost=2)
    new = reading(10.0, 5, 5)._replace(
        arrived=200, shed=11, lost=22, waiting=20, serving=4, silent=3, blocked=25
    )
    old, new = old.with_scores(42.0, 10), new.with_scores(56.0, 14)
    assert value(case.signal, old, new) == case.truth


def outcome(gpu: float, late: int, hurt: list[int]) -> Outcome:
    """What a run came to."""
    found: Arr = np.asarray(hurt)
    return Outcome(gpu, 0.5 * gpu, 3, 2, 1, late, 0, 0, found, 0.5)


def test_a_ledger_is_a_difference() -> None:
    """Users hurt anyhow are not counted; a sample of half the dialogues is doubled."""
    s = tiny(incident("midnight"), economics={"subscription": 10.0}, traffic={"paid_share": 0.2})
    found = ledger(s, s.incidents[0], outcome(12.0, 50, [1, 2, 3, 9]), outcome(10.0, 20, [9, 4]))
    assert found["gpu_usd"] == 2.0
    assert found["late_messages"] == 30
    assert found["shed_messages"] == found["lost_messages"] == 0
    assert found["affected_users"] == 6
    assert found["churn_usd"] == pytest.approx(6 * 0.2 * 0.001 * 12 * 10)
    assert found["total_usd"] == found["gpu_usd"] + found["churn_usd"]
    assert found["churn_usd_low"] < found["churn_usd"] < found["churn_usd_high"]


def test_assumptions_of_users_move_churn() -> None:
    s = tiny(incident("midnight", churn={"cancel_share": share(0.002)}))
    base = tiny(incident("midnight"))
    once, twice = (churn_usd(x, x.incidents[0], 100.0, "value") for x in (base, s))
    assert twice == pytest.approx(2 * once)


def share(x: float) -> dict[str, Any]:
    """An assumed share."""
    return {"value": x, "low": 0.0, "high": 1.0, "source": "test", "grade": "U"}


def test_replications_are_joined_with_intervals() -> None:
    rows = [
        [{"name": "x", "detected_s": t, "ledger": {"late": n}}] for t, n in ((1.0, 2), (3.0, 6))
    ]
    (entry,) = joined(rows)
    assert entry["detected_s"] == 2.0
    assert entry["ledger"]["late"] == 4.0
    assert entry["intervals"]["ledger.late"]["values"] == [2, 6]
    rows[1][0]["detected_s"] = None
    assert joined(rows)[0]["detected_s"] is None
    assert latest([1.0, None]) is None


def test_slower_groups_take_so_much_longer() -> None:
    from pathlib import Path

    from kaiju_sim.simulation import build_plant

    curves = build_plant(tiny(incident("bad_rollout")), Path()).step_time.curves
    both = with_slower(curves, 1.5)
    assert groups_of(both) == 2 * groups_of(curves) == 2
    for rows, context in ((1, 100), (16, 5000)):
        old = fixed_ns(curves, rows, rows) + decode_ns(curves, context, context // 2, rows)
        new = fixed_ns(both, rows, rows, 0, 1) + decode_ns(both, context, context // 2, rows, 1)
        assert new == pytest.approx(1.5 * old)
        assert fixed_ns(both, rows, rows, 0) == fixed_ns(curves, rows, rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"router": {"policy": "round_robin"}}, "has a table"),
        ({"run": {"warm_up": "auto"}}, "warm_up"),
        ({"incidents": [incident("table_loss", cells=[1])]}, "cells"),
        ({"incidents": [incident("replica_loss", fault={"share": 0.5})]}, "replicas or share"),
        ({"incidents": [incident("viral", fault={"character": 10_000})]}, "character"),
        ({"safety": {"pre": "none"}, "incidents": [incident("false_positives")]}, "safety.pre"),
        ({"incidents": [incident("persona_drift", fault={"drop": points(3.5)})]}, "less than 1"),
        ({"incidents": [incident("midnight"), incident("midnight")]}, "name of its own"),
        ({"incidents": [incident("midnight", detection=alarm(below=1.0))]}, "above or below"),
        (
            {
                "incidents": [incident("bad_rollout")],
                "steptime": {"kind": "constant", "step": 0.01},
            },
            "slowdown",
        ),
    ],
)
def test_mistakes_are_told(change: dict[str, Any], message: str) -> None:
    parts = dict(change)
    incidents = parts.pop("incidents", [incident("table_loss")])
    with pytest.raises(ValidationError, match=message):
        tiny(*incidents, **parts)


def test_drift_is_what_was_measured_on_the_operator() -> None:
    """Fits at 1; clips above, is coarse below; the guard sees what the output suffers from."""
    errors = [output_error(factor) for factor in (1.0, 1.41, 2.0, 4.0)]
    assert errors == sorted(errors)
    assert errors[0] < 0.05 < 0.2 < errors[2]
    assert kl_nats(1.0) == 0.0
    assert kl_nats(2.0) > kl_nats(1.41) > 0.1
    assert output_error(1.2) == pytest.approx(
        errors[0] + (errors[1] - errors[0]) * (1.2 - 1.0) / (1.41 - 1.0)
    )
    assert output_error(100.0) == table()["output_error"][-1]
