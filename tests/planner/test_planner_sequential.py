"""The sequential test: how often it errs, what decides it, and its bounds."""

import math

import numpy as np
import pytest

from kaiju_sim.planner.sequential import (
    FAILS,
    OPEN,
    PASSES,
    PLAN,
    QUICK,
    Rule,
    Tally,
    is_over,
    lower_bound,
    needed,
    plan_rule,
    tally_of,
    upper_bound,
    verdict,
)

RULES = [PLAN, QUICK]


def verdicts(rule: Rule, p: float, runs: int = 4000) -> dict[str, float]:
    """How often each verdict falls at a true pass probability."""
    draws = np.random.default_rng(7).random((runs, rule.most)) < p
    said = [verdict([bool(x) for x in row], rule) for row in draws]
    return {word: said.count(word) / runs for word in (PASSES, FAILS, OPEN)}


@pytest.mark.parametrize("rule", RULES)
def test_it_errs_at_the_target_as_seldom_as_it_says(rule: Rule) -> None:
    """At the target itself either verdict is wrong: each at most `risk` (and 0.01 of noise)."""
    found = verdicts(rule, rule.target)
    assert found[PASSES] <= rule.risk + 0.01
    assert found[FAILS] <= rule.risk + 0.01


@pytest.mark.parametrize("rule", RULES)
def test_it_finds_what_is_good_and_what_is_bad(rule: Rule) -> None:
    """Away from the target it decides, and rightly."""
    assert verdicts(rule, rule.good)[PASSES] > 0.9
    assert verdicts(rule, rule.bad)[FAILS] > 0.9


def test_what_decides_a_plan() -> None:
    """61 passes in a row, or two failures at once; one failure makes it long."""
    assert PLAN.least == 61
    assert verdict([True] * 61, PLAN) == PASSES
    assert verdict([True] * 60, PLAN) == OPEN
    assert verdict([False, False], PLAN) == FAILS
    assert verdict([False] + [True] * 61, PLAN) == OPEN


def test_a_quick_verdict_needs_five_alike() -> None:
    assert verdict([True] * 5, QUICK) == PASSES
    assert verdict([False] * 5, QUICK) == FAILS
    assert verdict([True, False] * 5, QUICK) == OPEN


def test_what_comes_after_a_verdict_does_not_change_it() -> None:
    assert verdict([True] * 5 + [False] * 7, QUICK) == PASSES


@pytest.mark.parametrize("rule", RULES)
def test_the_bounds_say_what_the_verdict_says(rule: Rule) -> None:
    """Passing is a lower bound of at least the target, failing an upper one of at most it."""
    for passed in range(0, 40):
        for failed in range(0, 12):
            outcomes = [True] * passed + [False] * failed
            tally = tally_of(outcomes)
            low, high = lower_bound(tally, rule), upper_bound(tally, rule)
            assert 0 <= low <= high <= 1
            enough = passed * math.log(rule.good / rule.target) + failed * math.log(
                (1 - rule.good) / (1 - rule.target)
            ) >= math.log(1 / rule.risk)
            assert (low >= rule.target - 1e-9) == enough


def test_needed_is_the_shortest_way_to_a_verdict() -> None:
    """No fewer outcomes can decide, and that many can."""
    for passed, failed in [(0, 0), (3, 0), (4, 1), (2, 2), (0, 3)]:
        tally = Tally(passed, passed + failed)
        more = needed(tally, QUICK)
        before = [False] * failed + [True] * passed
        ends = [verdict(before + [word] * more, QUICK) for word in (True, False)]
        short = [verdict(before + [word] * (more - 1), QUICK) for word in (True, False)]
        assert any(word != OPEN for word in ends)
        assert short[0] == OPEN


def test_it_stops_when_nothing_can_come_of_it() -> None:
    """After a failure a plan cannot pass within its most; it stops once it has been patient."""
    assert not is_over(Tally(60, 60), PLAN)
    assert not is_over(Tally(22, 23), PLAN)
    assert is_over(Tally(23, 24), PLAN)
    assert is_over(Tally(61, 62), PLAN)


@pytest.mark.parametrize("target", [0.5, 0.8, 0.95, 0.99])
def test_a_plan_may_ask_for_another_probability(target: float) -> None:
    """The rule still errs at most as often as it says, and can pass."""
    rule = plan_rule(target)
    assert rule.least <= rule.most
    assert 0 < rule.bad < rule.target < rule.good < 1
    assert target**rule.least <= rule.risk
    assert verdicts(rule, target, 1000)[PASSES] <= rule.risk + 0.015
    assert verdicts(rule, 1.0, 10)[PASSES] == 1
