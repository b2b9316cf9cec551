"""The cheapest fleet that meets the objectives, with what is known about it.

1. **Screen** each kind of fleet: bracket and bisect by single replications of a short window, then
   the quick rule. What costs clearly more than the best is not looked at again.
2. **Verify** on fresh seeds and the full window with the plan's rule, from the screened count on:
   up until one holds, and down while the next smaller one holds too.
3. The **next cheaper** candidate is the largest that was refused, with what it misses.
4. The step time's **error band**: the screening again with all step times at either end of their
   error, from the same users; the answer moves by as many replicas as the screening does.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kaiju_sim.executor.seam import Executor
from kaiju_sim.planner import part
from kaiju_sim.planner.fewest import grid_of, usual
from kaiju_sim.planner.objectives import Ratios, binding, passes
from kaiju_sim.planner.part import Window
from kaiju_sim.planner.plans.choices import Choice, possible
from kaiju_sim.planner.plans.peak import at_peak, window_of
from kaiju_sim.planner.search import FRESH, Judged, Search
from kaiju_sim.planner.sequential import PASSES, QUICK, Rule, plan_rule
from kaiju_sim.planner.trial import Bench
from kaiju_sim.scenario.schema import Scenario

SHORT_S = 300.0
"""Length of the windows of the screening."""
NEAR = 0.03
"""A kind of fleet whose screened cost is within this share of the best one's is verified too."""
HEADROOM = "failure headroom"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a plan is made for, and with what."""

    scenario: Scenario
    base_dir: Path
    folder: Path | None = None
    workers: int = 1
    tell: Tell = lambda line: None
    most_rate: float = part.MOST_RATE
    executor: Executor | None = None
    """What runs the replications; none: as many processes as there are workers."""

    def bench(self, choice: Choice, window: Window, scale: float = 1.0) -> Bench:
        """What fleets of a kind are tried on, at the peak, with the lost nodes gone."""
        s = choice.of(at_peak(self.scenario))
        lost = lost_replicas(s)
        bench = Bench(s, self.base_dir, window, self.folder, self.workers, scale)
        return replace(bench, most_rate=self.most_rate, lost=lost, executor=self.executor)

    @property
    def short(self) -> Window:
        """The window of the screening."""
        full = window_of(self.scenario)
        return replace(full, length_s=min(full.length_s, SHORT_S))


@dataclass(frozen=True)
class Candidate:
    """A fleet that was looked at."""

    choice: Choice
    replicas: int
    judged: Judged | None
    """None: by the screening only."""
    binds: str = ""
    """The objective that it misses most often, or is nearest to."""
    limited_by: str = ""
    step_times: str = ""
    """Source and id of its step times."""
    passes_screen: bool = False

    @property
    def gpus(self) -> int:
        """GPUs of the fleet."""
        return self.replicas * self.choice.tensor_parallel

    @property
    def holds(self) -> bool:
        """Whether it has been shown to pass often enough."""
        return self.judged is not None and self.judged.verdict == PASSES


@dataclass(frozen=True)
class Band:
    """How the answer moves with the step time's error."""

    low: float
    """Relative error of step times at which fewer GPUs do."""
    high: float
    """The same at which more are needed."""
    replicas_low: int
    replicas_high: int | None
    """None: no fleet is enough then."""


@dataclass(frozen=True)
class Plan:
    """The answer."""

    asked: Asked
    answer: Candidate | None
    candidates: tuple[Candidate, ...]
    """All fleets that were looked at, the cheapest first."""
    impossible: tuple[tuple[Choice, str], ...]
    """Kinds of fleets that cannot be built, and why."""
    band: Band | None
    grey: tuple[int, ...] = ()
    """GPUs of fleets below the answer that could not be told from passing ones."""

    @property
    def next_cheaper(self) -> Candidate | None:
        """The dearest candidate that is cheaper than the answer, so one that does not hold."""
        if self.answer is None:
            return None
        mine = cost(self.asked.scenario, self.answer)
        cheaper = [c for c in self.candidates if cost(self.asked.scenario, c) < mine]
        told = [c for c in cheaper if c.judged is not None] or cheaper
        return max(told, key=lambda c: cost(self.asked.scenario, c), default=None)


def lost_replicas(s: Scenario) -> int:
    """Replicas that are gone with the lost nodes: in each cell, in whole shards."""
    gpus = s.plan.survive_nodes * s.plan.node_gpus
    grain = part.grain_of(s)
    in_cell = math.ceil(gpus / s.fleet.tensor_parallel / grain) * grain
    return in_cell * s.fleet.cells


def cost(s: Scenario, candidate: Candidate) -> float:
    """USD per hour of a candidate's GPUs."""
    return candidate.choice.usd_per_hour(s, candidate.gpus)


def make_plan(asked: Asked) -> Plan:
    """Search the cheapest fleet; UserError for a scenario without an objective or such a fleet."""
    part.check(asked.scenario)
    kinds = list(possible(asked.scenario, asked.base_dir))
    screened = [screen(asked, choice) for choice, why in kinds if not why]
    found = sorted(screened, key=lambda c: _order(asked, c))
    looked: list[Candidate] = list(found)
    answer: Candidate | None = None
    for candidate in found:
        if not candidate.passes_screen or not worth(asked, candidate, answer):
            continue
        more = verify(asked, candidate)
        looked = [c for c in looked if c is not candidate] + more
        held = min((c for c in more if c.holds), key=lambda c: c.replicas, default=None)
        if held is not None and (answer is None or _order(asked, held) < _order(asked, answer)):
            answer = held
    return Plan(
        asked,
        answer,
        tuple(sorted(looked, key=lambda c: _order(asked, c))),
        tuple((choice, why) for choice, why in kinds if why),
        None if answer is None else band(asked, answer),
        () if answer is None else grey(looked, answer),
    )


