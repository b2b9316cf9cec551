"""Burn-rate alerts: when they fire, and how often in vain by model, by draw and in a simulation."""

import io
from pathlib import Path

import numpy as np
import pytest
from evals_small import small

from kaiju_sim.metrics.levels.burn import episodes, false_alarm, firing, over
from kaiju_sim.report.console import print_summary
from kaiju_sim.report.html import write_report
from kaiju_sim.report.levels.tables import alert_tables, small_share
from kaiju_sim.report.rundir import write_run
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import replicate, simulate


def test_both_windows_must_burn() -> None:
    total = np.full(60, 100)
    bad = np.zeros(60, int)
    bad[30:33] = 50
    fires = firing(total, bad, 12, 2, 0.1)
    assert fires.any()
    assert np.flatnonzero(fires).tolist() == [32, 33]  # the long one is over 0.1 from here on
    assert not fires[:31].any()
    assert episodes(fires) == 1
    assert episodes(np.array([True, False, True, True])) == 2


def test_windows_reach_back_to_the_start_at_most() -> None:
    assert over(np.arange(5), 3).tolist() == [0, 1, 3, 6, 9]


def test_nothing_seen_does_not_burn() -> None:
    assert not firing(np.zeros(10, int), np.zeros(10, int), 5, 1, 0.01).any()


@pytest.mark.parametrize(("rate", "p", "threshold"), [(8, 0.02, 0.06), (30, 0.01, 0.03)])
def test_the_models_false_alarms_are_those_of_independent_messages(
    rate: int, p: float, threshold: float
) -> None:
    short, long, bins = 3, 12, 400_000
    total = np.full(bins, rate)
    bad = np.random.default_rng(7).binomial(rate, p, bins)
    share = float(firing(total, bad, long, short, threshold)[long:].mean())
    expected = false_alarm(short * rate, long * rate, p, threshold)
    assert expected > 1e-4
    runs = share * bins / long  # windows that overlap are about one trial
    assert share == pytest.approx(expected, rel=5 / max(1.0, runs) ** 0.5)


def test_the_model_at_its_ends() -> None:
    assert false_alarm(100, 1000, 0.0, 0.01) == 0.0
    assert false_alarm(100, 1000, 1.0, 0.01) == 1.0
    assert false_alarm(0, 0, 0.5, 0.01) == 0.0
    assert false_alarm(3e5, 3.6e6, 1e-3, 14.4e-3) < 1e-100
    assert false_alarm(5, 60, 1e-3, 14.4e-3) == pytest.approx(1 - 0.999**5)


ALERTS = {"target": 0.99, "scale": 0.05, "every": 60.0, "indicator": "attainment"}


def with_alerts(**slo: object) -> Scenario:
    return small(slo={"ttft": 2.5, "tpot": 0.05, "alerts": ALERTS} | slo)


def test_a_healthy_fleet_raises_none_and_one_that_misses_its_objective_does() -> None:
    calm = simulate(with_alerts())
    assert calm.summary["slo.alert.fast.fired"] == 0
    assert calm.summary["slo.alert.fast.first_s"] is None
    assert "alert" not in calm.events["kind"].to_pylist()
    missed = simulate(with_alerts(tpot=0.001))
    assert missed.summary["slo.attainment"] < 0.5
    assert missed.summary["slo.alert.fast.fired"] == 1
    assert missed.summary["slo.alert.fast.firing_share"] > 0.9
    rows = missed.events.to_pylist()
    assert {row["subject"] for row in rows if row["kind"] == "alert"} == {"fast", "slow"}


def test_false_alarms_are_measured_on_replications() -> None:
    result = replicate(with_alerts(), 3)
    assert result.summary["slo.alert.fast.firing_share"] == 0.0
    assert result.summary["slo.alert.fast.false_alarm"] < 1e-6
    assert result.summary["slo.alert.fast.false_alarm_at_target"] < 0.05


def test_alerts_that_are_not_stated_are_null_and_change_nothing() -> None:
    plain, stated = simulate(small()), simulate(with_alerts())
    assert plain.summary["slo.alert.fast.fired"] is None
    same = [k for k in plain.summary if not k.startswith("slo.alert.")]
    assert [plain.summary[k] for k in same] == [stated.summary[k] for k in same]


def test_the_persona_score_of_the_served_model_is_a_service_level() -> None:
    s = small()
    assert simulate(s).summary["slo.persona"] is None
    persona = s.evals.persona.model_copy(update={"served": True})
    s = s.model_copy(update={"evals": s.evals.model_copy(update={"persona": persona})})
    assert simulate(s).summary["slo.persona"] == pytest.approx(4.2, abs=0.4)


def test_alerts_and_their_false_alarms_stand_on_both_pages(tmp_path: Path) -> None:
    shown = {}
    for name, scenario in {"calm": with_alerts(), "missed": with_alerts(tpot=0.001)}.items():
        result = simulate(scenario)
        out = io.StringIO()
        print_summary(result.summary, out)
        write_run(result, "name: alerts\n", {}, tmp_path / name)
        report = write_report(tmp_path / name).read_text(encoding="utf-8")
        assert "<h2>Burn-rate alerts</h2>" in report
        (row,) = [line.split() for line in out.getvalue().splitlines() if line.startswith("fast")]
        shown[name] = row
        assert "false alarms" in report
    assert shown["calm"][1:5] == ["0", "never", "0.0", "%"]
    assert shown["missed"][1] == "1"
    assert "never" not in shown["missed"]
    plain = io.StringIO()
    print_summary(simulate(small()).summary, plain)
    assert "alert" not in plain.getvalue()


def test_of_replications_the_mean_and_its_half_interval_are_shown() -> None:
    one = {f"slo.alert.fast.{k}": v for k, v in {"fired": 0.5, "first_s": None}.items()}
    (words,) = alert_tables(one, {"slo.alert.fast.fired": {"half_width": 0.25}})
    assert words.rows[0][1:3] == ("0.500 ±0.25", "in some runs")
    assert words.rows[1][1:3] == ("–", "never")


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0.0, "0.0 %"), (0.5, "50.0 %"), (2.5e-4, "0.025 %"), (1e-40, "< 1e-10 %")],
)
def test_small_shares_keep_their_digits(share: float | None, text: str) -> None:
    assert small_share(share) == text
