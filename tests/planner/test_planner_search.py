"""The search for the smallest count that passes, on made-up fleets whose answer is known."""

from collections.abc import Callable, Sequence

import pytest

from kaiju_sim import rng
from kaiju_sim.planner.search import FRESH, Found, Grid, Judged, Probe, Search, fewest
from kaiju_sim.planner.sequential import FAILS, OPEN, PASSES, PLAN, QUICK


def fleet(chance: Callable[[int], float]) -> Probe:
    """A fleet of n passes a replication with that probability, with common random numbers."""

    def probe(count: int, replications: Sequence[int]) -> list[bool]:
        return [rng.uniform(1, 2, i, 0) < chance(count) for i in replications]

    return probe


def from_on(least: int) -> Probe:
    """Passes always, from a count on."""
    return fleet(lambda count: 1.0 if count >= least else 0.0)


@pytest.mark.parametrize("least", [1, 2, 17, 46, 47, 300, 5000])
@pytest.mark.parametrize("start", [1, 46, 2000])
def test_it_finds_the_threshold_wherever_it_starts(least: int, start: int) -> None:
    found = fewest(from_on(least), start, Grid(), QUICK)
    assert found.count == least
    assert found.grey == ()


def test_it_counts_in_whole_shards() -> None:
    assert fewest(from_on(301), 400, Grid(unit=4), QUICK).count == 304


def test_a_coarse_grid_is_no_coarser_than_it_says() -> None:
    found = fewest(from_on(5003), 400, Grid(unit=4, resolution=0.01), QUICK)
    assert found.count is not None
    assert 5003 <= found.count <= 5003 * 1.02


def test_no_count_passes() -> None:
    found = fewest(fleet(lambda count: 0.0), 10, Grid(most=1000), QUICK)
    assert found.count is None
    assert max(found.screened) == 1000


def test_an_unlucky_replication_does_not_hide_the_answer() -> None:
    """The first replication fails on every fleet, the others pass from 46 on."""

    def probe(count: int, replications: Sequence[int]) -> list[bool]:
        return [i > 0 and count >= 46 for i in replications]

    found = fewest(probe, 40, Grid(most=400), QUICK)
    assert found.count == 46


def test_one_is_enough() -> None:
    assert fewest(from_on(1), 1, Grid(), QUICK).count == 1


def test_passing_need_not_be_monotone() -> None:
    """48 fails, 47 passes: a bisection from above sees only 49, the neighbours show 47."""
    probe = fleet(lambda count: 1.0 if count >= 49 or count == 47 else 0.0)
    assert fewest(probe, 60, Grid(), QUICK, below=2).count == 47


def test_a_count_that_passes_by_luck_is_not_the_answer() -> None:
    """Every fleet passes its first replication; only from 50 on do they pass the others."""

    def probe(count: int, replications: Sequence[int]) -> list[bool]:
        return [i == 0 or count >= 50 for i in replications]

    found = fewest(probe, 40, Grid(), QUICK)
    assert found.count == 50


def test_fresh_seeds_have_the_last_word() -> None:
    """40 to 44 pass on the seeds that chose them, and not on others."""

    def probe(count: int, replications: Sequence[int]) -> list[bool]:
        return [count >= 45 or (count >= 40 and i < FRESH) for i in replications]

    found = fewest(probe, 60, Grid(), QUICK)
    assert found.count == 45
    assert found.grey == (40,)
    judged = found.of(45, fresh=True)
    assert judged is not None
    assert judged.verdict == PASSES


def test_the_grey_zone_is_what_cannot_be_told() -> None:
    """46 passes half of the time, which is the quick rule's target."""
    chance = {44: 0.0, 45: 0.0, 46: 0.5}
    found = fewest(fleet(lambda n: chance.get(n, 1.0 if n > 46 else 0.0)), 50, Grid(), QUICK)
    assert found.count == 47
    assert found.grey == (46,)
    assert found.below == 46


def rising(count: int) -> float:
    """94 % at 99, 96.5 % at 100, 99.9 % at 103."""
    return {98: 0.5, 99: 0.9, 100: 0.95, 101: 0.98, 102: 0.995}.get(count, float(count > 102))


def test_a_plan_takes_no_fleet_that_passes_too_seldom() -> None:
    """On ten sets of users the answer never is a fleet below the target."""
    answers = []
    for who in range(10):

        def probe(count: int, replications: Sequence[int], who: int = who) -> list[bool]:
            return [rng.uniform(who, 2, i, 0) < rising(count) for i in replications]

        found = fewest(probe, 120, Grid(), PLAN)
        assert found.count is not None
        answers.append(found.count)
        assert low_of(found) >= PLAN.target - 1e-9
    assert min(answers) >= 101
    assert max(answers) <= 103


def low_of(found: Found) -> float:
    """The lower bound of the answer on fresh seeds."""
    assert found.count is not None
    judged = found.of(found.count, fresh=True)
    assert judged is not None
    return judged.low


def test_more_replications_only_add() -> None:
    """Each replication is asked for once for each count and verdict."""
    asked: list[tuple[int, int]] = []

    def probe(count: int, replications: Sequence[int]) -> list[bool]:
        asked.extend((count, i) for i in replications)
        return [count >= 46 for _ in replications]

    found = fewest(probe, 50, Grid(), QUICK, batch=3)
    assert found.count == 46
    tested = [pair for pair in asked if pair[1] > 0]
    assert len(tested) == len(set(tested))
    failed = found.of(45)
    assert failed is not None
    assert failed.verdict == FAILS


@pytest.mark.parametrize("count", range(97, 105))
def test_how_many_run_at_once_changes_nothing(count: int) -> None:
    """Replications beyond the verdict, which a larger batch simulates, are not counted."""

    def judged(batch: int) -> Judged:
        return Search(fleet(rising), Grid(), PLAN, batch, lambda count, what: None).judge(count)

    found = [judged(batch) for batch in (1, 4, 16, 64)]
    assert found == [found[0]] * 4


def test_the_next_cheaper_is_tested_longer() -> None:
    """99 passes nine times of ten: a verdict that passes is out of reach early, and after all
    replications of the rule its share is known better."""
    search = Search(fleet(rising), Grid(), PLAN, 8, lambda count, what: None)
    first = search.judge(99)
    assert first.verdict == OPEN
    assert first.tally.trials < PLAN.most
    again = search.judge_longer(99)
    assert again.tally.trials == PLAN.most or again.verdict == FAILS
    assert search.judge(99) == again
    assert search.judge_longer(104) == search.judge(104)
