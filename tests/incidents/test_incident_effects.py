"""What each shipped incident does, direction and size, with intervals over replications.

At an eighth of `baseline`, and with people who are quick, so that it runs in seconds. Differences
are of runs with the same users; intervals are 95 % Student-t ones over the replications.
"""

from functools import cache
from typing import Any

import pytest
from fleet_runs import columns
from incidents_runs import STRIKES_S, eighth

from kaiju_sim.metrics.result import RunResult
from kaiju_sim.metrics.stats.intervals import paired_difference
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import replicate

REPLICATIONS = 4


@cache
def run(name: str, *overrides: str, **changes: Any) -> RunResult:
    """A shipped incident, replicated."""
    return replicate(scenario(name, *overrides, **changes), REPLICATIONS)


def scenario(name: str, *overrides: str, **changes: Any) -> Scenario:
    """The small fleet; what has a count is scaled too."""
    scaled: dict[str, dict[str, Any]] = {
        "replica_loss": {"replicas": 1} if overrides != ("zone",) else {},
        "edit_storm": {"head": 25, "edits_per_minute": 40.0},
        "viral": {"character": 100, "surge": 1.5},
    }
    return eighth(name, *overrides, **{**scaled.get(name, {}), **changes})


def entry(result: RunResult) -> dict[str, Any]:
    """The only incident of a run."""
    (found,) = result.summary["incidents"]
    return dict(found)


def late_share(result: RunResult) -> Any:
    """Interval of the late messages that the incident brought, per message sent."""
    found = entry(result)["intervals"]["ledger.late_messages"]
    arrived = result.summary["requests.arrived"]
    return {end: found[end] / arrived for end in ("low", "mean", "high")}


def late(result: RunResult) -> list[float]:
    """The same count, by replication."""
    return list(entry(result)["intervals"]["ledger.late_messages"]["values"])


def hit_rate(result: RunResult, start_s: float, stop_s: float) -> float:
    """Cached / prompt tokens of messages sent in a span, all replications."""
    c = columns(result.requests)
    mine = (c["arrival_s"] >= start_s) & (c["arrival_s"] < stop_s) & (c["status"] == "completed")
    return float(c["cached_tokens"][mine].sum() / c["prompt_tokens"][mine].sum())


def test_table_loss_makes_an_overload_until_it_is_rebuilt() -> None:
    """Without a table four fifths of the cache are worth nothing: prefill load is over thrice."""
    result = run("table_loss")
    before = hit_rate(result, 120, STRIKES_S)
    during = hit_rate(result, STRIKES_S + 10, STRIKES_S + 100)
    load = (1 - during) / (1 - before)
    assert 0.75 < before < 0.85
    assert 2.5 < load < 5.0
    share = late_share(result)
    assert 0.2 < share["low"] < share["high"] < 0.4
    assert hit_rate(result, 700, 840) > before - 0.05  # and back
    assert entry(result)["recovered_s"] < 660


def test_a_second_copy_of_the_table_saves_most_of_it() -> None:
    saved = paired_difference(late(run("table_loss", "ha-store")), late(run("table_loss")))
    mean = entry(run("table_loss"))["ledger"]["late_messages"]
    assert saved.low > 0.7 * mean
    relearned = paired_difference(late(run("table_loss", "relearn")), late(run("table_loss")))
    assert relearned.low > 0.2 * mean


def test_lost_replicas_fail_what_they_held_and_a_zone_is_worse() -> None:
    node, zone = run("replica_loss"), run("replica_loss", "zone")
    for result, least in ((node, 0.02), (zone, 0.5)):
        assert entry(result)["intervals"]["ledger.lost_messages"]["low"] > 100
        assert late_share(result)["low"] > least
        # replaced after people and the fleet's delays: provisioning 180 s, loading 120 s
        times = entry(result)
        assert times["recovered_s"] - times["acted_s"] >= 300
    assert paired_difference(late(node), late(zone)).low > 20_000


def test_a_cold_restart_costs_far_more_than_its_minute() -> None:
    result = run("cold_restart")
    assert entry(result)["intervals"]["ledger.lost_messages"]["low"] > 500
    assert 0.1 < late_share(result)["low"] < late_share(result)["high"] < 0.3
    assert hit_rate(result, STRIKES_S + 60, STRIKES_S + 90) < 0.3
    assert entry(result)["intervals"]["recovered_s"]["low"] - STRIKES_S > 150


def test_version_pinning_takes_the_harm_out_of_an_edit_storm() -> None:
    pinned, free = run("edit_storm"), run("edit_storm", "no-version-pinning")
    assert entry(pinned)["detected_s"] is None
    assert late_share(pinned)["high"] < 0.01
    assert late_share(free)["low"] > 0.1
    assert hit_rate(pinned, 300, 700) - hit_rate(free, 300, 700) > 0.07


def test_a_bad_rollout_is_felt_until_it_is_rolled_back() -> None:
    result = run("bad_rollout")
    found = late_share(result)
    assert 0.03 < found["low"] < found["high"] < 0.2
    assert entry(result)["intervals"]["acted_s"]["high"] < entry(result)["recovered_s"]


def test_midnight_voids_all_caches_unless_prompts_have_no_date() -> None:
    result = run("midnight")
    assert hit_rate(result, STRIKES_S, STRIKES_S + 30) < 0.2
    assert 0.1 < late_share(result)["low"] < late_share(result)["high"] < 0.3
    assert late(run("midnight", "no-date")) == [0] * REPLICATIONS


def test_a_viral_character_needs_copies() -> None:
    """Replication of hot characters carries it; one copy for each does not."""
    many = [r["signal_worst"] for r in (entry(run("viral")), entry(run("viral", "one-copy")))]
    assert many[0] < many[1]


@pytest.mark.parametrize("name", ["table_loss", "replica_loss", "cold_restart"])
def test_a_fixed_fleet_costs_the_same(name: str) -> None:
    found = entry(run(name))
    assert found["fleet"] == "fixed"
    assert found["ledger"]["gpu_usd"] == 0.0
    assert found["ledger"]["total_usd"] == found["ledger"]["churn_usd"] > 0


def test_a_classifier_that_rates_too_high_refuses_the_harmless() -> None:
    result = run("false_positives")
    found = entry(result)
    wrongly = found["intervals"]["ledger.wrongly_refused_messages"]
    assert found["detected_s"] is not None
    assert 0.005 < wrongly["low"] / result.summary["requests.arrived"] < 0.1
    assert found["intervals"]["ledger.affected_users"]["low"] > 100
    assert abs(found["ledger"]["late_messages"]) < 0.01 * result.summary["requests.arrived"]


def test_a_shard_whose_scales_drift_answers_wrongly_until_it_is_drained() -> None:
    """One of seven shards; nothing is slower before the drain, so only the guard can see it."""
    result = run("int8_drift", per_minute=0.3)
    found = entry(result)
    assert found["detected_s"] is not None
    assert found["recovered_s"] is not None
    wrong = found["intervals"]["ledger.wrong_answers"]
    assert 0.005 < wrong["low"] / result.summary["requests.arrived"] < 0.1
    assert found["intervals"]["ledger.affected_users"]["low"] > 100
