"""The smallest count that passes: bracket, bisect, look at the neighbours, verify.

Pure: what is counted and how a replication is judged is the caller's (`Probe`). Replication i of
every count has the same users (common random numbers), so that counts differ by their size only.

1. **Bracket**: from the start, by growing steps, until one count passes and a smaller one fails,
   each by a single replication. If even the largest fails that, another replication that it passes
   is taken instead; if it passes none of a few, no count is enough.
2. **Bisect** between them, to neighbouring counts.
3. **Test** the smallest count that passed with the sequential rule; if it does not hold, the next.
4. **Neighbours**: passing need not be monotone in the count (shards, caches and hashes jump), so
   the counts below are tested too, until `below` in a row have failed.
5. **Verify** with fresh seeds, which no earlier choice has seen. If that does not hold, the next
   larger count has to.

Counts on the way up that the rule could not decide, or that held once and not on fresh seeds, are
the **grey zone**.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from kaiju_sim.planner.sequential import (
    FAILS,
    OPEN,
    PASSES,
    Rule,
    Tally,
    is_settled,
    lower_bound,
    needed,
    settling,
    tally_of,
    upper_bound,
    verdict,
)

FRESH = 10_000
"""Number of the first replication with fresh seeds."""
SECOND_LOOKS = range(1, 5)
"""Replications by which the largest fleet is asked again if it has failed once."""

FEW = 4
"""Replications of the first batch, and of one after a failure at least, where several run at once:
then the next one may decide, or many more."""

Probe = Callable[[int, Sequence[int]], Sequence[bool]]
"""Whether that count passes in each of these replications."""
Tell = Callable[[int, str], None]
"""Is told each count and what became of it."""


@dataclass(frozen=True)
class Grid:
    """The counts that there are: multiples of `unit`, coarser where counts are large."""

    unit: int = 1
    most: int = 1_000_000
    resolution: float = 0.0
    """Neighbours differ by at least this share of the count."""

    def up(self, count: int) -> int:
        """The least count of the grid that is not below."""
        step = self.step(count)
        return min(self.most, max(self.unit, -(-count // step) * step))

    def step(self, count: int) -> int:
        """The distance of neighbours near a count: a multiple of the unit."""
        return self.unit * max(1, int(count * self.resolution / self.unit))


@dataclass(frozen=True)
class Judged:
    """A count and what its replications said."""

    count: int
    verdict: str
    tally: Tally
    low: float
    """Lower bound of the pass probability."""
    high: float
    """Upper bound of the pass probability."""
    fresh: bool = False
    """Whether the seeds were fresh."""


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    count: int | None
    """The smallest count that passes; None where none does up to the grid's largest."""
    judged: tuple[Judged, ...]
    """All counts that were tested, in order of the count; fresh seeds after the others."""
    grey: tuple[int, ...] = ()
    """Counts below the answer that could not be told from passing ones."""
    screened: dict[int, bool] = field(default_factory=dict)
    """What the single replications of the bracket said."""

    def of(self, count: int, fresh: bool = False) -> Judged | None:
        """What was found of a count."""
        return next((j for j in self.judged if j.count == count and j.fresh == fresh), None)

    @property
    def below(self) -> int | None:
        """The largest tested count below the answer that does not pass."""
        if self.count is None:
            return None
        failed = [j.count for j in self.judged if j.verdict != PASSES and j.count < self.count]
        return max(failed, default=None)


