"""Users who ask for another answer, and users who leave: rates, prompts, caches, a steady start."""

from typing import Any

import numpy as np
import pytest
from fleet_runs import Columns, Tree, columns, constant, scenario_of
from scipy import stats

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate

ALPHA = 0.001
SWIPING: Tree = {
    "run": {"warm_up": 0.0, "horizon": 300.0, "epoch": 0.01},
    "traffic": {
        "kind": "sessions",
        "messages_per_s": 40.0,
        "sessions": {
            "turns": {"kind": "geometric", "mean": 6},
            "think": {"kind": "exponential", "mean": 4.0},
            "user_tokens": {"kind": "uniform", "min": 1, "max": 60},
            "swipe_rate": 0.3,
            "swipe_delay": {"kind": "exponential", "mean": 1.0},
        },
        "output_tokens": {"kind": "geometric", "mean": 40},
    },
    "characters": {"count": 20, "definition_tokens": constant(100)},
    "prompt": {"limit": 4000},
    "fleet": {"replicas": 2},
    "kv": {"block_tokens": 16, "local_retention": "all", "global_blocks": 200_000},
    "steptime": {"kind": "constant", "step": 0.002},
}


def messages(scenario: Scenario) -> Columns:
    """Completed messages, by dialogue in the order in which they were sent."""
    c = columns(simulate(scenario).requests)
    assert (c["status"] == "completed").all()
    order = np.lexsort((c["arrival_s"], c["session"]))
    return {name: column[order] for name, column in c.items()}


def pairs(c: Columns) -> tuple[Columns, Columns]:
    """Consecutive messages of a dialogue: the earlier ones and the later ones."""
    same = np.flatnonzero(np.diff(c["session"]) == 0)
    return {k: v[same] for k, v in c.items()}, {k: v[same + 1] for k, v in c.items()}


def share_agrees(hits: Any, rate: float) -> bool:
    """Whether a share of independent trials agrees with its probability (99.9 %)."""
    return bool(stats.binomtest(int(np.sum(hits)), len(hits), rate).pvalue > ALPHA)


def test_swipes_come_at_the_stated_rate_and_repeat_the_prompt() -> None:
    """Another answer to the same turn: same prompt, its own answer, the delay as drawn."""
    c = messages(scenario_of(SWIPING))
    early = c["arrival_s"] + c["e2e_s"] < 250.0  # what follows comes before the horizon
    last = np.append(np.diff(c["session"]) != 0, True)
    swiped = np.append((np.diff(c["swipe"]) == 1) & (np.diff(c["session"]) == 0), False)
    assert share_agrees(swiped[early], 0.3)
    assert (early & ~last).sum() > 5000
    old, new = pairs(c)
    again = new["swipe"] > 0
    assert (new["swipe"][again] == old["swipe"][again] + 1).all()
    assert (new["turn"][again] == old["turn"][again]).all()
    assert (new["turn"][~again] == old["turn"][~again] + 1).all()
    assert (new["prompt_tokens"][again] == old["prompt_tokens"][again]).all()
    assert (new["output_tokens"][again] != old["output_tokens"][again]).mean() > 0.9
    delay = (new["arrival_s"] - old["arrival_s"] - old["e2e_s"])[again]
    assert stats.kstest(delay[delay > 0.011], "expon", args=(0.011, 1.0)).pvalue > ALPHA


def test_the_accepted_answer_alone_joins_the_history() -> None:
    """The next turn's prompt grows by one answer, whatever was rejected before."""
    c = messages(scenario_of(SWIPING, {"traffic": {"sessions": {"user_tokens": constant(7)}}}))
    old, new = pairs(c)
    turned = new["swipe"] == 0
    grown = (new["prompt_tokens"] - old["prompt_tokens"])[turned]
    assert (grown == old["output_tokens"][turned] + 7).all()
    assert (old["swipe"][turned] > 0).sum() > 500


