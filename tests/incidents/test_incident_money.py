"""What an incident costs, and which assumption about users moves it, without another run."""

import pytest
from incidents_runs import incident, tiny

from kaiju_sim.economics.ranges import INCIDENTS, ranges_of, service_figures
from kaiju_sim.economics.sheet import sheet_of
from kaiju_sim.report.money.rests import rest_tables
from kaiju_sim.simulation import simulate


def test_the_total_is_the_ledgers_and_moves_with_every_assumption_about_users() -> None:
    here = tiny(incident("replica_loss"), incident("cold_restart", at=12.05))
    summary = simulate(here).summary
    sheet = sheet_of(here, summary, indices=False)
    for number, entry in enumerate(summary["incidents"]):
        row = sheet["incidents"][number]
        assert row["name"] == entry["name"]
        assert row["stated"] == pytest.approx(entry["ledger"]["total_usd"])
        churn = f"incidents[{number}].churn."
        bars = {bar["name"]: bar for bar in row["tornado"]}
        assert entry["ledger"]["affected_users"] > 0
        assert bars.keys() == {
            *("users.subscribers_per_daily_user", "users.subscription_usd_per_month"),
            *(f"{churn}cancel_share", f"{churn}months"),
        }
        share = bars[f"{churn}cancel_share"]
        gpu = entry["ledger"]["gpu_usd"]
        assert share["at_high"] - gpu == pytest.approx(100 * (share["at_low"] - gpu))
        assert f"{churn}months" in sheet["assumed_besides"]
    assert [w.title for w in rest_tables(sheet)][-1] == "What moves the cost of incidents"


def test_simulated_ranges_show_what_people_are_worth() -> None:
    here = tiny(incident("replica_loss"))
    assert "incidents[0].response.mttr_p50_s.value" in ranges_of(here)
    summary = simulate(here).summary
    found = service_figures(summary)
    (entry,) = summary["incidents"]
    for name in INCIDENTS:
        assert found[f"incidents.{name}"] == entry["ledger"][name]
    assert "incidents.total_usd" not in service_figures({"ttft_s.p50": 1.0})


def test_an_incident_that_is_turned_off_costs_nothing_and_assumes_nothing() -> None:
    here = tiny(incident("replica_loss", enabled=False))
    sheet = sheet_of(here, simulate(here).summary, indices=False)
    assert sheet["incidents"] == []
    assert sheet["assumed_besides"] == {}
