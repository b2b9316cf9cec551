"""The steps of the runbook, what is off, and what repeats."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from fleet_runs import same
from incidents_runs import FAULTS, alarm, incident, tiny

from kaiju_sim.metrics.result import RunResult
from kaiju_sim.report.console import print_summary
from kaiju_sim.report.glossary import undocumented
from kaiju_sim.report.rundir import write_run
from kaiju_sim.simulation import replicate, simulate

STEPS = ("detect", "page", "act", "verify")


def steps_of(result: RunResult) -> list[tuple[float, str]]:
    """Time and first word of what an incident has told."""
    rows = [row for row in result.events.to_pylist() if row["kind"] == "incident"]
    return [(row["time_s"], row["detail"].split(":")[0]) for row in rows]


def test_the_four_steps_stand_in_the_events() -> None:
    result = simulate(tiny(incident("cold_restart")))
    (entry,) = result.summary["incidents"]
    steps = steps_of(result)
    assert tuple(word for _, word in steps) == STEPS
    times = [entry[key] for key in ("detected_s", "triaged_s", "acted_s", "recovered_s")]
    assert [time for time, _ in steps] == pytest.approx(times)
    assert 6.05 < times[0] < times[1] < times[2] < times[3]
    share = (times[1] - times[0]) / (times[2] - times[0])
    assert share == pytest.approx(0.3)  # paging and triage


def test_the_alarm_comes_of_the_signal_not_of_the_fault() -> None:
    """A threshold that is never crossed is never seen; one that always is rings falsely before."""
    blind = incident("cold_restart", detection=alarm(above=1e6))
    (entry,) = simulate(tiny(blind)).summary["incidents"]
    assert entry["detected_s"] is entry["acted_s"] is entry["recovered_s"] is None
    assert entry["ledger"]["late_messages"] > 0  # it happened all the same
    nervous = incident("cold_restart", detection=alarm(above=0.0))
    result = simulate(tiny(nervous))
    (entry,) = result.summary["incidents"]
    assert entry["false_alarms"] == 1
    assert entry["detected_s"] is None  # it has been ringing all the time
    assert "false alarm" in [word for _, word in steps_of(result)]


@pytest.mark.parametrize(("key", "more_s"), [("delay", 1.0), ("hold", 0.5), ("late", 1.5)])
def test_delays_of_the_alarm_delay_detection(key: str, more_s: float) -> None:
    def detected(**rule: Any) -> float:
        struck = incident("cold_restart", detection=alarm(**rule), fault={"down": 4.0})
        return float(simulate(tiny(struck)).summary["incidents"][0]["detected_s"])

    old = {"delay": 0.2, "hold": 0.5, "late": 0.0}[key]
    assert detected(**{key: old + more_s}) == pytest.approx(detected() + more_s)


def test_later_detection_is_priced_beside() -> None:
    struck = incident("table_loss", fault={"meanwhile": "spread"}, delays=[1.0, 3.0])
    slow = tiny(struck | {"detection": alarm(signal="prefix_hit_rate", above=None, below=0.6)})
    (entry,) = simulate(slow).summary["incidents"]
    curve = entry["detection_delay"]
    assert [point["late_s"] for point in curve] == [0.0, 1.0, 3.0]
    first = curve[0]["detected_s"]
    assert [point["detected_s"] - first for point in curve] == pytest.approx([0.0, 1.0, 3.0])
    assert curve[0]["ledger"] == entry["ledger"]
    assert [point["recovered_s"] for point in curve] == sorted(p["recovered_s"] for p in curve)


@pytest.mark.parametrize("kind", FAULTS)
def test_an_incident_that_is_off_changes_no_byte(kind: str, tmp_path: Path) -> None:
    off = tiny(incident(kind, enabled=False))
    quiet = off.model_copy(update={"incidents": ()})
    for name, scenario in (("quiet", quiet), ("off", off)):
        write_run(simulate(scenario), "name: same\n", {}, tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "quiet").iterdir())
    assert "summary.json" in files
    for file in files:
        assert (tmp_path / "quiet" / file).read_bytes() == (tmp_path / "off" / file).read_bytes()


def test_nothing_differs_before_the_fault() -> None:
    """The same users: an incident changes nothing that came before it."""
    rows = [
        [r for r in simulate(s).requests.to_pylist() if (r["arrival_s"] + (r["e2e_s"] or 99)) < 6]
        for s in (tiny(), tiny(incident("cold_restart"), incident("edit_storm")))
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) > 50


def test_workers_change_no_byte(tmp_path: Path) -> None:
    struck = incident("replica_loss", delays=[1.0]), incident("persona_drift", at=7.0)
    scenario = tiny(*struck, fleet={"cells": 2}, traffic={"messages_per_s": 40.0})
    one, two = (replicate(scenario, 2, workers=workers) for workers in (1, 2))
    same(one, two)
    for name, result in (("one", one), ("two", two)):
        write_run(result, "name: same\n", {}, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_midnight_is_what_the_clock_does_by_itself() -> None:
    """The fault at 8 s, and a scenario that begins 8 s before midnight: the same messages."""
    day = {"shape": [1.0] * 24}
    fault = tiny(incident("midnight", at=8.0), traffic={"diurnal": {**day, "start_hour": 0.0}})
    clock, noon = (
        tiny(traffic={"diurnal": {**day, "start_hour": hour}}) for hour in (24 - 8 / 3600, 12.0)
    )
    assert simulate(fault).requests.equals(simulate(clock).requests)
    rates = [simulate(s).summary["prefix_hit_rate"] for s in (clock, noon)]
    assert rates[0] < rates[1]


def test_an_autoscaled_fleet_orders_more_and_pays_for_it() -> None:
    """The rush of a viral character makes it order; a fixed fleet pays nothing more."""
    rush = incident("viral", fault={"surge": 6.0, "lasts": 6.0})
    rule = {"target": 3.0, "min": 4, "max": 16, "interval": 0.5, "scale_in_delay": 2.0}
    found = [
        simulate(tiny(rush, fleet=fleet)).summary["incidents"][0]
        for fleet in ({"autoscale": rule}, {})
    ]
    assert [entry["fleet"] for entry in found] == ["autoscaled", "fixed"]
    scaled, fixed = (entry["ledger"] for entry in found)
    assert scaled["gpu_usd"] > 0 == fixed["gpu_usd"]
    assert scaled["total_usd"] == scaled["gpu_usd"] + scaled["churn_usd"]


def test_only_the_cells_that_are_named_are_struck() -> None:
    scenario = tiny(incident("cold_restart", cells=[1]), fleet={"cells": 2})
    told = [r for r in simulate(scenario).events.to_pylist() if r["kind"] == "fault"]
    assert {row["subject"] for row in told} == {"cell 1"}


def test_the_summary_has_the_keys_that_are_asked_for() -> None:
    result = replicate(tiny(incident("replica_loss"), incident("midnight", at=9.0)), 3)
    entries = json.loads(json.dumps(result.summary["incidents"]))
    assert undocumented(result.summary) == []
    ledger = (
        *("gpu_usd", "shed_messages", "late_messages", "wrongly_refused_messages"),
        *("affected_users", "churn_usd", "total_usd"),
    )
    for entry in entries:
        assert entry["fleet"] == "fixed"
        assert {"name", "detected_s", "recovered_s"} <= entry.keys()
        for key in ledger:
            found = entry["intervals"][f"ledger.{key}"]
            assert found["low"] <= entry["ledger"][key] <= found["high"]
            assert len(found["values"]) == 3


def test_the_page_and_the_report_show_the_ledger(tmp_path: Path) -> None:
    result = replicate(tiny(incident("cold_restart", delays=[1.0])), 2)
    page = io.StringIO()
    print_summary(result.summary, page, "test", result.intervals)
    run = write_run(result, "name: test\nseed: 1\n", {}, tmp_path / "run", report=True)
    report = (run / "report.html").read_text(encoding="utf-8")
    for text in (page.getvalue(), report):
        assert "cold_restart at 6.05 (fixed fleet)" in text
        assert "noticed later by" in text
    assert "by how much later it is noticed" in report
    quiet = simulate(tiny())
    page = io.StringIO()
    print_summary(quiet.summary, page)
    assert "incident" not in page.getvalue()
