"""A plan: the fewest GPUs, then one run of that fleet."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.figures.planning.asked import fleet_sets
from app.figures.scenarios import SETTINGS, load
from app.jobs.folder import RUN, shared, write_result
from app.jobs.work.page import page_of
from app.jobs.work.progress import Teller, Watched
from app.jobs.work.runs import COMPILING, one
from kaiju_sim.errors import UserError
from kaiju_sim.executor.choose import opened
from kaiju_sim.planner.plans.document import document
from kaiju_sim.planner.plans.plan import Asked, make_plan
from kaiju_sim.planner.sequential import plan_rule
from kaiju_sim.report.planning.plan import candidates, lines_of
from kaiju_sim.simulation import is_warm, warm_up
from kaiju_sim.store import Store

WORKERS = 2
SCREENING = 30
"""Windows that the screening of a kind of fleet, and the error band, take: near enough."""


def plan(folder: Path, task: Mapping[str, Any], told: Teller) -> None:
    """Search, write the plan, simulate its answer."""
    told(0.0, "looking for fleets" if is_warm() else COMPILING)
    warm_up()
    loaded = load(task, folder)
    seen = _Windows(told, expected(loaded.scenario.plan))
    try:
        with opened(workers=WORKERS) as inner:
            where = Watched(inner, seen.one_more)
            kept = Store(shared()).folder
            made = Asked(loaded.scenario, loaded.base_dir, kept, WORKERS, seen.say, executor=where)
            found = document(make_plan(made))
    except UserError as error:
        raise loaded.located(error) from error
    told.ready()
    if found["gpus"] is not None:
        told(0.97, "a run of the answer's fleet")
        sets = [*task.get(SETTINGS, ()), *fleet_sets(loaded.scenario, found)]
        one(folder, RUN, {**task, SETTINGS: sets}, 1, told.part(0.97, 1.0))
    page = page_of("kaiju-sim plan", lines_of(found), [candidates(found)])
    text = json.dumps(found, indent=2).encode()
    write_result(
        folder, found, page, {"plan.json": text, "scenario.yaml": loaded.to_yaml().encode()}
    )


def expected(asked: Any) -> int:
    """Windows that a plan takes, near enough for a progress bar."""
    lists = (asked.gpus, asked.tensor_parallel, asked.token_budgets, asked.max_seqs, asked.routers)
    kinds = 1
    for each in lists:
        kinds *= max(1, len(each))
    return SCREENING * (kinds + 1) + int(plan_rule(asked.pass_probability).least)


class _Windows:
    """Counts windows that were simulated, and says what they are for."""

    def __init__(self, told: Teller, most: int) -> None:
        self._told, self._most = told, most
        self._count, self._line = 0, "looking for fleets"

    def say(self, line: str) -> None:
        self._line = line.strip()

    def one_more(self) -> None:
        self._count += 1
        share = min(0.95, self._count / self._most)
        self._told(share, f"{self._line} ({self._count} windows simulated)")
