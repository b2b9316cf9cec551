"""A sweep: many variants of a scenario, and which of them nobody beats."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.figures.scenarios import OVERRIDES, SETTINGS, file_of
from app.jobs.folder import shared, write_result
from app.jobs.work.progress import Teller
from app.jobs.work.runs import COMPILING
from kaiju_sim.errors import UserError
from kaiju_sim.executor.choose import opened
from kaiju_sim.simulation import is_warm
from kaiju_sim.store import Store
from kaiju_sim.sweep.page import best, headline, sweep_page
from kaiju_sim.sweep.points import make_points
from kaiju_sim.sweep.read import with_options
from kaiju_sim.sweep.run import gather, missing, run_missing
from kaiju_sim.sweep.spec import Spec, checked
from kaiju_sim.sweep.table import Row, make_rows, parquet_bytes

WORKERS = 2
MOST_POINTS = 64
"""Of a sweep that is started here; `kaiju-sim sweep` takes as many as one likes."""


def sweep(folder: Path, task: Mapping[str, Any], told: Teller) -> None:
    """Simulate the points of the task's `grid` that are not kept yet; write the table."""
    told(0.0, "simulating" if is_warm() else COMPILING)
    spec = Spec(
        file_of(task, folder), tuple(task.get(OVERRIDES, ())), tuple(task.get(SETTINGS, ()))
    )
    points = make_points(checked(with_options(spec, [str(text) for text in task["grid"]], [])))
    if len(points) > MOST_POINTS:
        raise UserError(f"{len(points)} points: at most {MOST_POINTS} here; or kaiju-sim sweep")
    store = Store(shared())
    left = missing(points, store)

    def tell(count: int, share: float) -> None:
        told(share, f"{count} of {len(left)} fleets simulated")

    with opened(workers=WORKERS) as executor:
        run_missing(left, store, executor, tell)
    written(folder, str(task.get("scenario", "Your scenario")), make_rows(gather(points, store)))


def written(folder: Path, name: str, rows: list[Row]) -> None:
    """The rows, what they say, the page."""
    found = {"headline": headline(rows), "best": best(rows), "rows": [r.as_json() for r in rows]}
    table = {"sweep.parquet": parquet_bytes(rows)}
    write_result(folder, found, sweep_page(rows, f"{name}: sweep"), table)
