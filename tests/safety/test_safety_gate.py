"""Where blocked messages go, what they cost, what their users do, how the gate fails."""

import numpy as np
import pytest
from fleet_runs import columns, constant, same, scenario_of
from gate_runs import DIALOGUES, assumed, classes, gated, refused, share

from kaiju_sim.metrics.result import RunResult
from kaiju_sim.report.headline import warnings
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

FATES = (
    *("completed", "failed", "in_flight", "shed", "cancelled"),
    *("blocked_pre", "blocked_post"),
)
SLOW = {"servers": 1, "service": "constant", "service_mean_s": assumed(0.05)}


def conserved(result: RunResult) -> RunResult:
    """Fates add up, and the table has as many of each."""
    s, c = result.summary, columns(result.requests)
    assert s["requests.arrived"] == sum(s[f"requests.{fate}"] for fate in FATES)
    for fate in FATES:
        assert s[f"requests.{fate}"] == (c["status"] == fate).sum(), fate
    return result


def test_without_a_gate_nothing_of_it_is_said() -> None:
    s = conserved(simulate(scenario_of(DIALOGUES))).summary
    found = {key: value for key, value in s.items() if key.startswith("safety.")}
    assert len(found) > 80
    assert set(found.values()) == {None}


@pytest.mark.parametrize("pre", ["before", "after"])
def test_blocked_messages_cost_the_gpu_nothing_or_all(pre: str) -> None:
    result = conserved(simulate(gated({"pre": pre, **classes(0.3)})))
    c = columns(result.requests)
    status = "blocked_pre" if pre == "before" else "blocked_post"
    stopped = c["status"] == status
    assert stopped.sum() > 100
    assert np.isnan(c["replica"][stopped]).all() == (pre == "before")
    assert (c["output_tokens"][stopped] > 0).all() == (pre == "after")
    assert (c["cached_tokens"][stopped] > 0).any() == (pre == "after")
    assert np.isnan(c["e2e_s"][stopped]).all()
    assert result.summary["ttft_s.count_inf"] == 0, "a refusal is no answer that came late"
    assert result.summary["slo.availability"] == 1.0
    refusal = result.summary["safety.pre.refusal_s.mean"]
    assert (refusal is None) == (pre == "after")


def test_the_same_messages_are_blocked_before_and_after() -> None:
    """Verdicts are draws of dialogue and turn: what blocks them does not change them."""
    blocked = []
    for pre in ("before", "after"):
        scenario = gated({"pre": pre, **classes(0.3), **refused(1.0, 0.0)})
        c = columns(simulate(scenario).requests)
        first = (c["turn"] == 0) & np.isin(c["status"], ("blocked_pre", "blocked_post"))
        blocked.append(set(c["session"][first]))
    assert len(blocked[0]) > 40
    assert blocked[0] == blocked[1]


def test_users_are_the_same_with_and_without_the_gate() -> None:
    """New dialogues begin at the same times, say as much, and are answered at equal length."""
    seen = []
    for pre in ("none", "before"):
        c = columns(simulate(gated({"pre": pre})).requests)
        first = (c["turn"] == 0) & (c["status"] == "completed") & (c["attempt"] == 0)
        names = ("session", "arrival_s", "prompt_tokens", "output_tokens")
        seen.append(set(zip(*(c[name][first] for name in names), strict=True)))
    assert len(seen[0]) > len(seen[1]) > 100
    assert seen[1] <= seen[0]


def test_the_stay_at_the_gate_is_part_of_the_time_to_first_token() -> None:
    pool = {**SLOW, "servers": 500}
    with_gate = simulate(gated({"pre": "before", "pool": pool, **classes(0.2)}))
    beside = simulate(gated({"pre": "after", "pool": pool, **classes(0.2)}))
    c = columns(with_gate.requests)
    done = c["status"] == "completed"
    assert c["ttft_s"][done].min() > 0.05
    assert c["queue_s"][done].min() >= 0.05
    assert columns(beside.requests)["ttft_s"].min() < 0.05
    s = with_gate.summary
    for name in ("p50", "p99", "mean"):
        assert s[f"safety.pre.refusal_s.{name}"] == pytest.approx(0.05, rel=1 / 256)


def crowd(**pool: object) -> Scenario:
    """A gate that can serve 20 messages a second, for 50; all its verdicts are to pass."""
    safety = {"pre": "before", "pool": SLOW | pool, **classes(0.0), **refused(1.0, 0.0)}
    passes_all = {"thresholds": {"adult": 0.999999, "teen": 0.999999}}
    open_loop = {"traffic": {"kind": "poisson", "messages_per_s": 50.0}}
    return scenario_of({"safety": safety | passes_all}, open_loop)


def test_a_full_gate_is_open_or_closed() -> None:
    shut = conserved(simulate(crowd(queue_limit=2))).summary
    assert shut["requests.blocked_pre"] == shut["safety.refused"] > 100
    assert shut["safety.wrongly"] == shut["requests.blocked_pre"]
    assert shut["safety.pre.utilisation"] > 0.95
    unlocked = conserved(simulate(crowd(queue_limit=2, overload="open"))).summary
    assert unlocked["requests.blocked_pre"] == 0
    assert unlocked["safety.unchecked"] == shut["safety.refused"]
    assert unlocked["safety.pre.wait_s.p99"] <= 2 * 0.05 * (1 + 1 / 256)


def test_a_late_verdict_is_none() -> None:
    shut = conserved(simulate(crowd(timeout=0.2))).summary
    assert shut["safety.refused"] > 100
    assert shut["safety.pre.stay_s.p99"] <= 0.2 * (1 + 1 / 256)
    unlocked = conserved(simulate(crowd(timeout=0.2, failure="open"))).summary
    assert unlocked["safety.unchecked"] == shut["safety.refused"]
    assert unlocked["requests.completed"] == unlocked["requests.arrived"]


