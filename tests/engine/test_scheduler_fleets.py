"""Whole fleets under every scheduling rule: the two loops agree, and the rules do what they say."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from fleet_runs import cells_of, columns, constant, same, scenario_of

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

POLICIES = ("decode_first", "prefill_first", "ttft_aware")
PRIORITIES = ("none", "paid_first", "deadline")


def tight(**engine: Any) -> Scenario:
    """Two replicas with far too little KV memory, two tiers, objectives near what is possible."""
    return scenario_of(
        {
            "run": {"horizon": 5.0},
            "traffic": {
                "kind": "sessions",
                "messages_per_s": 40.0,
                "paid_share": 0.3,
                "sessions": {
                    "live": 20,
                    "turns": {"kind": "geometric", "mean": 4},
                    "think": {"kind": "exponential", "mean": 0.3},
                    "user_tokens": {"kind": "uniform", "min": 1, "max": 20},
                },
                "output_tokens": {"kind": "geometric", "mean": 40},
            },
            "characters": {"count": 3, "definition_tokens": constant(20)},
            "prompt": {"limit": 150, "truncation_step": 40},
            "fleet": {"replicas": 2},
            "router": {"queue": engine.pop("queue", "replica")},
            "engine": {"max_seqs": 16, "token_budget": 48, "max_context": 240, **engine},
            "kv": {"block_tokens": 4, "global_blocks": 100, "local_windows": 12},
            "slo": {"ttft": 0.6, "paid_ttft": 0.2, "tpot": 0.0063},
        }
    )


RULES = [
    {"policy": policy, "priority": priority, "queue": queue, "queue_limit": limit, "shed": shed}
    for (policy, priority), (queue, limit, shed) in zip(
        product(POLICIES, PRIORITIES),
        [
            ("replica", None, "late"),
            ("central", 6, "none"),
            ("replica", 3, "late"),
            ("central", None, "late"),
            ("replica", 2, "none"),
            ("central", 4, "late"),
            ("replica", 5, "late"),
            ("central", None, "none"),
            ("replica", None, "none"),
        ],
        strict=True,
    )
]


@pytest.mark.parametrize("rules", RULES, ids=lambda r: "-".join(str(v) for v in r.values()))
def test_compiled_equals_reference(rules: dict[str, Any]) -> None:
    """Each policy with each priority, under memory pressure, with and without shedding."""
    scenario = tight(**rules)
    result = simulate(scenario)
    s = result.summary
    assert s["realised.preemptions"] > 10
    shedding = rules["queue_limit"] is not None or rules["shed"] == "late"
    assert (s["requests.shed"] > 10) == shedding
    same(result, simulate(scenario, engine="reference"))


def test_a_shed_message_has_one_row_no_times_and_an_infinite_rank() -> None:
    scenario = tight(queue_limit=2)
    result = simulate(scenario)
    s, c = result.summary, columns(result.requests)
    shed = c["status"] == "shed"
    assert s["requests.shed"] == shed.sum() > 10
    assert s["requests.completed"] + s["requests.shed"] == s["requests.arrived"] == shed.size
    assert s["ttft_s.count_inf"] == s["requests.shed"]
    for name in ("queue_s", "ttft_s", "e2e_s"):
        assert all(value is None or value != value for value in c[name][shed])
    assert s["ttft_s.p99"] is None
    replicas = cells_of(scenario)[0].states["replicas"]
    assert (replicas["arrived"] == replicas["done"] + replicas["turned"]).all()


def most_waiting(arrival: Any, admit: Any) -> int:
    """The most messages that waited at once: arrivals of an instant before admissions."""
    times = np.concatenate([arrival, admit])
    change = np.repeat([1, -1], [arrival.size, admit.size])
    return int(np.cumsum(change[np.lexsort((-change, times))]).max())


@pytest.mark.parametrize("queue", ["replica", "central"])
def test_no_more_than_the_bound_wait(queue: str) -> None:
    """At each place, at any time (with memory for all: a preempted message would come on top)."""
    roomy = tight(queue_limit=3, queue=queue).model_dump()
    roomy["kv"] |= {"global_blocks": 2000, "local_windows": 100}
    roomy["engine"]["max_seqs"] = 2
    scenario = Scenario.model_validate(roomy)
    result = simulate(scenario)
    assert result.summary["requests.shed"] > 20
    log = cells_of(scenario)[0].log
    log = log[log["status"] == 0]
    for k in range(1 if queue == "central" else 2):
        mine = log[(log["replica"] == k) | (queue == "central")]
        assert most_waiting(mine["arrival"], mine["admit"]) == 3


def test_who_is_not_shed_as_late_is_answered_in_time() -> None:
    """One message at a time, service known: shedding late ones leaves only those in time."""
    scenario = scenario_of(
        {
            "run": {"horizon": 200.0},
            "traffic": {
                "messages_per_s": 25.0,
                "output_tokens": constant(4),
                "sessions": {"user_tokens": constant(1)},
            },
            "characters": {"count": 1, "definition_tokens": constant(0)},
            "engine": {"max_seqs": 1, "token_budget": 4, "shed": "late"},
            "kv": {"prefix_cache": False},
            "steptime": {"kind": "constant", "step": 0.01},
            "slo": {"ttft": 0.2},
        }
    )
    result = simulate(scenario)
    c = columns(result.requests)
    shed = c["status"] == "shed"
    assert 100 < shed.sum() < 2000
    assert c["ttft_s"][~shed].max() <= 0.2 + 1e-9
    assert c["ttft_s"][~shed].max() > 0.19
    everyone = scenario.model_dump()
    everyone["engine"]["shed"] = "none"
    kept = simulate(Scenario.model_validate(everyone))
    assert result.summary["goodput_per_s"] > kept.summary["goodput_per_s"]


@pytest.mark.parametrize(
    ("priority", "queue"), list(product(("paid_first", "deadline"), ("replica", "central")))
)
def test_paid_messages_wait_no_longer_than_free_ones(priority: str, queue: str) -> None:
    s = simulate(tight(priority=priority, queue=queue)).summary
    without = simulate(tight(queue=queue)).summary
    assert s["ttft_s.paid.mean"] < (0.7 if priority == "paid_first" else 1) * s["ttft_s.free.mean"]
    assert s["ttft_s.paid.mean"] < without["ttft_s.paid.mean"]
    assert without["ttft_s.paid.mean"] == pytest.approx(without["ttft_s.free.mean"], rel=0.7)


def test_tiers_add_up() -> None:
    s = simulate(tight(priority="deadline", shed="late")).summary
    assert s["tier.paid.arrived"] + s["tier.free.arrived"] == s["requests.arrived"]
    good = s["tier.paid.goodput_per_s"] + s["tier.free.goodput_per_s"]
    assert good == pytest.approx(s["goodput_per_s"])
    assert s["ttft_s.paid.count_inf"] + s["ttft_s.free.count_inf"] == s["ttft_s.count_inf"]


def test_the_share_of_the_paid_tier_is_by_dialogue() -> None:
    c = columns(simulate(tight()).requests)
    paid = {int(s) for s, tier in zip(c["session"], c["tier"], strict=True) if tier == "paid"}
    free = {int(s) for s, tier in zip(c["session"], c["tier"], strict=True) if tier == "free"}
    assert not paid & free
    assert 0.15 < len(paid) / len(paid | free) < 0.45


def test_the_ttft_aware_policy_keeps_the_time_per_token() -> None:
    """At a load where prefill chunks make decodes wait, one policy holds TPOT and the other not."""
    base = {
        "run": {"warm_up": 10.0, "horizon": 60.0},
        "traffic": {
            "messages_per_s": 9.0,
            "output_tokens": constant(60),
            "sessions": {"user_tokens": constant(3000)},
        },
        "characters": {"count": 1, "definition_tokens": constant(0)},
        "engine": {"token_budget": 2048, "max_seqs": 64},
        "slo": {"tpot": 0.02, "ttft": 2.5},
    }
    plain = simulate(scenario_of(base)).summary
    aware = simulate(scenario_of(base, {"engine": {"policy": "ttft_aware"}})).summary
    assert plain["tpot_s.p99"] > 0.025
    assert aware["tpot_s.p99"] <= 0.02 * 1.07  # the bank: 4 objectives on 59 gaps
    assert aware["itl_s.p90"] <= 0.0201
    assert aware["slo.attainment"] > 0.95 > plain["slo.attainment"]
