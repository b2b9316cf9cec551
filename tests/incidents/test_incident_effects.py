"""What each shipped incident does, direction and size, with intervals over replications.

At an eighth of `baseline`, and with people who are quick, so that it runs in seconds. Differences
are of runs with the same users; intervals are 95 % Student-t ones over the replications. Bounds are
asserted of the intervals' ends, not of means.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from fleet_runs import Columns, columns
from incidents_runs import STRIKES_S, eighth

from kaiju_sim.metrics.result import RunResult
from kaiju_sim.metrics.stats.intervals import Interval, interval, paired_difference
from kaiju_sim.scenario.parts.incidents import Detection
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import replicate

REPLICATIONS = 4
SCALED: dict[str, dict[str, Any]] = {
    "replica_loss": {"replicas": 1},
    "edit_storm": {"head": 25, "edits_per_minute": 40.0},
    "viral": {"character": 100, "surge": 3.0},
    "int8_drift": {"per_minute": 0.3, "warm": "cold"},
    "persona_drift": {"detection": Detection(signal="persona_score", below=3.9, window=180.0)},
}
"""What has a count or takes long, scaled too."""


@cache
def run(name: str, *overrides: str) -> RunResult:
    """A shipped incident on the small fleet, replicated."""
    return replicate(scenario(name, *overrides), REPLICATIONS)


def scenario(name: str, *overrides: str) -> Scenario:
    """The small fleet; a zone is a share of it as it is."""
    return eighth(name, *overrides, **({} if overrides == ("zone",) else SCALED.get(name, {})))


def entry(result: RunResult) -> dict[str, Any]:
    """The only incident of a run."""
    (found,) = result.summary["incidents"]
    return dict(found)


def counts(result: RunResult, key: str) -> list[float]:
    """An entry of the ledger, by replication."""
    return list(entry(result)["intervals"][f"ledger.{key}"]["values"])


def late(result: RunResult) -> list[float]:
    """The late messages that the incident brought, by replication."""
    return counts(result, "late_messages")


def share(result: RunResult, key: str = "late_messages") -> Interval:
    """An entry of the ledger per message sent in a replication."""
    sent = each(result, 0, 1e9, lambda c: float(c["measured"].sum()))
    return interval([n / m for n, m in zip(counts(result, key), sent, strict=True)])


def when(result: RunResult, key: str) -> Interval:
    """A moment of the incident; a failure where it never came."""
    return interval(entry(result)["intervals"][key]["values"])


def each(
    result: RunResult, start_s: float, stop_s: float, figure: Callable[[Columns], float]
) -> list[float]:
    """A figure of the messages sent in a span, by replication."""
    c = columns(result.requests)
    here = (c["arrival_s"] >= start_s) & (c["arrival_s"] < stop_s)
    rows = [here & (c["replication"] == number) for number in range(REPLICATIONS)]
    return [figure({name: column[mine] for name, column in c.items()}) for mine in rows]


def ended(c: Columns, start_s: float, stop_s: float) -> float:
    """How many answers ended in a span."""
    end = c["arrival_s"] + c["e2e_s"]
    return float(((end > start_s) & (end <= stop_s)).sum())


def hit_rate(result: RunResult, start_s: float, stop_s: float) -> Interval:
    """Cached / prompt tokens of answered messages sent in a span."""

    def of(c: Columns) -> float:
        done = c["status"] == "completed"
        return float(c["cached_tokens"][done].sum() / c["prompt_tokens"][done].sum())

    return interval(each(result, start_s, stop_s, of))


def rate(result: RunResult, start_s: float, stop_s: float) -> list[float]:
    """Messages sent a second, retries too, by replication."""
    return each(result, start_s, stop_s, lambda c: c["session"].size / (stop_s - start_s))


def ratio(over: list[float], under: list[float]) -> Interval:
    """One figure over another, replication by replication."""
    return interval([a / b for a, b in zip(over, under, strict=True)])


def test_table_loss_makes_an_overload_until_it_is_rebuilt() -> None:
    """Without a table four fifths of the cache are worth nothing: prefill load is over thrice."""
    result = run("table_loss")
    before, during = (
        [1 - x for x in hit_rate(result, *span).values]
        for span in ((120, STRIKES_S), (STRIKES_S + 10, STRIKES_S + 100))
    )
    load = ratio(during, before)
    assert 2.5 < load.low < load.high < 5.0
    assert 0.2 < share(result).low < share(result).high < 0.4
    assert hit_rate(result, 700, 840).low > hit_rate(result, 120, STRIKES_S).low - 0.02  # and back
    assert when(result, "recovered_s").high < 660
    saved = paired_difference(late(run("table_loss", "ha-store")), late(result))
    assert saved.low > 0.7 * interval(late(result)).mean
    relearned = paired_difference(late(run("table_loss", "relearn")), late(result))
    assert relearned.low > 0.2 * interval(late(result)).mean


def test_lost_replicas_fail_what_they_held_and_a_zone_is_worse() -> None:
    node, zone = run("replica_loss"), run("replica_loss", "zone")
    for result, least in ((node, 0.02), (zone, 0.5)):
        assert interval(counts(result, "lost_messages")).low > 100
        assert share(result).low > least
        # replaced after people and the fleet's delays: provisioning 180 s, loading 120 s
        times = entry(result)
        assert times["recovered_s"] - times["acted_s"] >= 300
    assert paired_difference(late(node), late(zone)).low > 20_000


def test_a_cold_restart_costs_far_more_than_its_minute() -> None:
    result = run("cold_restart")
    assert interval(counts(result, "lost_messages")).low > 500
    assert 0.1 < share(result).low < share(result).high < 0.3
    assert hit_rate(result, STRIKES_S + 60, STRIKES_S + 90).high < 0.3
    assert when(result, "recovered_s").low - STRIKES_S > 150


def test_impatient_clients_keep_an_outage_alive_until_they_leave() -> None:
    """20 s after the fleet is up again it has over four times its load, and answers nearly nobody.

    With pauses that grow, load stays near what it was, and most users stay.
    """
    storm, patient, budget = (run("retry_storm", *way) for way in ((), ("patient",), ("budget",)))
    span, before = (STRIKES_S + 30, STRIKES_S + 60), (120, STRIKES_S)
    assert ratio(rate(storm, *span), rate(storm, *before)).low > 4.0
    assert ratio(rate(patient, *span), rate(patient, *before)).high < 1.6
    assert ratio(rate(budget, *span), rate(budget, *before)).high < 0.8
    answered = each(storm, *span, lambda c: float((c["status"] == "completed").mean()))
    assert interval(answered).high < 0.05
    kept = {
        name: ratio(rate(result, 700, 840), rate(result, *before))
        for name, result in (("storm", storm), ("patient", patient), ("budget", budget))
    }
    assert kept["storm"].high < 0.5 < kept["budget"].low < kept["budget"].high < kept["patient"].low
    given_up = {n: counts(r, "given_up_messages") for n, r in (("s", storm), ("b", budget))}
    assert paired_difference(given_up["b"], given_up["s"]).low > 40_000


def test_version_pinning_takes_the_harm_out_of_an_edit_storm() -> None:
    pinned, free = run("edit_storm"), run("edit_storm", "no-version-pinning")
    assert entry(pinned)["detected_s"] is None
    assert share(pinned).high < 0.01
    assert share(free).low > 0.08
    lost = paired_difference(hit_rate(free, 300, 450).values, hit_rate(pinned, 300, 450).values)
    assert 0.05 < lost.low < lost.high < 0.3
    assert when(free, "detected_s").high < STRIKES_S + 240


def test_a_bad_rollout_is_felt_until_it_is_rolled_back() -> None:
    result = run("bad_rollout")
    assert 0.03 < share(result).low < share(result).high < 0.2
    assert when(result, "acted_s").high < when(result, "recovered_s").low
    lost = paired_difference(
        hit_rate(result, 250, 400).values, hit_rate(result, 120, STRIKES_S).values
    )
    assert lost.low > 0.03  # caches are lost wave by wave


def test_midnight_voids_all_caches_unless_prompts_have_no_date() -> None:
    result = run("midnight")
    assert hit_rate(result, 120, STRIKES_S).low > 0.75
    assert hit_rate(result, STRIKES_S, STRIKES_S + 30).high < 0.2
    assert 0.1 < share(result).low < share(result).high < 0.3
    assert late(run("midnight", "no-date")) == [0] * REPLICATIONS


def test_a_viral_character_rushes_in_and_needs_copies() -> None:
    """New dialogues come three times as often, half of them with one character nobody knew.

    Replication of hot characters nearly carries it; one copy of each does not.
    """
    copies, one = run("viral"), run("viral", "one-copy")
    before, after = (120.0, STRIKES_S), (STRIKES_S, STRIKES_S + 120)

    def fresh(c: Columns) -> Any:
        return (c["turn"] == 0) & (c["attempt"] == 0) & (c["swipe"] == 0)

    new = [each(copies, *span, lambda c: float(fresh(c).sum())) for span in (before, after)]
    assert 2.4 < ratio(new[1], new[0]).low < ratio(new[1], new[0]).high < 3.6

    def viral(c: Columns) -> float:
        return float((c["character"][fresh(c)] == 100).mean())

    assert interval(each(copies, *before, viral)).high < 0.01
    shares = interval(each(copies, *after, viral))
    assert 0.4 < shares.low < 0.5 < shares.high < 0.6
    assert share(one).low > 0.2
    assert paired_difference(late(copies), late(one)).low > 15_000
    found = paired_difference(hit_rate(one, 600, 840).values, hit_rate(copies, 600, 840).values)
    assert found.low > 0.04


@pytest.mark.parametrize("name", ["cold_restart"])
def test_a_fixed_fleet_costs_the_same(name: str) -> None:
    found = entry(run(name))
    assert found["fleet"] == "fixed"
    assert found["ledger"]["gpu_usd"] == 0.0
    assert found["ledger"]["total_usd"] == found["ledger"]["churn_usd"] > 0


def test_a_classifier_that_rates_too_high_refuses_the_harmless() -> None:
    result = run("false_positives")
    wrongly = share(result, "wrongly_refused_messages")
    assert 0.005 < wrongly.low < wrongly.high < 0.1
    assert when(result, "detected_s").high < STRIKES_S + 240
    assert interval(counts(result, "affected_users")).low > 100
    assert abs(share(result).mean) < 0.01


def test_a_shard_whose_scales_drift_answers_wrongly_until_it_is_drained() -> None:
    """One of seven shards; nothing is slower before the drain, so only the guard can see it."""
    result = run("int8_drift")
    wrong = share(result, "wrong_answers")
    assert 0.005 < wrong.low < wrong.high < 0.1
    assert when(result, "detected_s").low > STRIKES_S
    assert when(result, "recovered_s").high < 840
    assert interval(counts(result, "affected_users")).low > 100
    assert hit_rate(result, STRIKES_S, 400).low > 0.78


def test_a_requantised_checkpoint_slips_until_the_flag_is_flipped_back() -> None:
    """0.6 points of 5 less: a seventh of its answers fall under 3; a judge sees it in minutes.

    0.1 points less are never seen; the caches of the other checkpoint are lost all the same.
    """
    result, small = run("persona_drift"), run("persona_drift", "small-drop")
    worst = interval(entry(result)["intervals"]["signal_worst"]["values"])
    assert 3.3 < worst.low < worst.high < 3.9
    acted = when(result, "acted_s")
    assert when(result, "detected_s").high < 480 < acted.high < 660
    answered = [
        each(result, 0.0, 1e9, lambda c, until=until: ended(c, STRIKES_S, until))[number]
        for number, until in enumerate(acted.values)
    ]
    slipped = ratio(counts(result, "wrong_answers"), answered)
    # 15.6 %: N(4.30, 0.695) is under 3 in 3.1 % of all answers, N(3.62, 0.695) in 18.6 %
    assert 0.14 < slipped.low < slipped.high < 0.17
    assert when(result, "recovered_s").low > acted.low
    assert entry(small)["detected_s"] is None
    assert interval(counts(small, "wrong_answers")).low > 0
    assert hit_rate(result, STRIKES_S + 10, STRIKES_S + 60).high < 0.5
