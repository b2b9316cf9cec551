"""`kaiju-sim sweep WHAT`: simulate variants of a scenario, find the front, write a table and plots.

Stopped and started again, it simulates only what is missing.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kaiju_sim.cli.options import Address, Output, Set, WhereOption, With, Workers
from kaiju_sim.cli.simulating import executing, scenario_file, tell_if_cold
from kaiju_sim.cli.studies.telling import telling
from kaiju_sim.cli.talk import Talk

if TYPE_CHECKING:
    from kaiju_sim.executor.seam import Executor
    from kaiju_sim.store import Store
    from kaiju_sim.sweep.points import Point
    from kaiju_sim.sweep.spec import Spec
    from kaiju_sim.sweep.table import Row

POINTS, TABLE, PAGE, ORIGIN = "points", "sweep.parquet", "sweep.html", "provenance.json"


def sweep(
    what: Annotated[
        str, typer.Argument(help="Sweep file, or a scenario whose sweep: or options say what.")
    ],
    grid: Annotated[
        list[str] | None, typer.Option(metavar="PATH=[V1,V2,..]", help="Values of a field.")
    ] = None,
    sobol: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH=LOW..HIGH[:log]", help="Range of a field, for Sobol points."),
    ] = None,
    points: Annotated[
        int | None, typer.Option(min=1, help="Sobol points (a power of two is most even).")
    ] = None,
    sample_seed: Annotated[int | None, typer.Option(min=1, help="Other Sobol points.")] = None,
    with_: With = None,
    set_: Set = None,
    replications: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Independent runs of each point.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder (default: runs/NAME-sweep).")
    ] = None,
    format: Annotated[Output, typer.Option(help="The front, or all points as JSON.")] = Output.TEXT,
    workers: Workers = 1,
    executor: WhereOption = None,
    address: Address = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Simulate variants of a scenario: grids, Sobol points, Pareto front of cost and latency."""
    from kaiju_sim.store import Store
    from kaiju_sim.sweep.points import make_points
    from kaiju_sim.sweep.run import gather
    from kaiju_sim.sweep.table import make_rows

    talk, started = Talk(quiet), datetime.now(UTC)
    spec = _spec(what, grid, sobol)
    spec = _changed(spec, with_, set_, points, sample_seed, replications)
    folder = output or Path("runs") / f"{Path(what).stem}-sweep"
    with executing(executor, workers, address) as where:
        with telling(talk, "checking the points", 1) as tell:
            found = make_points(spec, lambda fraction: tell(0, fraction))
        store = Store(folder / POINTS)
        _run(found, store, where, talk)
    rows = make_rows(gather(found, store))
    title = f"{spec.scenario.stem}, {', '.join(spec.paths)}"
    _write(rows, folder, title, started)
    _print(rows, format, title, folder)
    talk.say(f"written to {folder / TABLE} and {PAGE}")


def _spec(what: str, grid: list[str] | None, sobol: list[str] | None) -> "Spec":
    from kaiju_sim.sweep.read import read_spec, with_options

    return with_options(read_spec(scenario_file(what)), grid or [], sobol or [])


def _changed(
    spec: "Spec",
    overrides: list[str] | None,
    sets: list[str] | None,
    points: int | None,
    sample_seed: int | None,
    replications: int | None,
) -> "Spec":
    """The spec with what the options say on top."""
    from dataclasses import replace

    from kaiju_sim.sweep.spec import checked

    return checked(
        replace(
            spec,
            overrides=(*spec.overrides, *(overrides or ())),
            sets=(*spec.sets, *(sets or ())),
            points=points or spec.points,
            sample_seed=sample_seed or spec.sample_seed,
            replications=replications or spec.replications,
        )
    )


def _run(points: "list[Point]", store: "Store", where: "Executor", talk: Talk) -> None:
    """Simulate what is missing, saying how far it is."""
    from kaiju_sim.sweep.run import missing, run_missing

    total = len({variant.digest for point in points for variant in point.variants})
    left = missing(points, store)
    if len(left) < total:
        talk.say(f"{total - len(left):,} of {total:,} simulations are there already")
    if left:
        tell_if_cold(talk)
    with telling(talk, "sweep", len(left)) as tell:
        run_missing(left, store, where, tell)


def _write(rows: "list[Row]", folder: Path, title: str, started: datetime) -> None:
    from kaiju_sim.report.atomic import write_file
    from kaiju_sim.sweep.origin import origin
    from kaiju_sim.sweep.page import sweep_page
    from kaiju_sim.sweep.table import parquet_bytes

    write_file(folder / TABLE, parquet_bytes(rows))
    write_file(folder / PAGE, sweep_page(rows, title).encode())
    command = ["kaiju-sim", *sys.argv[1:]]
    found = origin(command, started, sum(row.status == "done" for row in rows))
    write_file(folder / ORIGIN, (json.dumps(found, indent=2) + "\n").encode())


def _print(rows: "list[Row]", format: Output, title: str, folder: Path) -> None:
    from kaiju_sim.sweep.page import headline, print_front

    if format is Output.TEXT:
        print_front(rows, sys.stdout, title)
        return
    found = {
        "title": title,
        "answer": headline(rows),
        "front": [row.number for row in rows if row.on_front],
        "points": [row.as_json() for row in rows],
        "table": str(folder / TABLE),
        "page": str(folder / PAGE),
    }
    sys.stdout.write(json.dumps(found, indent=2, allow_nan=False) + "\n")