def test_a_gate_that_cannot_keep_up_is_an_overload() -> None:
    result = conserved(simulate(crowd()))
    assert result.summary["verdict"] == "overloaded"
    assert result.summary["requests.completed"] == result.summary["requests.arrived"]
    assert result.summary["safety.pre.wait_s.p50"] > 5.0
    assert any("safety gate is full" in text for text in warnings(result.summary))
    assert not any("gate" in text for text in warnings(simulate(gated({"pre": "before"})).summary))


def test_impatient_users_give_up_at_the_gate() -> None:
    client = {"traffic": {"client": {"timeout": 0.2, "retries": 1}}}
    scenario = crowd().model_copy(
        update={
            "traffic": scenario_of(
                {"traffic": {"kind": "poisson", "messages_per_s": 50.0}}, client
            ).traffic
        }
    )
    result = conserved(simulate(scenario))
    c = columns(result.requests)
    gone = c["status"] == "cancelled"
    assert gone.sum() > 100
    assert np.isnan(c["replica"][gone]).all()
    assert result.summary["realised.retries"] > 50


def test_refused_users_do_what_is_stated() -> None:
    scenario = gated({"pre": "before", **classes(0.4), **refused(0.2, 0.5)})
    s = simulate(scenario.model_copy(update={"seed": 3})).summary
    blocked = s["requests.blocked_pre"]
    assert blocked == s["safety.left"] + s["safety.reworded"] + s["safety.dropped"] > 200
    assert s["safety.left"] / blocked == pytest.approx(0.2, abs=0.06)
    assert s["safety.reworded"] / blocked == pytest.approx(0.5, abs=0.08)


def test_a_reworded_message_is_the_same_turn_and_a_dropped_one_is_forgotten() -> None:
    quiet = {"traffic": {"output_tokens": constant(20), "sessions": {"live": 0}}}
    reworded = columns(
        simulate(gated({"pre": "before", **classes(0.4), **refused(0.0, 1.0)}, quiet)).requests
    )
    again = reworded["attempt"] > 0
    assert again.sum() > 100
    fresh = (reworded["turn"] == 2) & (reworded["status"] == "completed")
    assert len(set(reworded["prompt_tokens"][fresh])) == 1, "said once, however often refused"
    dropped = columns(
        simulate(gated({"pre": "before", **classes(0.4), **refused(0.0, 0.0)}, quiet)).requests
    )
    assert not dropped["attempt"].any()
    base = dropped["prompt_tokens"][(dropped["turn"] == 0)].min()
    third = dropped["prompt_tokens"][dropped["turn"] == 2]
    assert set(third - base) == {0, 30, 60}, "10 said and 20 heard of each turn that was answered"


def test_the_head_needs_all_candidates_to_fail() -> None:
    """The best of n candidates is delivered, so more of them block less; what they decode grows."""
    rates, made = [], []
    for n in (1, 3):
        post = {"kind": "head", "risk": {"benign": share(0.5)}}
        s = simulate(
            gated({"post": post, **refused(0.0, 0.0)}, {"engine": {"candidates": n}})
        ).summary
        rates.append(s["safety.post.adult.detection_rate"])
        made.append(s["throughput.generated_tokens_per_s"] / s["throughput.output_tokens_per_s"])
    assert rates[0] == pytest.approx(0.68, abs=0.1)
    assert rates[1] < rates[0] - 0.1
    assert made[0] == pytest.approx(1.0, abs=0.01)
    assert made[1] > 2.5


@pytest.mark.parametrize("kind", ["classifier", "head"])
def test_an_answer_that_is_taken_back_is_not_said_again(kind: str) -> None:
    """It is no part of the next prompt; the head ends it early, the classifier reads it whole."""
    quiet = {
        "traffic": {"output_tokens": constant(64), "sessions": {"live": 0}},
        "engine": {"candidates": 2},
    }
    post = {"kind": kind, "risk": {"benign": share(0.5)}}
    result = conserved(simulate(gated({"post": post, **refused(0.0, 0.0)}, quiet)))
    c = columns(result.requests)
    taken = c["status"] == "blocked_post"
    assert taken.sum() > 100
    lengths = {16, 32, 48, 64} if kind == "head" else {64}
    assert set(c["output_tokens"][taken]) == lengths
    base = c["prompt_tokens"][c["turn"] == 0].min()
    assert set(c["prompt_tokens"][c["turn"] == 1] - base) == {0, 74}


@pytest.mark.parametrize(
    ("safety", "change"),
    [
        ({"pre": "before", "pool": SLOW}, {"traffic": {"client": {"timeout": 0.3, "retries": 2}}}),
        ({"pre": "after", "post": {"kind": "classifier"}}, {"traffic": {"paid_share": 0.3}}),
        ({"pre": "before", "post": {"kind": "head"}}, {"engine": {"candidates": 3}}),
        ({"post": {"kind": "head"}}, {"traffic": {"sessions": {"swipe_rate": 0.3}}}),
        (
            {"pre": "before", "pool": {**SLOW, "timeout": 0.1, "queue_limit": 3}},
            {"router": {"queue": "central"}},
        ),
    ],
)
def test_compiled_equals_reference_with_the_gate(safety: dict, change: dict) -> None:  # type: ignore[type-arg]
    scenario = gated({**safety, **classes(0.2, 0.3)}, change, {"run": {"horizon": 10.0}})
    same(conserved(simulate(scenario)), simulate(scenario, engine="reference"))
