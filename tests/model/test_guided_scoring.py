"""The rules against a twin that is written out, published figures, and rules that are refused."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.model.guided.classifier import HeadNames
from kernels.model.guided.scoring import Judge, Penalty, Reward, Rules, Threshold, best

NAMES = ("swipe", "crowd", "racist", "looping", "out_of_character", "nonsense")
HEADS = HeadNames(NAMES)
NAN = float("nan")


def judged(rules: Rules, **p: float) -> tuple[float, tuple[str, ...]]:
    """Score and broken thresholds of one candidate; heads not named have probability 0."""
    row = torch.zeros((1, len(NAMES)), dtype=torch.float64)
    for name, value in p.items():
        row[0, NAMES.index(name)] = value
    verdict = Judge(rules, HEADS).verdict(row)
    return verdict.scores[0], verdict.broken[0]


def test_two_rewards_are_their_geometric_mean() -> None:
    score, _ = judged(Rules(rewards=(Reward("crowd"), Reward("swipe"))), crowd=0.5467, swipe=0.3363)
    assert score == pytest.approx(0.4288, abs=5e-5)


def test_penalties_add_up() -> None:
    """Public: two penalties of 1,000 that came to 1285.78 and 1252.27, 2538.05 in all, and their
    thresholds; not the probabilities, which follow here from a growth of 1."""
    rules = Rules(
        penalties=(
            Penalty("out_of_character", 0.3775, 1000.0, 1.0),
            Penalty("looping", 0.1361, 1000.0, 1.0),
        )
    )
    first, _ = judged(rules, out_of_character=0.66328)
    second, _ = judged(rules, looping=0.38837)
    both, _ = judged(rules, out_of_character=0.66328, looping=0.38837)
    assert first == pytest.approx(1 - 1285.78, abs=0.005)
    assert second == pytest.approx(1 - 1252.27, abs=0.005)
    assert both == pytest.approx(1 - 2538.05, abs=0.005)


def test_equal_to_a_threshold_is_not_above_it() -> None:
    rules = Rules((Threshold("racist", 0.25),), (Penalty("looping", 0.5, 10.0),))
    assert judged(rules, racist=0.25, looping=0.5) == (1.0, ())
    over = math.nextafter(0.25, 1), math.nextafter(0.5, 1)
    assert judged(rules, racist=over[0], looping=over[1]) == (1.0 - 10.0, ("racist",))


def test_float32_probabilities_are_compared_as_they_are() -> None:
    """0.35 in float32 is a little less than the number 0.35: it passes, the next one does not."""
    judge = Judge(Rules((Threshold("racist", 0.35),)), HEADS)
    row = torch.tensor([[0.0, 0.0, 0.35, 0.0, 0.0, 0.0]])
    assert judge.verdict(row).broken == [()]
    after = torch.nextafter(row, torch.ones_like(row))
    assert judge.verdict(after).broken == [("racist",)]


unit = st.floats(0, 1, width=32)
some = st.lists(st.sampled_from(NAMES), unique=True, max_size=4)


@st.composite
def any_rules(draw: Callable[..., object]) -> Rules:
    """Rules over any of the heads."""
    big = st.floats(0, 1e5)
    return Rules(
        tuple(Threshold(name, draw(unit)) for name in draw(some)),
        tuple(Penalty(name, draw(unit), draw(big), draw(big)) for name in draw(some)),
        tuple(Reward(name, draw(st.floats(0, 4))) for name in draw(some)),
    )


def twin(rules: Rules, p: dict[str, float]) -> tuple[float, tuple[str, ...]]:
    """The formulas, written out for one candidate."""
    score = 1.0
    for reward in rules.rewards:
        score *= p[reward.head] ** reward.exponent
    for penalty in rules.penalties:
        over = p[penalty.head] - penalty.above
        if over > 0:
            score -= penalty.amount + penalty.amount * over * penalty.growth
    broken = [rule.head for rule in rules.thresholds if p[rule.head] > rule.above]
    return score, tuple(broken)


@given(any_rules(), st.lists(st.tuples(*[unit] * len(NAMES)), min_size=1, max_size=5))
def test_scores_and_filters_are_those_of_the_twin(
    rules: Rules, rows: list[tuple[float, ...]]
) -> None:
    verdict = Judge(rules, HEADS).verdict(torch.tensor(rows, dtype=torch.float32))
    for row, score, broken in zip(rows, *verdict, strict=True):
        want = twin(rules, dict(zip(NAMES, row, strict=True)))
        assert (pytest.approx(want[0], rel=1e-9, abs=1e-9), want[1]) == (score, broken)


@given(st.lists(st.sampled_from([-2.0, 0.5, 1.0]), min_size=1), st.data())
def test_the_highest_score_wins_and_of_equals_the_first(
    scores: list[float], data: st.DataObject
) -> None:
    every = range(len(scores))
    allowed = data.draw(st.lists(st.sampled_from(every), min_size=1, unique=True))
    winner = best(scores, allowed)
    assert winner in allowed
    assert all(scores[i] < scores[winner] for i in allowed if i < winner)
    assert all(scores[i] <= scores[winner] for i in allowed)


@pytest.mark.parametrize(
    "rules",
    [
        Rules(thresholds=(Threshold("racism", 0.1),)),
        Rules(penalties=(Penalty("racism", 0.1, 1.0),)),
        Rules(rewards=(Reward("racism"),)),
    ],
)
def test_a_rule_without_its_head_is_an_error(rules: Rules) -> None:
    with pytest.raises(ValueError, match=r"no head 'racism' .*did you mean 'racist'"):
        Judge(rules, HEADS)


@pytest.mark.parametrize("bad", [NAN, -0.01, 1.01, math.inf])
def test_what_is_no_probability_is_an_error(bad: float) -> None:
    """NaN exceeds no threshold: it would let everything pass."""
    with pytest.raises(ValueError, match="metrics: must be probabilities"):
        judged(Rules(thresholds=(Threshold("racist", 0.1),)), looping=bad)


def test_metrics_must_have_a_column_for_each_head() -> None:
    with pytest.raises(ValueError, match=r"metrics: shape is \[2, 5\], must be \[any, 6\]"):
        Judge(Rules(), HEADS).verdict(torch.zeros((2, 5)))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Threshold("a", NAN), "threshold a: above: is nan, must be a number from 0.0 to 1"),
        (lambda: Threshold("a", 1.5), "threshold a: above: is 1.5"),
        (lambda: Threshold("a", True), "threshold a: above: is True"),
        (lambda: Penalty("a", -0.1, 1.0), "penalty a: above: is -0.1"),
        (lambda: Penalty("a", 0.1, -1.0), "penalty a: amount: is -1.0"),
        (lambda: Penalty("a", 0.1, math.inf), "penalty a: amount: is inf"),
        (lambda: Penalty("a", 0.1, 1.0, NAN), "penalty a: growth: is nan"),
        (lambda: Reward("a", NAN), "reward a: exponent: is nan"),
        (lambda: Reward("a", -0.5), "reward a: exponent: is -0.5"),
        (
            lambda: Rules((Threshold("a", 0.1), Threshold("b", 0.1), Threshold("a", 0.2))),
            "thresholds: given more than once: a",
        ),
        (
            lambda: Rules(penalties=(Penalty("a", 0.1, 1.0), Penalty("a", 0.2, 1.0))),
            "penalties: given more than once: a",
        ),
        (lambda: Rules(rewards=(Reward("a"), Reward("a"))), "rewards: given more than once: a"),
    ],
)
def test_bad_rules_are_told(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        make()


def test_rules_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Threshold("a", 0.1).above = 0.9  # type: ignore[misc]