class Search:
    """One search: what it has learnt so far, and its steps."""

    def __init__(self, probe: Probe, grid: Grid, rule: Rule, batch: int, tell: Tell) -> None:
        self.probe, self.grid, self.rule, self.batch, self.tell = probe, grid, rule, batch, tell
        self.screened: dict[int, bool] = {}
        self.screen = 0
        self.judged: dict[tuple[int, bool], Judged] = {}

    def passes_once(self, count: int) -> bool:
        """A single replication of a count."""
        if count not in self.screened:
            (self.screened[count],) = self.probe(count, [self.screen])
            self.tell(count, "passed once" if self.screened[count] else "failed once")
        return self.screened[count]

    def bracket(self, start: int) -> tuple[int, int] | None:
        """A count that fails (0: none does) and a larger one that passes; None: none passes."""
        ends = self.bracket_once(start)
        if ends is None and self.looks_again():
            ends = self.bracket_once(start)
        return ends

    def looks_again(self) -> bool:
        """Whether the largest fleet passes another replication, which is then the one to go by."""
        for i in SECOND_LOOKS:
            if all(self.probe(self.grid.most, [i])):
                self.screen, self.screened = i, {}
                return True
        return False

    def bracket_once(self, start: int) -> tuple[int, int] | None:
        """The same by the replication at hand."""
        count, growth = self.grid.up(start), 1.15
        if self.passes_once(count):
            while self.passes_once(count):
                high, count = count, self.lower(count, growth)
                if count == high:
                    return 0, high
                growth *= 1.2
            return count, high
        while not self.passes_once(count):
            low, count = count, self.grid.up(int(count * growth) + 1)
            if count == low:
                return None
            growth = min(2.0, growth * 1.2)
        return low, count

    def lower(self, count: int, growth: float) -> int:
        """A count of the grid below, by about that factor; the same if it is the smallest."""
        below = self.grid.up(int(count / growth))
        return below if below < count else max(self.grid.unit, count - self.grid.step(count))

    def bisect(self, low: int, high: int) -> int:
        """The smaller end of the bracket that passes, its lower neighbour failing."""
        while high - low > self.grid.step(high):
            middle = self.grid.up((low + high) // 2)
            if not low < middle < high:
                break
            low, high = (low, middle) if self.passes_once(middle) else (middle, high)
        return high

    def judge(self, count: int, fresh: bool = False) -> Judged:
        """The sequential test of a count, replications in batches until it is decided."""
        known = self.judged.get((count, fresh))
        return self.tested(count, fresh, self.rule) if known is None else known

    def judge_longer(self, count: int, fresh: bool = False) -> Judged:
        """The test of a count that was left undecided, with all replications that the rule allows:
        what is said of it then rests on as many as what is said of a count that passes."""
        known = self.judge(count, fresh)
        if known.verdict != OPEN:
            return known
        return self.tested(count, fresh, replace(self.rule, patience=self.rule.most))

    def tested(self, count: int, fresh: bool, rule: Rule) -> Judged:
        """The test by a rule, in place of what was known."""
        outcomes: list[bool] = []
        while not is_settled(outcomes, rule):
            if outcomes:
                self.tell(count, f"{sum(outcomes)} of {len(outcomes)} so far")
            first = len(outcomes) + (FRESH if fresh else 0)
            more = min(self.batch_after(outcomes), rule.most - len(outcomes))
            outcomes += self.probe(count, range(first, first + more))
        # A batch may have gone on after the verdict. That must not count: what is said of a fleet
        # would depend on how many processes there are.
        outcomes = settling(outcomes, rule)
        said, tally = verdict(outcomes, rule), tally_of(outcomes)
        found = Judged(
            count, said, tally, lower_bound(tally, rule), upper_bound(tally, rule), fresh
        )
        self.judged[count, fresh] = found
        self.tell(count, f"{said}: {tally.passed} of {tally.trials}" + (" fresh" * fresh))
        return found

    def batch_after(self, outcomes: Sequence[bool]) -> int:
        """Replications to ask for next: few at first, which tell a hopeless count at once, and
        not many more than a verdict may need."""
        wanted = needed(tally_of(outcomes), self.rule) if outcomes else FEW
        return min(self.batch, wanted if all(outcomes) else max(FEW, wanted))

    def first_that_holds(self, count: int, fresh: bool = False) -> int | None:
        """The smallest count from there on that the rule lets pass, on the first seeds or on fresh
        ones. Steps grow on the way up, since where many neighbours are undecided the grey zone is
        wide; of those that the last one left out, the smallest that holds without a gap counts."""
        steps, failed = 0, count - 1
        while self.judge(count, fresh).verdict != PASSES:
            steps, failed = steps + 1, count
            count = self.grid.up(failed + (steps + 1) // 2 * self.grid.step(failed))
            if count == failed:
                return None
        while (other := count - self.grid.step(count)) > failed:
            if self.judge(other, fresh).verdict != PASSES:
                break
            count = other
        return count

    def with_neighbours(self, count: int, below: int) -> int:
        """The smallest count that holds, its `below` lower neighbours having been tested."""
        other, failed = count, 0
        while failed < below and other > self.grid.unit:
            other = max(self.grid.unit, other - self.grid.step(other))
            if self.judge(other).verdict == PASSES:
                count, failed = other, 0
            else:
                failed += 1
        return count


def fewest(
    probe: Probe,
    start: int,
    grid: Grid,
    rule: Rule,
    *,
    batch: int = 8,
    below: int = 2,
    verify: bool = True,
    tell: Tell = lambda count, what: None,
) -> Found:
    """The smallest count of the grid that passes; see the module's text."""
    search = Search(probe, grid, rule, batch, tell)
    ends = search.bracket(start)
    found = None if ends is None else search.first_that_holds(search.bisect(*ends))
    if found is not None:
        found = search.with_neighbours(found, below)
    if found is not None and verify:
        found = search.first_that_holds(found, fresh=True)
    return Found(found, _in_order(search), _grey(search, found), dict(search.screened))


def _in_order(search: Search) -> tuple[Judged, ...]:
    return tuple(sorted(search.judged.values(), key=lambda j: (j.fresh, j.count)))


def _grey(search: Search, found: int | None) -> tuple[int, ...]:
    """Counts below the answer with a verdict other than `fails` on any seeds."""
    if found is None:
        return ()
    undecided = (j for j in search.judged.values() if j.verdict != FAILS)
    return tuple(sorted({j.count for j in undecided if j.count < found}))
