"""Does a fleet pass often enough? A sequential test on independent replications.

Each replication passes or fails. Two likelihood ratios are watched after every one (Wald 1945):
that of a pass probability of `good` against `target`, and that of `bad` against `target`. The first
to reach 1 / `risk` decides: `passes` (the pass probability is at least the target) or `fails` (it
is below). By Ville's inequality either verdict is wrong with a probability of at most `risk`,
however often one looks and whenever one stops. Where `most` replications decide nothing the verdict
is `open`: the fleet is too near the target to tell.

Usual rule of a plan: target 0.95, risk 5 %, decided by 61 passes in a row, or by 2 failures among
the first three. Quick rule of a table: target 0.5, decided by five alike in a row.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

PASSES, FAILS, OPEN = "passes", "fails", "open"
_STEPS = 60
"""Halvings of an interval of probabilities: to the last bit."""


@dataclass(frozen=True)
class Rule:
    """When a count of passes and failures decides."""

    target: float
    """Pass probability that is asked for."""
    good: float
    """Alternative above the target: the nearer to 1, the fewer passes decide and the dearer is a
    single failure."""
    bad: float
    """Alternative below the target."""
    risk: float = 0.05
    """Probability of a wrong verdict, at most, for each of the two."""
    most: int = 130
    """Replications after which nothing is decided."""
    patience: int = 130
    """The same where so many have failed that the rest cannot make it pass any more."""

    @property
    def least(self) -> int:
        """Passes in a row that decide."""
        return math.ceil(math.log(1 / self.risk) / math.log(self.good / self.target))


PLAN = Rule(target=0.95, good=0.998, bad=0.6, most=62, patience=24)
"""The rule of a plan: 61 in a row pass."""
QUICK = Rule(target=0.5, good=0.95, bad=0.05, most=10)
"""The rule of a table of many fleets: passes more often than not."""


@dataclass(frozen=True)
class Tally:
    """Replications that passed, of how many."""

    passed: int = 0
    trials: int = 0

    @property
    def failed(self) -> int:
        """Replications that did not pass."""
        return self.trials - self.passed

    @property
    def share(self) -> float | None:
        """Share that passed; None of none."""
        return self.passed / self.trials if self.trials else None


def tally_of(outcomes: Iterable[bool]) -> Tally:
    """How many passed."""
    found = list(outcomes)
    return Tally(sum(found), len(found))


def verdict(outcomes: Iterable[bool], rule: Rule) -> str:
    """What the first outcomes that decide say: passes, fails, or open if none do."""
    passed = 0
    for trials, outcome in enumerate(outcomes, 1):
        passed += outcome
        tally = Tally(passed, trials)
        if evidence(tally, rule.good, rule.target) >= math.log(1 / rule.risk):
            return PASSES
        if evidence(tally, rule.bad, rule.target) >= math.log(1 / rule.risk):
            return FAILS
    return OPEN


def is_over(tally: Tally, rule: Rule) -> bool:
    """Whether to stop without a verdict."""
    left = rule.most - tally.trials
    at_best = Tally(tally.passed + left, rule.most)
    hopeless = evidence(at_best, rule.good, rule.target) < math.log(1 / rule.risk)
    return left <= 0 or (hopeless and tally.trials >= rule.patience)


def is_settled(outcomes: Sequence[bool], rule: Rule) -> bool:
    """Whether these replications are all that is needed: a verdict, or none to be had."""
    return verdict(outcomes, rule) != OPEN or is_over(tally_of(outcomes), rule)


def settling(outcomes: Sequence[bool], rule: Rule) -> list[bool]:
    """The first of these replications that settle it; all of them if they do not."""
    for trials in range(len(outcomes)):
        if is_settled(outcomes[:trials], rule):
            return list(outcomes[:trials])
    return list(outcomes)


def plan_rule(target: float) -> Rule:
    """The rule of a plan that asks for another pass probability than 0.95."""
    if target == PLAN.target:
        return PLAN
    good = 1 - (1 - target) * (1 - PLAN.good) / (1 - PLAN.target)
    drawn = Rule(target, good, bad=target * PLAN.bad / PLAN.target)
    return replace(drawn, most=drawn.least + 1, patience=PLAN.patience)


def needed(tally: Tally, rule: Rule) -> int:
    """Further replications that a verdict may need: passes in a row while none failed, then
    whichever of the two verdicts is nearer."""
    limit = math.log(1 / rule.risk)
    missing = limit - evidence(tally, rule.good, rule.target)
    passes = missing / math.log(rule.good / rule.target)
    missing = limit - evidence(tally, rule.bad, rule.target)
    fails = missing / math.log((1 - rule.bad) / (1 - rule.target))
    return max(1, math.ceil(passes if tally.failed == 0 else min(passes, fails)))


def evidence(tally: Tally, p: float, against: float) -> float:
    """Log likelihood ratio of pass probability p against another one."""
    return _of(tally.passed, p, against) + _of(tally.failed, 1 - p, 1 - against)


def _of(times: int, p: float, against: float) -> float:
    """Log likelihood ratio of something that came so often: infinite if it never can."""
    if not times:
        return 0.0
    return math.log(p / against) * times if against > 0 else math.inf


def lower_bound(tally: Tally, rule: Rule) -> float:
    """The least pass probability that the test has not ruled out: at least `target` if it passes.

    Holds with probability 1 - risk, whenever one stops: the test's own bound, a little below that
    of a number of replications fixed beforehand.
    """
    return _root(tally, rule.good, rule.risk, 0.0, rule.good) if tally.passed else 0.0


def upper_bound(tally: Tally, rule: Rule) -> float:
    """The largest pass probability that the test has not ruled out."""
    return _root(tally, rule.bad, rule.risk, 1.0, rule.bad) if tally.failed else 1.0


def _root(tally: Tally, p: float, risk: float, far: float, near: float) -> float:
    """The probability between *far* (ruled out) and *near* (not) where the test turns."""
    limit = math.log(1 / risk)
    for _ in range(_STEPS):
        middle = (far + near) / 2
        if evidence(tally, p, middle) >= limit:
            far = middle
        else:
            near = middle
    return far
