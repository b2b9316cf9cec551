"""A break-it: both runs on the same fleet, then how many GPUs each needs; or the whole table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.figures.scenarios import SETTINGS, file_of
from app.jobs.folder import shared, write_result
from app.jobs.work.page import page_of
from app.jobs.work.progress import Teller
from app.jobs.work.runs import COMPILING, simulate
from kaiju_sim.planner.breakits.table import Asked, break_its
from kaiju_sim.report.planning.break_its import tables_of
from kaiju_sim.simulation import is_warm

WORKERS = 2
RUNS = 0.3
"""Share of the progress that the runs have, where there are any."""


def break_it(folder: Path, task: Mapping[str, Any], told: Teller) -> None:
    """The runs (`sides`, if any); then rows of the table: `only` some (none: without a search)."""
    first = 0.0
    if task.get("sides"):
        simulate(folder, task, told, (0.0, RUNS))
        told.ready()
        first = RUNS
    if task["only"] is not None:
        search(folder, task, told, first)


def search(folder: Path, task: Mapping[str, Any], told: Teller, first: float) -> None:
    """The rows as `kaiju-sim break-it` has them, all of them where `only` is empty."""
    told(first, "the fewest GPUs of each" if is_warm() else COMPILING)
    asked = Asked(file_of(task, folder), (), tuple(task.get(SETTINGS, ())), shared())

    def say(line: str) -> None:
        done, _, of = line.rpartition("(")[2].rstrip(")").partition(" of ")
        told(first + (1.0 - first) * int(done) / int(of), line)

    rows = break_its(asked, only=task["only"], workers=WORKERS, tell=say)
    head = f"{task.get('scenario', 'Your scenario')}: what breaks it"
    write_result(folder, rows, page_of("kaiju-sim break-it", [head], tables_of(rows)), {})