def test_a_swipe_finds_its_prompt_and_nothing_of_the_rejected_answer() -> None:
    """All whole blocks of the prompt are hit again; a later turn hits the accepted answer too."""
    old, new = pairs(messages(scenario_of(SWIPING, {"router": {"policy": "sticky", "bound": 9}})))
    same = (new["replica"] == old["replica"]) & (new["prompt_tokens"] % 16 > 0)
    again = same & (new["swipe"] > 0)
    whole = new["prompt_tokens"] // 16 * 16
    assert (new["cached_tokens"] == whole)[again].all()
    turned = same & (new["swipe"] == 0)
    kept = (old["prompt_tokens"] + old["output_tokens"] - 1) // 16 * 16
    assert (new["cached_tokens"] == np.minimum(kept, whole))[turned].all()
    assert min(again.sum(), (turned & (old["swipe"] > 0)).sum()) > 500


@pytest.mark.parametrize(("retention", "least"), [("prompt_end", 0.95), ("turn_end", 0.0)])
def test_a_swipe_needs_the_local_window_where_its_prompt_ended(
    retention: str, least: float
) -> None:
    """With windows at turn ends alone, the answer took its window with it: only the head is hit."""
    change: Tree = {"kv": {"local_retention": retention, "local_windows": 20_000}}
    old, new = pairs(messages(scenario_of(SWIPING, change, {"fleet": {"replicas": 1}})))
    again = (new["swipe"] > 0) & (new["turn"] > 2)
    share = new["cached_tokens"][again].sum() / new["prompt_tokens"][again].sum()
    assert share >= least - 0.1 if least else share < 0.4


def test_users_leave_at_the_stated_rate_at_a_uniform_token() -> None:
    """Dialogues end early, and the answer is cut anywhere in it; the message rate is held."""
    leaving: Tree = {
        "traffic": {
            "sessions": {"abandon_rate": 0.2, "turns": constant(8)},
            "output_tokens": constant(100),
        }
    }
    c = messages(scenario_of(SWIPING, leaving))
    early = c["arrival_s"] < 250.0
    left = c["output_tokens"] < 100
    assert share_agrees(left[early], 0.2 * 0.99)
    counts = np.bincount(c["output_tokens"][left] // 20, minlength=5)
    shares = np.array([19, 20, 20, 20, 20]) / 99
    assert stats.chisquare(counts, shares * counts.sum()).pvalue > ALPHA
    ends = np.append(np.diff(c["session"]) != 0, True)
    assert ends[left].all()


@pytest.mark.parametrize("abandon", [0.0, 0.1])
@pytest.mark.parametrize("swipe", [0.0, 0.4])
def test_the_start_is_stationary(swipe: float, abandon: float) -> None:
    """From the first seconds on, messages come at the stated rate, and Little's law holds."""
    turns, think, delay, rate = 8.0, 20.0, 10.0, 1000.0
    again = (1 - abandon) * swipe
    stays = (1 - abandon - again) / (1 - again)
    begun = 1 / (1 - (1 - 1 / turns) * stays)  # turns of a dialogue, whose length is geometric
    pauses = (begun - 1) * think + begun * again / (1 - again) * delay
    live = round(rate * (1 - again) / begun * pauses)  # answers take next to no time
    change: Tree = {
        "run": {"horizon": 60.0},
        "traffic": {
            "messages_per_s": rate,
            "sessions": {
                "live": live,
                "turns": {"kind": "geometric", "mean": turns},
                "think": {"kind": "exponential", "mean": think},
                "swipe_rate": swipe,
                "swipe_delay": {"kind": "exponential", "mean": delay},
                "abandon_rate": abandon,
                "user_tokens": constant(1),
            },
            "output_tokens": constant(1),
        },
        "steptime": {"kind": "constant", "step": 1e-4},
    }
    result = simulate(scenario_of(SWIPING, change))
    assert result.summary["realised.live_sessions"] == pytest.approx(live, rel=0.04)
    at = columns(result.requests)["arrival_s"]
    for edge in (10.0, 20.0, 60.0):
        assert (at < edge).sum() == pytest.approx(rate * edge, rel=0.04)
    if swipe:
        swipes = columns(result.requests)["swipe"]
        first = at < 10.0
        assert (swipes[first] > 0).mean() == pytest.approx(again, abs=0.03)
