"""Is the fleet that a scenario states enough? One sequential test, no search."""

from dataclasses import dataclass

from kaiju_sim.planner import part
from kaiju_sim.planner.plans.choices import Choice
from kaiju_sim.planner.plans.peak import window_of
from kaiju_sim.planner.plans.plan import Asked, Candidate, described
from kaiju_sim.planner.search import Grid, Search
from kaiju_sim.planner.sequential import FAILS, PASSES, plan_rule

DONE, FAILED, UNDECIDED = 0, 3, 4
"""Exit codes of `kaiju-sim plan --check`."""


@dataclass(frozen=True)
class Checked:
    """The stated fleet and what became of it."""

    asked: Asked
    candidate: Candidate

    @property
    def exit_code(self) -> int:
        """0 it holds, 3 it does not, 4 undecided."""
        assert self.candidate.judged is not None
        return {PASSES: DONE, FAILS: FAILED}.get(self.candidate.judged.verdict, UNDECIDED)


def check(asked: Asked) -> Checked:
    """Test the fleet as the scenario states it, with its own GPUs, budgets and router."""
    s = asked.scenario
    part.check(s)
    choice = Choice(
        s.gpu,
        s.fleet.tensor_parallel,
        s.engine.token_budget,
        s.engine.max_seqs,
        s.router.policy,
    )
    bench = asked.bench(choice, window_of(s))
    search = Search(
        bench.probe,
        Grid(part.unit_of(s)),
        plan_rule(s.plan.pass_probability),
        max(4, 8 * asked.workers),
        lambda count, what: asked.tell(f"  {count} replicas, full windows: {what}"),
    )
    judged = search.judge(s.fleet.replicas, fresh=True)
    return Checked(asked, described(bench, choice, judged))
