"""The table of break-its: the fewest GPUs of a scenario with each, beside those without.

Every row is a search of its own (`fewest.size`) with the quick rule: the answer passes more often
than not, with 95 % confidence, on seeds that the search has not seen. Rows are tasks of one
executor; each replication is kept in the folder, so that a run that was stopped goes on where it
was. Where a task runs that cannot see the folder, its replications are kept when its row is done.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaiju_sim.errors import UserError
from kaiju_sim.executor import run_tasks
from kaiju_sim.executor.seam import Executor
from kaiju_sim.planner.breakits.names import BASELINE, BreakIt, chosen
from kaiju_sim.planner.fewest import Sized, size
from kaiju_sim.planner.objectives import KEEPS_UP, binding, passes
from kaiju_sim.planner.part import Window, part_of
from kaiju_sim.planner.sequential import QUICK
from kaiju_sim.planner.trial import Bench
from kaiju_sim.scenario.loader import Loaded, load_scenario, override_names
from kaiju_sim.simulation import warm_up
from kaiju_sim.store import Figures, Store

WINDOW = Window(warm_up_s=120.0, length_s=180.0, drain_s=60.0)
"""Times of each replication: two minutes of warm-up, three that are measured."""
RESOLUTION = 0.01
"""Counts that are looked at differ by 1 %, or by a shard in each cell."""

Row = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """The scenario that the table is about."""

    file: Path
    overrides: tuple[str, ...] = ()
    """Overrides of every row."""
    sets: tuple[str, ...] = ()
    """Values changed in every row."""
    folder: Path | None = None
    """Where replications are kept."""
    window: Window = WINDOW

    def load(self, name: str) -> Loaded:
        """The scenario of a row."""
        more = () if name == BASELINE else (name,)
        return load_scenario(self.file, overrides=(*self.overrides, *more), sets=self.sets)


@dataclass(frozen=True)
class RowTask:
    """One row, as it is sent to a process."""

    loaded: Loaded
    row: BreakIt
    window: Window
    folder: Path | None


@dataclass(frozen=True)
class Done:
    """A row, and the figures of its replications by their names."""

    row: Row
    known: dict[str, Figures]


def break_its(
    asked: Asked,
    *,
    only: Sequence[str] = (),
    workers: int = 1,
    executor: Executor | None = None,
    tell: Tell = lambda line: None,
) -> list[Row]:
    """The rows of the table, references first; UserError for an unknown name in *only*.

    Rows are tasks of the executor, or of so many processes here.
    """
    names = override_names(asked.file)
    rows = chosen(names, only)
    known = [row.name for row in rows]
    for name in only:
        if name not in known:
            raise UserError(f"--only: {name[:40]!r} is no break-it of {asked.file}")
    if len(known) == 1:
        raise UserError(f"{asked.file} has no break-its among its overrides")
    store = None if asked.folder is None else Store(asked.folder.absolute())
    folder = None if store is None else store.folder
    tasks = [RowTask(asked.load(row.name), row, asked.window, folder) for row in rows]
    warm_up()
    found: list[Row] = []
    for done in run_tasks(run_row, tasks, workers, executor):
        keep(done, store)
        found.append(done.row)
        tell(told(found[-1], len(found), len(rows)))
    by_name = {row["name"]: row for row in found}
    return [row | compared(row, by_name[row["against"]]) for row in found]


def told(row: Row, done: int, rows: int) -> str:
    """A row that is done, in a line."""
    return f"{row['name']}: {row['gpus'] or 'no number of'} GPUs ({done} of {rows})"


def keep(done: Done, store: Store | None) -> None:
    """Keep what a row's replications found, unless its task has done so itself."""
    for name, figures in done.known.items():
        if store is not None and store.get(name) is None:
            store.put(name, figures)


def run_row(task: RowTask) -> Done:
    """Search the fewest GPUs of one row."""
    loaded, seen = task.loaded, task.folder is not None and task.folder.is_dir()
    folder = task.folder if seen else None
    bench = Bench(loaded.scenario, loaded.base_dir, task.window, folder)
    try:
        found = size(bench, QUICK, resolution=RESOLUTION)
    except UserError as error:
        raise loaded.located(error) from error
    described = row_of(task, found, bench)
    return Done(described | {"as_shipped": on_fleet_as_shipped(bench)}, bench.known)


def row_of(task: RowTask, sized: Sized, bench: Bench) -> Row:
    """What the table says of a row."""
    row, found = task.row, sized.found
    judged = None if found.count is None else found.of(found.count, fresh=True)
    looked_at = found.count or max(found.screened)
    return {
        "name": row.name,
        "says": row.says,
        "against": row.against,
        "gpus": sized.gpus,
        "gpus_least": sized.least,
        "gpus_fail": sized.gpus_of(found.below),
        "pass_probability": None if judged is None else judged.tally.share,
        "pass_probability_low": None if judged is None else judged.low,
        "replications": 0 if judged is None else judged.tally.trials,
        "simulated": len(found.screened) + sum(j.tally.trials for j in found.judged),
        "figures": sized.figures,
        "binds": sized.binds,
        "limited_by": sized.limited_by,
        "ratios": {k: None if math.isinf(v) else v for k, v in sized.worst.items()},
        "step_times": sized.step_times,
        "part": part_of(bench.scenario, looked_at).share,
        "largest_tried": sized.gpus_of(max(found.screened)),
    }


def on_fleet_as_shipped(bench: Bench) -> Row:
    """What becomes of the fleet that the scenario states, in one replication."""
    replicas = bench.scenario.fleet.replicas
    (figures,), (found,) = bench.figures(replicas, [0]), bench.ratios(replicas, [0])
    return {
        "gpus": replicas * bench.scenario.fleet.tensor_parallel,
        "passes": passes(found),
        "binds": binding(found),
        "keeps_up": found[KEEPS_UP] == 0.0,
        "ttft_s.p99": figures["ttft_s.p99"],
        "slo.attainment": figures["slo.attainment"],
        "prefix_hit_rate": figures["prefix_hit_rate"],
    }


def compared(row: Row, other: Row) -> Row:
    """A row beside the one it is held against: times the GPUs, and whether that is a difference."""
    if row is other:
        return {"times": 1.0, "difference": None}
    if row["gpus"] is None or other["gpus"] is None:
        return {"times": None, "difference": None if row["gpus"] is other["gpus"] else "more GPUs"}
    return {"times": row["gpus"] / other["gpus"], "difference": difference(row, other)}


def difference(row: Row, other: Row) -> str:
    """More GPUs, fewer GPUs, or none that the grey zones and the grid let one see."""
    low, high = bounds(row)
    its_low, its_high = bounds(other)
    if low > its_high:
        return "more GPUs"
    return "fewer GPUs" if high < its_low else "no difference"


def bounds(row: Row) -> tuple[int, int]:
    """GPUs between which the answer lies: above what surely fails, up to what surely passes."""
    sure = row["gpus_fail"] if row["gpus_least"] == row["gpus"] else None
    return (row["gpus_least"] if sure is None else sure + 1), row["gpus"]