def _order(asked: Asked, c: Candidate) -> tuple[float, int]:
    return cost(asked.scenario, c), c.gpus


def worth(asked: Asked, candidate: Candidate, answer: Candidate | None) -> bool:
    """Whether a kind of fleet may still be cheaper than the answer."""
    if answer is None:
        return True
    return cost(asked.scenario, candidate) * (1 - NEAR) < cost(asked.scenario, answer)


def grey(looked: list[Candidate], answer: Candidate) -> tuple[int, ...]:
    """GPUs of fleets of the answer's kind, below it, that were not shown to fail."""
    same = (c for c in looked if c.choice == answer.choice and c.gpus < answer.gpus)
    return tuple(sorted(c.gpus for c in same if c.judged and c.judged.verdict == "open"))


def screen(asked: Asked, choice: Choice) -> Candidate:
    """The smallest fleet of a kind that passes the short windows more often than not."""
    bench = asked.bench(choice, asked.short)
    found = _screened(asked, bench, bench.scenario.fleet.replicas + bench.lost, QUICK)
    asked.tell(f"{label(choice)}: about {found or 'no number of'} replicas")
    replicas = found or grid_of(bench.scenario, 0.0, asked.most_rate).most
    source = step_times(bench, replicas)
    return Candidate(choice, replicas, None, step_times=source, passes_screen=found is not None)


def step_times(bench: Bench, replicas: int) -> str:
    """Source and id of a fleet's step times."""
    (figures,) = bench.figures(replicas, [0])
    return f"{figures['profile.source']}: {figures['profile.id']}"


def _screened(asked: Asked, bench: Bench, start: int, rule: Rule | None) -> int | None:
    """Bracket and bisect, then (with a rule) the smallest that holds from there on."""
    search = Search(
        bench.probe,
        grid_of(bench.scenario, 0.0, asked.most_rate),
        rule or QUICK,
        5,
        lambda count, what: asked.tell(f"  {count} replicas, short windows: {what}"),
    )
    ends = search.bracket(start)
    if ends is None:
        return None
    count = search.bisect(*ends)
    return count if rule is None else search.first_that_holds(count)


def verify(asked: Asked, candidate: Candidate) -> list[Candidate]:
    """The fleets of a kind that were tested with the plan's rule, around the screened one."""
    bench = asked.bench(candidate.choice, window_of(asked.scenario))
    grid = grid_of(bench.scenario, 0.0, asked.most_rate)
    search = Search(
        bench.probe,
        grid,
        plan_rule(asked.scenario.plan.pass_probability),
        max(4, 8 * asked.workers),
        lambda count, what: asked.tell(f"  {count} replicas, full windows: {what}"),
    )
    count = search.first_that_holds(candidate.replicas, fresh=True)
    while count is not None and count > grid.unit:
        smaller = max(grid.unit, count - grid.step(count))
        if search.judge(smaller, fresh=True).verdict != PASSES:
            break
        count = smaller
    refused = [n for n, _ in search.judged if count is None or n < count]
    if refused:  # the next cheaper one, or the largest where none holds
        search.judge_longer(max(refused), fresh=True)
    return [described(bench, candidate.choice, judged) for judged in search.judged.values()]


def described(bench: Bench, choice: Choice, judged: Judged) -> Candidate:
    """A tested fleet, with what it misses or is nearest to."""
    seen = range(FRESH, FRESH + judged.tally.trials)
    met, figures = bench.ratios(judged.count, seen), bench.figures(judged.count, seen)
    shown = [i for i, found in enumerate(met) if not passes(found)] or list(range(len(met)))
    return Candidate(
        choice,
        judged.count,
        judged,
        binds=_named(bench, [met[i] for i in shown]),
        limited_by=usual([str(figures[i]["bottleneck"]) for i in shown]),
        step_times=f"{figures[0]['profile.source']}: {figures[0]['profile.id']}",
    )


def _named(bench: Bench, met: list[Ratios]) -> str:
    """The objective that binds; where nodes are gone, as what the headroom is for."""
    name = usual([binding(found) for found in met])
    nodes = bench.scenario.plan.survive_nodes
    return f"{HEADROOM} N+{nodes} ({name})" if nodes else name


def band(asked: Asked, answer: Candidate) -> Band | None:
    """The answer at both ends of the step time's error; None where that is not known."""
    bench = asked.bench(answer.choice, asked.short)
    first = bench.figures(answer.replicas, [0])[0]
    low, high = first["profile.rel_error_low"], first["profile.rel_error_high"]
    if low is None or high is None:
        return None
    at = [
        _screened(
            asked, replace(bench, scale=1 + error), round(answer.replicas * (1 + error)), None
        )
        for error in (low, 0.0, high)
    ]
    less, usual_count, more = at
    if less is None or usual_count is None:
        return None
    return Band(
        low,
        high,
        answer.replicas + less - usual_count,
        None if more is None else answer.replicas + more - usual_count,
    )


def label(choice: Choice) -> str:
    """A kind of fleet in a few words."""
    return (
        f"{choice.gpu} x TP {choice.tensor_parallel}, budget {choice.token_budget},"
        f" batch {choice.max_seqs}, {choice.router}"
    )
